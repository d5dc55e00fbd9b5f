//! A line for each request, written by a thread of its own.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, bounded};

use crate::cli::visible;
use crate::server::{Observer, Outcome, Report};

/// Starts the thread; what it returns gives it lines and never waits. Lines that it is too
/// slow for are counted instead.
pub(super) fn start() -> Observer {
    let (sender, lines) = bounded(LINES_MAX);
    let lost = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&lost);
    thread::spawn(move || write_lines(&lines, &counted));
    Box::new(move |report| {
        if sender.try_send(line(report)).is_err() {
            lost.fetch_add(1, Ordering::Relaxed);
        }
    })
}

fn write_lines(lines: &Receiver<String>, lost: &AtomicU64) {
    for line in lines {
        let mut stderr = io::stderr().lock();
        // Nobody reads them any more: that is no reason to stop serving.
        let _ = stderr.write_all(line.as_bytes());
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(stderr, "{lost} lines lost");
        }
    }
}

fn line(report: &Report<'_>) -> String {
    let outcome = match report.outcome {
        Outcome::Answered { body_bytes } => format!("{body_bytes} bytes"),
        Outcome::Refused(code) => code.as_str().to_owned(),
        Outcome::Abandoned => "abandoned: file changed or could not be read".to_owned(),
        Outcome::CutOff => "cut off by the peer".to_owned(),
        Outcome::OtherProtocol => "another protocol".to_owned(),
    };
    let ms = report.took.as_secs_f64() * 1000.0;
    format!(
        "{} \"{}\" {outcome} {ms:.1} ms\n",
        report.peer,
        visible(report.name)
    )
}

const LINES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::Peer;

    #[test]
    fn a_name_cannot_forge_a_line() {
        let report = Report {
            peer: Peer::Unix { uid: 7 },
            name: b"a\n\x1b[2Jb",
            outcome: Outcome::Answered { body_bytes: 12 },
            took: Duration::from_micros(1500),
        };
        let line = line(&report);
        assert!(
            line.starts_with("uid 7 \"a") && line.ends_with("b\" 12 bytes 1.5 ms\n"),
            "{line}"
        );
        assert_eq!(line.matches('\n').count(), 1);
        assert!(!line.contains('\x1b'));
    }
}

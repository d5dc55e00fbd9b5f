//! Progress on standard error: a bar on a terminal, otherwise a line every few seconds.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::terminal::{counted, print_line};
use crate::store::IndexingProgress;

/// Shows progress, and prints lines above it. Clones share one bar.
#[derive(Clone)]
pub(super) struct IndexProgress {
    bar: Option<ProgressBar>,
    is_quiet: bool,
    started: Instant,
    /// The wait for files to settle is printed once.
    reports_settling: Arc<AtomicBool>,
}

impl IndexProgress {
    pub(super) fn new(is_quiet: bool) -> IndexProgress {
        let bar = (!is_quiet && io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            bar.with_style(style(FINDING))
        });
        IndexProgress {
            bar,
            is_quiet,
            started: Instant::now(),
            reports_settling: Arc::new(AtomicBool::new(!is_quiet)),
        }
    }

    /// Updates the bar. Without a bar, prints a line if `next_line` is due, and moves it on.
    pub(super) fn show(&self, progress: &IndexingProgress, next_line: &mut Instant) {
        if progress.settling > 0 && self.reports_settling.swap(false, Ordering::Relaxed) {
            let files = counted(progress.settling, "file");
            self.line(&format!(
                "waiting some seconds for {files} changed just now, to be sure that no change is missed"
            ));
        }
        if let Some(bar) = &self.bar {
            bar.set_length(progress.found.bytes);
            bar.set_position(progress.bytes_done);
            bar.set_message(files(progress));
            if progress.is_all_found {
                bar.set_style(style(HASHING));
            }
        } else if !self.is_quiet && Instant::now() >= *next_line {
            *next_line = Instant::now() + LINE_INTERVAL;
            self.line(&format!(
                "{}, {} of {}, {}/s",
                files(progress),
                HumanBytes(progress.bytes_done),
                HumanBytes(progress.found.bytes),
                HumanBytes(self.per_second(progress.bytes_done))
            ));
        }
    }

    /// Prints a line, above the bar if there is one.
    pub(super) fn line(&self, text: &str) {
        let write = || print_line(text);
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Removes the bar and prints the summary.
    pub(super) fn end(&self, progress: &IndexingProgress) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if !self.is_quiet {
            self.line(&summary(progress, self.started.elapsed()));
        }
    }

    fn per_second(&self, bytes: u64) -> u64 {
        (bytes as f64 / self.started.elapsed().as_secs_f64().max(0.001)) as u64
    }
}

/// When the first line is due.
pub(super) fn first_line() -> Instant {
    Instant::now() + LINE_INTERVAL
}

fn files(progress: &IndexingProgress) -> String {
    let IndexingProgress {
        found,
        hashed,
        known,
        unsettled,
        unkept,
        failed,
        ..
    } = progress;
    let done = hashed.files + known.files + unsettled.files + unkept.files + failed.files;
    let more = if progress.is_all_found { "" } else { "+" };
    let (done, found) = (HumanCount(done), HumanCount(found.files));
    format!("{done}/{found}{more} files")
}

fn summary(progress: &IndexingProgress, elapsed: Duration) -> String {
    let IndexingProgress {
        found,
        hashed,
        known,
        unsettled,
        unkept,
        failed,
        ..
    } = progress;
    let mut text = format!(
        "{} files, {}: {} hashed ({}), {} known, {} failed",
        HumanCount(found.files),
        HumanBytes(found.bytes),
        HumanCount(hashed.files),
        HumanBytes(hashed.bytes),
        HumanCount(known.files),
        HumanCount(failed.files)
    );
    if unsettled.files > 0 {
        text += &format!(", {} still changing", HumanCount(unsettled.files));
    }
    if unkept.files > 0 {
        text += &format!(
            ", {} skipped (their file systems keep no lasting inode numbers and change times)",
            HumanCount(unkept.files)
        );
    }
    text + &format!(", {:.2} s", elapsed.as_secs_f64())
}

fn style(template: &str) -> ProgressStyle {
    // A test checks these constants.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Without the time left: the total is not known while files are still being found.
const FINDING: &str = "{bytes}/{total_bytes}+ {wide_bar} {bytes_per_sec} {msg}";
const HASHING: &str = "{bytes}/{total_bytes} {wide_bar} {bytes_per_sec} ETA {eta} {msg}";
const LINE_INTERVAL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::FilesAndBytes;

    #[test]
    fn the_templates_of_the_bar_are_valid() {
        for template in [FINDING, HASHING] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn the_summary_counts_files_and_bytes() {
        let of = |files, bytes| FilesAndBytes { files, bytes };
        let mut progress = IndexingProgress {
            found: of(52_143, 3 << 20),
            is_all_found: true,
            hashed: of(52_000, 2 << 20),
            known: of(143, 1 << 20),
            ..IndexingProgress::default()
        };
        assert_eq!(
            summary(&progress, Duration::from_millis(1_230)),
            "52,143 files, 3.00 MiB: 52,000 hashed (2.00 MiB), 143 known, 0 failed, 1.23 s"
        );
        progress.unsettled = of(1, 0);
        assert!(summary(&progress, Duration::ZERO).contains(", 1 still changing, 0.00 s"));
    }
}

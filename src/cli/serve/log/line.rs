//! One line of the access log.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;

use super::LogFormat;
use crate::cli::terminal::visible_json;
use crate::net::Peer;
use crate::server::{Outcome, Report};
use crate::wire::{Md5Digest, Timestamp};

/// The fields of a line.
pub(super) struct LogEntry {
    time: SystemTime,
    peer: Peer,
    op: &'static str,
    name: Vec<u8>,
    md5: Option<Md5Digest>,
    exit_status: Option<u8>,
    outcome: Outcome,
    took: Duration,
}

impl LogEntry {
    pub(super) fn of(report: &Report<'_>) -> LogEntry {
        LogEntry {
            time: SystemTime::now(),
            peer: report.peer,
            op: report.op,
            name: report.name.to_vec(),
            md5: report.md5,
            exit_status: report.exit_status,
            outcome: report.outcome,
            took: report.took,
        }
    }

    /// Appends the line. All text from a peer is a JSON string without control characters and
    /// direction marks, so no name can forge a line or control a terminal.
    pub(super) fn write(&self, format: LogFormat, lines: &mut Vec<u8>) {
        let (result, reason, bytes) = match self.outcome {
            Outcome::Answered { body_bytes } => ("ok", "", body_bytes),
            Outcome::Refused(code) => ("refused", code.as_str(), 0),
            Outcome::Abandoned => ("abandoned", "file_changed", 0),
            Outcome::CutOff => ("cut_off", "peer_gone", 0),
            Outcome::TooSlow => ("cut_off", "too_slow", 0),
            Outcome::Closed => ("cut_off", "server_closed", 0),
            Outcome::OtherProtocol => ("refused", "other_protocol", 0),
        };
        let time = time_text(self.time);
        let secs = self.took.as_secs_f64();
        let name = String::from_utf8_lossy(&self.name);
        let md5 = self.md5.map(|md5| md5.to_string());
        let written = match format {
            LogFormat::Text => {
                let or_dash = |text: &'static str| if text.is_empty() { "-" } else { text };
                let reason = match self.exit_status {
                    Some(status) => format!("exit={status}"),
                    None => or_dash(reason).to_owned(),
                };
                let peer = self.peer.to_string().replace(' ', "=");
                let name = serde_json::to_string(&name).unwrap_or_default();
                writeln!(
                    lines,
                    "{time} {peer} {} {result} {reason} {bytes} {secs:.6} {} {}",
                    or_dash(self.op),
                    md5.as_deref().unwrap_or("-"),
                    visible_json(&name),
                )
            }
            LogFormat::Json => {
                let line = serde_json::to_string(&JsonLine {
                    v: 1,
                    time: &time,
                    peer: &self.peer.to_string(),
                    op: self.op,
                    filename: &name,
                    filename_b64: std::str::from_utf8(&self.name)
                        .is_err()
                        .then(|| BASE64_STANDARD.encode(&self.name)),
                    bytes,
                    secs,
                    md5: md5.as_deref().unwrap_or(""),
                    result,
                    reason,
                    exit_status: self.exit_status,
                })
                .unwrap_or_default();
                writeln!(lines, "{}", visible_json(&line))
            }
        };
        written.expect("memory takes every write");
    }
}

/// Appends a line with the number of lines lost before it.
pub(super) fn lost(count: u64, format: LogFormat, lines: &mut Vec<u8>) {
    let time = time_text(SystemTime::now());
    let written = match format {
        LogFormat::Text => writeln!(lines, "{time} - - lost {count}"),
        LogFormat::Json => writeln!(
            lines,
            r#"{{"v":1,"time":"{time}","result":"lost","lines":{count}}}"#
        ),
    };
    written.expect("memory takes every write");
}

#[derive(Serialize)]
struct JsonLine<'a> {
    v: u8,
    time: &'a str,
    peer: &'a str,
    op: &'a str,
    filename: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    filename_b64: Option<String>,
    bytes: u64,
    secs: f64,
    md5: &'a str,
    result: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_status: Option<u8>,
}

/// UTC, to the millisecond.
fn time_text(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let timestamp = Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(0),
        nanoseconds: since.subsec_nanos(),
    };
    let text = timestamp.to_text().map(|text| {
        let mut short = String::from_utf8_lossy(&text[..23]).into_owned();
        short.push('Z');
        short
    });
    text.unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: LogFormat, name: &[u8], outcome: Outcome) -> String {
        let entry = LogEntry {
            time: UNIX_EPOCH + Duration::from_millis(1_795_169_472_123),
            peer: Peer::Unix { uid: 7 },
            op: "get",
            name: name.to_vec(),
            md5: Md5Digest::parse("746308829575e17c3331bbcb00c0898b"),
            exit_status: None,
            outcome,
            took: Duration::from_micros(1500),
        };
        let mut lines = Vec::new();
        entry.write(format, &mut lines);
        String::from_utf8(lines).unwrap()
    }

    #[test]
    fn fields_stand_in_a_fixed_order() {
        let ok = Outcome::Answered { body_bytes: 12 };
        assert_eq!(
            line(LogFormat::Text, b"a b.txt", ok),
            "2026-11-20T10:11:12.123Z uid=7 get ok - 12 0.001500 \
             746308829575e17c3331bbcb00c0898b \"a b.txt\"\n"
        );
        assert_eq!(
            line(LogFormat::Json, b"x", Outcome::CutOff),
            "{\"v\":1,\"time\":\"2026-11-20T10:11:12.123Z\",\"peer\":\"uid 7\",\"op\":\"get\",\
             \"filename\":\"x\",\"bytes\":0,\"secs\":0.0015,\
             \"md5\":\"746308829575e17c3331bbcb00c0898b\",\"result\":\"cut_off\",\
             \"reason\":\"peer_gone\"}\n"
        );
    }

    #[test]
    fn a_name_cannot_forge_a_line_or_steer_a_terminal() {
        let name = "a\n2026 \"b\"\u{1b}[2J\u{202e}\u{9b}".as_bytes();
        for format in [LogFormat::Text, LogFormat::Json] {
            let line = line(format, name, Outcome::Abandoned);
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert!(!line.contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{line}");
        }
        let odd = line(LogFormat::Json, b"latin-\xe9", Outcome::Abandoned);
        let value: serde_json::Value = serde_json::from_str(&odd).unwrap();
        assert_eq!(value["filename_b64"], "bGF0aW4t6Q==");
    }
}

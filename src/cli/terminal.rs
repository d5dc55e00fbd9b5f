//! Escaping of text from peers, and printing to the standard streams.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Stderr, StdoutLock, Write as _};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::HumanBytes;
use rustix::event::PollFlags;

use crate::cli::blocking::{BlockingStream, is_ready};
use crate::cli::messages;

/// Escapes bytes from a peer, a path or an argument for a terminal and a log line. Control
/// characters, direction marks, other invisible characters and bytes that are not UTF-8 become
/// `\n`, `\r`, `\t`, `\xNN` or `\u{NNNN}`, so one name is one visible line. Returns the input if there is nothing to
/// escape. The text is for people only: a backslash stays as it is, so two names may look alike.
pub fn visible(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(is_deceptive) => Cow::Borrowed(text),
        Ok(_) | Err(_) => Cow::Owned(escape(bytes)),
    }
}

/// A path or an argument, escaped for a terminal.
pub(super) fn shown(path: impl AsRef<OsStr>) -> String {
    visible(path.as_ref().as_encoded_bytes()).into_owned()
}

/// When lines are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl ColorChoice {
    /// Whether lines on standard error are coloured.
    pub(super) fn applies(self) -> bool {
        let is_unwanted = || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match self {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => io::stderr().is_terminal() && !is_unwanted(),
        }
    }
}

/// Prints lines on standard error, in one write, so that no other program writes between them. A
/// server queues them and does not wait.
pub(super) fn print_line(text: &str) {
    if !messages::queue(text) {
        write_line(text);
    }
}

/// Writes lines to standard error, and waits for its reader.
pub(super) fn write_line(text: &str) {
    // A non-blocking stream that took nothing for a moment gets no further wait until it takes
    // something.
    let patience = match IS_STUCK.load(Ordering::Relaxed) {
        false => PATIENCE,
        true => Duration::ZERO,
    };
    let mut stderr = standard_error().until(Instant::now() + patience);
    // There is no other place to report a failure of standard error.
    let written = stderr.write_all(format!("{text}\n").as_bytes());
    let is_stuck = written.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
    IS_STUCK.store(is_stuck, Ordering::Relaxed);
}

/// Prints lines on standard error, unless it would block.
pub(super) fn print_line_if_ready(text: &str) {
    let now = Instant::now();
    let stderr = io::stderr();
    if is_ready(stderr.as_fd(), PollFlags::OUT, Some(now)).is_ok_and(|is_ready| is_ready) {
        // Lines are short: where a few bytes fit, a line nearly always fits too.
        let _ = standard_error()
            .until(now)
            .write_all(format!("{text}\n").as_bytes());
    }
}

/// Standard error. A write waits for its reader.
pub(super) fn standard_error() -> BlockingStream<Stderr> {
    BlockingStream::new(io::stderr(), "standard error is not read")
}

/// Standard output, line-buffered.
pub(super) fn standard_output() -> BlockingStream<StdoutLock<'static>> {
    BlockingStream::new(io::stdout().lock(), UNREAD)
}

/// A count with its noun: `1 byte`, `2 bytes`.
pub(super) fn counted(count: u64, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// A size for people: `14 bytes`, `1.50 KiB`.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => counted(bytes, "byte"),
        _ => HumanBytes(bytes).to_string(),
    }
}

/// Escapes deceptive characters in a line of JSON. Outside of ASCII they occur in strings only,
/// where `\uXXXX` has the same meaning.
pub(super) fn visible_json(line: &str) -> Cow<'_, str> {
    if !line.contains(is_deceptive) {
        return Cow::Borrowed(line);
    }
    let mut out = String::with_capacity(line.len() + 16);
    for character in line.chars() {
        if is_deceptive(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            // Writing to a String cannot fail.
            let _ = match character {
                plain if !is_deceptive(plain) => out.write_char(plain),
                '\n' => out.write_str("\\n"),
                '\r' => out.write_str("\\r"),
                '\t' => out.write_str("\\t"),
                ascii if ascii.is_ascii() => write!(out, "\\x{:02x}", u32::from(ascii)),
                wide => write!(out, "{}", wide.escape_unicode()),
            };
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Characters that move the cursor, end the line, change the text direction, or are invisible
/// (Unicode's Cc, Zl, Zp, and those of Cf that hide or reorder text).
fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e007f}')
}

/// Standard error is non-blocking, and took nothing the last time.
static IS_STUCK: AtomicBool = AtomicBool::new(false);
/// How long a line waits for a standard error that is non-blocking.
const PATIENCE: Duration = Duration::from_secs(2);
/// Why a write to standard output does not return.
pub(super) const UNREAD: &str = "standard output is not read";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borrows_clean_text() {
        for clean in [
            "",
            "hello.txt",
            "naïve 文件 🦀",
            r"C:\x",
            "a b'\"$(id)",
            "-rf",
            "~",
        ] {
            assert!(
                matches!(visible(clean.as_bytes()), Cow::Borrowed(text) if text == clean),
                "{clean}"
            );
        }
    }

    #[test]
    fn escapes_controls_direction_marks_and_invalid_utf8() {
        for (bytes, shown) in [
            (&b"a\nb\rc\td"[..], r"a\nb\rc\td"),
            (b"\x1b[31mred", r"\x1b[31mred"),
            (b"bell\x07\x7f", r"bell\x07\x7f"),
            ("c1\u{9b}31m".as_bytes(), r"c1\u{9b}31m"),
            ("txt.\u{202e}exe".as_bytes(), r"txt.\u{202e}exe"),
            (
                "\u{2066}x\u{2069}\u{feff}".as_bytes(),
                r"\u{2066}x\u{2069}\u{feff}",
            ),
            ("line\u{2028}line".as_bytes(), r"line\u{2028}line"),
            (b"gbk \xce\xd2\xc3\xc7", r"gbk \xce\xd2\xc3\xc7"),
            (b"cut \xe6\x96", r"cut \xe6\x96"),
            (b"\0", r"\x00"),
        ] {
            assert_eq!(visible(bytes), shown);
        }
    }

    #[test]
    fn escaped_json_has_the_same_value() {
        let value = "del \u{7f} c1 \u{9b} bidi \u{202e} tag \u{e0041} plain ü🦀";
        let line = serde_json::to_string(value).unwrap();
        assert!(line.contains(is_deceptive));
        let shown = visible_json(&line);
        assert!(!shown.contains(is_deceptive), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), value);
    }

    #[test]
    fn escapes_every_deceptive_character() {
        for character in '\0'..=char::MAX {
            let text = character.to_string();
            assert!(
                !visible(text.as_bytes()).contains(is_deceptive),
                "{character:?}"
            );
        }
    }
}

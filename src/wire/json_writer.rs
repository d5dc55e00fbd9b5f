//! Writes a frame's text. No byte of it can control a terminal.

use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};

use crate::wire::{LENGTH_BYTES, frame_length};

/// Appends `object` as a complete frame.
pub(super) fn write_frame(out: &mut Vec<u8>, object: &impl Serialize) {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    object
        .serialize(&mut Serializer::with_formatter(&mut *out, Escaping))
        .expect("memory takes every write and our keys are strings");
    let length = frame_length(out.len() - start - LENGTH_BYTES);
    out[start..start + LENGTH_BYTES].copy_from_slice(&length);
}

/// Appends `object` as one line of text.
pub(super) fn write_line(out: &mut Vec<u8>, object: &impl Serialize) {
    object
        .serialize(&mut Serializer::with_formatter(&mut *out, Escaping))
        .expect("memory takes every write and our keys are strings");
    out.push(b'\n');
}

/// The longest prefix of `text` that takes at most `bytes_max` when written.
pub(super) fn cut_to_written(text: &str, bytes_max: usize) -> &str {
    let mut bytes = 0;
    for (at, char) in text.char_indices() {
        bytes += match char {
            '"' | '\\' => 2,
            char if is_hidden(char) => 6,
            char => char.len_utf8(),
        };
        if bytes > bytes_max {
            return &text[..at];
        }
    }
    text
}

/// A JSON formatter that writes every control and direction character as `\uXXXX`.
struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        if fragment.bytes().all(|byte| byte < DELETE) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some((at, hidden)) = rest.char_indices().find(|&(_, char)| is_hidden(char)) {
            write!(writer, "{}\\u{:04x}", &rest[..at], u32::from(hidden))?;
            rest = &rest[at + hidden.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_char_escape<W>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        let control = match escape {
            CharEscape::Quote => return writer.write_all(b"\\\""),
            CharEscape::ReverseSolidus => return writer.write_all(b"\\\\"),
            CharEscape::Solidus => return writer.write_all(b"\\/"),
            CharEscape::Backspace => 0x08,
            CharEscape::Tab => b'\t',
            CharEscape::LineFeed => b'\n',
            CharEscape::FormFeed => 0x0c,
            CharEscape::CarriageReturn => b'\r',
            CharEscape::AsciiControl(byte) => byte,
        };
        write!(writer, "\\u{control:04x}")
    }
}

/// Whether a character is invisible and changes how others are displayed: controls (C0, DEL, C1),
/// line and paragraph separators, direction marks, the byte order mark.
fn is_hidden(char: char) -> bool {
    matches!(
        char,
        '\0'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}'
    )
}

const DELETE: u8 = 0x7f;

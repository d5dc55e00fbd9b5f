//! Splits lines of text into names. Silence may take the place of a line end.

use crate::wire::PATH_BYTES_MAX;

/// What the input begins with.
#[derive(Debug, PartialEq, Eq)]
pub enum TextEvent {
    /// A request for this name, which is never empty. It is a copy without telnet commands.
    Name(Vec<u8>),
    /// A name longer than a path may be. The rest of its line is dropped.
    TooLong,
    /// An HTTP request line: the peer speaks HTTP.
    Http,
}

/// Splits input into names. It stores no input; the caller's buffer must have space for
/// [`TEXT_LINE_BYTES_MAX`].
#[derive(Debug, Default)]
pub struct TextReader {
    dropping_long_line: bool,
    speaks_telnet: bool,
}

impl TextReader {
    /// Whether a telnet command has come. A telnet client ends each of its lines, so its silence
    /// has no meaning.
    pub fn speaks_telnet(&self) -> bool {
        self.speaks_telnet
    }

    /// Parses the front of `input`. Returns how many bytes are consumed, and what they were.
    /// `ended` means that the stream has ended or that silence completes the line. `(n, None)`
    /// means that more bytes are needed after dropping n.
    pub fn next(&mut self, input: &[u8], ended: bool) -> (usize, Option<TextEvent>) {
        let mut name = Vec::new();
        let mut dropped = 0;
        let mut at = 0;
        while let Some((token, bytes)) = next_token(&input[at..], ended) {
            at += bytes;
            match token {
                Token::End if self.dropping_long_line => self.dropping_long_line = false,
                Token::End if !name.is_empty() => return (at, Some(line(name))),
                Token::Byte(byte) if !self.dropping_long_line => name.push(byte),
                Token::TelnetCommand => self.speaks_telnet = true,
                Token::End | Token::Byte(_) => {}
            }
            if name.is_empty() {
                dropped = at;
            } else if name.len() > PATH_BYTES_MAX || at - dropped > TEXT_LINE_BYTES_MAX {
                self.dropping_long_line = true;
                return (at, Some(TextEvent::TooLong));
            }
        }
        if !ended {
            return (dropped, None);
        }
        self.dropping_long_line = false;
        (at, (!name.is_empty()).then(|| line(name)))
    }
}

fn line(name: Vec<u8>) -> TextEvent {
    if name.ends_with(b" HTTP/1.1") || name.ends_with(b" HTTP/1.0") {
        return TextEvent::Http;
    }
    TextEvent::Name(name)
}

enum Token {
    /// A byte of a name.
    Byte(u8),
    /// LF, CR LF, CR NUL, or a CR that is the very last byte.
    End,
    /// Not part of a name.
    TelnetCommand,
}

/// The first token of `rest` and its length; `None` if it is incomplete, which is impossible once
/// the input has ended. Telnet commands are those of RFC 854 and 855. A 0xFF that begins none of
/// them belongs to the name, as in Latin-1.
fn next_token(rest: &[u8], ended: bool) -> Option<(Token, usize)> {
    match rest {
        [] => None,
        [b'\n', ..] => Some((Token::End, 1)),
        [b'\r', b'\n' | 0, ..] => Some((Token::End, 2)),
        [b'\r'] => ended.then_some((Token::End, 1)),
        [IAC] | [IAC, WILL..=DONT] if !ended => None,
        [IAC, IAC, ..] => Some((Token::Byte(IAC), 2)),
        [IAC, WILL..=DONT, _, ..] => Some((Token::TelnetCommand, 3)),
        [IAC, SE..=GO_AHEAD, ..] => Some((Token::TelnetCommand, 2)),
        [IAC, SB, parameters @ ..] => match subnegotiation_bytes(parameters) {
            Some(bytes) => Some((Token::TelnetCommand, 2 + bytes)),
            None if !ended && parameters.len() < SUBNEGOTIATION_BYTES_MAX => None,
            None => Some((Token::Byte(IAC), 1)),
        },
        [byte, ..] => Some((Token::Byte(*byte), 1)),
    }
}

/// Length of the parameters, including the `IAC SE` that ends them.
fn subnegotiation_bytes(parameters: &[u8]) -> Option<usize> {
    let parameters = &parameters[..parameters.len().min(SUBNEGOTIATION_BYTES_MAX)];
    let mut at = 0;
    while let Some([first, second]) = parameters.get(at..at + 2) {
        match [*first, *second] {
            [IAC, SE] => return Some(at + 2),
            [IAC, _] => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// The longest line of text, in bytes as sent: a name of [`PATH_BYTES_MAX`] bytes, with space to
/// double each of them and for telnet commands.
pub const TEXT_LINE_BYTES_MAX: usize = 4 * PATH_BYTES_MAX;

/// The longest telnet parameters to wait for; terminals send fewer than 100 bytes.
const SUBNEGOTIATION_BYTES_MAX: usize = 512;

const SE: u8 = 240;
const GO_AHEAD: u8 = 249;
const SB: u8 = 250;
const WILL: u8 = 251;
const DONT: u8 = 254;
const IAC: u8 = 255;

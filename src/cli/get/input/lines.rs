//! The lines of a list or of receipts, each of bounded length.

use std::io::{self, BufRead};

use super::ListReadError;
use super::line::LineError;

/// An iterator over the lines that are not empty, without their separators. It holds one line.
pub(in crate::cli::get) struct Lines<R> {
    reader: R,
    separator: u8,
    /// The number of the last line that was read.
    number: u64,
    is_over: bool,
}

/// A line with its number.
pub(in crate::cli::get) struct NumberedLine {
    /// Counted from 1.
    pub(in crate::cli::get) number: u64,
    pub(in crate::cli::get) bytes: Vec<u8>,
    /// Whether the separator is there; the last line may lack it.
    pub(super) is_ended: bool,
}

impl<R: BufRead> Lines<R> {
    /// Splits at this byte: a line feed, which may follow a carriage return, or a NUL.
    pub(in crate::cli::get) fn new(reader: R, separator: u8) -> Lines<R> {
        Lines {
            reader,
            separator,
            number: 0,
            is_over: false,
        }
    }

    /// The number of the last line that was read.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Ends the iteration.
    pub(super) fn stop(&mut self) {
        self.is_over = true;
    }

    /// Reads up to the next separator or the end; `None` at the end. Drops the bytes of a line that
    /// is too long.
    fn read_to_separator(&mut self) -> Result<Option<(Vec<u8>, bool)>, ListReadError> {
        let (mut line, mut length, mut has_begun) = (Vec::new(), 0_usize, false);
        let mut is_ended = false;
        loop {
            let available = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(ListReadError::Read)?,
            };
            if available.is_empty() {
                break;
            }
            has_begun = true;
            let end = available.iter().position(|&byte| byte == self.separator);
            let piece = &available[..end.unwrap_or(available.len())];
            length = length.saturating_add(piece.len());
            if length <= LINE_BYTES_MAX {
                line.extend_from_slice(piece);
            }
            let consumed = end.map_or(piece.len(), |end| end + 1);
            self.reader.consume(consumed);
            if length > ENDLESS_BYTES_MIN {
                self.number += 1;
                return Err(ListReadError::Endless(self.number));
            }
            if end.is_some() {
                is_ended = true;
                break;
            }
        }
        if !has_begun {
            return Ok(None);
        }
        self.number += 1;
        if length > LINE_BYTES_MAX {
            return Err(ListReadError::Line {
                number: self.number,
                problem: LineError::TooLong,
            });
        }
        Ok(Some((line, is_ended)))
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<NumberedLine, ListReadError>;

    fn next(&mut self) -> Option<Result<NumberedLine, ListReadError>> {
        while !self.is_over {
            let (number, is_text) = (self.number + 1, self.separator == b'\n');
            let (mut bytes, is_ended) = match self.read_to_separator() {
                Ok(Some(read)) => read,
                Ok(None) => break,
                Err(error) => {
                    self.is_over = !matches!(error, ListReadError::Line { .. });
                    return Some(Err(error));
                }
            };
            if is_text && number == 1 {
                if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
                    self.is_over = true;
                    return Some(Err(ListReadError::Utf16));
                }
                if bytes.contains(&0) {
                    self.is_over = true;
                    return Some(Err(ListReadError::Nul));
                }
                if bytes.starts_with(BYTE_ORDER_MARK) {
                    bytes.drain(..BYTE_ORDER_MARK.len());
                }
            }
            if is_text && bytes.ends_with(b"\r") {
                bytes.pop();
            }
            if !bytes.is_empty() {
                return Some(Ok(NumberedLine {
                    number,
                    bytes,
                    is_ended,
                }));
            }
        }
        self.is_over = true;
        None
    }
}

/// The longest line. A path of 4,096 bytes has at most six times that in JSON.
pub(super) const LINE_BYTES_MAX: usize = 64 * 1024;
/// A line of this length means that the file has no lines, so reading stops.
pub(super) const ENDLESS_BYTES_MIN: usize = 1024 * 1024;
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

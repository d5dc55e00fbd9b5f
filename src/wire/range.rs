//! The part of a file that a request asks for.

use crate::wire::{ErrorCode, Refusal};

/// `offset` and `length` of a `get`, not yet compared with a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteRange {
    /// The first byte wanted.
    pub offset: u64,
    /// At most so many bytes; `None` means to the end.
    pub length: Option<u64>,
}

impl ByteRange {
    /// The end (exclusive) of the range in a file of `total_size` bytes, cut at its end.
    /// `offset` = `total_size` is legal and empty.
    ///
    /// # Errors
    /// `bad_range` for an offset beyond the end.
    pub fn end(self, total_size: u64) -> Result<u64, Refusal> {
        let Some(available) = total_size.checked_sub(self.offset) else {
            return Err(Refusal::new(
                ErrorCode::BadRange,
                format!("offset is {}, the file has {total_size} bytes", self.offset),
            ));
        };
        Ok(self.offset + self.length.unwrap_or(available).min(available))
    }
}

//! The requested part of a file.

use crate::wire::{ErrorCode, Refusal};

/// `offset` and `length` of a `get`, not yet checked against a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub offset: u64,
    /// Maximum number of bytes; `None` means up to the end.
    pub length: Option<u64>,
}

impl ByteRange {
    /// The end (exclusive) of the range in a file of `total_size` bytes, cut at the file's end.
    /// `offset` = `total_size` is valid and empty.
    ///
    /// # Errors
    /// `bad_range` if the offset is beyond the end.
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

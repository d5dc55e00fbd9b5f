//! The bytes of one file, or a range of it, on their way to a peer.

use std::io;
use std::sync::Arc;

use crate::store::{Object, Stamp};

/// The rest of a body. Holds no bytes: they are read again from `position`.
pub(super) struct Body<O> {
    pub(super) object: Arc<O>,
    /// What the file was when its digest was made.
    pub(super) stamp: Stamp,
    /// The next byte to send.
    pub(super) position: u64,
    /// The first byte not to send.
    pub(super) end: u64,
}

impl<O: Object> Body<O> {
    pub(super) fn is_done(&self) -> bool {
        self.position == self.end
    }

    /// The next bytes, read into `buffer`; `None` if the body must be abandoned: the file is
    /// shorter than it was, or was rewritten. The last byte is given only after that was looked at.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn read<'b>(&self, buffer: &'b mut [u8]) -> io::Result<Option<&'b [u8]>> {
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let room = left.min(buffer.len());
        let count = self.object.read_at(&mut buffer[..room], self.position)?;
        if count == 0 || count == left && !self.stamp.still_begins(&self.object.meta()?.stamp) {
            return Ok(None);
        }
        Ok(Some(&buffer[..count]))
    }
}

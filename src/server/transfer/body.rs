//! The bytes of one answer on their way to a peer: a file's, a range of it, or bytes that were
//! made for it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::server::published::Held;
use crate::server::transfer::outbox::Kept;
use crate::store::{Object, Stamp};

/// The rest of a body.
pub(super) struct Body<O> {
    pub(super) source: Source<O>,
    /// The next byte to send.
    pub(super) position: u64,
    /// The first byte not to send.
    pub(super) end: u64,
}

/// Where the bytes of a body are.
pub(super) enum Source<O> {
    /// In a file; nothing is held, they are read again from the position.
    File {
        object: Arc<O>,
        /// What the file was when its digest was made.
        stamp: Stamp,
    },
    /// In memory.
    Memory(Kept),
    /// In a file that has no name, and so changes no more.
    Output { file: File, _held: Held },
}

impl<O: Object> Body<O> {
    pub(super) fn is_done(&self) -> bool {
        self.position == self.end
    }

    /// The next bytes, read into `buffer` if they are not in memory; `None` if the body must be
    /// abandoned: the file is shorter than it was, or was rewritten. The last byte is given only
    /// after that was looked at.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn read<'b>(&'b self, buffer: &'b mut [u8]) -> io::Result<Option<&'b [u8]>> {
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let room = left.min(buffer.len());
        let (object, stamp) = match &self.source {
            Source::File { object, stamp } => (object, stamp),
            Source::Output { file, .. } => {
                let count = FileExt::read_at(file, &mut buffer[..room], self.position)?;
                return Ok((count > 0).then_some(&buffer[..count]));
            }
            Source::Memory(kept) => {
                let from = usize::try_from(self.position).unwrap_or(usize::MAX);
                return Ok(kept.bytes().get(from..from.saturating_add(room)));
            }
        };
        let count = object.read_at(&mut buffer[..room], self.position)?;
        if count == 0 || count == left && !stamp.still_begins(&object.meta()?.stamp) {
            return Ok(None);
        }
        Ok(Some(&buffer[..count]))
    }
}

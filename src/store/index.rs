//! What is known of digests from earlier: the interface, an index in memory, and one in a file
//! that outlives the process and that several processes share.

mod database;
mod error;
mod file;
mod forgotten;
mod locks;
mod memory;
mod owner;
mod place;
mod sweep;
mod table;
mod writer;

pub use error::{IndexError, IndexEvent};
pub use file::FileIndex;
pub use locks::InUse;
pub use memory::{MEMORY_INDEX_ROWS_MAX, MemoryIndex};

pub(super) use locks::is_open_here;
pub(super) use place::{LOG_SUFFIX, index_beside, is_index, is_set_aside};

use crate::store::{BootId, ObjectMeta, Stamp};
use crate::wire::{Md5Digest, Timestamp};

/// A digest and when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownDigest {
    /// The digest of the bytes under the stamp.
    pub md5: Md5Digest,
    /// When it was made: the look at the file before its bytes were read (for `fresh`).
    pub made: Timestamp,
    /// The boot in which it was made, if nobody could write to the file then: before the
    /// bytes were read, and after that.
    pub quiet_in: Option<BootId>,
}

/// Remembers digests by stamp. Losing it costs time only.
pub trait DigestIndex: Send + Sync + 'static {
    /// The digest kept under exactly this stamp, ctime included.
    fn look_up(&self, stamp: &Stamp) -> Option<KnownDigest>;
    /// Keeps a digest in place of what is kept for this inode. Callers check
    /// [`Stamp::settled`] first. Never waits: an index that cannot keep up forgets.
    fn remember(&self, stamp: &Stamp, known: KnownDigest);
    /// Drops what is kept for this inode: its digest was found wrong.
    fn forget(&self, stamp: &Stamp);
    /// Waits while much is still to be written, for those who remember many in a row and
    /// would rather wait than have them forgotten.
    fn catch_up(&self) {}
}

/// An index that keeps nothing: every digest is made anew.
pub struct NoIndex;

impl DigestIndex for NoIndex {
    fn look_up(&self, _stamp: &Stamp) -> Option<KnownDigest> {
        None
    }

    fn remember(&self, _stamp: &Stamp, _known: KnownDigest) {}

    fn forget(&self, _stamp: &Stamp) {}
}

/// Keeps a digest of bytes that were read after this look and found untouched after that.
///
/// A stamp that has not settled keeps nothing. Where the same stamp already has another
/// digest, the file is written behind its stamp's back: then neither is kept, and the next
/// asker's is made anew.
pub(super) fn keep(index: &dyn DigestIndex, meta: &ObjectMeta, md5: Md5Digest) {
    let stamp = &meta.stamp;
    if !stamp.settled(meta.looked_at) {
        return;
    }
    match index.look_up(stamp) {
        Some(kept) if kept.md5 != md5 => index.forget(stamp),
        _ => index.remember(
            stamp,
            KnownDigest {
                md5,
                made: meta.looked_at,
                quiet_in: None,
            },
        ),
    }
}

#[cfg(test)]
mod tests;

//! Known digests: the interface, an index in memory, and an index in a file that outlives the
//! process and that several processes share.

mod database;
mod error;
mod file;
mod forgotten;
mod location;
mod locks;
mod memory;
mod owner;
mod sweep;
mod table;
mod writer;

pub use error::{IndexError, IndexEvent};
pub use file::FileIndex;
pub use locks::InUse;
pub use memory::{MEMORY_INDEX_ROWS_MAX, MemoryIndex};

pub(super) use location::{LOG_SUFFIX, index_beside, is_index, is_set_aside};
pub(super) use locks::is_written_here;

use crate::store::{BootId, ObjectMeta, Stamp};
use crate::wire::{Md5Digest, Timestamp};

/// A digest, and when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownDigest {
    /// The digest of the bytes under the stamp.
    pub md5: Md5Digest,
    /// When the file was looked at before its bytes were read (for `fresh`).
    pub made: Timestamp,
    /// The boot in which the digest was made, if no process could write to the file before its
    /// bytes were read and after that.
    pub quiet_in: Option<BootId>,
}

/// Remembers digests by stamp. Losing an index costs only time.
pub trait DigestIndex: Send + Sync + 'static {
    /// The digest kept under exactly this stamp, ctime included.
    fn look_up(&self, stamp: &Stamp) -> Option<KnownDigest>;
    /// Keeps a digest, in place of any other for this inode. The caller checks [`Stamp::settled`]
    /// first. Never blocks: an index that cannot keep up drops digests.
    fn remember(&self, stamp: &Stamp, known: KnownDigest);
    /// Removes the digest for this inode, because it was found wrong.
    fn forget(&self, stamp: &Stamp);
    /// Waits while many changes are queued. A caller that remembers many digests in a row uses this
    /// so that none is dropped.
    fn catch_up(&self) {}
}

/// An index that keeps nothing, so that every digest is made anew.
pub struct NoIndex;

impl DigestIndex for NoIndex {
    fn look_up(&self, _stamp: &Stamp) -> Option<KnownDigest> {
        None
    }

    fn remember(&self, _stamp: &Stamp, _known: KnownDigest) {}

    fn forget(&self, _stamp: &Stamp) {}
}

/// Keeps a digest of bytes that were read after this look, if the stamp was the same afterwards.
///
/// A stamp that has not settled keeps nothing. If the stamp has another digest already, the file
/// was changed without a change of its stamp. Then neither digest is kept, and the next request
/// makes a new one.
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

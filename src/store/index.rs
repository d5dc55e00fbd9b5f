//! What is known of digests from earlier: the interface, and an index in memory.

use crate::store::Stamp;
use crate::wire::{Md5Digest, Timestamp};

/// A digest and when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownDigest {
    /// The digest of the bytes under the stamp.
    pub md5: Md5Digest,
    /// When it was made (for `fresh`).
    pub made: Timestamp,
}

/// Remembers digests by stamp. Losing it costs time only.
pub trait DigestIndex: Send + Sync + 'static {
    /// The digest kept under exactly this stamp.
    fn look_up(&self, stamp: &Stamp) -> Option<KnownDigest>;
    /// Keeps a digest. Callers check [`Stamp::settled`] first.
    fn remember(&self, stamp: &Stamp, known: KnownDigest);
    /// Drops what is kept for this inode: its digest was found wrong.
    fn forget(&self, stamp: &Stamp);
}

/// An index that lives as long as the server, with a fixed number of rows.
pub struct MemoryIndex {}

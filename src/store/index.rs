//! What is known of digests from earlier: the interface, and an index in memory.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::store::{ObjectMeta, Stamp};
use crate::wire::{Md5Digest, Timestamp};

/// A digest and when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownDigest {
    /// The digest of the bytes under the stamp.
    pub md5: Md5Digest,
    /// When it was made: the look at the file before its bytes were read (for `fresh`).
    pub made: Timestamp,
}

/// Remembers digests by stamp. Losing it costs time only.
pub trait DigestIndex: Send + Sync + 'static {
    /// The digest kept under exactly this stamp, ctime included.
    fn look_up(&self, stamp: &Stamp) -> Option<KnownDigest>;
    /// Keeps a digest in place of what is kept for this inode. Callers check
    /// [`Stamp::settled`] first.
    fn remember(&self, stamp: &Stamp, known: KnownDigest);
    /// Drops what is kept for this inode: its digest was found wrong.
    fn forget(&self, stamp: &Stamp);
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
            },
        ),
    }
}

/// An index that lives as long as the server, of at most [`MEMORY_INDEX_ROWS_MAX`] rows.
///
/// An inode has its place in one small set of rows; a full set gives up the digest made
/// longest ago. A look-up locks and reads one set and allocates nothing.
pub struct MemoryIndex {
    sets: Box<[Mutex<Vec<Row>>]>,
}

struct Row {
    stamp: Stamp,
    known: KnownDigest,
}

impl Row {
    fn is_of(&self, stamp: &Stamp) -> bool {
        self.stamp.inode == stamp.inode && self.stamp.device == stamp.device
    }
}

impl MemoryIndex {
    /// An empty index.
    pub fn new() -> MemoryIndex {
        MemoryIndex {
            sets: (0..1 << SETS_LOG2).map(|_| Mutex::default()).collect(),
        }
    }

    fn set(&self, stamp: &Stamp) -> MutexGuard<'_, Vec<Row>> {
        // Multiplying by 2^64 / golden ratio spreads neighbouring inodes over the high bits.
        let key = (stamp.inode ^ stamp.device.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let set = &self.sets[(key >> (u64::BITS - SETS_LOG2)) as usize];
        set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryIndex {
    fn default() -> MemoryIndex {
        MemoryIndex::new()
    }
}

impl DigestIndex for MemoryIndex {
    fn look_up(&self, stamp: &Stamp) -> Option<KnownDigest> {
        self.set(stamp)
            .iter()
            .find(|row| row.stamp == *stamp)
            .map(|row| row.known)
    }

    fn remember(&self, stamp: &Stamp, known: KnownDigest) {
        let row = Row {
            stamp: *stamp,
            known,
        };
        let mut set = self.set(stamp);
        if let Some(kept) = set.iter_mut().find(|row| row.is_of(stamp)) {
            *kept = row;
        } else if set.len() < SET_ROWS_MAX {
            set.push(row);
        } else if let Some(oldest) = set.iter_mut().min_by_key(|row| row.known.made) {
            *oldest = row;
        }
    }

    fn forget(&self, stamp: &Stamp) {
        self.set(stamp).retain(|row| !row.is_of(stamp));
    }
}

/// The most rows a [`MemoryIndex`] keeps; at about 90 bytes each 23 MiB when full.
pub const MEMORY_INDEX_ROWS_MAX: usize = SET_ROWS_MAX << SETS_LOG2;
const SET_ROWS_MAX: usize = 16;
const SETS_LOG2: u32 = 14;

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(inode: u64) -> Stamp {
        let time = Timestamp {
            seconds: 5,
            nanoseconds: 6,
        };
        Stamp {
            device: 1,
            inode,
            size: 3,
            mtime: time,
            ctime: time,
        }
    }

    fn known(byte: u8, seconds: i64) -> KnownDigest {
        KnownDigest {
            md5: Md5Digest::from_bytes([byte; 16]),
            made: Timestamp {
                seconds,
                nanoseconds: 0,
            },
        }
    }

    #[test]
    fn answers_exactly_the_stamp_it_was_told() {
        let index = MemoryIndex::new();
        let kept = stamp(7);
        let later = Timestamp {
            seconds: 5,
            nanoseconds: 7,
        };
        index.remember(&kept, known(1, 0));
        assert_eq!(index.look_up(&kept), Some(known(1, 0)));
        for other in [
            Stamp { device: 2, ..kept },
            Stamp { inode: 8, ..kept },
            Stamp { size: 4, ..kept },
            Stamp {
                mtime: later,
                ..kept
            },
            Stamp {
                ctime: later,
                ..kept
            },
        ] {
            assert_eq!(index.look_up(&other), None, "{other:?}");
        }
    }

    #[test]
    fn keeps_one_row_per_inode() {
        let index = MemoryIndex::new();
        let before = stamp(7);
        let after = Stamp { size: 4, ..before };
        index.remember(&before, known(1, 0));
        index.remember(&after, known(2, 0));
        assert_eq!(index.look_up(&before), None);
        assert_eq!(index.look_up(&after), Some(known(2, 0)));
        index.forget(&before);
        assert_eq!(index.look_up(&after), None);
    }

    #[test]
    fn never_has_more_rows_than_its_maximum_and_gives_up_the_oldest() {
        let index = MemoryIndex::new();
        let last = MEMORY_INDEX_ROWS_MAX as u64 + 50_000;
        for inode in 0..=last {
            index.remember(&stamp(inode), known(1, inode.cast_signed()));
        }
        let rows: usize = index.sets.iter().map(|set| set.lock().unwrap().len()).sum();
        assert!(rows <= MEMORY_INDEX_ROWS_MAX);
        assert!(
            rows > MEMORY_INDEX_ROWS_MAX / 10 * 9,
            "{rows} rows: the sets fill unevenly"
        );
        assert!(index.look_up(&stamp(last)).is_some());
        assert!(index.look_up(&stamp(0)).is_none());
    }
}

//! An index that lives as long as the process.

use super::table::{InodeTable, TABLE_ROWS_MAX};
use crate::store::{DigestIndex, KnownDigest, Stamp};

/// An index that lives as long as the process, of at most [`MEMORY_INDEX_ROWS_MAX`] rows. A
/// look-up allocates nothing.
pub struct MemoryIndex(InodeTable<KnownDigest>);

impl MemoryIndex {
    /// An empty index.
    pub fn new() -> MemoryIndex {
        MemoryIndex(InodeTable::new())
    }
}

impl Default for MemoryIndex {
    fn default() -> MemoryIndex {
        MemoryIndex::new()
    }
}

impl DigestIndex for MemoryIndex {
    fn look_up(&self, stamp: &Stamp) -> Option<KnownDigest> {
        self.0.get(stamp)
    }

    fn remember(&self, stamp: &Stamp, known: KnownDigest) {
        self.0.put(stamp, known);
    }

    fn forget(&self, stamp: &Stamp) {
        self.0.remove(stamp);
    }
}

/// The most rows a [`MemoryIndex`] keeps.
pub const MEMORY_INDEX_ROWS_MAX: usize = TABLE_ROWS_MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::index::tests::{known, stamp, time};

    #[test]
    fn answers_exactly_the_stamp_it_was_told() {
        let index = MemoryIndex::new();
        let kept = stamp(7);
        let later = time(5, 7);
        index.remember(&kept, known(1));
        assert_eq!(index.look_up(&kept), Some(known(1)));
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
        index.remember(&before, known(1));
        index.remember(&after, known(2));
        assert_eq!(index.look_up(&before), None);
        assert_eq!(index.look_up(&after), Some(known(2)));
        index.forget(&before);
        assert_eq!(index.look_up(&after), None);
    }
}

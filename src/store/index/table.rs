//! A table of bounded size with one row for each inode.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::store::Stamp;

/// Values by stamp, one for each inode, at most [`TABLE_ROWS_MAX`] in all.
///
/// Each inode belongs to one small set of rows. A full set drops its oldest row. A look-up locks
/// and reads one set and allocates nothing.
pub(super) struct InodeTable<V> {
    sets: Box<[Mutex<Vec<Row<V>>>]>,
}

struct Row<V> {
    stamp: Stamp,
    value: V,
}

impl<V> Row<V> {
    fn is_of(&self, stamp: &Stamp) -> bool {
        self.stamp.inode == stamp.inode && self.stamp.device == stamp.device
    }
}

impl<V: Copy> InodeTable<V> {
    /// An empty table.
    pub(super) fn new() -> InodeTable<V> {
        InodeTable {
            sets: (0..1 << SETS_LOG2).map(|_| Mutex::default()).collect(),
        }
    }

    /// The value under exactly this stamp.
    pub(super) fn get(&self, stamp: &Stamp) -> Option<V> {
        self.update(stamp, |value| *value)
    }

    /// Changes the value under exactly this stamp in place.
    pub(super) fn update<R>(&self, stamp: &Stamp, change: impl FnOnce(&mut V) -> R) -> Option<R> {
        let mut set = self.set(stamp);
        let row = set.iter_mut().find(|row| row.stamp == *stamp)?;
        Some(change(&mut row.value))
    }

    /// Sets the value for this inode.
    pub(super) fn put(&self, stamp: &Stamp, value: V) {
        put_into(&mut self.set(stamp), stamp, value);
    }

    /// Sets the value for this inode, unless there is one under exactly this stamp. Returns the
    /// value that is there then.
    pub(super) fn put_if_new(&self, stamp: &Stamp, value: V) -> V {
        let mut set = self.set(stamp);
        if let Some(row) = set.iter().find(|row| row.stamp == *stamp) {
            return row.value;
        }
        put_into(&mut set, stamp, value);
        value
    }

    /// Removes the row of this inode.
    pub(super) fn remove(&self, stamp: &Stamp) {
        self.set(stamp).retain(|row| !row.is_of(stamp));
    }

    fn set(&self, stamp: &Stamp) -> MutexGuard<'_, Vec<Row<V>>> {
        // Multiplying by 2^64 / golden ratio spreads adjacent inodes over the high bits.
        let key = (stamp.inode ^ stamp.device.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let set = &self.sets[(key >> (u64::BITS - SETS_LOG2)) as usize];
        set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put_into<V>(set: &mut Vec<Row<V>>, stamp: &Stamp, value: V) {
    let stamp = *stamp;
    if let Some(at) = set.iter().position(|row| row.is_of(&stamp)) {
        set.remove(at);
    } else if set.len() == SET_ROWS_MAX {
        set.remove(0);
    }
    set.push(Row { stamp, value });
}

/// The most rows of a table; at about 100 bytes each 26 MiB when full.
pub(super) const TABLE_ROWS_MAX: usize = SET_ROWS_MAX << SETS_LOG2;
const SET_ROWS_MAX: usize = 16;
const SETS_LOG2: u32 = 14;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::index::tests::stamp;

    #[test]
    fn drops_the_oldest_rows_beyond_its_maximum() {
        let table = InodeTable::new();
        let last = TABLE_ROWS_MAX as u64 + 50_000;
        for inode in 0..=last {
            table.put(&stamp(inode), ());
        }
        let rows: usize = table.sets.iter().map(|set| set.lock().unwrap().len()).sum();
        assert!(rows <= TABLE_ROWS_MAX);
        assert!(
            rows > TABLE_ROWS_MAX / 10 * 9,
            "{rows} rows: the sets fill unevenly"
        );
        assert!(table.get(&stamp(last)).is_some());
        assert!(table.get(&stamp(0)).is_none());
    }

    #[test]
    fn an_existing_row_of_the_same_stamp_stays() {
        let table = InodeTable::new();
        let (old, new) = (
            stamp(7),
            Stamp {
                size: 4,
                ..stamp(7)
            },
        );
        assert_eq!(table.put_if_new(&old, 1), 1);
        assert_eq!(table.put_if_new(&old, 2), 1);
        assert_eq!(table.put_if_new(&new, 3), 3);
        assert_eq!((table.get(&old), table.get(&new)), (None, Some(3)));
    }
}

//! Digests that were found wrong, until they are removed from the file.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::database::Key;

/// Inodes whose rows in the file must be ignored, because they were found wrong and are not removed
/// yet. There are few: each was a file that changed without a change of its stamp.
#[derive(Default)]
pub(super) struct Forgotten(Mutex<ForgottenTable>);

#[derive(Default)]
struct ForgottenTable {
    rows: HashMap<Key, ForgottenRow>,
    marks: Mark,
    /// There were too many, so the whole file is ignored from then on.
    is_overrun: bool,
}

struct ForgottenRow {
    /// When the row was last found wrong.
    mark: Mark,
    /// The writer's queue was full, or the removal failed.
    is_postponed: bool,
}

/// A counter that grows with each row that is found wrong.
pub(super) type Mark = u64;

/// The rows that a batch removes, and when they were found wrong.
pub(super) type RemovedRows = HashMap<Key, Mark>;

impl Forgotten {
    /// Whether the row of an inode in the file must be ignored.
    pub(super) fn has(&self, key: Key) -> bool {
        let table = self.lock();
        table.is_overrun || table.rows.contains_key(&key)
    }

    /// Notes that a row was found wrong. The caller then sends its removal to the writer.
    pub(super) fn add(&self, key: Key) -> Mark {
        let mut table = self.lock();
        table.marks += 1;
        let mark = table.marks;
        if table.rows.len() >= FORGOTTEN_ROWS_MAX && !table.rows.contains_key(&key) {
            table.is_overrun = true;
            return mark;
        }
        let is_postponed = false;
        table.rows.insert(key, ForgottenRow { mark, is_postponed });
        mark
    }

    /// Notes that the removal was not sent or failed, so that it is tried again.
    pub(super) fn postpone(&self, key: Key, mark: Mark) {
        if let Some(row) = self.lock().rows.get_mut(&key)
            && row.mark == mark
        {
            row.is_postponed = true;
        }
    }

    /// The postponed removals.
    pub(super) fn take_postponed(&self) -> Vec<(Key, Mark)> {
        let mut table = self.lock();
        let postponed = table.rows.iter_mut().filter(|(_, row)| row.is_postponed);
        postponed
            .map(|(key, row)| {
                row.is_postponed = false;
                (*key, row.mark)
            })
            .collect()
    }

    /// Notes that rows are removed from the file, except those found wrong again meanwhile.
    pub(super) fn done(&self, removed: &RemovedRows) {
        let mut table = self.lock();
        for (key, mark) in removed {
            if table.rows.get(key).is_some_and(|row| row.mark <= *mark) {
                table.rows.remove(key);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, ForgottenTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// About 3 MiB.
const FORGOTTEN_ROWS_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::index::tests::stamp;

    fn key(inode: u64) -> Key {
        Key::of(&stamp(inode))
    }

    #[test]
    fn a_row_found_wrong_again_stays_forgotten() {
        let forgotten = Forgotten::default();
        let first = forgotten.add(key(1));
        let second = forgotten.add(key(1));
        forgotten.done(&RemovedRows::from([(key(1), first)]));
        assert!(forgotten.has(key(1)));
        forgotten.postpone(key(1), first);
        assert_eq!(forgotten.take_postponed(), []);
        forgotten.postpone(key(1), second);
        assert_eq!(forgotten.take_postponed(), [(key(1), second)]);
        assert_eq!(forgotten.take_postponed(), []);
        forgotten.done(&RemovedRows::from([(key(1), second)]));
        assert!(!forgotten.has(key(1)));
    }

    #[test]
    fn too_many_forgotten_rows_forget_everything() {
        let forgotten = Forgotten::default();
        for inode in 0..FORGOTTEN_ROWS_MAX as u64 {
            forgotten.add(key(inode));
        }
        let another = key(FORGOTTEN_ROWS_MAX as u64);
        assert!(!forgotten.has(another));
        forgotten.add(key(0));
        assert!(!forgotten.has(another));
        forgotten.add(another);
        assert!(forgotten.has(key(u64::MAX)));
        assert_eq!(forgotten.lock().rows.len(), FORGOTTEN_ROWS_MAX);
    }
}

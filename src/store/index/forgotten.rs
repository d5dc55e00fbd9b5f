//! Digests that were found wrong, until they are removed from the file.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::database::Key;

/// Inodes whose rows in the file must be ignored, because they were found wrong and are not removed
/// yet. There are few: each was a file that changed without a change of its stamp.
#[derive(Default)]
pub(super) struct Forgotten(Mutex<Table>);

#[derive(Default)]
struct Table {
    rows: HashMap<Key, Row>,
    marks: Mark,
    /// There were too many, so the whole file is ignored from then on.
    is_overrun: bool,
}

struct Row {
    /// When the row was last found wrong.
    mark: Mark,
    /// The writer's queue was full, or the removal failed.
    is_put_off: bool,
}

/// A counter that grows with each row that is found wrong.
pub(super) type Mark = u64;

/// The rows that a batch removes, and when they were found wrong.
pub(super) type Removed = HashMap<Key, Mark>;

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
        let is_put_off = false;
        table.rows.insert(key, Row { mark, is_put_off });
        mark
    }

    /// Notes that the removal was not sent or failed, so that it is tried again.
    pub(super) fn put_off(&self, key: Key, mark: Mark) {
        if let Some(row) = self.lock().rows.get_mut(&key)
            && row.mark == mark
        {
            row.is_put_off = true;
        }
    }

    /// The postponed removals.
    pub(super) fn put_off_until_now(&self) -> Vec<(Key, Mark)> {
        let mut table = self.lock();
        let put_off = table.rows.iter_mut().filter(|(_, row)| row.is_put_off);
        put_off
            .map(|(key, row)| {
                row.is_put_off = false;
                (*key, row.mark)
            })
            .collect()
    }

    /// Notes that rows are removed from the file, except those found wrong again meanwhile.
    pub(super) fn done(&self, removed: &Removed) {
        let mut table = self.lock();
        for (key, mark) in removed {
            if table.rows.get(key).is_some_and(|row| row.mark <= *mark) {
                table.rows.remove(key);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
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
    fn what_was_found_wrong_again_meanwhile_is_not_done() {
        let forgotten = Forgotten::default();
        let first = forgotten.add(key(1));
        let second = forgotten.add(key(1));
        forgotten.done(&Removed::from([(key(1), first)]));
        assert!(forgotten.has(key(1)));
        forgotten.put_off(key(1), first);
        assert_eq!(forgotten.put_off_until_now(), []);
        forgotten.put_off(key(1), second);
        assert_eq!(forgotten.put_off_until_now(), [(key(1), second)]);
        assert_eq!(forgotten.put_off_until_now(), []);
        forgotten.done(&Removed::from([(key(1), second)]));
        assert!(!forgotten.has(key(1)));
    }

    #[test]
    fn too_many_are_all_that_there_is() {
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

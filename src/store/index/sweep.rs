//! Removes rows that were not used for long, and the oldest if there are too many.

use std::collections::BTreeMap;

use super::IndexError;
use super::database::{Batch, Change, Database, Day, Key};

/// A pass over all rows in short steps, so that other writers do not wait long.
pub(super) struct Sweep {
    after: Key,
    rows: u64,
    used: BTreeMap<Day, u64>,
    surplus: Option<Surplus>,
    rows_max: u64,
}

/// This many rows that were last used on this day or earlier are too many.
struct Surplus {
    day: Day,
    rows: u64,
}

impl Sweep {
    /// A new pass. After it, at most `rows_max` rows are left.
    pub(super) fn new(rows_max: u64) -> Sweep {
        Sweep {
            after: Key::FIRST,
            rows: 0,
            used: BTreeMap::new(),
            surplus: None,
            rows_max,
        }
    }

    /// Makes one step. After the last one, returns the number of rows.
    pub(super) fn step(
        &mut self,
        database: &mut Database,
        today: Day,
    ) -> Result<Option<u64>, IndexError> {
        let rows = database.rows_after(self.after, STEP_ROWS)?;
        let Some(&(last, _)) = rows.last() else {
            return Ok(self.finish_pass());
        };
        let expired = rows
            .iter()
            .filter(|(_, used)| self.should_remove(*used, today));
        let batch: Batch = expired.map(|(key, _)| (*key, Change::Remove)).collect();
        if !batch.is_empty() {
            database.write(&batch)?;
        }
        self.after = last;
        Ok(None)
    }

    /// Whether to remove a row. Counts the rows that stay.
    fn should_remove(&mut self, used: Day, today: Day) -> bool {
        if used.saturating_add(UNUSED_DAYS_MAX) < today {
            return true;
        }
        if let Some(surplus) = &mut self.surplus
            && used <= surplus.day
            && surplus.rows > 0
        {
            surplus.rows -= 1;
            return true;
        }
        self.rows += 1;
        if self.surplus.is_none() {
            *self.used.entry(used).or_default() += 1;
        }
        false
    }

    /// At the end of the table: starts again if too many rows are left.
    fn finish_pass(&mut self) -> Option<u64> {
        if self.surplus.is_some() || self.rows <= self.rows_max {
            return Some(self.rows);
        }
        // Remove an eighth more than necessary, so that the next sweep is not needed at once.
        let rows = self.rows - self.rows_max / 8 * 7;
        let mut older = 0;
        let day = self.used.iter().find_map(|(day, count)| {
            older += count;
            (older >= rows).then_some(*day)
        });
        self.surplus = day.map(|day| Surplus { day, rows });
        self.after = Key::FIRST;
        self.rows = 0;
        None
    }
}

/// A row is used when its digest is looked up or made; the day is only updated monthly (see
/// [`super::file`]).
const UNUSED_DAYS_MAX: Day = 120;
/// A step takes about 2 ms, or 10 ms if it removes all of its rows.
const STEP_ROWS: u32 = 5_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::index::tests::{known, stamp};

    /// The last-used days of the rows that are left after a sweep.
    fn swept(days: impl Iterator<Item = Day>, today: Day, rows_max: u64) -> Vec<Day> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("index");
        std::fs::write(&path, "").unwrap();
        let mut database = Database::open(&path, Duration::ZERO).unwrap();
        let batch = days.zip(0..).map(|(day, inode)| {
            let stamp = stamp(inode);
            (Key::of(&stamp), Change::Put(stamp, known(1), day))
        });
        database.write(&batch.collect()).unwrap();
        let mut sweep = Sweep::new(rows_max);
        let rows = loop {
            if let Some(rows) = sweep.step(&mut database, today).unwrap() {
                break rows;
            }
        };
        let left = database.rows_after(Key::FIRST, u32::MAX).unwrap();
        assert_eq!(left.len() as u64, rows);
        left.into_iter().map(|(_, day)| day).collect()
    }

    #[test]
    fn rows_go_on_the_day_after_their_last_day() {
        let today = 1_000;
        let last = today - UNUSED_DAYS_MAX;
        let left = swept(
            [last, last - 1, today, 0, today + 9].into_iter(),
            today,
            100,
        );
        assert_eq!(left, [last, today, today + 9]);
    }

    #[test]
    fn rows_up_to_the_limit_stay() {
        let rows = STEP_ROWS + 3;
        let left = swept((0..rows).map(|_| 7), 7, rows.into());
        assert_eq!(left.len(), rows as usize);
    }

    #[test]
    fn the_oldest_rows_go_if_there_are_too_many() {
        let days = (0..STEP_ROWS * 2).map(|row| row % 100);
        let left = swept(days, 100, 8_000);
        assert_eq!(left.len(), 7_000);
        assert!(left.iter().all(|day| *day >= 30));
        let equally_old = swept((0..801).map(|_| 5), 5, 800);
        assert_eq!(equally_old.len(), 700);
    }
}

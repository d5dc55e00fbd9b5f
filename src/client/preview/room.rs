//! What would be taken of file systems, added up in the order in which it would be.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use super::Change;
use super::Prospect;
use crate::client::Action;
use crate::store::StageError;

/// What a batch needs of one file system, and what that has.
///
/// A file that is replaced needs its room until the new one has its name; what is there of a
/// file that would be resumed is not needed again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Room {
    device: u64,
    /// A folder on it.
    pub folder: PathBuf,
    /// The most bytes that are taken at once, beyond what is taken now.
    pub needed_bytes: u64,
    /// Bytes that are free for this user, if that is known.
    pub free_bytes: Option<u64>,
    /// More than these cannot fit, if that is known; what is free may be less, where it is advice.
    pub fitting_bytes_max: Option<u64>,
    /// The same of files, folders and links.
    pub needed_files: u64,
    /// Files, folders and links that may still be made, if there is a limit.
    pub free_files: Option<u64>,
    /// What is free is what may be written: see [`Space`](crate::store::Space).
    pub is_exact: bool,
}

impl Room {
    /// Both are about one file system.
    pub(super) fn is_with(&self, other: &Room) -> bool {
        self.device == other.device
    }

    /// Adds what else is needed.
    pub(super) fn add(&mut self, other: &Room) {
        self.needed_bytes = self.needed_bytes.saturating_add(other.needed_bytes);
        self.needed_files = self.needed_files.saturating_add(other.needed_files);
    }

    /// Those that are asked for most first.
    pub(super) fn sort(rooms: &mut [Room]) {
        rooms.sort_by_key(|room| Reverse((room.lacks_bytes(), room.needed_bytes)));
    }

    /// There are too few bytes.
    pub fn lacks_bytes(&self) -> bool {
        self.free_bytes.is_some_and(|free| self.needed_bytes > free)
    }

    /// It does not fit, and not merely as far as the file system says.
    pub fn is_too_small(&self) -> bool {
        let lacks_bytes = self
            .fitting_bytes_max
            .is_some_and(|max| self.needed_bytes > max);
        lacks_bytes || self.is_exact && self.lacks_files()
    }

    /// There may not be as many files.
    pub fn lacks_files(&self) -> bool {
        self.free_files.is_some_and(|free| self.needed_files > free)
    }
}

/// All file systems.
#[derive(Default)]
pub(in crate::client) struct Rooms {
    taken: Vec<Taken>,
    made: Made,
}

struct Taken {
    room: Room,
    bytes: Level,
    files: Level,
}

/// How much more is taken than in the beginning. A sum of anything that listings claim fits.
#[derive(Default)]
struct Level {
    now: i128,
    most: i128,
}

impl Level {
    fn change(&mut self, by: u64, then_back: u64) {
        self.most = self.most.max(self.now + i128::from(by));
        self.now += i128::from(by) - i128::from(then_back);
    }

    fn most(&self) -> u64 {
        u64::try_from(self.most).unwrap_or(u64::MAX)
    }
}

impl Rooms {
    /// Adds what a change at a place takes, and the folders that have to be made for it.
    ///
    /// # Errors
    /// [`StageError::NoSpace`]: it alone is more than there is.
    pub(in crate::client) fn take(
        &mut self,
        change: &Change,
        place: &Path,
    ) -> Result<(), StageError> {
        let Some(space) = change.ground.space() else {
            return Ok(());
        };
        let (bytes, files) = match change.prospect {
            Prospect::Present {
                action, total_size, ..
            } => match action {
                Action::Fetched => (space.taken_by(total_size), 1),
                Action::Resumed { from } => {
                    let taken = space.taken_by(from);
                    (space.taken_by(total_size).saturating_sub(taken), 0)
                }
                Action::Linked => (space.taken_by_copy(total_size), 1),
                Action::Link => (0, 1),
                Action::Identical | Action::Skipped => return Ok(()),
            },
            Prospect::Folder => (0, self.made.take(place.ancestors().take(1))),
            Prospect::PassedOver(_) => return Ok(()),
        };
        let above = place.ancestors().skip(1).take(change.ground.missing());
        let files = files + self.made.take(above);
        let device = change.ground.device();
        let known = &self.taken;
        let at = known.iter().position(|taken| taken.room.device == device);
        let at = at.unwrap_or_else(|| {
            self.taken.push(Taken {
                room: Room {
                    device,
                    folder: change.ground.directory().to_owned(),
                    needed_bytes: 0,
                    free_bytes: space.free_bytes,
                    fitting_bytes_max: space.fitting_bytes_max,
                    needed_files: 0,
                    free_files: space.free_files,
                    is_exact: space.is_exact,
                },
                bytes: Level::default(),
                files: Level::default(),
            });
            self.taken.len() - 1
        });
        let taken = &mut self.taken[at];
        let (replaced, gone) = match change.replaced_bytes {
            Some(bytes) => (space.taken_by(bytes), 1),
            None => (0, 0),
        };
        taken.bytes.change(bytes, replaced);
        taken.files.change(files, gone);
        if space.may_take(bytes) {
            return Ok(());
        }
        Err(StageError::NoSpace {
            needed: bytes,
            available: space.free_bytes.unwrap_or_default(),
        })
    }

    /// What everything needs, most first.
    pub(in crate::client) fn sum_up(self) -> Vec<Room> {
        let sum = |taken: Taken| Room {
            needed_bytes: taken.bytes.most(),
            needed_files: taken.files.most(),
            ..taken.room
        };
        let mut rooms: Vec<Room> = self.taken.into_iter().map(sum).collect();
        Room::sort(&mut rooms);
        rooms
    }
}

/// Folders that would be there by then.
#[derive(Default)]
struct Made {
    known: HashSet<u64>,
    hasher: RandomState,
}

impl Made {
    /// Adds a folder and those above it that are missing, too. Returns how many are new.
    fn take<'p>(&mut self, innermost_first: impl Iterator<Item = &'p Path>) -> u64 {
        // What ends with `..` is there once the one above it is.
        let made = innermost_first.filter(|folder| folder.file_name().is_some());
        let new = made.take_while(|folder| self.known.insert(self.hasher.hash_one(folder)));
        new.count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_once_and_with_those_above_it_that_are_missing() {
        let mut made = Made::default();
        let mut take = |folder, missing| made.take(Path::new(folder).ancestors().take(missing));
        assert_eq!(take("here/x/y/z", 3), 3);
        assert_eq!(take("here/x/y/z", 3), 0);
        assert_eq!(take("here/x/y/other/deep", 4), 2);
        assert_eq!(take("new/gone/../a", 4), 3);
    }

    #[test]
    fn what_is_replaced_needs_its_room_until_the_new_one_is_there_and_no_longer() {
        let mut level = Level::default();
        level.change(10, 0);
        level.change(10, 15);
        assert_eq!((level.now, level.most()), (5, 20));
        level.change(10, 15);
        assert_eq!((level.now, level.most()), (0, 20));
        level.change(21, 0);
        assert_eq!(level.most(), 21);
    }

    #[test]
    fn what_listings_claim_does_not_overflow() {
        let mut level = Level::default();
        (0..1_000).for_each(|_| level.change(u64::MAX, 0));
        assert_eq!(level.most(), u64::MAX);
    }
}

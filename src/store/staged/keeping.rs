//! What the file systems of a destination keep, as far as their refusals have shown.

use std::collections::HashMap;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::new_modes::NewModes;

/// What could not be kept of files, directories and links, since their file system cannot.
/// Their bytes are in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unkept {
    /// Files and directories without the permissions of the server.
    pub permissions: u64,
    /// Files, directories and links without the time of the server.
    pub times: u64,
    /// Symbolic links that could not be made.
    pub links: u64,
    /// Calls that were to make something survive a power cut.
    pub syncs: u64,
}

impl Unkept {
    /// Whether everything was kept.
    pub fn is_empty(&self) -> bool {
        *self == Unkept::default()
    }
}

impl AddAssign for Unkept {
    fn add_assign(&mut self, other: Unkept) {
        self.permissions += other.permissions;
        self.times += other.times;
        self.links += other.links;
        self.syncs += other.syncs;
    }
}

/// What a file system did not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    Permissions,
    Time,
    Link,
    Sync,
}

/// Shared by a destination and all its directories.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    permissions: AtomicU64,
    times: AtomicU64,
    links: AtomicU64,
    syncs: AtomicU64,
    /// What new files and directories are made with; 0 is the default.
    file_mode: AtomicU32,
    directory_mode: AtomicU32,
    /// The device on which something could be made last; 0 is none.
    writable_device: AtomicU64,
    /// Partial files cannot be locked.
    lacks_locks: AtomicBool,
    /// Of each device: in how many files in a row attributes could not be changed.
    refusals: Mutex<HashMap<u64, u32>>,
}

impl Keeping {
    /// Counts what could not be kept of something new.
    pub(super) fn count(&self, loss: Loss) {
        let counter = match loss {
            Loss::Permissions => {
                // Otherwise what comes next would be for this user alone, for ever.
                self.make_ordinary();
                &self.permissions
            }
            Loss::Time => &self.times,
            Loss::Link => &self.links,
            Loss::Sync => &self.syncs,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn unkept(&self) -> Unkept {
        Unkept {
            permissions: self.permissions.load(Relaxed),
            times: self.times.load(Relaxed),
            links: self.links.load(Relaxed),
            syncs: self.syncs.load(Relaxed),
        }
    }

    /// Makes new files and directories with these modes, unless nobody can set modes here.
    pub(super) fn make_with(&self, modes: NewModes) {
        if self.modes() != NewModes::ORDINARY {
            self.set_modes(modes);
        }
    }

    /// Makes new files and directories with the modes that those of any program get: nobody can
    /// set them.
    pub(super) fn make_ordinary(&self) {
        self.set_modes(NewModes::ORDINARY);
    }

    /// What new files and directories are made with, before the umask or a default ACL.
    pub(super) fn modes(&self) -> NewModes {
        let or_default = |mode, default| if mode == 0 { default } else { mode };
        let NewModes { files, folders } = NewModes::default();
        NewModes {
            files: or_default(self.file_mode.load(Relaxed), files),
            folders: or_default(self.directory_mode.load(Relaxed), folders),
        }
    }

    fn set_modes(&self, modes: NewModes) {
        self.file_mode.store(modes.files, Relaxed);
        self.directory_mode.store(modes.folders, Relaxed);
    }

    pub(super) fn note_writable(&self, device: u64) {
        self.writable_device.store(device, Relaxed);
    }

    pub(super) fn is_writable(&self, device: u64) -> bool {
        self.writable_device.load(Relaxed) == device
    }

    pub(super) fn has_writable_device(&self) -> bool {
        !self.is_writable(0)
    }

    pub(super) fn note_lack_of_locks(&self) {
        self.lacks_locks.store(true, Relaxed);
    }

    pub(super) fn lacks_locks(&self) -> bool {
        self.lacks_locks.load(Relaxed)
    }

    /// Whether it is worth it to change attributes of something that was there before: a device
    /// that has refused often in a row is not tried any more.
    pub(super) fn may_change(&self, device: u64) -> bool {
        let refusals = self.lock_refusals();
        refusals
            .get(&device)
            .is_none_or(|&count| count < REFUSALS_MAX)
    }

    /// Notes whether attributes of something that was there before could be changed.
    pub(super) fn note_change(&self, device: u64, is_changed: bool) {
        let mut refusals = self.lock_refusals();
        if is_changed {
            refusals.remove(&device);
        } else {
            *refusals.entry(device).or_default() += 1;
        }
    }

    fn lock_refusals(&self) -> MutexGuard<'_, HashMap<u64, u32>> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A few files in a row may be those of another user, on a device that can.
const REFUSALS_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_refuses_sixteen_times_in_a_row_is_not_tried_any_more() {
        let keeping = Keeping::default();
        for _ in 0..15 {
            keeping.note_change(1, false);
        }
        assert!(keeping.may_change(1));
        keeping.note_change(1, true);
        for _ in 0..16 {
            assert!(keeping.may_change(1));
            keeping.note_change(1, false);
        }
        assert!(!keeping.may_change(1) && keeping.may_change(2));
    }

    #[test]
    fn modes_are_ordinary_once_permissions_are_refused() {
        let keeping = Keeping::default();
        keeping.count(Loss::Time);
        assert_eq!(keeping.modes(), NewModes::default());
        keeping.count(Loss::Permissions);
        assert_eq!(keeping.modes(), NewModes::ORDINARY);
        let unkept = keeping.unkept();
        assert_eq!((unkept.permissions, unkept.times), (1, 1));
    }

    #[test]
    fn what_was_not_kept_adds_up() {
        let mut sum = Unkept::default();
        assert!(sum.is_empty());
        let one = Unkept {
            permissions: 1,
            times: 2,
            links: 3,
            syncs: 4,
        };
        sum += one;
        assert_eq!(sum, one);
        sum += Unkept { syncs: 5, ..one };
        let both = Unkept {
            permissions: 2,
            times: 4,
            links: 6,
            syncs: 9,
        };
        assert_eq!(sum, both);
        for loss in [
            Unkept {
                permissions: 1,
                ..Unkept::default()
            },
            Unkept {
                times: 1,
                ..Unkept::default()
            },
            Unkept {
                links: 1,
                ..Unkept::default()
            },
            Unkept {
                syncs: 1,
                ..Unkept::default()
            },
        ] {
            assert!(!loss.is_empty(), "{loss:?}");
        }
    }
}

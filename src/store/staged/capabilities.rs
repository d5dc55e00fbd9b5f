//! What the file systems of a destination support, as far as their errors have shown.

use std::collections::HashMap;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::new_modes::NewModes;

/// Counts of what the file system could not store. The bytes of all files are in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unkept {
    /// Files and directories without the permissions of the server.
    pub permissions: u64,
    /// Files, directories and links without the time of the server.
    pub times: u64,
    /// Symbolic links that could not be made.
    pub links: u64,
    /// Syncs that the file system does not support.
    pub syncs: u64,
}

impl Unkept {
    /// Whether nothing was lost.
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

/// A thing that the file system could not store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    Permissions,
    Time,
    Link,
    Sync,
}

/// The state that a destination shares with all its directories.
#[derive(Debug, Default)]
pub(super) struct Capabilities {
    permissions: AtomicU64,
    times: AtomicU64,
    links: AtomicU64,
    syncs: AtomicU64,
    /// Modes of new files and directories; 0 stands for the default.
    file_mode: AtomicU32,
    directory_mode: AtomicU32,
    /// The device on which something was created last; 0 for none.
    writable_device: AtomicU64,
    /// Partial files cannot be locked.
    lacks_locks: AtomicBool,
    /// By device: how many files in a row refused a change of attributes.
    refusals: Mutex<HashMap<u64, u32>>,
}

impl Capabilities {
    /// Counts a loss for a new entry.
    pub(super) fn count(&self, loss: Loss) {
        let counter = match loss {
            Loss::Permissions => {
                // New files could otherwise never be opened to other users.
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

    /// Sets the modes of new files and directories, unless modes cannot be changed here.
    pub(super) fn make_with(&self, modes: NewModes) {
        if self.modes() != NewModes::ORDINARY {
            self.set_modes(modes);
        }
    }

    /// Creates files and directories with ordinary modes from now on, because modes cannot be
    /// changed here.
    pub(super) fn make_ordinary(&self) {
        self.set_modes(NewModes::ORDINARY);
    }

    /// The modes of new files and directories, before the umask or a default ACL.
    pub(super) fn modes(&self) -> NewModes {
        let or_default = |mode, default| if mode == 0 { default } else { mode };
        let NewModes { files, directories } = NewModes::default();
        NewModes {
            files: or_default(self.file_mode.load(Relaxed), files),
            directories: or_default(self.directory_mode.load(Relaxed), directories),
        }
    }

    fn set_modes(&self, modes: NewModes) {
        self.file_mode.store(modes.files, Relaxed);
        self.directory_mode.store(modes.directories, Relaxed);
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

    /// Whether to try to change attributes of an existing entry. A device that refused many times
    /// in a row is not tried again.
    pub(super) fn may_change(&self, device: u64) -> bool {
        let refusals = self.lock_refusals();
        refusals
            .get(&device)
            .is_none_or(|&count| count < REFUSALS_MAX)
    }

    /// Notes whether the attributes of an existing entry could be changed.
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

/// A few files in a row may belong to another user on a device that supports the change.
const REFUSALS_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_given_up_after_16_refusals_in_a_row() {
        let capabilities = Capabilities::default();
        for _ in 0..15 {
            capabilities.note_change(1, false);
        }
        assert!(capabilities.may_change(1));
        capabilities.note_change(1, true);
        for _ in 0..16 {
            assert!(capabilities.may_change(1));
            capabilities.note_change(1, false);
        }
        assert!(!capabilities.may_change(1) && capabilities.may_change(2));
    }

    #[test]
    fn the_device_that_was_written_last_is_known_as_writable() {
        let capabilities = Capabilities::default();
        assert!(!capabilities.has_writable_device() && !capabilities.is_writable(1));
        for device in [1, 7] {
            capabilities.note_writable(device);
            assert!(capabilities.has_writable_device() && capabilities.is_writable(device));
            assert!(!capabilities.is_writable(device + 1));
        }
    }

    #[test]
    fn modes_are_ordinary_once_permissions_are_refused() {
        let capabilities = Capabilities::default();
        capabilities.count(Loss::Time);
        assert_eq!(capabilities.modes(), NewModes::default());
        capabilities.count(Loss::Permissions);
        assert_eq!(capabilities.modes(), NewModes::ORDINARY);
        let unkept = capabilities.unkept();
        assert_eq!((unkept.permissions, unkept.times), (1, 1));
    }

    #[test]
    fn losses_add_up() {
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

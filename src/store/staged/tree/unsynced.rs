//! The changes that may not survive a power cut yet.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{MutexGuard, PoisonError};

use rustix::fs::Stat;
use rustix::io::Errno;

use super::DestinationTree;
use crate::store::staged::capabilities::Loss;
use crate::store::staged::file::{SyncCall, sync_by};
use crate::store::staged::staging_directory::device_of;
#[cfg(test)]
use crate::store::staged::synced::{Synced, note};
use crate::store::staged::unwritten::others_delay_sync;
use crate::store::staged::{Space, StageError};
use crate::wire::ResourcePath;

/// The changes on one device.
pub(super) struct Unsynced {
    /// A directory on it.
    directory: OwnedFd,
    /// The directories in which something was made, finished or removed; `None` if too many.
    changed: Option<BTreeSet<ResourcePath>>,
}

impl DestinationTree {
    /// Makes all directories that were made, finished or removed so far survive a power cut. Costs
    /// nothing without any. It syncs whole file systems. If other programs write a lot, or with
    /// `one_by_one`, it syncs the directories one by one unless they are too many, because the sync
    /// of a whole file system cannot be stopped.
    ///
    /// # Errors
    /// [`StageError::Io`]; the directories of that device stay unsynced.
    pub fn sync(&self, one_by_one: bool) -> Result<(), StageError> {
        let is_on_disk = || {
            let unsynced = self.lock_unsynced();
            let mut spaces = unsynced
                .values()
                .map(|on_device| Space::around(&on_device.directory));
            spaces.any(|space| !space.is_some_and(|space| space.is_in_memory()))
        };
        self.sync_beside(one_by_one || (is_on_disk() && others_delay_sync(0)))
    }

    /// `others`: other programs write a lot.
    pub(super) fn sync_beside(&self, others: bool) -> Result<(), StageError> {
        let unsynced = std::mem::take(&mut *self.lock_unsynced());
        let mut result = Ok(());
        for (device, unsynced) in unsynced {
            match self.sync_device(&unsynced, others) {
                Ok(true) => {}
                Ok(false) => self.capabilities.count(Loss::Sync),
                Err(errno) => {
                    result = Err(StageError::sort("sync the directories", errno));
                    self.lock_unsynced().insert(device, unsynced);
                }
            }
        }
        result
    }

    /// `Ok(false)`: nothing here can sync.
    fn sync_device(&self, unsynced: &Unsynced, one_by_one: bool) -> Result<bool, Errno> {
        let changed = unsynced.changed.as_ref();
        let sync_each = || changed.map_or(Ok(false), |changed| self.sync_each(changed));
        // Return this error at once: a sync of the file system may not report it again.
        if one_by_one && sync_each()? {
            return Ok(true);
        }
        if sync_by(&unsynced.directory, &[SyncCall::FileSystem])? {
            #[cfg(test)]
            note(&self.path, Synced::FileSystem);
            return Ok(true);
        }
        if one_by_one { Ok(false) } else { sync_each() }
    }

    /// `Ok(false)`: a directory cannot be opened or synced by itself.
    fn sync_each(&self, changed: &BTreeSet<ResourcePath>) -> Result<bool, Errno> {
        let mut are_synced = true;
        for path in changed {
            let is_synced = match self.root.directory_descriptor(path) {
                Ok(directory) => sync_by(&directory, &[SyncCall::File])?,
                // A directory that is gone needs no sync: its parent is on this list, or gone too.
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                Err(_) => false,
            };
            are_synced &= is_synced;
            #[cfg(test)]
            note(&self.path, Synced::Directory);
        }
        Ok(are_synced)
    }

    /// Notes that something was made or finished in the directory at this path.
    pub(super) fn note_unsynced(
        &self,
        directory: BorrowedFd<'_>,
        stat: &Stat,
        path: &ResourcePath,
    ) {
        self.note(directory, stat, Some(path));
    }

    /// Notes that something was removed from this directory, which has this path.
    pub(super) fn note_removal(&self, directory: BorrowedFd<'_>, path: &[u8]) {
        if let Ok(stat) = rustix::fs::fstat(directory) {
            self.note(directory, &stat, ResourcePath::parse(path).ok().as_ref());
        }
    }

    fn note(&self, directory: BorrowedFd<'_>, stat: &Stat, path: Option<&ResourcePath>) {
        let device = device_of(stat);
        if let Some(unsynced) = self.lock_unsynced().get_mut(&device) {
            return unsynced.add(path);
        }
        match directory.try_clone_to_owned() {
            Ok(directory) => {
                let changed = Some(BTreeSet::new());
                let mut all = self.lock_unsynced();
                let unsynced = all.entry(device);
                let unsynced = unsynced.or_insert(Unsynced { directory, changed });
                unsynced.add(path);
            }
            // No descriptor is left to keep for later. The caller has no use for an error, which
            // may be about other files.
            Err(_) => drop(rustix::fs::syncfs(directory)),
        }
    }

    pub(super) fn lock_unsynced(&self) -> MutexGuard<'_, HashMap<u64, Unsynced>> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unsynced {
    fn add(&mut self, path: Option<&ResourcePath>) {
        let is_listed = |changed: &mut BTreeSet<ResourcePath>| match path {
            Some(path) if changed.contains(path) => true,
            Some(path) => changed.len() < CHANGED_MAX && changed.insert(path.clone()),
            None => false,
        };
        if !self.changed.as_mut().is_some_and(is_listed) {
            self.changed = None;
        }
    }
}

/// Syncing this many directories one by one takes a few seconds.
const CHANGED_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_changed_directories_up_to_the_limit() {
        let temp = tempfile::tempdir().unwrap();
        let path = |number: usize| ResourcePath::parse(number.to_string().as_bytes()).unwrap();
        let mut unsynced = Unsynced {
            directory: std::fs::File::open(temp.path()).unwrap().into(),
            changed: Some((1..CHANGED_MAX).map(path).collect()),
        };
        // The last that has room, and one that has some already.
        for number in [0, 7] {
            unsynced.add(Some(&path(number)));
            let changed = unsynced.changed.as_ref();
            assert_eq!(changed.map(BTreeSet::len), Some(CHANGED_MAX));
        }
        unsynced.add(Some(&path(CHANGED_MAX)));
        assert!(unsynced.changed.is_none());
    }
}

//! What was changed and may not survive a power cut yet.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{MutexGuard, PoisonError};

use rustix::fs::Stat;
use rustix::io::Errno;

use super::DestinationTree;
use crate::store::staged::file::{Sync, sync_by};
use crate::store::staged::folder::device_of;
use crate::store::staged::keeping::Loss;
#[cfg(test)]
use crate::store::staged::synced::{Synced, note};
use crate::store::staged::unwritten::is_held_up_by_others;
use crate::store::staged::{Space, StageError};
use crate::wire::ResourcePath;

/// What was changed on one device.
pub(super) struct Unsynced {
    /// A folder on it.
    folder: OwnedFd,
    /// All folders in which something was made, finished or removed; `None` if they are too many.
    changed: Option<BTreeSet<ResourcePath>>,
}

impl DestinationTree {
    /// Makes all folders made and finished so far survive a power cut, and that what was removed
    /// is gone. Costs nothing if there is neither. That is done with everything else on their file
    /// systems; or one by one, if they are few, and if that would wait for others or `one_by_one`
    /// is asked for, since a sync of a whole file system cannot be ended.
    ///
    /// # Errors
    /// [`StageError::Io`], and they count as unsynced still.
    pub fn sync(&self, one_by_one: bool) -> Result<(), StageError> {
        let is_on_disk = || {
            let unsynced = self.lock_unsynced();
            let mut spaces = unsynced
                .values()
                .map(|on_device| Space::around(&on_device.folder));
            spaces.any(|space| !space.is_some_and(|space| space.is_in_memory()))
        };
        self.sync_beside(one_by_one || (is_on_disk() && is_held_up_by_others(0)))
    }

    /// `others`: other programs write a lot.
    pub(super) fn sync_beside(&self, others: bool) -> Result<(), StageError> {
        let unsynced = std::mem::take(&mut *self.lock_unsynced());
        let mut result = Ok(());
        for (device, unsynced) in unsynced {
            match self.sync_device(&unsynced, others) {
                Ok(true) => {}
                Ok(false) => self.keeping.count(Loss::Sync),
                Err(errno) => {
                    result = Err(StageError::sort("sync the directories", errno));
                    self.lock_unsynced().insert(device, unsynced);
                }
            }
        }
        result
    }

    /// `Ok(false)`: that cannot be done here.
    fn sync_device(&self, unsynced: &Unsynced, one_by_one: bool) -> Result<bool, Errno> {
        let changed = unsynced.changed.as_ref();
        let sync_each = || changed.map_or(Ok(false), |changed| self.sync_each(changed));
        // The error of a directory may not come again with that of its file system.
        if one_by_one && sync_each()? {
            return Ok(true);
        }
        if sync_by(&unsynced.folder, &[Sync::FileSystem])? {
            #[cfg(test)]
            note(&self.path, Synced::FileSystem);
            return Ok(true);
        }
        if one_by_one { Ok(false) } else { sync_each() }
    }

    /// `Ok(false)`: one of them cannot be opened, or not synced by itself.
    fn sync_each(&self, changed: &BTreeSet<ResourcePath>) -> Result<bool, Errno> {
        let mut are_synced = true;
        for path in changed {
            let is_synced = match self.root.folder_descriptor(path) {
                Ok(folder) => sync_by(&folder, &[Sync::File])?,
                // What is gone needs no sync: the one that it was in is among these, or gone as well.
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                Err(_) => false,
            };
            are_synced &= is_synced;
            #[cfg(test)]
            note(&self.path, Synced::Folder);
        }
        Ok(are_synced)
    }

    /// Something was made or finished in the folder at this path, just now.
    pub(super) fn note_unsynced(&self, folder: BorrowedFd<'_>, stat: &Stat, path: &ResourcePath) {
        self.note(folder, stat, Some(path));
    }

    /// Something was removed from this folder, which has this path.
    pub(super) fn note_removal(&self, folder: BorrowedFd<'_>, path: &[u8]) {
        if let Ok(stat) = rustix::fs::fstat(folder) {
            self.note(folder, &stat, ResourcePath::parse(path).ok().as_ref());
        }
    }

    fn note(&self, folder: BorrowedFd<'_>, stat: &Stat, path: Option<&ResourcePath>) {
        let device = device_of(stat);
        if let Some(unsynced) = self.lock_unsynced().get_mut(&device) {
            return unsynced.add(path);
        }
        match folder.try_clone_to_owned() {
            Ok(folder) => {
                let changed = Some(BTreeSet::new());
                let mut all = self.lock_unsynced();
                let unsynced = all.entry(device);
                let unsynced = unsynced.or_insert(Unsynced { folder, changed });
                unsynced.add(path);
            }
            // No descriptor is left to keep for later. Whoever made or removed something here has no
            // use for an error of other files on the file system.
            Err(_) => drop(rustix::fs::syncfs(folder)),
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

/// To sync so many folders one by one takes a few seconds.
const CHANGED_MAX: usize = 4_096;

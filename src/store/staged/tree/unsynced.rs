//! What was changed and may not survive a power cut yet.

use std::collections::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{MutexGuard, PoisonError};

use rustix::fs::Stat;

use super::DestinationTree;
use crate::store::staged::StageError;
use crate::store::staged::folder::device_of;
#[cfg(test)]
use crate::store::staged::synced::{Synced, note};

impl DestinationTree {
    /// Makes all folders made and finished so far survive a power cut, and that what was removed
    /// is gone, with everything else on their file systems. Costs nothing if there is neither.
    ///
    /// # Errors
    /// [`StageError::Io`], and they count as unsynced still.
    pub fn sync(&self) -> Result<(), StageError> {
        let unsynced = std::mem::take(&mut *self.lock_unsynced());
        let mut result = Ok(());
        for (device, folder) in unsynced {
            if let Err(errno) = rustix::fs::syncfs(&folder) {
                result = Err(StageError::sort("sync the file system", errno));
                self.lock_unsynced().insert(device, folder);
                continue;
            }
            #[cfg(test)]
            note(&self.path, Synced::FileSystem);
        }
        result
    }

    /// Something was made, finished or removed in this folder, just now.
    pub(super) fn note_unsynced(&self, folder: BorrowedFd<'_>, stat: &Stat) {
        let device = device_of(stat);
        if self.lock_unsynced().contains_key(&device) {
            return;
        }
        match folder.try_clone_to_owned() {
            Ok(folder) => drop(self.lock_unsynced().insert(device, folder)),
            // No descriptor is left: now, then, and what it says there is not what was asked.
            Err(_) => drop(rustix::fs::syncfs(folder)),
        }
    }

    /// The same, of a folder that has not been looked at.
    pub(super) fn note_removal(&self, folder: BorrowedFd<'_>) {
        if let Ok(stat) = rustix::fs::fstat(folder) {
            self.note_unsynced(folder, &stat);
        }
    }

    pub(super) fn lock_unsynced(&self) -> MutexGuard<'_, HashMap<u64, OwnedFd>> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

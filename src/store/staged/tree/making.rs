//! Directories that are made, or that are there and cannot be read.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;

use rustix::fs::Mode;
use rustix::io::Errno;

use super::DestinationTree;
use crate::store::beneath::{folder_in, unlock_folder, unlock_folder_in};
use crate::store::staged::StageError;
use crate::store::staged::folder::{StagingFolder, is_unreadable};
use crate::store::staged::refused_name::{is_about_name, refused};
use crate::wire::ResourcePath;

impl DestinationTree {
    /// A directory that may be written and entered, and not read.
    pub(super) fn unreadable_folder(&self, path: &ResourcePath) -> Result<OwnedFd, StageError> {
        let handle = self.root.unreadable_folder(path);
        handle.map_err(|errno| self.explain(path, errno))
    }

    /// Whether the missing directory at this path can be made, as far as the innermost one above it
    /// shows, so that no bytes come in vain.
    ///
    /// # Errors
    /// As for [`StagingFolder::check_making`], and for [`DestinationTree::existing_folder`].
    pub fn check_making(&self, path: &ResourcePath) -> Result<(), StageError> {
        if self.keeping.has_writable_device() {
            return Ok(());
        }
        let mut next = path.parent();
        while let Some(at) = next {
            if let Some(above) = self.existing_folder(&at)? {
                // One of this user is opened up for what is made in it.
                let is_opened_up = above.is_ours && !at.is_root();
                return above.check_making().or_else(|error| match is_opened_up {
                    true => Ok(()),
                    false => Err(error),
                });
            }
            next = at.parent();
        }
        Ok(())
    }

    /// Makes a folder in the one above it, unless it is there, and opens it.
    pub(super) fn make_in(
        &self,
        above: &StagingFolder,
        path: &ResourcePath,
    ) -> Result<OwnedFd, StageError> {
        let name = path.file_name().unwrap_or_default();
        // What is closed to others when it is made could never be opened to them.
        self.has_tried_modes.get_or_init(|| above.try_modes());
        let above = above.as_fd();
        let mode = Mode::from_raw_mode(self.keeping.modes().folders);
        let cannot = |errno| StageError::of_folder("make the folder", &self.shown(path), errno);
        let explain = |errno| self.explain(path, errno);
        let open = || match open_unlocked(above, name) {
            Err(errno) if is_unreadable(errno) => self.unreadable_folder(path),
            opened => opened.map_err(explain),
        };
        match rustix::fs::mkdirat(above, name, mode) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                return open();
            }
            Err(errno) if is_about_name(errno) && is_there(above) => {
                return Err(refused(name, errno));
            }
            Err(errno) => return Err(cannot(errno)),
        }
        let made = open()?;
        self.has_made.store(true, Relaxed);
        // Not the one above, which may not be open for reading. It is on the same device.
        let stat = rustix::fs::fstat(&made).map_err(explain)?;
        let above = path.parent().unwrap_or_else(ResourcePath::root);
        self.note_unsynced(made.as_fd(), &stat, &above);
        self.note_unsynced(made.as_fd(), &stat, path);
        Ok(made)
    }
}

/// Opens a folder by its name in another one, so that its owner may work in it. Follows no link.
pub(super) fn open_unlocked(above: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let folder = match folder_in(above, name) {
        Err(Errno::ACCESS) => {
            unlock_folder_in(above, name)?;
            folder_in(above, name)?
        }
        opened => opened?,
    };
    unlock_folder(&folder)?;
    Ok(folder)
}

fn is_there(folder: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(folder).is_ok_and(|stat| stat.st_nlink > 0)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn a_folder_is_there_until_it_is_removed() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("folder");
        fs::create_dir(&path).unwrap();
        let folder = File::open(&path).unwrap();
        assert!(is_there(folder.as_fd()));
        fs::remove_dir(&path).unwrap();
        assert!(!is_there(folder.as_fd()));
    }
}

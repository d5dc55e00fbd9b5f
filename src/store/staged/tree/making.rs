//! Making directories, and opening those that cannot be read.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;

use rustix::fs::Mode;
use rustix::io::Errno;

use super::DestinationTree;
use crate::store::beneath::{directory_in, unlock_directory, unlock_directory_in};
use crate::store::staged::StageError;
use crate::store::staged::refused_name::{is_about_name, refused};
use crate::store::staged::staging_directory::{StagingDirectory, is_unreadable};
use crate::wire::ResourcePath;

impl DestinationTree {
    /// Opens a directory that can be written and entered but not read.
    pub(super) fn unreadable_directory(&self, path: &ResourcePath) -> Result<OwnedFd, StageError> {
        let handle = self.root.unreadable_directory(path);
        handle.map_err(|errno| self.path_error(path, errno))
    }

    /// Checks that the missing directory at this path can be made, as far as its innermost existing
    /// parent shows, before bytes are transferred.
    ///
    /// # Errors
    /// As for [`StagingDirectory::check_making`], and for [`DestinationTree::existing_directory`].
    pub fn check_making(&self, path: &ResourcePath) -> Result<(), StageError> {
        if self.capabilities.has_writable_device() {
            return Ok(());
        }
        let mut next = path.parent();
        while let Some(at) = next {
            if let Some(above) = self.existing_directory(&at)? {
                // A directory of this user is unlocked before something is made in it.
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

    /// Makes a directory in its parent if it is missing, and opens it.
    pub(super) fn make_in(
        &self,
        above: &StagingDirectory,
        path: &ResourcePath,
    ) -> Result<OwnedFd, StageError> {
        let name = path.file_name().unwrap_or_default();
        // Where modes cannot be set, a private directory could never be opened to others.
        self.has_tried_modes.get_or_init(|| above.try_modes());
        let above = above.as_fd();
        let mode = Mode::from_raw_mode(self.capabilities.modes().directories);
        let cannot =
            |errno| StageError::of_directory("make the directory", &self.shown(path), errno);
        let path_error = |errno| self.path_error(path, errno);
        let open = || match open_unlocked(above, name) {
            Err(errno) if is_unreadable(errno) => self.unreadable_directory(path),
            opened => opened.map_err(path_error),
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
        // The parent may not be open for reading. The new directory is on the same device.
        let stat = rustix::fs::fstat(&made).map_err(path_error)?;
        let above = path.parent().unwrap_or_else(ResourcePath::root);
        self.note_unsynced(made.as_fd(), &stat, &above);
        self.note_unsynced(made.as_fd(), &stat, path);
        Ok(made)
    }
}

/// Opens a directory in another one and gives its owner missing permissions. Follows no link.
pub(super) fn open_unlocked(above: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let directory = match directory_in(above, name) {
        Err(Errno::ACCESS) => {
            unlock_directory_in(above, name)?;
            directory_in(above, name)?
        }
        opened => opened?,
    };
    unlock_directory(&directory)?;
    Ok(directory)
}

fn is_there(directory: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(directory).is_ok_and(|stat| stat.st_nlink > 0)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn a_directory_is_there_until_it_is_removed() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("folder");
        fs::create_dir(&path).unwrap();
        let directory = File::open(&path).unwrap();
        assert!(is_there(directory.as_fd()));
        fs::remove_dir(&path).unwrap();
        assert!(!is_there(directory.as_fd()));
    }
}

//! Directories that are made, or that are there and cannot be read.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;

use rustix::fs::Mode;
use rustix::io::Errno;

use super::DestinationTree;
use crate::store::beneath::{folder_in, unlock_folder, unlock_folder_in};
use crate::store::staged::StageError;
use crate::store::staged::StagingFolder;
use crate::store::staged::refused_name::{is_about_name, refused};
use crate::wire::ResourcePath;

impl DestinationTree {
    /// A directory that may be written and entered, and not read.
    pub(super) fn unreadable_folder(&self, path: &ResourcePath) -> Result<OwnedFd, StageError> {
        let handle = self.root.unreadable_folder(path);
        handle.map_err(|errno| self.explain(path, errno))
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
        match rustix::fs::mkdirat(above, name, mode) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                return match open_unlocked(above, name) {
                    Err(Errno::ACCESS) => self.unreadable_folder(path),
                    opened => opened.map_err(explain),
                };
            }
            Err(errno) if is_about_name(errno) && is_there(above) => {
                return Err(refused(name, errno));
            }
            Err(errno) => return Err(cannot(errno)),
        }
        let made = open_unlocked(above, name).map_err(explain)?;
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

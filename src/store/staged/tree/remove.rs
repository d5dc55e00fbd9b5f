//! Removing what a tree should not have, by descriptors, and never beyond it.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir};
use rustix::io::Errno;

use super::{DestinationTree, open_unlocked};
use crate::store::staged::folder::NAME_ATTEMPTS_MAX;
use crate::store::staged::occupant::occupant_in;
use crate::store::staged::{FileName, OCCUPIED_BY_FOLDER, Occupant, StageError};
use crate::wire::{PATH_PARTS_MAX, ResourcePath};

impl DestinationTree {
    /// Removes what is at this path: a file, a link, or a folder with all that is in it, of
    /// which every folder of this user is unlocked as by [`DestinationTree::folder`]. Follows
    /// no link. Each name that is gone is told to `gone`, with its path from the root, contents
    /// before their folder, partial files left out; a break there stops it. What is missing
    /// already is told nobody.
    ///
    /// # Errors
    /// [`StageError`]; what was told is gone. The root itself is not removed.
    pub fn remove(
        &self,
        path: &ResourcePath,
        gone: &mut dyn FnMut(&[u8], Occupant) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StageError> {
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(StageError::NotReplaceable("that is the destination itself"));
        };
        if let Err(Errno::NOENT) = self.root.folder_descriptor(&above) {
            return Ok(ControlFlow::Continue(()));
        }
        let above_folder = self.folder(&above)?;
        let mut removal = Removal {
            path: above.as_bytes().to_vec(),
            removed: 0,
            gone,
        };
        let result = removal.remove(above_folder.as_fd(), name, path.parts().count());
        let closed = self.lock_open().remove_tree(path);
        drop(closed);
        result
    }

    /// Removes what is at this path, but no folder, be it that it has just become one. Follows no
    /// link, and unlocks the folder that it is in as [`DestinationTree::folder`] does. Returns
    /// what was removed.
    ///
    /// # Errors
    /// [`StageError::NotReplaceable`]: it is a folder, or the root. [`StageError`].
    pub fn remove_unless_folder(&self, path: &ResourcePath) -> Result<Occupant, StageError> {
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(StageError::NotReplaceable(OCCUPIED_BY_FOLDER));
        };
        if let Err(Errno::NOENT) = self.root.folder_descriptor(&above) {
            return Ok(Occupant::Nothing);
        }
        let above = self.folder(&above)?;
        let occupant = occupant_in(above.as_fd(), name).map_err(sort)?;
        match rustix::fs::unlinkat(above.as_fd(), name, AtFlags::empty()) {
            Ok(()) => Ok(occupant),
            Err(Errno::NOENT) => Ok(Occupant::Nothing),
            Err(Errno::ISDIR) => Err(StageError::NotReplaceable(OCCUPIED_BY_FOLDER)),
            Err(errno) => Err(sort(errno)),
        }
    }
}

struct Removal<'a> {
    /// Of the folder it is in, from the root.
    path: Vec<u8>,
    removed: u64,
    gone: &'a mut dyn FnMut(&[u8], Occupant) -> ControlFlow<()>,
}

impl Removal<'_> {
    fn remove(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &[u8],
        depth: usize,
    ) -> Result<ControlFlow<()>, StageError> {
        // Something else may be there each time that it is looked at.
        for _ in 0..NAME_ATTEMPTS_MAX {
            let occupant = occupant_in(folder, name).map_err(sort)?;
            let flags = match occupant {
                Occupant::Nothing => return Ok(ControlFlow::Continue(())),
                Occupant::Directory => AtFlags::REMOVEDIR,
                Occupant::File | Occupant::Link | Occupant::Other => AtFlags::empty(),
            };
            if let Occupant::Directory = occupant
                && self.remove_contents(folder, name, depth)?.is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
            match rustix::fs::unlinkat(folder, name, flags) {
                Ok(()) => {
                    self.removed += 1;
                    return Ok(self.tell(name, occupant));
                }
                Err(
                    Errno::NOENT | Errno::ISDIR | Errno::NOTDIR | Errno::NOTEMPTY | Errno::EXIST,
                ) => {}
                Err(errno) => return Err(sort(errno)),
            }
        }
        Err(sort(Errno::NOTEMPTY))
    }

    fn remove_contents(
        &mut self,
        above: BorrowedFd<'_>,
        name: &[u8],
        depth: usize,
    ) -> Result<ControlFlow<()>, StageError> {
        if depth > PATH_PARTS_MAX {
            return Err(sort(Errno::NAMETOOLONG));
        }
        let folder = match open_unlocked(above, name) {
            Ok(folder) => folder,
            // Not a folder any more.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                return Ok(ControlFlow::Continue(()));
            }
            Err(errno) => return Err(sort(errno)),
        };
        let path_bytes = self.path.len();
        self.push(name);
        loop {
            let removed = self.removed;
            for name in first_names(folder.as_fd()).map_err(sort)? {
                if self.remove(folder.as_fd(), &name, depth + 1)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            if self.removed == removed {
                break;
            }
        }
        self.path.truncate(path_bytes);
        Ok(ControlFlow::Continue(()))
    }

    fn tell(&mut self, name: &[u8], occupant: Occupant) -> ControlFlow<()> {
        if FileName::parse(name).is_err() {
            return ControlFlow::Continue(());
        }
        let path_bytes = self.path.len();
        self.push(name);
        let flow = (self.gone)(&self.path, occupant);
        self.path.truncate(path_bytes);
        flow
    }

    fn push(&mut self, name: &[u8]) {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
    }
}

fn first_names(folder: BorrowedFd<'_>) -> Result<Vec<Box<[u8]>>, Errno> {
    let names = Dir::read_from(folder)?.filter_map(|entry| match entry {
        Ok(entry) => {
            let name = entry.file_name().to_bytes();
            (!matches!(name, b"." | b"..")).then(|| Ok(name.into()))
        }
        Err(errno) => Some(Err(errno)),
    });
    names.take(NAMES_AT_ONCE_MAX).collect()
}

fn sort(errno: Errno) -> StageError {
    StageError::sort("remove", errno)
}

/// At most 256 KiB of names on each level, and mostly far less.
const NAMES_AT_ONCE_MAX: usize = 1024;

//! Removing what a tree should not have, by descriptors, and never beyond it.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::{mem, vec};

use rustix::fs::{AtFlags, Dir};
use rustix::io::Errno;

use super::DestinationTree;
use super::making::open_unlocked;
use crate::store::beneath::{Fixed, fixed_in, folder_in, is_crossing};
use crate::store::staged::occupant::occupant_in;
use crate::store::staged::partials::NAME_ATTEMPTS_MAX;
use crate::store::staged::{FileName, OCCUPIED_BY_FOLDER, Occupant, StageError};
use crate::wire::ResourcePath;

impl DestinationTree {
    /// Removes what is at this path: a file, a link, or a folder with all that is in it, of
    /// which every folder of this user is unlocked as by [`DestinationTree::folder`]. Follows
    /// no link. Each name that is gone is told to `gone`, with its path from the root, contents
    /// before their folder, partial files left out; a break there stops it. What is missing
    /// already is told nobody; a file that this process itself writes stays, as do the folders
    /// around it, and so does what lies on another file system than the folder around it, which is
    /// not even looked into. [`DestinationTree::sync`] makes it last.
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
            tree: self,
            path: above.as_bytes().to_vec(),
            removed: 0,
            keeps: false,
            gone,
        };
        let result = removal.remove(above_folder.as_fd(), name);
        let closed = self.lock_open().remove_tree(path);
        drop(closed);
        result
    }

    /// Removes what is at this path, but no folder, be it that it has just become one. Follows no
    /// link, and unlocks the folder that it is in as [`DestinationTree::folder`] does. Returns
    /// what was removed. [`DestinationTree::sync`] makes it last.
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
        let folder = self.folder(&above)?;
        let occupant = occupant_in(folder.as_fd(), name).map_err(sort)?;
        match rustix::fs::unlinkat(folder.as_fd(), name, AtFlags::empty()) {
            Ok(()) => {
                self.note_removal(folder.as_fd(), above.as_bytes());
                Ok(occupant)
            }
            Err(Errno::NOENT) => Ok(Occupant::Nothing),
            Err(Errno::ISDIR) => Err(StageError::NotReplaceable(OCCUPIED_BY_FOLDER)),
            Err(errno) => Err(sort(errno)),
        }
    }
}

struct Removal<'a> {
    tree: &'a DestinationTree,
    /// Of the folder it is in, from the root.
    path: Vec<u8>,
    removed: u64,
    /// Something stays that this process itself writes.
    keeps: bool,
    gone: &'a mut dyn FnMut(&[u8], Occupant) -> ControlFlow<()>,
}

/// A folder that is being emptied.
struct Level {
    name: Box<[u8]>,
    /// By which it is known when it is come back to.
    identity: (u64, u64),
    /// Bytes of the path that it is in.
    path_bytes: usize,
    names: vec::IntoIter<Box<[u8]>>,
    /// What was removed when these names were read.
    removed: u64,
}

enum Removed {
    /// There is nothing of that name any more.
    Gone(ControlFlow<()>),
    /// It is a folder.
    Not,
}

impl Removal<'_> {
    fn remove(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &[u8],
    ) -> Result<ControlFlow<()>, StageError> {
        // Something else may be there each time that it is looked at.
        for _ in 0..NAME_ATTEMPTS_MAX {
            if let Removed::Gone(flow) = self.remove_unless_folder(folder, name)? {
                return Ok(flow);
            }
            if self.empty(folder, name)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if let Removed::Gone(flow) = self.remove_folder(folder, name)? {
                return Ok(flow);
            }
            if self.keeps {
                return Ok(ControlFlow::Continue(()));
            }
        }
        Err(sort(Errno::NOTEMPTY))
    }

    fn remove_unless_folder(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &[u8],
    ) -> Result<Removed, StageError> {
        for _ in 0..NAME_ATTEMPTS_MAX {
            let occupant = occupant_in(folder, name).map_err(sort)?;
            match occupant {
                Occupant::Nothing => return Ok(Removed::Gone(ControlFlow::Continue(()))),
                Occupant::Directory => return Ok(Removed::Not),
                Occupant::InUse => {
                    self.keeps = true;
                    return Ok(Removed::Gone(ControlFlow::Continue(())));
                }
                Occupant::File | Occupant::Link | Occupant::Other => {}
            }
            match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
                Ok(()) => return Ok(Removed::Gone(self.tell(folder, name, occupant))),
                Err(Errno::NOENT | Errno::ISDIR) => {}
                Err(errno) => return Err(sort(errno)),
            }
        }
        Err(sort(Errno::BUSY))
    }

    fn remove_folder(&mut self, above: BorrowedFd<'_>, name: &[u8]) -> Result<Removed, StageError> {
        match rustix::fs::unlinkat(above, name, AtFlags::REMOVEDIR) {
            Ok(()) => Ok(Removed::Gone(self.tell(above, name, Occupant::Directory))),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::NOTEMPTY | Errno::EXIST) => Ok(Removed::Not),
            Err(errno) => Err(sort(errno)),
        }
    }

    /// Removes what is in a folder, however deep that is: one folder is open at a time, and the
    /// one above it is the one that it was entered from, or it is not worked in.
    fn empty(&mut self, above: BorrowedFd<'_>, name: &[u8]) -> Result<ControlFlow<()>, StageError> {
        let Some((mut folder, level)) = self.enter(above, name)? else {
            return Ok(ControlFlow::Continue(()));
        };
        let (mut level, mut levels) = (level, Vec::new());
        loop {
            if let Some(name) = level.names.next() {
                match self.remove_unless_folder(folder.as_fd(), &name)? {
                    Removed::Gone(ControlFlow::Continue(())) => {}
                    Removed::Gone(ControlFlow::Break(())) => return Ok(ControlFlow::Break(())),
                    Removed::Not => {
                        if let Some((inner, below)) = self.enter(folder.as_fd(), &name)? {
                            levels.push(mem::replace(&mut level, below));
                            folder = inner;
                        }
                    }
                }
            } else if self.removed > level.removed {
                // There may be more names than were read, or have come.
                level.names = first_names(folder.as_fd()).map_err(sort)?;
                level.removed = self.removed;
            } else {
                self.path.truncate(level.path_bytes);
                let Some(above) = levels.pop() else {
                    return Ok(ControlFlow::Continue(()));
                };
                folder = folder_in(&folder, b"..").map_err(sort)?;
                if identity_of(folder.as_fd()).map_err(sort)? != above.identity {
                    // It was moved meanwhile: nobody asked for that place to be touched.
                    return Err(sort(Errno::BUSY));
                }
                let emptied = mem::replace(&mut level, above);
                let removed = self.remove_folder(folder.as_fd(), &emptied.name)?;
                if let Removed::Gone(ControlFlow::Break(())) = removed {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
    }

    /// Opens a folder that is to be emptied. `None`: it is none any more.
    fn enter(
        &mut self,
        above: BorrowedFd<'_>,
        name: &[u8],
    ) -> Result<Option<(OwnedFd, Level)>, StageError> {
        if let Some(fixed) = fixed_in(above, name).map_err(sort)?
            && fixed.is_crossing()
        {
            return Err(stays(fixed));
        }
        let folder = match open_unlocked(above, name) {
            Ok(folder) => folder,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(sort(errno)),
        };
        // Mounted since then.
        if is_crossing(above, &folder).map_err(sort)? {
            return Err(stays(Fixed::MountPoint));
        }
        let level = Level {
            name: name.into(),
            identity: identity_of(folder.as_fd()).map_err(sort)?,
            path_bytes: self.path.len(),
            names: first_names(folder.as_fd()).map_err(sort)?,
            removed: self.removed,
        };
        self.push(name);
        Ok(Some((folder, level)))
    }

    fn tell(&mut self, folder: BorrowedFd<'_>, name: &[u8], occupant: Occupant) -> ControlFlow<()> {
        self.removed += 1;
        self.tree.note_removal(folder, &self.path);
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

fn first_names(folder: BorrowedFd<'_>) -> Result<vec::IntoIter<Box<[u8]>>, Errno> {
    let names = Dir::read_from(folder)?.filter_map(|entry| match entry {
        Ok(entry) => {
            let name = entry.file_name().to_bytes();
            (!matches!(name, b"." | b"..")).then(|| Ok(name.into()))
        }
        Err(errno) => Some(Err(errno)),
    });
    let names: Result<Vec<Box<[u8]>>, Errno> = names.take(NAMES_AT_ONCE_MAX).collect();
    Ok(names?.into_iter())
}

// The types of these fields differ between architectures.
#[allow(clippy::unnecessary_cast, clippy::cast_lossless)]
fn identity_of(folder: BorrowedFd<'_>) -> Result<(u64, u64), Errno> {
    let stat = rustix::fs::fstat(folder)?;
    Ok((stat.st_dev as u64, stat.st_ino as u64))
}

fn sort(errno: Errno) -> StageError {
    StageError::sort("remove", errno)
}

fn stays(fixed: Fixed) -> StageError {
    StageError::Io {
        doing: "remove",
        source: fixed.error(),
    }
}

/// At most 256 KiB of names on each level, and mostly far less.
const NAMES_AT_ONCE_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_folder_is_known_by_its_device_and_its_inode() {
        let temp = tempfile::tempdir().unwrap();
        let folder = File::open(temp.path()).unwrap();
        let facts = fs::metadata(temp.path()).unwrap();
        let identity = identity_of(folder.as_fd());
        assert_eq!(identity, Ok((facts.dev(), facts.ino())));
    }
}

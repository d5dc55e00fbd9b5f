//! Removing entries of a tree by descriptors, never outside of it.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::{mem, vec};

use rustix::fs::{AtFlags, Dir};
use rustix::io::Errno;

use super::DestinationTree;
use super::making::open_unlocked;
use crate::store::beneath::{Fixed, directory_in, fixed_in, is_crossing};
use crate::store::staged::entry_kind::entry_kind_in;
use crate::store::staged::partials::NAME_ATTEMPTS_MAX;
use crate::store::staged::{EntryKind, FileName, OCCUPIED_BY_DIRECTORY, StageError};
use crate::wire::ResourcePath;

impl DestinationTree {
    /// Removes the entry at this path: a file, a link, or a directory with its contents.
    /// Directories of this user are unlocked as by [`DestinationTree::directory`]. No link is
    /// followed.
    ///
    /// Calls `gone` with the path from the root of each removed entry, contents before their
    /// directory, without partial files. A `Break` from it stops the removal. An entry that is
    /// missing already is not reported.
    ///
    /// Two things stay, with the directories around them: files that this process itself writes,
    /// and entries on another file system than their directory, which are not even entered.
    /// [`DestinationTree::sync`] makes the removal survive a power cut.
    ///
    /// # Errors
    /// [`StageError`]; every reported entry is removed. The root itself is never removed.
    pub fn remove(
        &self,
        path: &ResourcePath,
        gone: &mut dyn FnMut(&[u8], EntryKind) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StageError> {
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(StageError::NotReplaceable("that is the destination itself"));
        };
        if let Err(Errno::NOENT) = self.root.directory_descriptor(&above) {
            return Ok(ControlFlow::Continue(()));
        }
        let above_directory = self.directory(&above)?;
        let mut removal = Removal {
            tree: self,
            path: above.as_bytes().to_vec(),
            removed: 0,
            keeps: false,
            gone,
        };
        let result = removal.remove(above_directory.as_fd(), name);
        let closed = self.lock_open().remove_tree(path);
        drop(closed);
        result
    }

    /// Removes the entry at this path unless it is a directory, even if it has just become one.
    /// Follows no link, and unlocks its directory as [`DestinationTree::directory`] does. Returns
    /// the kind of the removed entry. [`DestinationTree::sync`] makes the removal survive a power
    /// cut.
    ///
    /// # Errors
    /// [`StageError::NotReplaceable`]: the entry is a directory or the root. Any other
    /// [`StageError`].
    pub fn remove_unless_directory(&self, path: &ResourcePath) -> Result<EntryKind, StageError> {
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(StageError::NotReplaceable(OCCUPIED_BY_DIRECTORY));
        };
        if let Err(Errno::NOENT) = self.root.directory_descriptor(&above) {
            return Ok(EntryKind::Nothing);
        }
        let directory = self.directory(&above)?;
        let entry_kind = entry_kind_in(directory.as_fd(), name).map_err(sort)?;
        match rustix::fs::unlinkat(directory.as_fd(), name, AtFlags::empty()) {
            Ok(()) => {
                self.note_removal(directory.as_fd(), above.as_bytes());
                Ok(entry_kind)
            }
            Err(Errno::NOENT) => Ok(EntryKind::Nothing),
            Err(Errno::ISDIR) => Err(StageError::NotReplaceable(OCCUPIED_BY_DIRECTORY)),
            Err(errno) => Err(sort(errno)),
        }
    }
}

struct Removal<'a> {
    tree: &'a DestinationTree,
    /// The path from the root of the directory that is being emptied.
    path: Vec<u8>,
    removed: u64,
    /// A file stays because this process itself writes it.
    keeps: bool,
    gone: &'a mut dyn FnMut(&[u8], EntryKind) -> ControlFlow<()>,
}

/// A directory that is being emptied.
struct RemovalLevel {
    name: Box<[u8]>,
    /// Device and inode, to recognize the directory on the way back.
    identity: (u64, u64),
    /// Length of its parent's path in bytes.
    path_bytes: usize,
    names: vec::IntoIter<Box<[u8]>>,
    /// The value of `Removal::removed` when these names were read.
    removed: u64,
}

enum Removed {
    /// Nothing has this name any more.
    Gone(ControlFlow<()>),
    /// The entry is a directory.
    Not,
}

impl Removal<'_> {
    fn remove(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &[u8],
    ) -> Result<ControlFlow<()>, StageError> {
        // The entry may be replaced by another one between any two calls.
        for _ in 0..NAME_ATTEMPTS_MAX {
            if let Removed::Gone(flow) = self.remove_unless_directory(directory, name)? {
                return Ok(flow);
            }
            if self.empty(directory, name)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if let Removed::Gone(flow) = self.remove_directory(directory, name)? {
                return Ok(flow);
            }
            if self.keeps {
                return Ok(ControlFlow::Continue(()));
            }
        }
        Err(sort(Errno::NOTEMPTY))
    }

    fn remove_unless_directory(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &[u8],
    ) -> Result<Removed, StageError> {
        for _ in 0..NAME_ATTEMPTS_MAX {
            let entry_kind = entry_kind_in(directory, name).map_err(sort)?;
            match entry_kind {
                EntryKind::Nothing => return Ok(Removed::Gone(ControlFlow::Continue(()))),
                EntryKind::Directory => return Ok(Removed::Not),
                EntryKind::InUse => {
                    self.keeps = true;
                    return Ok(Removed::Gone(ControlFlow::Continue(())));
                }
                EntryKind::File | EntryKind::Link | EntryKind::Other => {}
            }
            match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
                Ok(()) => return Ok(Removed::Gone(self.report(directory, name, entry_kind))),
                Err(Errno::NOENT | Errno::ISDIR) => {}
                Err(errno) => return Err(sort(errno)),
            }
        }
        Err(sort(Errno::BUSY))
    }

    fn remove_directory(
        &mut self,
        above: BorrowedFd<'_>,
        name: &[u8],
    ) -> Result<Removed, StageError> {
        match rustix::fs::unlinkat(above, name, AtFlags::REMOVEDIR) {
            Ok(()) => Ok(Removed::Gone(self.report(
                above,
                name,
                EntryKind::Directory,
            ))),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::NOTEMPTY | Errno::EXIST) => Ok(Removed::Not),
            Err(errno) => Err(sort(errno)),
        }
    }

    /// Empties a directory of any depth with one directory open at a time. On the way back, the
    /// parent must be the directory that was entered before, else the removal stops.
    fn empty(&mut self, above: BorrowedFd<'_>, name: &[u8]) -> Result<ControlFlow<()>, StageError> {
        let Some((mut directory, level)) = self.enter(above, name)? else {
            return Ok(ControlFlow::Continue(()));
        };
        let (mut level, mut levels) = (level, Vec::new());
        loop {
            if let Some(name) = level.names.next() {
                match self.remove_unless_directory(directory.as_fd(), &name)? {
                    Removed::Gone(ControlFlow::Continue(())) => {}
                    Removed::Gone(ControlFlow::Break(())) => return Ok(ControlFlow::Break(())),
                    Removed::Not => {
                        if let Some((inner, below)) = self.enter(directory.as_fd(), &name)? {
                            levels.push(mem::replace(&mut level, below));
                            directory = inner;
                        }
                    }
                }
            } else if self.removed > level.removed {
                // There may be more names than were read, or new ones.
                level.names = first_names(directory.as_fd()).map_err(sort)?;
                level.removed = self.removed;
            } else {
                self.path.truncate(level.path_bytes);
                let Some(above) = levels.pop() else {
                    return Ok(ControlFlow::Continue(()));
                };
                directory = directory_in(&directory, b"..").map_err(sort)?;
                if identity_of(directory.as_fd()).map_err(sort)? != above.identity {
                    // The directory was moved meanwhile, and its new parent must not be touched.
                    return Err(sort(Errno::BUSY));
                }
                let emptied = mem::replace(&mut level, above);
                let removed = self.remove_directory(directory.as_fd(), &emptied.name)?;
                if let Removed::Gone(ControlFlow::Break(())) = removed {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
    }

    /// Opens a directory to be emptied. `None`: it is no directory any more.
    fn enter(
        &mut self,
        above: BorrowedFd<'_>,
        name: &[u8],
    ) -> Result<Option<(OwnedFd, RemovalLevel)>, StageError> {
        if let Some(fixed) = fixed_in(above, name).map_err(sort)?
            && fixed.is_crossing()
        {
            return Err(fixed_error(fixed));
        }
        let directory = match open_unlocked(above, name) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(sort(errno)),
        };
        // Something was mounted there since the check above.
        if is_crossing(above, &directory).map_err(sort)? {
            return Err(fixed_error(Fixed::MountPoint));
        }
        let level = RemovalLevel {
            name: name.into(),
            identity: identity_of(directory.as_fd()).map_err(sort)?,
            path_bytes: self.path.len(),
            names: first_names(directory.as_fd()).map_err(sort)?,
            removed: self.removed,
        };
        self.push(name);
        Ok(Some((directory, level)))
    }

    fn report(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        entry_kind: EntryKind,
    ) -> ControlFlow<()> {
        self.removed += 1;
        self.tree.note_removal(directory, &self.path);
        if FileName::parse(name).is_err() {
            return ControlFlow::Continue(());
        }
        let path_bytes = self.path.len();
        self.push(name);
        let flow = (self.gone)(&self.path, entry_kind);
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

fn first_names(directory: BorrowedFd<'_>) -> Result<vec::IntoIter<Box<[u8]>>, Errno> {
    let names = Dir::read_from(directory)?.filter_map(|entry| match entry {
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
fn identity_of(directory: BorrowedFd<'_>) -> Result<(u64, u64), Errno> {
    let stat = rustix::fs::fstat(directory)?;
    Ok((stat.st_dev as u64, stat.st_ino as u64))
}

fn sort(errno: Errno) -> StageError {
    StageError::sort("remove", errno)
}

fn fixed_error(fixed: Fixed) -> StageError {
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
    fn a_directory_is_known_by_its_device_and_its_inode() {
        let temp = tempfile::tempdir().unwrap();
        let directory = File::open(temp.path()).unwrap();
        let facts = fs::metadata(temp.path()).unwrap();
        let identity = identity_of(directory.as_fd());
        assert_eq!(identity, Ok((facts.dev(), facts.ino())));
    }
}

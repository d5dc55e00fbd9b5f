//! A tree that files go into, below one folder and nowhere else.

mod case;
mod ground;
mod locked;
mod look;
mod making;
mod open_folders;
mod remove;
mod unsynced;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fs::Stat;
use rustix::io::Errno;

pub(super) use self::case::folds_case;
pub use self::ground::Ground;
use self::open_folders::OpenFolders;
use self::unsynced::Unsynced;
use super::StageError;
use super::file::{Attributes, set_mode, set_mtime};
use super::folder::{StagingFolder, device_of, is_unreadable};
use super::keeping::{Keeping, Loss, Unkept};
use super::name::FileName;
use super::new_modes::NewModes;
use super::occupant::{Occupant, occupant_in};
use crate::store::beneath::{Folder, Root, folder_in, stamp_of, unlock_folder};
use crate::store::walk::Walk;
use crate::store::{Listing, StoreError};
use crate::wire::{ObjectKind, ResourcePath};

/// A tree that files go into. Every folder is found below the root by its descriptor, through
/// no link: what somebody plants or swaps there meanwhile is an error or is replaced, and
/// never leads outside. The root itself may be reached by links: it is the user's word.
///
/// A folder that was opened stays that very folder, wherever it is moved. Those used last are
/// kept open, besides those in use, 16 unless [`DestinationTree::keep_folders`] says otherwise.
pub struct DestinationTree {
    root: Root,
    path: PathBuf,
    open: Mutex<OpenFolders>,
    /// Of each device, what was made, finished or removed since the last sync.
    unsynced: Mutex<HashMap<u64, Unsynced>>,
    keeping: Arc<Keeping>,
    /// A directory was made.
    has_made: AtomicBool,
    has_tried_modes: OnceLock<()>,
}

impl DestinationTree {
    /// Opens the root; with `make`, makes it and those above it, as far as they are missing.
    ///
    /// # Errors
    /// [`StageError::Folder`]: it is missing, no folder, or cannot be made.
    pub fn open(root: &Path, make: bool) -> Result<Arc<DestinationTree>, StageError> {
        if make {
            StagingFolder::make(root)?;
        }
        let opened = Root::open(root, false).map_err(|source| StageError::Folder {
            doing: "open the folder",
            folder: root.to_owned(),
            source,
        })?;
        Ok(Arc::new(DestinationTree::below(opened, root)))
    }

    fn below(root: Root, path: &Path) -> DestinationTree {
        DestinationTree {
            root,
            path: path.to_owned(),
            open: Mutex::default(),
            unsynced: Mutex::default(),
            keeping: Arc::default(),
            has_made: AtomicBool::new(false),
            has_tried_modes: OnceLock::new(),
        }
    }

    /// What could not be kept so far, since a file system cannot.
    pub fn unkept(&self) -> Unkept {
        self.keeping.unkept()
    }

    /// Keeps up to so many folders open for what comes next, one descriptor each.
    pub fn keep_folders(&self, folders_max: usize) {
        self.lock_open().folders_max = folders_max;
    }

    /// Makes what is new with these permissions.
    pub fn make_with(&self, modes: NewModes) {
        self.keeping.make_with(modes);
    }

    /// The path of the root, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder at this path, made if it is missing, and those above it too; what is made has
    /// [`NewModes`] until [`DestinationTree::finish_folder`]. A folder of this user,
    /// other than the root, that its owner may not read, write and enter lets him from now on:
    /// a finished tree can be worked on again.
    ///
    /// # Errors
    /// [`StageError::NotAFolder`] if a name on the way is taken by something else, be it a
    /// link; [`StageError::Name`]; what the file system says.
    pub fn folder(&self, path: &ResourcePath) -> Result<Arc<StagingFolder>, StageError> {
        check_names(path)?;
        let unlock = |folder: BorrowedFd<'_>| {
            let look = if path.is_root() {
                rustix::fs::fstat
            } else {
                unlock_folder
            };
            look(folder)
        };
        if let Some(open) = self.still_open(path, unlock)? {
            return Ok(open);
        }
        let folder = match (self.root.folder_descriptor(path), path.parent()) {
            (Ok(folder), _) => folder,
            (Err(errno), None) if is_unreadable(errno) => self.unreadable_folder(path)?,
            (Err(errno), Some(above)) if errno == Errno::NOENT || is_unreadable(errno) => {
                let above = self.folder(&above)?;
                self.make_in(&above, path)?
            }
            (Err(errno), _) => return Err(self.explain(path, errno)),
        };
        self.keep_open(path, folder, unlock)
    }

    /// The folder at this path as it is. Nothing is made or changed; `None` if it is missing.
    ///
    /// # Errors
    /// As for [`DestinationTree::folder`].
    pub fn existing_folder(
        &self,
        path: &ResourcePath,
    ) -> Result<Option<Arc<StagingFolder>>, StageError> {
        check_names(path)?;
        let look = |folder: BorrowedFd<'_>| rustix::fs::fstat(folder);
        if let Some(open) = self.still_open(path, look)? {
            return Ok(Some(open));
        }
        let folder = match self.root.folder_descriptor(path) {
            Ok(folder) => folder,
            Err(errno) if is_unreadable(errno) => self.unreadable_folder(path)?,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.explain(path, errno)),
        };
        self.keep_open(path, folder, look).map(Some)
    }

    /// Gives a folder exactly these permissions and this time. Whoever calls this is done
    /// with what is in it: what is placed or removed there changes its time again. It is made
    /// if it is missing. A finished folder is not touched again if it is as it should be.
    ///
    /// # Errors
    /// As for [`DestinationTree::folder`].
    pub fn finish_folder(
        &self,
        path: &ResourcePath,
        attributes: &Attributes,
    ) -> Result<(), StageError> {
        check_names(path)?;
        let (found, made);
        let folder = match self.root.folder_descriptor(path) {
            Ok(folder) => {
                found = folder;
                found.as_fd()
            }
            Err(errno) if errno == Errno::NOENT || is_unreadable(errno) => {
                made = self.folder(path)?;
                made.as_fd()
            }
            Err(errno) => return Err(self.explain(path, errno)),
        };
        let stat = rustix::fs::fstat(folder).map_err(|errno| self.explain(path, errno))?;
        // What the owner of this machine said beyond permissions stays: new files of a folder
        // may have to be of its group.
        let set_bits = stat.st_mode & 0o7000;
        let mode = attributes.mode.map(|mode| set_bits | mode & 0o777);
        let mode = mode.filter(|&mode| stat.st_mode & 0o7777 != mode);
        let mtime = attributes.mtime.filter(|_| !is_of_time(&stat, attributes));
        let device = device_of(&stat);
        if (mode.is_some() || mtime.is_some()) && self.keeping.may_change(device) {
            let has_mode = mode.map_or(Ok(true), |mode| set_mode(folder, mode))?;
            let has_mtime = mtime.map_or(Ok(true), |mtime| set_mtime(folder, mtime))?;
            let is_changed = mode.is_some() && has_mode || mtime.is_some() && has_mtime;
            if is_changed {
                self.note_unsynced(folder, &stat, path);
            }
            self.keeping.note_change(device, is_changed);
            // Otherwise each run would say it of what an earlier one made.
            if self.has_made.load(Relaxed) {
                let losses = [(has_mode, Loss::Permissions), (has_mtime, Loss::Time)];
                let lost = losses.into_iter().filter(|(is_kept, _)| !is_kept);
                lost.for_each(|(_, loss)| self.keeping.count(loss));
            }
        }
        // Who works on it again has to unlock it again.
        let closed = self.lock_open().remove(path);
        drop(closed);
        Ok(())
    }

    /// Shows `visit` every name in a folder and what it is, in the order of the file system.
    /// A missing folder has none. Partial files are not shown.
    ///
    /// # Errors
    /// As for [`DestinationTree::folder`].
    pub fn names(
        &self,
        path: &ResourcePath,
        mut visit: impl FnMut(FileName, Occupant),
    ) -> Result<(), StageError> {
        let folder = match self.root.folder_descriptor(path) {
            Ok(folder) => Folder::from(folder),
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(self.explain(path, errno)),
        };
        folder
            .visit_names(|name, kind| {
                let Ok(name) = FileName::parse(name) else {
                    return;
                };
                // Gone since then, if it cannot be looked at.
                let kind = kind.or_else(|| Some(folder.look(name.as_bytes()).ok()?.kind));
                if let Some(kind) = kind {
                    visit(name, occupant_of(kind));
                }
            })
            .map_err(|error| self.about_reading(path, error))
    }

    /// Lists a folder, with `recursive` also what is below it, in the order of listings and in
    /// bounded memory, so that it can be compared with one step by step.
    ///
    /// # Errors
    /// As for [`DestinationTree::folder`], and if it is missing.
    pub fn list(
        &self,
        path: &ResourcePath,
        recursive: bool,
    ) -> Result<Box<dyn Listing>, StageError> {
        let folder = self.root.folder_descriptor(path);
        let folder = folder.map_err(|errno| self.explain(path, errno))?;
        let walk = Walk::of_folder(folder.into(), path, recursive, true, None);
        Ok(Box::new(
            walk.map_err(|error| self.about_reading(path, error))?,
        ))
    }

    /// A folder that is kept open, if it was not removed meanwhile.
    fn still_open(
        &self,
        path: &ResourcePath,
        look: impl FnOnce(BorrowedFd<'_>) -> Result<Stat, Errno>,
    ) -> Result<Option<Arc<StagingFolder>>, StageError> {
        let open = self.lock_open().get(path);
        let Some(open) = open else {
            return Ok(None);
        };
        let stat = look(open.as_fd()).map_err(|errno| self.explain(path, errno))?;
        if stat.st_nlink > 0 {
            return Ok(Some(open));
        }
        let closed = self.lock_open().remove(path);
        drop(closed);
        Ok(None)
    }

    fn keep_open(
        &self,
        path: &ResourcePath,
        folder: OwnedFd,
        look: impl FnOnce(BorrowedFd<'_>) -> Result<Stat, Errno>,
    ) -> Result<Arc<StagingFolder>, StageError> {
        look(folder.as_fd()).map_err(|errno| self.explain(path, errno))?;
        let folder = StagingFolder::of_descriptor(folder, &self.shown(path), &self.keeping)?;
        let (kept, closed) = self.lock_open().insert(path, folder);
        // Closing is a system call, and comes after the lock.
        drop(closed);
        Ok(kept)
    }

    /// What an error on the way to a folder is about: the first name that is no folder, or the
    /// folder itself.
    fn explain(&self, path: &ResourcePath, errno: Errno) -> StageError {
        if matches!(errno, Errno::NOTDIR | Errno::LOOP)
            && let Some(culprit) = self.first_that_is_no_folder(path)
        {
            return culprit;
        }
        StageError::of_folder("open the folder", &self.shown(path), errno)
    }

    /// `None` if there is none any more.
    fn first_that_is_no_folder(&self, path: &ResourcePath) -> Option<StageError> {
        let mut at = self.root.folder_descriptor(&ResourcePath::root()).ok()?;
        let mut shown = self.path.clone();
        for part in path.parts() {
            shown.push(OsStr::from_bytes(part));
            let what = match occupant_in(at.as_fd(), part).ok()? {
                Occupant::Directory => {
                    at = folder_in(&at, part).ok()?;
                    continue;
                }
                Occupant::Nothing => return None,
                Occupant::Link => "a symbolic link",
                Occupant::File | Occupant::InUse => "a file",
                Occupant::Other => "a FIFO, a socket or a device",
            };
            return Some(StageError::NotAFolder { path: shown, what });
        }
        None
    }

    fn about_reading(&self, path: &ResourcePath, error: StoreError) -> StageError {
        StageError::Folder {
            doing: "read the folder",
            folder: self.shown(path),
            source: match error {
                StoreError::Io(source) | StoreError::Busy(source) => source,
                StoreError::Forbidden => io::ErrorKind::PermissionDenied.into(),
                StoreError::NotFound => io::ErrorKind::NotFound.into(),
                other => io::Error::other(other),
            },
        }
    }

    fn shown(&self, path: &ResourcePath) -> PathBuf {
        if path.is_root() {
            return self.path.clone();
        }
        self.path.join(OsStr::from_bytes(path.as_bytes()))
    }

    fn lock_open(&self) -> MutexGuard<'_, OpenFolders> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names of partial files are kept for these, on every level.
fn check_names(path: &ResourcePath) -> Result<(), StageError> {
    for part in path.parts() {
        FileName::parse(part)?;
    }
    Ok(())
}

fn is_of_time(stat: &Stat, attributes: &Attributes) -> bool {
    let keeps = |mtime| stamp_of(stat).keeps(mtime);
    attributes.mtime.is_none_or(keeps)
}

fn occupant_of(kind: ObjectKind) -> Occupant {
    match kind {
        ObjectKind::File => Occupant::File,
        ObjectKind::Directory => Occupant::Directory,
        ObjectKind::Symlink => Occupant::Link,
        ObjectKind::Other => Occupant::Other,
    }
}

#[cfg(test)]
mod tests;

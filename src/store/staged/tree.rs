//! The directory tree that files are placed in.

mod case;
mod locked;
mod look;
mod making;
mod open_directories;
mod remove;
mod target_info;
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
use self::open_directories::OpenDirectories;
pub use self::target_info::TargetInfo;
use self::unsynced::Unsynced;
use super::StageError;
use super::capabilities::{Capabilities, Loss, Unkept};
use super::entry_kind::{EntryKind, entry_kind_in};
use super::file::{Attributes, set_mode, set_mtime};
use super::name::FileName;
use super::new_modes::NewModes;
use super::staging_directory::{StagingDirectory, device_of, is_unreadable};
use crate::store::beneath::{Directory, Root, directory_in, stamp_of, unlock_directory};
use crate::store::walk::Walk;
use crate::store::{Listing, StoreError};
use crate::wire::{ObjectKind, ResourcePath};

/// A tree that files are placed in. Every directory is opened relative to the root's descriptor and
/// through no link. A link that someone plants there is an error or is replaced, and never leads
/// outside. The root itself may be reached through links, because the user named it.
///
/// An open directory stays the same directory if it is moved. The tree keeps the directories used
/// last open, beyond those in use: 16, unless [`DestinationTree::keep_directories`] sets another
/// number.
pub struct DestinationTree {
    root: Root,
    path: PathBuf,
    open: Mutex<OpenDirectories>,
    /// By device: what was made, finished or removed since the last sync.
    unsynced: Mutex<HashMap<u64, Unsynced>>,
    capabilities: Arc<Capabilities>,
    /// At least one directory was made.
    has_made: AtomicBool,
    has_tried_modes: OnceLock<()>,
}

impl DestinationTree {
    /// Opens the root. With `make`, makes the root and its parents where they are missing.
    ///
    /// # Errors
    /// [`StageError::Directory`]: the root is missing, is no directory, or cannot be made.
    pub fn open(root: &Path, make: bool) -> Result<Arc<DestinationTree>, StageError> {
        if make {
            StagingDirectory::make(root)?;
        }
        let opened = Root::open(root, false).map_err(|source| StageError::Directory {
            doing: "open the directory",
            directory: root.to_owned(),
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
            capabilities: Arc::default(),
            has_made: AtomicBool::new(false),
            has_tried_modes: OnceLock::new(),
        }
    }

    /// What the file systems could not keep so far.
    pub fn unkept(&self) -> Unkept {
        self.capabilities.unkept()
    }

    /// Sets how many idle directories stay open, one descriptor each.
    pub fn keep_directories(&self, directories_max: usize) {
        self.lock_open().directories_max = directories_max;
    }

    /// Sets the permissions that new files and directories are created with.
    pub fn make_with(&self, modes: NewModes) {
        self.capabilities.make_with(modes);
    }

    /// The path of the root, as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the directory at this path and makes it and its parents where they are missing. New
    /// directories have [`NewModes`] until [`DestinationTree::finish_directory`]. If a directory of
    /// this user, other than the root, denies its owner reading, writing or entering, the owner
    /// gets these rights, so that a finished tree can be changed again.
    ///
    /// # Errors
    /// [`StageError::NotADirectory`] if a name on the way is something else, such as a link;
    /// [`StageError::Name`]; any error of the file system.
    pub fn directory(&self, path: &ResourcePath) -> Result<Arc<StagingDirectory>, StageError> {
        check_names(path)?;
        let unlock = |directory: BorrowedFd<'_>| {
            let look = if path.is_root() {
                rustix::fs::fstat
            } else {
                unlock_directory
            };
            look(directory)
        };
        if let Some(open) = self.still_open(path, unlock)? {
            return Ok(open);
        }
        let directory = match (self.root.directory_descriptor(path), path.parent()) {
            (Ok(directory), _) => directory,
            (Err(errno), None) if is_unreadable(errno) => self.unreadable_directory(path)?,
            (Err(errno), Some(above)) if errno == Errno::NOENT || is_unreadable(errno) => {
                let above = self.directory(&above)?;
                self.make_in(&above, path)?
            }
            (Err(errno), _) => return Err(self.path_error(path, errno)),
        };
        self.keep_open(path, directory, unlock)
    }

    /// Opens the directory at this path. Makes and changes nothing; `None` if it is missing.
    ///
    /// # Errors
    /// As for [`DestinationTree::directory`].
    pub fn existing_directory(
        &self,
        path: &ResourcePath,
    ) -> Result<Option<Arc<StagingDirectory>>, StageError> {
        check_names(path)?;
        let look = |directory: BorrowedFd<'_>| rustix::fs::fstat(directory);
        if let Some(open) = self.still_open(path, look)? {
            return Ok(Some(open));
        }
        let directory = match self.root.directory_descriptor(path) {
            Ok(directory) => directory,
            Err(errno) if is_unreadable(errno) => self.unreadable_directory(path)?,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.path_error(path, errno)),
        };
        self.keep_open(path, directory, look).map(Some)
    }

    /// Gives a directory exactly these permissions and this time, if they differ. Makes it if it is
    /// missing. The caller is done with its contents: a later change in it changes its time again.
    ///
    /// # Errors
    /// As for [`DestinationTree::directory`].
    pub fn finish_directory(
        &self,
        path: &ResourcePath,
        attributes: &Attributes,
    ) -> Result<(), StageError> {
        check_names(path)?;
        let (found, made);
        let directory = match self.root.directory_descriptor(path) {
            Ok(directory) => {
                found = directory;
                found.as_fd()
            }
            Err(errno) if errno == Errno::NOENT || is_unreadable(errno) => {
                made = self.directory(path)?;
                made.as_fd()
            }
            Err(errno) => return Err(self.path_error(path, errno)),
        };
        let stat = rustix::fs::fstat(directory).map_err(|errno| self.path_error(path, errno))?;
        // Keep set-group-id and its kin, which the owner of this machine set: new files in the
        // directory may need its group.
        let set_bits = stat.st_mode & 0o7000;
        let mode = attributes.mode.map(|mode| set_bits | mode & 0o777);
        let mode = mode.filter(|&mode| stat.st_mode & 0o7777 != mode);
        let mtime = attributes
            .mtime
            .filter(|_| !mtime_matches(&stat, attributes));
        let device = device_of(&stat);
        if (mode.is_some() || mtime.is_some()) && self.capabilities.may_change(device) {
            let has_mode = mode.map_or(Ok(true), |mode| set_mode(directory, mode))?;
            let has_mtime = mtime.map_or(Ok(true), |mtime| set_mtime(directory, mtime))?;
            let is_changed = mode.is_some() && has_mode || mtime.is_some() && has_mtime;
            if is_changed {
                self.note_unsynced(directory, &stat, path);
            }
            self.capabilities.note_change(device, is_changed);
            // Otherwise each run would report it for directories that an earlier run made.
            if self.has_made.load(Relaxed) {
                let losses = [(has_mode, Loss::Permissions), (has_mtime, Loss::Time)];
                let lost = losses.into_iter().filter(|(is_kept, _)| !is_kept);
                lost.for_each(|(_, loss)| self.capabilities.count(loss));
            }
        }
        // The next use of the directory must unlock it again.
        let closed = self.lock_open().remove(path);
        drop(closed);
        Ok(())
    }

    /// Calls `visit` with every name in a directory and its kind, in the order of the file system.
    /// A missing directory has no names. Partial files are left out.
    ///
    /// # Errors
    /// As for [`DestinationTree::directory`].
    pub fn names(
        &self,
        path: &ResourcePath,
        mut visit: impl FnMut(FileName, EntryKind),
    ) -> Result<(), StageError> {
        let directory = match self.root.directory_descriptor(path) {
            Ok(directory) => Directory::from(directory),
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(self.path_error(path, errno)),
        };
        directory
            .visit_names(|name, kind| {
                let Ok(name) = FileName::parse(name) else {
                    return;
                };
                // If the look fails, the entry is gone by now.
                let kind = kind.or_else(|| Some(directory.look(name.as_bytes()).ok()?.kind));
                if let Some(kind) = kind {
                    visit(name, entry_kind_of(kind));
                }
            })
            .map_err(|error| self.reading_error(path, error))
    }

    /// Lists a directory, with `recursive` also everything below it. The listing is in listing
    /// order and uses bounded memory, so that it can be merged with another listing.
    ///
    /// # Errors
    /// As for [`DestinationTree::directory`], and if the directory is missing.
    pub fn list(
        &self,
        path: &ResourcePath,
        recursive: bool,
    ) -> Result<Box<dyn Listing>, StageError> {
        let directory = self.root.directory_descriptor(path);
        let directory = directory.map_err(|errno| self.path_error(path, errno))?;
        let walk = Walk::of_directory(directory.into(), path, recursive, true, None);
        Ok(Box::new(
            walk.map_err(|error| self.reading_error(path, error))?,
        ))
    }

    /// The open directory at this path, unless it was removed meanwhile.
    fn still_open(
        &self,
        path: &ResourcePath,
        look: impl FnOnce(BorrowedFd<'_>) -> Result<Stat, Errno>,
    ) -> Result<Option<Arc<StagingDirectory>>, StageError> {
        let open = self.lock_open().get(path);
        let Some(open) = open else {
            return Ok(None);
        };
        let stat = look(open.as_fd()).map_err(|errno| self.path_error(path, errno))?;
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
        directory: OwnedFd,
        look: impl FnOnce(BorrowedFd<'_>) -> Result<Stat, Errno>,
    ) -> Result<Arc<StagingDirectory>, StageError> {
        look(directory.as_fd()).map_err(|errno| self.path_error(path, errno))?;
        let directory =
            StagingDirectory::of_descriptor(directory, &self.shown(path), &self.capabilities)?;
        let (kept, closed) = self.lock_open().insert(path, directory);
        // Closing is a system call, so do it after the lock.
        drop(closed);
        Ok(kept)
    }

    /// Finds what an error on the way to a directory is about: the first name that is no directory,
    /// or the directory itself.
    fn path_error(&self, path: &ResourcePath, errno: Errno) -> StageError {
        if matches!(errno, Errno::NOTDIR | Errno::LOOP)
            && let Some(culprit) = self.first_non_directory(path)
        {
            return culprit;
        }
        StageError::of_directory("open the directory", &self.shown(path), errno)
    }

    /// `None` if every name is a directory by now.
    fn first_non_directory(&self, path: &ResourcePath) -> Option<StageError> {
        let mut at = self.root.directory_descriptor(&ResourcePath::root()).ok()?;
        let mut shown = self.path.clone();
        for part in path.parts() {
            shown.push(OsStr::from_bytes(part));
            let what = match entry_kind_in(at.as_fd(), part).ok()? {
                EntryKind::Directory => {
                    at = directory_in(&at, part).ok()?;
                    continue;
                }
                EntryKind::Nothing => return None,
                EntryKind::Link => "a symbolic link",
                EntryKind::File | EntryKind::InUse => "a file",
                EntryKind::Other => "a FIFO, a socket or a device",
            };
            return Some(StageError::NotADirectory { path: shown, what });
        }
        None
    }

    fn reading_error(&self, path: &ResourcePath, error: StoreError) -> StageError {
        StageError::Directory {
            doing: "read the directory",
            directory: self.shown(path),
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

    fn lock_open(&self) -> MutexGuard<'_, OpenDirectories> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names of partial files are reserved on every level.
fn check_names(path: &ResourcePath) -> Result<(), StageError> {
    for part in path.parts() {
        FileName::parse(part)?;
    }
    Ok(())
}

fn mtime_matches(stat: &Stat, attributes: &Attributes) -> bool {
    let keeps = |mtime| stamp_of(stat).keeps(mtime);
    attributes.mtime.is_none_or(keeps)
}

fn entry_kind_of(kind: ObjectKind) -> EntryKind {
    match kind {
        ObjectKind::File => EntryKind::File,
        ObjectKind::Directory => EntryKind::Directory,
        ObjectKind::Symlink => EntryKind::Link,
        ObjectKind::Other => EntryKind::Other,
    }
}

#[cfg(test)]
mod tests;

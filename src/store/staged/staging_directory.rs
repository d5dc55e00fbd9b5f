//! A directory in which files are staged and placed. It is used through its descriptor, so that it
//! stays the same directory even if its name is moved.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use rustix::fs::{Access, AtFlags, Dir, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::StageError;
use super::capabilities::{Capabilities, Loss};
use super::error_class::{ErrorClass, SystemCall, retry_transient};
use super::file::{SyncCall, sync_by};
use super::name::{NameTag, PartialName};
use super::refused_name::KnownNames;
use super::space::Space;
#[cfg(test)]
use super::synced::{Synced, note};

/// A directory in which files are staged and placed.
pub struct StagingDirectory {
    directory: OwnedFd,
    device: u64,
    path: PathBuf,
    capabilities: Arc<Capabilities>,
    // The owner of new files here, which a mount option may set to another user.
    pub(super) owner: OnceLock<u32>,
    is_in_memory: OnceLock<bool>,
    is_readable: bool,
    pub(super) is_ours: bool,
    lets_owner_make: bool,
    // Partial files that no download of this process uses.
    pub(super) leftovers: Mutex<HashMap<NameTag, Vec<PartialName>>>,
    known_names: KnownNames,
    has_errors_at_close: OnceLock<bool>,
    closed: OnceLock<Option<Errno>>,
}

impl StagingDirectory {
    /// Opens a directory and reads its entries once, to find partial files.
    ///
    /// # Errors
    /// [`StageError::Directory`]: it is missing, not a directory, or not readable.
    pub fn open(path: &Path) -> Result<Arc<StagingDirectory>, StageError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| StageError::of_directory("open the directory", path, errno))?;
        StagingDirectory::of_descriptor(directory, path, &Arc::default())
    }

    /// Uses an open directory, shown under this path. If the descriptor does not allow reading, its
    /// partial files stay unknown.
    pub(super) fn of_descriptor(
        directory: OwnedFd,
        path: &Path,
        capabilities: &Arc<Capabilities>,
    ) -> Result<Arc<StagingDirectory>, StageError> {
        let sort = |errno| StageError::of_directory("read the directory", path, errno);
        let stat = rustix::fs::fstat(&directory).map_err(sort)?;
        let device = device_of(&stat);
        let is_ours = stat.st_uid == rustix::process::geteuid().as_raw();
        let mode = Mode::from_raw_mode(stat.st_mode);
        let (leftovers, is_readable) = match partial_names(&directory) {
            Ok(names) => (names, true),
            Err(Errno::BADF) => (HashMap::new(), false),
            // The directory can be read but not entered, so nothing in it can be looked at.
            Err(Errno::ACCESS) => return Err(sort(Errno::ACCESS)),
            Err(errno) if is_unreadable(errno) => (HashMap::new(), true),
            Err(errno) => return Err(sort(errno)),
        };
        Ok(Arc::new(StagingDirectory {
            directory,
            device,
            path: path.to_owned(),
            capabilities: Arc::clone(capabilities),
            owner: OnceLock::new(),
            is_in_memory: OnceLock::new(),
            is_readable,
            is_ours,
            lets_owner_make: is_ours && mode.contains(Mode::WUSR | Mode::XUSR),
            leftovers: Mutex::new(leftovers),
            known_names: KnownNames::default(),
            has_errors_at_close: OnceLock::new(),
            closed: OnceLock::new(),
        }))
    }

    /// Makes a directory and its parents where they are missing, and makes them survive a power
    /// cut.
    ///
    /// # Errors
    /// [`StageError::Directory`].
    pub fn make(path: &Path) -> Result<(), StageError> {
        if path.is_dir() {
            return Ok(());
        }
        let above = match path.parent() {
            None => return Ok(()),
            Some(above) if above.as_os_str().is_empty() => Path::new("."),
            Some(above) => above,
        };
        StagingDirectory::make(above)?;
        let sort = |errno| StageError::of_directory("make the directory", path, errno);
        match rustix::fs::mkdir(path, Mode::from_raw_mode(0o777)) {
            // Another process was faster, or it is no directory; opening it will show.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(sort(errno)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &Path| rustix::fs::open(path, flags, Mode::empty());
        let synced = match open(above) {
            Ok(above) => sync_by(&above, &[SyncCall::File, SyncCall::FileSystem]),
            // The parent cannot be read. Sync through the new directory, which is on the same
            // device.
            Err(errno) if is_unreadable(errno) => match open(path) {
                Ok(made) => sync_by(&made, &[SyncCall::FileSystem]),
                Err(errno) if is_unreadable(errno) => Ok(false),
                Err(errno) => Err(errno),
            },
            Err(errno) => Err(errno),
        };
        // If this cannot be synced, later syncs cannot either, and those are counted.
        synced.map(drop).map_err(sort)
    }

    /// The path that the directory was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The device of the directory: directories of one device are synced together.
    pub fn device(&self) -> u64 {
        self.device
    }

    /// Whether the file system is in memory, so that there is nothing to sync.
    pub fn is_in_memory(&self) -> bool {
        *self.is_in_memory.get_or_init(|| {
            Space::around(&self.directory).is_some_and(|space| space.is_in_memory())
        })
    }

    /// Makes all renames so far survive a power cut. Counts a loss where nothing can sync.
    ///
    /// # Errors
    /// [`StageError::Io`].
    pub fn sync(&self) -> Result<(), StageError> {
        if !self
            .try_sync()
            .map_err(|errno| StageError::sort("sync the directory", errno))?
        {
            self.capabilities.count(Loss::Sync);
        }
        #[cfg(test)]
        note(&self.path, Synced::Directory);
        Ok(())
    }

    fn try_sync(&self) -> Result<bool, Errno> {
        if self.is_readable {
            return sync_by(&self.directory, &[SyncCall::File, SyncCall::FileSystem]);
        }
        // Only a file that is open for reading or writing can be synced.
        self.with_probe_file(|file| sync_by(file, &[SyncCall::FileSystem]))
            .unwrap_or(Ok(false))
    }

    /// Whether [`StagingDirectory::sync`] also covers new links in the directory.
    pub fn syncs_links(&self) -> bool {
        Space::around(&self.directory).is_some_and(|space| space.syncs_links_with_directory())
    }

    /// Makes everything written to this file system so far survive a power cut. For many files this
    /// is far cheaper than one sync each. `Ok(false)`: nothing here can do that.
    ///
    /// # Errors
    /// [`StageError`].
    pub fn sync_file_system(&self) -> Result<bool, StageError> {
        let synced = if self.is_readable {
            sync_by(&self.directory, &[SyncCall::FileSystem])
        } else {
            self.try_sync()
        };
        let synced = synced.map_err(|errno| StageError::sort("sync the file system", errno))?;
        #[cfg(test)]
        note(&self.path, Synced::FileSystem);
        Ok(synced)
    }

    /// Checks that something can be created here, before bytes are transferred. If a look denies
    /// it, a file is created for a moment. This costs nothing for a directory of this user on a
    /// device on which something was created before.
    ///
    /// # Errors
    /// [`StageError::Directory`]: nothing can be created.
    pub fn check_making(&self) -> Result<(), StageError> {
        if self.lets_owner_make && self.capabilities.is_writable(self.device) {
            return Ok(());
        }
        let look = || {
            let access = Access::WRITE_OK | Access::EXEC_OK;
            match rustix::fs::accessat(&self.directory, ".", access, AtFlags::EACCESS) {
                Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {
                    self.with_probe_file(|_| ()).err()
                }
                Ok(()) | Err(_) => None,
            }
        };
        if let Some(errno) = *self.closed.get_or_init(look) {
            let doing = "create a file in";
            return Err(StageError::of_directory(doing, &self.path, errno));
        }
        self.capabilities.note_writable(self.device);
        Ok(())
    }

    /// Whether the file system may report a failed write only when the file is closed.
    pub(super) fn has_errors_at_close(&self) -> bool {
        let look =
            || Space::around(self.as_fd()).is_none_or(|space| !space.has_no_errors_at_close());
        *self.has_errors_at_close.get_or_init(look)
    }

    pub(super) fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    pub(super) fn known_names(&self) -> &KnownNames {
        &self.known_names
    }
}

// The type of this field differs between architectures.
#[allow(clippy::unnecessary_cast, clippy::cast_lossless)]
pub(super) fn device_of(stat: &Stat) -> u64 {
    stat.st_dev as u64
}

/// Whether this error means that the directory cannot be read, though it may still be usable.
pub(super) fn is_unreadable(errno: Errno) -> bool {
    ErrorClass::of(SystemCall::ListPartials, errno) == ErrorClass::Unsupported
}

fn partial_names(directory: &OwnedFd) -> Result<HashMap<NameTag, Vec<PartialName>>, Errno> {
    let mut names: HashMap<NameTag, Vec<PartialName>> = HashMap::new();
    for entry in retry_transient(SystemCall::ListPartials, || Dir::read_from(directory))? {
        if let Some(partial) = PartialName::parse(entry?.file_name().to_bytes()) {
            names.entry(partial.tag).or_default().push(partial);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use rustix::io::FdFlags;

    use super::*;
    use crate::store::staged::synced_below;

    #[test]
    fn a_new_directory_is_usable_and_not_inherited() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/b");
        StagingDirectory::make(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().mode();
        assert_eq!(mode & 0o7700, 0o700, "{mode:o}");
        let directory = StagingDirectory::open(&path).unwrap();
        let flags = rustix::io::fcntl_getfd(directory.as_fd()).unwrap();
        assert!(flags.contains(FdFlags::CLOEXEC));
        fs::write(temp.path().join("file"), "").unwrap();
        assert!(StagingDirectory::open(&temp.path().join("file")).is_err());
        assert!(StagingDirectory::make(&temp.path().join("file/a")).is_err());
    }

    #[test]
    fn a_sync_succeeds_or_is_counted() {
        let temp = tempfile::tempdir().unwrap();
        let directory = StagingDirectory::open(temp.path()).unwrap();
        directory.sync().unwrap();
        assert_eq!(synced_below(temp.path()), [Synced::Directory]);
        assert!(directory.sync_file_system().unwrap());
        assert_eq!(
            synced_below(temp.path()),
            [Synced::Directory, Synced::FileSystem]
        );
        assert_eq!(directory.capabilities().unkept().syncs, 0);
        // This directory is not open for reading, and no file can be created in it.
        let handle = rustix::fs::open("/proc", OFlags::PATH, Mode::empty()).unwrap();
        let directory =
            StagingDirectory::of_descriptor(handle, Path::new("/proc"), &Arc::default()).unwrap();
        directory.sync().unwrap();
        assert_eq!(directory.capabilities().unkept().syncs, 1);
        assert!(!directory.sync_file_system().unwrap());
    }
}

//! A folder in which files are staged and placed, by its descriptor: whatever happens to its
//! name meanwhile, everything stays in the folder that was opened.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use rustix::fs::{Access, AtFlags, Dir, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::StageError;
use super::file::{Sync, sync_by};
use super::keeping::{Keeping, Loss};
use super::name::{NameTag, PartialName};
use super::refusal::{Call, Refusal, patiently};
use super::refused_name::KnownNames;
use super::space::Space;
#[cfg(test)]
use super::synced::{Synced, note};

/// A folder in which files are staged and placed.
pub struct StagingFolder {
    folder: OwnedFd,
    device: u64,
    path: PathBuf,
    keeping: Arc<Keeping>,
    // The user that new files belong to here: a mount may say that all are of somebody else.
    pub(super) owner: OnceLock<u32>,
    is_in_memory: OnceLock<bool>,
    is_readable: bool,
    pub(super) is_ours: bool,
    lets_owner_make: bool,
    // Partial files that nobody here works on, as of the opening and of what was kept since.
    pub(super) leftovers: Mutex<HashMap<NameTag, Vec<PartialName>>>,
    known_names: KnownNames,
    has_errors_at_close: OnceLock<bool>,
    closed: OnceLock<Option<Errno>>,
}

impl StagingFolder {
    /// Opens a folder and looks once through its entries for partial files.
    ///
    /// # Errors
    /// [`StageError::Io`]: it is missing, not a folder, or not readable.
    pub fn open(path: &Path) -> Result<Arc<StagingFolder>, StageError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| StageError::of_folder("open the folder", path, errno))?;
        StagingFolder::of_descriptor(folder, path, &Arc::default())
    }

    /// The same of a folder that is open, and shown by this path. If it is not open for reading
    /// nobody knows of the partial files in it.
    pub(super) fn of_descriptor(
        folder: OwnedFd,
        path: &Path,
        keeping: &Arc<Keeping>,
    ) -> Result<Arc<StagingFolder>, StageError> {
        let sort = |errno| StageError::of_folder("read the folder", path, errno);
        let stat = rustix::fs::fstat(&folder).map_err(sort)?;
        let device = device_of(&stat);
        let is_ours = stat.st_uid == rustix::process::geteuid().as_raw();
        let mode = Mode::from_raw_mode(stat.st_mode);
        let (leftovers, is_readable) = match partial_names(&folder) {
            Ok(names) => (names, true),
            Err(Errno::BADF) => (HashMap::new(), false),
            // It may be read and not entered: nothing in it can be looked at.
            Err(Errno::ACCESS) => return Err(sort(Errno::ACCESS)),
            Err(errno) if is_unreadable(errno) => (HashMap::new(), true),
            Err(errno) => return Err(sort(errno)),
        };
        Ok(Arc::new(StagingFolder {
            folder,
            device,
            path: path.to_owned(),
            keeping: Arc::clone(keeping),
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

    /// Makes a folder and those above it, as far as they are missing, so that they survive a
    /// power cut.
    ///
    /// # Errors
    /// [`StageError::Io`].
    pub fn make(path: &Path) -> Result<(), StageError> {
        if path.is_dir() {
            return Ok(());
        }
        let above = match path.parent() {
            None => return Ok(()),
            Some(above) if above.as_os_str().is_empty() => Path::new("."),
            Some(above) => above,
        };
        StagingFolder::make(above)?;
        let sort = |errno| StageError::of_folder("make the folder", path, errno);
        match rustix::fs::mkdir(path, Mode::from_raw_mode(0o777)) {
            // Somebody was faster, or it is no folder: opening it tells.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(sort(errno)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &Path| rustix::fs::open(path, flags, Mode::empty());
        let synced = match open(above) {
            Ok(above) => sync_by(&above, &[Sync::File, Sync::FileSystem]),
            // Not one that may be read: what was made in it is on the same device.
            Err(errno) if is_unreadable(errno) => match open(path) {
                Ok(made) => sync_by(&made, &[Sync::FileSystem]),
                Err(errno) if is_unreadable(errno) => Ok(false),
                Err(errno) => Err(errno),
            },
            Err(errno) => Err(errno),
        };
        // If it cannot be synced, neither can what comes next, and that is counted.
        synced.map(drop).map_err(sort)
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The device it is on: folders of one device are synced together.
    pub fn device(&self) -> u64 {
        self.device
    }

    /// Whether its file system is in memory, where there is nothing to sync.
    pub fn is_in_memory(&self) -> bool {
        *self
            .is_in_memory
            .get_or_init(|| Space::around(&self.folder).is_some_and(|space| space.is_in_memory()))
    }

    /// Makes what was renamed so far survive a power cut. Where nothing can, that is counted, and
    /// no error.
    ///
    /// # Errors
    /// [`StageError::Io`].
    pub fn sync(&self) -> Result<(), StageError> {
        if !self
            .try_sync()
            .map_err(|errno| StageError::sort("sync the folder", errno))?
        {
            self.keeping.count(Loss::Sync);
        }
        #[cfg(test)]
        note(&self.path, Synced::Folder);
        Ok(())
    }

    fn try_sync(&self) -> Result<bool, Errno> {
        if self.is_readable {
            return sync_by(&self.folder, &[Sync::File, Sync::FileSystem]);
        }
        // Only what is open for reading or writing can be synced.
        self.with_new_file(|file| sync_by(file, &[Sync::FileSystem]))
            .unwrap_or(Ok(false))
    }

    /// Whether [`StagingFolder::sync`] takes along the links that are new here.
    pub fn syncs_links(&self) -> bool {
        Space::around(&self.folder).is_some_and(|space| space.syncs_links_with_directory())
    }

    /// Makes everything written to this file system so far survive a power cut: for many files
    /// at once far cheaper than one by one. `Ok(false)`: that cannot be done here.
    ///
    /// # Errors
    /// [`StageError`].
    pub fn sync_file_system(&self) -> Result<bool, StageError> {
        let synced = if self.is_readable {
            sync_by(&self.folder, &[Sync::FileSystem])
        } else {
            self.try_sync()
        };
        let synced = synced.map_err(|errno| StageError::sort("sync the file system", errno))?;
        #[cfg(test)]
        note(&self.path, Synced::FileSystem);
        Ok(synced)
    }

    /// Whether anything can be made here, so that no bytes come in vain. Where a look says no, a
    /// file is made for a moment. Costs nothing for a directory of this user on a device on which
    /// something could be made before.
    ///
    /// # Errors
    /// [`StageError::Folder`]: nothing can.
    pub fn check_making(&self) -> Result<(), StageError> {
        if self.lets_owner_make && self.keeping.is_writable(self.device) {
            return Ok(());
        }
        let look = || {
            let wanted = Access::WRITE_OK | Access::EXEC_OK;
            match rustix::fs::accessat(&self.folder, ".", wanted, AtFlags::EACCESS) {
                Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => self.with_new_file(|_| ()).err(),
                Ok(()) | Err(_) => None,
            }
        };
        if let Some(errno) = *self.closed.get_or_init(look) {
            let doing = "create a file in";
            return Err(StageError::of_folder(doing, &self.path, errno));
        }
        self.keeping.note_writable(self.device);
        Ok(())
    }

    /// Whether the file system may say only when a file is closed that it could not be written.
    pub(super) fn has_errors_at_close(&self) -> bool {
        let look =
            || Space::around(self.as_fd()).is_none_or(|space| !space.has_no_errors_at_close());
        *self.has_errors_at_close.get_or_init(look)
    }

    pub(super) fn keeping(&self) -> &Keeping {
        &self.keeping
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
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

/// Whether a directory that says so cannot be read, and may be one to work in all the same.
pub(super) fn is_unreadable(errno: Errno) -> bool {
    Refusal::of(Call::ListPartials, errno) == Refusal::CannotHere
}

fn partial_names(folder: &OwnedFd) -> Result<HashMap<NameTag, Vec<PartialName>>, Errno> {
    let mut names: HashMap<NameTag, Vec<PartialName>> = HashMap::new();
    for entry in patiently(Call::ListPartials, || Dir::read_from(folder))? {
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
    fn a_folder_that_is_made_may_be_used_and_no_program_gets_it() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/b");
        StagingFolder::make(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().mode();
        assert_eq!(mode & 0o7700, 0o700, "{mode:o}");
        let folder = StagingFolder::open(&path).unwrap();
        let flags = rustix::io::fcntl_getfd(folder.as_fd()).unwrap();
        assert!(flags.contains(FdFlags::CLOEXEC));
        fs::write(temp.path().join("file"), "").unwrap();
        assert!(StagingFolder::open(&temp.path().join("file")).is_err());
        assert!(StagingFolder::make(&temp.path().join("file/a")).is_err());
    }

    #[test]
    fn a_sync_is_made_or_counted() {
        let temp = tempfile::tempdir().unwrap();
        let folder = StagingFolder::open(temp.path()).unwrap();
        folder.sync().unwrap();
        assert_eq!(synced_below(temp.path()), [Synced::Folder]);
        assert!(folder.sync_file_system().unwrap());
        assert_eq!(
            synced_below(temp.path()),
            [Synced::Folder, Synced::FileSystem]
        );
        assert_eq!(folder.keeping().unkept().syncs, 0);
        // Not open for reading, and nothing can be made there that is.
        let handle = rustix::fs::open("/proc", OFlags::PATH, Mode::empty()).unwrap();
        let folder =
            StagingFolder::of_descriptor(handle, Path::new("/proc"), &Arc::default()).unwrap();
        folder.sync().unwrap();
        assert_eq!(folder.keeping().unkept().syncs, 1);
        assert!(!folder.sync_file_system().unwrap());
    }
}

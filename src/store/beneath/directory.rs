//! An open directory: its names, and what is below them.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::inotify::{self, WatchFlags};
use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, RawDir, SeekFrom, Stat};
use rustix::io::Errno;
use rustix::path::DecInt;

use super::fixed::{Fixed, fixed_in, is_crossing};
use super::{Reach, Root, from_errno, meta_in, own_descriptors, retried, servable};
use crate::store::{InotifyLimit, ObjectMeta, StoreError};
use crate::wire::{ObjectKind, ResourcePath};

/// An open directory, which stays the same directory if its name is moved.
pub(in crate::store) struct Directory {
    directory: OwnedFd,
    /// The permissions before it was unlocked, which are restored when it is closed.
    locked: Option<Mode>,
}

impl Root {
    /// Opens a directory for reading its names. The last part of its path may be a link, as with
    /// files.
    pub(in crate::store) fn open_directory(
        &self,
        path: &ResourcePath,
        reach: Reach,
    ) -> Result<Directory, StoreError> {
        let directory = self.reach(path, READING_DIRECTORY, reach)?;
        Ok(Directory::from(directory))
    }

    /// Opens a directory, and reports whether no part of the path is a link.
    pub(in crate::store) fn open_directory_or_link(
        &self,
        path: &ResourcePath,
        reach: Reach,
    ) -> Result<(Directory, bool), StoreError> {
        match self.resolve_real(path, READING_DIRECTORY, reach) {
            Ok(directory) => Ok((Directory::from(directory), true)),
            // The path contains links, or cannot be opened at all.
            Err(_) => Ok((self.open_directory(path, reach)?, false)),
        }
    }

    /// Opens a directory at any path, with the kernel's descriptor and error.
    pub(in crate::store) fn directory_descriptor(
        &self,
        path: &ResourcePath,
    ) -> Result<OwnedFd, Errno> {
        self.resolve(path, READING_DIRECTORY)
    }

    /// Opens a directory that can be written and entered, as a handle that is only good for access
    /// to its contents.
    ///
    /// # Errors
    /// EACCES if it may not be written or entered.
    pub(in crate::store) fn unreadable_directory(
        &self,
        path: &ResourcePath,
    ) -> Result<OwnedFd, Errno> {
        let handle = self.resolve(path, OFlags::PATH | OFlags::DIRECTORY)?;
        let access = Access::WRITE_OK | Access::EXEC_OK;
        rustix::fs::accessat(&handle, ".", access, AtFlags::EACCESS)?;
        Ok(handle)
    }
}

/// Opens a directory in another one for reading. Follows no link.
pub(in crate::store) fn directory_in(directory: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = READING_DIRECTORY | OFlags::NOFOLLOW;
    retried(|| rustix::fs::openat(&directory, name, flags, Mode::empty()))
}

/// Gives the owner missing permissions on a directory that this user may not even open. Changes
/// only directories of this user, and follows no link.
pub(in crate::store) fn unlock_directory_in(
    directory: impl AsFd,
    name: &[u8],
) -> Result<(), Errno> {
    let handle = handle_in(directory, name)?;
    match unlocked_mode(&rustix::fs::fstat(&handle)?) {
        Some(mode) => set_mode_of(&handle, mode),
        None => Ok(()),
    }
}

/// Opens a handle of a directory, which need not be readable.
pub(super) fn handle_in(directory: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    retried(|| rustix::fs::openat(&directory, name, flags, Mode::empty()))
}

/// Sets the mode through the descriptor, because the name may stand for something else by now.
fn set_mode_of(handle: &OwnedFd, mode: Mode) -> Result<(), Errno> {
    let descriptors = own_descriptors().ok_or(Errno::ACCESS)?;
    let name = DecInt::from_fd(handle);
    rustix::fs::chmodat(descriptors, name, mode, AtFlags::empty())
}

/// Gives the owner missing permissions on an open directory. Returns its metadata from before.
pub(in crate::store) fn unlock_directory(directory: impl AsFd) -> Result<Stat, Errno> {
    let stat = rustix::fs::fstat(&directory)?;
    if let Some(mode) = unlocked_mode(&stat) {
        // Where modes cannot be changed they may have no meaning; if they do, the first file fails.
        let _ = rustix::fs::fchmod(&directory, mode);
    }
    Ok(stat)
}

fn unlocked_mode(stat: &Stat) -> Option<Mode> {
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    let is_ours = stat.st_uid == rustix::process::geteuid().as_raw();
    (is_ours && !mode.contains(Mode::RWXU)).then_some(mode | Mode::RWXU)
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl From<OwnedFd> for Directory {
    fn from(directory: OwnedFd) -> Directory {
        Directory {
            directory,
            locked: None,
        }
    }
}

impl Directory {
    /// Calls `visit` with every name in this directory except `.` and `..`, from the start, in the
    /// order of the file system, with its kind if the file system reports it.
    pub(in crate::store) fn visit_names(
        &self,
        mut visit: impl FnMut(&[u8], Option<ObjectKind>),
    ) -> Result<(), StoreError> {
        rustix::fs::seek(&self.directory, SeekFrom::Start(0)).map_err(from_errno)?;
        let mut buffer = [MaybeUninit::uninit(); NAMES_BUFFER_BYTES];
        let mut entries = RawDir::new(&self.directory, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(from_errno)?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::RegularFile => Some(ObjectKind::File),
                FileType::Directory => Some(ObjectKind::Directory),
                FileType::Symlink => Some(ObjectKind::Symlink),
                FileType::Unknown => None,
                _ => Some(ObjectKind::Other),
            };
            visit(name, kind);
        }
        Ok(())
    }

    /// The metadata of a name in this directory; a link is not followed.
    pub(in crate::store) fn look(&self, name: &[u8]) -> Result<ObjectMeta, StoreError> {
        meta_in(&self.directory, name)
            .map_err(from_errno)
            .and_then(servable)
    }

    /// The target of a link; `None` if it is missing or no link any more.
    pub(in crate::store) fn link_target(&self, name: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match rustix::fs::readlinkat(&self.directory, name, Vec::new()) {
            Ok(target) => Ok(Some(target.into_bytes())),
            Err(Errno::NOENT | Errno::INVAL) => Ok(None),
            Err(errno) => Err(from_errno(errno)),
        }
    }

    /// Opens a directory in this one. Follows no link.
    ///
    /// # Errors
    /// [`StoreError::NotAtRest`] if its file system has no stored files, such as /proc.
    pub(in crate::store) fn open_below(&self, name: &[u8]) -> Result<Directory, StoreError> {
        let directory = Directory::from(directory_in(&self.directory, name).map_err(from_errno)?);
        directory.check_at_rest()?;
        Ok(directory)
    }

    /// As [`Directory::open_below`], but only if the entries can be looked at: read permission
    /// alone shows only names.
    pub(in crate::store) fn open_below_to_look(
        &self,
        name: &[u8],
    ) -> Result<Directory, StoreError> {
        let directory = self.open_below(name)?;
        let access = Access::READ_OK | Access::EXEC_OK;
        match rustix::fs::accessat(&directory.directory, ".", access, AtFlags::EACCESS) {
            Err(Errno::ACCESS) => Err(StoreError::Forbidden),
            // Other errors prove nothing: the attempt itself will show.
            Ok(()) | Err(_) => Ok(directory),
        }
    }

    /// As [`Directory::open_below_to_look`]. A directory of this user that it may not enter gets
    /// missing permissions for as long as it is open.
    pub(in crate::store) fn open_below_unlocked(
        &self,
        name: &[u8],
    ) -> Result<Directory, StoreError> {
        let opened = self.open_below_to_look(name);
        if !matches!(opened, Err(StoreError::Forbidden)) {
            return opened;
        }
        let handle = handle_in(&self.directory, name).map_err(from_errno)?;
        let stat = rustix::fs::fstat(&handle).map_err(from_errno)?;
        let mode = unlocked_mode(&stat).ok_or(StoreError::Forbidden)?;
        set_mode_of(&handle, mode).map_err(from_errno)?;
        let locked = Mode::from_raw_mode(stat.st_mode & 0o7777);
        match directory_in(&handle, b".") {
            Ok(directory) => Ok(Directory {
                directory,
                locked: Some(locked),
            }),
            Err(errno) => {
                let _ = set_mode_of(&handle, locked);
                Err(from_errno(errno))
            }
        }
    }

    /// As [`Directory::open_below_to_look`], but never on another file system than this directory.
    ///
    /// # Errors
    /// As for that, and [`StoreError::Io`] with [`io::ErrorKind::CrossesDevices`].
    pub(in crate::store) fn open_inside_to_look(
        &self,
        name: &[u8],
    ) -> Result<Directory, StoreError> {
        self.open_inside(name, Directory::open_below_to_look)
    }

    /// As [`Directory::open_below_unlocked`], but never on another file system than this directory.
    ///
    /// # Errors
    /// As for [`Directory::open_inside_to_look`].
    pub(in crate::store) fn open_inside_unlocked(
        &self,
        name: &[u8],
    ) -> Result<Directory, StoreError> {
        self.open_inside(name, Directory::open_below_unlocked)
    }

    fn open_inside(
        &self,
        name: &[u8],
        open: fn(&Directory, &[u8]) -> Result<Directory, StoreError>,
    ) -> Result<Directory, StoreError> {
        // Check before opening, which alone may mount something or wait for a file server.
        match fixed_in(&self.directory, name).map_err(from_errno)? {
            Some(fixed) if fixed.is_crossing() => return Err(StoreError::Io(fixed.error())),
            _ => {}
        }
        let inner = open(self, name)?;
        if is_crossing(&self.directory, &inner.directory).map_err(from_errno)? {
            return Err(StoreError::Io(Fixed::MountPoint.error()));
        }
        Ok(inner)
    }

    /// Whether its permissions were changed to open it.
    pub(in crate::store) fn is_unlocked(&self) -> bool {
        self.locked.is_some()
    }

    /// Makes the kernel report changes in this directory. Returns the number of the watch.
    ///
    /// # Errors
    /// [`StoreError::NotAtRest`] as for [`Directory::open_below`]; any error of the kernel, for
    /// example that this user has no more watches.
    pub(in crate::store) fn watch(
        &self,
        inotify: impl AsFd,
        changes: WatchFlags,
    ) -> Result<i32, StoreError> {
        self.check_at_rest()?;
        // Use the descriptor, because the name may stand for another directory by now.
        let name = format!("/proc/self/fd/{}", self.directory.as_raw_fd());
        inotify::add_watch(inotify, name, changes).map_err(|errno| match errno {
            Errno::NOSPC => StoreError::Busy(io::Error::other(InotifyLimit::Watches)),
            errno => from_errno(errno),
        })
    }

    fn check_at_rest(&self) -> Result<(), StoreError> {
        // The file systems in question all report their type.
        let Ok(system) = rustix::fs::fstatfs(&self.directory) else {
            return Ok(());
        };
        // The field is of different width and sign on different architectures.
        #[allow(clippy::unnecessary_cast)]
        let is_virtual = VIRTUAL_FILE_SYSTEMS.contains(&(system.f_type as u32));
        if is_virtual {
            return Err(StoreError::NotAtRest);
        }
        Ok(())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(mode) = self.locked {
            // If this fails, the next run that finishes the directory corrects it.
            let _ = rustix::fs::fchmod(&self.directory, mode);
        }
    }
}

const READING_DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// Some thousand names for one system call.
const NAMES_BUFFER_BYTES: usize = 64 * 1024;

/// statfs(2): proc, sysfs, cgroup, cgroup2, debugfs, tracefs, securityfs, bpf, pstore,
/// efivarfs, devpts, configfs.
const VIRTUAL_FILE_SYSTEMS: [u32; 12] = [
    0x9fa0,
    0x6265_6572,
    0x0027_e0eb,
    0x6367_7270,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0xcafe_4a11,
    0x6165_676c,
    0xde5e_81e4,
    0x1cd1,
    0x6265_6570,
];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn unlocks_only_directories_of_this_user_that_need_it() {
        let temp = tempfile::tempdir().unwrap();
        let mut stat = rustix::fs::stat(temp.path()).unwrap();
        let this_user = stat.st_uid;
        for (owner, mode, expected) in [
            (this_user, 0o500, Some(0o700)),
            (this_user, 0o2_055, Some(0o2_755)),
            (this_user, 0o700, None),
            (this_user, 0o1_777, None),
            (this_user + 1, 0o500, None),
            (this_user + 1, 0o700, None),
        ] {
            (stat.st_uid, stat.st_mode) = (owner, 0o040_000 | mode);
            let unlocked = unlocked_mode(&stat).map(|mode| mode.as_raw_mode());
            assert_eq!(unlocked, expected, "{owner} {mode:o}");
        }
    }

    #[test]
    fn an_unlocked_directory_gets_its_mode_back() {
        let temp = tempfile::tempdir().unwrap();
        let mode_of = || fs::metadata(temp.path()).unwrap().permissions().mode() & 0o7777;
        let opened = || OwnedFd::from(fs::File::open(temp.path()).unwrap());
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let usual = Directory::from(opened());
        assert!(!usual.is_unlocked());
        drop(usual);
        assert_eq!(mode_of(), 0o700);
        let unlocked = Directory {
            directory: opened(),
            locked: Some(Mode::from_raw_mode(0o1_100)),
        };
        assert!(unlocked.is_unlocked());
        drop(unlocked);
        assert_eq!(mode_of(), 0o1_100);
    }

    #[test]
    fn does_not_open_a_mount_point_in_a_directory() {
        let root = Directory::from(OwnedFd::from(fs::File::open("/").unwrap()));
        assert!(matches!(
            root.open_inside_to_look(b"proc"),
            Err(StoreError::Io(_))
        ));
    }

    #[test]
    fn a_handle_does_not_follow_a_link() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("folder")).unwrap();
        fs::write(temp.path().join("file"), "").unwrap();
        symlink("folder", temp.path().join("link")).unwrap();
        let directory = fs::File::open(temp.path()).unwrap();
        let handle = handle_in(&directory, b"folder").unwrap();
        assert!(
            rustix::fs::fcntl_getfl(&handle)
                .unwrap()
                .contains(OFlags::PATH)
        );
        for other in [&b"file"[..], b"link", b"missing"] {
            assert!(handle_in(&directory, other).is_err());
        }
        fs::set_permissions(
            temp.path().join("folder"),
            fs::Permissions::from_mode(0o100),
        )
        .unwrap();
        unlock_directory_in(&directory, b"folder").unwrap();
        let mode = fs::metadata(temp.path().join("folder"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o700);
    }
}

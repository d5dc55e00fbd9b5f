//! The only path lookups of the server: they find a name below a root and nowhere else, and open it
//! only if it is a regular file.
//!
//! A name is looked at through an `O_PATH` descriptor first, which opens nothing: it does not wake
//! a writer of a FIFO or start a device. If `fstat` reports a regular file, that inode is opened
//! through the descriptor. So a name that is swapped in between cannot open something else.

mod directory;
mod fixed;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, StatFs};
use rustix::io::Errno;
use rustix::path::DecInt;
use rustix::time::ClockId;

pub(super) use directory::{Directory, directory_in, unlock_directory, unlock_directory_in};
pub(super) use fixed::{Fixed, fixed_in, is_crossing};

use crate::store::index::is_written_here;
use crate::store::{Identity, ObjectMeta, Stamp, StoreError};
use crate::wire::{ObjectKind, ResourcePath, Timestamp};

/// An open directory below which paths are resolved. Renaming or replacing it changes nothing.
pub(super) struct Root {
    directory: OwnedFd,
    resolver: Resolver,
    descriptors: Option<OwnedFd>,
}

/// How far a path may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Only on the mount of the root, if the kernel resolves. A path that leads off it is
    /// `StoreError::OffRoot`, and nothing there is touched.
    OwnMount,
    /// Anywhere below the root.
    All,
}

/// How a path is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resolver {
    /// The kernel resolves below the root in one call, `openat2`. Links are followed if every step
    /// stays inside. Absolute links never do.
    Kernel {
        /// Follow links; otherwise a link anywhere in the path is `NotFound`.
        follow_links: bool,
    },
    /// One open descriptor for each part, following no link: for kernels before 5.6 and sandboxes
    /// that forbid `openat2`.
    Walk,
}

impl Root {
    /// Opens the directory and tests once whether the kernel can resolve below it.
    ///
    /// # Errors
    /// The error of the file system: it is missing, no directory, or may not be entered.
    pub(super) fn open(directory: &Path, follow_links: bool) -> io::Result<Root> {
        let mut root = Root::with_resolver(directory, Resolver::Kernel { follow_links })?;
        match root.resolve(&ResourcePath::root(), OFlags::PATH) {
            Ok(_) => {}
            Err(Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::TOOBIG) => {
                root.resolver = Resolver::Walk;
            }
            Err(errno) => return Err(errno.into()),
        }
        Ok(root)
    }

    /// Opens the directory, for use with this resolver.
    pub(super) fn with_resolver(directory: &Path, resolver: Resolver) -> io::Result<Root> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Root {
            directory: rustix::fs::open(directory, flags, Mode::empty())?,
            resolver,
            descriptors: own_descriptors(),
        })
    }

    /// The descriptor of the directory, which does not allow reading.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// The present stamp of the directory.
    pub(super) fn stamp(&self) -> io::Result<Stamp> {
        Ok(meta_of(&self.directory)?.stamp)
    }

    /// Behaves as if /proc were not mounted.
    #[cfg(test)]
    pub(super) fn without_proc(mut self) -> Root {
        self.descriptors = None;
        self
    }

    /// Looks at the object at a path without opening it.
    pub(super) fn stat(&self, path: &ResourcePath, reach: Reach) -> Result<ObjectMeta, StoreError> {
        let handle = self.reach(path, OFlags::PATH, reach)?;
        servable(meta_of(&handle).map_err(from_errno)?)
    }

    /// Opens the regular file at a path. Never blocks.
    pub(super) fn open_file(
        &self,
        path: &ResourcePath,
        reach: Reach,
    ) -> Result<(File, ObjectMeta), StoreError> {
        let handle = self.reach(path, OFlags::PATH, reach)?;
        let meta = servable(meta_of(&handle).map_err(from_errno)?)?;
        match meta.kind {
            ObjectKind::File => {}
            ObjectKind::Directory => return Err(StoreError::IsDirectory),
            ObjectKind::Symlink | ObjectKind::Other => return Err(StoreError::NotAFile),
        }
        let file = match &self.descriptors {
            Some(descriptors) => retried(|| {
                rustix::fs::openat(
                    descriptors,
                    DecInt::from_fd(&handle),
                    READING,
                    Mode::empty(),
                )
            }),
            None => self.open_same(path, &meta),
        };
        Ok((File::from(file.map_err(from_errno)?), meta))
    }

    /// Without /proc: resolves the path again, and refuses another inode.
    fn open_same(&self, path: &ResourcePath, looked_at: &ObjectMeta) -> Result<OwnedFd, Errno> {
        let file = self.resolve(path, READING)?;
        let meta = meta_of(&file)?;
        let same = meta.stamp.inode == looked_at.stamp.inode
            && meta.stamp.device == looked_at.stamp.device;
        if same { Ok(file) } else { Err(Errno::AGAIN) }
    }

    fn reach(
        &self,
        path: &ResourcePath,
        flags: OFlags,
        reach: Reach,
    ) -> Result<OwnedFd, StoreError> {
        self.resolve_within(path, flags, reach)
            .map_err(|errno| match errno {
                Errno::XDEV if reach == Reach::OwnMount => StoreError::OffRoot,
                errno => from_errno(errno),
            })
    }

    fn resolve(&self, path: &ResourcePath, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.resolve_within(path, flags, Reach::All)
    }

    fn resolve_within(
        &self,
        path: &ResourcePath,
        flags: OFlags,
        reach: Reach,
    ) -> Result<OwnedFd, Errno> {
        self.resolve_by(self.resolver, path, flags, reach)
    }

    /// Resolves a path without links: fails with `LOOP` if any part is one.
    fn resolve_real(
        &self,
        path: &ResourcePath,
        flags: OFlags,
        reach: Reach,
    ) -> Result<OwnedFd, Errno> {
        let resolver = match self.resolver {
            Resolver::Kernel { .. } => Resolver::Kernel {
                follow_links: false,
            },
            Resolver::Walk => Resolver::Walk,
        };
        self.resolve_by(resolver, path, flags, reach)
    }

    fn resolve_by(
        &self,
        resolver: Resolver,
        path: &ResourcePath,
        flags: OFlags,
        reach: Reach,
    ) -> Result<OwnedFd, Errno> {
        match resolver {
            Resolver::Kernel { follow_links } => {
                match self.resolve_in_kernel(path, flags, follow_links, reach) {
                    // The longest path of the protocol leaves no room for a NUL within the kernel's
                    // limit.
                    Err(Errno::NAMETOOLONG) => self.walk(path, flags),
                    resolved => resolved,
                }
            }
            Resolver::Walk => self.walk(path, flags),
        }
    }

    fn resolve_in_kernel(
        &self,
        path: &ResourcePath,
        flags: OFlags,
        follow_links: bool,
        reach: Reach,
    ) -> Result<OwnedFd, Errno> {
        let name = if path.is_root() {
            b"."
        } else {
            path.as_bytes()
        };
        let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        resolve.set(ResolveFlags::NO_SYMLINKS, !follow_links);
        resolve.set(ResolveFlags::NO_XDEV, reach == Reach::OwnMount);
        let flags = flags | OFlags::CLOEXEC;
        retried(|| rustix::fs::openat2(&self.directory, name, flags, Mode::empty(), resolve))
    }

    fn walk(&self, path: &ResourcePath, flags: OFlags) -> Result<OwnedFd, Errno> {
        let mut parts = path.parts().peekable();
        let mut at: Option<OwnedFd> = None;
        while let Some(part) = parts.next() {
            let is_last = parts.peek().is_none();
            let directory = at.as_ref().map_or(self.directory.as_fd(), AsFd::as_fd);
            let flags = if is_last { flags } else { OFlags::PATH };
            let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let found = retried(|| rustix::fs::openat(directory, part, flags, Mode::empty()))?;
            match FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) {
                FileType::Symlink => return Err(Errno::LOOP),
                FileType::Directory => {}
                _ if is_last => {}
                _ => return Err(Errno::NOTDIR),
            }
            at = Some(found);
        }
        match at {
            Some(found) => Ok(found),
            None => {
                rustix::fs::openat(&self.directory, ".", flags | OFlags::CLOEXEC, Mode::empty())
            }
        }
    }
}

/// Treats files of an index that this process has open as missing, because opening and closing one
/// would release its locks.
fn servable(meta: ObjectMeta) -> Result<ObjectMeta, StoreError> {
    if is_written_here(&meta.stamp) {
        Err(StoreError::NotFound)
    } else {
        Ok(meta)
    }
}

/// The present metadata of an open file or handle.
pub(super) fn meta_of(file: impl AsFd) -> Result<ObjectMeta, Errno> {
    look(|| rustix::fs::fstat(&file), || rustix::fs::fstatfs(&file))
}

/// The present metadata of a name in an open directory. Follows no link.
pub(super) fn meta_in(directory: impl AsFd, name: &[u8]) -> Result<ObjectMeta, Errno> {
    look(
        || rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW),
        || {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let handle = rustix::fs::openat(&directory, name, flags, Mode::empty())?;
            rustix::fs::fstatfs(handle)
        },
    )
}

/// Reads the metadata and the clock, and the file system type if it is a file on an unknown device.
fn look(
    stat: impl FnOnce() -> Result<Stat, Errno>,
    file_system: impl FnOnce() -> Result<StatFs, Errno>,
) -> Result<ObjectMeta, Errno> {
    // Read the clock before the metadata, and the coarse one that file times are made from, so that
    // `looked_at` is never too late.
    let now = rustix::time::clock_gettime(ClockId::RealtimeCoarse);
    let stat = stat()?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => ObjectKind::File,
        FileType::Directory => ObjectKind::Directory,
        FileType::Symlink => ObjectKind::Symlink,
        _ => ObjectKind::Other,
    };
    let mut stamp = stamp_of(&stat);
    if kind == ObjectKind::File {
        stamp.identity = Identity::of(stamp.device, file_system);
    }
    Ok(ObjectMeta {
        kind,
        mode: stat.st_mode & 0o777,
        stamp,
        looked_at: timestamp(now.tv_sec, now.tv_nsec),
    })
}

/// A stamp with [`Identity::Lasting`]; the caller sets another identity where needed.
// The types of these fields differ between architectures.
#[allow(clippy::unnecessary_cast, clippy::cast_lossless)]
pub(super) fn stamp_of(stat: &Stat) -> Stamp {
    Stamp {
        device: stat.st_dev as u64,
        inode: stat.st_ino as u64,
        identity: Identity::Lasting,
        size: stat.st_size.max(0) as u64,
        mtime: timestamp(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        ctime: timestamp(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
    }
}

/// A time of the kernel, with its nanoseconds clamped to the valid range.
fn timestamp(seconds: i64, nanoseconds: i64) -> Timestamp {
    Timestamp {
        seconds,
        nanoseconds: nanoseconds.clamp(0, 999_999_999) as u32,
    }
}

/// `/proc/self/fd`, if it exists and is a real procfs.
fn own_descriptors() -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open("/proc/self/fd", flags, Mode::empty()).ok()?;
    let is_real = rustix::fs::fstatfs(&directory).ok()?.f_type == rustix::fs::PROC_SUPER_MAGIC;
    is_real.then_some(directory)
}

/// Repeats a call that a signal interrupted, or a rename elsewhere in the tree.
fn retried(mut call: impl FnMut() -> Result<OwnedFd, Errno>) -> Result<OwnedFd, Errno> {
    for _ in 1..TRIES_MAX {
        match call() {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
    call()
}

/// Maps an error of the file system. A path that leads outside, through too many links or to too
/// long a name is reported as missing.
fn from_errno(errno: Errno) -> StoreError {
    match errno {
        Errno::NOENT | Errno::XDEV | Errno::LOOP | Errno::NAMETOOLONG => StoreError::NotFound,
        Errno::NOTDIR => StoreError::NotADirectory,
        Errno::ISDIR => StoreError::IsDirectory,
        Errno::NXIO | Errno::NODEV => StoreError::NotAFile,
        Errno::ACCESS | Errno::PERM => StoreError::Forbidden,
        Errno::AGAIN | Errno::INTR | Errno::STALE | Errno::MFILE | Errno::NFILE | Errno::NOMEM => {
            StoreError::Busy(errno.into())
        }
        errno => StoreError::Io(errno.into()),
    }
}

/// The flags to open a regular file. Without `NONBLOCK` a file under a lease would block.
const READING: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// `openat2` returns EAGAIN if a directory above a `..` moved meanwhile (openat2(2)).
const TRIES_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_every_error_of_the_file_system() {
        let meaning = |errno| match from_errno(errno) {
            StoreError::NotFound | StoreError::Away | StoreError::OffRoot => "not found",
            StoreError::IsDirectory => "is a directory",
            StoreError::NotADirectory => "not a directory",
            StoreError::NotAFile => "not a file",
            StoreError::NotAtRest | StoreError::Forbidden => "forbidden",
            StoreError::TooDeep => "too deep",
            StoreError::Busy(_) | StoreError::Stalled => "busy",
            StoreError::Io(_) => "failed",
        };
        for (errno, expected) in [
            (Errno::NOENT, "not found"),
            (Errno::XDEV, "not found"),
            (Errno::LOOP, "not found"),
            (Errno::NAMETOOLONG, "not found"),
            (Errno::NOTDIR, "not a directory"),
            (Errno::ISDIR, "is a directory"),
            (Errno::NXIO, "not a file"),
            (Errno::ACCESS, "forbidden"),
            (Errno::PERM, "forbidden"),
            (Errno::AGAIN, "busy"),
            (Errno::MFILE, "busy"),
            (Errno::NFILE, "busy"),
            (Errno::STALE, "busy"),
            (Errno::IO, "failed"),
        ] {
            assert_eq!(meaning(errno), expected, "{errno:?}");
        }
    }

    #[test]
    fn retries_sixteen_times() {
        let mut calls = 0;
        let result = retried(|| {
            calls += 1;
            Err(Errno::AGAIN)
        });
        assert_eq!((result.err(), calls), (Some(Errno::AGAIN), 16));

        let mut calls = 0;
        let result = retried(|| {
            calls += 1;
            Err(if calls < 16 {
                Errno::AGAIN
            } else {
                Errno::NOENT
            })
        });
        assert_eq!((result.err(), calls), (Some(Errno::NOENT), 16));
    }

    #[test]
    fn this_machine_has_openat2_and_proc() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path(), true).unwrap();
        assert_eq!(root.resolver, Resolver::Kernel { follow_links: true });
        assert!(root.descriptors.is_some());
    }

    fn path(name: &str) -> ResourcePath {
        ResourcePath::parse(name.as_bytes()).unwrap()
    }

    #[test]
    fn open_directories_are_not_inherited() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("file"), "").unwrap();
        std::fs::create_dir(temp.path().join("folder")).unwrap();
        let is_kept = |fd: BorrowedFd<'_>| {
            let flags = rustix::io::fcntl_getfd(fd).unwrap();
            flags.contains(rustix::io::FdFlags::CLOEXEC)
        };
        for resolver in [Resolver::Kernel { follow_links: true }, Resolver::Walk] {
            let root = Root::with_resolver(temp.path(), resolver).unwrap();
            assert!(is_kept(root.as_fd()));
            // This descriptor does not allow reading, so it does not keep a file system from
            // becoming read-only.
            let flags = rustix::fs::fcntl_getfl(root.as_fd()).unwrap();
            assert!(flags.contains(OFlags::PATH));
            assert!(is_kept(root.descriptors.as_ref().unwrap().as_fd()));
            for (name, flags) in [("file", READING), ("folder", OFlags::PATH), ("", READING)] {
                let open = root.resolve(&path(name), flags).unwrap();
                assert!(is_kept(open.as_fd()), "{name:?} {resolver:?}");
            }
            let (file, _) = root.open_file(&path("file"), Reach::All).unwrap();
            assert!(is_kept(file.as_fd()), "{resolver:?}");
            let (directory, is_real) = root
                .open_directory_or_link(&path("folder"), Reach::All)
                .unwrap();
            assert!(is_kept(directory.as_fd()) && is_real, "{resolver:?}");
            let inner = Directory::from(root.directory_descriptor(&path("")).unwrap());
            assert!(is_kept(inner.open_below(b"folder").unwrap().as_fd()));
            let unreadable = root.unreadable_directory(&path("folder")).unwrap();
            let flags = rustix::fs::fcntl_getfl(&unreadable).unwrap();
            assert!(is_kept(unreadable.as_fd()) && flags.contains(OFlags::PATH));
            assert!(root.unreadable_directory(&path("file")).is_err());
            let handle = directory::handle_in(&inner, b"folder").unwrap();
            assert!(is_kept(handle.as_fd()));
        }
    }

    #[test]
    fn without_proc_a_replaced_file_is_not_opened() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("a"), "").unwrap();
        std::fs::write(temp.path().join("b"), "").unwrap();
        let root = Root::open(temp.path(), false).unwrap().without_proc();
        let looked_at = root.stat(&path("a"), Reach::All).unwrap();
        assert!(root.open_same(&path("a"), &looked_at).is_ok());
        assert_eq!(
            root.open_same(&path("b"), &looked_at).err(),
            Some(Errno::AGAIN)
        );
    }

    #[test]
    fn a_path_on_another_mount_is_reported_and_not_touched() {
        let root = Root::open(Path::new("/"), true).unwrap();
        assert!(root.stat(&path("proc/self/status"), Reach::All).is_ok());
        let found = root.stat(&path("proc/self/status"), Reach::OwnMount);
        assert!(matches!(found, Err(StoreError::OffRoot)), "{found:?}");
        let missing = root.stat(&path("no such name"), Reach::OwnMount);
        assert!(matches!(missing, Err(StoreError::NotFound)), "{missing:?}");
    }
}

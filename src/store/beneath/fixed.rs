//! Names that cannot be removed or replaced, and directories on another file system.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, StatxAttributes, StatxFlags, makedev};
use rustix::io::Errno;

/// Why a name in a directory cannot be removed, as the file system reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Fixed {
    /// Something is mounted on it, perhaps a file, perhaps of the same file system.
    MountPoint,
    /// It is a directory of another device, such as a subvolume.
    OtherDevice,
    /// chattr(1), `+i`.
    Immutable,
    /// chattr(1), `+a`.
    AppendOnly,
}

impl Fixed {
    /// The error of an operation that this prevents.
    pub(in crate::store) fn error(self) -> io::Error {
        let reason = match self {
            Fixed::MountPoint => "it is a mount point",
            Fixed::OtherDevice => "it is on another file system than the directory around it",
            Fixed::Immutable => "it is immutable (chattr +i)",
            Fixed::AppendOnly => "it is append-only (chattr +a)",
        };
        let kind = match self.is_crossing() {
            true => io::ErrorKind::CrossesDevices,
            false => io::ErrorKind::PermissionDenied,
        };
        io::Error::new(kind, reason)
    }

    /// Whether the contents lie on another file system than the directory around it.
    pub(in crate::store) fn is_crossing(self) -> bool {
        matches!(self, Fixed::MountPoint | Fixed::OtherDevice)
    }
}

/// What keeps a name in a directory; `None` if nothing does, or if it is missing. Triggers no
/// automount, follows no link, and does not wait for a file server.
pub(in crate::store) fn fixed_in(
    directory: impl AsFd,
    name: &[u8],
) -> Result<Option<Fixed>, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    let found = match rustix::fs::statx(&directory, name, flags, StatxFlags::TYPE) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(None),
        // Kernels before 4.11, and some sandboxes.
        Err(Errno::NOSYS) => return other_device_in(directory, name),
        Err(errno) => return Err(errno),
    };
    let is = |attribute| found.stx_attributes.contains(attribute);
    if is(StatxAttributes::MOUNT_ROOT) {
        return Ok(Some(Fixed::MountPoint));
    }
    if is(StatxAttributes::IMMUTABLE) {
        return Ok(Some(Fixed::Immutable));
    }
    if is(StatxAttributes::APPEND) {
        return Ok(Some(Fixed::AppendOnly));
    }
    // Only directories, because overlayfs reports files with the devices of its layers.
    if FileType::from_raw_mode(found.stx_mode.into()) == FileType::Directory {
        let device = makedev(found.stx_dev_major, found.stx_dev_minor);
        return Ok((device != device_of(directory)?).then_some(Fixed::OtherDevice));
    }
    Ok(None)
}

/// Whether an open directory lies on another file system than its parent.
pub(in crate::store) fn is_crossing(above: impl AsFd, directory: impl AsFd) -> Result<bool, Errno> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let is_mounted = match rustix::fs::statx(&directory, "", flags, StatxFlags::TYPE) {
        Ok(found) => found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        Err(Errno::NOSYS) => false,
        Err(errno) => return Err(errno),
    };
    Ok(is_mounted || device_of(above)? != device_of(directory)?)
}

fn other_device_in(directory: impl AsFd, name: &[u8]) -> Result<Option<Fixed>, Errno> {
    let found = match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let is_directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
    let is_other = is_directory && found.st_dev != device_of(directory)?;
    Ok(is_other.then_some(Fixed::OtherDevice))
}

fn device_of(directory: impl AsFd) -> Result<u64, Errno> {
    Ok(rustix::fs::fstat(directory)?.st_dev)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn a_mount_is_fixed_and_an_ordinary_entry_is_not() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("folder")).unwrap();
        fs::write(temp.path().join("file"), "").unwrap();
        let directory = File::open(temp.path()).unwrap();
        for name in [&b"folder"[..], b"file", b"missing"] {
            assert_eq!(fixed_in(&directory, name), Ok(None));
            assert_eq!(other_device_in(&directory, name), Ok(None));
        }
        let inner = File::open(temp.path().join("folder")).unwrap();
        assert_eq!(is_crossing(&directory, &inner), Ok(false));
        let (root, proc) = (File::open("/").unwrap(), File::open("/proc").unwrap());
        assert_eq!(fixed_in(&root, b"proc"), Ok(Some(Fixed::MountPoint)));
        assert_eq!(
            other_device_in(&root, b"proc"),
            Ok(Some(Fixed::OtherDevice))
        );
        assert_eq!(is_crossing(&root, &proc), Ok(true));
        // A mount of its own, of any device.
        assert_eq!(is_crossing(&proc, &proc), Ok(true));
    }

    #[test]
    fn a_fixed_entry_has_the_right_kind_of_error() {
        for (fixed, is_crossing, kind) in [
            (Fixed::MountPoint, true, io::ErrorKind::CrossesDevices),
            (Fixed::OtherDevice, true, io::ErrorKind::CrossesDevices),
            (Fixed::Immutable, false, io::ErrorKind::PermissionDenied),
            (Fixed::AppendOnly, false, io::ErrorKind::PermissionDenied),
        ] {
            assert_eq!(fixed.is_crossing(), is_crossing, "{fixed:?}");
            assert_eq!(fixed.error().kind(), kind, "{fixed:?}");
        }
    }
}

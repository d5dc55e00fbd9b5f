//! What is in a folder, in the order the file system has it.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{Root, from_errno, look, retried, servable};
use crate::store::{ObjectMeta, StoreError};
use crate::wire::{ObjectKind, ResourcePath};

/// An open folder, read as it is iterated. Links, devices and what vanishes meanwhile are
/// left out; so are the files of an index that this process has open.
pub(in crate::store) struct Folder {
    entries: Dir,
}

/// Something in a folder.
pub(in crate::store) enum Entry {
    /// A folder, which was not looked at.
    Folder(CString),
    /// A regular file.
    File(CString, ObjectMeta),
}

impl Root {
    /// Opens the root itself for reading what is in it.
    pub(in crate::store) fn open_folder(&self) -> Result<Folder, StoreError> {
        let folder = self.resolve(&ResourcePath::root(), READING_FOLDER);
        Folder::read(folder.map_err(from_errno)?)
    }
}

impl Folder {
    /// Opens a folder in this one. `None` if it is of a file system whose files are no bytes
    /// at rest, such as /proc.
    pub(in crate::store) fn open_below(
        &self,
        name: &CString,
    ) -> Result<Option<Folder>, StoreError> {
        let above = self.entries.fd().map_err(from_errno)?;
        let folder = retried(|| rustix::fs::openat(above, name, READING_FOLDER, Mode::empty()))
            .map_err(from_errno)?;
        let system = rustix::fs::fstatfs(&folder).map_err(from_errno)?;
        // The field is of different width and sign on different architectures.
        #[allow(clippy::unnecessary_cast)]
        let is_virtual = VIRTUAL_FILE_SYSTEMS.contains(&(system.f_type as u32));
        if is_virtual {
            return Ok(None);
        }
        Folder::read(folder).map(Some)
    }

    fn read(folder: OwnedFd) -> Result<Folder, StoreError> {
        let entries = Dir::new(folder).map_err(from_errno)?;
        Ok(Folder { entries })
    }

    fn look_at(&self, name: CString) -> Result<Option<Entry>, Errno> {
        let folder = self.entries.fd()?;
        let found = look(|| rustix::fs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW));
        let meta = match found {
            Ok(meta) => meta,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        Ok(match meta.kind {
            ObjectKind::Directory => Some(Entry::Folder(name)),
            ObjectKind::File => servable(meta).ok().map(|meta| Entry::File(name, meta)),
            ObjectKind::Symlink | ObjectKind::Other => None,
        })
    }
}

impl Iterator for Folder {
    type Item = Result<Entry, (CString, StoreError)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let entry = match self.entries.read()? {
                Ok(entry) => entry,
                Err(errno) => return Some(Err((CString::default(), from_errno(errno)))),
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            match entry.file_type() {
                FileType::Directory => return Some(Ok(Entry::Folder(name.to_owned()))),
                FileType::RegularFile | FileType::Unknown => {}
                _ => continue,
            }
            match self.look_at(name.to_owned()) {
                Ok(Some(entry)) => return Some(Ok(entry)),
                Ok(None) => {}
                Err(errno) => return Some(Err((name.to_owned(), from_errno(errno)))),
            }
        }
    }
}

const READING_FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

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

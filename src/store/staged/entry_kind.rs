//! The kinds of entries under a name.

use std::fs::File;
use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::StageError;
use super::name::FileName;
use super::refused_name::{is_about_name, refused};
use super::staging_directory::StagingDirectory;
use crate::store::ObjectMeta;
use crate::store::beneath::{fixed_in, meta_in};
use crate::store::index::is_written_here;
use crate::wire::ObjectKind;

/// What a name in a directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// There is no such entry.
    Nothing,
    /// A regular file.
    File,
    /// A symbolic link to anything: the link itself would be replaced.
    Link,
    /// A directory.
    Directory,
    /// A FIFO, a socket or a device.
    Other,
    /// A file that this process itself writes, such as its index. See
    /// [`InUse`](crate::store::InUse).
    InUse,
}

impl EntryKind {
    /// The kind of an entry that was looked at; `None` is a missing one.
    pub fn of(looked: Option<&ObjectMeta>) -> EntryKind {
        match looked.map(|looked| looked.kind) {
            None => EntryKind::Nothing,
            Some(_) if looked.is_some_and(|looked| is_written_here(&looked.stamp)) => {
                EntryKind::InUse
            }
            Some(ObjectKind::File) => EntryKind::File,
            Some(ObjectKind::Symlink) => EntryKind::Link,
            Some(ObjectKind::Directory) => EntryKind::Directory,
            Some(ObjectKind::Other) => EntryKind::Other,
        }
    }
}

impl StagingDirectory {
    /// The kind of the entry of this name now. Follows no link.
    ///
    /// # Errors
    /// [`StageError::Io`].
    pub fn entry_kind(&self, name: &FileName) -> Result<EntryKind, StageError> {
        Ok(EntryKind::of(self.look(name)?.as_ref()))
    }

    /// The metadata of the entry of this name now, if there is one. Follows no link.
    ///
    /// # Errors
    /// [`StageError::Io`].
    pub fn look(&self, name: &FileName) -> Result<Option<ObjectMeta>, StageError> {
        look_in(self.as_fd(), name.as_bytes()).map_err(|errno| match is_about_name(errno) {
            true => refused(name.as_bytes(), errno),
            false => StageError::sort("look at the file", errno),
        })
    }

    /// Checks that the entry of this name can be replaced, as far as a look shows. Called before a
    /// transfer whose last step would otherwise fail.
    ///
    /// # Errors
    /// [`StageError::Io`]: something is mounted there, or the entry is immutable or append-only.
    pub fn check_replacing(&self, name: &FileName) -> Result<(), StageError> {
        match fixed_in(self.as_fd(), name.as_bytes()) {
            // Other errors prove nothing: the attempt itself will show.
            Ok(None) | Err(_) => Ok(()),
            Ok(Some(fixed)) => Err(StageError::Io {
                doing: "replace what has that name",
                source: fixed.error(),
            }),
        }
    }

    /// Opens an existing regular file for reading. Follows no link and never blocks. Refuses the
    /// file of an index that this process has open.
    ///
    /// # Errors
    /// [`StageError::Io`].
    pub fn open_existing(&self, name: &FileName) -> Result<File, StageError> {
        if self
            .look(name)?
            .is_some_and(|looked| is_written_here(&looked.stamp))
        {
            return Err(StageError::sort("open the existing file", Errno::BUSY));
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(self.as_fd(), name.as_bytes(), flags, Mode::empty())
            .map(File::from)
            .map_err(|errno| StageError::sort("open the existing file", errno))
    }
}

/// The metadata of an entry in an open directory, if there is one. Follows no link.
fn look_in(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Option<ObjectMeta>, Errno> {
    match meta_in(directory, name) {
        Ok(looked) => Ok(Some(looked)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The kind of an entry in an open directory. Follows no link.
pub(super) fn entry_kind_in(directory: BorrowedFd<'_>, name: &[u8]) -> Result<EntryKind, Errno> {
    Ok(EntryKind::of(look_in(directory, name)?.as_ref()))
}

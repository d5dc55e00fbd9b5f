//! What has a name in a folder.

use std::fs::File;
use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::StageError;
use super::folder::StagingFolder;
use super::name::FileName;
use super::refused_name::{is_about_name, refused};
use crate::store::ObjectMeta;
use crate::store::beneath::{fixed_in, meta_in};
use crate::store::index::is_open_here;
use crate::wire::ObjectKind;

/// What a name in the folder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occupant {
    /// There is nothing.
    Nothing,
    /// A regular file.
    File,
    /// A symbolic link, wherever it points: it is what would be replaced.
    Link,
    /// A directory.
    Directory,
    /// A FIFO, a socket or a device.
    Other,
    /// A file that this process itself writes, such as its index: see [`InUse`](crate::store::InUse).
    InUse,
}

impl Occupant {
    /// What was found by a look.
    pub fn of(looked: Option<&ObjectMeta>) -> Occupant {
        match looked.map(|looked| looked.kind) {
            None => Occupant::Nothing,
            Some(_) if looked.is_some_and(|looked| is_open_here(&looked.stamp)) => Occupant::InUse,
            Some(ObjectKind::File) => Occupant::File,
            Some(ObjectKind::Symlink) => Occupant::Link,
            Some(ObjectKind::Directory) => Occupant::Directory,
            Some(ObjectKind::Other) => Occupant::Other,
        }
    }
}

impl StagingFolder {
    /// What a name stands for now. Follows no link.
    ///
    /// # Errors
    /// [`StageError::Io`].
    pub fn occupant(&self, name: &FileName) -> Result<Occupant, StageError> {
        Ok(Occupant::of(self.look(name)?.as_ref()))
    }

    /// What has a name now, if anything does. Follows no link.
    ///
    /// # Errors
    /// [`StageError::Io`].
    pub fn look(&self, name: &FileName) -> Result<Option<ObjectMeta>, StageError> {
        look_in(self.as_fd(), name.as_bytes()).map_err(|errno| match is_about_name(errno) {
            true => refused(name.as_bytes(), errno),
            false => StageError::sort("look at the file", errno),
        })
    }

    /// Whether what has this name could be replaced, as far as can be seen. To be asked before a
    /// transfer whose last step would fail.
    ///
    /// # Errors
    /// [`StageError::Io`]: something is mounted there, or it is immutable or append-only.
    pub fn check_replacing(&self, name: &FileName) -> Result<(), StageError> {
        match fixed_in(self.as_fd(), name.as_bytes()) {
            // Whatever else it says: trying tells.
            Ok(None) | Err(_) => Ok(()),
            Ok(Some(fixed)) => Err(StageError::Io {
                doing: "replace what has that name",
                source: fixed.error(),
            }),
        }
    }

    /// Opens an existing regular file for reading. Follows no link and waits for nothing.
    /// Refuses the file of an index that this process has open.
    ///
    /// # Errors
    /// [`StageError::Io`].
    pub fn open_existing(&self, name: &FileName) -> Result<File, StageError> {
        if self
            .look(name)?
            .is_some_and(|looked| is_open_here(&looked.stamp))
        {
            return Err(StageError::sort("open the existing file", Errno::BUSY));
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(self.as_fd(), name.as_bytes(), flags, Mode::empty())
            .map(File::from)
            .map_err(|errno| StageError::sort("open the existing file", errno))
    }
}

/// What has a name in an open folder, if anything does. Follows no link.
fn look_in(folder: BorrowedFd<'_>, name: &[u8]) -> Result<Option<ObjectMeta>, Errno> {
    match meta_in(folder, name) {
        Ok(looked) => Ok(Some(looked)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// What a name in an open folder stands for. Follows no link.
pub(super) fn occupant_in(folder: BorrowedFd<'_>, name: &[u8]) -> Result<Occupant, Errno> {
    Ok(Occupant::of(look_in(folder, name)?.as_ref()))
}

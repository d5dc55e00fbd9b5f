//! The permissions of what is made, before it gets its own.

use rustix::fs::AtFlags;

use super::StageError;
use super::folder::{CREATE_NEW, StagingFolder};
use super::name::PartialName;

/// The permissions that new files and folders are asked for, less the umask or as a default ACL has
/// it. By default they are for this user alone until they get their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewModes {
    /// Of files.
    pub files: u32,
    /// Of folders.
    pub folders: u32,
}

impl Default for NewModes {
    fn default() -> NewModes {
        NewModes {
            files: 0o600,
            folders: 0o700,
        }
    }
}

impl StagingFolder {
    /// The permissions that the system gives to new files here: those of the umask, or of a default
    /// ACL. A file is made for it, for a moment.
    pub(super) fn usual_mode(&self) -> Result<u32, StageError> {
        let sort = |errno| StageError::of_folder("create a file in", self.path(), errno);
        let name = PartialName::random([b'f'; 16]).text;
        let file = rustix::fs::openat(self.as_fd(), &*name, CREATE_NEW, self.new_file_mode);
        let file = file.map_err(sort)?;
        let stat = rustix::fs::fstat(&file);
        let _ = rustix::fs::unlinkat(self.as_fd(), &*name, AtFlags::empty());
        Ok(stat.map_err(sort)?.st_mode & 0o777)
    }
}

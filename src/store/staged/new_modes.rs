//! The permissions of what is made, before it gets its own.

use super::StageError;
use super::folder::StagingFolder;

/// The permissions that new files and folders are asked for, less the umask or as a default ACL has
/// it. By default they are for this user alone until they get their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewModes {
    /// Of files.
    pub files: u32,
    /// Of folders.
    pub folders: u32,
}

impl NewModes {
    /// Those that new files and directories of any program ask for.
    pub const ORDINARY: NewModes = NewModes {
        files: 0o666,
        folders: 0o777,
    };
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
        let made = self.with_new_file(|file| rustix::fs::fstat(file));
        let made = made
            .flatten()
            .map_err(|errno| StageError::of_folder("create a file in", self.path(), errno))?;
        Ok(made.st_mode & 0o777)
    }
}

//! The permissions that new files and directories are created with.

use super::StageError;
use super::staging_directory::StagingDirectory;

/// The permissions that new files and directories are created with, before the umask or a default
/// ACL. By default only this user may use them until they get their final ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewModes {
    /// For files.
    pub files: u32,
    /// For directories.
    pub directories: u32,
}

impl NewModes {
    /// The permissions that any ordinary program creates files and directories with.
    pub const ORDINARY: NewModes = NewModes {
        files: 0o666,
        directories: 0o777,
    };
}

impl Default for NewModes {
    fn default() -> NewModes {
        NewModes {
            files: 0o600,
            directories: 0o700,
        }
    }
}

impl StagingDirectory {
    /// The permissions that the system gives to new files here, after the umask or a default ACL.
    /// Creates a file for a moment.
    pub(super) fn usual_mode(&self) -> Result<u32, StageError> {
        let made = self.with_probe_file(|file| rustix::fs::fstat(file));
        let made = made
            .flatten()
            .map_err(|errno| StageError::of_directory("create a file in", self.path(), errno))?;
        Ok(made.st_mode & 0o777)
    }
}

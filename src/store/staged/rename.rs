//! The rename that gives a finished file or link its name.

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use super::error_class::{ErrorClass, SystemCall, retry_transient};
use super::file::Placement;
use super::name::{FileName, PartialName};
use super::refused_name::refused;
use super::space::Space;
use super::staging_directory::StagingDirectory;
use super::{OCCUPIED_BY_DIRECTORY, StageError};

impl StagingDirectory {
    /// Renames a partial file or link to its final name, in one step, and returns that name.
    /// `close` closes the file: some file systems do not rename an open file.
    pub(super) fn rename(
        &self,
        partial: &PartialName,
        name: &FileName,
        placement: Placement,
        close: &mut dyn FnMut(),
    ) -> Result<FileName, StageError> {
        match placement {
            Placement::Replace => self.rename_over(partial, name, close),
            Placement::CreateOnly => self.rename_to_new(partial, name, close),
            Placement::Numbered => return self.rename_to_free(partial, name, close),
        }
        .map_err(|errno| self.sort_rename(partial, name, errno))?;
        Ok(name.clone())
    }

    fn rename_over(
        &self,
        partial: &PartialName,
        name: &FileName,
        close: &mut dyn FnMut(),
    ) -> Result<(), Errno> {
        let directory = self.as_fd();
        let (from, to) = (&*partial.text, name.as_bytes());
        let renamed = once_closed(
            || rustix::fs::renameat(directory, from, directory, to),
            close,
        );
        if let Err(Errno::INVAL) = renamed {
            // A plain rename returns this for a name that the file system does not take.
            return renamed;
        }
        or_else_if_unsupported(renamed, || {
            rustix::fs::renameat_with(directory, from, directory, to, RenameFlags::empty())
                // Nothing is ever removed to make way: a name that is taken stays refused.
                .or_else(|errno| self.link_to_new(partial, name).map_err(|_| errno))
        })
    }

    /// Tries the atomic ways first, then those that are nearly atomic.
    fn rename_to_new(
        &self,
        partial: &PartialName,
        name: &FileName,
        close: &mut dyn FnMut(),
    ) -> Result<(), Errno> {
        let directory = self.as_fd();
        let (from, to) = (&*partial.text, name.as_bytes());
        let exclusive =
            || rustix::fs::renameat_with(directory, from, directory, to, RenameFlags::NOREPLACE);
        let renamed = once_closed(exclusive, close);
        let linked = or_else_if_unsupported(renamed, || self.link_to_new(partial, name));
        or_else_if_unsupported(linked, || {
            match rustix::fs::statat(directory, to, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => Err(Errno::EXIST),
                // Something that gets this name in this moment is replaced.
                Err(Errno::NOENT) => once_closed(
                    || rustix::fs::renameat(directory, from, directory, to),
                    close,
                ),
                Err(errno) => Err(errno),
            }
        })
    }

    /// Every file system refuses a second name that is taken.
    fn link_to_new(&self, partial: &PartialName, name: &FileName) -> Result<(), Errno> {
        let directory = self.as_fd();
        let (from, to) = (&*partial.text, name.as_bytes());
        retry_transient(SystemCall::Rename, || {
            rustix::fs::linkat(directory, from, directory, to, AtFlags::empty())
        })?;
        // The file has its final name, even if the partial one stays.
        let _ = retry_transient(SystemCall::Rename, || {
            rustix::fs::unlinkat(directory, from, AtFlags::empty())
        });
        Ok(())
    }

    fn rename_to_free(
        &self,
        partial: &PartialName,
        name: &FileName,
        close: &mut dyn FnMut(),
    ) -> Result<FileName, StageError> {
        let mut bytes_max = None;
        let numbered = (1..NUMBER_MAX).map(|number| {
            let limit = || Space::around(self.as_fd()).map_or(0, |space| space.name_bytes_max);
            name.numbered(number, *bytes_max.get_or_insert_with(limit))
        });
        for name in std::iter::once(name.clone()).chain(numbered) {
            match self.rename_to_new(partial, &name, close) {
                Err(Errno::EXIST | Errno::NOTEMPTY) => {}
                Err(errno) => return Err(self.sort_rename(partial, &name, errno)),
                Ok(()) => return Ok(name),
            }
        }
        Err(StageError::Exists)
    }

    fn sort_rename(&self, partial: &PartialName, name: &FileName, errno: Errno) -> StageError {
        if let Errno::BUSY | Errno::PERM = errno
            && let Err(fixed) = self.check_replacing(name)
        {
            // For example, something was mounted there after the look.
            return fixed;
        }
        match errno {
            Errno::EXIST | Errno::NOTEMPTY => StageError::Exists,
            Errno::ISDIR => StageError::NotReplaceable(OCCUPIED_BY_DIRECTORY),
            errno if self.refuses_name(partial, name, errno) => refused(name.as_bytes(), errno),
            Errno::NOENT => StageError::Vanished,
            other => StageError::sort("rename the file into place", other),
        }
    }
}

/// Renames; closes the file and renames again where that may help.
fn once_closed(
    mut rename: impl FnMut() -> Result<(), Errno>,
    close: &mut dyn FnMut(),
) -> Result<(), Errno> {
    match rename() {
        // SMB servers and some FUSE file systems return any of these for an open file.
        Err(Errno::TXTBSY | Errno::BUSY | Errno::ACCESS | Errno::PERM | Errno::AGAIN) => {
            close();
            retry_transient(SystemCall::Rename, rename)
        }
        Err(Errno::INTR) => retry_transient(SystemCall::Rename, rename),
        result => result,
    }
}

/// Calls `other` if the file system does not support the first operation.
fn or_else_if_unsupported(
    done: Result<(), Errno>,
    other: impl FnOnce() -> Result<(), Errno>,
) -> Result<(), Errno> {
    match done {
        Err(errno) if ErrorClass::of(SystemCall::Rename, errno) == ErrorClass::Unsupported => {
            other()
        }
        done => done,
    }
}

const NUMBER_MAX: u32 = 10_000;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_hard_link_is_made_only_under_a_free_name() {
        let temp = tempfile::tempdir().unwrap();
        let directory = StagingDirectory::open(temp.path()).unwrap();
        let partial = PartialName::random(*b"0000000000000000");
        fs::write(temp.path().join(&partial.text), "new").unwrap();
        fs::write(temp.path().join("taken"), "old").unwrap();
        let name = |name: &[u8]| FileName::parse(name).unwrap();
        let taken = directory.link_to_new(&partial, &name(b"taken"));
        assert_eq!(taken, Err(Errno::EXIST));
        directory.link_to_new(&partial, &name(b"free")).unwrap();
        assert_eq!(fs::read(temp.path().join("free")).unwrap(), b"new");
        assert_eq!(fs::read(temp.path().join("taken")).unwrap(), b"old");
        assert!(!temp.path().join(&partial.text).exists());
    }

    #[test]
    fn an_error_of_the_rename_names_its_cause() {
        let temp = tempfile::tempdir().unwrap();
        let directory = StagingDirectory::open(temp.path()).unwrap();
        let (here, gone) = (
            PartialName::random(*b"0000000000000000"),
            PartialName::random(*b"1111111111111111"),
        );
        fs::write(temp.path().join(&here.text), "").unwrap();
        let name = FileName::parse(b"name").unwrap();
        for (partial, errno, expected) in [
            (&here, Errno::EXIST, "exists"),
            (&here, Errno::NOTEMPTY, "exists"),
            (&here, Errno::ISDIR, "not replaceable"),
            (&here, Errno::NOENT, "name"),
            (&here, Errno::INVAL, "name"),
            (&gone, Errno::NOENT, "vanished"),
            (&here, Errno::NOSPC, "full"),
            (&here, Errno::PERM, "other"),
            (&here, Errno::IO, "other"),
        ] {
            let found = match directory.sort_rename(partial, &name, errno) {
                StageError::Exists => "exists",
                StageError::NotReplaceable(_) => "not replaceable",
                StageError::NameRefused { .. } => "name",
                StageError::Vanished => "vanished",
                StageError::DiskFull(_) => "full",
                _ => "other",
            };
            assert_eq!(found, expected, "{errno:?}");
        }
    }

    #[test]
    fn a_fallback_is_used_only_for_unsupported_calls() {
        for (done, expected) in [
            (Ok(()), Ok(())),
            (Err(Errno::EXIST), Err(Errno::EXIST)),
            (Err(Errno::BUSY), Err(Errno::BUSY)),
            (Err(Errno::NOSYS), Err(Errno::ROFS)),
            (Err(Errno::INVAL), Err(Errno::ROFS)),
        ] {
            assert_eq!(or_else_if_unsupported(done, || Err(Errno::ROFS)), expected);
        }
    }
}

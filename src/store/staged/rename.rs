//! The step that shows a finished file, or link, under its name.

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use super::file::Placement;
use super::folder::StagingFolder;
use super::name::{FileName, PartialName};
use super::refusal::{Call, Refusal, patiently};
use super::refused_name::refused;
use super::space::Space;
use super::{OCCUPIED_BY_FOLDER, StageError};

impl StagingFolder {
    /// Gives what has a partial name its final name, in one step, and returns that. `close`
    /// closes it: some file systems do not rename what is open.
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
        let folder = self.as_fd();
        let (from, to) = (&*partial.text, name.as_bytes());
        let renamed = once_closed(|| rustix::fs::renameat(folder, from, folder, to), close);
        if let Err(Errno::INVAL) = renamed {
            // A plain rename says this of a name that it does not take.
            return renamed;
        }
        or_else_if_refused(renamed, || {
            rustix::fs::renameat_with(folder, from, folder, to, RenameFlags::empty())
                // Nothing is ever removed to make way: a name that is taken stays refused.
                .or_else(|errno| self.link_to_new(partial, name).map_err(|_| errno))
        })
    }

    /// From the one step that is exclusive to those that are nearly so.
    fn rename_to_new(
        &self,
        partial: &PartialName,
        name: &FileName,
        close: &mut dyn FnMut(),
    ) -> Result<(), Errno> {
        let folder = self.as_fd();
        let (from, to) = (&*partial.text, name.as_bytes());
        let exclusive =
            || rustix::fs::renameat_with(folder, from, folder, to, RenameFlags::NOREPLACE);
        let renamed = once_closed(exclusive, close);
        let linked = or_else_if_refused(renamed, || self.link_to_new(partial, name));
        or_else_if_refused(linked, || {
            match rustix::fs::statat(folder, to, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => Err(Errno::EXIST),
                // What comes to have the name in this moment is replaced.
                Err(Errno::NOENT) => {
                    once_closed(|| rustix::fs::renameat(folder, from, folder, to), close)
                }
                Err(errno) => Err(errno),
            }
        })
    }

    /// A second name is refused by all file systems if something has it.
    fn link_to_new(&self, partial: &PartialName, name: &FileName) -> Result<(), Errno> {
        let folder = self.as_fd();
        let (from, to) = (&*partial.text, name.as_bytes());
        patiently(Call::Rename, || {
            rustix::fs::linkat(folder, from, folder, to, AtFlags::empty())
        })?;
        // It has its name, whatever becomes of the other one.
        let _ = patiently(Call::Rename, || {
            rustix::fs::unlinkat(folder, from, AtFlags::empty())
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
            // Mounted, say, since it was looked at.
            return fixed;
        }
        match errno {
            Errno::EXIST | Errno::NOTEMPTY => StageError::Exists,
            Errno::ISDIR => StageError::NotReplaceable(OCCUPIED_BY_FOLDER),
            errno if self.refuses_name(partial, name, errno) => refused(name.as_bytes(), errno),
            Errno::NOENT => StageError::Vanished,
            other => StageError::sort("rename the file into place", other),
        }
    }
}

/// Renames, and again with the file closed if that may help.
fn once_closed(
    mut rename: impl FnMut() -> Result<(), Errno>,
    close: &mut dyn FnMut(),
) -> Result<(), Errno> {
    match rename() {
        // Servers of SMB and some FUSE file systems say any of these of what is open.
        Err(Errno::TXTBSY | Errno::BUSY | Errno::ACCESS | Errno::PERM | Errno::AGAIN) => {
            close();
            patiently(Call::Rename, rename)
        }
        Err(Errno::INTR) => patiently(Call::Rename, rename),
        result => result,
    }
}

/// Another way, if this one cannot be gone here.
fn or_else_if_refused(
    done: Result<(), Errno>,
    other: impl FnOnce() -> Result<(), Errno>,
) -> Result<(), Errno> {
    match done {
        Err(errno) if Refusal::of(Call::Rename, errno) == Refusal::CannotHere => other(),
        done => done,
    }
}

const NUMBER_MAX: u32 = 10_000;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_second_name_is_given_only_where_nothing_has_it() {
        let temp = tempfile::tempdir().unwrap();
        let folder = StagingFolder::open(temp.path()).unwrap();
        let partial = PartialName::random(*b"0000000000000000");
        fs::write(temp.path().join(&partial.text), "new").unwrap();
        fs::write(temp.path().join("taken"), "old").unwrap();
        let name = |name: &[u8]| FileName::parse(name).unwrap();
        let taken = folder.link_to_new(&partial, &name(b"taken"));
        assert_eq!(taken, Err(Errno::EXIST));
        folder.link_to_new(&partial, &name(b"free")).unwrap();
        assert_eq!(fs::read(temp.path().join("free")).unwrap(), b"new");
        assert_eq!(fs::read(temp.path().join("taken")).unwrap(), b"old");
        assert!(!temp.path().join(&partial.text).exists());
    }

    #[test]
    fn an_error_of_the_last_step_says_what_stands_in_its_way() {
        let temp = tempfile::tempdir().unwrap();
        let folder = StagingFolder::open(temp.path()).unwrap();
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
            let found = match folder.sort_rename(partial, &name, errno) {
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
    fn another_way_is_gone_only_where_this_one_cannot_be() {
        for (done, expected) in [
            (Ok(()), Ok(())),
            (Err(Errno::EXIST), Err(Errno::EXIST)),
            (Err(Errno::BUSY), Err(Errno::BUSY)),
            (Err(Errno::NOSYS), Err(Errno::ROFS)),
            (Err(Errno::INVAL), Err(Errno::ROFS)),
        ] {
            assert_eq!(or_else_if_refused(done, || Err(Errno::ROFS)), expected);
        }
    }
}

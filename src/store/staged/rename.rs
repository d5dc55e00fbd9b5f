//! The step that shows a finished file, or link, under its name.

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use super::file::Placement;
use super::folder::StagingFolder;
use super::name::{FileName, PartialName};
use super::refused_name::refused;
use super::space::Space;
use super::{OCCUPIED_BY_FOLDER, StageError};

impl StagingFolder {
    /// Gives what has a partial name its final name, in one step, and returns that.
    pub(super) fn rename(
        &self,
        partial: &PartialName,
        name: &FileName,
        placement: Placement,
    ) -> Result<FileName, StageError> {
        match placement {
            Placement::Replace => self.rename_over(partial, name)?,
            Placement::CreateOnly => self.rename_to_new(partial, name)?,
            Placement::Numbered => return self.rename_to_free(partial, name),
        }
        Ok(name.clone())
    }

    fn rename_over(&self, partial: &PartialName, name: &FileName) -> Result<(), StageError> {
        let folder = self.as_fd();
        let renamed = rustix::fs::renameat(folder, &*partial.text, folder, name.as_bytes());
        if let Err(Errno::BUSY | Errno::PERM) = renamed {
            // Mounted, say, since it was looked at.
            self.check_replacing(name)?;
        }
        renamed.map_err(|errno| self.sort_rename(partial, name, errno))
    }

    fn rename_to_new(&self, partial: &PartialName, name: &FileName) -> Result<(), StageError> {
        let folder = self.as_fd();
        let (from, to) = (&*partial.text, name.as_bytes());
        match rustix::fs::renameat_with(folder, from, folder, to, RenameFlags::NOREPLACE) {
            // This file system cannot; a second name is refused by all if the first exists.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                rustix::fs::linkat(folder, from, folder, to, AtFlags::empty())
                    .and_then(|()| rustix::fs::unlinkat(folder, from, AtFlags::empty()))
            }
            done => done,
        }
        .map_err(|errno| self.sort_rename(partial, name, errno))
    }

    fn rename_to_free(
        &self,
        partial: &PartialName,
        name: &FileName,
    ) -> Result<FileName, StageError> {
        let mut bytes_max = None;
        let numbered = (1..NUMBER_MAX).map(|number| {
            let limit = || Space::around(self.as_fd()).map_or(0, |space| space.name_bytes_max);
            name.numbered(number, *bytes_max.get_or_insert_with(limit))
        });
        for name in std::iter::once(name.clone()).chain(numbered) {
            match self.rename_to_new(partial, &name) {
                Err(StageError::Exists) => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(name),
            }
        }
        Err(StageError::Exists)
    }

    fn sort_rename(&self, partial: &PartialName, name: &FileName, errno: Errno) -> StageError {
        match errno {
            Errno::EXIST | Errno::NOTEMPTY => StageError::Exists,
            Errno::ISDIR => StageError::NotReplaceable(OCCUPIED_BY_FOLDER),
            errno if self.refuses_name(partial, name, errno) => refused(name.as_bytes(), errno),
            Errno::NOENT => StageError::Vanished,
            other => StageError::sort("rename the file into place", other),
        }
    }
}

const NUMBER_MAX: u32 = 10_000;

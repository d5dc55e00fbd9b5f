//! The step that shows a finished file, or link, under its name.

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use super::file::Placement;
use super::folder::StagingFolder;
use super::name::{FileName, PartialName};
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
        rustix::fs::renameat(folder, &*partial.text, folder, name.as_bytes()).map_err(sort_rename)
    }

    fn rename_to_new(&self, partial: &PartialName, name: &FileName) -> Result<(), StageError> {
        let folder = self.as_fd();
        let (partial, name) = (&*partial.text, name.as_bytes());
        match rustix::fs::renameat_with(folder, partial, folder, name, RenameFlags::NOREPLACE) {
            // This file system cannot; a second name is refused by all if the first exists.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                rustix::fs::linkat(folder, partial, folder, name, AtFlags::empty())
                    .and_then(|()| rustix::fs::unlinkat(folder, partial, AtFlags::empty()))
            }
            done => done,
        }
        .map_err(sort_rename)
    }

    fn rename_to_free(
        &self,
        partial: &PartialName,
        name: &FileName,
    ) -> Result<FileName, StageError> {
        let numbered = (1..NUMBER_MAX).map(|number| name.numbered(number));
        for name in std::iter::once(name.clone()).chain(numbered) {
            match self.rename_to_new(partial, &name) {
                Err(StageError::Exists) => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(name),
            }
        }
        Err(StageError::Exists)
    }
}

fn sort_rename(errno: Errno) -> StageError {
    match errno {
        Errno::EXIST | Errno::NOTEMPTY => StageError::Exists,
        Errno::ISDIR => StageError::NotReplaceable(OCCUPIED_BY_FOLDER),
        Errno::NOENT => StageError::Vanished,
        other => StageError::sort("rename the file into place", other),
    }
}

const NUMBER_MAX: u32 = 10_000;

//! Symbolic links, placed as files are.

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::file::Placement;
use super::folder::{NAME_ATTEMPTS_MAX, StagingFolder};
use super::name::{FileName, PartialName};
use super::occupant::Occupant;
use super::{NOT_REGULAR, OCCUPIED_BY_FOLDER, StageError};

/// What became of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlacedLink {
    /// It is there now, by this name.
    Placed(FileName),
    /// It was there already, with the same target.
    Identical,
}

impl StagingFolder {
    /// Makes a symbolic link, in one step: whoever looks sees what was there before, or the
    /// link. Only a link or a file is ever replaced. The target is written down as it is; to
    /// judge it is up to the caller.
    ///
    /// # Errors
    /// [`StageError`]: the name is taken and `placement` says to leave it, or the link cannot
    /// be made.
    pub fn place_link(
        &self,
        name: &FileName,
        target: &[u8],
        placement: Placement,
    ) -> Result<PlacedLink, StageError> {
        match self.occupant(name)? {
            Occupant::Link if self.link_target(name)?.is_some_and(|old| old == target) => {
                return Ok(PlacedLink::Identical);
            }
            Occupant::Directory if placement == Placement::Replace => {
                return Err(StageError::NotReplaceable(OCCUPIED_BY_FOLDER));
            }
            Occupant::Other if placement == Placement::Replace => {
                return Err(StageError::NotReplaceable(NOT_REGULAR));
            }
            _ => {}
        }
        for _ in 0..NAME_ATTEMPTS_MAX {
            let partial = PartialName::random(name.tag());
            match rustix::fs::symlinkat(target, self.as_fd(), &*partial.text) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(errno) => return Err(StageError::sort("make the link", errno)),
            }
            match self.rename(&partial, name, placement) {
                // A link has no lock that shows that it is held: another one cleaned up.
                Err(StageError::Vanished) => {}
                Err(error) => {
                    let _ = rustix::fs::unlinkat(self.as_fd(), &*partial.text, AtFlags::empty());
                    return Err(error);
                }
                Ok(placed) => {
                    self.remove_leftovers(name);
                    return Ok(PlacedLink::Placed(placed));
                }
            }
        }
        Err(StageError::Vanished)
    }

    /// What is written in the link of this name; `None` if there is no link.
    ///
    /// # Errors
    /// [`StageError::Io`].
    pub fn link_target(&self, name: &FileName) -> Result<Option<Vec<u8>>, StageError> {
        match rustix::fs::readlinkat(self.as_fd(), name.as_bytes(), Vec::new()) {
            Ok(target) => Ok(Some(target.into_bytes())),
            Err(Errno::NOENT | Errno::INVAL) => Ok(None),
            Err(errno) => Err(StageError::sort("read the link", errno)),
        }
    }
}

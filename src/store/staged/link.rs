//! Symbolic links, placed as files are.

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::file::{Placement, written_at};
use super::folder::StagingFolder;
use super::keeping::Loss;
use super::name::{FileName, PartialName};
use super::occupant::Occupant;
use super::partials::NAME_ATTEMPTS_MAX;
use super::refusal::{Call, Refusal, patiently};
use super::{NOT_REGULAR, OCCUPIED_BY_FOLDER, StageError, WRITTEN_HERE};
use crate::store::links::leads_through;
use crate::store::local::is_shown;
use crate::wire::{ResourcePath, Timestamp};

/// What became of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlacedLink {
    /// It is there now, by this name.
    Placed(FileName),
    /// It was there already, with the same target.
    Identical,
    /// It was not made: it would lead out of the tree, or to a partial file.
    LeadsOutside,
    /// No link can be made here. That is counted.
    Unkept,
}

impl StagingFolder {
    /// Makes a symbolic link, in one step: whoever looks sees what was there before, or the
    /// link. Only a link or a file is ever replaced. `depth`: how many directories of the tree are
    /// above it; to climb further, through other links too, is no use. `mtime`: when the link is to have been made, as far as the
    /// file system lets us say so; one that is identical and might be replaced gets it, too.
    ///
    /// # Errors
    /// [`StageError`]: the name is taken and `placement` says to leave it, or the link cannot
    /// be made.
    pub fn place_link(
        &self,
        name: &FileName,
        (target, depth): (&[u8], usize),
        mtime: Option<Timestamp>,
        placement: Placement,
    ) -> Result<PlacedLink, StageError> {
        let is_shown = |name: &[u8]| is_shown(name, true);
        if !leads_through(
            (self.as_fd(), depth),
            &ResourcePath::root(),
            target,
            is_shown,
        ) {
            return Ok(PlacedLink::LeadsOutside);
        }
        let looked = self.look(name)?;
        match Occupant::of(looked.as_ref()) {
            Occupant::Link if self.link_target(name)?.is_some_and(|old| old == target) => {
                let keeps = |mtime| looked.is_some_and(|here| here.stamp.keeps(mtime));
                let may_change = placement == Placement::Replace;
                if let Some(mtime) = mtime.filter(|&mtime| may_change && !keeps(mtime))
                    && self.keeping().may_change(self.device())
                {
                    let is_changed = self.set_link_mtime(name.as_bytes(), mtime);
                    self.keeping().note_change(self.device(), is_changed);
                }
                return Ok(PlacedLink::Identical);
            }
            Occupant::Directory if placement == Placement::Replace => {
                return Err(StageError::NotReplaceable(OCCUPIED_BY_FOLDER));
            }
            Occupant::Other if placement == Placement::Replace => {
                return Err(StageError::NotReplaceable(NOT_REGULAR));
            }
            Occupant::InUse if placement == Placement::Replace => {
                return Err(StageError::NotReplaceable(WRITTEN_HERE));
            }
            _ => {}
        }
        for _ in 0..NAME_ATTEMPTS_MAX {
            let partial = PartialName::random(name.tag());
            let made = patiently(Call::MakeLink, || {
                rustix::fs::symlinkat(target, self.as_fd(), &*partial.text)
            });
            match made {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                // A target with a NUL is one nowhere.
                Err(errno)
                    if Refusal::of(Call::MakeLink, errno) == Refusal::CannotHere
                        && !target.contains(&0) =>
                {
                    self.keeping().count(Loss::Link);
                    return Ok(PlacedLink::Unkept);
                }
                Err(errno) => return Err(StageError::sort("make the link", errno)),
            }
            if let Some(mtime) = mtime
                && !self.set_link_mtime(partial.text.as_bytes(), mtime)
            {
                self.keeping().count(Loss::Time);
            }
            match self.rename(&partial, name, placement, &mut || ()) {
                // A link has no lock that shows that it is held: another one cleaned up.
                Err(StageError::Vanished) => {}
                Err(error) => {
                    self.unlink(&partial);
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

    /// Says when a link was made, if it is one that has no other name. Returns whether it could be
    /// said: some file systems and old kernels have no way to.
    fn set_link_mtime(&self, name: &[u8], mtime: Timestamp) -> bool {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(link) = rustix::fs::openat(self.as_fd(), name, flags, Mode::empty()) else {
            return false;
        };
        let is_ours = |stat: Stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::Symlink && stat.st_nlink <= 1
        };
        rustix::fs::fstat(&link).is_ok_and(is_ours)
            && patiently(Call::SetAttributes, || {
                rustix::fs::utimensat(&link, "", &written_at(mtime), AtFlags::EMPTY_PATH)
            })
            .is_ok()
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

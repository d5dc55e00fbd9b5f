//! Symbolic links, placed as files are.

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::capabilities::Loss;
use super::entry_kind::EntryKind;
use super::error_class::{ErrorClass, SystemCall, retry_transient};
use super::file::{Placement, written_at};
use super::name::{FileName, PartialName};
use super::partials::NAME_ATTEMPTS_MAX;
use super::staging_directory::StagingDirectory;
use super::{NOT_REGULAR, OCCUPIED_BY_DIRECTORY, StageError, WRITTEN_HERE};
use crate::store::links::leads_through;
use crate::store::local::is_shown;
use crate::wire::{ResourcePath, Timestamp};

/// The result of placing a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlacedLink {
    /// The link was placed under this name.
    Placed(FileName),
    /// The link was there already, with the same target.
    Identical,
    /// The link was not made: it would lead out of the tree, or to a partial file.
    LeadsOutside,
    /// Links cannot be made here. The loss is counted.
    Unkept,
}

impl StagingDirectory {
    /// Makes a symbolic link in one step: a reader sees either the old entry or the link. Only a
    /// link or a file is ever replaced. `depth` is the number of directories of the tree above the
    /// link; the target must not climb further, not even through other links. `mtime` is the
    /// modification time of the link, as far as the file system supports it. An identical link that
    /// may be replaced gets it, too.
    ///
    /// # Errors
    /// [`StageError`]: `placement` keeps the existing entry, or the link cannot be made.
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
        match EntryKind::of(looked.as_ref()) {
            EntryKind::Link if self.link_target(name)?.is_some_and(|old| old == target) => {
                let keeps = |mtime| looked.is_some_and(|here| here.stamp.keeps(mtime));
                let may_change = placement == Placement::Replace;
                if let Some(mtime) = mtime.filter(|&mtime| may_change && !keeps(mtime))
                    && self.capabilities().may_change(self.device())
                {
                    let is_changed = self.set_link_mtime(name.as_bytes(), mtime);
                    self.capabilities().note_change(self.device(), is_changed);
                }
                return Ok(PlacedLink::Identical);
            }
            EntryKind::Directory if placement == Placement::Replace => {
                return Err(StageError::NotReplaceable(OCCUPIED_BY_DIRECTORY));
            }
            EntryKind::Other if placement == Placement::Replace => {
                return Err(StageError::NotReplaceable(NOT_REGULAR));
            }
            EntryKind::InUse if placement == Placement::Replace => {
                return Err(StageError::NotReplaceable(WRITTEN_HERE));
            }
            _ => {}
        }
        for _ in 0..NAME_ATTEMPTS_MAX {
            let partial = PartialName::random(name.tag());
            let made = retry_transient(SystemCall::MakeLink, || {
                rustix::fs::symlinkat(target, self.as_fd(), &*partial.text)
            });
            match made {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                // A target with a NUL is impossible on every file system.
                Err(errno)
                    if ErrorClass::of(SystemCall::MakeLink, errno) == ErrorClass::Unsupported
                        && !target.contains(&0) =>
                {
                    self.capabilities().count(Loss::Link);
                    return Ok(PlacedLink::Unkept);
                }
                Err(errno) => return Err(StageError::sort("make the link", errno)),
            }
            if let Some(mtime) = mtime
                && !self.set_link_mtime(partial.text.as_bytes(), mtime)
            {
                self.capabilities().count(Loss::Time);
            }
            match self.rename(&partial, name, placement, &mut || ()) {
                // A link cannot be locked, so another process took it for abandoned and removed it.
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

    /// Sets the modification time of a link that has no other name. Returns whether it was set:
    /// some file systems and old kernels do not support this.
    fn set_link_mtime(&self, name: &[u8], mtime: Timestamp) -> bool {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(link) = rustix::fs::openat(self.as_fd(), name, flags, Mode::empty()) else {
            return false;
        };
        let is_ours = |stat: Stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::Symlink && stat.st_nlink <= 1
        };
        rustix::fs::fstat(&link).is_ok_and(is_ours)
            && retry_transient(SystemCall::SetAttributes, || {
                rustix::fs::utimensat(&link, "", &written_at(mtime), AtFlags::EMPTY_PATH)
            })
            .is_ok()
    }

    /// The target of the link of this name; `None` if there is no link.
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

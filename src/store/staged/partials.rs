//! The partial files of a directory: started, taken up again, removed.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::StageError;
use super::file::{Attributes, StagedFile, set_mode};
use super::folder::StagingFolder;
use super::name::{FileName, NameTag, PartialName};
use super::new_modes::NewModes;
use crate::wire::Md5Digest;

/// Partial files of a folder, without those whose names are still of use.
pub struct Orphans(HashSet<NameTag>);

impl Orphans {
    /// Those of this name are of use: a download of it may go on with them.
    pub fn spare(&mut self, name: &[u8]) {
        if let (false, Ok(name)) = (self.is_empty(), FileName::parse(name)) {
            self.0.remove(&name.tag());
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl StagingFolder {
    /// Takes up the partial file of `name` that is longest, and not empty; with `content` only
    /// one of that content. `None` if there is none that nobody else holds.
    pub fn resume(
        self: &Arc<Self>,
        name: &FileName,
        content: Option<Md5Digest>,
    ) -> Option<StagedFile> {
        let tag = self.tag_with_leftovers(name)?;
        let candidates = self.lock_leftovers().get(&tag).cloned().unwrap_or_default();
        candidates
            .into_iter()
            .filter(|partial| {
                partial
                    .content
                    .is_some_and(|md5| content.is_none_or(|wanted| wanted == md5))
            })
            .filter_map(|partial| {
                let (file, bytes) = self.lock_partial(&partial, OFlags::empty())?;
                Some(StagedFile::new(
                    self.clone(),
                    name.clone(),
                    partial,
                    file,
                    bytes,
                ))
            })
            .filter(|staged| staged.bytes() > 0)
            .max_by_key(StagedFile::bytes)
    }

    /// Starts a partial file for this content: one that was left is taken up as it is.
    /// If somebody holds it, or plays tricks with its name, it gets a random name.
    ///
    /// # Errors
    /// [`StageError`]: it cannot be created.
    pub fn stage(
        self: &Arc<Self>,
        name: &FileName,
        content: Md5Digest,
    ) -> Result<StagedFile, StageError> {
        self.check_name(name)?;
        if !self.keeping().lacks_locks() {
            let partial = PartialName::of_content(name.tag(), content);
            match self.lock_partial(&partial, OFlags::CREATE) {
                None => return self.stage_unnamed(name),
                Some((file, 0)) if !self.keeps_modes(&file)? => {
                    self.keeping().make_ordinary();
                    self.unlink(&partial);
                    drop(file);
                    return self.stage(name, content);
                }
                Some((file, bytes)) if !self.keeping().lacks_locks() => {
                    let (folder, name) = (self.clone(), name.clone());
                    return Ok(StagedFile::new(folder, name, partial, file, bytes));
                }
                Some((_, 0)) => self.unlink(&partial),
                Some(_) => self.keep(partial),
            }
        }
        self.stage_alone(name, content)
    }

    /// Whether a new file that is for this user alone can be opened to others later.
    fn keeps_modes(&self, file: &File) -> Result<bool, StageError> {
        let keeping = self.keeping();
        let modes = keeping.modes();
        Ok(modes.files == NewModes::ORDINARY.files || set_mode(file, modes.files)?)
    }

    /// Finds out whether modes can be set here. If not, all that is made gets ordinary ones.
    pub(super) fn try_modes(&self) {
        // What is wrong otherwise shows itself when something is made.
        if let Ok(Ok(false)) = self.with_new_file(|file| self.keeps_modes(file)) {
            self.keeping().make_ordinary();
        }
    }

    /// [`StagingFolder::stage`] where no file can be locked: nobody shares a file with anybody. What was left is
    /// copied, since it may still be written to, and removed, so that it is never placed.
    fn stage_alone(
        self: &Arc<Self>,
        name: &FileName,
        content: Md5Digest,
    ) -> Result<StagedFile, StageError> {
        let tag = name.tag();
        let mut staged = self.create(name, || PartialName::unshared(tag, content))?;
        if let Some(left) = self.resume(name, Some(content)) {
            if staged.copy_all_of(&left.file(), &|| true).is_err() {
                staged.restart()?;
            }
            left.discard();
        }
        Ok(staged)
    }

    /// Stages content that is there whole and was verified before.
    ///
    /// # Errors
    /// [`StageError`]: it cannot be created or written.
    pub fn stage_whole(
        self: &Arc<Self>,
        name: &FileName,
        content: &[u8],
        attributes: &Attributes,
    ) -> Result<StagedFile, StageError> {
        let mut staged = self.stage_unnamed(name)?;
        staged.append(content)?;
        let modes = self.keeping().modes();
        staged.dress(attributes)?;
        if modes.files != self.keeping().modes().files {
            // It was made for this user alone, and nobody can change that any more.
            staged.discard();
            staged = self.stage_unnamed(name)?;
            staged.append(content)?;
            let mode = None;
            staged.dress(&Attributes {
                mode,
                ..*attributes
            })?;
        }
        Ok(staged)
    }

    /// Starts a partial file that nobody will resume.
    pub(super) fn stage_unnamed(
        self: &Arc<Self>,
        name: &FileName,
    ) -> Result<StagedFile, StageError> {
        self.check_name(name)?;
        let tag = name.tag();
        self.create(name, || PartialName::random(tag))
    }

    fn create(
        self: &Arc<Self>,
        name: &FileName,
        partial: impl Fn() -> PartialName,
    ) -> Result<StagedFile, StageError> {
        for _ in 0..NAME_ATTEMPTS_MAX {
            let partial = partial();
            let file = match self.open_partial(&partial, CREATE_NEW) {
                Ok(file) => file,
                Err(Errno::EXIST | Errno::INTR) => continue,
                Err(errno) => {
                    return Err(StageError::of_folder(
                        "create a file in",
                        self.path(),
                        errno,
                    ));
                }
            };
            // Who cleans up may have taken it before us for one that was left.
            if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
                != Err(Errno::WOULDBLOCK)
            {
                let (folder, name) = (self.clone(), name.clone());
                return Ok(StagedFile::new(folder, name, partial, file.into(), 0));
            }
        }
        Err(StageError::Vanished)
    }

    fn open_partial(&self, partial: &PartialName, flags: OFlags) -> Result<OwnedFd, Errno> {
        let mode = Mode::from_raw_mode(self.keeping().modes().files);
        rustix::fs::openat(self.as_fd(), &*partial.text, flags, mode)
    }

    /// Opens and locks a partial file, and makes sure that it is ours alone; where nothing can be
    /// locked, that is noted. `None` for whatever reason that is not so; a random name is always
    /// the way out.
    fn lock_partial(&self, partial: &PartialName, create: OFlags) -> Option<(File, u64)> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | create;
        for _ in 0..NAME_ATTEMPTS_MAX {
            let file = self.open_partial(partial, flags).ok()?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return None,
                Err(Errno::INTR) => continue,
                Err(_) => self.keeping().note_lack_of_locks(),
            }
            let stat = rustix::fs::fstat(&file).ok()?;
            if !self.is_private_file(&stat) {
                return None;
            }
            // Its last holder may have renamed or removed it between our open and our lock.
            match rustix::fs::statat(self.as_fd(), &*partial.text, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(named) if (named.st_dev, named.st_ino) == (stat.st_dev, stat.st_ino) => {
                    return Some((file.into(), u64::try_from(stat.st_size).ok()?));
                }
                Ok(_) | Err(Errno::NOENT) => {}
                Err(_) => return None,
            }
        }
        None
    }

    /// Makes a file for a moment, and learns something from it.
    pub(super) fn with_new_file<T>(&self, learn: impl FnOnce(&File) -> T) -> Result<T, Errno> {
        let partial = PartialName::random(*b"0000000000000000");
        let file = File::from(self.open_partial(&partial, CREATE_NEW)?);
        let learned = learn(&file);
        // Some file systems rename what is open, instead of removing it.
        drop(file);
        self.unlink(&partial);
        Ok(learned)
    }

    pub(super) fn unlink(&self, partial: &PartialName) {
        // If it cannot be removed, the next run tries again.
        let _ = rustix::fs::unlinkat(self.as_fd(), &*partial.text, AtFlags::empty());
    }

    /// Regular, without a second name, and made by this user.
    fn is_private_file(&self, stat: &Stat) -> bool {
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && stat.st_nlink <= 1
            && self.is_ours(stat)
    }

    /// Whether it belongs to the user that what we make here belongs to.
    fn is_ours(&self, stat: &Stat) -> bool {
        let this_user = rustix::process::geteuid().as_raw();
        let look = |file: &File| rustix::fs::fstat(file).map_or(this_user, |made| made.st_uid);
        let owner = || self.with_new_file(look).unwrap_or(this_user);
        stat.st_uid == this_user || stat.st_uid == *self.owner.get_or_init(owner)
    }

    /// Removes the partial files of `name` that nobody holds.
    pub fn remove_leftovers(&self, name: &FileName) {
        let Some(tag) = self.tag_with_leftovers(name) else {
            return;
        };
        self.remove_tagged(tag);
    }

    /// The partial files that were here when it was opened.
    pub fn orphans(&self) -> Orphans {
        Orphans(self.lock_leftovers().keys().copied().collect())
    }

    /// The names of those partial files that nobody holds now, in order.
    pub fn names_of(&self, orphans: &Orphans) -> Vec<String> {
        let known = self.lock_leftovers().clone();
        let known = known.into_iter().filter(|(tag, _)| orphans.0.contains(tag));
        let free = known.flat_map(|(_, partials)| partials);
        let free = free.filter(|partial| self.removable(partial).is_some());
        let mut names: Vec<String> = free.map(|partial| partial.text).collect();
        names.sort_unstable();
        names
    }

    /// Removes the partial file of this name, unless somebody holds it. Returns whether it is gone.
    pub fn remove_partial(&self, name: &str) -> bool {
        let partial = PartialName::parse(name.as_bytes());
        let Some((partial, _held)) = partial.and_then(|partial| {
            let held = self.removable(&partial)?;
            Some((partial, held))
        }) else {
            return false;
        };
        rustix::fs::unlinkat(self.as_fd(), &*partial.text, AtFlags::empty()).is_ok()
    }

    fn remove_tagged(&self, tag: NameTag) {
        // Whoever looks for others meanwhile does not wait for the file system.
        let partials = self.lock_leftovers().remove(&tag);
        for partial in partials.unwrap_or_default() {
            if let Some(_held) = self.removable(&partial) {
                self.unlink(&partial);
            }
        }
    }

    /// A partial file that nobody else holds, and its lock, if it is no link. What we would not
    /// make is not ours to remove.
    fn removable(&self, partial: &PartialName) -> Option<Option<File>> {
        match self.lock_partial(partial, OFlags::empty()) {
            Some((file, _)) => Some(Some(file)),
            None => self.is_our_link(partial).then_some(None),
        }
    }

    /// A link on its way, whose maker was stopped, or is about to find it gone and make another.
    fn is_our_link(&self, partial: &PartialName) -> bool {
        partial.content.is_none()
            && rustix::fs::statat(self.as_fd(), &*partial.text, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| {
                    FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
                        && self.is_ours(&stat)
                })
    }

    /// The longest partial file of `name`, and what it is a prefix of; with `content` only one
    /// of that content. For looking only: somebody may hold it.
    pub fn leftover(
        &self,
        name: &FileName,
        content: Option<Md5Digest>,
    ) -> Option<(Md5Digest, u64)> {
        let tag = self.tag_with_leftovers(name)?;
        let candidates = self.lock_leftovers().get(&tag).cloned()?;
        candidates
            .into_iter()
            .filter(|partial| content.is_none() || partial.content == content)
            .filter_map(|partial| {
                let look = AtFlags::SYMLINK_NOFOLLOW;
                let stat = rustix::fs::statat(self.as_fd(), &*partial.text, look).ok()?;
                let bytes = u64::try_from(stat.st_size).ok()?;
                (self.is_private_file(&stat) && bytes > 0).then_some((partial.content?, bytes))
            })
            .max_by_key(|&(_, bytes)| bytes)
    }

    /// Notes a partial file that stays; one that was taken up may be noted already.
    pub(super) fn keep(&self, partial: PartialName) {
        let mut leftovers = self.lock_leftovers();
        let of_name = leftovers.entry(partial.tag).or_default();
        if !of_name.contains(&partial) {
            of_name.push(partial);
        }
    }

    fn tag_with_leftovers(&self, name: &FileName) -> Option<NameTag> {
        // Nearly every folder has none, and a tag costs an md5.
        if self.lock_leftovers().is_empty() {
            return None;
        }
        Some(name.tag())
    }

    pub(super) fn lock_leftovers(
        &self,
    ) -> std::sync::MutexGuard<'_, HashMap<NameTag, Vec<PartialName>>> {
        self.leftovers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often something is tried again that others in the same folder may spoil.
pub(super) const NAME_ATTEMPTS_MAX: u32 = 16;
pub(super) const CREATE_NEW: OFlags = OFlags::RDWR
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

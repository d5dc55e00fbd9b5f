//! The partial files of a directory: creating, resuming and removing them.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::StageError;
use super::file::{Attributes, StagedFile, set_mode};
use super::name::{FileName, NameTag, PartialName};
use super::new_modes::NewModes;
use super::staging_directory::StagingDirectory;
use crate::wire::Md5Digest;

/// The partial files in a directory that no download needs any more.
pub struct Orphans(HashSet<NameTag>);

impl Orphans {
    /// Excludes the partial files of this name, which a download may resume.
    pub fn exclude(&mut self, name: &[u8]) {
        if let (false, Ok(name)) = (self.is_empty(), FileName::parse(name)) {
            self.0.remove(&name.tag());
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl StagingDirectory {
    /// Resumes the longest partial file of `name` that has a byte; with `content`, only one of that
    /// content. `None` if there is none, or if another process holds all of them.
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

    /// Creates or resumes the partial file for this content. If another process holds it, or if the
    /// file under its name is not a private file of this user, the partial file gets a random name.
    ///
    /// # Errors
    /// [`StageError`]: the file cannot be created.
    pub fn stage(
        self: &Arc<Self>,
        name: &FileName,
        content: Md5Digest,
    ) -> Result<StagedFile, StageError> {
        self.check_name(name)?;
        if !self.capabilities().lacks_locks() {
            let partial = PartialName::of_content(name.tag(), content);
            match self.lock_partial(&partial, OFlags::CREATE) {
                None => return self.stage_unnamed(name),
                Some((file, 0)) if !self.keeps_modes(&file)? => {
                    self.capabilities().make_ordinary();
                    self.unlink(&partial);
                    drop(file);
                    return self.stage(name, content);
                }
                Some((file, bytes)) if !self.capabilities().lacks_locks() => {
                    let (directory, name) = (self.clone(), name.clone());
                    return Ok(StagedFile::new(directory, name, partial, file, bytes));
                }
                Some((_, 0)) => self.unlink(&partial),
                Some(_) => self.keep(partial),
            }
        }
        self.stage_unshared(name, content)
    }

    /// Whether the permissions of a new file, which only this user may use, can be widened later.
    fn keeps_modes(&self, file: &File) -> Result<bool, StageError> {
        let capabilities = self.capabilities();
        let modes = capabilities.modes();
        Ok(modes.files == NewModes::ORDINARY.files || set_mode(file, modes.files)?)
    }

    /// Tests whether modes can be set here. If not, new files and directories get ordinary modes.
    pub(super) fn try_modes(&self) {
        // Other errors show when something is made.
        if let Ok(Ok(false)) = self.with_probe_file(|file| self.keeps_modes(file)) {
            self.capabilities().make_ordinary();
        }
    }

    /// [`StagingDirectory::stage`] where files cannot be locked: every process uses a file of its
    /// own. A partial file that was left may still be written to. It is copied, so that it is never
    /// placed itself, and then removed.
    fn stage_unshared(
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

    /// Stages a whole content that is verified already.
    ///
    /// # Errors
    /// [`StageError`]: the file cannot be created or written.
    pub fn stage_whole(
        self: &Arc<Self>,
        name: &FileName,
        content: &[u8],
        attributes: &Attributes,
    ) -> Result<StagedFile, StageError> {
        let mut staged = self.stage_unnamed(name)?;
        staged.append(content)?;
        let modes = self.capabilities().modes();
        staged.set_attributes(attributes)?;
        if modes.files != self.capabilities().modes().files {
            // The file is for this user alone, and its mode cannot be changed any more.
            staged.discard();
            staged = self.stage_unnamed(name)?;
            staged.append(content)?;
            let mode = None;
            staged.set_attributes(&Attributes {
                mode,
                ..*attributes
            })?;
        }
        Ok(staged)
    }

    /// Creates a partial file that cannot be resumed.
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
                    return Err(StageError::of_directory(
                        "create a file in",
                        self.path(),
                        errno,
                    ));
                }
            };
            // A process that cleans up may have locked it first, as a file that was left.
            if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
                != Err(Errno::WOULDBLOCK)
            {
                let (directory, name) = (self.clone(), name.clone());
                return Ok(StagedFile::new(directory, name, partial, file.into(), 0));
            }
        }
        Err(StageError::Vanished)
    }

    fn open_partial(&self, partial: &PartialName, flags: OFlags) -> Result<OwnedFd, Errno> {
        let mode = Mode::from_raw_mode(self.capabilities().modes().files);
        rustix::fs::openat(self.as_fd(), &*partial.text, flags, mode)
    }

    /// Opens and locks a partial file, and checks that it is private to this user. Where files
    /// cannot be locked, this is noted. `None` for any failure; the caller then uses a random name.
    fn lock_partial(&self, partial: &PartialName, create: OFlags) -> Option<(File, u64)> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | create;
        for _ in 0..NAME_ATTEMPTS_MAX {
            let file = self.open_partial(partial, flags).ok()?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return None,
                Err(Errno::INTR) => continue,
                Err(_) => self.capabilities().note_lack_of_locks(),
            }
            let stat = rustix::fs::fstat(&file).ok()?;
            if !self.is_private_file(&stat) {
                return None;
            }
            // The last holder may have renamed or removed it between our open and our lock.
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

    /// Creates a file, passes it to `inspect`, and removes it.
    pub(super) fn with_probe_file<T>(&self, inspect: impl FnOnce(&File) -> T) -> Result<T, Errno> {
        let partial = PartialName::random(*b"0000000000000000");
        let file = File::from(self.open_partial(&partial, CREATE_NEW)?);
        let result = inspect(&file);
        // Some file systems rename an open file instead of removing it.
        drop(file);
        self.unlink(&partial);
        Ok(result)
    }

    pub(super) fn unlink(&self, partial: &PartialName) {
        // If it cannot be removed, the next run tries again.
        let _ = rustix::fs::unlinkat(self.as_fd(), &*partial.text, AtFlags::empty());
    }

    /// A regular file with one name that this user made.
    fn is_private_file(&self, stat: &Stat) -> bool {
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && stat.st_nlink <= 1
            && self.is_ours(stat)
    }

    /// Whether its owner is the one that our own files get here.
    fn is_ours(&self, stat: &Stat) -> bool {
        let this_user = rustix::process::geteuid().as_raw();
        let look = |file: &File| rustix::fs::fstat(file).map_or(this_user, |made| made.st_uid);
        let owner = || self.with_probe_file(look).unwrap_or(this_user);
        stat.st_uid == this_user || stat.st_uid == *self.owner.get_or_init(owner)
    }

    /// Removes the partial files of `name` that no process holds.
    pub fn remove_leftovers(&self, name: &FileName) {
        let Some(tag) = self.tag_with_leftovers(name) else {
            return;
        };
        self.remove_tagged(tag);
    }

    /// The partial files that were here when the directory was opened.
    pub fn orphans(&self) -> Orphans {
        Orphans(self.lock_leftovers().keys().copied().collect())
    }

    /// The sorted names of these partial files, except those that a process holds now.
    pub fn names_of(&self, orphans: &Orphans) -> Vec<String> {
        let known = self.lock_leftovers().clone();
        let known = known.into_iter().filter(|(tag, _)| orphans.0.contains(tag));
        let free = known.flat_map(|(_, partials)| partials);
        let free = free.filter(|partial| self.removable(partial).is_some());
        let mut names: Vec<String> = free.map(|partial| partial.text).collect();
        names.sort_unstable();
        names
    }

    /// Removes the partial file of this name, unless a process holds it. Returns whether it was
    /// removed.
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
        // Release the lock before the file system is called.
        let partials = self.lock_leftovers().remove(&tag);
        for partial in partials.unwrap_or_default() {
            if let Some(_held) = self.removable(&partial) {
                self.unlink(&partial);
            }
        }
    }

    /// The lock of a partial file that no other process holds, or `Some(None)` for a link. A file
    /// that this program would not create is not removed.
    fn removable(&self, partial: &PartialName) -> Option<Option<File>> {
        match self.lock_partial(partial, OFlags::empty()) {
            Some((file, _)) => Some(Some(file)),
            None => self.is_our_link(partial).then_some(None),
        }
    }

    /// A partial link. Its maker was stopped, or will find it gone and make another one.
    fn is_our_link(&self, partial: &PartialName) -> bool {
        partial.content.is_none()
            && rustix::fs::statat(self.as_fd(), &*partial.text, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| {
                    FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
                        && self.is_ours(&stat)
                })
    }

    /// The content and the length in bytes of the longest partial file of `name`; with `content`,
    /// only of that content. This is only a look: another process may hold the file.
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

    /// Notes a partial file that stays. A resumed one may be noted already.
    pub(super) fn keep(&self, partial: PartialName) {
        let mut leftovers = self.lock_leftovers();
        let of_name = leftovers.entry(partial.tag).or_default();
        if !of_name.contains(&partial) {
            of_name.push(partial);
        }
    }

    fn tag_with_leftovers(&self, name: &FileName) -> Option<NameTag> {
        // Nearly every directory has none, and a tag costs an md5.
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

/// How often an operation is tried again that other processes in the directory may disturb.
pub(super) const NAME_ATTEMPTS_MAX: u32 = 16;
pub(super) const CREATE_NEW: OFlags = OFlags::RDWR
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

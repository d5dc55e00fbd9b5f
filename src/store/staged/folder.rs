//! A folder in which files are staged and placed, by its descriptor: whatever happens to its
//! name meanwhile, everything stays in the folder that was opened.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::StageError;
use super::file::{Attributes, StagedFile};
use super::name::{FileName, NameTag, PartialName};
use super::new_modes::NewModes;
use super::refused_name::KnownNames;
#[cfg(test)]
use super::synced::{Synced, note};
use crate::wire::Md5Digest;

/// A folder in which files are staged and placed.
pub struct StagingFolder {
    folder: OwnedFd,
    device: u64,
    path: PathBuf,
    // Partial files that nobody here works on, as of the opening and of what was kept since.
    leftovers: Mutex<HashMap<NameTag, Vec<PartialName>>>,
    pub(super) known_names: KnownNames,
    pub(super) new_file_mode: Mode,
}

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
    /// Opens a folder and looks once through its entries for partial files.
    ///
    /// # Errors
    /// [`StageError::Io`]: it is missing, not a folder, or not readable.
    pub fn open(path: &Path) -> Result<Arc<StagingFolder>, StageError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| StageError::of_folder("open the folder", path, errno))?;
        StagingFolder::of_descriptor(folder, path, NewModes::default())
    }

    /// The same of a folder that is open for reading, and shown by this path.
    pub(super) fn of_descriptor(
        folder: OwnedFd,
        path: &Path,
        modes: NewModes,
    ) -> Result<Arc<StagingFolder>, StageError> {
        let sort = |errno| StageError::of_folder("read the folder", path, errno);
        let device = device_of(&rustix::fs::fstat(&folder).map_err(sort)?);
        let mut leftovers: HashMap<NameTag, Vec<PartialName>> = HashMap::new();
        for entry in Dir::read_from(&folder).map_err(sort)? {
            if let Some(partial) = PartialName::parse(entry.map_err(sort)?.file_name().to_bytes()) {
                leftovers.entry(partial.tag).or_default().push(partial);
            }
        }
        let (path, leftovers) = (path.to_owned(), Mutex::new(leftovers));
        Ok(Arc::new(StagingFolder {
            folder,
            device,
            path,
            leftovers,
            known_names: KnownNames::default(),
            new_file_mode: Mode::from_raw_mode(modes.files),
        }))
    }

    /// Makes a folder and those above it, as far as they are missing, so that they survive a
    /// power cut.
    ///
    /// # Errors
    /// [`StageError::Io`].
    pub fn make(path: &Path) -> Result<(), StageError> {
        if path.is_dir() {
            return Ok(());
        }
        let above = match path.parent() {
            None => return Ok(()),
            Some(above) if above.as_os_str().is_empty() => Path::new("."),
            Some(above) => above,
        };
        StagingFolder::make(above)?;
        let sort = |errno| StageError::of_folder("make the folder", path, errno);
        match rustix::fs::mkdir(path, Mode::from_raw_mode(0o777)) {
            // Somebody was faster, or it is no folder: opening it tells.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(sort(errno)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let above = rustix::fs::open(above, flags, Mode::empty()).map_err(sort)?;
        sync_folder(&above)
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The device it is on: folders of one device are synced together.
    pub fn device(&self) -> u64 {
        self.device
    }

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
        let partial = PartialName::of_content(name.tag(), content);
        match self.lock_partial(&partial, OFlags::CREATE) {
            Some((file, bytes)) => Ok(StagedFile::new(
                self.clone(),
                name.clone(),
                partial,
                file,
                bytes,
            )),
            None => self.stage_unnamed(name),
        }
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
        staged.dress(attributes)?;
        Ok(staged)
    }

    /// Starts a partial file that nobody will resume.
    pub(super) fn stage_unnamed(
        self: &Arc<Self>,
        name: &FileName,
    ) -> Result<StagedFile, StageError> {
        self.check_name(name)?;
        let tag = name.tag();
        for _ in 0..NAME_ATTEMPTS_MAX {
            let partial = PartialName::random(tag);
            let file = match rustix::fs::openat(
                &self.folder,
                &*partial.text,
                CREATE_NEW,
                self.new_file_mode,
            ) {
                Ok(file) => file,
                Err(Errno::EXIST) => continue,
                Err(errno) => {
                    return Err(StageError::of_folder("create a file in", &self.path, errno));
                }
            };
            // Who cleans up may have taken it before us for one that was left.
            if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
                != Err(Errno::WOULDBLOCK)
            {
                return Ok(StagedFile::new(
                    self.clone(),
                    name.clone(),
                    partial,
                    file.into(),
                    0,
                ));
            }
        }
        Err(StageError::Vanished)
    }

    /// Opens and locks a partial file, and makes sure that it is ours alone. `None` for
    /// whatever reason that is not so; a random name is always the way out.
    fn lock_partial(&self, partial: &PartialName, create: OFlags) -> Option<(File, u64)> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | create;
        for _ in 0..NAME_ATTEMPTS_MAX {
            let file =
                rustix::fs::openat(&self.folder, &*partial.text, flags, self.new_file_mode).ok()?;
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
            let stat = rustix::fs::fstat(&file).ok()?;
            if !is_private_file(&stat) {
                return None;
            }
            // Its last holder may have renamed or removed it between our open and our lock.
            match rustix::fs::statat(&self.folder, &*partial.text, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(named) if (named.st_dev, named.st_ino) == (stat.st_dev, stat.st_ino) => {
                    return Some((file.into(), u64::try_from(stat.st_size).ok()?));
                }
                Ok(_) | Err(Errno::NOENT) => {}
                Err(_) => return None,
            }
        }
        None
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

    /// Removes those partial files that nobody holds.
    pub fn remove_orphans(&self, orphans: &Orphans) {
        orphans.0.iter().for_each(|tag| self.remove_tagged(*tag));
    }

    fn remove_tagged(&self, tag: NameTag) {
        // Whoever looks for others meanwhile does not wait for the file system.
        let partials = self.lock_leftovers().remove(&tag);
        for partial in partials.unwrap_or_default() {
            let held = self.lock_partial(&partial, OFlags::empty());
            // Not what we would make: not ours to remove.
            if held.is_some() || self.is_our_link(&partial) {
                let _ = rustix::fs::unlinkat(&self.folder, &*partial.text, AtFlags::empty());
            }
        }
    }

    /// A link on its way, whose maker was stopped, or is about to find it gone and make another.
    fn is_our_link(&self, partial: &PartialName) -> bool {
        partial.content.is_none()
            && rustix::fs::statat(&self.folder, &*partial.text, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| {
                    FileType::from_raw_mode(stat.st_mode) == FileType::Symlink && is_ours(&stat)
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
                let stat = rustix::fs::statat(&self.folder, &*partial.text, look).ok()?;
                let bytes = u64::try_from(stat.st_size).ok()?;
                (is_private_file(&stat) && bytes > 0).then_some((partial.content?, bytes))
            })
            .max_by_key(|&(_, bytes)| bytes)
    }

    /// Makes what was renamed so far survive a power cut.
    ///
    /// # Errors
    /// [`StageError::Io`].
    pub fn sync(&self) -> Result<(), StageError> {
        sync_folder(&self.folder)?;
        #[cfg(test)]
        note(&self.path, Synced::Folder);
        Ok(())
    }

    /// Makes everything written to this file system so far survive a power cut: for many files
    /// at once far cheaper than one by one.
    ///
    /// # Errors
    /// [`StageError`].
    pub fn sync_file_system(&self) -> Result<(), StageError> {
        rustix::fs::syncfs(&self.folder)
            .map_err(|errno| StageError::sort("sync the file system", errno))?;
        #[cfg(test)]
        note(&self.path, Synced::FileSystem);
        Ok(())
    }

    /// Notes a partial file that stays; one that was taken up may be noted already.
    pub(super) fn keep(&self, partial: PartialName) {
        let mut leftovers = self.lock_leftovers();
        let of_name = leftovers.entry(partial.tag).or_default();
        if !of_name.contains(&partial) {
            of_name.push(partial);
        }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
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

// The type of this field differs between architectures.
#[allow(clippy::unnecessary_cast, clippy::cast_lossless)]
pub(super) fn device_of(stat: &Stat) -> u64 {
    stat.st_dev as u64
}

fn sync_folder(folder: &OwnedFd) -> Result<(), StageError> {
    match rustix::fs::fsync(folder) {
        // Some file systems cannot sync a folder, and say so like this.
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(errno) => Err(StageError::sort("sync the folder", errno)),
    }
}

/// Regular, without a second name, and made by this user.
fn is_private_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_nlink <= 1
        && is_ours(stat)
}

fn is_ours(stat: &Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw()
}

/// How often something is tried again that others in the same folder may spoil.
pub(super) const NAME_ATTEMPTS_MAX: u32 = 16;
pub(super) const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);
pub(super) const CREATE_NEW: OFlags = OFlags::RDWR
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

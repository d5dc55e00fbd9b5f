//! A partial file, locked, on its way to its final name.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{
    Advice, FallocateFlags, FlockOperation, Mode, StatVfsMountFlags, Timespec, Timestamps,
    UTIME_NOW,
};
use rustix::io::Errno;

use super::StageError;
use super::folder::StagingFolder;
use super::keeping::Loss;
use super::name::{FileName, PartialName};
use super::refusal::{Call, Refusal, patiently};
use super::space::Space;
use crate::wire::{Md5Digest, Timestamp};

/// A partial file, locked. Dropped before it was placed, it stays for a resume if it has a
/// byte and its name says of what; otherwise it is removed.
pub struct StagedFile {
    folder: Arc<StagingFolder>,
    name: FileName,
    partial: PartialName,
    /// `None` once it is closed: some file systems rename no open file.
    file: Option<Arc<File>>,
    bytes: u64,
    is_resumed: bool,
    fate: Fate,
}

/// What a finished file has besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits, of which only `0o777` are used; `None` leaves those that the system gave
    /// to what was made ([`NewModes`](super::NewModes)).
    pub mode: Option<u32>,
    /// When it was last written; `None` leaves it at now.
    pub mtime: Option<Timestamp>,
}

/// What happens if the final name is taken when a file is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// The old file is replaced atomically.
    Replace,
    /// It is an error.
    CreateOnly,
    /// The file is placed as `name.1`, `name.2`, ...
    Numbered,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Undecided,
    Remove,
    Placed,
}

impl StagedFile {
    pub(super) fn new(
        folder: Arc<StagingFolder>,
        name: FileName,
        partial: PartialName,
        file: File,
        bytes: u64,
    ) -> StagedFile {
        StagedFile {
            folder,
            name,
            partial,
            file: Some(Arc::new(file)),
            bytes,
            is_resumed: bytes > 0,
            fate: Fate::Undecided,
        }
    }

    /// How many bytes it has, which is also how far it is.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The md5 of the content that it is a prefix of; `None` if it cannot be resumed.
    pub fn content(&self) -> Option<Md5Digest> {
        self.partial.content
    }

    /// The folder it is in.
    pub fn folder(&self) -> &Arc<StagingFolder> {
        &self.folder
    }

    /// The open file, to read back what was written.
    pub fn file(&self) -> Arc<File> {
        Arc::clone(self.open_file())
    }

    pub(super) fn open_file(&self) -> &Arc<File> {
        self.file.as_ref().expect("open until it is placed")
    }

    /// Makes sure, as far as the file system can, that it may grow to `total_size` bytes.
    /// Blocks are reserved, its length stays. Where figures are advice ([`Space`]), only what cannot
    /// fit in any way is refused.
    ///
    /// # Errors
    /// [`StageError::NoSpace`], [`StageError::DiskFull`].
    pub fn reserve(&self, total_size: u64) -> Result<(), StageError> {
        let needed = total_size.saturating_sub(self.allocated_bytes());
        let space = Space::around(&**self.open_file());
        if let Some(space) = space.filter(|space| !space.may_take(needed)) {
            let available = space.free_bytes.unwrap_or_default();
            return Err(StageError::NoSpace { needed, available });
        }
        if needed == 0 || space.is_some_and(|space| !space.is_worth_reserving(needed)) {
            return Ok(());
        }
        let is_exact = space.is_some_and(|space| space.is_exact);
        match rustix::fs::fallocate(
            &**self.open_file(),
            FallocateFlags::KEEP_SIZE,
            0,
            total_size,
        ) {
            Err(errno @ (Errno::NOSPC | Errno::DQUOT)) if is_exact => {
                Err(StageError::DiskFull(errno.into()))
            }
            Err(Errno::FBIG) => Err(StageError::DiskFull(Errno::FBIG.into())),
            // Whatever else it says: it was a courtesy.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Writes behind what is there.
    ///
    /// # Errors
    /// [`StageError`]. What was written stays.
    pub fn append(&mut self, mut bytes: &[u8]) -> Result<(), StageError> {
        while !bytes.is_empty() {
            match self.open_file().write_at(bytes, self.bytes) {
                Ok(0) => return Err(StageError::sort("write", Errno::IO)),
                Ok(written) => {
                    self.bytes += written as u64;
                    bytes = &bytes[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(sort_io("write", error)),
            }
        }
        Ok(())
    }

    /// It has so many bytes now, written by its file.
    pub(super) fn note_bytes(&mut self, bytes: u64) {
        self.bytes = bytes;
    }

    /// Throws away what is there: the content comes again from its first byte.
    ///
    /// # Errors
    /// [`StageError`].
    pub fn restart(&mut self) -> Result<(), StageError> {
        let emptied = patiently(Call::Truncate, || {
            rustix::fs::ftruncate(&**self.open_file(), 0)
        });
        match emptied {
            Ok(()) => self.bytes = 0,
            Err(errno) if Refusal::of(Call::Truncate, errno) == Refusal::Broken => {
                return Err(StageError::sort("truncate the partial file", errno));
            }
            // A new file is as empty.
            Err(_) => {
                let empty = self.folder.stage_unnamed(&self.name)?;
                std::mem::replace(self, empty).discard();
            }
        }
        Ok(())
    }

    /// Sets permissions and time of what is about to be placed. What the file system cannot keep
    /// is counted, and no error.
    ///
    /// # Errors
    /// [`StageError`].
    pub fn dress(&self, attributes: &Attributes) -> Result<(), StageError> {
        let file = &**self.open_file();
        let keeping = self.folder.keeping();
        let mode = match attributes.mode {
            // Never set-user-id and its kin: a peer must not hand them out.
            Some(mode) => Some(mode & 0o777),
            // It may have been begun by a run that was to give it other permissions.
            None if self.is_resumed => Some(self.folder.usual_mode()?),
            None => None,
        };
        if let Some(mode) = mode
            && !set_mode(file, mode)?
        {
            keeping.count(Loss::Permissions);
        }
        if let Some(mtime) = attributes.mtime
            && !set_mtime(file, mtime)?
        {
            keeping.count(Loss::Time);
        }
        Ok(())
    }

    /// Makes its bytes survive a power cut. Where nothing can, that is counted, and no error.
    ///
    /// # Errors
    /// [`StageError`].
    pub fn sync(&self) -> Result<(), StageError> {
        if !StagedFile::sync_bytes(self.open_file())? {
            self.count_as_unsynced();
        }
        Ok(())
    }

    /// Counts that nothing here can make its bytes survive a power cut.
    pub fn count_as_unsynced(&self) {
        self.folder.keeping().count(Loss::Sync);
    }

    /// The same for the file of one. `false`: nothing here can do that.
    ///
    /// # Errors
    /// [`StageError`].
    pub fn sync_bytes(file: &File) -> Result<bool, StageError> {
        sync_by(file, &[Sync::Data, Sync::File, Sync::FileSystem])
            .map_err(|errno| StageError::sort("sync the file", errno))
    }

    /// Has the system begin to write its bytes, and does not wait: of many files each sync then
    /// finds the bytes of all on their way.
    pub fn begin_sync(file: &File) {
        // posix_fadvise(2) starts the writing of pages that are not wanted any more, and keeps those
        // that are being written.
        let _ = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
    }

    /// Gives it its final name, in one step. Returns that, and the file if it is still open.
    /// Whoever calls this has verified and synced it, and syncs the folder afterwards.
    ///
    /// # Errors
    /// [`StageError`]; the partial file stays as [`StagedFile`] says.
    pub fn place(
        mut self,
        placement: Placement,
    ) -> Result<(FileName, Option<Arc<File>>), StageError> {
        self.check_closing()?;
        let close = &mut || drop(self.file.take());
        let folder = &self.folder;
        let renamed = folder.rename(&self.partial, &self.name, placement, close);
        if let Err(StageError::NameRefused { .. }) = renamed {
            // No later run can go on with it.
            self.fate = Fate::Remove;
        }
        let name = renamed?;
        self.fate = Fate::Placed;
        self.folder.remove_leftovers(&self.name);
        Ok((name, self.file.take()))
    }

    /// Removes it: its bytes are wrong.
    pub fn discard(mut self) {
        self.fate = Fate::Remove;
    }

    fn allocated_bytes(&self) -> u64 {
        rustix::fs::fstat(&**self.open_file())
            .ok()
            .and_then(|stat| u64::try_from(stat.st_blocks).ok())
            .map_or(0, |blocks| blocks.saturating_mul(512))
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if self.fate == Fate::Placed {
            return;
        }
        let resumable =
            self.fate == Fate::Undecided && self.bytes > 0 && self.partial.content.is_some();
        if resumable {
            self.folder.keep(self.partial.clone());
            if let Some(file) = &self.file {
                // Gives back what `reserve` took beyond its end: a server that promised much and
                // sent little would keep a disk full.
                let _ = file.set_len(self.bytes);
                // Whoever still hashes it must not keep it from the next attempt.
                let _ = rustix::fs::flock(&**file, FlockOperation::Unlock);
            }
        } else {
            self.folder.unlink(&self.partial);
        }
    }
}

/// Sets permission bits of an open file or directory. `Ok(false)`: that cannot be done here.
pub(super) fn set_mode(of: impl AsFd, mode: u32) -> Result<bool, StageError> {
    let set = || rustix::fs::fchmod(&of, Mode::from_raw_mode(mode));
    is_set("set permissions", set)
}

/// Sets when an open file or directory was last written. `Ok(false)`: that cannot be done here.
pub(super) fn set_mtime(of: impl AsFd, mtime: Timestamp) -> Result<bool, StageError> {
    is_set("set the time", || {
        rustix::fs::futimens(&of, &written_at(mtime))
    })
}

fn is_set(doing: &'static str, set: impl FnMut() -> Result<(), Errno>) -> Result<bool, StageError> {
    match patiently(Call::SetAttributes, set) {
        Ok(()) => Ok(true),
        Err(errno) if Refusal::of(Call::SetAttributes, errno) == Refusal::Broken => {
            Err(StageError::sort(doing, errno))
        }
        Err(_) => Ok(false),
    }
}

/// The system calls that make something survive a power cut, from the cheapest on.
#[derive(Clone, Copy)]
pub(super) enum Sync {
    Data,
    File,
    FileSystem,
}

/// Syncs by the first of these calls that can be made here. `Ok(false)`: none can.
pub(super) fn sync_by(of: impl AsFd, calls: &[Sync]) -> Result<bool, Errno> {
    for call in calls {
        let sync = || match call {
            Sync::Data => rustix::fs::fdatasync(&of),
            Sync::File => rustix::fs::fsync(&of),
            Sync::FileSystem if !takes_syncfs(&of) => Err(Errno::OPNOTSUPP),
            Sync::FileSystem => rustix::fs::syncfs(&of),
        };
        match patiently(Call::Sync, sync) {
            Ok(()) => return Ok(true),
            Err(Errno::ROFS) if is_read_only(&of) => return Err(Errno::ROFS),
            Err(errno) if Refusal::of(Call::Sync, errno) == Refusal::CannotHere => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(false)
}

/// Where it does nothing it says that all is well.
fn takes_syncfs(of: impl AsFd) -> bool {
    Space::around(of).is_some_and(|space| space.takes_syncfs())
}

/// Some file systems become read-only when the device fails. What was written is lost then.
fn is_read_only(of: impl AsFd) -> bool {
    rustix::fs::fstatvfs(of).is_ok_and(|facts| facts.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// What to set for something that was last written then.
pub(super) fn written_at(mtime: Timestamp) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            // Whoever watches files takes a new time of the content alone for new content.
            tv_nsec: UTIME_NOW,
        },
        last_modification: Timespec {
            tv_sec: mtime.seconds,
            tv_nsec: mtime.nanoseconds.into(),
        },
    }
}

pub(super) fn sort_io(doing: &'static str, error: io::Error) -> StageError {
    match Errno::from_io_error(&error) {
        Some(errno) => StageError::sort(doing, errno),
        None => StageError::Io {
            doing,
            source: error,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use rustix::fs::OFlags;

    use super::*;

    /// A pipe, of which nothing can be synced and which keeps no blocks.
    fn pipe() -> File {
        let (reading, _) = rustix::pipe::pipe().unwrap();
        File::from(reading)
    }

    #[test]
    fn the_first_way_to_sync_that_can_be_gone_is_gone() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("f");
        let file = File::create(&path).unwrap();
        let handle = rustix::fs::open(&path, OFlags::PATH, Mode::empty()).unwrap();
        for call in [Sync::Data, Sync::File, Sync::FileSystem] {
            assert_eq!(sync_by(&file, &[call]), Ok(true));
            assert_eq!(sync_by(&handle, &[call]), Ok(false));
        }
        assert_eq!(sync_by(pipe(), &[Sync::Data, Sync::File]), Ok(false));
        assert_eq!(sync_by(&file, &[]), Ok(false));
        assert!(StagedFile::sync_bytes(&file).unwrap());
        assert!(!is_read_only(&file));
    }

    #[test]
    fn what_nothing_can_sync_is_counted_and_what_is_synced_is_not() {
        let temp = tempfile::tempdir().unwrap();
        let folder = StagingFolder::open(temp.path()).unwrap();
        let name = FileName::parse(b"f").unwrap();
        let staged = folder.stage_unnamed(&name).unwrap();
        staged.sync().unwrap();
        folder.sync().unwrap();
        assert!(folder.sync_file_system().unwrap());
        assert_eq!(folder.keeping().unkept().syncs, 0);
        let partial = PartialName::random(name.tag());
        let handle = rustix::fs::open(temp.path(), OFlags::PATH, Mode::empty()).unwrap();
        let handle = File::from(handle);
        let unsynced = StagedFile::new(Arc::clone(&folder), name, partial, handle, 0);
        unsynced.sync().unwrap();
        assert_eq!(folder.keeping().unkept().syncs, 1);
    }

    #[test]
    fn only_what_is_begun_again_loses_the_mode_of_an_earlier_run() {
        let temp = tempfile::tempdir().unwrap();
        let folder = StagingFolder::open(temp.path()).unwrap();
        let name = FileName::parse(b"f").unwrap();
        let none = Attributes {
            mode: None,
            mtime: None,
        };
        for (bytes, expected) in [(0, 0o604), (1, folder.usual_mode().unwrap())] {
            let path = temp.path().join("open");
            let file = File::create(&path).unwrap();
            rustix::fs::fchmod(&file, Mode::from_raw_mode(0o604)).unwrap();
            let partial = PartialName::random(name.tag());
            let staged = StagedFile::new(Arc::clone(&folder), name.clone(), partial, file, bytes);
            staged.dress(&none).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, expected);
            assert!(folder.keeping().unkept().is_empty());
        }
    }

    #[test]
    fn blocks_are_counted_as_the_file_system_does() {
        let temp = tempfile::tempdir().unwrap();
        let folder = StagingFolder::open(temp.path()).unwrap();
        let mut staged = folder
            .stage_unnamed(&FileName::parse(b"f").unwrap())
            .unwrap();
        assert_eq!(staged.allocated_bytes(), 0);
        staged.append(&[1; 100_000]).unwrap();
        rustix::fs::fsync(&*staged.file()).unwrap();
        let blocks = staged.file().metadata().unwrap().blocks();
        assert!(blocks > 1);
        assert_eq!(staged.allocated_bytes(), blocks * 512);
    }

    #[test]
    fn an_attribute_that_cannot_be_set_here_is_no_error_and_a_broken_disk_is() {
        for (said, is_set_there) in [(Ok(()), Some(true)), (Err(Errno::PERM), Some(false))] {
            assert_eq!(is_set("set", || said).ok(), is_set_there);
        }
        assert!(is_set("set", || Err(Errno::IO)).is_err());
        let temp = tempfile::tempdir().unwrap();
        let folder = StagingFolder::open(temp.path()).unwrap();
        let name = FileName::parse(b"f").unwrap();
        let staged = folder.stage_unnamed(&name).unwrap();
        let mtime = Timestamp {
            seconds: 5,
            nanoseconds: 7,
        };
        let attributes = Attributes {
            mode: Some(0o640),
            mtime: Some(mtime),
        };
        staged.dress(&attributes).unwrap();
        let facts = staged.file().metadata().unwrap();
        assert_eq!(
            (facts.mode() & 0o777, facts.mtime(), facts.mtime_nsec()),
            (0o640, 5, 7)
        );
        // The time of the last look stays what it is.
        assert!(facts.atime() > 1_000_000_000);
        assert!(folder.keeping().unkept().is_empty());
    }
}

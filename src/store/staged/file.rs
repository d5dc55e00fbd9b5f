//! A locked partial file that gets its final name when it is complete.

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
use super::capabilities::Loss;
use super::error_class::{ErrorClass, SystemCall, retry_transient};
use super::name::{FileName, PartialName};
use super::space::Space;
use super::staging_directory::StagingDirectory;
use crate::wire::{Md5Digest, Timestamp};

/// A locked partial file. If it is dropped before it is placed, it stays for a resume if it has a
/// byte and its name contains the digest of its content. Otherwise it is removed.
pub struct StagedFile {
    directory: Arc<StagingDirectory>,
    name: FileName,
    partial: PartialName,
    /// `None` once closed: some file systems cannot rename an open file.
    file: Option<Arc<File>>,
    bytes: u64,
    is_resumed: bool,
    fate: Fate,
}

/// The attributes of a finished file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits, of which only `0o777` are used. `None` keeps those that the system gave to
    /// the new file ([`NewModes`](super::NewModes)).
    pub mode: Option<u32>,
    /// The modification time; `None` keeps the current time.
    pub mtime: Option<Timestamp>,
}

/// What happens if the final name is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// The old file is replaced atomically.
    Replace,
    /// Placing fails.
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
        directory: Arc<StagingDirectory>,
        name: FileName,
        partial: PartialName,
        file: File,
        bytes: u64,
    ) -> StagedFile {
        StagedFile {
            directory,
            name,
            partial,
            file: Some(Arc::new(file)),
            bytes,
            is_resumed: bytes > 0,
            fate: Fate::Undecided,
        }
    }

    /// The bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The md5 of the whole content; `None` if this file cannot be resumed.
    pub fn content(&self) -> Option<Md5Digest> {
        self.partial.content
    }

    /// The directory of the partial file.
    pub fn directory(&self) -> &Arc<StagingDirectory> {
        &self.directory
    }

    /// The open file, to read back what was written.
    pub fn file(&self) -> Arc<File> {
        Arc::clone(self.open_file())
    }

    pub(super) fn open_file(&self) -> &Arc<File> {
        self.file.as_ref().expect("open until it is placed")
    }

    /// Reserves blocks so that the file can grow to `total_size` bytes; its length stays. Where
    /// free space is only advice ([`Space`]), it refuses only a size that is impossible.
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
            // Other errors do not matter: reserving is optional.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`StageError`]. Bytes that were written stay.
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

    /// Sets the length in bytes after a write through [`StagedFile::file`].
    pub(super) fn note_bytes(&mut self, bytes: u64) {
        self.bytes = bytes;
    }

    /// Empties the file, so that the content can come again from its first byte.
    ///
    /// # Errors
    /// [`StageError`].
    pub fn restart(&mut self) -> Result<(), StageError> {
        let emptied = retry_transient(SystemCall::Truncate, || {
            rustix::fs::ftruncate(&**self.open_file(), 0)
        });
        match emptied {
            Ok(()) => self.bytes = 0,
            Err(errno) if ErrorClass::of(SystemCall::Truncate, errno) == ErrorClass::Fatal => {
                return Err(StageError::sort("truncate the partial file", errno));
            }
            // The file cannot be emptied here, so use a new one.
            Err(_) => {
                let empty = self.directory.stage_unnamed(&self.name)?;
                std::mem::replace(self, empty).discard();
            }
        }
        Ok(())
    }

    /// Sets permissions and time before the file is placed. A loss where the file system cannot
    /// store them is counted, and is no error.
    ///
    /// # Errors
    /// [`StageError`].
    pub fn set_attributes(&self, attributes: &Attributes) -> Result<(), StageError> {
        let file = &**self.open_file();
        let capabilities = self.directory.capabilities();
        let mode = match attributes.mode {
            // Mask set-user-id and its kin: a peer must not set them.
            Some(mode) => Some(mode & 0o777),
            // An earlier run may have created the file with other permissions.
            None if self.is_resumed => Some(self.directory.usual_mode()?),
            None => None,
        };
        if let Some(mode) = mode
            && !set_mode(file, mode)?
        {
            capabilities.count(Loss::Permissions);
        }
        if let Some(mtime) = attributes.mtime
            && !set_mtime(file, mtime)?
        {
            capabilities.count(Loss::Time);
        }
        Ok(())
    }

    /// Makes the bytes survive a power cut. Counts a loss where nothing can sync.
    ///
    /// # Errors
    /// [`StageError`].
    pub fn sync(&self) -> Result<(), StageError> {
        if !StagedFile::sync_bytes(self.open_file())? {
            self.count_as_unsynced();
        }
        Ok(())
    }

    /// Counts that nothing here can make the bytes survive a power cut.
    pub fn count_as_unsynced(&self) {
        self.directory.capabilities().count(Loss::Sync);
    }

    /// Makes the bytes of an open file survive a power cut. `false`: nothing here can do that.
    ///
    /// # Errors
    /// [`StageError`].
    pub fn sync_bytes(file: &File) -> Result<bool, StageError> {
        sync_by(
            file,
            &[SyncCall::Data, SyncCall::File, SyncCall::FileSystem],
        )
        .map_err(|errno| StageError::sort("sync the file", errno))
    }

    /// Starts writing the bytes to disk without waiting. If this is called for many files first,
    /// each later sync finds the bytes of all on their way.
    pub fn begin_sync(file: &File) {
        // posix_fadvise(2) starts the writing of such pages, and keeps those that are being
        // written.
        let _ = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
    }

    /// Renames the partial file to its final name in one step. Returns that name, and the file if
    /// it is still open. The caller verifies and syncs the file before, and syncs the directory
    /// afterwards.
    ///
    /// # Errors
    /// [`StageError`]; the partial file is then dropped as [`StagedFile`] describes.
    pub fn place(
        mut self,
        placement: Placement,
    ) -> Result<(FileName, Option<Arc<File>>), StageError> {
        self.check_closing()?;
        let close = &mut || drop(self.file.take());
        let directory = &self.directory;
        let renamed = directory.rename(&self.partial, &self.name, placement, close);
        if let Err(StageError::NameRefused { .. }) = renamed {
            // No later run can resume it under this name.
            self.fate = Fate::Remove;
        }
        let name = renamed?;
        self.fate = Fate::Placed;
        self.directory.remove_leftovers(&self.name);
        Ok((name, self.file.take()))
    }

    /// Removes the partial file, because its bytes are wrong.
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
            self.directory.keep(self.partial.clone());
            if let Some(file) = &self.file {
                // Free the blocks that `reserve` took beyond the end, else a server that announces
                // a large file and sends little of it would fill the disk.
                let _ = file.set_len(self.bytes);
                // A thread that still hashes the file must not keep it locked for the next attempt.
                let _ = rustix::fs::flock(&**file, FlockOperation::Unlock);
            }
        } else {
            self.directory.unlink(&self.partial);
        }
    }
}

/// Sets permission bits of an open file or directory. `Ok(false)`: that is not possible here.
pub(super) fn set_mode(of: impl AsFd, mode: u32) -> Result<bool, StageError> {
    let set = || rustix::fs::fchmod(&of, Mode::from_raw_mode(mode));
    is_set("set permissions", set)
}

/// Sets the modification time of an open file or directory. `Ok(false)`: that is not possible here.
pub(super) fn set_mtime(of: impl AsFd, mtime: Timestamp) -> Result<bool, StageError> {
    is_set("set the time", || {
        rustix::fs::futimens(&of, &written_at(mtime))
    })
}

fn is_set(doing: &'static str, set: impl FnMut() -> Result<(), Errno>) -> Result<bool, StageError> {
    match retry_transient(SystemCall::SetAttributes, set) {
        Ok(()) => Ok(true),
        Err(errno) if ErrorClass::of(SystemCall::SetAttributes, errno) == ErrorClass::Fatal => {
            Err(StageError::sort(doing, errno))
        }
        Err(_) => Ok(false),
    }
}

/// The system calls that make a file survive a power cut, cheapest first.
#[derive(Clone, Copy)]
pub(super) enum SyncCall {
    Data,
    File,
    FileSystem,
}

/// Syncs with the first of these calls that works here. `Ok(false)`: none does.
pub(super) fn sync_by(of: impl AsFd, calls: &[SyncCall]) -> Result<bool, Errno> {
    for call in calls {
        let sync = || match call {
            SyncCall::Data => rustix::fs::fdatasync(&of),
            SyncCall::File => rustix::fs::fsync(&of),
            SyncCall::FileSystem if !takes_syncfs(&of) => Err(Errno::OPNOTSUPP),
            SyncCall::FileSystem => rustix::fs::syncfs(&of),
        };
        match retry_transient(SystemCall::Sync, sync) {
            Ok(()) => return Ok(true),
            Err(Errno::ROFS) if is_read_only(&of) => return Err(Errno::ROFS),
            Err(errno) if ErrorClass::of(SystemCall::Sync, errno) == ErrorClass::Unsupported => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(false)
}

/// FUSE reports success and does nothing.
fn takes_syncfs(of: impl AsFd) -> bool {
    Space::around(of).is_some_and(|space| space.takes_syncfs())
}

/// Some file systems become read-only when their device fails. Earlier writes are lost then.
fn is_read_only(of: impl AsFd) -> bool {
    rustix::fs::fstatvfs(of).is_ok_and(|facts| facts.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// The timestamps to set for this modification time.
pub(super) fn written_at(mtime: Timestamp) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            // Keep the access time current: programs that watch files take a changed one for new
            // content.
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

    /// A pipe, which cannot be synced and has no blocks.
    fn pipe() -> File {
        let (reading, _) = rustix::pipe::pipe().unwrap();
        File::from(reading)
    }

    #[test]
    fn syncs_with_the_first_call_that_works() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("f");
        let file = File::create(&path).unwrap();
        let handle = rustix::fs::open(&path, OFlags::PATH, Mode::empty()).unwrap();
        for call in [SyncCall::Data, SyncCall::File, SyncCall::FileSystem] {
            assert_eq!(sync_by(&file, &[call]), Ok(true));
            assert_eq!(sync_by(&handle, &[call]), Ok(false));
        }
        assert_eq!(
            sync_by(pipe(), &[SyncCall::Data, SyncCall::File]),
            Ok(false)
        );
        assert_eq!(sync_by(&file, &[]), Ok(false));
        assert!(StagedFile::sync_bytes(&file).unwrap());
        assert!(!is_read_only(&file));
    }

    #[test]
    fn only_impossible_syncs_are_counted() {
        let temp = tempfile::tempdir().unwrap();
        let directory = StagingDirectory::open(temp.path()).unwrap();
        let name = FileName::parse(b"f").unwrap();
        let staged = directory.stage_unnamed(&name).unwrap();
        staged.sync().unwrap();
        directory.sync().unwrap();
        assert!(directory.sync_file_system().unwrap());
        assert_eq!(directory.capabilities().unkept().syncs, 0);
        let partial = PartialName::random(name.tag());
        let handle = rustix::fs::open(temp.path(), OFlags::PATH, Mode::empty()).unwrap();
        let handle = File::from(handle);
        let unsynced = StagedFile::new(Arc::clone(&directory), name, partial, handle, 0);
        unsynced.sync().unwrap();
        assert_eq!(directory.capabilities().unkept().syncs, 1);
    }

    #[test]
    fn only_a_resumed_file_loses_the_mode_of_an_earlier_run() {
        let temp = tempfile::tempdir().unwrap();
        let directory = StagingDirectory::open(temp.path()).unwrap();
        let name = FileName::parse(b"f").unwrap();
        let none = Attributes {
            mode: None,
            mtime: None,
        };
        for (bytes, expected) in [(0, 0o604), (1, directory.usual_mode().unwrap())] {
            let path = temp.path().join("open");
            let file = File::create(&path).unwrap();
            rustix::fs::fchmod(&file, Mode::from_raw_mode(0o604)).unwrap();
            let partial = PartialName::random(name.tag());
            let staged =
                StagedFile::new(Arc::clone(&directory), name.clone(), partial, file, bytes);
            staged.set_attributes(&none).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, expected);
            assert!(directory.capabilities().unkept().is_empty());
        }
    }

    #[test]
    fn counts_the_blocks_that_the_file_system_reports() {
        let temp = tempfile::tempdir().unwrap();
        let directory = StagingDirectory::open(temp.path()).unwrap();
        let mut staged = directory
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
    fn unsupported_attributes_are_no_error_but_a_bad_disk_is() {
        for (said, is_set_there) in [(Ok(()), Some(true)), (Err(Errno::PERM), Some(false))] {
            assert_eq!(is_set("set", || said).ok(), is_set_there);
        }
        assert!(is_set("set", || Err(Errno::IO)).is_err());
        let temp = tempfile::tempdir().unwrap();
        let directory = StagingDirectory::open(temp.path()).unwrap();
        let name = FileName::parse(b"f").unwrap();
        let staged = directory.stage_unnamed(&name).unwrap();
        let mtime = Timestamp {
            seconds: 5,
            nanoseconds: 7,
        };
        let attributes = Attributes {
            mode: Some(0o640),
            mtime: Some(mtime),
        };
        staged.set_attributes(&attributes).unwrap();
        let facts = staged.file().metadata().unwrap();
        assert_eq!(
            (facts.mode() & 0o777, facts.mtime(), facts.mtime_nsec()),
            (0o640, 5, 7)
        );
        // The access time is not set.
        assert!(facts.atime() > 1_000_000_000);
        assert!(directory.capabilities().unkept().is_empty());
    }
}

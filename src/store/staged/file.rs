//! A partial file, locked, on its way to its final name.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{
    Advice, AtFlags, FallocateFlags, FlockOperation, Mode, Timespec, Timestamps, UTIME_NOW,
};
use rustix::io::Errno;

use super::StageError;
use super::folder::StagingFolder;
use super::name::{FileName, PartialName};
use super::space::Space;
use crate::wire::{Md5Digest, Timestamp};

/// A partial file, locked. Dropped before it was placed, it stays for a resume if it has a
/// byte and its name says of what; otherwise it is removed.
pub struct StagedFile {
    folder: Arc<StagingFolder>,
    name: FileName,
    partial: PartialName,
    file: Arc<File>,
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
            file: Arc::new(file),
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
        self.file.clone()
    }

    /// Makes sure, as far as the file system can, that it may grow to `total_size` bytes.
    /// Blocks are reserved, its length stays. Where figures are advice ([`Space`]), only what cannot
    /// fit in any way is refused.
    ///
    /// # Errors
    /// [`StageError::NoSpace`], [`StageError::DiskFull`].
    pub fn reserve(&self, total_size: u64) -> Result<(), StageError> {
        let needed = total_size.saturating_sub(self.allocated_bytes());
        let space = Space::around(&*self.file);
        if let Some(space) = space.filter(|space| !space.may_take(needed)) {
            let available = space.free_bytes.unwrap_or_default();
            return Err(StageError::NoSpace { needed, available });
        }
        if needed == 0 || space.is_some_and(|space| !space.is_worth_reserving(needed)) {
            return Ok(());
        }
        let is_exact = space.is_some_and(|space| space.is_exact);
        match rustix::fs::fallocate(&*self.file, FallocateFlags::KEEP_SIZE, 0, total_size) {
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
            match self.file.write_at(bytes, self.bytes) {
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
        self.file
            .set_len(0)
            .map_err(|error| sort_io("truncate the partial file", error))?;
        self.bytes = 0;
        Ok(())
    }

    /// Sets permissions and time of what is about to be placed.
    ///
    /// # Errors
    /// [`StageError`].
    pub fn dress(&self, attributes: &Attributes) -> Result<(), StageError> {
        match attributes.mode {
            // Never set-user-id and its kin: a peer must not hand them out.
            Some(mode) => set_mode(&*self.file, mode & 0o777)?,
            // It may have been begun by a run that was to give it other permissions.
            None if self.is_resumed => set_mode(&*self.file, self.folder.usual_mode()?)?,
            None => {}
        }
        set_mtime(&*self.file, attributes.mtime)
    }

    /// Makes its bytes survive a power cut.
    ///
    /// # Errors
    /// [`StageError`].
    pub fn sync(&self) -> Result<(), StageError> {
        StagedFile::sync_bytes(&self.file)
    }

    /// The same for the file of one.
    ///
    /// # Errors
    /// [`StageError`].
    pub fn sync_bytes(file: &File) -> Result<(), StageError> {
        rustix::fs::fdatasync(file).map_err(|errno| StageError::sort("sync the file", errno))
    }

    /// Has the system begin to write its bytes, and does not wait: of many files each sync then
    /// finds the bytes of all on their way.
    pub fn begin_sync(file: &File) {
        // posix_fadvise(2) starts the writing of pages that are not wanted any more, and keeps those
        // that are being written.
        let _ = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
    }

    /// Gives it its final name, in one step, and returns that. Whoever calls this has verified
    /// and synced it, and syncs the folder afterwards.
    ///
    /// # Errors
    /// [`StageError`]; the partial file stays as [`StagedFile`] says.
    pub fn place(mut self, placement: Placement) -> Result<FileName, StageError> {
        let renamed = self.folder.rename(&self.partial, &self.name, placement);
        if let Err(StageError::NameRefused { .. }) = renamed {
            // No later run can go on with it.
            self.fate = Fate::Remove;
        }
        let name = renamed?;
        self.fate = Fate::Placed;
        self.folder.remove_leftovers(&self.name);
        Ok(name)
    }

    /// Removes it: its bytes are wrong.
    pub fn discard(mut self) {
        self.fate = Fate::Remove;
    }

    fn allocated_bytes(&self) -> u64 {
        rustix::fs::fstat(&*self.file)
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
            // Gives back what `reserve` took beyond its end: a server that promised much and
            // sent little would keep a disk full.
            let _ = self.file.set_len(self.bytes);
            self.folder.keep(self.partial.clone());
            // Whoever still hashes it must not keep it from the next attempt.
            let _ = rustix::fs::flock(&*self.file, FlockOperation::Unlock);
        } else {
            // If it cannot be removed, the next run tries again.
            let _ =
                rustix::fs::unlinkat(self.folder.as_fd(), &*self.partial.text, AtFlags::empty());
        }
    }
}

/// Sets permission bits of an open file or folder.
pub(super) fn set_mode(of: impl AsFd, mode: u32) -> Result<(), StageError> {
    rustix::fs::fchmod(of, Mode::from_raw_mode(mode))
        .map_err(|errno| StageError::sort("set permissions", errno))
}

/// Sets when an open file or folder was last written.
pub(super) fn set_mtime(of: impl AsFd, mtime: Option<Timestamp>) -> Result<(), StageError> {
    let Some(mtime) = mtime else {
        return Ok(());
    };
    rustix::fs::futimens(of, &written_at(mtime))
        .map_err(|errno| StageError::sort("set the time", errno))
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

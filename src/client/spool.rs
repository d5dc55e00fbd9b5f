//! A place for bytes that are not verified yet: a file without a name.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::client::ClientError;
use crate::store::{Space, StageError};

/// A file without a name, which is gone with the process.
pub(super) struct Spool(File);

impl Spool {
    /// In this folder, with room for so many bytes; in memory if no such file can be made
    /// there and they are at most [`MEMORY_BYTES_MAX`].
    ///
    /// # Errors
    /// [`StageError::NoSpace`], or what the file system says of the folder.
    pub(super) fn with_room(folder: &Path, bytes: u64) -> Result<Spool, StageError> {
        let space = Space::below(folder)?;
        if !space.may_take(bytes) {
            let (needed, available) = (bytes, space.free_bytes.unwrap_or_default());
            return Err(StageError::NoSpace { needed, available });
        }
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = match rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => file,
            // Some file systems have no files without a name, and some folders are not ours.
            Err(_) if bytes <= MEMORY_BYTES_MAX => {
                rustix::fs::memfd_create("ft-spool", MemfdFlags::CLOEXEC)
                    .map_err(|errno| StageError::sort("create a file in memory", errno))?
            }
            Err(errno) => {
                let doing = "create an unnamed file in";
                return Err(StageError::of_directory(doing, folder, errno));
            }
        };
        Ok(Spool(File::from(file)))
    }

    /// Takes more.
    ///
    /// # Errors
    /// [`StageError`]: the disk may have become full meanwhile.
    pub(super) fn append(&mut self, mut bytes: &[u8]) -> Result<(), StageError> {
        while !bytes.is_empty() {
            match rustix::io::write(&self.0, bytes) {
                Ok(0) => return Err(StageError::sort("write to the spool", Errno::IO)),
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::INTR) => {}
                Err(errno) => return Err(StageError::sort("write to the spool", errno)),
            }
        }
        Ok(())
    }

    /// Everything in it goes out.
    ///
    /// # Errors
    /// [`ClientError::ReadBack`], [`ClientError::Output`].
    pub(super) fn write_to(&mut self, into: &mut dyn Write) -> Result<(), ClientError> {
        let unread = |error: io::Error| ClientError::ReadBack(error.into());
        let unwritten = |error: io::Error| ClientError::Output(error.into());
        self.0.seek(SeekFrom::Start(0)).map_err(unread)?;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return into.flush().map_err(unwritten),
                Ok(count) => into.write_all(&buffer[..count]).map_err(unwritten)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unread(error)),
            }
        }
    }
}

const BUFFER_BYTES: usize = 256 * 1024;
/// The most that is spooled in memory: what a published command may write.
const MEMORY_BYTES_MAX: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_comes_out_whole() {
        let folder = tempfile::tempdir().unwrap();
        // No file can be made in the second one.
        for folder in [folder.path(), Path::new("/proc")] {
            let mut spool = Spool::with_room(folder, 700_000).unwrap();
            let mut expected = Vec::new();
            for part in [vec![1; 300_000], Vec::new(), vec![2; 400_000]] {
                spool.append(&part).unwrap();
                expected.extend(part);
            }
            let mut out = Vec::new();
            spool.write_to(&mut out).unwrap();
            assert!(out == expected, "{}", folder.display());
        }
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn only_what_is_small_is_held_in_memory() {
        let folder = Path::new("/proc");
        for (bytes, fits) in [
            (MEMORY_BYTES_MAX - 1, true),
            (MEMORY_BYTES_MAX, true),
            (MEMORY_BYTES_MAX + 1, false),
            (u64::MAX, false),
        ] {
            match Spool::with_room(folder, bytes) {
                Ok(_) => assert!(fits, "{bytes}"),
                Err(StageError::Directory {
                    directory: named, ..
                }) => {
                    assert!(!fits && named == folder, "{bytes}");
                }
                Err(error) => panic!("{bytes}: {error}"),
            }
        }
    }
}

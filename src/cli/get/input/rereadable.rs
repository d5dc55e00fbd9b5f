//! A list that is read more than once.

use std::env;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, Mode, OFlags};

/// A list that can be read from its beginning again: a regular file, or an unnamed copy of a pipe.
#[derive(Clone)]
pub(in crate::cli::get) struct RereadableList {
    file: Arc<File>,
    begin: u64,
}

impl RereadableList {
    /// From an open list. `read` wraps a file that is not regular, and is read to its end.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn of(
        mut file: File,
        read: impl FnOnce(File) -> Box<dyn Read>,
    ) -> io::Result<RereadableList> {
        if file.metadata()?.is_file() {
            return Ok(RereadableList {
                begin: file.stream_position()?,
                file: Arc::new(file),
            });
        }
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        // Some file systems have no unnamed files, and the directory may not be writable.
        let copy = rustix::fs::open(env::temp_dir(), flags, Mode::RUSR | Mode::WUSR)
            .or_else(|_| rustix::fs::memfd_create("ft-list", MemfdFlags::CLOEXEC))?;
        let mut copy = File::from(copy);
        io::copy(&mut read(file), &mut copy)?;
        Ok(RereadableList {
            begin: 0,
            file: Arc::new(copy),
        })
    }

    /// A reader from the beginning.
    pub(super) fn reader(&self) -> Reader {
        Reader {
            file: Arc::clone(&self.file),
            at: self.begin,
        }
    }
}

/// A reader with its own position in the shared file.
pub(super) struct Reader {
    file: Arc<File>,
    at: u64,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

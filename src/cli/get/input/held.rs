//! A list that is read more than once.

use std::env;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, Mode, OFlags};

/// A list that can be read from its beginning again: a file, or a copy without a name of what
/// is none.
#[derive(Clone)]
pub(in crate::cli::get) struct Held {
    file: Arc<File>,
    begin: u64,
}

impl Held {
    /// Of an open list. `read` reads it, if it is no regular file.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn of(mut file: File, read: impl FnOnce(File) -> Box<dyn Read>) -> io::Result<Held> {
        if file.metadata()?.is_file() {
            return Ok(Held {
                begin: file.stream_position()?,
                file: Arc::new(file),
            });
        }
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        // Some file systems have no files without a name, and some folders are not ours.
        let copy = rustix::fs::open(env::temp_dir(), flags, Mode::RUSR | Mode::WUSR)
            .or_else(|_| rustix::fs::memfd_create("ft-list", MemfdFlags::CLOEXEC))?;
        let mut copy = File::from(copy);
        io::copy(&mut read(file), &mut copy)?;
        Ok(Held {
            begin: 0,
            file: Arc::new(copy),
        })
    }

    /// From its beginning.
    pub(super) fn reader(&self) -> Reader {
        Reader {
            file: Arc::clone(&self.file),
            at: self.begin,
        }
    }
}

/// Has a place of its own in the file.
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

//! A place for bytes that are not verified yet: a file without a name.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::client::ClientError;
use crate::store::StageError;

/// A file without a name, which is gone with the process.
pub(super) struct Spool(File);

impl Spool {
    /// In this folder, with room for so many bytes.
    ///
    /// # Errors
    /// [`StageError::NoSpace`], or what the file system says.
    pub(super) fn with_room(folder: &Path, bytes: u64) -> Result<Spool, ClientError> {
        let facts = rustix::fs::statvfs(folder).map_err(|errno| output(errno.into()))?;
        let available = facts.f_bavail.saturating_mul(facts.f_frsize);
        if facts.f_blocks > 0 && available < bytes {
            let needed = bytes;
            return Err(StageError::NoSpace { needed, available }.into());
        }
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = match rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => File::from(file),
            // Some file systems have no files without a name.
            Err(_) => {
                let flags = rustix::fs::MemfdFlags::CLOEXEC;
                let memory = rustix::fs::memfd_create("ft-spool", flags);
                File::from(memory.map_err(|errno| output(errno.into()))?)
            }
        };
        Ok(Spool(file))
    }

    /// Everything in it goes out.
    pub(super) fn pour(&mut self, into: &mut dyn Write) -> io::Result<()> {
        self.0.seek(SeekFrom::Start(0))?;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => into.write_all(&buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn output(error: io::Error) -> ClientError {
    ClientError::Output(error.into())
}

const BUFFER_BYTES: usize = 256 * 1024;

//! The open destination of the access log.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Access, OFlags, access, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use super::LogDestination;
use crate::cli::blocking::{self, BlockingStream};
use crate::cli::streams;

/// An open destination.
pub(super) struct LogOutput(BlockingStream<File>);

impl LogOutput {
    /// Opens a destination, and creates a missing file.
    ///
    /// # Errors
    /// It cannot hold lines, or is not writable.
    pub(super) fn open(destination: &LogDestination) -> io::Result<LogOutput> {
        let file = match destination {
            LogDestination::File(path) => match streams::descriptor(path) {
                Some(stream) => stream,
                None => open(path)?,
            },
            LogDestination::StandardOutput => blocking::copy_descriptor(1)?,
            LogDestination::StandardError => io::stderr().as_fd().try_clone_to_owned()?.into(),
        };
        Ok(LogOutput(BlockingStream::new(
            file,
            "the access log is not read",
        )))
    }

    /// The error that [`LogOutput::open`] would return, without creating anything.
    pub(super) fn check(destination: &LogDestination) -> io::Result<()> {
        let path = match destination {
            LogDestination::File(path) => path,
            LogDestination::StandardOutput => return blocking::copy_descriptor(1).map(drop),
            LogDestination::StandardError => return Ok(()),
        };
        if streams::descriptor(path).is_some() {
            return Ok(());
        }
        if path.exists() {
            return open_with(path, OpenOptions::new().append(true)).map(drop);
        }
        let directory = match path.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => directory,
            Some(_) | None => Path::new("."),
        };
        Ok(access(directory, Access::WRITE_OK | Access::EXEC_OK)?)
    }

    /// Writes some of the bytes, and returns their number.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
}

fn open(path: &Path) -> io::Result<File> {
    open_with(path, OpenOptions::new().append(true).create(true))
}

/// Opens a file, a character device, or a FIFO that has a reader.
fn open_with(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // A FIFO without a reader would block the start or the reload for ever.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = options
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(|error| named(path, error))?;
    let kind = file.metadata()?.file_type();
    if !(kind.is_file() || kind.is_char_device() || kind.is_fifo()) {
        return Err(io::Error::other("not a file"));
    }
    // From here on only the log thread waits. A slow reader loses no line while the queue has
    // space.
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

/// open(2) fails with "No such device or address" for a FIFO without a reader, and for a socket.
fn named(path: &Path, error: io::Error) -> io::Error {
    if error.raw_os_error() != Some(Errno::NXIO.raw_os_error()) {
        return error;
    }
    let is_fifo = path
        .metadata()
        .is_ok_and(|found| found.file_type().is_fifo());
    io::Error::other(if is_fifo {
        "nobody reads this FIFO"
    } else {
        "not a file"
    })
}

//! Where lines of the access log go, once it is open.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Access, OFlags, access, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use super::LogPlace;
use crate::cli::outside::{self, Outside};
use crate::cli::streams;

/// An open place.
pub(super) struct Output(Outside<File>);

impl Output {
    /// Opens a place; a file that is not there is made.
    ///
    /// # Errors
    /// It is no place for lines, or this program may not write there.
    pub(super) fn open(place: &LogPlace) -> io::Result<Output> {
        let file = match place {
            LogPlace::File(path) => match streams::descriptor(path) {
                Some(stream) => stream,
                None => open(path)?,
            },
            LogPlace::StandardOutput => outside::copy(1)?,
            LogPlace::StandardError => io::stderr().as_fd().try_clone_to_owned()?.into(),
        };
        Ok(Output(Outside::new(file, "the access log is not read")))
    }

    /// What [`Output::open`] would find, without making anything.
    pub(super) fn check(place: &LogPlace) -> io::Result<()> {
        let path = match place {
            LogPlace::File(path) => path,
            LogPlace::StandardOutput => return outside::copy(1).map(drop),
            LogPlace::StandardError => return Ok(()),
        };
        if streams::descriptor(path).is_some() {
            return Ok(());
        }
        if path.exists() {
            return open_with(path, OpenOptions::new().append(true)).map(drop);
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            Some(_) | None => Path::new("."),
        };
        Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
    }

    /// Writes some of these bytes, and says how many.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
}

fn open(path: &Path) -> io::Result<File> {
    open_with(path, OpenOptions::new().append(true).create(true))
}

/// Opens a file, a character device, or a FIFO that somebody reads.
fn open_with(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // A FIFO that nobody reads would hold up the start, or whoever sent SIGHUP, for ever.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = options
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(|error| named(path, error))?;
    let kind = file.metadata()?.file_type();
    if !(kind.is_file() || kind.is_char_device() || kind.is_fifo()) {
        return Err(io::Error::other("not a file"));
    }
    // From here on only the thread that writes waits, and a reader that is slow loses no line
    // as long as the queue has room.
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

/// "No such device or address" is what open(2) calls a FIFO without a reader, and a socket.
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

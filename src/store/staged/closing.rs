//! Errors of `close`. `rustix` has no such call and the standard library drops its result.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::IntoRawFd;

use rustix::io::Errno;

use super::StageError;
use super::error_class::{ErrorClass, SystemCall, retry_transient};
use super::file::StagedFile;

impl StagedFile {
    /// Checks for errors of file systems that write only when a file is closed.
    ///
    /// # Errors
    /// [`StageError`]: written bytes may be lost.
    pub(super) fn check_closing(&self) -> Result<(), StageError> {
        if !self.directory().has_errors_at_close() {
            return Ok(());
        }
        match retry_transient(SystemCall::Close, || close_second(self.open_file())) {
            Err(errno) if ErrorClass::of(SystemCall::Close, errno) == ErrorClass::Fatal => {
                Err(StageError::sort("close the file", errno))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Closes a second descriptor of an open file and returns the error. Each close makes a file system
/// flush delayed writes (close(2), "Dealing with error returns").
fn close_second(file: &File) -> Result<(), Errno> {
    let second = rustix::io::fcntl_dupfd_cloexec(file, 0)?.into_raw_fd();
    // SAFETY: the descriptor was made here and given up, so nothing else uses or closes it.
    let outcome = unsafe { libc::close(second) };
    match outcome {
        0 => Ok(()),
        // The descriptor is closed in any case.
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

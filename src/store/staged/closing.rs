//! What a file system says when a file is closed: the one call for it, which `rustix` lacks and whose
//! answer the standard library drops.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::IntoRawFd;

use rustix::io::Errno;

use super::StageError;
use super::file::StagedFile;
use super::refusal::{Call, Refusal, patiently};

impl StagedFile {
    /// Some file systems write what they have got only when a file is closed.
    ///
    /// # Errors
    /// [`StageError`]: what was written may be lost.
    pub(super) fn check_closing(&self) -> Result<(), StageError> {
        if !self.folder().has_errors_at_close() {
            return Ok(());
        }
        match patiently(Call::Close, || close_second(self.open_file())) {
            Err(errno) if Refusal::of(Call::Close, errno) == Refusal::Broken => {
                Err(StageError::sort("close the file", errno))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Closes a second descriptor of an open file. Each close has a file system flush what it holds
/// back (close(2), "Dealing with error returns"), and says whether that failed.
fn close_second(file: &File) -> Result<(), Errno> {
    let second = rustix::io::fcntl_dupfd_cloexec(file, 0)?.into_raw_fd();
    // SAFETY: the descriptor was made here and given up, so that nothing else uses or closes it.
    let outcome = unsafe { libc::close(second) };
    match outcome {
        0 => Ok(()),
        // It is closed all the same.
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

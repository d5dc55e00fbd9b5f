//! Whether any process may be writing to a file: the call for it, which `rustix` lacks.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use libc::c_int;

/// Whether no process of this machine has this file open for writing, or mapped shared from such a
/// descriptor. The file must be open for reading only. `false` if unknown: the file belongs to
/// another user, or its file system has no leases, as most network file systems.
pub(super) fn has_no_writers(file: &File) -> bool {
    Lease::take(file).is_ok()
}

/// A read lease (fcntl(2), "Leases"): a process that opens the file for writing waits until it is
/// dropped.
pub(super) struct Lease<'a>(&'a File);

impl<'a> Lease<'a> {
    /// Fails where [`has_no_writers`] returns `false`.
    pub(super) fn take(file: &'a File) -> io::Result<Lease<'a>> {
        // The kernel sends a signal when a process opens the file for writing. The default signal
        // would end this process; SIGURG is ignored by default.
        control(file, F_SETSIG, libc::SIGURG)?;
        control(file, libc::F_SETLEASE, libc::F_RDLCK as c_int)?;
        Ok(Lease(file))
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        // Without a lease there is nothing to release.
        let _ = control(self.0, libc::F_SETLEASE, libc::F_UNLCK as c_int);
    }
}

fn control(file: &File, command: c_int, argument: c_int) -> io::Result<()> {
    // SAFETY: both commands take an integer and no pointer, and the descriptor is open for as long
    // as the file is borrowed.
    let outcome = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
    if outcome == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// fcntl(2); `libc` does not define it for every C library.
const F_SETSIG: c_int = 10;

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;

    #[test]
    fn detects_writers_and_no_one_else() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        std::fs::write(&path, "content").unwrap();
        let file = File::open(&path).unwrap();
        let reader = File::open(&path).unwrap();
        assert!(has_no_writers(&file) && has_no_writers(&file) && has_no_writers(&reader));
        let writer = OpenOptions::new().append(true).open(&path).unwrap();
        assert!(!has_no_writers(&file));
        drop(writer);
        assert!(has_no_writers(&file));
        let both = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        assert!(!has_no_writers(&both), "itself a writer");
        assert!(
            !has_no_writers(&File::open(place.path()).unwrap()),
            "a directory"
        );
    }

    #[test]
    fn a_later_writer_does_not_end_this_process() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        std::fs::write(&path, "content").unwrap();
        let file = File::open(&path).unwrap();
        let open = || {
            let mut options = OpenOptions::new();
            options
                .write(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(&path)
        };
        let lease = Lease::take(&file).unwrap();
        let refused = open().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        drop(lease);
        assert!(open().is_ok());
    }
}

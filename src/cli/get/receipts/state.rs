//! The state of a local file, compared with its receipt.

use std::fs::File;
use std::io;

use rustix::fs::{Advice, Mode, OFlags, fadvise};
use rustix::io::Errno;

use super::line::Received;
use crate::digest::Md5Stream;
use crate::wire::Md5Digest;

/// The state of a local file.
pub(super) enum FileState {
    Same,
    Missing,
    /// The name is taken by something that is not a file.
    NotAFile,
    OtherSize(u64),
    OtherContent(Md5Digest),
    Unreadable(io::Error),
}

/// Reads the file, unless its size already differs.
pub(super) fn look(receipt: &Received, buffer: &mut [u8]) -> FileState {
    let flags =
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match rustix::fs::open(&receipt.file, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::NOTDIR) => return FileState::Missing,
        // A symbolic link; a socket or a device without a driver.
        Err(Errno::LOOP | Errno::NXIO | Errno::NODEV) => return FileState::NotAFile,
        Err(error) => return FileState::Unreadable(error.into()),
    };
    match file.metadata() {
        Ok(facts) if !facts.is_file() => return FileState::NotAFile,
        Ok(facts) if facts.len() != receipt.total_size => {
            return FileState::OtherSize(facts.len());
        }
        Ok(_) => {}
        Err(error) => return FileState::Unreadable(error),
    }
    for advice in [Advice::Sequential, Advice::NoReuse] {
        // The file is read once: do not evict cached files of other programs for it.
        let _ = fadvise(&file, 0, None, advice);
    }
    match digest(file, buffer) {
        Ok(md5) if md5 == receipt.md5 => FileState::Same,
        Ok(md5) => FileState::OtherContent(md5),
        Err(error) => FileState::Unreadable(error),
    }
}

fn digest(mut file: File, buffer: &mut [u8]) -> io::Result<Md5Digest> {
    let mut md5 = Md5Stream::new();
    loop {
        match io::Read::read(&mut file, buffer) {
            Ok(0) => return Ok(md5.finish()),
            Ok(read) => md5.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

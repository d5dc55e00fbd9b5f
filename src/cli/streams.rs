//! Paths that are written to directly and never replaced: an open descriptor, a device, a FIFO.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::blocking;
use super::terminal::UNREAD;

/// An output that is written to directly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// Standard output.
    Standard,
    /// A descriptor of this process, and its path in /proc.
    Own(i32, PathBuf),
    /// A FIFO, a socket, a device, or a descriptor of another process.
    Named(PathBuf),
}

impl Stream {
    /// Follows links from a path. Returns `None` for a regular file, a directory, or a missing
    /// file.
    pub(super) fn at(path: &Path) -> Option<Stream> {
        let mut path = path.to_owned();
        for _ in 0..LINKS_MAX {
            if let Some(number) = spelled_descriptor(&path) {
                return Some(Stream::own(number, path));
            }
            if path.as_os_str().as_bytes().ends_with(b"/") {
                return None;
            }
            let name = path.file_name()?.to_owned();
            let directory = match path.parent() {
                Some(directory) if !directory.as_os_str().is_empty() => directory,
                Some(_) | None => Path::new("."),
            };
            let directory = directory.canonicalize().ok()?;
            path = directory.join(&name);
            let kind = fs::symlink_metadata(&path).ok()?.file_type();
            if !kind.is_symlink() {
                let is_stream = kind.is_fifo()
                    || kind.is_socket()
                    || kind.is_char_device()
                    || kind.is_block_device();
                return is_stream.then_some(Stream::Named(path));
            }
            // The target of a link in /proc/PID/fd is a description, not a path.
            if is_of_proc(&directory) {
                return Some(Stream::of_descriptor(&directory, &name, path));
            }
            path = directory.join(fs::read_link(&path).ok()?);
        }
        None
    }

    fn of_descriptor(directory: &Path, name: &OsStr, path: PathBuf) -> Stream {
        let own = Path::new("/proc/self").canonicalize();
        let is_own = own.is_ok_and(|own| directory.starts_with(own)) && directory.ends_with("fd");
        match name.to_str().and_then(|name| name.parse().ok()) {
            Some(number) if is_own => Stream::own(number, path),
            _ => Stream::Named(path),
        }
    }

    fn own(number: i32, path: PathBuf) -> Stream {
        match number {
            1 => Stream::Standard,
            number => Stream::Own(number, path),
        }
    }

    /// Why a write to it does not return, for the message of the watchdog.
    pub(super) fn unread(&self) -> &'static str {
        match self {
            Stream::Standard => UNREAD,
            Stream::Own(..) | Stream::Named(_) => "the output is not read",
        }
    }

    /// Opens it for writing, and waits for the reader of a FIFO. If a descriptor leads to a file,
    /// writes append to it.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn open(&self) -> io::Result<File> {
        let path = match self {
            // To open the path would truncate a file, and fail for a socket.
            Stream::Standard => return blocking::copy_descriptor(1),
            Stream::Own(number, path) => match blocking::copy_descriptor(*number) {
                Ok(own) => return Ok(own),
                Err(_) => path,
            },
            Stream::Named(path) => path,
        };
        OpenOptions::new()
            .write(true)
            .append(path.metadata()?.is_file())
            .custom_flags(OFlags::NOCTTY.bits().cast_signed())
            .open(path)
    }
}

/// Duplicates the open descriptor that a path names: to open the path would fail for a socket and
/// for the terminal of another user. Returns `None` for any other path, for a closed descriptor,
/// and for a regular file, which is opened by its path.
pub(super) fn descriptor(path: &Path) -> Option<File> {
    let number = match Stream::at(path)? {
        Stream::Standard => 1,
        Stream::Own(number, _) => number,
        Stream::Named(_) => return None,
    };
    let stream = blocking::copy_descriptor(number).ok()?;
    let is_file = stream.metadata().is_ok_and(|facts| facts.is_file());
    (!is_file).then_some(stream)
}

/// The descriptor number in the spelling of a path. Without a mounted /proc the path leads nowhere.
fn spelled_descriptor(path: &Path) -> Option<i32> {
    let digits = match path.as_os_str().as_bytes() {
        b"/dev/stdin" => b"0",
        b"/dev/stdout" => b"1",
        b"/dev/stderr" => b"2",
        path => {
            let directories: [&[u8]; 3] =
                [b"/dev/fd/", b"/proc/self/fd/", b"/proc/thread-self/fd/"];
            directories
                .iter()
                .find_map(|directory| path.strip_prefix(*directory))?
        }
    };
    let is_number = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits)
        .ok()
        .filter(|_| is_number)?
        .parse()
        .ok()
}

fn is_of_proc(directory: &Path) -> bool {
    rustix::fs::statfs(directory).is_ok_and(|facts| facts.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

/// The limit of the kernel (path_resolution(7)).
const LINKS_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn at(path: impl AsRef<Path>) -> Option<Stream> {
        Stream::at(path.as_ref())
    }

    #[test]
    fn a_descriptor_is_found_by_every_name_and_through_any_links() {
        let directory = tempfile::tempdir().unwrap();
        let link = |name: &str, target: &str| {
            let path = directory.path().join(name);
            symlink(target, &path).unwrap();
            path
        };
        for name in [
            "/dev/stdout".into(),
            "/dev/fd/1".into(),
            "/dev/./fd/../fd/1".into(),
            "/proc/self/fd/1".into(),
            "/proc/thread-self/fd/1".into(),
            format!("/proc/{}/fd/1", std::process::id()),
        ] {
            let found = at(&name);
            assert_eq!(found, Some(Stream::Standard), "{name}");
        }
        let first = link("first", "/dev/stdout");
        link("second", "first");
        assert_eq!(at(first), Some(Stream::Standard));
        assert_eq!(at(directory.path().join("second")), Some(Stream::Standard));
        assert!(matches!(at("/dev/stderr"), Some(Stream::Own(2, _))));
        let other = format!("/proc/{}/fd/1", std::os::unix::process::parent_id());
        assert!(matches!(at(other), None | Some(Stream::Named(_))));
    }

    #[test]
    fn devices_fifos_and_sockets_are_streams_and_files_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        mknodat(
            CWD,
            path("fifo"),
            FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        fs::write(path("file"), "x").unwrap();
        for (link, target) in [
            ("to-fifo", "fifo"),
            ("to-null", "/dev/null"),
            ("to-file", "file"),
            ("nowhere", "missing"),
            ("loop", "loop"),
        ] {
            symlink(target, path(link)).unwrap();
        }
        for name in ["fifo", "socket", "to-fifo", "to-null"] {
            assert!(matches!(at(path(name)), Some(Stream::Named(_))), "{name}");
        }
        assert!(matches!(at("/dev/null"), Some(Stream::Named(_))));
        for name in [
            "file", "to-file", "nowhere", "loop", "missing", "no/way", "fifo/",
        ] {
            assert_eq!(at(path(name)), None, "{name}");
        }
        for name in ["", "/", "..", ".", "/dev", "/dev/fd/"] {
            assert_eq!(at(name), None, "{name}");
        }
    }

    #[test]
    fn writes_to_an_open_file_append() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before ").unwrap();
        let name = format!("/dev/fd/{}", file.as_raw_fd());
        at(name)
            .unwrap()
            .open()
            .unwrap()
            .write_all(b"behind")
            .unwrap();
        let mut text = String::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "before behind");
    }
}

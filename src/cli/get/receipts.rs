//! `--receipts`: appends a line of JSON for each verified file that is in place. `-i` reads the
//! lines as a list, and `--check` verifies the files again.

mod check;
mod line;
mod state;

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf, absolute};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

pub(super) use self::check::{CheckOptions, check};
use super::wording::filename_b64;
use crate::cli::blocking::{self, BlockingStream};
use crate::cli::streams::Stream;
use crate::net::Address;
use crate::store::InUse;
use crate::wire::{Md5Digest, ResourcePath, Timestamp};

/// A file of receipts. Several programs may append to it at the same time.
#[derive(Debug)]
pub(super) struct Receipts {
    file: File,
    /// Keeps a download from replacing the file.
    _in_use: InUse,
}

/// The facts about one verified file.
pub(super) struct Receipt<'a> {
    pub(super) server: &'a Address,
    pub(super) path: &'a ResourcePath,
    /// The local file.
    pub(super) file: PathBuf,
    pub(super) total_size: u64,
    pub(super) md5: Md5Digest,
}

impl Receipts {
    /// Opens the file, and creates it if it is missing.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn open(path: &Path) -> io::Result<Receipts> {
        if let Some(stream) = Stream::at(path) {
            let file = blocking::run(UNREAD, || stream.open())?;
            let _in_use = InUse::file(&file)?;
            return Ok(Receipts { file, _in_use });
        }
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        let file = blocking::run(UNREAD, || options.open(path))?;
        let facts = file.metadata()?;
        let mut last = [b'\n'];
        if facts.is_file() && facts.len() > 0 {
            file.read_exact_at(&mut last, facts.len() - 1)?;
        }
        if last != *b"\n" {
            // Ends a line that was cut off, so that only this line is unreadable.
            (&file).write_all(b"\n")?;
        }
        let _in_use = InUse::file(&file)?;
        Ok(Receipts { file, _in_use })
    }

    /// Appends a line in one write, so that lines of several programs do not mix.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn append(&mut self, receipt: &Receipt<'_>, now: SystemTime) -> io::Result<()> {
        // An absolute path is right in every working directory.
        let file = absolute(&receipt.file)?;
        let time = now.duration_since(UNIX_EPOCH).ok().and_then(|since| {
            let time = Timestamp {
                seconds: i64::try_from(since.as_secs()).ok()?,
                nanoseconds: since.subsec_nanos(),
            };
            time.to_text()
        });
        let line = ReceiptLine {
            filename: String::from_utf8_lossy(receipt.path.as_bytes()),
            filename_b64: filename_b64(receipt.path.as_bytes()),
            total_size: receipt.total_size,
            md5: receipt.md5.to_string(),
            file: String::from_utf8_lossy(file.as_os_str().as_bytes()),
            file_b64: filename_b64(file.as_os_str().as_bytes()),
            server: receipt.server.to_string(),
            time: time.as_ref().map(|text| String::from_utf8_lossy(text)),
        };
        let mut line = serde_json::to_vec(&line)?;
        line.push(b'\n');
        BlockingStream::new(&self.file, UNREAD).write_all(&line)
    }
}

/// Why a write to a pipe for receipts does not return.
const UNREAD: &str = "receipts are not read";

#[derive(Serialize)]
struct ReceiptLine<'a> {
    filename: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filename_b64: Option<String>,
    total_size: u64,
    md5: String,
    file: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_b64: Option<String>,
    server: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Cow<'a, str>>,
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::cli::get::input::ListReader;

    fn append(receipts: &mut Receipts, path: &[u8], file: &[u8]) {
        let server = Address::Tcp {
            host: "h".to_owned(),
            port: 9521,
        };
        let receipt = Receipt {
            server: &server,
            path: &ResourcePath::parse(path).unwrap(),
            file: PathBuf::from(OsStr::from_bytes(file)),
            total_size: 5,
            md5: Md5Digest::from_bytes([7; 16]),
        };
        let now = UNIX_EPOCH + Duration::new(1, 2);
        receipts.append(&receipt, now).unwrap();
    }

    #[test]
    fn a_receipt_has_the_file_the_digest_and_the_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("receipts");
        append(&mut Receipts::open(&path).unwrap(), b"a/b", b"/x/b");
        append(&mut Receipts::open(&path).unwrap(), b"\xff", b"/x/\xff");
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            r#"{"filename":"a/b","total_size":5,"md5":"07070707070707070707070707070707","file":"/x/b","server":"h:9521","time":"1970-01-01T00:00:01.000000002Z"}"#
        );
        assert!(
            lines[1].contains(r#""filename_b64":"/w==","#)
                && lines[1].contains(r#""file_b64":"L3gv/w==""#),
            "{}",
            lines[1]
        );
        // A relative path becomes absolute.
        append(&mut Receipts::open(&path).unwrap(), b"c", b"./d/c");
        let here = std::env::current_dir().unwrap().join("d/c");
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.contains(&format!("\"file\":\"{}\"", here.display())),
            "{text}"
        );
    }

    #[test]
    fn a_cut_off_receipt_is_the_only_bad_line_of_the_list() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("receipts");
        append(&mut Receipts::open(&path).unwrap(), b"a", b"/a");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], &whole[..20]].concat()).unwrap();
        append(&mut Receipts::open(&path).unwrap(), b"b", b"/b");
        let text = fs::read(&path).unwrap();
        let read: Vec<_> = ListReader::new(&text[..], ResourcePath::root(), false)
            .map(|line| line.map(|wanted| (wanted.path.as_bytes().to_vec(), wanted.md5)))
            .collect();
        let md5 = Some(Md5Digest::from_bytes([7; 16]));
        assert!(
            matches!(&read[..], [Ok(a), Err(_), Ok(b)] if *a == (b"a".to_vec(), md5) && *b == (b"b".to_vec(), md5)),
            "{read:?}"
        );
    }
}

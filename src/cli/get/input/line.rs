//! One line of a list: a name, a JSON object, or a checksum.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::checksum::{Checksum, read_md5};
use super::lines::BYTE_ORDER_MARK;
use super::{LINE_BYTES_MAX, ListItem};
use crate::cli::visible;
use crate::client::ListedFolder;
use crate::store::{FileName, FileNameError};
use crate::wire::{Md5Digest, ObjectKind, PathError, ResourcePath, Timestamp};

/// The format of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Literal names below the directory that end with a NUL.
    Exact,
    /// Lines of `md5sum -z` and `cksum -z`, with literal names below the directory.
    ExactMd5sum,
    /// Names below the directory as `ftget --list` prints them: literal, or escaped after a
    /// backslash as in lines of md5sum(1).
    Names,
    /// Objects with `filename` or `filename_b64` (the whole path on the server), and optional
    /// `md5`, `total_size` and `type`: entries of a listing, or receipts. `#` begins a comment.
    Json,
    /// Digests with names below the directory ([`Checksum`]). `#` and `;` begin a comment, as for
    /// the programs that read such lists.
    Md5sum,
}

/// The error in a line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::cli::get) enum LineError {
    /// Longer than [`LINE_BYTES_MAX`].
    #[error("line is over {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// Not an object, a key twice, or a value of the wrong type.
    #[error("line is not a JSON object with a filename: {0}")]
    NotJson(String),
    /// Neither `filename` nor `filename_b64`.
    #[error("object has no filename")]
    NoFilename,
    /// `filename_b64` is not base64.
    #[error("filename_b64 is not padded base64")]
    NotBase64,
    /// `md5` is not an md5.
    #[error("md5 is {0:?}, it must be 32 hex digits")]
    NotMd5(String),
    /// Not a line of md5sum(1) or its kin.
    #[error(
        "line is not of md5sum: 32 hex digits, two spaces and a name, or MD5 (NAME) = and the digits"
    )]
    NotMd5sum,
    /// A list of another kind, or cut off: md5sum ends every line.
    #[error(
        "line does not end with a NUL, as lines of md5sum -z do; without -0 they end with a line feed"
    )]
    NoNul,
    /// A digest of another algorithm cannot be verified.
    #[error("line has a digest of {0}, only those of MD5 can be verified")]
    OtherAlgorithm(String),
    /// A digest in a list of names.
    #[error("line has a digest, the first line of the list is a name; {PLAIN_NAME}")]
    DigestAmongNames,
    /// An object in a list of names.
    #[error("line is a JSON object, the first line of the list is a name; {PLAIN_NAME}")]
    ObjectAmongNames,
    /// Clear-signed text is cut off.
    #[error("signed text does not end")]
    SignedWithoutEnd,
    /// A backslash before a character that needs none.
    #[error("name has a backslash before neither \\, n nor r")]
    BadEscape,
    /// A path from the root of a file system.
    #[error("name begins with /; write the path below the served directory")]
    Absolute,
    /// Not a receipt, where one is expected.
    #[error("line is not a receipt: {0}")]
    NotReceipt(String),
    /// Not a path on a server.
    #[error("{0}")]
    BadName(#[from] PathError),
    /// Not a name for a local file.
    #[error("{0}")]
    BadFileName(#[from] FileNameError),
    /// `filename` lies outside the directory of the source.
    #[error("{path} is not below the directory {directory} of the source")]
    Outside {
        /// The path in the line, escaped for a terminal.
        path: String,
        /// The directory of the source, escaped for a terminal.
        directory: String,
    },
}

impl Format {
    /// The format of a list with this first line. `ends_with_nul`: lines end with a NUL instead of
    /// a line feed.
    ///
    /// # Errors
    /// The name of the algorithm, if the line has a digest other than MD5.
    pub(super) fn of(line: &[u8], ends_with_nul: bool) -> Result<Format, String> {
        if ends_with_nul {
            return match Checksum::strict(line) {
                Some(Checksum::Other(algorithm)) => Err(algorithm),
                Some(_) => Ok(Format::ExactMd5sum),
                None => Ok(Format::Exact),
            };
        }
        if line.starts_with(b"{") {
            return Ok(Format::Json);
        }
        match Checksum::of(line) {
            Checksum::Md5 { .. } | Checksum::Unclear => Ok(Format::Md5sum),
            Checksum::Other(algorithm) => Err(algorithm),
            Checksum::None => Ok(Format::Names),
        }
    }

    /// The entry of a line; `None` for a comment.
    ///
    /// # Errors
    /// The error in the line.
    pub(super) fn read(
        self,
        line: &[u8],
        directory: &ResourcePath,
    ) -> Result<Option<ListItem>, LineError> {
        let is_comment = line.starts_with(b"#") || line.starts_with(b";");
        let item = match self {
            Format::Json | Format::Md5sum if is_comment => return Ok(None),
            Format::Exact => read_name(line, directory, None)?,
            Format::Names => read_listed_name(line, directory)?,
            Format::Json => read_json(line, directory)?,
            Format::Md5sum => {
                // Concatenated lists have byte order marks in the middle.
                read_checksum(
                    line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line),
                    directory,
                )?
            }
            Format::ExactMd5sum => match Checksum::strict(line) {
                Some(Checksum::Md5 { md5, name, .. }) => read_name(name, directory, Some(md5))?,
                Some(Checksum::Other(algorithm)) => {
                    return Err(LineError::OtherAlgorithm(algorithm));
                }
                _ => return Err(LineError::NotMd5sum),
            },
        };
        if item.kind == ObjectKind::File {
            FileName::parse(item.path.file_name().unwrap_or_default())?;
        }
        Ok(Some(item))
    }
}

/// Reads a line of a list of names. A line of another format is an error, never a name.
fn read_listed_name(line: &[u8], directory: &ResourcePath) -> Result<ListItem, LineError> {
    if line.starts_with(b"{\"") {
        return Err(LineError::ObjectAmongNames);
    }
    if Checksum::of(line) != Checksum::None {
        return Err(LineError::DigestAmongNames);
    }
    match line.strip_prefix(b"\\") {
        Some(escaped) => read_name(&unescape(escaped)?, directory, None),
        None => read_name(line, directory, None),
    }
}

/// The keys that are used; all others are ignored.
#[derive(Deserialize)]
struct ListObject {
    filename: Option<String>,
    filename_b64: Option<String>,
    md5: Option<String>,
    total_size: Option<u64>,
    #[serde(rename = "type")]
    kind: Option<String>,
    mode: Option<String>,
    mtime: Option<String>,
}

fn read_json(line: &[u8], directory: &ResourcePath) -> Result<ListItem, LineError> {
    let object: ListObject = serde_json::from_slice(line).map_err(|error| {
        // serde_json counts lines from 1 in each line of the list.
        let sentence = error.to_string().replace(" at line 1 column", " at column");
        LineError::NotJson(visible(sentence.as_bytes()).into_owned())
    })?;
    let name = match (object.filename_b64, object.filename) {
        (Some(base64), _) => BASE64_STANDARD
            .decode(base64)
            .map_err(|_| LineError::NotBase64)?,
        (None, Some(name)) => name.into_bytes(),
        (None, None) => return Err(LineError::NoFilename),
    };
    let path = ResourcePath::parse(&name)?;
    if path != *directory && !path.is_below(directory) {
        let shown = |path: &ResourcePath| visible(path.as_bytes()).into_owned();
        let (path, directory) = (shown(&path), shown(directory));
        return Err(LineError::Outside { path, directory });
    }
    let md5 = match object.md5.as_deref() {
        None | Some("") => None,
        Some(text) => {
            let not_md5 = || LineError::NotMd5(text.chars().take(SHOWN_CHARS_MAX).collect());
            Some(read_md5(text.as_bytes()).ok_or_else(not_md5)?)
        }
    };
    let kind = match object.kind.as_deref() {
        None | Some("file") => ObjectKind::File,
        Some("dir") => ObjectKind::Directory,
        Some("symlink") => ObjectKind::Symlink,
        Some(_) => ObjectKind::Other,
    };
    Ok(ListItem {
        path,
        kind,
        md5,
        total_size: object.total_size,
        directory: (kind == ObjectKind::Directory).then(|| ListedFolder {
            // An unreadable mode or time counts as missing.
            mode: object.mode.as_deref().and_then(read_mode),
            mtime: object.mtime.as_deref().and_then(Timestamp::parse),
        }),
    })
}

/// Reads `0755`, the form of listings.
fn read_mode(text: &str) -> Option<u32> {
    let is_octal = text.len() == 4 && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| is_octal)?;
    Some(mode & 0o777)
}

fn read_checksum(line: &[u8], directory: &ResourcePath) -> Result<ListItem, LineError> {
    match Checksum::of(line) {
        Checksum::Md5 {
            md5,
            name,
            is_escaped: true,
        } => read_name(&unescape(name)?, directory, Some(md5)),
        Checksum::Md5 { md5, name, .. } => read_name(name, directory, Some(md5)),
        Checksum::Other(algorithm) => Err(LineError::OtherAlgorithm(algorithm)),
        Checksum::Unclear | Checksum::None => Err(LineError::NotMd5sum),
    }
}

fn unescape(name: &[u8]) -> Result<Cow<'_, [u8]>, LineError> {
    let mut plain = Vec::with_capacity(name.len());
    let mut bytes = name.iter();
    while let Some(&byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'\\') => b'\\',
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                _ => return Err(LineError::BadEscape),
            },
            byte => byte,
        });
    }
    Ok(Cow::Owned(plain))
}

/// Reads a name below the directory. Accepts `./name` of `find .`, and a slash after a directory.
fn read_name(
    name: &[u8],
    directory: &ResourcePath,
    md5: Option<Md5Digest>,
) -> Result<ListItem, LineError> {
    let mut name = name;
    while let Some(rest) = name.strip_prefix(b"./") {
        name = rest;
    }
    if name.starts_with(b"/") {
        return Err(LineError::Absolute);
    }
    let (name, kind) = match name.strip_suffix(b"/") {
        Some(name) => (name, ObjectKind::Directory),
        None if name.is_empty() || name == b"." => (&b""[..], ObjectKind::Directory),
        None => (name, ObjectKind::File),
    };
    // Parsed alone first, so that the error is about the text in the line.
    let below = ResourcePath::parse(name)?;
    let path = match (directory.is_root(), below.is_root()) {
        (true, _) => below,
        (false, true) => directory.clone(),
        (false, false) => ResourcePath::parse(&[directory.as_bytes(), b"/", name].concat())?,
    };
    Ok(ListItem {
        path,
        kind,
        md5,
        total_size: None,
        directory: None,
    })
}

/// How to write a name that looks like another format.
pub(super) const PLAIN_NAME: &str = "write ./ before a name that looks like this";
/// The most characters of a wrong value in a message.
const SHOWN_CHARS_MAX: usize = 64;

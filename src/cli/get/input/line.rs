//! One line of a list: a name, an object of JSON, or a checksum.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::checksum::{Checksum, read_md5};
use super::lines::BYTE_ORDER_MARK;
use super::{LINE_BYTES_MAX, Wanted};
use crate::cli::visible;
use crate::client::ListedFolder;
use crate::store::{FileName, FileNameError};
use crate::wire::{Md5Digest, ObjectKind, PathError, ResourcePath, Timestamp};

/// What the lines of a list are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Names below the folder, as they are, that end with a NUL.
    Exact,
    /// Lines as `md5sum -z` and `cksum -z` write them: names below the folder, as they are.
    ExactMd5sum,
    /// Names below the folder as `ftget --list` writes them: as they are, or escaped as in
    /// lines of md5sum(1) with a backslash before them.
    Names,
    /// Objects with `filename` or `filename_b64`, which is the whole path on the server, and
    /// perhaps `md5`, `total_size` and `type`: entries of a listing, receipts. `#` begins a comment.
    Json,
    /// Digests and names below the folder ([`Checksum`]). `#` and `;` begin a comment, as they do
    /// for the programs that read such lists.
    Md5sum,
}

/// What is wrong with a line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::cli::get) enum LineError {
    /// Over [`LINE_BYTES_MAX`].
    #[error("line is over {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// Not an object, a key twice, a value of the wrong type.
    #[error("line is not a JSON object with a filename: {0}")]
    NotJson(String),
    /// Neither `filename` nor `filename_b64`.
    #[error("object has no filename")]
    NoFilename,
    /// `filename_b64` is something else.
    #[error("filename_b64 is not padded base64")]
    NotBase64,
    /// `md5` is something else.
    #[error("md5 is {0:?}, it must be 32 hex digits")]
    NotMd5(String),
    /// No line of md5sum(1), nor of any of its kin.
    #[error(
        "line is none of md5sum's, which are 32 hex digits, two spaces and a name, or MD5 (NAME) = and the digits"
    )]
    NotMd5sum,
    /// A list of another kind, or cut off: md5sum ends every line.
    #[error(
        "line does not end with a NUL, as those of md5sum -z do; without -0 they end with a line feed"
    )]
    NoNul,
    /// A digest that nothing here is verified by.
    #[error("line has a digest of {0}, only those of MD5 can be verified")]
    OtherAlgorithm(String),
    /// Among names.
    #[error("line has a digest, the first line of the list is a name; {PLAIN_NAME}")]
    DigestAmongNames,
    /// Among names.
    #[error("line is a JSON object, the first line of the list is a name; {PLAIN_NAME}")]
    ObjectAmongNames,
    /// Clear-signed text is cut off.
    #[error("signed text does not end")]
    SignedWithoutEnd,
    /// A backslash before something that needs none.
    #[error("name has a backslash before neither \\, n nor r")]
    BadEscape,
    /// From the root of a file system.
    #[error("name begins with /, write it as it is below the served folder")]
    Absolute,
    /// Read as a receipt.
    #[error("line is not a receipt: {0}")]
    NotReceipt(String),
    /// No path on a server.
    #[error("{0}")]
    BadName(#[from] PathError),
    /// No name for a file here.
    #[error("{0}")]
    BadFileName(#[from] FileNameError),
    /// `filename` lies elsewhere.
    #[error("{path} is not below the folder {folder} of the source")]
    Outside {
        /// What the line names, safe to show.
        path: String,
        /// The folder that names must be below, safe to show.
        folder: String,
    },
}

impl Format {
    /// The format of a list with this first line, whose lines end with a NUL or a line feed.
    ///
    /// # Errors
    /// The algorithm, if it is a list of digests of another one.
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

    /// What a line names; `None` if it is a comment.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(
        self,
        line: &[u8],
        folder: &ResourcePath,
    ) -> Result<Option<Wanted>, LineError> {
        let is_comment = line.starts_with(b"#") || line.starts_with(b";");
        let wanted = match self {
            Format::Json | Format::Md5sum if is_comment => return Ok(None),
            Format::Exact => read_name(line, folder, None)?,
            Format::Names => read_listed_name(line, folder)?,
            Format::Json => read_json(line, folder)?,
            Format::Md5sum => {
                // Lists that were put together have marks in the middle.
                read_checksum(line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line), folder)?
            }
            Format::ExactMd5sum => match Checksum::strict(line) {
                Some(Checksum::Md5 { md5, name, .. }) => read_name(name, folder, Some(md5))?,
                Some(Checksum::Other(algorithm)) => {
                    return Err(LineError::OtherAlgorithm(algorithm));
                }
                _ => return Err(LineError::NotMd5sum),
            },
        };
        if wanted.kind == ObjectKind::File {
            FileName::parse(wanted.path.file_name().unwrap_or_default())?;
        }
        Ok(Some(wanted))
    }
}

/// A name among others. What is clearly something else is never taken for one.
fn read_listed_name(line: &[u8], folder: &ResourcePath) -> Result<Wanted, LineError> {
    if line.starts_with(b"{\"") {
        return Err(LineError::ObjectAmongNames);
    }
    if Checksum::of(line) != Checksum::None {
        return Err(LineError::DigestAmongNames);
    }
    match line.strip_prefix(b"\\") {
        Some(escaped) => read_name(&unescape(escaped)?, folder, None),
        None => read_name(line, folder, None),
    }
}

/// The keys that mean something here; all others are ignored.
#[derive(Deserialize)]
struct Object {
    filename: Option<String>,
    filename_b64: Option<String>,
    md5: Option<String>,
    total_size: Option<u64>,
    #[serde(rename = "type")]
    kind: Option<String>,
    mode: Option<String>,
    mtime: Option<String>,
}

fn read_json(line: &[u8], folder: &ResourcePath) -> Result<Wanted, LineError> {
    let object: Object = serde_json::from_slice(line).map_err(|error| {
        // Its lines are none of ours: they count from 1 in each of them.
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
    if path != *folder && !path.is_below(folder) {
        let shown = |path: &ResourcePath| visible(path.as_bytes()).into_owned();
        let (path, folder) = (shown(&path), shown(folder));
        return Err(LineError::Outside { path, folder });
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
    Ok(Wanted {
        path,
        kind,
        md5,
        total_size: object.total_size,
        folder: (kind == ObjectKind::Directory).then(|| ListedFolder {
            // What cannot be read is as good as not said.
            mode: object.mode.as_deref().and_then(read_mode),
            mtime: object.mtime.as_deref().and_then(Timestamp::parse),
        }),
    })
}

/// `0755`, as listings have it.
fn read_mode(text: &str) -> Option<u32> {
    let is_octal = text.len() == 4 && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| is_octal)?;
    Some(mode & 0o777)
}

fn read_checksum(line: &[u8], folder: &ResourcePath) -> Result<Wanted, LineError> {
    match Checksum::of(line) {
        Checksum::Md5 {
            md5,
            name,
            is_escaped: true,
        } => read_name(&unescape(name)?, folder, Some(md5)),
        Checksum::Md5 { md5, name, .. } => read_name(name, folder, Some(md5)),
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

/// A name below the folder: as `find .` writes it, too, and a folder's with its slash.
fn read_name(
    name: &[u8],
    folder: &ResourcePath,
    md5: Option<Md5Digest>,
) -> Result<Wanted, LineError> {
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
    // Checked alone first, so that what is said is about what is written.
    let below = ResourcePath::parse(name)?;
    let path = match (folder.is_root(), below.is_root()) {
        (true, _) => below,
        (false, true) => folder.clone(),
        (false, false) => ResourcePath::parse(&[folder.as_bytes(), b"/", name].concat())?,
    };
    Ok(Wanted {
        path,
        kind,
        md5,
        total_size: None,
        folder: None,
    })
}

/// How any name can be written.
pub(super) const PLAIN_NAME: &str = "a name that looks like this is written with ./ before it";
/// Characters of a wrong value that are repeated.
const SHOWN_CHARS_MAX: usize = 64;

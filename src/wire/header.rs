//! Response headers: three mandatory keys, then optional ones.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::wire::attributes::{
    EXPECTED_KIND, EXPECTED_MD5, EXPECTED_MODE, EXPECTED_MTIME, ascii, read_kind, read_md5,
    read_mode, read_mtime, write_attributes,
};
use crate::wire::json_reader::{Field, Value, read_object, required};
use crate::wire::json_writer::{cut_to_written, write_frame};
use crate::wire::name::{Base64, read_name};
use crate::wire::{
    ERROR_MESSAGE_BYTES_MAX, Md5Digest, PATH_BYTES_MAX, RequestId, Timestamp, WireError,
};

/// The kind of an object (`type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Anything else: a FIFO, a socket or a device.
    Other,
}

impl ObjectKind {
    /// All kinds.
    pub const ALL: [ObjectKind; 4] = [
        ObjectKind::File,
        ObjectKind::Directory,
        ObjectKind::Symlink,
        ObjectKind::Other,
    ];

    /// The kind as spelled on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            ObjectKind::File => "file",
            ObjectKind::Directory => "dir",
            ObjectKind::Symlink => "symlink",
            ObjectKind::Other => "other",
        }
    }

    /// Parses a kind.
    pub fn parse(text: &str) -> Option<ObjectKind> {
        ObjectKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// An error reply (`error`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReply<'a> {
    /// The code as spelled on the wire; it may be unknown to this version.
    pub code: Cow<'a, str>,
    /// The message for people.
    pub message: Cow<'a, str>,
    /// How long to wait before the next try.
    pub retry_after_ms: Option<u64>,
}

/// Marks an interim header (`status`); the final one follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interim<'a> {
    /// `hashing` or `running`. Readers skip unknown values.
    pub status: Cow<'a, str>,
    /// Bytes hashed so far; 0 if `total_size` is 0 and progress is not measured.
    pub done: u64,
}

/// The keys of an answer to `hello`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The protocol version.
    pub ft: u64,
    /// The supported operations.
    pub ops: Vec<Cow<'a, str>>,
    /// The supported digests.
    pub digests: Vec<Cow<'a, str>>,
    /// Whether the server accepts uploads.
    pub writable: bool,
}

/// A response header, to write or as read. Absent keys are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseHeader<'a> {
    /// The requested name, as bytes (`filename`, and `filename_b64` if it is not UTF-8).
    pub name: Cow<'a, [u8]>,
    /// Size of the whole file, in bytes.
    pub total_size: u64,
    /// Digest of the whole file; `None` is written as `""`.
    pub md5: Option<Md5Digest>,
    /// Bytes that follow, if not `total_size`.
    pub body_size: Option<u64>,
    /// Offset of the body in the file.
    pub offset: Option<u64>,
    /// The kind of the object.
    pub kind: Option<ObjectKind>,
    /// Modification time of the file.
    pub mtime: Option<Timestamp>,
    /// The permission bits, at most `0o777`.
    pub mode: Option<u32>,
    /// The request's id.
    pub id: Option<RequestId>,
    /// Why the request failed.
    pub error: Option<ErrorReply<'a>>,
    /// Marks an interim header.
    pub interim: Option<Interim<'a>>,
    /// The client already has this content; no body follows.
    pub matched: bool,
    /// `list`: the cursor of the next page; `None` on the last page.
    pub next: Option<Cow<'a, str>>,
    /// `list`: this is the last page.
    pub last: bool,
    /// `list`: the listing includes subdirectories.
    pub recursive: bool,
    /// `list`: the number of hidden entries. Present, even if 0, if the server hides dotfiles.
    pub hidden: Option<u64>,
    /// `run`: exit status of the command, 0 to 255; 128 + n for a signal.
    pub exit_status: Option<u8>,
    /// `run`: the last lines of the error output of a command that failed.
    pub error_output: Option<Cow<'a, str>>,
    /// The answer to `hello`.
    pub hello: Option<Hello<'a>>,
}

impl ResponseHeader<'_> {
    /// Appends the frame: length and JSON text. Control and direction characters become `\uXXXX`,
    /// and the error message is cut to its limit. It never fails: a name of
    /// [`crate::wire::PATH_BYTES_MAX`] arbitrary bytes fits, together with all other keys.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_frame(out, &HeaderJson(self));
    }

    /// Number of bytes that follow the header.
    pub fn bytes_that_follow(&self) -> u64 {
        self.body_size.unwrap_or(self.total_size)
    }

    /// Parses the JSON text of one frame. Unknown keys are ignored.
    ///
    /// # Errors
    /// [`WireError`]: not a strict object, a mandatory key missing, a known key of the wrong
    /// type, a name longer than a path may be, an `error` with a size or a digest, a `status`
    /// with a body, or a `need` that this version does not know.
    pub fn parse(json: &[u8]) -> Result<ResponseHeader<'static>, WireError> {
        let mut fields = RESPONSE_KEYS.map(Field::absent);
        read_object(json, &mut fields)?;
        let [
            filename,
            filename_b64,
            total_size,
            md5,
            body_size,
            offset,
            kind,
            mtime,
            mode,
            id,
            error,
            status,
            done,
            matched,
            next,
            last,
            recursive,
            hidden,
            exit_status,
            error_output,
            ft,
            ops,
            digests,
            writable,
            need,
        ] = fields;

        for key in need.texts()?.unwrap_or_default() {
            if !RESPONSE_KEYS.contains(&&*key) {
                return Err(WireError::UnknownNeed(key.into_owned()));
            }
        }
        let header = ResponseHeader {
            name: read_echo(filename, filename_b64)?,
            total_size: required("total_size", total_size.size()?)?,
            md5: required("md5", md5.read(EXPECTED_MD5, read_md5)?)?,
            body_size: body_size.size()?,
            offset: offset.size()?,
            kind: kind.read(EXPECTED_KIND, read_kind)?,
            mtime: mtime.read(EXPECTED_MTIME, read_mtime)?,
            mode: mode.read(EXPECTED_MODE, read_mode)?,
            id: id.read(RequestId::EXPECTED, RequestId::from_value)?,
            error: read_error(error)?,
            interim: read_interim(status, done)?,
            matched: matched.flag()?.unwrap_or(false),
            next: next.text()?.map(owned),
            last: last.flag()?.unwrap_or(false),
            recursive: recursive.flag()?.unwrap_or(false),
            hidden: hidden.size()?,
            exit_status: exit_status.read("an integer between 0 and 255", read_exit_status)?,
            error_output: error_output.text()?.map(owned),
            hello: read_hello([ft, ops, digests, writable])?,
        };
        let wrong = |key, expected| Err(WireError::WrongType { key, expected });
        if header.error.is_some() && header.total_size != 0 {
            return wrong("total_size", "0 beside an error");
        }
        if header.error.is_some() && header.md5.is_some() {
            return wrong("md5", "empty beside an error");
        }
        if header.interim.is_some() && header.body_size != Some(0) {
            return wrong("body_size", "0 beside a status");
        }
        Ok(header)
    }
}

// A longer name cannot be the echo of any request.
fn read_echo(
    filename: Field<'_>,
    filename_b64: Field<'_>,
) -> Result<Cow<'static, [u8]>, WireError> {
    let name = required("filename", read_name(filename, filename_b64)?)?;
    if name.len() > PATH_BYTES_MAX {
        let expected = "the requested name, at most 4096 bytes";
        return Err(WireError::WrongType {
            key: "filename",
            expected,
        });
    }
    Ok(Cow::Owned(name))
}

fn read_exit_status(value: Value<'_>) -> Option<u8> {
    match value {
        Value::Unsigned(status) => u8::try_from(status).ok(),
        _ => None,
    }
}

pub(super) fn read_error(field: Field<'_>) -> Result<Option<ErrorReply<'static>>, WireError> {
    let Some([code, message, retry_after_ms]) = field.object(ERROR_KEYS)? else {
        return Ok(None);
    };
    Ok(Some(ErrorReply {
        code: owned(required("error.code", code.text()?)?),
        message: owned(required("error.message", message.text()?)?),
        retry_after_ms: retry_after_ms.size()?,
    }))
}

fn read_interim(status: Field<'_>, done: Field<'_>) -> Result<Option<Interim<'static>>, WireError> {
    let done = done.size()?.unwrap_or(0);
    Ok(status.text()?.map(|status| Interim {
        status: owned(status),
        done,
    }))
}

fn read_hello(fields: [Field<'_>; 4]) -> Result<Option<Hello<'static>>, WireError> {
    let [ft, ops, digests, writable] = fields;
    let [ops, digests] = [ops.texts()?, digests.texts()?];
    let writable = writable.flag()?;
    let Some(ft) = ft.size()? else {
        return Ok(None);
    };
    Ok(Some(Hello {
        ft,
        ops: required("ops", ops)?.into_iter().map(owned).collect(),
        digests: required("digests", digests)?
            .into_iter()
            .map(owned)
            .collect(),
        writable: required("writable", writable)?,
    }))
}

fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

/// Serializes a header as it goes on the wire.
struct HeaderJson<'a>(&'a ResponseHeader<'a>);

impl Serialize for HeaderJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let header = self.0;
        let mut map = serializer.serialize_map(None)?;
        let name = String::from_utf8_lossy(&header.name);
        map.serialize_entry("filename", &*name)?;
        map.serialize_entry("total_size", &header.total_size)?;
        match header.md5.map(Md5Digest::to_hex) {
            Some(hex) => map.serialize_entry("md5", ascii(&hex))?,
            None => map.serialize_entry("md5", "")?,
        }
        // The name is owned only after invalid bytes were replaced, so it is not UTF-8.
        if let Cow::Owned(_) = name {
            map.serialize_entry("filename_b64", &Base64(&header.name))?;
        }
        if let Some(body_size) = header.body_size {
            map.serialize_entry("body_size", &body_size)?;
        }
        if let Some(offset) = header.offset {
            map.serialize_entry("offset", &offset)?;
        }
        if let Some(kind) = header.kind {
            map.serialize_entry("type", kind.as_str())?;
        }
        write_attributes(&mut map, header.mtime, header.mode)?;
        if let Some(id) = &header.id {
            map.serialize_entry("id", id)?;
        }
        if let Some(error) = &header.error {
            map.serialize_entry("error", &ErrorJson(error))?;
        }
        if let Some(interim) = &header.interim {
            map.serialize_entry("status", &interim.status)?;
            map.serialize_entry("done", &interim.done)?;
        }
        if header.matched {
            map.serialize_entry("match", &true)?;
        }
        if let Some(next) = &header.next {
            map.serialize_entry("next", next)?;
        }
        for (key, flag) in [("last", header.last), ("recursive", header.recursive)] {
            if flag {
                map.serialize_entry(key, &true)?;
            }
        }
        if let Some(hidden) = header.hidden {
            map.serialize_entry("hidden", &hidden)?;
        }
        if let Some(exit_status) = header.exit_status {
            map.serialize_entry("exit_status", &exit_status)?;
        }
        if let Some(error_output) = &header.error_output {
            let cut = cut_to_written(error_output, ERROR_MESSAGE_BYTES_MAX);
            map.serialize_entry("error_output", cut)?;
        }
        if let Some(hello) = &header.hello {
            map.serialize_entry("ft", &hello.ft)?;
            map.serialize_entry("ops", &hello.ops)?;
            map.serialize_entry("digests", &hello.digests)?;
            map.serialize_entry("writable", &hello.writable)?;
        }
        map.end()
    }
}

pub(super) struct ErrorJson<'a>(pub(super) &'a ErrorReply<'a>);

impl Serialize for ErrorJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("code", &self.0.code)?;
        let message = cut_to_written(&self.0.message, ERROR_MESSAGE_BYTES_MAX);
        map.serialize_entry("message", message)?;
        if let Some(retry_after_ms) = self.0.retry_after_ms {
            map.serialize_entry("retry_after_ms", &retry_after_ms)?;
        }
        map.end()
    }
}

const RESPONSE_KEYS: [&str; 25] = [
    "filename",
    "filename_b64",
    "total_size",
    "md5",
    "body_size",
    "offset",
    "type",
    "mtime",
    "mode",
    "id",
    "error",
    "status",
    "done",
    "match",
    "next",
    "last",
    "recursive",
    "hidden",
    "exit_status",
    "error_output",
    "ft",
    "ops",
    "digests",
    "writable",
    "need",
];

const ERROR_KEYS: [&str; 3] = ["code", "message", "retry_after_ms"];

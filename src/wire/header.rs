//! Response headers: the three keys first, then whatever else is due.

use std::borrow::Cow;

use crate::wire::{Md5Digest, RequestId, Timestamp, WireError};

/// `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Anything else: a FIFO, a socket, a device.
    Other,
}

/// `error`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReply<'a> {
    /// The code as the wire spells it; one that this version does not know is possible.
    pub code: Cow<'a, str>,
    /// The sentence for people.
    pub message: Cow<'a, str>,
    /// When to try again.
    pub retry_after_ms: Option<u64>,
}

/// `status`: an interim header; the real one follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interim<'a> {
    /// `hashing`; unknown values are skipped by the reader.
    pub status: Cow<'a, str>,
    /// Bytes hashed so far.
    pub done: u64,
}

/// The keys that only `hello` answers with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The version of the protocol.
    pub ft: u64,
    /// The operations the server knows.
    pub ops: Vec<Cow<'a, str>>,
    /// The digests it makes.
    pub digests: Vec<Cow<'a, str>>,
    /// Whether it takes uploads.
    pub writable: bool,
}

/// One response header, to be written or as read. Absent keys are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseHeader<'a> {
    /// The name asked for, as bytes (`filename`, and `filename_b64` if not UTF-8).
    pub name: Cow<'a, [u8]>,
    /// The size of the whole file, in bytes.
    pub total_size: u64,
    /// The digest of the whole file; `None` is written `""`.
    pub md5: Option<Md5Digest>,
    /// Bytes that follow, where that is not `total_size`.
    pub body_size: Option<u64>,
    /// Where in the file the body begins.
    pub offset: Option<u64>,
    /// What the name stands for.
    pub kind: Option<ObjectKind>,
    /// When the file was last written.
    pub mtime: Option<Timestamp>,
    /// The permission bits, at most `0o777`.
    pub mode: Option<u32>,
    /// The request's id.
    pub id: Option<RequestId>,
    /// Why there is no file.
    pub error: Option<ErrorReply<'a>>,
    /// An interim header.
    pub interim: Option<Interim<'a>>,
    /// The client has this content; nothing follows.
    pub matched: bool,
    /// The answer to `hello`.
    pub hello: Option<Hello<'a>>,
}

impl ResponseHeader<'_> {
    /// Appends the whole frame: length and JSON text, with control and direction
    /// characters as `\uXXXX` and the error message cut to its limit. Never fails: every
    /// header that these types can hold fits the frame, a name of
    /// [`crate::wire::PATH_BYTES_MAX`] bytes included.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let _ = out;
        todo!()
    }

    /// How many bytes follow the header.
    pub fn bytes_that_follow(&self) -> u64 {
        self.body_size.unwrap_or(self.total_size)
    }

    /// Reads the JSON text of one frame. Unknown keys are ignored.
    ///
    /// # Errors
    /// [`WireError`]: not a strict object, one of the three keys missing, a known key
    /// of the wrong type, an `error` beside a size or a digest, a `need` that this
    /// version does not know.
    pub fn parse(json: &[u8]) -> Result<ResponseHeader<'static>, WireError> {
        let _ = json;
        todo!()
    }
}

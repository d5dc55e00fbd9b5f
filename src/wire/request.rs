//! Requests: what a client encodes and what a server reads.

use crate::wire::{ByteRange, Md5Digest, Refusal, ResourcePath, WireError};

/// `id`, echoed in the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestId {
    /// A string of at most 64 bytes.
    Text(String),
    /// An integer.
    Number(i64),
}

/// What a request asks for, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A file or a range of it.
    Get(GetRequest),
    /// What is known about one name.
    Stat(StatRequest),
    /// What the server can do; also the ping.
    Hello,
}

/// `get`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetRequest {
    /// The file.
    pub path: ResourcePath,
    /// The part of it; `None` when neither `offset` nor `length` was given.
    pub range: Option<ByteRange>,
    /// The client has this content already.
    pub have_md5: Option<Md5Digest>,
    /// Only this content will do.
    pub want_md5: Option<Md5Digest>,
    /// Make the digest anew.
    pub fresh: bool,
    /// Send `hashing` headers while the client waits.
    pub progress: bool,
}

/// `stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatRequest {
    /// The name; may be the root.
    pub path: ResourcePath,
    /// Wait for the md5; otherwise it is given only if it is known.
    pub digest: bool,
    /// Make the digest anew.
    pub fresh: bool,
    /// Send `hashing` headers while the client waits.
    pub progress: bool,
}

/// A request as a client sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What to ask.
    pub action: Action,
    /// What to recognise the answer by.
    pub id: Option<RequestId>,
}

impl Call {
    /// Appends the whole frame: length and JSON text. Names that are not UTF-8 go as
    /// `filename_b64`; defaults are left out.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let _ = out;
        todo!()
    }
}

/// A request as a server read it. What is wrong with the framing is an error of
/// [`ReceivedRequest::parse`]; what is wrong with the request itself is its `action`,
/// since such a request still gets an answer and its body is still dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedRequest {
    /// The name asked for, as sent, to be echoed; empty if none could be read or it is
    /// longer than a path may be.
    pub name: Vec<u8>,
    /// The request's `id`.
    pub id: Option<RequestId>,
    /// Bytes that follow the request.
    pub body_size: u64,
    /// What to do.
    pub action: Result<Action, Refusal>,
}

impl ReceivedRequest {
    /// Reads the JSON text of one frame.
    ///
    /// # Errors
    /// [`WireError::Json`] if it is not one strict object; [`WireError::WrongType`] if
    /// `body_size` is not a size. Both are answered `bad_frame`.
    pub fn parse(json: &[u8]) -> Result<ReceivedRequest, WireError> {
        let _ = json;
        todo!()
    }

    /// The request that a line of text means: a plain `get` of that name.
    pub fn from_text(name: &[u8]) -> ReceivedRequest {
        let _ = name;
        todo!()
    }
}

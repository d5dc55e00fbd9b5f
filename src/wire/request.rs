//! Requests, and how a client writes them.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::wire::json_reader::Value;
use crate::wire::json_writer::write_frame;
use crate::wire::name::Base64;
use crate::wire::{ByteRange, LIST_ENTRIES_MAX, Md5Digest, REQUEST_ID_BYTES_MAX, ResourcePath};

/// The `id` of a request, echoed in its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum RequestId {
    /// A string of at most [`REQUEST_ID_BYTES_MAX`] bytes.
    Text(String),
    /// An integer.
    Number(i64),
}

impl RequestId {
    pub(super) const EXPECTED: &str = "a string of at most 64 bytes or a 64-bit integer";

    pub(super) fn from_value(value: Value<'_>) -> Option<RequestId> {
        match value {
            Value::Text(text) if text.len() <= REQUEST_ID_BYTES_MAX => {
                Some(RequestId::Text(text.into_owned()))
            }
            Value::Unsigned(number) => i64::try_from(number).ok().map(RequestId::Number),
            Value::Negative(number) => Some(RequestId::Number(number)),
            _ => None,
        }
    }
}

/// A validated request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Fetch a file or a range of it.
    Get(GetRequest),
    /// Get the metadata of one name.
    Stat(StatRequest),
    /// List one page of a directory.
    List(ListRequest),
    /// Run a published command.
    Run(RunRequest),
    /// Get the server's capabilities; also a ping.
    Hello,
}

/// The arguments of `get`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetRequest {
    /// The file.
    pub path: ResourcePath,
    /// The range; `None` if neither `offset` nor `length` was given.
    pub range: Option<ByteRange>,
    /// The content that the client already has.
    pub have_md5: Option<Md5Digest>,
    /// The content that is required.
    pub want_md5: Option<Md5Digest>,
    /// Recompute the digest.
    pub fresh: bool,
    /// Send interim headers while the client waits.
    pub progress: bool,
}

impl GetRequest {
    /// A plain request for the whole file.
    pub fn whole(path: ResourcePath) -> GetRequest {
        GetRequest {
            path,
            range: None,
            have_md5: None,
            want_md5: None,
            fresh: false,
            progress: false,
        }
    }
}

/// The arguments of `stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatRequest {
    /// The name; it may be the root.
    pub path: ResourcePath,
    /// Wait for the md5; otherwise the answer has it only if it is known.
    pub digest: bool,
    /// Recompute the digest.
    pub fresh: bool,
    /// Send interim headers while the client waits.
    pub progress: bool,
}

/// The arguments of `list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRequest {
    /// The directory; it may be the root.
    pub path: ResourcePath,
    /// Include subdirectories.
    pub recursive: bool,
    /// The cursor of the previous page (`next`); `None` for the first page.
    pub after: Option<String>,
    /// Maximum number of entries, 1 to [`LIST_ENTRIES_MAX`].
    pub limit: usize,
    /// Wait for the md5 of every file; otherwise entries have it only if it is known.
    pub digest: bool,
    /// Send interim headers while the client waits.
    pub progress: bool,
}

impl ListRequest {
    /// A request for the first page of a directory, of maximum size.
    pub fn first(path: ResourcePath) -> ListRequest {
        ListRequest {
            path,
            recursive: false,
            after: None,
            limit: LIST_ENTRIES_MAX,
            digest: false,
            progress: false,
        }
    }
}

/// The arguments of `run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRequest {
    /// The published name of the command.
    pub name: Vec<u8>,
    /// Send interim headers while the client waits.
    pub progress: bool,
}

/// A request as a client sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The operation.
    pub action: Action,
    /// The id that the answer must echo.
    pub id: Option<RequestId>,
}

impl Call {
    /// Appends the frame: length and JSON text. Names that are not UTF-8 are written as
    /// `filename_b64`; defaults are omitted.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_frame(out, &CallJson(self));
    }
}

struct CallJson<'a>(&'a Call);

impl Serialize for CallJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.0.action {
            Action::Get(get) => {
                write_name(&mut map, get.path.as_bytes())?;
                if let Some(range) = get.range {
                    map.serialize_entry("offset", &range.offset)?;
                    if let Some(length) = range.length {
                        map.serialize_entry("length", &length)?;
                    }
                }
                for (key, md5) in [("have_md5", get.have_md5), ("want_md5", get.want_md5)] {
                    if let Some(md5) = md5 {
                        map.serialize_entry(key, &format_args!("{md5}"))?;
                    }
                }
                write_flags(&mut map, get.fresh, get.progress)?;
            }
            Action::Stat(stat) => {
                map.serialize_entry("op", "stat")?;
                write_name(&mut map, stat.path.as_bytes())?;
                if stat.digest {
                    map.serialize_entry("digests", &[DIGEST])?;
                }
                write_flags(&mut map, stat.fresh, stat.progress)?;
            }
            Action::List(list) => {
                map.serialize_entry("op", "list")?;
                write_name(&mut map, list.path.as_bytes())?;
                if list.recursive {
                    map.serialize_entry("recursive", &true)?;
                }
                if let Some(after) = &list.after {
                    map.serialize_entry("after", after)?;
                }
                if list.limit < LIST_ENTRIES_MAX {
                    map.serialize_entry("limit", &list.limit)?;
                }
                if list.digest {
                    map.serialize_entry("digests", &[DIGEST])?;
                }
                write_flags(&mut map, false, list.progress)?;
            }
            Action::Run(run) => {
                map.serialize_entry("op", "run")?;
                write_name(&mut map, &run.name)?;
                write_flags(&mut map, false, run.progress)?;
            }
            Action::Hello => map.serialize_entry("op", "hello")?,
        }
        if let Some(id) = &self.0.id {
            map.serialize_entry("id", id)?;
        }
        map.end()
    }
}

fn write_name<M: SerializeMap>(map: &mut M, name: &[u8]) -> Result<(), M::Error> {
    match std::str::from_utf8(name) {
        Ok(name) => map.serialize_entry("filename", name),
        Err(_) => map.serialize_entry("filename_b64", &Base64(name)),
    }
}

fn write_flags<M: SerializeMap>(map: &mut M, fresh: bool, progress: bool) -> Result<(), M::Error> {
    for (key, flag) in [("fresh", fresh), ("progress", progress)] {
        if flag {
            map.serialize_entry(key, &true)?;
        }
    }
    Ok(())
}

/// The only value of `digests`.
pub(super) const DIGEST: &str = "md5";

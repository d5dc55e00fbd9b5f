//! Requests: what they ask for, and how a client writes them.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::wire::json_reader::Value;
use crate::wire::json_writer::write_frame;
use crate::wire::name::Base64;
use crate::wire::{ByteRange, LIST_ENTRIES_MAX, Md5Digest, REQUEST_ID_BYTES_MAX, ResourcePath};

/// `id`, echoed in the answer.
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

/// What a request asks for, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A file or a range of it.
    Get(GetRequest),
    /// What is known about one name.
    Stat(StatRequest),
    /// One page of what is in a folder.
    List(ListRequest),
    /// The output of a published command.
    Run(RunRequest),
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

impl GetRequest {
    /// Asks for all of a file and nothing else.
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

/// `list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRequest {
    /// The folder; may be the root.
    pub path: ResourcePath,
    /// What is in the folders below, too.
    pub recursive: bool,
    /// `next` of the page before this one; `None` for the first.
    pub after: Option<String>,
    /// Entries of the page, 1 to [`LIST_ENTRIES_MAX`].
    pub limit: usize,
    /// Wait for the md5 of every file; otherwise they are given where they are known.
    pub digest: bool,
    /// Send `hashing` headers while the client waits.
    pub progress: bool,
}

impl ListRequest {
    /// Asks for the first page of a folder, as large as pages get.
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

/// `run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRequest {
    /// The name that the command is published under.
    pub name: Vec<u8>,
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
        write_frame(out, &Written(self));
    }
}

struct Written<'a>(&'a Call);

impl Serialize for Written<'_> {
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

/// The one algorithm of `digests`.
pub(super) const DIGEST: &str = "md5";

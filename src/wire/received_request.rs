//! Requests as the server parses them.

use std::borrow::Cow;

use crate::wire::json_reader::{Field, read_object};
use crate::wire::name::read_name;
use crate::wire::request::DIGEST;
use crate::wire::{
    Action, ByteRange, ErrorCode, GetRequest, LIST_CURSOR_BYTES_MAX, LIST_ENTRIES_MAX, ListRequest,
    Md5Digest, PATH_BYTES_MAX, Refusal, RequestId, ResourcePath, RunRequest, StatRequest,
    WireError,
};

/// A received request. A framing error is an error of [`ReceivedRequest::parse`]. An invalid
/// request is an error in its `action`, since it still gets an answer and its body is still
/// dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedRequest {
    /// The requested name as sent, to be echoed. Empty if none could be read or it is longer than
    /// a path may be.
    pub name: Vec<u8>,
    /// The request's `id`.
    pub id: Option<RequestId>,
    /// Number of bytes that follow the request.
    pub body_size: u64,
    /// The operation, also of a refused request; empty if this version does not know it.
    pub op: &'static str,
    /// The parsed operation, or why it is refused.
    pub action: Result<Action, Refusal>,
}

impl ReceivedRequest {
    /// Parses the JSON text of one frame. Unknown keys are ignored. Known keys must have their
    /// type, even if the operation does not use them.
    ///
    /// # Errors
    /// [`WireError::Json`] if the text is not one strict object; [`WireError::WrongType`] if
    /// `body_size` is not a size. Both are answered with `bad_frame`.
    pub fn parse(json: &[u8]) -> Result<ReceivedRequest, WireError> {
        let mut fields = REQUEST_KEYS.map(Field::absent);
        read_object(json, &mut fields)?;
        let [
            op,
            need,
            filename,
            filename_b64,
            body_size,
            id,
            options @ ..,
        ] = fields;
        let body_size = body_size.size()?.unwrap_or(0);
        let (id, id_error) = match id.read(RequestId::EXPECTED, RequestId::from_value) {
            Ok(id) => (id, None),
            Err(error) => (None, Some(error)),
        };
        let name = read_name(filename, filename_b64);
        let operation = read_operation(op);
        Ok(ReceivedRequest {
            name: match &name {
                Ok(Some(name)) if name.len() <= PATH_BYTES_MAX => name.clone(),
                _ => Vec::new(),
            },
            id,
            body_size,
            op: operation.as_ref().map_or("", Operation::name),
            action: known_keys(need).and(operation).and_then(|operation| {
                if let Some(error) = id_error {
                    return Err(bad_request(error));
                }
                if body_size > 0 {
                    return Err(refused_request("body_size must be 0, only put has a body"));
                }
                operation.read(name.map_err(bad_request)?, options)
            }),
        })
    }

    /// A request to run the command published under this name.
    pub fn to_run(name: &[u8]) -> ReceivedRequest {
        let run = RunRequest {
            name: name.to_vec(),
            progress: false,
        };
        ReceivedRequest {
            name: name.to_vec(),
            id: None,
            body_size: 0,
            op: Operation::Run.name(),
            action: Ok(Action::Run(run)),
        }
    }

    /// The request that a line of text stands for: a plain `get` of that name.
    pub fn from_text(name: &[u8]) -> ReceivedRequest {
        ReceivedRequest {
            name: if name.len() <= PATH_BYTES_MAX {
                name.to_vec()
            } else {
                Vec::new()
            },
            id: None,
            body_size: 0,
            op: Operation::Get.name(),
            action: read_path(name).map(|path| Action::Get(GetRequest::whole(path))),
        }
    }
}

enum Operation {
    Get,
    Stat,
    List,
    Run,
    Hello,
}

fn known_keys(need: Field<'_>) -> Result<(), Refusal> {
    for key in need.texts().map_err(bad_request)?.unwrap_or_default() {
        if !REQUEST_KEYS.contains(&&*key) {
            return Err(unsupported(format!(
                "key {key:?} is not known to this server"
            )));
        }
    }
    Ok(())
}

fn read_operation(op: Field<'_>) -> Result<Operation, Refusal> {
    match op.text().map_err(bad_request)?.as_deref() {
        None | Some("get") => Ok(Operation::Get),
        Some("stat") => Ok(Operation::Stat),
        Some("list") => Ok(Operation::List),
        Some("run") => Ok(Operation::Run),
        Some("hello") => Ok(Operation::Hello),
        Some(op) => Err(unsupported(format!(
            "op {op:?} is not one of get, stat, list, run and hello"
        ))),
    }
}

impl Operation {
    /// The operation as spelled on the wire.
    const fn name(&self) -> &'static str {
        match self {
            Operation::Get => "get",
            Operation::Stat => "stat",
            Operation::List => "list",
            Operation::Run => "run",
            Operation::Hello => "hello",
        }
    }

    fn read(self, name: Option<Vec<u8>>, options: [Field<'_>; 10]) -> Result<Action, Refusal> {
        let options = Options::read(options).map_err(bad_request)?;
        let path = || match &name {
            Some(name) => read_path(name),
            None => Err(bad_request(WireError::MissingKey("filename"))),
        };
        match self {
            Operation::Get => options.get(path()?).map(Action::Get),
            Operation::Stat => options.stat(path()?).map(Action::Stat),
            Operation::List => options.list(path()?).map(Action::List),
            Operation::Run => match name {
                Some(name) => Ok(Action::Run(RunRequest {
                    name,
                    progress: options.progress,
                })),
                None => Err(bad_request(WireError::MissingKey("filename"))),
            },
            Operation::Hello => Ok(Action::Hello),
        }
    }
}

/// The keys that only some operations use.
struct Options<'a> {
    range: Option<ByteRange>,
    have_md5: Option<Md5Digest>,
    want_md5: Option<Md5Digest>,
    fresh: bool,
    digests: Vec<Cow<'a, str>>,
    progress: bool,
    recursive: bool,
    after: Option<Cow<'a, str>>,
    limit: Option<u64>,
}

impl<'a> Options<'a> {
    fn read(fields: [Field<'a>; 10]) -> Result<Options<'a>, WireError> {
        let [
            offset,
            length,
            have_md5,
            want_md5,
            fresh,
            digests,
            progress,
            recursive,
            after,
            limit,
        ] = fields;
        let range = match (offset.size()?, length.size()?) {
            (None, None) => None,
            (offset, length) => Some(ByteRange {
                offset: offset.unwrap_or(0),
                length,
            }),
        };
        Ok(Options {
            range,
            have_md5: have_md5.md5()?,
            want_md5: want_md5.md5()?,
            fresh: fresh.flag()?.unwrap_or(false),
            digests: digests.texts()?.unwrap_or_default(),
            progress: progress.flag()?.unwrap_or(false),
            recursive: recursive.flag()?.unwrap_or(false),
            after: after.text()?,
            limit: limit.size()?,
        })
    }

    fn get(self, path: ResourcePath) -> Result<GetRequest, Refusal> {
        let Options {
            range,
            have_md5,
            want_md5,
            fresh,
            progress,
            ..
        } = self;
        if have_md5.is_some() && range.is_some() {
            return Err(refused_request(
                "have_md5 cannot be combined with offset or length",
            ));
        }
        Ok(GetRequest {
            path,
            range,
            have_md5,
            want_md5,
            fresh,
            progress,
        })
    }

    fn stat(self, path: ResourcePath) -> Result<StatRequest, Refusal> {
        Ok(StatRequest {
            path,
            digest: self.waits_for_digest()?,
            fresh: self.fresh,
            progress: self.progress,
        })
    }

    fn list(self, path: ResourcePath) -> Result<ListRequest, Refusal> {
        let digest = self.waits_for_digest()?;
        if self
            .after
            .as_ref()
            .is_some_and(|after| after.len() > LIST_CURSOR_BYTES_MAX)
        {
            return Err(refused_request("after is not a cursor of this server"));
        }
        let limit = match self.limit {
            None => LIST_ENTRIES_MAX,
            Some(0) => return Err(refused_request("limit must be at least 1")),
            Some(limit) => usize::try_from(limit)
                .unwrap_or(LIST_ENTRIES_MAX)
                .min(LIST_ENTRIES_MAX),
        };
        Ok(ListRequest {
            path,
            recursive: self.recursive,
            after: self.after.map(Cow::into_owned),
            limit,
            digest,
            progress: self.progress,
        })
    }

    fn waits_for_digest(&self) -> Result<bool, Refusal> {
        match self.digests.iter().find(|algorithm| **algorithm != DIGEST) {
            Some(other) => Err(unsupported(format!(
                "digest {other:?} is not supported, only md5"
            ))),
            None => Ok(!self.digests.is_empty()),
        }
    }
}

fn read_path(name: &[u8]) -> Result<ResourcePath, Refusal> {
    ResourcePath::parse(name).map_err(|error| Refusal::new(ErrorCode::BadName, error.to_string()))
}

fn bad_request(error: WireError) -> Refusal {
    refused_request(error.to_string())
}

fn refused_request(message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::BadRequest, message)
}

fn unsupported(message: String) -> Refusal {
    Refusal::new(ErrorCode::Unsupported, message)
}

/// Every key that this version supports; `need` may name these.
const REQUEST_KEYS: [&str; 16] = [
    "op",
    "need",
    "filename",
    "filename_b64",
    "body_size",
    "id",
    "offset",
    "length",
    "have_md5",
    "want_md5",
    "fresh",
    "digests",
    "progress",
    "recursive",
    "after",
    "limit",
];

//! Why a download fails, grouped by who must act.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::net::{Address, Wait};
use crate::store::{StageError, WRITTEN_HERE};
use crate::wire::{ErrorCode, Md5Digest, ResourcePath, WireError};

/// Why a download failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    // The network, or whoever runs the server.
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection ended, or nothing came, before the answer was complete.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The server said no.
    #[error(transparent)]
    Refused(#[from] ServerRefusal),
    /// The server listed a file of this name, and has none any more.
    #[error("gone since it was listed")]
    Gone(#[source] ServerRefusal),

    /// The server listed this name, and said that it cannot look at what has it.
    #[error(transparent)]
    CannotList(ServerRefusal),
    /// Nothing is deleted in the folders around what the server could not list.
    #[error("not listed, so nothing is deleted in the directories around it")]
    Unlisted(#[source] ServerRefusal),

    /// What has the name here is of another kind and may not be deleted: this of it stays.
    #[error("local entry cannot be replaced: {} must stay", .0.display())]
    StaysInTheWay(PathBuf),
    /// What has the name here is of another kind, and no more may be deleted.
    #[error("local entry cannot be replaced: more deletions than allowed")]
    DeletesTooMuch,

    /// The server has no file in a tree of which so much is here: nothing is deleted.
    #[error(
        "nothing is deleted: the server has no files there, and {0} local ones would be deleted"
    )]
    EmptySource(u64),

    // Whoever wrote the server.
    /// The answer is not what the protocol allows.
    #[error("server broke the protocol")]
    Protocol(#[from] ProtocolError),

    // Whoever owns the file.
    /// The bytes are not those that the header announced.
    #[error("md5 of the received bytes is {found}, the server announced {announced}")]
    DigestMismatch {
        /// What the header said.
        announced: Md5Digest,
        /// What the bytes have.
        found: Md5Digest,
    },
    /// The server has another content than the user insists on.
    #[error("md5 of the file is {offered}, not {wanted}")]
    OtherContent {
        /// What was asked for.
        wanted: Md5Digest,
        /// What the server has.
        offered: Md5Digest,
    },

    // Whoever owns this machine.
    /// The file cannot be written or placed.
    #[error(transparent)]
    Stage(Arc<StageError>),
    /// What was written cannot be read back to verify it.
    #[error("cannot read the written file back")]
    ReadBack(#[source] Arc<io::Error>),
    /// The output that the bytes are streamed to cannot be written.
    #[error("cannot write the output")]
    Output(#[source] Arc<io::Error>),
    /// This machine starts no thread more.
    #[error("cannot start a thread")]
    NoThread(#[source] Arc<io::Error>),

    // Whoever wrote the command.
    /// Two downloads want the same place, which is this below the folder that they go below;
    /// nothing was asked for the later one.
    #[error("two downloads have the local name {}", .0.escape_ascii())]
    SameName(Vec<u8>),
    /// It cannot have its name on this machine.
    #[error("{0}")]
    LocalName(String),
    /// An entry of a list names nothing; this is why.
    #[error("{0}")]
    BadEntry(Arc<dyn std::error::Error + Send + Sync>),
    /// A thread panicked.
    #[error("internal error")]
    Internal(#[source] Arc<io::Error>),
    /// Everything together took longer than allowed.
    #[error("not finished within the time limit")]
    OutOfTime,
}

impl ClientError {
    /// A thread panicked.
    pub(super) fn panicked() -> ClientError {
        ClientError::Internal(Arc::new(io::Error::other("a thread panicked")))
    }

    /// What has the name here, or that of a folder above it, is of a kind that is not replaced.
    pub fn is_in_the_way(&self) -> bool {
        let ClientError::Stage(error) = self else {
            return false;
        };
        matches!(
            **error,
            StageError::NotADirectory { .. } | StageError::NotReplaceable(_)
        ) && !matches!(
            **error,
            // No deletion makes way for what this program writes.
            StageError::NotReplaceable(WRITTEN_HERE)
        )
    }

    /// The server has a folder of that name.
    pub(super) fn is_of_folder(&self) -> bool {
        matches!(self, ClientError::Refused(refusal) if refusal.code == Some(ErrorCode::IsDirectory))
    }
}

impl From<StageError> for ClientError {
    fn from(error: StageError) -> ClientError {
        ClientError::Stage(Arc::new(error))
    }
}

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error("cannot find the address of {host}")]
    Name {
        /// The host.
        host: String,
        /// What the resolver said.
        source: Arc<io::Error>,
    },
    /// The name has addresses, but none of the wanted family.
    #[error("{host} has no {family} address")]
    NoneOfFamily {
        /// The host.
        host: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// Every address was tried; this is what the last one said.
    #[error("cannot connect to {address}")]
    Failed {
        /// The server.
        address: Address,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// No address answered in time.
    #[error("cannot connect to {address}: no answer within {limit:?}")]
    TimedOut {
        /// The server.
        address: Address,
        /// All attempts together.
        limit: Duration,
    },
}

/// How a connection ended before its time.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SessionError {
    /// The server closed it.
    #[error("server closed the connection while {0} was expected")]
    CutOff(Wait),
    /// It broke.
    #[error("connection broke while {wait} was expected")]
    Broken {
        /// What was waited for.
        wait: Wait,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Nothing came.
    #[error("no progress within {limit:?} while {wait} was expected")]
    TimedOut {
        /// What was waited for.
        wait: Wait,
        /// The limit.
        limit: Duration,
    },
}

/// An error that the server answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("server says {spelling}: {message}")]
pub struct ServerRefusal {
    /// The code; `None` for one that this version does not know.
    pub code: Option<ErrorCode>,
    /// The code as the server spelled it.
    pub spelling: String,
    /// Its sentence, as it came: to be escaped before a person sees it.
    pub message: String,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

impl ServerRefusal {
    /// There is no file of that name, whatever else there is.
    pub(super) fn is_no_file(&self) -> bool {
        matches!(
            self.code,
            Some(
                ErrorCode::NotFound
                    | ErrorCode::IsDirectory
                    | ErrorCode::NotADirectory
                    | ErrorCode::NotAFile
            )
        )
    }
}

/// How an answer breaks the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The bytes are not a header.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// It is about another file.
    #[error("response is about {}, the request was about {}", .answered.escape_ascii(), .asked.escape_ascii())]
    OtherName {
        /// The name in the request.
        asked: Vec<u8>,
        /// The name in the answer.
        answered: Vec<u8>,
    },
    /// A file without a digest.
    #[error("file has no md5")]
    NoDigest,
    /// The keys contradict each other or the request.
    #[error("{key} is {found}, it must be {expected}")]
    Contradiction {
        /// The key.
        key: &'static str,
        /// Its value.
        found: u64,
        /// What follows from the rest.
        expected: u64,
    },
    /// More than there can be of it.
    #[error("{key} is {found}, it must be at most {most}")]
    TooMuch {
        /// The key.
        key: &'static str,
        /// Its value.
        found: u64,
        /// The limit, or what follows from the rest.
        most: u64,
    },
    /// A key that only the answers to other operations have.
    #[error("response to {operation} has {key}")]
    KeyOfOther {
        /// The key.
        key: &'static str,
        /// What was asked for.
        operation: &'static str,
    },
    /// Two keys, or a key and a kind of file, that exclude each other.
    #[error("response has {key} together with {beside}")]
    Beside {
        /// The key.
        key: &'static str,
        /// What it cannot stand beside.
        beside: &'static str,
    },
    /// A key that every answer of the kind has.
    #[error("response has no {0}")]
    Missing(&'static str),
    /// The digest of a file was begun again and again.
    #[error("server began the digest {0} times")]
    BegunTooOften(usize),
    /// Bytes follow where none may.
    #[error("{0} bytes follow a response without a body")]
    UnexpectedBody(u64),
    /// The rest of another content than the one that is to be continued.
    #[error("response continues {found}, the partial file is {expected}")]
    OtherContent {
        /// What the rest was asked of.
        expected: Md5Digest,
        /// What the header says.
        found: Md5Digest,
    },
    /// A listed name that does not lie in its folder, or not behind the one before.
    #[error("listing has {}, only names in {} and after {} may follow", named(.found), named(.folder), named(.last))]
    MisplacedEntry {
        /// The listed name.
        found: ResourcePath,
        /// The folder that was asked for, or the innermost that was listed above the name.
        folder: ResourcePath,
        /// The name before it; the folder if it is the first.
        last: ResourcePath,
    },
    /// `next` and `last`, or neither, so that nobody knows whether more is to come.
    #[error("page of a listing must have either next or last")]
    NextOrLast,
    /// Only what is in the folder itself where what is below was asked for, or the reverse.
    #[error("listing has recursive {answered}, the request had {asked}")]
    OtherDepth {
        /// In the request.
        asked: bool,
        /// In the answer.
        answered: bool,
    },
    /// `next` is the same again, so that the listing would never end.
    #[error("listing has the same next twice")]
    RepeatedNext,
    /// `match` without `have_md5` in the request, or with another digest.
    #[error("response claims a match that was not requested")]
    UnexpectedMatch,
}

/// A path as a sentence shows it.
fn named(path: &ResourcePath) -> String {
    if path.is_root() {
        return "the root".into();
    }
    format!("\"{}\"", path.as_bytes().escape_ascii())
}

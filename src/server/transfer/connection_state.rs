//! The state of one connection between turns, and the buffers of one worker.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use crate::net::Peer;
use crate::server::handler::Ending;
use crate::server::transfer::body::Body;
use crate::server::transfer::inbox::{Inbox, Input};
use crate::server::transfer::listing_cache::OpenListing;
use crate::server::transfer::outbox::{KeptBytes, Output};
use crate::server::transfer::pacing::Allowance;
use crate::server::transfer::page::Page;
use crate::server::transfer::pending_body::PendingBody;
use crate::server::transfer::slow_reader_timer::SlowReaderTimer;
use crate::server::transfer::waiters::WaiterPermit;
use crate::store::{ObjectMeta, Ticket};
use crate::wire::{GetRequest, Md5Digest, RequestId};

/// The state of one connection between turns.
pub struct ConnectionState<O> {
    pub(super) peer: Peer,
    pub(super) inbox: Inbox,
    pub(super) kept: Option<KeptBytes>,
    pub(super) task: Task<O>,
    /// OutputSpace while the task waits for a digest, a page or a command.
    pub(super) waiting: Option<WaiterPermit>,
    /// The kernel probes whether the peer is still there (TCP keep-alive).
    pub(super) is_kept_alive: bool,
    pub(super) slow_reader: SlowReaderTimer,
    pub(super) allowance: Allowance,
    /// The listing of the last page, which the next page continues.
    pub(super) listing: Option<OpenListing>,
    /// How to close the connection once the task and the output are done.
    pub(super) closing: Option<Ending>,
}

/// A worker's buffers, used by one connection at a time.
pub struct WorkerBuffers<O> {
    pub(super) input: Input,
    pub(super) output: Output<O>,
    pub(super) body: Box<[u8]>,
}

/// The request that the server works on.
pub(super) enum Task<O> {
    None,
    /// `info` is `None` if the request's end was reported already.
    Send {
        info: Option<RequestInfo>,
        body: Body<O>,
        body_bytes: u64,
    },
    Await {
        info: RequestInfo,
        pending: Box<PendingDigest<O>>,
    },
    Make {
        info: RequestInfo,
        pending: Box<PendingBody<O>>,
    },
}

impl<O> Task<O> {
    /// Drops the task. Returns the request whose end is not reported yet.
    pub(super) fn take_info(&mut self) -> Option<RequestInfo> {
        match mem::replace(self, Task::None) {
            Task::None => None,
            Task::Send { info, .. } => info,
            Task::Await { info, .. } | Task::Make { info, .. } => Some(info),
        }
    }
}

/// What the answer echoes of a request, and what the report needs.
pub(super) struct RequestInfo {
    pub(super) op: &'static str,
    pub(super) name: Vec<u8>,
    pub(super) id: Option<RequestId>,
    pub(super) since: Instant,
    /// The announced digest.
    pub(super) md5: Option<Md5Digest>,
    /// The exit status of the command.
    pub(super) exit_status: Option<u8>,
}

impl RequestInfo {
    /// For a request that could not be read.
    pub(super) fn nothing(since: Instant) -> RequestInfo {
        RequestInfo {
            op: "",
            name: Vec::new(),
            id: None,
            since,
            md5: None,
            exit_status: None,
        }
    }
}

/// The result of an operation.
pub(super) enum Reply<O> {
    /// The output holds the whole answer.
    Done {
        body_bytes: u64,
        md5: Option<Md5Digest>,
    },
    /// The output holds the header; the body follows.
    Send { body: Body<O>, md5: Md5Digest },
    /// The digest is not known yet.
    Await(Box<PendingDigest<O>>),
    /// The body is not there yet.
    Make(Box<PendingBody<O>>),
}

/// A request that waits for the digest of a file.
pub(super) struct PendingDigest<O> {
    pub(super) ticket: Ticket,
    pub(super) object: Arc<O>,
    pub(super) meta: ObjectMeta,
    pub(super) purpose: Purpose,
    /// When to send the next progress header; `None` if the client did not request them.
    pub(super) next_progress: Option<Instant>,
}

/// Where the digest is needed.
pub(super) enum Purpose {
    Get(GetRequest),
    Stat,
    /// In the next entry of a page.
    Page(Box<Page>),
}

impl<O> ConnectionState<O> {
    pub(super) fn new(peer: Peer, now: Instant) -> ConnectionState<O> {
        ConnectionState {
            peer,
            inbox: Inbox::new(now),
            kept: None,
            task: Task::None,
            waiting: None,
            is_kept_alive: false,
            listing: None,
            slow_reader: SlowReaderTimer::default(),
            allowance: Allowance::default(),
            closing: None,
        }
    }
}

impl<O> WorkerBuffers<O> {
    pub(super) fn new() -> WorkerBuffers<O> {
        WorkerBuffers {
            input: Input::new(),
            output: Output::new(),
            body: vec![0; BODY_STEP_BYTES].into(),
        }
    }
}

/// A file up to this size is read at once; a longer one in steps of this size.
pub(super) const BODY_STEP_BYTES: usize = 256 << 10;

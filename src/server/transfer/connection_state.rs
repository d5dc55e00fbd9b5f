//! What a connection remembers, and what a worker has for the one it works on.

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

/// What a connection remembers between turns.
pub struct ConnectionState<O> {
    pub(super) peer: Peer,
    pub(super) inbox: Inbox,
    pub(super) kept: Option<KeptBytes>,
    pub(super) task: Task<O>,
    /// Held while the task waits for a digest, a page or a command.
    pub(super) waiting: Option<WaiterPermit>,
    /// The kernel looks whether the peer is still there.
    pub(super) is_kept_alive: bool,
    pub(super) slow_reader: SlowReaderTimer,
    pub(super) allowance: Allowance,
    /// The listing of the last page, for the next one.
    pub(super) listing: Option<OpenListing>,
    /// The last answer was given, or will be when the task is done.
    pub(super) closing: Option<Ending>,
}

/// What a worker has for the connection it works on.
pub struct WorkerBuffers<O> {
    pub(super) input: Input,
    pub(super) output: Output<O>,
    pub(super) body: Box<[u8]>,
}

/// The request that is being answered.
pub(super) enum Task<O> {
    None,
    /// `info` is `None` if the answer's end was reported already.
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
    /// Gives the task up: the request whose end is still to be reported, if there is one.
    pub(super) fn take_info(&mut self) -> Option<RequestInfo> {
        match mem::replace(self, Task::None) {
            Task::None => None,
            Task::Send { info, .. } => info,
            Task::Await { info, .. } | Task::Make { info, .. } => Some(info),
        }
    }
}

/// What of a request its answer echoes.
pub(super) struct RequestInfo {
    pub(super) op: &'static str,
    pub(super) name: Vec<u8>,
    pub(super) id: Option<RequestId>,
    pub(super) since: Instant,
    /// The digest that its answer announces.
    pub(super) md5: Option<Md5Digest>,
    /// How the command ended.
    pub(super) exit_status: Option<u8>,
}

impl RequestInfo {
    /// Nothing that could be read.
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

/// How a verb answers.
pub(super) enum Reply<O> {
    /// All of it is in the output.
    Done {
        body_bytes: u64,
        md5: Option<Md5Digest>,
    },
    /// The header is in the output, the body is to be sent.
    Send { body: Body<O>, md5: Md5Digest },
    /// The digest is being made.
    Await(Box<PendingDigest<O>>),
    /// The body is being made.
    Make(Box<PendingBody<O>>),
}

/// A request that waits for a digest.
pub(super) struct PendingDigest<O> {
    pub(super) ticket: Ticket,
    pub(super) object: Arc<O>,
    pub(super) meta: ObjectMeta,
    pub(super) purpose: Purpose,
    /// When to say how far it is; `None` if nobody asked.
    pub(super) next_progress: Option<Instant>,
}

/// What the digest is for.
pub(super) enum Purpose {
    Get(GetRequest),
    Stat,
    /// The next entry of a page.
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

/// A file up to this size is read whole; a longer one in steps of it.
pub(super) const BODY_STEP_BYTES: usize = 256 << 10;

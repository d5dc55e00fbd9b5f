//! The handler that speaks the transfer protocol: requests in, headers and bodies out.

mod body;
mod connection_state;
mod connection_turn;
mod counters;
mod cursor;
mod fair_queue;
mod get;
mod hello;
mod inbox;
mod list;
mod listing_cache;
mod outbox;
mod pacing;
mod page;
mod pending_body;
mod pending_digest;
mod reply;
mod run;
mod sending;
mod slow_reader_timer;
mod stat;
mod waiters;

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::net::{Pace, Peer, Stream};
use crate::server::handler::{ConnectionHandler, Disposition, Turn};
use crate::server::published::Published;
use crate::server::transfer::connection_state::RequestInfo;
pub use crate::server::transfer::connection_state::{ConnectionState, WorkerBuffers};
use crate::server::transfer::connection_turn::ConnectionTurn;
pub use crate::server::transfer::counters::{TransferCounters, TransferStats};
use crate::server::transfer::fair_queue::FairQueue;
use crate::server::transfer::listing_cache::ListingCache;
use crate::server::transfer::waiters::Waiters;
use crate::store::{Catalog, Store};
use crate::wire::{ErrorCode, Md5Digest};

/// Serves the files of a [`Catalog`] over the transfer protocol.
pub struct TransferHandler<S: Store> {
    catalog: Arc<Catalog<S>>,
    limits: Arc<LiveLimits>,
    /// What all connections together may send.
    pace: Mutex<Pace>,
    counters: Arc<TransferCounters>,
    published: Arc<Published>,
    observer: Option<Observer>,
    /// Bytes of answers that connections keep while they rest.
    kept_bytes: Arc<AtomicUsize>,
    /// What listings hold while nobody works on them.
    listing_cache: ListingCache,
    /// Pages in the making.
    page_queue: Arc<FairQueue>,
    /// Connections that wait for a digest, a page or a command.
    waiters: Arc<Waiters>,
    /// Bytes of requests that connections have read ahead and keep.
    read_ahead: Arc<AtomicUsize>,
}

/// Called at the end of every request, by the worker that ended it: it must not wait.
pub type Observer = Box<dyn Fn(&Report<'_>) + Send + Sync>;

/// What a request came to.
#[derive(Debug)]
pub struct Report<'a> {
    /// Who asked.
    pub peer: Peer,
    /// What was asked for: the name of the operation, empty if none could be read.
    pub op: &'static str,
    /// The name asked for, as sent; empty if none could be read.
    pub name: &'a [u8],
    /// The digest that was announced.
    pub md5: Option<Md5Digest>,
    /// How the command ended that was run: 0 to 255, 128 + n for a signal.
    pub exit_status: Option<u8>,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took from the request to the last byte given to the kernel.
    pub took: Duration,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered, with a body of so many bytes.
    Answered {
        /// Bytes of the body.
        body_bytes: u64,
    },
    /// Answered with an error.
    Refused(ErrorCode),
    /// The file changed while its body was sent, or could not be read to its end.
    Abandoned,
    /// The peer was gone before the last byte.
    CutOff,
    /// The peer took less than the least rate for too long, or nothing.
    TooSlow,
    /// The server closed the connection before the last byte, to make room for another or since it
    /// stopped.
    Closed,
    /// Not this protocol: HTTP or TLS.
    OtherProtocol,
}

/// How patient the server is with a peer (`PROTOCOL.md`, "Limits").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferLimits {
    /// From a request's first byte to its last; a line of text has six times as long,
    /// since people type.
    pub header_timeout: Duration,
    /// Between an answer and the first byte of the next request; the first request
    /// included. Also by how much a slow reader may be behind the least rate.
    pub idle_timeout: Duration,
    /// The least rate at which a peer must read, in bytes per second, counted only while the server
    /// waits for it; 0 turns it off.
    pub min_rate: u64,
    /// Bytes of answers that all resting connections keep together. Beyond it, answers
    /// are no longer gathered, and what does not go out is read again from its file. The same
    /// number of bytes of requests is read ahead; beyond it a connection reads 4 KiB at a time.
    pub kept_bytes_max: usize,
    /// Bytes per second that all connections together may send.
    pub rate: Option<u64>,
    /// Bytes per second that one connection may send.
    pub rate_per_connection: Option<u64>,
}

impl<S: Store> TransferHandler<S> {
    /// Serves this catalog.
    pub fn new(catalog: Catalog<S>, limits: TransferLimits) -> TransferHandler<S> {
        let kept_bytes = Arc::default();
        TransferHandler {
            page_queue: FairQueue::new(catalog.pools()),
            catalog: Arc::new(catalog),
            limits: Arc::new(LiveLimits(RwLock::new(limits))),
            pace: Mutex::default(),
            counters: Arc::default(),
            published: Arc::new(Published::nothing()),
            observer: None,
            listing_cache: ListingCache::new(&kept_bytes),
            kept_bytes,
            waiters: Arc::default(),
            read_ahead: Arc::default(),
        }
    }

    /// The limits, to be changed while the server runs.
    pub fn limits(&self) -> Arc<LiveLimits> {
        Arc::clone(&self.limits)
    }

    /// What was counted so far, and will be.
    pub fn counters(&self) -> Arc<TransferCounters> {
        Arc::clone(&self.counters)
    }

    /// Publishes these commands too.
    pub fn publishing(self, published: Arc<Published>) -> TransferHandler<S> {
        TransferHandler { published, ..self }
    }

    /// Reports every request's end to `observer`.
    pub fn observed_by(self, observer: Observer) -> TransferHandler<S> {
        TransferHandler {
            observer: Some(observer),
            ..self
        }
    }
}

impl<S: Store> TransferHandler<S> {
    fn report(&self, peer: Peer, info: &RequestInfo, outcome: Outcome) {
        self.counters.count(outcome);
        if let Some(observer) = &self.observer {
            observer(&Report {
                peer,
                op: info.op,
                name: &info.name,
                md5: info.md5,
                exit_status: info.exit_status,
                outcome,
                took: info.since.elapsed(),
            });
        }
    }
}

impl<S: Store> ConnectionHandler for TransferHandler<S> {
    type State = ConnectionState<S::Object>;
    type Scratch = WorkerBuffers<S::Object>;

    fn accepted(&self, peer: &Peer, now: Instant) -> ConnectionState<S::Object> {
        ConnectionState::new(*peer, now)
    }

    fn scratch(&self) -> WorkerBuffers<S::Object> {
        WorkerBuffers::new()
    }

    fn advance(
        &self,
        stream: &mut Stream,
        state: &mut ConnectionState<S::Object>,
        buffers: &mut WorkerBuffers<S::Object>,
        turn: Turn<'_>,
    ) -> Disposition {
        ConnectionTurn {
            handler: self,
            limits: self.limits.get(),
            stream,
            state,
            buffers,
            turn,
            moved: 0,
            silent: false,
            socket_empty: false,
        }
        .run()
    }

    fn closed(&self, mut state: ConnectionState<S::Object>) {
        if let Some(info) = state.task.take_info() {
            self.report(state.peer, &info, Outcome::Closed);
        }
    }

    fn draining(&self) {
        self.catalog.stop_hashing();
    }
}

/// Limits that may change while they are used: each turn of a connection goes by those of its
/// beginning.
pub struct LiveLimits(RwLock<TransferLimits>);

impl LiveLimits {
    /// What holds now.
    pub fn get(&self) -> TransferLimits {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to hold from now on.
    pub fn set(&self, limits: TransferLimits) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }
}

impl TransferLimits {
    pub(super) fn text_timeout(&self) -> Duration {
        self.header_timeout.saturating_mul(6)
    }

    /// By how much a slow reader may be behind when connections run short.
    fn short_idle_timeout(&self) -> Duration {
        self.idle_timeout / 10
    }
}

impl Default for TransferLimits {
    fn default() -> TransferLimits {
        TransferLimits {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            min_rate: 1024,
            kept_bytes_max: 64 << 20,
            rate: None,
            rate_per_connection: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_follow_from_others_and_the_defaults_are_those_of_the_manual() {
        let limits = TransferLimits::default();
        assert_eq!(limits.header_timeout, Duration::from_secs(10));
        assert_eq!(limits.text_timeout(), Duration::from_secs(60));
        assert_eq!(limits.idle_timeout, Duration::from_secs(300));
        assert_eq!(limits.short_idle_timeout(), Duration::from_secs(30));
        assert_eq!((limits.min_rate, limits.kept_bytes_max), (1024, 64 << 20));
        assert_eq!((limits.rate, limits.rate_per_connection), (None, None));
    }
}

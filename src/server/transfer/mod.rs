//! Speaks the transfer protocol: parses requests, sends headers and bodies.

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
    /// The rate limit shared by all connections.
    pace: Mutex<Pace>,
    counters: Arc<TransferCounters>,
    published: Arc<Published>,
    observer: Option<Observer>,
    /// Bytes of answers that parked connections keep, in total.
    kept_bytes: Arc<AtomicUsize>,
    /// Open listings kept between two pages.
    listing_cache: ListingCache,
    /// Pages that run or wait to run.
    page_queue: Arc<FairQueue>,
    /// Connections that wait for a digest, a page or a command.
    waiters: Arc<Waiters>,
    /// Bytes of requests that connections have read ahead and keep, in total.
    read_ahead: Arc<AtomicUsize>,
}

/// Called at the end of every request, in a worker. It must not block.
pub type Observer = Box<dyn Fn(&Report<'_>) + Send + Sync>;

/// How one request ended.
#[derive(Debug)]
pub struct Report<'a> {
    /// The client.
    pub peer: Peer,
    /// The name of the operation; empty if none could be read.
    pub op: &'static str,
    /// The requested name, as sent; empty if none could be read.
    pub name: &'a [u8],
    /// The announced digest.
    pub md5: Option<Md5Digest>,
    /// The exit status of the command that ran: 0 to 255, 128 + n for a signal.
    pub exit_status: Option<u8>,
    /// The outcome.
    pub outcome: Outcome,
    /// Time from the request to the last byte given to the kernel.
    pub took: Duration,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered, with a body of so many bytes.
    Answered {
        /// Length of the body.
        body_bytes: u64,
    },
    /// Answered with an error.
    Refused(ErrorCode),
    /// The file changed while its body was sent, or a read failed.
    Abandoned,
    /// The peer closed the connection before the last byte.
    CutOff,
    /// The peer read slower than the minimum rate for too long.
    TooSlow,
    /// The server closed the connection before the last byte: it needed the slot, or it stopped.
    Closed,
    /// The peer spoke HTTP or TLS.
    OtherProtocol,
}

/// Timeouts and limits for one peer and for all (`PROTOCOL.md`, "Limits").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferLimits {
    /// From a request's first byte to its last. A line of text has six times as long, since
    /// people type.
    pub header_timeout: Duration,
    /// From an answer, or from the start, to the first byte of the next request. Also how far a
    /// slow reader may fall behind the minimum rate.
    pub idle_timeout: Duration,
    /// The minimum read rate, in bytes per second; 0 turns it off. Only time in which the server
    /// waits for the peer counts.
    pub min_rate: u64,
    /// Bytes of answers that all parked connections keep together. Above it, answers are no
    /// longer gathered, and a body that is not sent is read again from its file. The limit for
    /// requests that are read ahead is equal: above it, a connection reads 4 KiB at a time.
    pub kept_bytes_max: usize,
    /// Bytes per second, all connections together.
    pub rate: Option<u64>,
    /// Bytes per second, one connection.
    pub rate_per_connection: Option<u64>,
}

impl<S: Store> TransferHandler<S> {
    /// Serves the files of `catalog`; publishes no commands and reports to no observer.
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

    /// The limits, which may change while the server runs.
    pub fn limits(&self) -> Arc<LiveLimits> {
        Arc::clone(&self.limits)
    }

    /// The counters, which keep counting.
    pub fn counters(&self) -> Arc<TransferCounters> {
        Arc::clone(&self.counters)
    }

    /// Also publishes these commands.
    pub fn publishing(self, published: Arc<Published>) -> TransferHandler<S> {
        TransferHandler { published, ..self }
    }

    /// Calls `observer` at the end of every request.
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

/// Limits that may change at any time. A turn uses the limits of its start.
pub struct LiveLimits(RwLock<TransferLimits>);

impl LiveLimits {
    /// The current limits.
    pub fn get(&self) -> TransferLimits {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the limits.
    pub fn set(&self, limits: TransferLimits) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }
}

impl TransferLimits {
    pub(super) fn text_timeout(&self) -> Duration {
        self.header_timeout.saturating_mul(6)
    }

    /// How far a slow reader may fall behind before its connection may be evicted.
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
    mod odd_files;
    pub(super) mod talk;
    mod turns;

    use super::*;

    #[test]
    fn defaults_and_derived_times_are_those_of_the_manual() {
        let limits = TransferLimits::default();
        assert_eq!(limits.header_timeout, Duration::from_secs(10));
        assert_eq!(limits.text_timeout(), Duration::from_secs(60));
        assert_eq!(limits.idle_timeout, Duration::from_secs(300));
        assert_eq!(limits.short_idle_timeout(), Duration::from_secs(30));
        assert_eq!((limits.min_rate, limits.kept_bytes_max), (1024, 64 << 20));
        assert_eq!((limits.rate, limits.rate_per_connection), (None, None));
    }
}

//! The handler that speaks the transfer protocol: requests in, headers and bodies out.

mod body;
mod conversation;
mod digesting;
mod exchange;
mod get;
mod hello;
mod inbox;
mod list;
mod making;
mod outbox;
mod page;
mod patience;
mod reply;
mod sending;
mod stat;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use crate::net::{Peer, Stream};
use crate::server::handler::{ConnectionHandler, Disposition, Turn};
pub use crate::server::transfer::conversation::{Conversation, Desk};
use crate::server::transfer::exchange::Exchange;
use crate::store::{Catalog, Store};
use crate::wire::ErrorCode;

/// Serves the files of a [`Catalog`] over the transfer protocol.
pub struct TransferHandler<S: Store> {
    catalog: Arc<Catalog<S>>,
    limits: TransferLimits,
    observer: Option<Observer>,
    /// Bytes of answers that connections keep while they rest.
    kept_bytes: Arc<AtomicUsize>,
    /// Bytes of names that connections keep for the next pages of their listings.
    listing_bytes: Arc<AtomicUsize>,
}

/// Called at the end of every request, by the worker that ended it: it must not wait.
pub type Observer = Box<dyn Fn(&Report<'_>) + Send + Sync>;

/// What a request came to.
#[derive(Debug)]
pub struct Report<'a> {
    /// Who asked.
    pub peer: Peer,
    /// The name asked for, as sent; empty if none could be read.
    pub name: &'a [u8],
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
    /// The peer was gone, or too slow, before the last byte.
    CutOff,
    /// Not this protocol: HTTP or TLS.
    OtherProtocol,
}

/// How patient the server is with a peer (`PROTOCOL.md`, "Limits").
#[derive(Clone, Debug)]
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
    /// are no longer gathered, and what does not go out is read again from its file.
    pub kept_bytes_max: usize,
}

impl<S: Store> TransferHandler<S> {
    /// Serves this catalog.
    pub fn new(catalog: Catalog<S>, limits: TransferLimits) -> TransferHandler<S> {
        TransferHandler {
            catalog: Arc::new(catalog),
            limits,
            observer: None,
            kept_bytes: Arc::default(),
            listing_bytes: Arc::default(),
        }
    }

    /// Reports every request's end to `observer`.
    pub fn observed_by(self, observer: Observer) -> TransferHandler<S> {
        TransferHandler {
            observer: Some(observer),
            ..self
        }
    }
}

impl<S: Store> ConnectionHandler for TransferHandler<S> {
    type State = Conversation<S::Object>;
    type Scratch = Desk<S::Object>;

    fn accepted(&self, peer: &Peer, now: Instant) -> Conversation<S::Object> {
        Conversation::new(*peer, now)
    }

    fn scratch(&self) -> Desk<S::Object> {
        Desk::new()
    }

    fn advance(
        &self,
        stream: &mut Stream,
        state: &mut Conversation<S::Object>,
        desk: &mut Desk<S::Object>,
        turn: Turn<'_>,
    ) -> Disposition {
        Exchange {
            handler: self,
            stream,
            state,
            desk,
            turn,
            moved: 0,
            silent: false,
            socket_empty: false,
        }
        .run()
    }

    fn draining(&self) {
        self.catalog.stop_hashing();
    }
}

impl TransferLimits {
    pub(super) fn text_timeout(&self) -> Duration {
        self.header_timeout.saturating_mul(6)
    }

    /// By how much a slow reader may be behind when connections run short.
    fn short_patience(&self) -> Duration {
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
        }
    }
}

//! The interface between the engine and a protocol.

use std::sync::Arc;
use std::time::Instant;

use crate::net::{Deadline, Peer, Stream};
use crate::server::control::{Control, Mode};
use crate::server::slots::Key;

/// A protocol, driven by the engine. Whenever something may have happened on a connection, the
/// engine calls [`ConnectionHandler::advance`]. The handler does what does not block, and returns
/// what to wait for. It tolerates a call without a cause.
pub trait ConnectionHandler: Send + Sync + 'static {
    /// The state of one connection between turns.
    type State: Send;
    /// The buffers of one worker. Nothing of a connection stays in them after a turn.
    type Scratch;

    /// The state of a new connection.
    fn accepted(&self, peer: &Peer, now: Instant) -> Self::State;

    /// The buffers of a new worker.
    fn scratch(&self) -> Self::Scratch;

    /// Advances one connection as far as nothing blocks.
    fn advance(
        &self,
        stream: &mut Stream,
        state: &mut Self::State,
        scratch: &mut Self::Scratch,
        turn: Turn<'_>,
    ) -> Disposition;

    /// Called when the engine closes a connection that the handler has not ended: to free its
    /// slot, or because the server stops.
    fn closed(&self, _state: Self::State) {}

    /// Called once, before connections see [`Turn::draining`].
    fn draining(&self) {}
}

/// What the engine does with a connection after [`ConnectionHandler::advance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Queue it again: there is more to do.
    Again,
    /// Park it until something happens.
    Park(Parking),
    /// Close it.
    Close(Ending),
}

/// What a parked connection waits for, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parking {
    /// The socket event to wait for. An error or hang-up of the socket always wakes the
    /// connection.
    pub interest: Interest,
    /// When to wake the connection in any case.
    pub until: Deadline,
    /// From when on the connection may be closed to free its slot; the earliest goes first.
    /// `None`: never.
    pub evictable_from: Option<Instant>,
}

/// A socket event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// None: only a waker or the deadline.
    Nothing,
    /// The end of the peer's stream, even if unread input precedes it.
    End,
    /// Bytes to read, or the end of the stream.
    Readable,
    /// Space to write.
    Writable,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every answer is written: end the write side, read and drop a little input, close.
    Answered,
    /// An answer is broken off: let the written bytes arrive, then reset.
    Abandoned,
    /// The peer is gone or was only idle: close.
    Silent,
}

/// The time, circumstances and limits of one [`ConnectionHandler::advance`].
#[derive(Clone, Copy)]
pub struct Turn<'a> {
    /// When the turn began.
    pub now: Instant,
    /// The server drains: finish what has begun, and begin nothing.
    pub draining: bool,
    /// The kernel reported that the peer is gone, so nothing can be sent any more.
    pub peer_gone: bool,
    /// The peer has ended its stream while the handler waited for [`Interest::End`]. It may still
    /// read.
    pub peer_ended: bool,
    /// How many connections may be open at once.
    pub connections_max: usize,
    pub(super) key: Key,
    pub(super) control: &'a Control,
    pub(super) target: &'a Arc<dyn WakeByKey>,
}

impl Turn<'_> {
    /// A handle that wakes this connection, now or later.
    pub fn waker(&self) -> Waker {
        Waker {
            key: self.key,
            target: Arc::clone(self.target),
        }
    }

    /// Whether the handler should return [`Disposition::Again`] after moving so many bytes in
    /// this turn. True if its quantum is used up while other connections wait, or if the mode has
    /// changed since the turn began.
    pub fn is_over(&self, bytes_moved: u64) -> bool {
        let quantum = &self.control.quantum;
        self.control.mode() != self.mode()
            || !self.control.queue.is_empty()
                && (bytes_moved >= quantum.bytes_max || self.now.elapsed() >= quantum.time_max)
    }

    pub(super) fn mode(&self) -> Mode {
        if self.draining {
            Mode::Draining
        } else {
            Mode::Serving
        }
    }
}

/// Wakes one connection. It may be used late: the slot's generation excludes later connections of
/// the same slot.
#[derive(Clone)]
pub struct Waker {
    key: Key,
    target: Arc<dyn WakeByKey>,
}

impl Waker {
    /// Queues the connection if it is parked. If it runs, it will not park after this turn.
    pub fn wake(&self) {
        self.target.wake(self.key);
    }
}

pub(super) trait WakeByKey: Send + Sync {
    fn wake(&self, key: Key);
}

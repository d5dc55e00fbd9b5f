//! What the engine asks of a protocol, and what it offers to it.

use std::sync::Arc;
use std::time::Instant;

use crate::net::{Deadline, Peer, Stream};
use crate::server::control::{Control, Mode};
use crate::server::slots::Key;

/// A protocol, driven by the engine: whenever something may have happened on a connection,
/// [`ConnectionHandler::advance`] does what can be done without waiting and says what to
/// wait for. One that is called for nothing does no harm.
pub trait ConnectionHandler: Send + Sync + 'static {
    /// What one connection remembers while it rests.
    type State: Send;
    /// What one worker owns, buffers above all; nothing of a connection stays in it.
    type Scratch;

    /// A new connection's memory.
    fn accepted(&self, peer: &Peer, now: Instant) -> Self::State;

    /// A new worker's desk.
    fn scratch(&self) -> Self::Scratch;

    /// Goes on with one connection as far as that is possible without waiting.
    fn advance(
        &self,
        stream: &mut Stream,
        state: &mut Self::State,
        scratch: &mut Self::Scratch,
        turn: Turn<'_>,
    ) -> Disposition;

    /// Told when the engine closes a connection that the handler had not ended: to make room for
    /// another, or since the server stops.
    fn closed(&self, _state: Self::State) {}

    /// Told once, before connections see [`Turn::draining`].
    fn draining(&self) {}
}

/// What becomes of a connection after [`ConnectionHandler::advance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// There is more to do: to the back of the queue.
    Again,
    /// Nothing can be done before something happens.
    Park(Parking),
    /// The connection is over.
    Close(Ending),
}

/// What a parked connection waits for, and how long it may rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parking {
    /// What of the socket is waited for. That the peer is gone ends every rest.
    pub interest: Interest,
    /// When to go on in any case.
    pub until: Deadline,
    /// From when on the connection may be closed to make room for another; of several, the
    /// one with the earliest such moment goes first. `None`: never.
    pub evictable_from: Option<Instant>,
}

/// What of the socket is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Nothing of it; a waker or the deadline.
    Nothing,
    /// The end of the peer's stream, with input before it or not.
    End,
    /// Bytes to read, or the end of the stream.
    Readable,
    /// Room to write.
    Writable,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything was said: end the write side, read and drop a little, close.
    Answered,
    /// An answer is broken off: let what was written arrive, then reset.
    Abandoned,
    /// The peer is gone or was only idle: close.
    Silent,
}

/// One call of [`ConnectionHandler::advance`]: when, in which circumstances, for how long.
#[derive(Clone, Copy)]
pub struct Turn<'a> {
    /// When the turn began.
    pub now: Instant,
    /// The server drains: finish what runs, begin nothing.
    pub draining: bool,
    /// The kernel said that the peer is gone; nothing can be sent any more.
    pub peer_gone: bool,
    /// The peer has ended its stream while the handler waited for [`Interest::End`]. It may still
    /// read.
    pub peer_ended: bool,
    /// Connections that may be open at once.
    pub connections_max: usize,
    pub(super) key: Key,
    pub(super) control: &'a Control,
    pub(super) target: &'a Arc<dyn WakeByKey>,
}

impl Turn<'_> {
    /// What wakes this connection when it is parked, now or later.
    pub fn waker(&self) -> Waker {
        Waker {
            key: self.key,
            target: Arc::clone(self.target),
        }
    }

    /// Whether the handler should return [`Disposition::Again`] after moving so many bytes
    /// in this turn: its quantum is used up while others wait, or the server drains or
    /// stops since the turn began.
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

/// Wakes one connection. May be used late: a slot's generation tells a connection from
/// those that had its slot before.
#[derive(Clone)]
pub struct Waker {
    key: Key,
    target: Arc<dyn WakeByKey>,
}

impl Waker {
    /// Lets the connection go on, if it rests; if it runs, it will not rest after that.
    pub fn wake(&self) {
        self.target.wake(self.key);
    }
}

pub(super) trait WakeByKey: Send + Sync {
    fn wake(&self, key: Key);
}

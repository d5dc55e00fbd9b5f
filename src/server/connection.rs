//! One connection, from its first byte to its close.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use crate::net::{Deadline, Peer, Stream, Wait};
use crate::server::config::Closing;
use crate::server::handler::{ConnectionHandler, Disposition, Ending, Interest, Parking, Turn};

/// An open connection: the handler's state while it is served, then its ending.
pub(super) struct Connection<S> {
    pub(super) stream: Stream,
    stage: Stage<S>,
    /// The socket has been added to the parker's epoll.
    pub(super) known_to_epoll: bool,
    pub(super) peer_gone: bool,
    pub(super) peer_ended: bool,
}

/// What a worker does with a connection after a turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Again,
    Park(Parking),
    Close,
    Reset,
}

enum Stage<S> {
    Serving(S),
    /// Answered. Unread input is read and dropped: closing over it would reset the connection,
    /// and the peer could lose the last answer.
    Lingering {
        dropped: usize,
        since: Instant,
    },
    /// Abandoned. The bytes already written may arrive before the reset.
    Emptying {
        since: Instant,
    },
}

impl<S> Connection<S> {
    pub(super) fn new(stream: Stream, state: S) -> Connection<S> {
        Connection {
            stream,
            stage: Stage::Serving(state),
            known_to_epoll: false,
            peer_gone: false,
            peer_ended: false,
        }
    }

    /// Closes the connection. Notifies the handler if it had not ended the connection itself.
    pub(super) fn close<H>(self, handler: &H)
    where
        H: ConnectionHandler<State = S>,
    {
        // Close the socket first, so that it is closed when the handler reports the end.
        drop(self.stream);
        if let Stage::Serving(state) = self.stage {
            handler.closed(state);
        }
    }

    /// Advances the connection as far as nothing blocks.
    pub(super) fn advance<H>(
        &mut self,
        handler: &H,
        scratch: &mut H::Scratch,
        closing: &Closing,
        turn: Turn<'_>,
    ) -> Step
    where
        H: ConnectionHandler<State = S>,
    {
        if let Stage::Serving(state) = &mut self.stage {
            match handler.advance(&mut self.stream, state, scratch, turn) {
                Disposition::Again => return Step::Again,
                // epoll would wake a parked connection at once, again and again.
                Disposition::Park(_) if turn.peer_gone => return Step::Close,
                Disposition::Park(rest) => return Step::Park(rest),
                Disposition::Close(Ending::Silent) => return Step::Close,
                Disposition::Close(Ending::Answered) if self.stream.end_writing().is_ok() => {
                    self.stage = Stage::Lingering {
                        dropped: 0,
                        since: turn.now,
                    };
                }
                Disposition::Close(Ending::Answered) => return Step::Close,
                Disposition::Close(Ending::Abandoned) => {
                    self.stage = Stage::Emptying { since: turn.now }
                }
            }
        }
        match &mut self.stage {
            Stage::Serving(_) => Step::Again,
            _ if turn.peer_gone => Step::Close,
            Stage::Lingering { dropped, since } => {
                linger(&mut self.stream, dropped, *since, closing, turn.now)
            }
            Stage::Emptying { since } => empty(&self.stream, *since, closing, turn.now),
        }
    }
}

fn linger(
    stream: &mut Stream,
    dropped: &mut usize,
    since: Instant,
    closing: &Closing,
    now: Instant,
) -> Step {
    let mut buffer = [0; 16_384];
    while *dropped <= closing.linger_bytes_max {
        match stream.read(&mut buffer) {
            Ok(0) => return Step::Close,
            Ok(count) => *dropped += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let until = Deadline::after(since, Wait::Linger, closing.linger_timeout);
                if until.is_over(now) {
                    return Step::Close;
                }
                return Step::Park(Parking {
                    interest: Interest::Readable,
                    until,
                    evictable_from: Some(since),
                });
            }
            Err(_) => return Step::Close,
        }
    }
    Step::Close
}

fn empty(stream: &Stream, since: Instant, closing: &Closing, now: Instant) -> Step {
    let last = Deadline::after(since, Wait::Emptied, closing.abandon_timeout);
    if last.is_over(now) || stream.unsent_bytes().map_or(true, |bytes| bytes == 0) {
        return Step::Reset;
    }
    // The kernel does not report when a send queue becomes empty, so poll it.
    let until = last.or_sooner(Deadline::after(now, Wait::Emptied, UNSENT_LOOK_INTERVAL));
    Step::Park(Parking {
        interest: Interest::Nothing,
        until,
        evictable_from: Some(since),
    })
}

/// A connection for an accepted socket, with the handler's initial state.
pub(super) fn new_connection<H: ConnectionHandler>(
    handler: &H,
    stream: Stream,
    peer: &Peer,
    now: Instant,
) -> Box<Connection<H::State>> {
    Box::new(Connection::new(stream, handler.accepted(peer, now)))
}

const UNSENT_LOOK_INTERVAL: Duration = Duration::from_millis(50);

//! Accepts connections: one thread polls all listeners.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::net::{Listener, Peer, Stream};
use crate::server::connection::new_connection;
use crate::server::control::{Mode, count};
use crate::server::engine::Engine;
use crate::server::handler::ConnectionHandler;

/// Accepts until the engine drains or stops, then closes the listeners.
pub(super) fn accept_all<H: ConnectionHandler>(engine: &Arc<Engine<H>>, listeners: Vec<Listener>) {
    let mut pause = AcceptPause::None;
    while engine.control.mode() == Mode::Serving {
        let ready = wait(engine, &listeners, pause);
        pause = AcceptPause::None;
        for listener in ready {
            pause = pause.max(accept_some(engine, listener, Instant::now()));
        }
    }
}

/// Why the listeners are not polled for a while. New connections stay in the backlog.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum AcceptPause {
    None,
    /// Every slot holds a connection that cannot be evicted.
    UntilRoom,
    /// Descriptors or memory are short, in this process or in the whole system.
    Resources,
}

fn wait<'l, H: ConnectionHandler>(
    engine: &Engine<H>,
    listeners: &'l [Listener],
    pause: AcceptPause,
) -> Vec<&'l Listener> {
    let watched = if pause == AcceptPause::None {
        listeners
    } else {
        &[]
    };
    let mut polled: Vec<PollFd<'_>> = watched
        .iter()
        .map(|listener| PollFd::new(listener, PollFlags::IN))
        .collect();
    let wakeup = engine.control.acceptor_wakeup.as_fd();
    polled.push(PollFd::from_borrowed_fd(wakeup, PollFlags::IN));
    let timeout = match pause {
        AcceptPause::None => None,
        AcceptPause::UntilRoom => Some(ROOM_CHECK_INTERVAL),
        AcceptPause::Resources => Some(RESOURCES_PAUSE),
    };
    let timeout = timeout.map(|time| Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(time.subsec_nanos()),
    });
    // An error is EINTR, and then no listener is marked as ready.
    let _ = poll(&mut polled, timeout.as_ref());
    let was_notified = !polled[watched.len()].revents().is_empty();
    if was_notified {
        engine.control.acceptor_wakeup.clear();
    }
    let ready = watched
        .iter()
        .zip(&polled)
        .filter(|(_, polled)| !polled.revents().is_empty());
    ready.map(|(listener, _)| listener).collect()
}

/// Accepts connections of one listener, up to a fair share.
fn accept_some<H: ConnectionHandler>(
    engine: &Engine<H>,
    listener: &Listener,
    now: Instant,
) -> AcceptPause {
    for accepted in 0..ACCEPTED_IN_A_ROW_MAX {
        if !engine.slots.has_room() {
            // Evict only for a peer that `poll` has reported, since the backlog may be empty now.
            if accepted > 0 {
                return AcceptPause::None;
            }
            if !evict(engine, now, None) {
                return AcceptPause::UntilRoom;
            }
        }
        match listener.accept() {
            Ok((stream, peer)) => admit(engine, stream, peer, now),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return AcceptPause::None,
            Err(error) if lacks_resources(&error) => {
                evict(engine, now, None);
                return AcceptPause::Resources;
            }
            // The peer or its network gave up while the connection was in the backlog.
            Err(_) => {}
        }
    }
    AcceptPause::None
}

fn admit<H: ConnectionHandler>(engine: &Engine<H>, stream: Stream, peer: Peer, now: Instant) {
    count(&engine.control.counters.accepted);
    let address_key = peer.address_key();
    let room = engine.slots.has_room_for(address_key) || evict(engine, now, Some(address_key));
    let connection = new_connection(&engine.handler, stream, &peer, now);
    if !room || engine.slots.admit(address_key, connection).is_err() {
        count(&engine.control.counters.refused);
    }
}

/// Closes the connection that has been evictable for longest. Returns whether there was one.
fn evict<H: ConnectionHandler>(
    engine: &Engine<H>,
    now: Instant,
    address_key: Option<u128>,
) -> bool {
    let Some((key, connection)) = engine.slots.evict(now, address_key) else {
        return false;
    };
    count(&engine.control.counters.evicted);
    connection.close(&engine.handler);
    engine.slots.release(key);
    true
}

fn lacks_resources(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        errno,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

/// A connection may become evictable without a wakeup.
const ROOM_CHECK_INTERVAL: Duration = Duration::from_millis(200);
const RESOURCES_PAUSE: Duration = Duration::from_millis(100);
/// Then the other listeners have their turn.
const ACCEPTED_IN_A_ROW_MAX: usize = 64;

//! Parks connections: one thread waits for all of them on one epoll.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{CreateFlags, Event, EventData, EventFlags};
use rustix::event::{Timespec, epoll};

use crate::server::connection::Connection;
use crate::server::control::{Control, Mode};
use crate::server::handler::Interest;
use crate::server::slots::{Key, Slots};

/// The epoll instance of all parked connections.
pub(super) struct Parker {
    epoll: OwnedFd,
}

impl Parker {
    pub(super) fn new(control: &Control) -> io::Result<Parker> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            control.parker_wakeup.as_fd(),
            EventData::new_u64(WAKEUP),
            EventFlags::IN,
        )?;
        Ok(Parker { epoll })
    }

    /// Asks the kernel to report this connection's socket once. The report may arrive before this
    /// returns.
    pub(super) fn arm<S>(
        &self,
        connection: &mut Connection<S>,
        key: Key,
        interest: Interest,
    ) -> io::Result<()> {
        // The end of the peer's stream counts as input. ERR and HUP are always reported.
        let flags = EventFlags::ONESHOT
            | match interest {
                Interest::Nothing => EventFlags::empty(),
                Interest::End => EventFlags::RDHUP,
                Interest::Readable => EventFlags::IN,
                Interest::Writable => EventFlags::OUT,
            };
        let data = EventData::new_u64(key.to_bits());
        if connection.known_to_epoll {
            epoll::modify(&self.epoll, &connection.stream, data, flags)?;
        } else {
            epoll::add(&self.epoll, &connection.stream, data, flags)?;
            connection.known_to_epoll = true;
        }
        Ok(())
    }

    /// Wakes connections when their sockets or deadlines are due, until the engine stops.
    pub(super) fn run<S>(&self, slots: &Slots<Connection<S>>, control: &Arc<Control>) {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS_MAX);
        while control.mode() != Mode::Stopping {
            let now = Instant::now();
            let next = slots.wake_due(now);
            let timeout = slots.ticks.until(next, now).map(|rest| Timespec {
                tv_sec: i64::try_from(rest.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(rest.subsec_nanos()),
            });
            // The only possible error is EINTR: the descriptor and the arguments are valid.
            let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref());
            for event in events.drain(..) {
                let (bits, flags) = (event.data.u64(), event.flags);
                if bits == WAKEUP {
                    control.parker_wakeup.clear();
                    continue;
                }
                let gone = flags.intersects(EventFlags::ERR | EventFlags::HUP);
                let ended = flags.contains(EventFlags::RDHUP);
                slots.wake(Key::from_bits(bits), |connection| {
                    connection.peer_gone |= gone;
                    connection.peer_ended |= ended;
                });
            }
        }
    }
}

/// No slot has this key.
const WAKEUP: u64 = u64::MAX;
const EVENTS_MAX: usize = 1024;

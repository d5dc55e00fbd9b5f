//! What the threads of an engine share besides connections: the queue, the mode, the wakeups and
//! the counters.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::event::{EventfdFlags, eventfd};

use crate::server::config::Quantum;
use crate::server::queue::WorkQueue;
use crate::server::stats::EngineCounters;

pub(super) struct Control {
    mode: AtomicU8,
    pub(super) queue: WorkQueue,
    pub(super) quantum: Quantum,
    pub(super) parker_wakeup: Wakeup,
    pub(super) acceptor_wakeup: Wakeup,
    pub(super) counters: EngineCounters,
    emptied: Sender<()>,
}

/// The phase of the engine's life. It only ever advances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Mode {
    Serving,
    Draining,
    Stopping,
}

/// Interrupts another thread's `poll`. It stays readable until it is cleared.
pub(super) struct Wakeup(OwnedFd);

impl Control {
    /// Also returns a receiver that gets a message when the last connection has closed.
    pub(super) fn new(queue: WorkQueue, quantum: Quantum) -> io::Result<(Control, Receiver<()>)> {
        let (emptied, emptied_receiver) = bounded(1);
        let control = Control {
            mode: AtomicU8::new(Mode::Serving as u8),
            queue,
            quantum,
            parker_wakeup: Wakeup::new()?,
            acceptor_wakeup: Wakeup::new()?,
            counters: EngineCounters::default(),
            emptied,
        };
        Ok((control, emptied_receiver))
    }

    /// Reports that the last connection has closed.
    pub(super) fn notify_empty(&self) {
        // One unread message suffices.
        let _ = self.emptied.try_send(());
    }

    pub(super) fn mode(&self) -> Mode {
        match self.mode.load(Ordering::SeqCst) {
            0 => Mode::Serving,
            1 => Mode::Draining,
            _ => Mode::Stopping,
        }
    }

    /// Advances to `mode`. Returns whether that is later than the mode before.
    pub(super) fn enter(&self, mode: Mode) -> bool {
        self.mode.fetch_max(mode as u8, Ordering::SeqCst) < mode as u8
    }
}

impl Wakeup {
    fn new() -> io::Result<Wakeup> {
        Ok(Wakeup(eventfd(
            0,
            EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK,
        )?))
    }

    pub(super) fn notify(&self) {
        // The write fails only if the counter is full, and then the descriptor is readable
        // anyway.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    pub(super) fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Wakeup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Locks even after a panic elsewhere: no code in this floor leaves a change half made.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Increments a counter.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

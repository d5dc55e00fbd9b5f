//! Calls that somebody else can hold up for ever: the writer of a list, the reader of an output.

use std::io::{self, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A stream whose other end is somebody else's.
pub(super) struct Outside<T> {
    stream: T,
    reason: &'static str,
}

impl<T> Outside<T> {
    /// `reason`: why it does not go on, if it does not.
    pub(super) fn new(stream: T, reason: &'static str) -> Outside<T> {
        Outside { stream, reason }
    }
}

impl<T: Read> Read for Outside<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        wait(self.reason, || self.stream.read(buffer))
    }
}

impl<T: Write> Write for Outside<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        wait(self.reason, || self.stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        wait(self.reason, || self.stream.flush())
    }
}

/// Does what may wait for somebody else. `reason`: why it does not go on, if it does not.
pub(super) fn wait<T>(reason: &'static str, call: impl FnOnce() -> T) -> T {
    let _ended_on_drop = Wait::begin(reason);
    call()
}

/// The waits that are under way, as of now.
pub(super) struct Snapshot {
    begun: u64,
}

impl Snapshot {
    /// Takes it.
    pub(super) fn take() -> Snapshot {
        Snapshot {
            begun: lock().begun,
        }
    }

    /// Why one that was under way then does not go on: it still is.
    pub(super) fn held_up(&self) -> Option<&'static str> {
        let waits = lock();
        let old = waits.under_way.iter().find(|wait| wait.0 <= self.begun);
        old.map(|wait| wait.1)
    }
}

/// One that is under way.
struct Wait(u64);

impl Wait {
    fn begin(reason: &'static str) -> Wait {
        let mut waits = lock();
        waits.begun += 1;
        let number = waits.begun;
        waits.under_way.push((number, reason));
        Wait(number)
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        lock().under_way.retain(|wait| wait.0 != self.0);
    }
}

/// Those of all threads, and how many there ever were.
struct Waits {
    begun: u64,
    under_way: Vec<(u64, &'static str)>,
}

fn lock() -> MutexGuard<'static, Waits> {
    WAITS.lock().unwrap_or_else(PoisonError::into_inner)
}

static WAITS: Mutex<Waits> = Mutex::new(Waits {
    begun: 0,
    under_way: Vec::new(),
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_wait_that_has_not_ended_since_is_held_up() {
        let before = Snapshot::take();
        let during = wait("a test", || {
            assert_eq!(before.held_up(), None, "it has begun since");
            let during = Snapshot::take();
            assert_eq!(during.held_up(), Some("a test"));
            wait("another", || assert_eq!(during.held_up(), Some("a test")));
            during
        });
        assert_eq!(during.held_up(), None);
    }
}

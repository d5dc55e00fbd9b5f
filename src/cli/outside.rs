//! Calls that somebody else can hold up for ever: the writer of a list, the reader of an output.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use crate::process::{input_was_closed, output_was_closed};

/// A stream whose other end is somebody else's. It waits for that end even where another program
/// has made the stream non-blocking: the flag belongs to all that share an open pipe or terminal.
pub(super) struct Outside<T> {
    stream: T,
    reason: &'static str,
    until: Option<Instant>,
}

impl<T> Outside<T> {
    /// `reason`: why it does not go on, if it does not.
    pub(super) fn new(stream: T, reason: &'static str) -> Outside<T> {
        Outside {
            stream,
            reason,
            until: None,
        }
    }

    /// Gives up at this time with [`io::ErrorKind::WouldBlock`], if the stream is non-blocking.
    pub(super) fn until(self, until: Instant) -> Outside<T> {
        Outside {
            until: Some(until),
            ..self
        }
    }
}

impl<T: AsFd> Outside<T> {
    /// Does `call`, again as soon as the stream is ready if it was not.
    fn wait<R>(
        &mut self,
        ready: PollFlags,
        mut call: impl FnMut(&mut T) -> io::Result<R>,
    ) -> io::Result<R> {
        let _ended_on_drop = Wait::begin(self.reason);
        loop {
            match call(&mut self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !is_ready(self.stream.as_fd(), ready, self.until)? {
                        return Err(error);
                    }
                }
                outcome => return outcome,
            }
        }
    }
}

impl<T: Read + AsFd> Read for Outside<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait(PollFlags::IN, |stream| stream.read(buffer))
    }
}

impl<T: Write + AsFd> Write for Outside<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wait(PollFlags::OUT, |stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.wait(PollFlags::OUT, Write::flush)
    }
}

/// Waits until a stream can be read or written, or has failed; `false` if it is not by then.
pub(super) fn is_ready(
    stream: BorrowedFd<'_>,
    ready: PollFlags,
    until: Option<Instant>,
) -> io::Result<bool> {
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.map(Timespec::try_from).transpose();
        let left = left.map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&stream, ready)], left.as_ref()) {
            Err(Errno::INTR) => {}
            polled => return Ok(polled? > 0),
        }
    }
}

/// A copy of an open descriptor of this process: since Linux 5.6, unless a sandbox forbids it.
pub(super) fn copy(number: i32) -> io::Result<File> {
    // In place of a stream that was closed at the start there is /dev/null.
    if number == 0 && input_was_closed() || number == 1 && output_was_closed() {
        return Err(io::Error::other("it is closed"));
    }
    let copy = match number {
        0 => io::stdin().as_fd().try_clone_to_owned(),
        1 => io::stdout().as_fd().try_clone_to_owned(),
        2 => io::stderr().as_fd().try_clone_to_owned(),
        number => pidfd_open(getpid(), PidfdFlags::empty())
            .and_then(|this| pidfd_getfd(this, number, PidfdGetfdFlags::empty()))
            .map_err(io::Error::from),
    };
    copy.map(File::from)
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

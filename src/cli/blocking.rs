//! Calls that another program can block for ever: reads from its pipe, and writes to one that it
//! does not read.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use crate::process::{input_was_closed, output_was_closed};

/// A stream with another program at its other end. A call waits for that program even if the stream
/// is non-blocking: the flag belongs to all that share an open pipe or terminal, and any of them
/// may have set it.
pub(super) struct BlockingStream<T> {
    stream: T,
    reason: &'static str,
    until: Option<Instant>,
}

impl<T> BlockingStream<T> {
    /// `reason` says why a call does not return, for the message of the watchdog.
    pub(super) fn new(stream: T, reason: &'static str) -> BlockingStream<T> {
        BlockingStream {
            stream,
            reason,
            until: None,
        }
    }

    /// Makes a call on a non-blocking stream fail with [`io::ErrorKind::WouldBlock`] at this time.
    pub(super) fn until(self, until: Instant) -> BlockingStream<T> {
        BlockingStream {
            until: Some(until),
            ..self
        }
    }
}

impl<T: AsFd> BlockingStream<T> {
    /// Makes `call`, and repeats it when the stream is ready after [`io::ErrorKind::WouldBlock`].
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

impl<T: Read + AsFd> Read for BlockingStream<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait(PollFlags::IN, |stream| stream.read(buffer))
    }
}

impl<T: Write + AsFd> Write for BlockingStream<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wait(PollFlags::OUT, |stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.wait(PollFlags::OUT, Write::flush)
    }
}

/// Waits until a stream can be read or written, or has failed. Returns `false` at the deadline.
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

/// Duplicates an open descriptor of this process. Above 2 it needs Linux 5.6, and no sandbox that
/// forbids `pidfd_getfd`.
pub(super) fn copy_descriptor(number: i32) -> io::Result<File> {
    // A stream that was closed at the start is open on /dev/null now.
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

/// Makes a call that may block for ever. `reason` says why it does not return, if it does not.
pub(super) fn run<T>(reason: &'static str, call: impl FnOnce() -> T) -> T {
    let _ended_on_drop = Wait::begin(reason);
    call()
}

/// The calls that are blocked at one moment.
pub(super) struct Snapshot {
    begun: u64,
}

impl Snapshot {
    pub(super) fn take() -> Snapshot {
        Snapshot {
            begun: lock().begun,
        }
    }

    /// The reason of a call that was blocked at that moment and still is.
    pub(super) fn held_up(&self) -> Option<&'static str> {
        let waits = lock();
        let old = waits.under_way.iter().find(|wait| wait.0 <= self.begun);
        old.map(|wait| wait.1)
    }
}

/// A call that has not returned yet. Dropping it ends the wait.
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

/// The calls of all threads, and how many there were since the start.
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
    fn only_a_call_that_is_still_blocked_is_held_up() {
        let before = Snapshot::take();
        let during = run("a test", || {
            assert_eq!(before.held_up(), None, "it has begun since");
            let during = Snapshot::take();
            assert_eq!(during.held_up(), Some("a test"));
            run("another", || assert_eq!(during.held_up(), Some("a test")));
            during
        });
        assert_eq!(during.held_up(), None);
    }
}

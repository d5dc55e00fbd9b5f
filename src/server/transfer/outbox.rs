//! Answers on their way to a peer.

use std::io::{self, IoSlice, Write};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::net::Stream;
use crate::server::transfer::body::Body;

/// A worker's buffer for the answers of the connection it works on.
pub(super) struct Output<O> {
    pub(super) bytes: Vec<u8>,
    sent: usize,
    /// The last answer's body, if it ends where the output ends and can be read again.
    tail: Option<(Range<usize>, Body<O>)>,
}

/// What a connection keeps of its answers while it rests.
pub(super) struct Kept {
    bytes: Vec<u8>,
    _share: Share,
}

/// A part of what all connections hold together, given back when it is dropped.
pub(super) struct Share {
    amount: usize,
    total: Arc<AtomicUsize>,
}

/// How far a write came.
pub(super) enum Flow {
    /// Everything was taken; so many bytes.
    Through(usize),
    /// As much as is allowed was taken.
    Allowed(usize),
    /// The peer's window is full after so many bytes.
    Blocked(usize),
}

impl<O> Output<O> {
    pub(super) fn new() -> Output<O> {
        Output {
            bytes: Vec::new(),
            sent: 0,
            tail: None,
        }
    }

    pub(super) fn lay_out(&mut self, kept: Option<Kept>) {
        self.clear();
        if let Some(kept) = kept {
            self.bytes.extend_from_slice(&kept.bytes);
        }
    }

    /// Takes what is left from the worker's desk. Nothing left costs no memory.
    pub(super) fn clear_away(&mut self, total: &Arc<AtomicUsize>) -> Option<Kept> {
        let kept = (!self.is_empty()).then(|| Kept::new(self.bytes[self.sent..].to_vec(), total));
        self.clear();
        kept
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Where the next answer is appended.
    pub(super) fn append(&mut self) -> &mut Vec<u8> {
        self.tail = None;
        &mut self.bytes
    }

    /// The bytes from `start` on are this body: if they do not go out they need not be kept.
    pub(super) fn set_tail(&mut self, start: usize, body: Body<O>) {
        self.tail = Some((start..self.bytes.len(), body));
    }

    /// Writes what there is, at most `allowed` bytes.
    ///
    /// # Errors
    /// The peer is gone.
    pub(super) fn flush(&mut self, stream: &mut Stream, allowed: usize) -> io::Result<Flow> {
        let mut written = 0;
        while !self.is_empty() {
            let end = self.bytes.len().min(self.sent + allowed - written);
            if end == self.sent {
                return Ok(Flow::Allowed(written));
            }
            match write(stream, &self.bytes[self.sent..end], &[])? {
                None => return Ok(Flow::Blocked(written)),
                Some(count) => {
                    self.sent += count;
                    written += count;
                }
            }
        }
        self.clear();
        Ok(Flow::Through(written))
    }

    /// Writes once what there is, and after it `next`. Says how many bytes of both went out.
    ///
    /// # Errors
    /// The peer is gone.
    pub(super) fn flush_with(&mut self, stream: &mut Stream, next: &[u8]) -> io::Result<usize> {
        self.tail = None;
        let count = write(stream, &self.bytes[self.sent..], next)?.unwrap_or(0);
        self.sent += count.min(self.len());
        if self.is_empty() {
            self.clear();
        }
        Ok(count)
    }

    /// Shortens the output by a body that can be read again, and gives what of it is still to be
    /// sent.
    pub(super) fn cut_tail(&mut self) -> Option<Body<O>> {
        let (range, mut body) = self.tail.take()?;
        body.position += self.sent.saturating_sub(range.start) as u64;
        self.bytes.truncate(range.start.max(self.sent));
        Some(body)
    }

    fn clear(&mut self) {
        self.tail = None;
        self.sent = 0;
        self.bytes.clear();
        // One answer with a long name may be larger than any other; nobody needs that much again.
        self.bytes.shrink_to(OUTPUT_BYTES_KEPT);
    }
}

impl Kept {
    pub(super) fn new(bytes: Vec<u8>, total: &Arc<AtomicUsize>) -> Kept {
        let _share = Share::of(bytes.len(), total);
        Kept { bytes, _share }
    }

    /// `None` if all of them would be more than `max` then.
    pub(super) fn within(bytes: Vec<u8>, total: &Arc<AtomicUsize>, max: usize) -> Option<Kept> {
        let _share = Share::within(bytes.len(), total, max)?;
        Some(Kept { bytes, _share })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Share {
    fn of(amount: usize, total: &Arc<AtomicUsize>) -> Share {
        total.fetch_add(amount, Ordering::Relaxed);
        let total = Arc::clone(total);
        Share { amount, total }
    }

    /// `None` if all shares would be more than `max` then.
    pub(super) fn within(amount: usize, total: &Arc<AtomicUsize>, max: usize) -> Option<Share> {
        let sum = |taken: usize| taken.checked_add(amount).filter(|sum| *sum <= max);
        total
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum)
            .ok()?;
        let total = Arc::clone(total);
        Some(Share { amount, total })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.total.fetch_sub(self.amount, Ordering::Relaxed);
    }
}

/// One write; `None` if it would have to wait.
fn write(stream: &mut Stream, first: &[u8], second: &[u8]) -> io::Result<Option<usize>> {
    loop {
        let outcome = match (first, second) {
            (bytes, []) | ([], bytes) => stream.write(bytes),
            (first, second) => stream.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]),
        };
        match outcome {
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

const OUTPUT_BYTES_KEPT: usize = 512 << 10;

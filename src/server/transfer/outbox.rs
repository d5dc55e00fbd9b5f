//! Answers that are not sent yet.

use std::io::{self, IoSlice, Write};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::net::Stream;
use crate::server::transfer::body::Body;

/// A worker's buffer for the answers of its current connection.
pub(super) struct Output<O> {
    pub(super) bytes: Vec<u8>,
    sent: usize,
    /// The body of the last answer, if it ends the output and can be read again from its file.
    tail: Option<(Range<usize>, Body<O>)>,
}

/// The unsent answers of a parked connection.
pub(super) struct KeptBytes {
    bytes: Vec<u8>,
    _share: Share,
}

/// A share of a total over all connections, given back on drop.
pub(super) struct Share {
    amount: usize,
    total: Arc<AtomicUsize>,
}

/// The result of a write, with the number of bytes written.
pub(super) enum FlushResult {
    /// Everything was written.
    Complete(usize),
    /// The allowed number of bytes was written.
    Allowed(usize),
    /// The peer's receive window is full.
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

    pub(super) fn load(&mut self, kept: Option<KeptBytes>) {
        self.clear();
        if let Some(kept) = kept {
            self.bytes.extend_from_slice(&kept.bytes);
        }
    }

    /// Takes the unsent bytes out of the worker's buffer. An empty rest allocates nothing.
    pub(super) fn save(&mut self, total: &Arc<AtomicUsize>) -> Option<KeptBytes> {
        let kept =
            (!self.is_empty()).then(|| KeptBytes::new(self.bytes[self.sent..].to_vec(), total));
        self.clear();
        kept
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// The buffer to append the next answer to.
    pub(super) fn append(&mut self) -> &mut Vec<u8> {
        self.tail = None;
        &mut self.bytes
    }

    /// Marks the bytes from `start` on as this body: unsent, they need not be kept.
    pub(super) fn set_tail(&mut self, start: usize, body: Body<O>) {
        self.tail = Some((start..self.bytes.len(), body));
    }

    /// Writes at most `allowed` bytes of the output.
    ///
    /// # Errors
    /// The peer closed the connection.
    pub(super) fn flush(&mut self, stream: &mut Stream, allowed: usize) -> io::Result<FlushResult> {
        let mut written = 0;
        while !self.is_empty() {
            let end = self.bytes.len().min(self.sent + allowed - written);
            if end == self.sent {
                return Ok(FlushResult::Allowed(written));
            }
            match write(stream, &self.bytes[self.sent..end], &[])? {
                None => return Ok(FlushResult::Blocked(written)),
                Some(count) => {
                    self.sent += count;
                    written += count;
                }
            }
        }
        self.clear();
        Ok(FlushResult::Complete(written))
    }

    /// Writes the output and then `next`, in one system call. Returns how many bytes were
    /// written.
    ///
    /// # Errors
    /// The peer closed the connection.
    pub(super) fn flush_with(&mut self, stream: &mut Stream, next: &[u8]) -> io::Result<usize> {
        self.tail = None;
        let count = write(stream, &self.bytes[self.sent..], next)?.unwrap_or(0);
        self.sent += count.min(self.len());
        if self.is_empty() {
            self.clear();
        }
        Ok(count)
    }

    /// Removes a body that can be read again from the output. Returns its unsent rest.
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
        // One answer with a long name may need much; later answers rarely do.
        self.bytes.shrink_to(OUTPUT_BYTES_KEPT);
    }
}

impl KeptBytes {
    pub(super) fn new(bytes: Vec<u8>, total: &Arc<AtomicUsize>) -> KeptBytes {
        let _share = Share::of(bytes.len(), total);
        KeptBytes { bytes, _share }
    }

    /// `None` if the total would exceed `max`.
    pub(super) fn within(
        bytes: Vec<u8>,
        total: &Arc<AtomicUsize>,
        max: usize,
    ) -> Option<KeptBytes> {
        let _share = Share::within(bytes.len(), total, max)?;
        Some(KeptBytes { bytes, _share })
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

    /// `None` if the total would exceed `max`.
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

/// Writes once; `None` if the write would block.
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

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::server::transfer::body::Source;

    type Bytes = Output<()>;

    fn pair() -> (Stream, UnixStream) {
        let (here, peer) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        peer.set_nonblocking(true).unwrap();
        (Stream::Unix(here), peer)
    }

    fn read(peer: &mut UnixStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        // The read ends with WouldBlock.
        let _ = peer.read_to_end(&mut bytes);
        bytes
    }

    fn body(position: u64, end: u64) -> Body<()> {
        Body {
            source: Source::Memory(KeptBytes::new(Vec::new(), &Arc::default())),
            position,
            end,
        }
    }

    #[test]
    fn sends_what_is_allowed_and_keeps_the_rest_in_order() {
        let (mut stream, mut peer) = pair();
        let mut output = Bytes::new();
        output.append().extend_from_slice(b"0123456789");
        assert_eq!((output.len(), output.is_empty()), (10, false));
        for (allowed, sent, left) in [(4, "0123", 6), (5, "45678", 1)] {
            let flow = output.flush(&mut stream, allowed).unwrap();
            assert!(matches!(flow, FlushResult::Allowed(count) if count == allowed));
            assert_eq!(read(&mut peer), sent.as_bytes());
            assert_eq!((output.len(), output.is_empty()), (left, false));
        }
        assert!(matches!(
            output.flush(&mut stream, 9),
            Ok(FlushResult::Complete(1))
        ));
        assert_eq!(read(&mut peer), b"9");
        assert_eq!(
            (output.len(), output.is_empty(), output.bytes.len()),
            (0, true, 0)
        );
        assert!(matches!(
            output.flush(&mut stream, 9),
            Ok(FlushResult::Complete(0))
        ));
    }

    #[test]
    fn sends_gathered_answers_before_a_body() {
        let (mut stream, mut peer) = pair();
        let mut output = Bytes::new();
        output.append().extend_from_slice(b"head");
        assert_eq!(output.flush_with(&mut stream, b"body").unwrap(), 8);
        assert_eq!(output.flush_with(&mut stream, b"more").unwrap(), 4);
        assert!(output.is_empty() && output.bytes.is_empty());
        assert_eq!(read(&mut peer), b"headbodymore");
    }

    #[test]
    fn loses_and_doubles_nothing_for_a_peer_that_does_not_read() {
        let (mut stream, mut peer) = pair();
        let mut output = Bytes::new();
        let content: Vec<u8> = (0..4_000_000_u32).map(|at| (at % 251) as u8).collect();
        output.append().extend_from_slice(&content);
        let (mut received, mut counted) = (Vec::new(), 0);
        loop {
            match output.flush(&mut stream, usize::MAX / 2).unwrap() {
                FlushResult::Complete(count) => {
                    counted += count;
                    break;
                }
                FlushResult::Blocked(count) => counted += count,
                FlushResult::Allowed(_) => panic!("all is allowed"),
            }
            assert_eq!(output.len(), content.len() - counted);
            received.extend(read(&mut peer));
        }
        received.extend(read(&mut peer));
        assert!(received == content && counted == content.len());
        // The next answer follows the unsent bytes.
        output.append().extend_from_slice(&content);
        let count = output.flush_with(&mut stream, b"next").unwrap();
        assert!(count < content.len());
        assert_eq!(output.len(), content.len() - count);
        assert_eq!(output.flush_with(&mut stream, b"next").unwrap(), 0);
        assert_eq!(output.len(), content.len() - count);
        drop(peer);
        assert!(output.flush(&mut stream, 1).is_err());
    }

    #[test]
    fn cuts_a_tail_that_can_be_read_again_where_sending_stopped() {
        for (sent, bytes_left, position) in [(0, 4, 10), (3, 4, 10), (4, 4, 10), (7, 7, 13)] {
            let mut output = Bytes::new();
            output.append().extend_from_slice(b"headbodybody");
            output.set_tail(4, body(10, 18));
            output.sent = sent;
            let rest = output.cut_tail().unwrap();
            assert_eq!((rest.position, rest.end), (position, 18), "{sent}");
            assert_eq!(output.bytes.len(), bytes_left, "{sent}");
            assert!(output.cut_tail().is_none());
        }
        // A further answer ends the tail.
        let mut output = Bytes::new();
        output.append().extend_from_slice(b"body");
        output.set_tail(0, body(0, 4));
        output.append();
        assert!(output.cut_tail().is_none());
    }

    #[test]
    fn keeps_and_counts_unsent_bytes_until_the_next_turn() {
        let total = Arc::new(AtomicUsize::new(0));
        let counted = || total.load(Ordering::Relaxed);
        let mut output = Bytes::new();
        assert!(output.save(&total).is_none());
        output.append().extend_from_slice(b"012345");
        output.sent = 2;
        let kept = output.save(&total).unwrap();
        assert_eq!((kept.bytes(), counted()), (&b"2345"[..], 4));
        assert!(output.is_empty() && output.bytes.is_empty());
        output.append().extend_from_slice(b"of another connection");
        output.load(Some(kept));
        assert_eq!(
            (&output.bytes[..], output.len(), counted()),
            (&b"2345"[..], 4, 0)
        );
        output.load(None);
        assert!(output.is_empty());
    }
}

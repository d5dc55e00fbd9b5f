//! Turns the bytes of a connection into requests.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use crate::net::{Deadline, Stream, Wait};
use crate::server::transfer::TransferLimits;
use crate::server::transfer::outbox::KeptBytes;
use crate::wire::{
    FRAME_BYTES_MAX, LENGTH_BYTES, ReceivedRequest, Spelling, TEXT_LINE_BYTES_MAX, TextEvent,
    TextReader, classify, split_frame,
};

/// The state of a connection's input between turns.
pub(super) struct Inbox {
    spelling: Option<Spelling>,
    text: TextReader,
    /// Bytes that were read and not parsed yet. During a turn they are in the worker's [`Input`].
    leftover: Option<KeptBytes>,
    /// Bytes to come of a request body that is dropped; `drop_by` is the time limit.
    dropping: u64,
    drop_by: Option<Deadline>,
    /// The peer has shut down its sending side.
    pub(super) ended: bool,
    reads: u8,
    single_byte_reads: u8,
    last_read: Instant,
    request_since: Option<Instant>,
    idle_since: Instant,
}

/// A worker's buffer for the input of its current connection.
pub(super) struct Input {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    /// The last read did not fill its buffer, so the socket was empty at that moment.
    pub(super) was_short: bool,
}

/// What the input begins with.
pub(super) enum Incoming {
    Request(ReceivedRequest),
    /// A name, sent as a line of text.
    Line(Vec<u8>),
    /// A line of text that is longer than a name may be.
    LongName,
    /// Not a frame, with the reason.
    BadFrame(String),
    Http,
    Tls,
}

/// The result of a read.
pub(super) enum ReadOutcome {
    /// Bytes, or the end of the stream.
    Received,
    WouldBlock,
}

impl Inbox {
    pub(super) fn new(now: Instant) -> Inbox {
        Inbox {
            spelling: None,
            text: TextReader::default(),
            leftover: None,
            dropping: 0,
            drop_by: None,
            ended: false,
            reads: 0,
            single_byte_reads: 0,
            last_read: now,
            request_since: None,
            idle_since: now,
        }
    }

    /// Copies what earlier turns left over into the worker's buffer.
    pub(super) fn load(&mut self, input: &mut Input) {
        let leftover = self.leftover.take();
        let bytes = leftover.as_ref().map_or(&[][..], KeptBytes::bytes);
        input.bytes[..bytes.len()].copy_from_slice(bytes);
        (input.start, input.end) = (0, bytes.len());
    }

    /// Takes the leftover out of the worker's buffer and counts it in `total`. An empty rest
    /// allocates nothing.
    pub(super) fn save(&mut self, input: &mut Input, total: &Arc<AtomicUsize>) {
        let rest = input.rest();
        self.leftover = (!rest.is_empty()).then(|| KeptBytes::new(rest.to_vec(), total));
        input.clear();
    }

    /// Returns the next complete request. `silent` means that the peer has sent nothing for so
    /// long that the pending text counts as a complete line.
    pub(super) fn next(&mut self, input: &mut Input, silent: bool) -> Option<Incoming> {
        let dropped = usize::try_from(self.dropping)
            .unwrap_or(usize::MAX)
            .min(input.rest().len());
        input.take(dropped);
        self.dropping -= dropped as u64;
        if self.dropping > 0 {
            return None;
        }
        self.drop_by = None;
        if input.rest().is_empty() {
            return None;
        }
        let spelling = match self.spelling {
            Some(spelling) => spelling,
            None => {
                let spelling = classify(input.rest(), self.ended || silent)?;
                *self.spelling.insert(spelling)
            }
        };
        let found = match spelling {
            Spelling::Framed => self.next_frame(input),
            Spelling::Text => self.next_line(input, silent),
            Spelling::Http => Some(Incoming::Http),
            Spelling::Tls => Some(Incoming::Tls),
            Spelling::Bad => Some(Incoming::BadFrame(
                "first bytes are neither a frame nor a name".into(),
            )),
        };
        if found.is_some() {
            self.request_since = None;
        }
        found
    }

    fn next_frame(&mut self, input: &mut Input) -> Option<Incoming> {
        let rest = input.rest();
        let request = match split_frame(rest) {
            Ok(Some(frame)) => {
                ReceivedRequest::parse(frame.json).map(|request| (request, frame.bytes))
            }
            Ok(None) if self.ended => {
                return Some(Incoming::BadFrame(format!(
                    "stream ended {} bytes into a frame",
                    rest.len()
                )));
            }
            Ok(None) => return None,
            Err(error) => Err(error),
        };
        match request {
            Ok((request, bytes)) => {
                input.take(bytes);
                self.dropping = request.body_size;
                Some(Incoming::Request(request))
            }
            Err(error) => Some(Incoming::BadFrame(error.to_string())),
        }
    }

    fn next_line(&mut self, input: &mut Input, silent: bool) -> Option<Incoming> {
        let ended = self.ended || silent && !self.is_typed();
        let (bytes, event) = self.text.next(input.rest(), ended);
        input.take(bytes);
        match event? {
            TextEvent::Name(name) => Some(Incoming::Line(name)),
            TextEvent::TooLong => Some(Incoming::LongName),
            TextEvent::Http => Some(Incoming::Http),
        }
    }

    /// Reads once, at most `room` bytes.
    ///
    /// # Errors
    /// The peer closed the connection.
    pub(super) fn read(
        &mut self,
        stream: &mut Stream,
        input: &mut Input,
        room: usize,
    ) -> io::Result<ReadOutcome> {
        let count = match input.read(stream, room) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(ReadOutcome::WouldBlock);
            }
            Err(error) => return Err(error),
        };
        self.ended = count == 0;
        self.last_read = Instant::now();
        if self.reads < TYPING_READS {
            self.reads += 1;
            self.single_byte_reads += u8::from(count == 1);
        }
        Ok(ReadOutcome::Received)
    }

    /// Notes that an answer is complete: the connection is idle from now on.
    pub(super) fn answered(&mut self, now: Instant) {
        self.idle_since = now;
    }

    /// Sets the time limit for dropping the body of the request that was just parsed.
    pub(super) fn drop_body_by(&mut self, deadline: Deadline) {
        self.drop_by = Some(deadline);
    }

    /// The current time limit for the peer, and its name.
    pub(super) fn deadline(
        &mut self,
        input: &Input,
        limits: &TransferLimits,
        now: Instant,
    ) -> Deadline {
        if let Some(deadline) = self.drop_by {
            return deadline;
        }
        if input.rest().is_empty() {
            return Deadline::after(self.idle_since, Wait::NextRequest, limits.idle_timeout);
        }
        let since = *self.request_since.get_or_insert(now);
        let limit = match self.spelling {
            Some(Spelling::Text) => limits.text_timeout(),
            _ => limits.header_timeout,
        };
        Deadline::after(since, Wait::RequestHeader, limit)
    }

    /// Since when the server waits for the peer: for a request, or for the rest of one.
    pub(super) fn waiting_since(&self) -> Instant {
        self.request_since.unwrap_or(self.idle_since)
    }

    /// When silence will complete the pending text; `None` if it will not.
    pub(super) fn silence(&self, input: &Input, stream: &Stream) -> Option<Deadline> {
        if input.rest().is_empty() || self.dropping > 0 {
            return None;
        }
        let limit = match self.spelling {
            None => SHORT_TEXT_SILENCE,
            Some(Spelling::Text) if !self.is_typed() => TEXT_SILENCE + 2 * stream.round_trip(),
            Some(_) => return None,
        };
        Some(Deadline::after(self.last_read, Wait::TextSilence, limit))
    }

    /// Whether a person types: the first reads returned one byte each, or the peer speaks telnet.
    fn is_typed(&self) -> bool {
        self.single_byte_reads == TYPING_READS || self.text.speaks_telnet()
    }
}

impl Input {
    pub(super) fn new() -> Input {
        Input {
            bytes: vec![0; INPUT_BYTES_MAX].into(),
            start: 0,
            end: 0,
            was_short: false,
        }
    }

    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    fn take(&mut self, count: usize) {
        self.start += count;
    }

    fn read(&mut self, stream: &mut Stream, room: usize) -> io::Result<usize> {
        // The leftover is less than one request, so moving it to the front makes space.
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let room = room.min(self.bytes.len() - self.end);
        debug_assert!(room > 0, "a read of no bytes would look like the end");
        loop {
            match stream.read(&mut self.bytes[self.end..self.end + room]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(count) => {
                    self.end += count;
                    self.was_short = count < room;
                    return Ok(count);
                }
            }
        }
    }
}

/// One frame of maximum length, which exceeds the longest line: a full buffer holds a request.
const INPUT_BYTES_MAX: usize = LENGTH_BYTES + FRAME_BYTES_MAX;
const _: () = assert!(INPUT_BYTES_MAX > TEXT_LINE_BYTES_MAX);
/// Fewer than three bytes could still be the start of a frame.
const SHORT_TEXT_SILENCE: Duration = Duration::from_secs(2);
const TEXT_SILENCE: Duration = Duration::from_millis(200);
const TYPING_READS: u8 = 2;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    struct TestConnection {
        inbox: Inbox,
        input: Input,
        stream: Stream,
        peer: UnixStream,
    }

    impl TestConnection {
        fn new() -> TestConnection {
            let (here, peer) = UnixStream::pair().unwrap();
            here.set_nonblocking(true).unwrap();
            TestConnection {
                inbox: Inbox::new(Instant::now()),
                input: Input::new(),
                stream: Stream::Unix(here),
                peer,
            }
        }

        /// Sends `bytes` from the peer and reads them.
        fn receive(&mut self, bytes: &[u8]) {
            self.peer.write_all(bytes).unwrap();
            let outcome = self
                .inbox
                .read(&mut self.stream, &mut self.input, usize::MAX);
            assert!(matches!(outcome, Ok(ReadOutcome::Received)));
        }

        /// Describes what the received bytes contain.
        fn next(&mut self, silent: bool) -> String {
            match self.inbox.next(&mut self.input, silent) {
                None => "nothing".into(),
                Some(Incoming::Request(request)) => {
                    format!("request {}", request.name.escape_ascii())
                }
                Some(Incoming::Line(name)) => format!("line {}", name.escape_ascii()),
                Some(Incoming::LongName) => "long name".into(),
                Some(Incoming::BadFrame(_)) => "bad frame".into(),
                Some(Incoming::Http) => "http".into(),
                Some(Incoming::Tls) => "tls".into(),
            }
        }

        /// After how many milliseconds silence completes the pending text.
        fn silence_ms(&self) -> Option<u128> {
            let silence = self.inbox.silence(&self.input, &self.stream)?;
            let limit = silence.at.duration_since(self.inbox.last_read);
            Some(limit.as_millis())
        }
    }

    #[test]
    fn silence_ends_the_line_of_a_program_but_not_of_a_person() {
        let mut connection = TestConnection::new();
        assert_eq!(connection.silence_ms(), None);
        connection.receive(b"n");
        assert_eq!(
            (connection.next(false).as_str(), connection.silence_ms()),
            ("nothing", Some(2_000))
        );
        connection.receive(b"ame");
        assert_eq!(
            (connection.next(false).as_str(), connection.silence_ms()),
            ("nothing", Some(200))
        );
        assert_eq!(connection.next(true), "line name");
        assert_eq!(
            (connection.next(true).as_str(), connection.silence_ms()),
            ("nothing", None)
        );

        let mut typed = TestConnection::new();
        for byte in b"name" {
            typed.receive(&[*byte]);
            typed.next(false);
        }
        assert_eq!(
            (typed.silence_ms(), typed.next(true).as_str()),
            (None, "nothing")
        );
        typed.receive(b"\n");
        assert_eq!(typed.next(false), "line name");

        // One byte followed by many is no typing, and neither is a frame in parts.
        let mut connection = TestConnection::new();
        connection.receive(b"n");
        connection.receive(b"ame");
        connection.receive(b"s");
        connection.next(false);
        assert_eq!(connection.silence_ms(), Some(200));
        let mut framed = TestConnection::new();
        framed.receive(b"\x02\x00\x00\x00{");
        assert_eq!(
            (framed.next(true).as_str(), framed.silence_ms()),
            ("nothing", None)
        );
        framed.receive(b"}");
        assert_eq!(framed.next(false), "request ");
        // A peer that negotiates telnet options has a person typing.
        let mut telnet = TestConnection::new();
        telnet.receive(b"\xff\xfd\x03name");
        assert_eq!(telnet.next(false), "nothing");
        assert_eq!(
            (telnet.next(true).as_str(), telnet.silence_ms()),
            ("nothing", None)
        );
    }

    #[test]
    fn silence_is_longer_by_two_round_trips() {
        use std::net::{TcpListener, TcpStream};

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut stream = Stream::Tcp(listener.accept().unwrap().0);
        let mut inbox = Inbox::new(Instant::now());
        let mut input = Input::new();
        peer.write_all(b"name").unwrap();
        inbox.read(&mut stream, &mut input, usize::MAX).unwrap();
        assert!(inbox.next(&mut input, false).is_none());
        let silence = inbox.silence(&input, &stream).unwrap();
        let limit = silence.at.duration_since(inbox.last_read);
        assert_eq!(limit, TEXT_SILENCE + 2 * stream.round_trip());
    }

    #[test]
    fn the_end_of_the_stream_ends_a_line_and_breaks_a_frame() {
        for (bytes, found) in [
            (&b"name"[..], "line name"),
            (b"\x02\x00\x00\x00{", "bad frame"),
            (b"\x02\x00\x00", "bad frame"),
        ] {
            let mut connection = TestConnection::new();
            connection.receive(bytes);
            assert_eq!(connection.next(false), "nothing");
            assert!(!connection.inbox.ended);
            connection.peer.shutdown(std::net::Shutdown::Both).unwrap();
            let outcome =
                connection
                    .inbox
                    .read(&mut connection.stream, &mut connection.input, usize::MAX);
            assert!(matches!(outcome, Ok(ReadOutcome::Received)) && connection.inbox.ended);
            assert_eq!(connection.next(false), found);
        }
        let mut connection = TestConnection::new();
        let outcome =
            connection
                .inbox
                .read(&mut connection.stream, &mut connection.input, usize::MAX);
        assert!(matches!(outcome, Ok(ReadOutcome::WouldBlock)) && !connection.inbox.ended);
    }

    #[test]
    fn drops_a_body_in_any_parts_and_by_its_own_deadline() {
        let mut connection = TestConnection::new();
        let json = br#"{"filename":"f","body_size":5}"#;
        connection.receive(&[&(json.len() as u32).to_le_bytes()[..], json, b"{{"].concat());
        assert_eq!(connection.next(false), "request f");
        let now = Instant::now();
        let until = Deadline::after(now, Wait::DroppedBody, Duration::from_secs(7));
        connection.inbox.drop_body_by(until);
        assert_eq!(connection.next(false), "nothing");
        assert_eq!(connection.silence_ms(), None);
        let limits = TransferLimits::default();
        assert_eq!(
            connection
                .inbox
                .deadline(&connection.input, &limits, now)
                .at,
            until.at
        );
        connection.receive(b"{{{\x02\x00\x00\x00{}");
        assert_eq!(connection.next(false), "request ");
        let since = connection.inbox.idle_since;
        let idle = connection.inbox.deadline(&connection.input, &limits, now);
        assert_eq!(idle.at, since + limits.idle_timeout);
    }

    #[test]
    fn a_request_has_the_time_limit_of_its_spelling() {
        let limits = TransferLimits::default();
        let now = Instant::now() + Duration::from_secs(1);
        for (bytes, limit) in [
            (&b"name"[..], limits.text_timeout()),
            (b"\x02\x00\x00\x00", limits.header_timeout),
            (b"\x02", limits.header_timeout),
        ] {
            let mut connection = TestConnection::new();
            let before = connection.inbox.waiting_since();
            connection.receive(bytes);
            connection.next(false);
            let until = connection.inbox.deadline(&connection.input, &limits, now);
            assert_eq!((until.at, until.wait), (now + limit, Wait::RequestHeader));
            assert_eq!(connection.inbox.waiting_since(), now);
            // Later calls do not restart the limit.
            let later = now + Duration::from_secs(5);
            assert_eq!(
                connection
                    .inbox
                    .deadline(&connection.input, &limits, later)
                    .at,
                now + limit
            );
            assert!(before < now);
        }
    }

    #[test]
    fn keeps_and_counts_the_leftover_until_the_next_turn() {
        let total = Arc::new(AtomicUsize::new(0));
        let counted = || total.load(std::sync::atomic::Ordering::Relaxed);
        let mut connection = TestConnection::new();
        connection.receive(b"a\nbc");
        assert_eq!(connection.next(false), "line a");
        connection.inbox.save(&mut connection.input, &total);
        assert_eq!((connection.input.rest(), counted()), (&b""[..], 2));
        connection.inbox.load(&mut connection.input);
        assert_eq!((connection.input.rest(), counted()), (&b"bc"[..], 0));
        connection.receive(b"d\n");
        assert_eq!(connection.next(false), "line bcd");
        connection.inbox.save(&mut connection.input, &total);
        assert!(connection.inbox.leftover.is_none() && counted() == 0);
        connection.input.bytes[..3].fill(b'?');
        connection.inbox.load(&mut connection.input);
        assert_eq!(connection.input.rest(), b"");
    }

    #[test]
    fn a_read_is_bounded_and_notes_whether_it_emptied_the_socket() {
        let mut connection = TestConnection::new();
        connection.peer.write_all(b"0123456789").unwrap();
        for (room, was_short, rest) in [
            (4, false, &b"0123"[..]),
            (6, false, b"0123456789"),
            (9, true, b"0123456789ab"),
        ] {
            if was_short {
                connection.peer.write_all(b"ab").unwrap();
            }
            connection
                .inbox
                .read(&mut connection.stream, &mut connection.input, room)
                .unwrap();
            assert_eq!(
                (connection.input.was_short, connection.input.rest()),
                (was_short, rest)
            );
        }
        connection.input.take(7);
        connection.receive(b"c");
        assert_eq!(connection.input.rest(), b"789abc");
        assert_eq!(connection.input.start, 0);
    }
}

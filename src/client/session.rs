//! One connection to a server, as two halves: requests go out of one while the answers to
//! earlier ones come in at the other.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::client::connect::connect;
use crate::client::{ClientConfig, ClientError, SessionError};
use crate::net::{Address, Deadline, Rate, Stream, Wait};
use crate::wire::{Call, ResponseHeader, split_frame};

/// One connection to a server. The halves may be used by two threads.
#[derive(Debug)]
pub struct Session {
    /// Where requests go out.
    pub sending: SendingHalf,
    /// Where answers come in.
    pub receiving: ReceivingHalf,
}

/// Collects requests and sends them, many with one write.
#[derive(Debug)]
pub struct SendingHalf {
    stream: Arc<Stream>,
    buffer: Vec<u8>,
    /// None where another thread receives meanwhile, and has them.
    limits: Option<Limits>,
}

/// Reads headers and bodies, in the order of the requests.
#[derive(Debug)]
pub struct ReceivingHalf {
    stream: Arc<Stream>,
    // Always of RECEIVE_BUFFER_BYTES; what was read and not yet used is `start..end`.
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    limits: Limits,
    rate: Option<Arc<Rate>>,
}

/// How long one direction may take.
#[derive(Clone, Debug)]
struct Limits {
    progress_timeout: Duration,
    whole: Option<Deadline>,
    // What the socket has been told, to tell it only what is new.
    socket_timeout: Duration,
}

impl Session {
    /// Connects. Everything on this connection is over at `whole`, if there is such a limit.
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub fn connect(
        address: &Address,
        config: &ClientConfig,
        whole: Option<Deadline>,
    ) -> Result<Session, ClientError> {
        let stream = Session::connecting(address, config, whole)()?;
        Ok(Session::over(stream, config, whole))
    }

    /// What connects, for any thread.
    pub(super) fn connecting(
        address: &Address,
        config: &ClientConfig,
        whole: Option<Deadline>,
    ) -> impl FnOnce() -> Result<Stream, ClientError> + Send + 'static + use<> {
        let left = whole.map_or(Duration::MAX, |whole| whole.remaining(Instant::now()));
        let limit = config.connect_timeout.min(left);
        let (address, family) = (address.clone(), config.family);
        move || {
            if limit.is_zero() {
                return Err(ClientError::OutOfTime);
            }
            connect(&address, family, limit).map_err(|error| match whole {
                // Whatever else it is: nothing more is tried for this reason.
                Some(whole) if whole.is_over(Instant::now()) => ClientError::OutOfTime,
                _ => error.into(),
            })
        }
    }

    /// A session over a connection.
    pub(super) fn over(stream: Stream, config: &ClientConfig, whole: Option<Deadline>) -> Session {
        let stream = Arc::new(stream);
        let limits = Limits {
            progress_timeout: config.progress_timeout,
            whole,
            socket_timeout: Duration::MAX,
        };
        let receiving = ReceivingHalf {
            stream: Arc::clone(&stream),
            buffer: vec![0; RECEIVE_BUFFER_BYTES].into(),
            start: 0,
            end: 0,
            limits: limits.clone(),
            rate: config.rate.map(Rate::new),
        };
        Session {
            sending: SendingHalf {
                stream,
                buffer: Vec::new(),
                limits: Some(limits),
            },
            receiving,
        }
    }
}

impl SendingHalf {
    /// Takes a request; it goes out when enough have come together, or with [`flush`].
    ///
    /// # Errors
    /// As for [`flush`].
    ///
    /// [`flush`]: SendingHalf::flush
    pub fn send(&mut self, call: &Call) -> Result<(), ClientError> {
        call.encode(&mut self.buffer);
        if self.buffer.len() < SEND_BUFFER_BYTES {
            return Ok(());
        }
        self.flush()
    }

    /// Sends what has come together.
    ///
    /// # Errors
    /// [`SessionError::Broken`]; [`SessionError::TimedOut`] if the server does not read.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        let sent = self.write_all();
        self.buffer.clear();
        sent
    }

    /// Lets requests wait as long as the server does not read: it may have long answers to send
    /// first. The receiving half, used by another thread, has the limits, and ends that by
    /// [`ReceivingHalf::end`].
    pub fn wait_for_receiver(&mut self) {
        self.limits = None;
    }

    fn write_all(&mut self) -> Result<(), ClientError> {
        const WAIT: Wait = Wait::SendProgress;
        let mut unsent = &self.buffer[..];
        while !unsent.is_empty() {
            if let Some(limits) = &mut self.limits {
                limits.arm(WAIT, |timeout| match &*self.stream {
                    Stream::Tcp(stream) => stream.set_write_timeout(timeout),
                    Stream::Unix(stream) => stream.set_write_timeout(timeout),
                })?;
            }
            match ((&*self.stream).write(unsent), &self.limits) {
                (Ok(0), _) => return Err(broken(WAIT, io::ErrorKind::WriteZero.into())),
                (Ok(sent), _) => unsent = &unsent[sent..],
                (Err(error), _) if error.kind() == io::ErrorKind::Interrupted => {}
                (Err(error), Some(limits)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(limits.timed_out(WAIT));
                }
                (Err(source), _) => return Err(broken(WAIT, source)),
            }
        }
        Ok(())
    }
}

impl ReceivingHalf {
    /// The next header.
    ///
    /// # Errors
    /// [`ClientError::Session`], [`ClientError::Protocol`]. The session is of no use afterwards.
    pub fn header(&mut self) -> Result<ResponseHeader<'static>, ClientError> {
        loop {
            let unread = &self.buffer[self.start..self.end];
            if let Some(frame) = split_frame(unread).map_err(protocol)? {
                let header = ResponseHeader::parse(frame.json).map_err(protocol)?;
                self.start += frame.bytes;
                return Ok(header);
            }
            self.fill(Wait::ResponseHeader)?;
        }
    }

    /// Whether [`ReceivingHalf::header`] returns without a wait.
    pub(super) fn has_header(&self) -> bool {
        let unread = &self.buffer[self.start..self.end];
        !matches!(split_frame(unread), Ok(None))
    }

    /// Receives more of a header.
    ///
    /// # Errors
    /// As [`ReceivingHalf::header`].
    pub(super) fn receive_header(&mut self) -> Result<(), ClientError> {
        self.fill(Wait::ResponseHeader)
    }

    /// Whether [`ReceivingHalf::body`] returns without a wait.
    pub(super) fn has_bytes(&self) -> bool {
        self.start < self.end
    }

    /// Whether more has arrived, or the end. With a limit of the rate nothing has, since the next
    /// read may wait for its turn.
    pub(super) fn is_readable(&self) -> bool {
        let mut polled = [PollFd::new(&*self.stream, PollFlags::IN)];
        self.rate.is_none() && matches!(poll(&mut polled, Some(&Timespec::default())), Ok(1..))
    }

    /// Some of the next bytes of a body of which `left` bytes are still to come: at least one
    /// and at most `left`. They are used up by this.
    ///
    /// # Errors
    /// [`ClientError::Session`]. The session is of no use afterwards.
    pub fn body(&mut self, left: u64) -> Result<&[u8], ClientError> {
        if self.start == self.end {
            self.fill(Wait::ResponseBody)?;
        }
        let unread = self.end - self.start;
        let taken = usize::try_from(left).map_or(unread, |left| left.min(unread));
        let start = self.start;
        self.start += taken;
        Ok(&self.buffer[start..start + taken])
    }

    /// The longest time without progress.
    pub fn progress_timeout(&self) -> Duration {
        self.limits.progress_timeout
    }

    /// Keeps to this rate, together with others that do.
    pub(super) fn keep_to(&mut self, rate: Option<Arc<Rate>>) {
        self.rate = rate;
    }

    /// Ends the connection in both directions, so that the sending half stops too.
    pub fn end(&self) {
        // It may have ended already.
        let _ = self.stream.end();
    }

    /// What ends the connection when it is dropped, whoever waits for it.
    pub(super) fn held(&self) -> Held {
        Held(Arc::clone(&self.stream))
    }

    /// Reads more, behind what is there. A header always fits: the buffer is larger.
    fn fill(&mut self, wait: Wait) -> Result<(), ClientError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let mut room = self.buffer.len() - self.end;
        if let Some(rate) = &self.rate {
            room = usize::try_from(rate.portion(room as u64)).unwrap_or(room);
        }
        loop {
            self.limits.arm(wait, |timeout| match &*self.stream {
                Stream::Tcp(stream) => stream.set_read_timeout(timeout),
                Stream::Unix(stream) => stream.set_read_timeout(timeout),
            })?;
            match (&*self.stream).read(&mut self.buffer[self.end..self.end + room]) {
                Ok(0) => return Err(SessionError::CutOff(wait).into()),
                Ok(read) => {
                    self.end += read;
                    self.keep_to_rate(read);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(self.timed_out(wait));
                }
                Err(source) => return Err(broken(wait, source)),
            }
        }
    }

    /// Waits until as much may be received again; meanwhile the server is held back.
    fn keep_to_rate(&mut self, bytes: usize) {
        if let Some(rate) = &self.rate {
            let now = Instant::now();
            let free = rate.spend(bytes as u64, now);
            std::thread::sleep(free.saturating_duration_since(now));
        }
    }

    pub(super) fn timed_out(&self, wait: Wait) -> ClientError {
        self.limits.timed_out(wait)
    }
}

/// A connection that ends when this is dropped.
#[derive(Debug)]
pub(super) struct Held(Arc<Stream>);

impl Drop for Held {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.end();
    }
}

impl Limits {
    /// Tells the socket, by `set`, how long its next call may take.
    fn arm(
        &mut self,
        wait: Wait,
        set: impl FnOnce(Option<Duration>) -> io::Result<()>,
    ) -> Result<(), ClientError> {
        let left = self
            .whole
            .map_or(Duration::MAX, |whole| whole.remaining(Instant::now()));
        if left.is_zero() {
            return Err(self.timed_out(wait));
        }
        let timeout = self.progress_timeout.min(left);
        if timeout < self.socket_timeout {
            set(Some(timeout)).map_err(|source| broken(wait, source))?;
            self.socket_timeout = timeout;
        }
        Ok(())
    }

    fn timed_out(&self, wait: Wait) -> ClientError {
        if self
            .whole
            .is_some_and(|whole| whole.is_over(Instant::now()))
        {
            return ClientError::OutOfTime;
        }
        SessionError::TimedOut {
            wait,
            limit: self.progress_timeout,
        }
        .into()
    }
}

fn broken(wait: Wait, source: io::Error) -> ClientError {
    SessionError::Broken {
        wait,
        source: Arc::new(source),
    }
    .into()
}

fn protocol(error: crate::wire::WireError) -> ClientError {
    ClientError::Protocol(error.into())
}

/// More than a frame, and as much as is read and written with one call.
const RECEIVE_BUFFER_BYTES: usize = 256 * 1024;
/// Requests that go out with one write, in bytes.
const SEND_BUFFER_BYTES: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::wire::{Action, GetRequest, ResourcePath};

    #[test]
    fn a_server_that_reads_nothing_is_not_waited_for_without_a_limit() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        rustix::net::sockopt::set_socket_send_buffer_size(&ours, 4096).unwrap();
        let config = ClientConfig {
            progress_timeout: Duration::from_millis(20),
            ..ClientConfig::default()
        };
        let mut session = Session::over(Stream::Unix(ours), &config, None);
        let path = ResourcePath::parse(&[b'x'; 255]).unwrap();
        let call = Call {
            action: Action::Get(GetRequest::whole(path)),
            id: None,
        };
        let error = (0..1_000).find_map(|_| session.sending.send(&call).err());
        let is_timeout = matches!(
            error,
            Some(ClientError::Session(SessionError::TimedOut {
                wait: Wait::SendProgress,
                ..
            }))
        );
        assert!(is_timeout, "{error:?}");
        drop(theirs);
    }

    #[test]
    fn an_answer_that_nobody_wants_any_more_is_not_waited_for() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let config = ClientConfig::default();
        let mut session = Session::over(Stream::Unix(ours), &config, None);
        drop(session.receiving.held());
        let error = session.receiving.header().unwrap_err();
        let is_end = matches!(error, ClientError::Session(SessionError::CutOff(_)));
        assert!(is_end, "{error:?}");
        drop(theirs);
    }
}

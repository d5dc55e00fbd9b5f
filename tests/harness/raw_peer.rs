//! A client whose every byte is written by hand.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use super::Answer;

/// One connection. Every read and write gives up after [`WAIT`], so that nothing hangs.
pub struct RawPeer {
    socket: Socket,
    sent: Instant,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The server ended its side.
    Eof,
    /// The server reset the connection.
    Reset,
}

impl RawPeer {
    /// Connects to `127.0.0.1:9521`, `[::1]:9521` or `unix:/path`.
    #[track_caller]
    pub fn connect(address: &str) -> RawPeer {
        RawPeer::try_connect(address)
            .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    /// Connects, or says why not.
    pub fn try_connect(address: &str) -> io::Result<RawPeer> {
        match address.strip_prefix("unix:") {
            Some(path) => RawPeer::of(Socket::Unix(UnixStream::connect(path)?)),
            None => {
                let address: SocketAddr = address.parse().map_err(io::Error::other)?;
                RawPeer::of_tcp(TcpStream::connect_timeout(&address, WAIT)?)
            }
        }
    }

    /// Connects from a source address such as `127.0.1.3`, so that limits per address tell
    /// it from others.
    #[track_caller]
    pub fn connect_from(source: &str, address: &str) -> RawPeer {
        let source = SocketAddr::new(source.parse().expect("a source address"), 0);
        let address: SocketAddr = address.parse().expect("an address");
        let fd = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        bind(&fd, &source).expect("bind to a source address");
        connect(&fd, &address).expect("connect");
        RawPeer::of_tcp(TcpStream::from(fd)).expect("socket options")
    }

    fn of_tcp(stream: TcpStream) -> io::Result<RawPeer> {
        // Each send is a segment of its own: where bytes are cut is what tests are about.
        stream.set_nodelay(true)?;
        RawPeer::of(Socket::Tcp(stream))
    }

    fn of(socket: Socket) -> io::Result<RawPeer> {
        let peer = RawPeer {
            socket,
            sent: Instant::now(),
        };
        peer.set_wait(WAIT)?;
        Ok(peer)
    }

    /// The same connection once more, to send while it is read.
    pub fn another(&self) -> RawPeer {
        let socket = match &self.socket {
            Socket::Tcp(stream) => stream.try_clone().map(Socket::Tcp),
            Socket::Unix(stream) => stream.try_clone().map(Socket::Unix),
        };
        RawPeer {
            socket: socket.expect("a second descriptor"),
            sent: self.sent,
        }
    }

    /// Another limit than [`WAIT`] for each read and write.
    pub fn set_wait(&self, wait: Duration) -> io::Result<()> {
        match &self.socket {
            Socket::Tcp(stream) => stream
                .set_read_timeout(Some(wait))
                .and(stream.set_write_timeout(Some(wait))),
            Socket::Unix(stream) => stream
                .set_read_timeout(Some(wait))
                .and(stream.set_write_timeout(Some(wait))),
        }
    }

    /// A small receive buffer, so that a server soon feels a reader who does not read.
    pub fn shrink_receive_buffer(&self, bytes: usize) {
        set_socket_recv_buffer_size(self.as_fd(), bytes).expect("a receive buffer");
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes)
            .unwrap_or_else(|error| panic!("cannot send: {error}"));
    }

    /// Sends bytes to a server that may have closed; says how far that went.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let result = self.socket.write_all(bytes.as_ref());
        self.sent = Instant::now();
        result
    }

    /// Sends each byte in a segment of its own.
    #[track_caller]
    pub fn send_bytewise(&mut self, bytes: impl AsRef<[u8]>) {
        for &byte in bytes.as_ref() {
            self.send([byte]);
        }
    }

    /// Sends one frame with this text, which need not be JSON.
    #[track_caller]
    pub fn send_frame(&mut self, text: impl AsRef<[u8]>) {
        self.send(frame(text));
    }

    /// Sends one frame and reads its answer.
    #[track_caller]
    pub fn ask(&mut self, text: impl AsRef<[u8]>) -> Answer {
        self.send_frame(text);
        self.read_answer()
    }

    /// Ends the write side.
    pub fn end_writing(&mut self) {
        // The server may have reset the connection already; reading will tell.
        let _ = self.socket.shutdown(Shutdown::Write);
        self.sent = Instant::now();
    }

    /// Resets the connection instead of ending it.
    pub fn reset(self) {
        set_socket_linger(self.as_fd(), Some(Duration::ZERO)).expect("SO_LINGER");
    }

    /// Reads one header.
    #[track_caller]
    pub fn read_header(&mut self) -> Answer {
        let length = u32::from_le_bytes(self.read_exact(4).try_into().expect("4 bytes")) as usize;
        assert!(
            (2..=65_536).contains(&length),
            "the header's length is {length}"
        );
        let text = self.read_exact(length);
        Answer::of_header(text, self.sent.elapsed())
    }

    /// Reads one response, header and body.
    #[track_caller]
    pub fn read_answer(&mut self) -> Answer {
        let mut answer = self.read_header();
        let size = usize::try_from(answer.body_size()).expect("a size");
        answer.body = self.read_exact(size);
        answer.after = self.sent.elapsed();
        answer
    }

    /// Reads exactly so many bytes.
    #[track_caller]
    pub fn read_exact(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = (&mut self.socket)
            .take(length as u64)
            .read_to_end(&mut bytes);
        if let Err(error) = read {
            panic!("after {} of {length} bytes: {error}", bytes.len());
        }
        assert_eq!(
            bytes.len(),
            length,
            "the stream ended early: {:?}",
            String::from_utf8_lossy(&bytes)
        );
        bytes
    }

    /// One read of at most so many bytes; 0 bytes are the end of the stream.
    pub fn try_read(&mut self, limit: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; limit];
        let count = self.socket.read(&mut bytes)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    /// Reads to the end of the connection.
    #[track_caller]
    pub fn read_to_end(&mut self) -> (Vec<u8>, Ending) {
        let mut bytes = Vec::new();
        let ending = match self.socket.read_to_end(&mut bytes) {
            Ok(_) => Ending::Eof,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ending::Reset,
            Err(error) => panic!(
                "no end of the connection after {} more bytes: {error}",
                bytes.len()
            ),
        };
        (bytes, ending)
    }

    /// Reads the end of the stream, before which there must be nothing.
    #[track_caller]
    pub fn expect_eof(&mut self) {
        let (bytes, ending) = self.read_to_end();
        assert_eq!(
            (String::from_utf8_lossy(&bytes).as_ref(), ending),
            ("", Ending::Eof),
            "wanted a clean end"
        );
    }

    /// Watches the connection for so long, in which nothing may come.
    #[track_caller]
    pub fn assert_silence(&mut self, watch: Duration) {
        self.set_wait(watch).expect("a read timeout");
        match self.try_read(4_096) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) => {}
            other => panic!(
                "wanted {watch:?} of silence: {:?}",
                other.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            ),
        }
        self.set_wait(WAIT).expect("a read timeout");
    }

    /// Since the last send, or the connection.
    pub fn elapsed(&self) -> Duration {
        self.sent.elapsed()
    }
}

impl AsFd for RawPeer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match self {
                Socket::Tcp(stream) => stream.read(buffer),
                Socket::Unix(stream) => stream.read(buffer),
            };
            match read {
                // A machine or a process that was stopped for a moment (signal(7)).
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.write(bytes),
            Socket::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket {
    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.shutdown(how),
            Socket::Unix(stream) => stream.shutdown(how),
        }
    }
}

/// One frame: the length, 4 bytes little-endian, and the text.
pub fn frame(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    let length = u32::try_from(text.len()).expect("a text of less than 4 GiB");
    [&length_prefix(length), text].concat()
}

/// The four bytes before a frame's text.
pub fn length_prefix(length: u32) -> [u8; 4] {
    length.to_le_bytes()
}

/// How long a peer waits for anything before it fails the test.
pub const WAIT: Duration = super::DEADLINE;

//! A connected socket of any family, and the identity of its peer.

use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::sockopt::{
    set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl,
};

use crate::net::socket_info;

/// A connected stream socket.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

/// The peer of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP peer, by address.
    Tcp(SocketAddr),
    /// A unix peer, by user id.
    Unix {
        /// The user id of the peer's process.
        uid: u32,
    },
}

impl Stream {
    /// Makes reads and writes non-blocking, or blocking.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.set_nonblocking(nonblocking),
            Stream::Unix(stream) => stream.set_nonblocking(nonblocking),
        }
    }

    /// Shuts down both directions. Pending reads and writes return at once.
    ///
    /// # Errors
    /// The kernel's error, mostly that the peer is gone.
    pub fn end(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
        }
    }

    /// Shuts down the write side; the peer may still send.
    ///
    /// # Errors
    /// The kernel's error, mostly that the peer is gone.
    pub fn end_writing(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// The kernel's smoothed round trip time; zero for unix sockets and if it is unknown.
    pub fn round_trip(&self) -> Duration {
        match self {
            Stream::Tcp(stream) => socket_info::round_trip(stream.as_fd()).unwrap_or_default(),
            Stream::Unix(_) => Duration::ZERO,
        }
    }

    /// Bytes written that the peer's kernel has not acknowledged (TCP), or that the peer has not
    /// read (unix).
    ///
    /// # Errors
    /// The kernel's error.
    pub fn unsent_bytes(&self) -> io::Result<usize> {
        socket_info::unsent_bytes(self.as_fd())
    }

    /// Enables TCP keep-alive: the kernel probes a silent peer, and ends the connection after
    /// about a minute without a reply. The end of a unix peer is always known.
    pub fn keep_alive(&self) {
        if let Stream::Tcp(stream) = self {
            // If an option is refused, the kernel's default holds.
            let _ = set_tcp_keepidle(stream, KEEPALIVE_IDLE);
            let _ = set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL);
            let _ = set_tcp_keepcnt(stream, KEEPALIVE_PROBES);
            let _ = set_socket_keepalive(stream, true);
        }
    }

    /// Makes a drop send a reset instead of an end of stream.
    pub fn reset_on_close(&self) {
        // On failure an ordinary close follows; nothing else is possible.
        let _ = rustix::net::sockopt::set_socket_linger(self, Some(Duration::ZERO));
    }
}

impl Peer {
    /// The key of per-address limits: the IPv4 address, the IPv6 /64, or the user id.
    pub fn address_key(&self) -> u128 {
        match self {
            Peer::Tcp(address) => match address.ip().to_canonical() {
                IpAddr::V4(v4) => u128::from(v4.to_bits()),
                IpAddr::V6(v6) => v6.to_bits() >> 64 << 64,
            },
            // Neither an IPv4 number nor a /64 has these bits.
            Peer::Unix { uid } => 1 << 63 | u128::from(*uid),
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Peer::Tcp(address) => address.fmt(f),
            Peer::Unix { uid } => write!(f, "uid {uid}"),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }
}

/// Two threads may share it, one that reads and one that writes.
impl Read for &Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&*stream).read(buffer),
            Stream::Unix(stream) => (&*stream).read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&*stream).write(bytes),
            Stream::Unix(stream) => (&*stream).write(bytes),
        }
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&*stream).write_vectored(parts),
            Stream::Unix(stream) => (&*stream).write_vectored(parts),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn connected() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Stream::Tcp(listener.accept().unwrap().0), peer)
    }

    #[test]
    fn a_reset_is_seen_as_a_reset() {
        let (stream, mut peer) = connected();
        stream.reset_on_close();
        drop(stream);
        let error = peer.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn unsent_bytes_are_those_that_the_peer_has_not_read() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut stream = Stream::Unix(ours);
        assert_eq!(stream.unsent_bytes().unwrap(), 0);
        stream.write_all(b"abc").unwrap();
        assert!(stream.unsent_bytes().unwrap() > 0);
        (&theirs).read_exact(&mut [0; 3]).unwrap();
        assert_eq!(stream.unsent_bytes().unwrap(), 0);
    }

    #[test]
    fn a_round_trip_on_this_machine_is_short_and_known() {
        let (mut stream, mut peer) = connected();
        stream.write_all(b"x").unwrap();
        peer.read_exact(&mut [0]).unwrap();
        let round_trip = stream.round_trip();
        assert!(
            round_trip > Duration::ZERO && round_trip < Duration::from_secs(10),
            "{round_trip:?}"
        );
    }

    #[test]
    fn limits_count_mapped_addresses_as_ipv4_and_ipv6_by_network() {
        let key = |text: &str| Peer::Tcp(text.parse().unwrap()).address_key();
        assert_eq!(key("[::ffff:192.0.2.1]:1"), key("192.0.2.1:2"));
        assert_eq!(key("[2001:db8::1]:1"), key("[2001:db8::ffff:1]:2"));
        assert_ne!(key("[2001:db8::1]:1"), key("[2001:db8:0:1::1]:1"));
        assert_ne!(key("0.0.3.232:1"), Peer::Unix { uid: 1000 }.address_key());
    }
}

//! Making a connection: every address of a name in turn, within one limit for all.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::sockopt::Timeout;
use rustix::net::{
    AddressFamily as SocketFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};

use crate::client::{AddressFamily, ConnectError};
use crate::net::{Address, Deadline, Stream, Wait};

/// Connects within `limit`. Each address of a name gets an equal share of the time that is
/// left, so that a silent one does not use up that of the next.
pub(super) fn connect(
    address: &Address,
    family: AddressFamily,
    limit: Duration,
) -> Result<Stream, ConnectError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => ConnectError::TimedOut {
            address: address.clone(),
            limit,
        },
        _ => ConnectError::Failed {
            address: address.clone(),
            source: Arc::new(source),
        },
    };
    match address {
        Address::Unix(path) => connect_unix(path, limit).map(Stream::Unix).map_err(failed),
        Address::Tcp { host, port } => {
            let candidates = resolve(host, *port, family, limit)?;
            connect_tcp(&candidates, limit)
                .map(Stream::Tcp)
                .map_err(failed)
        }
    }
}

/// The addresses of a name, never none.
fn resolve(
    host: &str,
    port: u16,
    family: AddressFamily,
    limit: Duration,
) -> Result<Vec<SocketAddr>, ConnectError> {
    let all = look_up(host, port, limit).map_err(|source| ConnectError::Name {
        host: host.to_owned(),
        source: Arc::new(source),
    })?;
    let (wanted, family): (fn(&SocketAddr) -> bool, _) = match family {
        AddressFamily::Any => (|_| true, "IP"),
        AddressFamily::V4 => (SocketAddr::is_ipv4, "IPv4"),
        AddressFamily::V6 => (SocketAddr::is_ipv6, "IPv6"),
    };
    let addresses: Vec<SocketAddr> = all.into_iter().filter(wanted).collect();
    if addresses.is_empty() {
        return Err(ConnectError::NoneOfFamily {
            host: host.to_owned(),
            family,
        });
    }
    Ok(addresses)
}

/// Asks the system's resolver, which may take minutes and cannot be called off: it is left to
/// itself then, in a thread of its own.
fn look_up(host: &str, port: u16, limit: Duration) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (found_in, found) = crossbeam_channel::bounded(1);
    let host = host.to_owned();
    std::thread::Builder::new()
        .name("ft-resolve".to_owned())
        .spawn(move || {
            let found = (host.as_str(), port).to_socket_addrs();
            // Nobody may wait any more.
            let _ = found_in.send(found.map(Iterator::collect));
        })?;
    found
        .recv_timeout(limit)
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn connect_tcp(candidates: &[SocketAddr], limit: Duration) -> io::Result<TcpStream> {
    let deadline = Deadline::after(Instant::now(), Wait::Connect, limit);
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for (tried, candidate) in candidates.iter().enumerate() {
        let addresses_left = u32::try_from(candidates.len() - tried).unwrap_or(u32::MAX);
        let share = deadline.remaining(Instant::now()) / addresses_left;
        if share.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(candidate, share) {
            Ok(stream) => {
                // Requests are small and must not wait for the acknowledgement of the last.
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The standard library waits for ever if the listener's backlog is full.
fn connect_unix(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    let socket = rustix::net::socket_with(
        SocketFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    sockopt::set_socket_timeout(&socket, Timeout::Send, Some(limit))?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    sockopt::set_socket_timeout(&socket, Timeout::Send, None)?;
    Ok(socket.into())
}

//! Making a connection: the addresses of a name side by side, within one limit for all.

mod race;

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use rustix::net::sockopt::Timeout;
use rustix::net::{
    AddressFamily as SocketFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};

use crate::client::{AddressFamily, ConnectError};
use crate::net::{Address, Deadline, Stream, Wait, not_a_socket};

/// Connects within `limit`. The addresses of a name are tried side by side (RFC 8305), so that a
/// silent one does not hold up the next.
pub(super) fn connect(
    address: &Address,
    family: AddressFamily,
    limit: Duration,
) -> Result<Stream, ConnectError> {
    connect_by(ask_system, address, family, limit)
}

/// What finds the addresses of a host.
type Resolver = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;

fn connect_by(
    resolver: Resolver,
    address: &Address,
    family: AddressFamily,
    limit: Duration,
) -> Result<Stream, ConnectError> {
    let deadline = Deadline::after(Instant::now(), Wait::Connect, limit);
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
            let candidates = resolve(resolver, host, *port, family, deadline)?;
            race::connect(&candidates, deadline)
                .map(Stream::Tcp)
                .map_err(failed)
        }
    }
}

/// The addresses of a name, never none.
fn resolve(
    resolver: Resolver,
    host: &str,
    port: u16,
    family: AddressFamily,
    deadline: Deadline,
) -> Result<Vec<SocketAddr>, ConnectError> {
    let all = look_up(resolver, host, port, deadline).map_err(|source| ConnectError::Name {
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

/// Asks the resolver, which may take minutes and cannot be called off: it is left to itself
/// then, in a thread of its own, and whoever asks for the same next waits for that one.
fn look_up(
    resolver: Resolver,
    host: &str,
    port: u16,
    deadline: Deadline,
) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let started = match LookUp::take_given_up(host, port) {
        Some(look_up) => Ok(look_up),
        None => LookUp::start(resolver, host, port),
    };
    let Ok(look_up) = started else {
        // Without a thread it takes as long as the resolver allows itself.
        return resolver(host, port);
    };
    match look_up.found.recv_deadline(deadline.at) {
        Ok(found) => found,
        Err(RecvTimeoutError::Timeout) => {
            given_up().push(look_up);
            Err(io::ErrorKind::TimedOut.into())
        }
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the resolver failed")),
    }
}

/// A thread that looks up a name.
struct LookUp {
    host: String,
    port: u16,
    found: Receiver<io::Result<Vec<SocketAddr>>>,
}

impl LookUp {
    fn start(resolver: Resolver, host: &str, port: u16) -> io::Result<LookUp> {
        let (found_in, found) = crossbeam_channel::bounded(1);
        let (host, asked) = (host.to_owned(), host.to_owned());
        std::thread::Builder::new()
            .name("ft-resolve".to_owned())
            .spawn(move || {
                // Nobody may wait any more.
                let _ = found_in.send(resolver(&asked, port));
            })?;
        Ok(LookUp { host, port, found })
    }

    fn take_given_up(host: &str, port: u16) -> Option<LookUp> {
        let mut given_up = given_up();
        let is_same = |look_up: &LookUp| look_up.host == host && look_up.port == port;
        let at = given_up.iter().position(is_same)?;
        Some(given_up.swap_remove(at))
    }
}

/// Those that took too long: at most as many as there are servers to be asked for.
fn given_up() -> MutexGuard<'static, Vec<LookUp>> {
    static GIVEN_UP: Mutex<Vec<LookUp>> = Mutex::new(Vec::new());
    GIVEN_UP.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ask_system(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok((host, port).to_socket_addrs()?.collect())
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
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?).map_err(|error| {
        let found = std::fs::metadata(path).ok();
        let reason = found.and_then(|found| not_a_socket(found.file_type()));
        reason.unwrap_or_else(|| error.into())
    })?;
    sockopt::set_socket_timeout(&socket, Timeout::Send, None)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use super::*;
    use crate::client::tests::at_some_pace;

    fn named(host: &str) -> Address {
        Address::Tcp {
            host: host.to_owned(),
            port: 9,
        }
    }

    #[test]
    fn one_limit_is_for_looking_up_and_connecting_together() {
        static LIMIT_MILLIS: AtomicU64 = AtomicU64::new(0);
        fn limit() -> Duration {
            Duration::from_millis(LIMIT_MILLIS.load(Ordering::SeqCst))
        }
        // Found when most of the time is over; and it never answers, its backlog being full.
        fn slow(_: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
            let _ = crossbeam_channel::after(limit() * 7 / 8).recv();
            Ok(vec![*SILENT.get().unwrap()])
        }
        static SILENT: std::sync::OnceLock<SocketAddr> = std::sync::OnceLock::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let silent = *SILENT.get_or_init(|| listener.local_addr().unwrap());
        let patience = Duration::from_millis(50);
        let held: Vec<_> =
            std::iter::from_fn(|| TcpStream::connect_timeout(&silent, patience).ok())
                .take(100)
                .collect();
        assert!(held.len() < 100, "a backlog of none takes no end");
        at_some_pace(|factor| {
            LIMIT_MILLIS.store(800 * u64::from(factor), Ordering::SeqCst);
            let begun = Instant::now();
            let error = connect_by(slow, &named("slow"), AddressFamily::Any, limit()).unwrap_err();
            assert!(matches!(error, ConnectError::TimedOut { .. }), "{error:?}");
            let taken = begun.elapsed();
            assert!(limit() <= taken && taken < limit() * 3 / 2, "{taken:?}");
        });
    }

    #[test]
    fn a_look_up_that_takes_too_long_is_waited_for_again_and_not_begun_again() {
        fn stuck(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
            BEGUN.fetch_add(1, Ordering::SeqCst);
            assert_eq!((host, port), ("stuck", 9));
            let (_, go_on) = GO_ON.get_or_init(|| crossbeam_channel::bounded(0));
            let _ = go_on.recv();
            Ok(Vec::new())
        }
        static BEGUN: AtomicUsize = AtomicUsize::new(0);
        static GO_ON: std::sync::OnceLock<(
            crossbeam_channel::Sender<()>,
            crossbeam_channel::Receiver<()>,
        )> = std::sync::OnceLock::new();
        let attempt = |limit| connect_by(stuck, &named("stuck"), AddressFamily::Any, limit);
        for _ in 0..3 {
            let error = attempt(Duration::from_millis(10)).unwrap_err();
            let is_late = matches!(&error, ConnectError::Name { source, .. } if source.kind() == io::ErrorKind::TimedOut);
            assert!(is_late, "{error:?}");
        }
        let (go_on, _) = GO_ON.get_or_init(|| crossbeam_channel::bounded(0));
        go_on.send(()).unwrap();
        let error = attempt(Duration::from_secs(60)).unwrap_err();
        assert!(
            matches!(error, ConnectError::NoneOfFamily { .. }),
            "{error:?}"
        );
        assert_eq!(BEGUN.load(Ordering::SeqCst), 1);
    }
}

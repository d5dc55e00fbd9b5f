//! Several addresses of one server at once, of which the first that answers counts: RFC 8305
//! ("Happy Eyeballs"), sections 4 and 5.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::net::Deadline;

/// Connects to one of these addresses. The next one is tried as soon as one has failed, or has
/// not answered for a moment.
///
/// # Errors
/// `TimedOut` if all are silent; else the error of the one address, or those of each.
pub(super) fn connect(candidates: &[SocketAddr], deadline: Deadline) -> io::Result<TcpStream> {
    let mut race = Race {
        waiting: in_turns(candidates),
        under_way: Vec::new(),
        failed: Vec::new(),
    };
    let mut next_at = Instant::now();
    loop {
        let now = Instant::now();
        if deadline.is_over(now) {
            break;
        }
        if race.under_way.is_empty() || next_at <= now {
            match race.waiting.pop_front() {
                Some(address) => {
                    race.begin(address);
                    next_at = now + race.head_start(deadline, now);
                    continue;
                }
                None if race.under_way.is_empty() => break,
                None => {}
            }
        }
        let until = match race.waiting.is_empty() {
            true => deadline.at,
            false => deadline.at.min(next_at),
        };
        if let Some(stream) = race.look(until)? {
            return Ok(stream);
        }
    }
    Err(race.error())
}

struct Race {
    waiting: VecDeque<SocketAddr>,
    under_way: Vec<(SocketAddr, OwnedFd)>,
    failed: Vec<(SocketAddr, io::Error)>,
}

impl Race {
    fn begin(&mut self, address: SocketAddr) {
        if self.under_way.len() >= SOCKETS_MAX {
            let (silent, _) = self.under_way.remove(0);
            self.failed.push((silent, io::ErrorKind::TimedOut.into()));
        }
        match begin(address) {
            Ok(socket) => self.under_way.push((address, socket)),
            Err(error) => self.failed.push((address, error)),
        }
    }

    /// How long the last address is alone before the next one is tried beside it.
    fn head_start(&self, deadline: Deadline, now: Instant) -> Duration {
        // Each of those that wait has a share, however short the time is.
        let shares = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        let share = deadline.remaining(now) / shares.saturating_add(1);
        if self.under_way.len() < SOCKETS_MAX {
            return share.min(HEAD_START);
        }
        // The next one takes the place of the first.
        share
    }

    /// Waits until one answers or fails, or until then.
    fn look(&mut self, until: Instant) -> io::Result<Option<TcpStream>> {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut looked_at: Vec<PollFd<'_>> = self
            .under_way
            .iter()
            .map(|(_, socket)| PollFd::new(socket, PollFlags::OUT))
            .collect();
        match poll(&mut looked_at, Some(&left)) {
            Err(Errno::INTR) => return Ok(None),
            polled => polled?,
        };
        let answered: Vec<bool> = looked_at
            .iter()
            .map(|looked_at| !looked_at.revents().is_empty())
            .collect();
        let mut answered = answered.into_iter();
        let (answers, silent) = self
            .under_way
            .drain(..)
            .partition::<Vec<_>, _>(|_| answered.next().unwrap_or(false));
        self.under_way = silent;
        for (address, socket) in answers {
            match finish(socket) {
                Ok(stream) => return Ok(Some(stream)),
                Err(error) => self.failed.push((address, error)),
            }
        }
        Ok(None)
    }

    fn error(self) -> io::Error {
        let silent = self.under_way.into_iter().map(|(address, _)| address);
        let silent = silent.map(|address| (address, io::ErrorKind::TimedOut.into()));
        let mut failed = self.failed;
        failed.extend(silent);
        let said = failed
            .iter()
            .map(|(_, error)| error.kind())
            .find(|kind| *kind != io::ErrorKind::TimedOut);
        match said {
            None => io::ErrorKind::TimedOut.into(),
            Some(_) if failed.len() == 1 => failed.remove(0).1,
            Some(kind) => io::Error::new(kind, EachFailed(failed)),
        }
    }
}

/// What each address of a name said, in the order in which they failed.
#[derive(Debug)]
struct EachFailed(Vec<(SocketAddr, io::Error)>);

impl std::error::Error for EachFailed {}

impl fmt::Display for EachFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (address, error)) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            match error.kind() {
                io::ErrorKind::TimedOut => write!(f, "{separator}{address}: no answer in time")?,
                _ => write!(f, "{separator}{address}: {error}")?,
            }
        }
        Ok(())
    }
}

/// Each address once, the families in turns, beginning with the one that the system prefers.
fn in_turns(candidates: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let mut seen = HashSet::new();
    let once = candidates
        .iter()
        .copied()
        .filter(|address| seen.insert(*address));
    let prefers_ipv4 = candidates.first().is_some_and(SocketAddr::is_ipv4);
    let (preferred, other): (Vec<_>, Vec<_>) =
        once.partition(|address| address.is_ipv4() == prefers_ipv4);
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    let mut turns = VecDeque::with_capacity(candidates.len());
    loop {
        let pair = [preferred.next(), other.next()];
        if pair == [None, None] {
            return turns;
        }
        turns.extend(pair.into_iter().flatten());
    }
}

fn begin(address: SocketAddr) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family(address), SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

fn family(address: SocketAddr) -> AddressFamily {
    match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    }
}

fn finish(socket: OwnedFd) -> io::Result<TcpStream> {
    sockopt::socket_error(&socket)??;
    let stream = TcpStream::from(socket);
    if stream.local_addr()? == stream.peer_addr()? {
        // TCP connects a port to itself if it is the one that the system has just chosen here (RFC
        // 9293, "simultaneous open"). Nobody listens there; a reset keeps it free for who will.
        sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
        return Err(Errno::CONNREFUSED.into());
    }
    stream.set_nonblocking(false)?;
    // Requests are small and must not wait for the acknowledgement of the last.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// RFC 8305, section 8: "Connection Attempt Delay".
const HEAD_START: Duration = Duration::from_millis(250);
/// Descriptors that one connection may need for a moment.
const SOCKETS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Wait;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// A socket with an address of its own, on which nobody listens.
    fn bound(address: &str) -> (OwnedFd, SocketAddr) {
        let address = address.parse().unwrap();
        let socket = rustix::net::socket(family(address), SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &address).unwrap();
        let own = rustix::net::getsockname(&socket).unwrap();
        (socket, own.try_into().unwrap())
    }

    #[test]
    fn families_take_turns_and_each_address_comes_once() {
        for (found, turns) in [
            (
                &["[::1]:1", "[::2]:1", "1.1.1.1:1"][..],
                &["[::1]:1", "1.1.1.1:1", "[::2]:1"][..],
            ),
            (
                &["1.1.1.1:1", "1.1.1.1:1", "2.2.2.2:1"],
                &["1.1.1.1:1", "2.2.2.2:1"],
            ),
            (&["1.1.1.1:1", "[::1]:1"], &["1.1.1.1:1", "[::1]:1"]),
            (
                &["[fe80::1%1]:1", "[fe80::1%2]:1"],
                &["[fe80::1%1]:1", "[fe80::1%2]:1"],
            ),
            (&[], &[]),
        ] {
            assert_eq!(in_turns(&addresses(found)), addresses(turns));
        }
    }

    #[test]
    fn every_address_is_tried_however_short_the_limit_is() {
        let race = |waiting: &[&str]| Race {
            waiting: addresses(waiting).into(),
            under_way: Vec::new(),
            failed: Vec::new(),
        };
        let now = Instant::now();
        for (waiting, limit, head_start) in [
            (&["1.1.1.1:1"][..], 10_000, 250),
            (&["1.1.1.1:1"], 100, 50),
            (&["1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1"], 200, 50),
        ] {
            let deadline = Deadline::after(now, Wait::Connect, Duration::from_millis(limit));
            let found = race(waiting).head_start(deadline, now);
            assert_eq!(found, Duration::from_millis(head_start), "{waiting:?}");
        }
    }

    #[test]
    fn a_connection_to_itself_is_refused() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (socket, own) = bound(address);
            rustix::net::connect(&socket, &own).unwrap();
            let error = finish(socket).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        }
    }

    #[test]
    fn the_error_names_each_address() {
        // Nobody listens there: they are bound, and that is all.
        let held = ["127.0.0.1:0", "[::1]:0"].map(bound);
        let candidates = held.each_ref().map(|(_, address)| *address);
        let deadline = Deadline::after(Instant::now(), Wait::Connect, Duration::from_secs(60));
        let error = connect(&candidates, deadline).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        for address in candidates {
            let named = format!("{address}: Connection refused");
            assert!(error.to_string().contains(&named), "{error}");
        }
        let alone = connect(&candidates[..1], deadline).unwrap_err();
        assert!(alone.raw_os_error().is_some(), "{alone}");
    }
}

//! Turns configured addresses into bound listeners.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;

use rustix::io::Errno;

use crate::net::{Address, Listener};
use crate::server::ServerError;
use crate::server::config::Listen;

/// The listeners of a server.
#[derive(Debug, Default)]
pub(super) struct Bound {
    pub(super) listeners: Vec<Listener>,
    /// Addresses of host names that this machine does not have.
    pub(super) absent: Vec<SocketAddr>,
}

/// Addresses that should share one port, or the path of a socket.
enum Group<'a> {
    Tcp(Vec<SocketAddr>),
    Unix(&'a Path),
}

/// Binds all addresses, each once, or fails. Of a host name it binds those addresses that this
/// machine has.
pub(super) fn bind_all(listen: &[Listen], backlog: u32) -> Result<Bound, ServerError> {
    let groups = listen.iter().map(|place| group(place, backlog));
    let groups = groups.collect::<Result<Vec<Group<'_>>, ServerError>>()?;
    let everything: Vec<SocketAddr> = groups
        .iter()
        .filter_map(|group| match group {
            Group::Tcp(addresses) => Some(addresses),
            Group::Unix(_) => None,
        })
        .flatten()
        .copied()
        .collect();
    let (mut bound, mut sockets) = (Bound::default(), HashSet::new());
    let mut addresses = HashSet::new();
    for group in groups {
        match group {
            Group::Tcp(mut group) => {
                group.retain(|address| {
                    !is_covered(address, &everything) && addresses.insert(*address)
                });
                let more = bind_group(&group, backlog)?;
                bound.listeners.extend(more.listeners);
                bound.absent.extend(more.absent);
            }
            Group::Unix(path) if sockets.insert(path) => {
                let failed = |source| ServerError::Bind {
                    address: Address::Unix(path.to_owned()).to_string(),
                    source,
                };
                let listener = Listener::bind_unix(path, backlog).map_err(failed)?;
                bound.listeners.push(listener);
            }
            Group::Unix(_) => {}
        }
    }
    if bound.listeners.is_empty() {
        return Err(ServerError::NowhereToListen);
    }
    Ok(bound)
}

/// Reports what would keep a server from listening, except whether the addresses are in use.
/// Accepts no connection meanwhile and creates no socket file.
///
/// # Errors
/// [`ServerError::Bind`].
pub fn check_listening(listen: &[Listen]) -> Result<(), ServerError> {
    for place in listen {
        let failed = |address: String| move |source| ServerError::Bind { address, source };
        match group(place, 1)? {
            Group::Unix(path) => {
                let address = Address::Unix(path.to_owned()).to_string();
                Listener::check_unix(path).map_err(failed(address))?;
            }
            Group::Tcp(addresses) => {
                let (mut has_one, mut absent) = (false, None);
                for address in addresses {
                    match Listener::check_tcp(address) {
                        Ok(()) => has_one = true,
                        Err(error) if is_absent(&address, &error) => {
                            absent = absent.or(Some((address, error)));
                        }
                        Err(error) => return Err(failed(address.to_string())(error)),
                    }
                }
                if let (false, Some((address, error))) = (has_one, absent) {
                    return Err(failed(address.to_string())(error));
                }
            }
        }
    }
    Ok(())
}

fn group(place: &Listen, backlog: u32) -> Result<Group<'_>, ServerError> {
    Ok(match place {
        Listen::Everywhere { port } => {
            let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port));
            let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, *port));
            // Without IPv6 on this machine, IPv4 alone is served.
            Group::Tcp(match lacks_ipv6(v6, backlog) {
                true => vec![v4],
                false => vec![v4, v6],
            })
        }
        Listen::At(Address::Unix(path)) => Group::Unix(path),
        Listen::At(address @ Address::Tcp { host, port }) => {
            let found = (host.as_str(), *port).to_socket_addrs();
            let found = found.map_err(|source| ServerError::Bind {
                address: address.to_string(),
                source,
            })?;
            Group::Tcp(found.map(canonical).collect())
        }
    })
}

/// Turns an IPv4-mapped IPv6 address into IPv4, since listeners are IPv6-only.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

/// Whether a listener on all addresses of its family already covers this address.
fn is_covered(address: &SocketAddr, everything: &[SocketAddr]) -> bool {
    everything.iter().any(|other| {
        other.ip().is_unspecified()
            && other.is_ipv4() == address.is_ipv4()
            && (other.port(), address.ip().is_unspecified()) == (address.port(), false)
            && address.port() != 0
    })
}

fn lacks_ipv6(v6: SocketAddr, backlog: u32) -> bool {
    let probe = Listener::bind_tcp(SocketAddr::new(v6.ip(), 0), backlog);
    probe.is_err_and(|error| is_absent(&v6, &error))
}

/// Binds addresses that should share one port. With port 0 the first address chooses the port. If
/// that is in use for another address, it tries again, and finally gives each address its own
/// port.
fn bind_group(group: &[SocketAddr], backlog: u32) -> Result<Bound, ServerError> {
    let mut tries_left = PORT_TRIES_MAX;
    loop {
        match try_group(group, backlog, tries_left > 0) {
            Err(ServerError::Bind { source, .. })
                if source.kind() == io::ErrorKind::AddrInUse
                    && tries_left > 0
                    && group.iter().all(|address| address.port() == 0) =>
            {
                tries_left -= 1;
            }
            outcome => return outcome,
        }
    }
}

/// Fails if this machine has none of the addresses, or if listening on one fails for another
/// reason.
fn try_group(group: &[SocketAddr], backlog: u32, shares_port: bool) -> Result<Bound, ServerError> {
    let (mut bound, mut first_absent) = (Bound::default(), None);
    for &address in group {
        let mut wanted = address;
        if let Some(Address::Tcp { port, .. }) = bound.listeners.first().map(Listener::address)
            && shares_port
        {
            wanted.set_port(*port);
        }
        match Listener::bind_tcp(wanted, backlog) {
            Ok(listener) => bound.listeners.push(listener),
            Err(source) => {
                let is_absent = is_absent(&address, &source);
                let error = ServerError::Bind {
                    address: wanted.to_string(),
                    source,
                };
                if !is_absent {
                    return Err(error);
                }
                bound.absent.push(address);
                first_absent = first_absent.or(Some(error));
            }
        }
    }
    match first_absent {
        Some(error) if bound.listeners.is_empty() => Err(error),
        Some(_) | None => Ok(bound),
    }
}

/// Whether this machine lacks the address. A link-local address needs its interface (scope id).
fn is_absent(address: &SocketAddr, error: &io::Error) -> bool {
    let lacks_scope = matches!(address, SocketAddr::V6(v6)
        if v6.ip().is_unicast_link_local() && v6.scope_id() == 0);
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => true,
        Some(Errno::INVAL) => lacks_scope,
        _ => false,
    }
}

const PORT_TRIES_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn all_interfaces_share_one_port_in_both_families() {
        let bound = bind_all(&[Listen::Everywhere { port: 0 }], 8).unwrap();
        let ports: Vec<u16> = bound
            .listeners
            .iter()
            .map(|listener| match listener.address() {
                Address::Tcp { port, .. } => *port,
                Address::Unix(_) => 0,
            })
            .collect();
        assert!(
            ports.iter().all(|&port| port == ports[0] && port != 0),
            "{ports:?}"
        );
    }

    #[test]
    fn an_address_given_twice_is_bound_once() {
        let at = |host: &str, port| {
            let host = host.to_owned();
            Listen::At(Address::Tcp { host, port })
        };
        let directory = tempfile::tempdir().unwrap();
        let socket = Listen::At(Address::Unix(directory.path().join("s")));
        for (places, count) in [
            (vec![at("127.0.0.1", 0), at("127.0.0.1", 0)], 1),
            (vec![at("::ffff:127.0.0.1", 0), at("127.0.0.1", 0)], 1),
            (vec![at("127.0.0.1", 0), at("127.0.0.2", 0)], 2),
            (vec![socket.clone(), socket], 1),
        ] {
            let bound = bind_all(&places, 8).unwrap();
            assert_eq!(bound.listeners.len(), count, "{places:?}");
        }
        let with_all = |everything_first: bool| {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = free.local_addr().unwrap().port();
            drop(free);
            let mut places = [at("127.0.0.1", port), at("0.0.0.0", port)];
            if everything_first {
                places.reverse();
            }
            bind_all(&places, 8).map(|bound| bound.listeners.len()).ok()
        };
        for everything_first in [false, true] {
            // Another program may take a port that was free, but hardly sixteen.
            let counts: Vec<_> = (0..16).map(|_| with_all(everything_first)).collect();
            assert!(counts.contains(&Some(1)), "{counts:?}");
        }
    }

    #[test]
    fn a_group_omits_addresses_that_this_machine_lacks() {
        // An address reserved for documentation (RFC 5737).
        let [here, elsewhere] =
            ["127.0.0.1:0", "192.0.2.1:0"].map(|text| text.parse::<SocketAddr>().unwrap());
        for group in [[here, elsewhere], [elsewhere, here]] {
            let bound = bind_group(&group, 8).unwrap();
            assert_eq!(
                (bound.listeners.len(), &bound.absent[..]),
                (1, &[elsewhere][..])
            );
        }
        let error = bind_group(&[elsewhere], 8).unwrap_err();
        let ServerError::Bind { source, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(source.kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[test]
    fn an_occupied_port_is_named() {
        let occupied = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = occupied.local_addr().unwrap().port();
        let place = Listen::At(Address::Tcp {
            host: "127.0.0.1".into(),
            port,
        });
        let error = bind_all(&[place], 8).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot listen on 127.0.0.1:{port}")
        );
        let ServerError::Bind { source, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(source.kind(), io::ErrorKind::AddrInUse);
    }
}

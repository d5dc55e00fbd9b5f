//! From where a server is told to listen to bound listeners.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use rustix::io::Errno;

use crate::net::{Address, Listener};
use crate::server::ServerError;
use crate::server::config::Listen;

/// Binds everything that is asked for, or nothing.
pub(super) fn bind_all(listen: &[Listen], backlog: u32) -> Result<Vec<Listener>, ServerError> {
    let mut listeners = Vec::new();
    for place in listen {
        match place {
            Listen::Everywhere { port } => {
                let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port));
                let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, *port));
                // A machine without IPv6 is served by IPv4 alone.
                let group: &[SocketAddr] = if lacks_ipv6(v6, backlog) {
                    &[v4]
                } else {
                    &[v4, v6]
                };
                listeners.extend(bind_group(group, backlog)?);
            }
            Listen::At(Address::Tcp { host, port }) => {
                let failed = |source| ServerError::Bind {
                    address: format!("{host}:{port}"),
                    source,
                };
                let group: Vec<SocketAddr> = (host.as_str(), *port)
                    .to_socket_addrs()
                    .map_err(failed)?
                    .collect();
                listeners.extend(bind_group(&group, backlog)?);
            }
            Listen::At(Address::Unix(path)) => {
                let failed = |source| ServerError::Bind {
                    address: format!("unix:{}", path.display()),
                    source,
                };
                listeners.push(Listener::bind_unix(path, backlog).map_err(failed)?);
            }
        }
    }
    if listeners.is_empty() {
        return Err(ServerError::NowhereToListen);
    }
    Ok(listeners)
}

fn lacks_ipv6(v6: SocketAddr, backlog: u32) -> bool {
    let errno = |error: &io::Error| error.raw_os_error().map(Errno::from_raw_os_error);
    let probe = Listener::bind_tcp(SocketAddr::new(v6.ip(), 0), backlog);
    probe.is_err_and(|error| {
        matches!(
            errno(&error),
            Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
        )
    })
}

/// Binds addresses that should have the same port. With port 0 the first address chooses
/// it, and if it is taken for another one, chooses again.
fn bind_group(group: &[SocketAddr], backlog: u32) -> Result<Vec<Listener>, ServerError> {
    let mut tries_left = PORT_TRIES_MAX;
    loop {
        tries_left -= 1;
        match try_group(group, backlog) {
            Err(ServerError::Bind { source, .. })
                if source.kind() == io::ErrorKind::AddrInUse
                    && tries_left > 0
                    && group.iter().all(|address| address.port() == 0) => {}
            outcome => return outcome,
        }
    }
}

fn try_group(group: &[SocketAddr], backlog: u32) -> Result<Vec<Listener>, ServerError> {
    let mut listeners: Vec<Listener> = Vec::with_capacity(group.len());
    for &address in group {
        let mut address = address;
        if let Some(Address::Tcp { port, .. }) = listeners.first().map(Listener::address) {
            address.set_port(*port);
        }
        let failed = |source| ServerError::Bind {
            address: address.to_string(),
            source,
        };
        listeners.push(Listener::bind_tcp(address, backlog).map_err(failed)?);
    }
    Ok(listeners)
}

const PORT_TRIES_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn everywhere_has_one_port_for_both_families() {
        let listeners = bind_all(&[Listen::Everywhere { port: 0 }], 8).unwrap();
        let ports: Vec<u16> = listeners
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

//! A listening socket. A unix socket's file is removed on drop.

use std::fs::{self, FileType};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, netdevice, sockopt};

use crate::net::{Address, Peer, Stream, socket_info};

/// A listening socket. `accept` never blocks.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    address: Address,
    /// The socket's file, removed on drop unless it was replaced.
    _file: Option<SocketFile>,
}

#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Listener {
    /// Listens on a TCP address; port 0 selects a free port. An IPv6 listener accepts IPv6 only,
    /// so that an IPv4 listener can use the same port. The kernel queues up to `backlog`
    /// connections.
    ///
    /// # Errors
    /// The kernel's error: in use, not a local address, not permitted.
    pub fn bind_tcp(address: SocketAddr, backlog: u32) -> io::Result<Listener> {
        let socket = tcp_socket(&address)?;
        // Without it the kernel's own limit holds. Accepted connections inherit it.
        let _ = socket_info::limit_unsent(socket.as_fd(), UNSENT_BYTES_MAX);
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, backlog_number(backlog))?;
        let listener = TcpListener::from(socket);
        let local = listener.local_addr()?;
        let address = Address::Tcp {
            host: host_of(&local, &listener),
            port: local.port(),
        };
        Ok(Listener {
            socket: listener.into(),
            address,
            _file: None,
        })
    }

    /// Listens on a unix socket. Replaces a socket file on which no process listens.
    ///
    /// # Errors
    /// The kernel's error; `AddrInUse` if a server listens there; [`not_a_socket`] if the path is
    /// another kind of file.
    pub fn bind_unix(path: &Path, backlog: u32) -> io::Result<Listener> {
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
        let name = SocketAddrUnix::new(path)?;
        match rustix::net::bind(&socket, &name) {
            Err(Errno::ADDRINUSE) => {
                remove_stale_socket(path)?;
                rustix::net::bind(&socket, &name)?;
            }
            bound => bound?,
        }
        let facts = fs::symlink_metadata(path)?;
        let file = SocketFile {
            path: path.to_owned(),
            identity: (facts.dev(), facts.ino()),
        };
        rustix::net::listen(&socket, backlog_number(backlog))?;
        Ok(Listener {
            socket,
            address: Address::Unix(path.to_owned()),
            _file: Some(file),
        })
    }

    /// Checks whether [`Listener::bind_tcp`] would succeed on a free address.
    ///
    /// # Errors
    /// Those of `bind_tcp`, except `AddrInUse`.
    pub fn check_tcp(address: SocketAddr) -> io::Result<()> {
        match rustix::net::bind(tcp_socket(&address)?, &address) {
            Ok(()) | Err(Errno::ADDRINUSE) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Checks whether [`Listener::bind_unix`] would succeed if no server listened there.
    ///
    /// # Errors
    /// Those of `bind_unix`, except `AddrInUse`.
    pub fn check_unix(path: &Path) -> io::Result<()> {
        SocketAddrUnix::new(path)?;
        match fs::symlink_metadata(path) {
            Ok(found) => not_a_socket(found.file_type()).map_or(Ok(()), Err),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let directory = path.parent().filter(|above| !above.as_os_str().is_empty());
                let directory = directory.unwrap_or_else(|| Path::new("."));
                Ok(access(directory, Access::WRITE_OK | Access::EXEC_OK)?)
            }
            Err(error) => Err(error),
        }
    }

    /// The address it listens on, with the real port if port 0 was requested.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Accepts one connection from the backlog, as non-blocking and with TCP_NODELAY.
    ///
    /// # Errors
    /// `WouldBlock` if the backlog is empty; errors for too few descriptors or too little memory.
    pub fn accept(&self) -> io::Result<(Stream, Peer)> {
        let (socket, from) = rustix::net::acceptfrom_with(&self.socket, FLAGS)?;
        match self.address {
            Address::Tcp { .. } => {
                let from = from.and_then(|from| SocketAddr::try_from(from).ok());
                let from = from.ok_or(io::ErrorKind::ConnectionAborted)?;
                let canonical = match from.ip().to_canonical() {
                    ip @ IpAddr::V4(_) => SocketAddr::new(ip, from.port()),
                    // A link-local address is meaningless without its scope.
                    IpAddr::V6(_) => from,
                };
                // If the peer is gone already, the first read fails.
                let _ = sockopt::set_tcp_nodelay(&socket, true);
                Ok((Stream::Tcp(TcpStream::from(socket)), Peer::Tcp(canonical)))
            }
            Address::Unix(_) => {
                let uid = sockopt::socket_peercred(&socket)?.uid.as_raw();
                Ok((Stream::Unix(UnixStream::from(socket)), Peer::Unix { uid }))
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A later server may have put its own socket there.
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|facts| (facts.dev(), facts.ino()) == self.identity);
        if is_ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn tcp_socket(address: &SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, FLAGS, None)?;
    // Without it, a restart fails while old connections are in TIME_WAIT.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    Ok(socket)
}

/// Removes a socket file whose server is gone: connecting to it is refused.
fn remove_stale_socket(path: &Path) -> io::Result<()> {
    let before = fs::symlink_metadata(path)?;
    if let Some(error) = not_a_socket(before.file_type()) {
        return Err(error);
    }
    // Non-blocking, since a server with a full backlog would block the connection for ever.
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    let connected = rustix::net::connect(&socket, &SocketAddrUnix::new(path)?);
    let stale = connected == Err(Errno::CONNREFUSED);
    let now = fs::symlink_metadata(path)?;
    if !stale || (now.dev(), now.ino()) != (before.dev(), before.ino()) {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    fs::remove_file(path)
}

/// An error of kind `InvalidInput` if `found` is not a socket. connect(2) and bind(2) would only
/// report that the connection is refused or the address is in use.
pub fn not_a_socket(found: FileType) -> Option<io::Error> {
    let found = match found {
        found if found.is_socket() => return None,
        found if found.is_file() => "a regular file",
        found if found.is_dir() => "a directory",
        found if found.is_symlink() => "a symbolic link",
        found if found.is_fifo() => "a FIFO",
        _ => "a device",
    };
    let sentence = format!("it is {found}, not a socket");
    Some(io::Error::new(io::ErrorKind::InvalidInput, sentence))
}

/// The host part of an address, with its scope as an interface name.
fn host_of(address: &SocketAddr, socket: &TcpListener) -> String {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => {
            let scope = netdevice::index_to_name(socket, v6.scope_id())
                .unwrap_or_else(|_| v6.scope_id().to_string());
            format!("{}%{scope}", v6.ip())
        }
        SocketAddr::V4(_) | SocketAddr::V6(_) => address.ip().to_string(),
    }
}

fn backlog_number(backlog: u32) -> i32 {
    i32::try_from(backlog).unwrap_or(i32::MAX)
}

/// How many bytes the kernel may buffer of an answer before it has sent them once. Its own limit
/// grows to 4 MiB. Then 500 peers that request a large file and read nothing would use up the
/// kernel's memory for all sockets. It costs no speed, since one write has this size.
const UNSENT_BYTES_MAX: u32 = 256 << 10;
const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn ipv4_and_ipv6_fit_on_one_port() {
        let fits = || {
            let v6 = Listener::bind_tcp("[::]:0".parse().unwrap(), 8).unwrap();
            let Address::Tcp { port, .. } = *v6.address() else {
                unreachable!()
            };
            let v4 = Listener::bind_tcp(SocketAddr::from(([0, 0, 0, 0], port)), 8)?;
            let host = "0.0.0.0".to_owned();
            assert_eq!(*v4.address(), Address::Tcp { host, port });
            io::Result::Ok(())
        };
        // Another program may hold one port for IPv4, but hardly sixteen.
        let outcomes: Vec<io::Result<()>> = (0..16).map(|_| fits()).collect();
        assert!(outcomes.iter().any(Result::is_ok), "{outcomes:?}");
    }

    #[test]
    fn a_peer_that_reads_nothing_takes_little_kernel_memory() {
        let listener = Listener::bind_tcp("127.0.0.1:0".parse().unwrap(), 8).unwrap();
        let Address::Tcp { port, .. } = *listener.address() else {
            unreachable!()
        };
        let peer = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        let window = 64 << 10;
        sockopt::set_socket_recv_buffer_size(&peer, window).unwrap();
        rustix::net::connect(&peer, &SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let chunk = [0; 64 << 10];
        let mut written = 0;
        let refusal = loop {
            match stream.write(&chunk) {
                Ok(count) => written += count,
                Err(error) => break error.kind(),
            }
        };
        assert_eq!(refusal, io::ErrorKind::WouldBlock);
        // The kernel doubles the window, and completes the segment it has begun.
        let buffered_max = UNSENT_BYTES_MAX as usize + 2 * window + (128 << 10);
        assert!(written <= buffered_max, "{written} bytes were taken");
    }

    #[test]
    fn accepts_without_blocking() {
        let listener = Listener::bind_tcp("127.0.0.1:0".parse().unwrap(), 8).unwrap();
        assert_eq!(
            listener.accept().unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        let Address::Tcp { port, .. } = *listener.address() else {
            unreachable!()
        };
        let peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (mut stream, who) = listener.accept().unwrap();
        assert_eq!(who, Peer::Tcp(peer.local_addr().unwrap()));
        assert_eq!(
            stream.read(&mut [0]).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
    }

    #[test]
    fn replaces_only_a_socket_on_which_no_process_listens() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        // A killed server leaves its socket behind. A dropped listener could survive for a moment in a
        // child process that is just starting.
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        drop(socket);
        assert!(path.exists(), "a socket file outlives its socket");
        let listener = Listener::bind_unix(&path, 8).unwrap();
        let second = Listener::bind_unix(&path, 8).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        UnixStream::connect(&path).unwrap();
        assert!(matches!(listener.accept().unwrap().1, Peer::Unix { .. }));
        drop(listener);
        assert!(!path.exists());

        fs::write(&path, b"a file").unwrap();
        let error = Listener::bind_unix(&path, 8).unwrap_err();
        assert_eq!(error.to_string(), "it is a regular file, not a socket");
        assert_eq!(fs::read(&path).unwrap(), b"a file");
    }

    #[test]
    fn leaves_a_socket_whose_backlog_is_full_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let _listener = Listener::bind_unix(&path, 1).unwrap();
        let name = SocketAddrUnix::new(&path).unwrap();
        let connect = || {
            let socket =
                rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None);
            let socket = socket.unwrap();
            rustix::net::connect(&socket, &name).map(|()| socket)
        };
        let connected: Vec<_> = std::iter::from_fn(|| connect().ok()).take(100).collect();
        assert!(connected.len() < 100, "a backlog of one takes no end");
        let error = Listener::bind_unix(&path, 8).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn leaves_a_socket_alone_that_replaced_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let first = Listener::bind_unix(&path, 8).unwrap();
        fs::rename(&path, directory.path().join("moved")).unwrap();
        let _second = Listener::bind_unix(&path, 8).unwrap();
        drop(first);
        assert!(path.exists());
    }
}

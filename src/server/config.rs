//! What an engine is told when it is made.

use std::thread;
use std::time::Duration;

use crate::net::{Address, DEFAULT_PORT};

/// Where to listen, how much to carry at once, and how long to be patient.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where to listen.
    pub listen: Vec<Listen>,
    /// Connections that the kernel may hold for each listener until they are accepted.
    pub backlog: u32,
    /// Threads that advance connections.
    pub workers: usize,
    /// Connections at once; made smaller where descriptors do not suffice.
    pub connections_max: usize,
    /// Connections of one address at once (IPv4 address, IPv6 /64, user id); `None`: a
    /// quarter of all.
    pub connections_per_address_max: Option<usize>,
    /// How long one connection may keep a worker while others wait.
    pub quantum: Quantum,
    /// The end of answered and of abandoned connections.
    pub closing: Closing,
}

/// One place to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// All interfaces, IPv6 and IPv4, on the same port; IPv4 alone on a machine without
    /// IPv6. Port 0: any that is free for both.
    Everywhere {
        /// The port.
        port: u16,
    },
    /// One address. A host name stands for all its addresses.
    At(Address),
}

/// How long one connection may keep a worker while others wait.
#[derive(Clone, Copy, Debug)]
pub struct Quantum {
    /// Bytes moved.
    pub bytes_max: u64,
    /// Time since the turn began.
    pub time_max: Duration,
}

/// The end of answered and of abandoned connections (`PROTOCOL.md`, "Promises of the server").
#[derive(Clone, Copy, Debug)]
pub struct Closing {
    /// After the last answer, so many bytes of input are read and dropped.
    pub linger_bytes_max: usize,
    /// After the last answer, how long the peer may take to close.
    pub linger_timeout: Duration,
    /// After an abandoned answer, how long what was written may take to arrive.
    pub abandon_timeout: Duration,
}

impl Default for ServerConfig {
    fn default() -> ServerConfig {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        ServerConfig {
            listen: vec![Listen::Everywhere { port: DEFAULT_PORT }],
            backlog: 1024,
            workers: (4 * cores).max(8),
            connections_max: 10_000,
            connections_per_address_max: None,
            quantum: Quantum {
                bytes_max: 4 << 20,
                time_max: Duration::from_millis(20),
            },
            closing: Closing {
                linger_bytes_max: 1 << 20,
                linger_timeout: Duration::from_secs(2),
                abandon_timeout: Duration::from_secs(5),
            },
        }
    }
}

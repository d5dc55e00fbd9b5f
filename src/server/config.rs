//! The configuration of an engine.

use std::thread;
use std::time::Duration;

use crate::net::{Address, DEFAULT_PORT};

/// Addresses, limits and timeouts of a server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The addresses to listen on.
    pub listen: Vec<Listen>,
    /// The backlog of each listener: connections that the kernel queues until they are accepted.
    pub backlog: u32,
    /// Number of worker threads.
    pub workers: usize,
    /// Connections open at once; fewer if descriptors are few.
    pub connections_max: usize,
    /// Connections open at once per address (IPv4 address, IPv6 /64, user id). `None`: a quarter
    /// of all.
    pub connections_per_address_max: Option<usize>,
    /// When a turn ends while other connections wait.
    pub quantum: Quantum,
    /// How connections end.
    pub closing: Closing,
}

/// One address, or all, to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// All interfaces, IPv6 and IPv4 on one port, or IPv4 alone on a machine without IPv6. Port 0
    /// selects a port that is free in both families.
    Everywhere {
        /// The port.
        port: u16,
    },
    /// One address. A host name stands for all its addresses.
    At(Address),
}

/// The longest turn of one connection while others wait.
#[derive(Clone, Copy, Debug)]
pub struct Quantum {
    /// Bytes sent in the turn.
    pub bytes_max: u64,
    /// Time since the turn began.
    pub time_max: Duration,
}

/// How answered and abandoned connections end (`PROTOCOL.md`, "Promises of the server").
#[derive(Clone, Copy, Debug)]
pub struct Closing {
    /// How many bytes of input are read and dropped after the last answer.
    pub linger_bytes_max: usize,
    /// How long the peer may take to close after the last answer.
    pub linger_timeout: Duration,
    /// How long the bytes before a reset may take to arrive.
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

//! The counters of a server.

use std::sync::atomic::AtomicU64;

/// Counts since the server was bound, and the number of open connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerStats {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections open now, including those that are being closed.
    pub open: u64,
    /// Connections closed to free their slots.
    pub evicted: u64,
    /// Connections closed at once because their address has too many.
    pub refused: u64,
    /// Connections closed because the handler panicked.
    pub panicked: u64,
}

#[derive(Default)]
pub(super) struct EngineCounters {
    pub(super) accepted: AtomicU64,
    pub(super) evicted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) panicked: AtomicU64,
}

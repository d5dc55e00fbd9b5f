//! A server that runs, as signals see it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cli::serve::args::Setup;
use crate::cli::serve::beside::Beside;
use crate::cli::serve::log::AccessLog;
use crate::cli::serve::reload::{self, Reload};
use crate::cli::terminal::{counted, tell};
use crate::server::{Published, ServerHandle, TransferCounters};

/// A server that runs, with all that belongs to it.
pub(super) struct Running {
    pub(super) handle: ServerHandle,
    counters: Arc<TransferCounters>,
    beside: Beside,
    published: Arc<Published>,
    log: Mutex<Option<AccessLog>>,
    reload: Reload,
    started: Instant,
    drain_timeout: Duration,
    quiet: bool,
}

/// What belongs to a server.
pub(super) struct Parts {
    pub(super) counters: Arc<TransferCounters>,
    pub(super) beside: Beside,
    pub(super) published: Arc<Published>,
    pub(super) log: Option<AccessLog>,
    pub(super) reload: Reload,
}

impl Running {
    pub(super) fn new(setup: &Setup, handle: ServerHandle, parts: Parts) -> Running {
        let Parts {
            counters,
            beside,
            published,
            log,
            reload,
        } = parts;
        Running {
            handle,
            counters,
            beside,
            published,
            log: Mutex::new(log),
            reload,
            started: Instant::now(),
            drain_timeout: setup.drain_timeout,
            quiet: setup.quiet,
        }
    }

    /// Whether digests outlive the server.
    pub(super) fn has_index(&self) -> bool {
        self.beside.has_index()
    }

    /// SIGHUP: reads the options and opens the log anew. `false` if there is nothing to do anew;
    /// then the signal means the end, as when a terminal is closed.
    pub(super) fn reload(&self) -> bool {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if self.reload.has_file() {
            self.reload.apply(log.as_mut());
            return true;
        }
        match log.as_mut().filter(|log| log.is_file()) {
            Some(log) => {
                reload::warn(log.reopen());
                true
            }
            None => false,
        }
    }

    /// Says so, and lets running transfers finish.
    pub(super) fn drain(&self) {
        if !self.quiet {
            let open = counted(self.handle.stats().open, "connection");
            let timeout = self.drain_timeout;
            tell(&format!(
                "stopping: finishing {open} within {timeout:?}; once more to stop at once"
            ));
        }
        self.stop();
    }

    /// Lets running transfers finish.
    pub(super) fn stop(&self) {
        self.beside.stop();
        self.handle.drain(self.drain_timeout);
    }

    /// Keeps what was learnt and said, and sums it up.
    pub(super) fn end(&self) {
        self.published.end(RUNS_END_TIMEOUT);
        self.beside.end();
        let log = self
            .log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(log) = log {
            log.end();
        }
        if !self.quiet {
            let (server, transfers) = (self.handle.stats(), self.counters.snapshot());
            tell(&format!(
                "served {} on {} with {}, {} failed, in {:.1} s",
                counted(transfers.requests(), "request"),
                counted(server.accepted, "connection"),
                counted(transfers.body_bytes, "byte"),
                transfers.failures(),
                self.started.elapsed().as_secs_f64(),
            ));
        }
    }
}

/// Commands that still run are killed; this long is waited for that.
const RUNS_END_TIMEOUT: Duration = Duration::from_secs(2);

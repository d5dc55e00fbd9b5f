//! A server that runs, as signals see it.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cli::serve::args::Setup;
use crate::cli::serve::beside::Beside;
use crate::cli::serve::log::AccessLog;
use crate::cli::terminal::counted;
use crate::server::{ServerHandle, TransferCounters};

/// A server that runs, with all that belongs to it.
pub(super) struct Running {
    pub(super) handle: ServerHandle,
    counters: Arc<TransferCounters>,
    beside: Beside,
    log: Mutex<Option<AccessLog>>,
    started: Instant,
    drain_timeout: Duration,
    quiet: bool,
}

impl Running {
    pub(super) fn new(
        setup: &Setup,
        handle: ServerHandle,
        counters: Arc<TransferCounters>,
        beside: Beside,
        log: Option<AccessLog>,
    ) -> Running {
        Running {
            handle,
            counters,
            beside,
            log: Mutex::new(log),
            started: Instant::now(),
            drain_timeout: setup.drain_timeout,
            quiet: setup.quiet,
        }
    }

    /// Whether digests outlive the server.
    pub(super) fn has_index(&self) -> bool {
        self.beside.has_index()
    }

    /// SIGHUP: opens the log anew. `false` if there is nothing to do anew; then the signal means
    /// the end, as when a terminal is closed.
    pub(super) fn reload(&self) -> bool {
        match &*self.log.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(log) => log.reopen(),
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

fn tell(line: &str) {
    // If it cannot be shown, nobody is left to tell.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

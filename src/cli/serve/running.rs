//! A server that runs, as signals see it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};

use crate::cli::ending::EndOnPanic;
use crate::cli::serve::args::Setup;
use crate::cli::serve::beside::Beside;
use crate::cli::serve::log::AccessLog;
use crate::cli::serve::reload::{self, Reload};
use crate::cli::serve::root::RootWatch;
use crate::cli::terminal::{counted, size, tell};
use crate::server::{Published, ServerHandle, TransferCounters};

/// A server that runs, with all that belongs to it.
pub(super) struct Running {
    pub(super) handle: ServerHandle,
    counters: Arc<TransferCounters>,
    beside: Arc<Beside>,
    root: RootWatch,
    published: Arc<Published>,
    log: Mutex<Option<AccessLog>>,
    reload: Reload,
    reload_requests: OnceLock<Sender<()>>,
    started: Instant,
    drain_timeout: Duration,
    quiet: bool,
}

/// What belongs to a server.
pub(super) struct Parts {
    pub(super) counters: Arc<TransferCounters>,
    pub(super) beside: Arc<Beside>,
    pub(super) root: RootWatch,
    pub(super) published: Arc<Published>,
    pub(super) log: Option<AccessLog>,
    pub(super) reload: Reload,
}

impl Running {
    pub(super) fn new(setup: &Setup, handle: ServerHandle, parts: Parts) -> Running {
        let Parts {
            counters,
            beside,
            root,
            published,
            log,
            reload,
        } = parts;
        Running {
            handle,
            counters,
            beside,
            root,
            published,
            log: Mutex::new(log),
            reload,
            reload_requests: OnceLock::new(),
            started: Instant::now(),
            drain_timeout: setup.drain_timeout,
            quiet: setup.quiet,
        }
    }

    /// Whether digests outlive the server.
    pub(super) fn has_index(&self) -> bool {
        self.beside.has_index()
    }

    /// SIGHUP: asks the thread of [`Running::reload_on_request`], and the one that looks where the
    /// root's name leads. `false` if there is nothing to
    /// read anew; then the signal means the end, as when a terminal is closed.
    pub(super) fn reload(&self) -> bool {
        self.root.look();
        let Some(requests) = self.reload_requests.get() else {
            return false;
        };
        // If one waits already, it reads what there is now too.
        let _ = requests.try_send(());
        true
    }

    /// Starts the thread that reads the options and opens the log anew, where there is a file of
    /// either: what holds it up holds up no other signal.
    pub(super) fn reload_on_request(self: &Arc<Running>) -> io::Result<()> {
        let has_log_file = self.log().as_ref().is_some_and(AccessLog::is_file);
        if !has_log_file && !self.reload.has_file() {
            return Ok(());
        }
        let (requests, requested) = bounded(1);
        let running = Arc::clone(self);
        let named = Builder::new().name("ft-reload".to_owned());
        named.spawn(move || {
            let _guard = EndOnPanic;
            for () in requested {
                running.reload_now();
            }
        })?;
        let _ = self.reload_requests.set(requests);
        Ok(())
    }

    fn reload_now(&self) {
        if self.reload.has_file() {
            return self.reload.apply(&self.log);
        }
        if let Some(log) = self.log().as_mut() {
            reload::warn(log.reopen());
        }
    }

    fn log(&self) -> MutexGuard<'_, Option<AccessLog>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says so, and lets running transfers finish.
    pub(super) fn drain(&self) {
        if !self.quiet {
            tell(&match self.handle.stats().open {
                0 => "stopping".to_owned(),
                open => format!(
                    "stopping: waiting at most {:?} for {}; a second signal stops at once",
                    self.drain_timeout,
                    counted(open, "connection"),
                ),
            });
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
        let log = self.log().take();
        if let Some(log) = log {
            log.end();
        }
        if !self.quiet {
            let (server, transfers) = (self.handle.stats(), self.counters.snapshot());
            tell(&format!(
                "served {} on {} in {:.1} s: {} in complete responses, {} refused, {} broken off",
                counted(transfers.requests(), "request"),
                counted(server.accepted, "connection"),
                self.started.elapsed().as_secs_f64(),
                size(transfers.body_bytes),
                transfers.refusals(),
                transfers.abandoned + transfers.cut_off,
            ));
        }
    }
}

/// Commands that still run are killed; this long is waited for that.
const RUNS_END_TIMEOUT: Duration = Duration::from_secs(2);

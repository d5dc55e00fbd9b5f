//! A running server, for the threads that handle signals.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};

use crate::cli::ending::EndOnPanic;
use crate::cli::serve::args::Setup;
use crate::cli::serve::hashing::BackgroundHashing;
use crate::cli::serve::log::AccessLog;
use crate::cli::serve::reload::{self, Reload};
use crate::cli::serve::root::RootWatch;
use crate::cli::terminal::{counted, print_line, size};
use crate::server::{Published, ServerHandle, TransferCounters};

/// A running server and its parts.
pub(super) struct RunningServer {
    pub(super) handle: ServerHandle,
    counters: Arc<TransferCounters>,
    hashing: Arc<BackgroundHashing>,
    root: RootWatch,
    published: Arc<Published>,
    log: Mutex<Option<AccessLog>>,
    reload: Reload,
    reload_requests: OnceLock<Sender<()>>,
    started: Instant,
    drain_timeout: Duration,
    quiet: bool,
}

/// The parts of a server.
pub(super) struct ServerParts {
    pub(super) counters: Arc<TransferCounters>,
    pub(super) hashing: Arc<BackgroundHashing>,
    pub(super) root: RootWatch,
    pub(super) published: Arc<Published>,
    pub(super) log: Option<AccessLog>,
    pub(super) reload: Reload,
}

impl RunningServer {
    pub(super) fn new(setup: &Setup, handle: ServerHandle, parts: ServerParts) -> RunningServer {
        let ServerParts {
            counters,
            hashing,
            root,
            published,
            log,
            reload,
        } = parts;
        RunningServer {
            handle,
            counters,
            hashing,
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
        self.hashing.has_index()
    }

    /// Handles SIGHUP: asks the reload thread to read the options, and the root thread to check the
    /// root. Returns `false` if there is nothing to reload; then the signal ends the server.
    pub(super) fn reload(&self) -> bool {
        self.root.look();
        let Some(requests) = self.reload_requests.get() else {
            return false;
        };
        // A pending request will read the current files too.
        let _ = requests.try_send(());
        true
    }

    /// Starts the reload thread, if a configuration file or a log file is used. A thread of its
    /// own, because a blocked file must not block other signals.
    pub(super) fn reload_on_request(self: &Arc<RunningServer>) -> io::Result<()> {
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

    /// Announces the end, and lets running transfers finish.
    pub(super) fn drain(&self) {
        if !self.quiet {
            print_line(&match self.handle.stats().open {
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
        self.hashing.stop();
        self.handle.drain(self.drain_timeout);
    }

    /// Ends all parts, and prints the summary.
    pub(super) fn end(&self) {
        self.published.end(RUNS_END_TIMEOUT);
        self.hashing.end();
        let log = self.log().take();
        if let Some(log) = log {
            log.end();
        }
        if !self.quiet {
            let (server, transfers) = (self.handle.stats(), self.counters.snapshot());
            print_line(&format!(
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

/// How long to wait for the death of published commands that were killed.
const RUNS_END_TIMEOUT: Duration = Duration::from_secs(2);

//! The signals of a server.

use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};

use rustix::process::{Pid, getpid};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::cli::ExitCode;
use crate::cli::ending::{EndOnPanic, end_by, survive_file_size_limit};
use crate::cli::failure::{Failure, failure, no_thread};
use crate::cli::serve::args::Setup;
use crate::cli::serve::command;
use crate::cli::serve::log::LogDestination;
use crate::cli::serve::options::Words;
use crate::cli::serve::running::RunningServer;
use crate::process::{reap_orphans, was_ignored};

/// The thread that handles signals. It waits for nothing else.
pub(super) struct SignalThread {
    signals: Handle,
    thread: JoinHandle<Option<i32>>,
    reloadable: Arc<OnceLock<Arc<RunningServer>>>,
    server: Arc<OnceLock<Arc<RunningServer>>>,
    command: Arc<OnceLock<Pid>>,
}

impl SignalThread {
    /// Starts the thread. Until there is a server, a signal ends the process.
    pub(super) fn start(setup: &Setup, words: &Words) -> Result<SignalThread, Failure> {
        survive_file_size_limit();
        let caught = caught(setup, words);
        let reaps = caught.contains(&SIGCHLD);
        let mut signals = Signals::new(caught).map_err(failure(ExitCode::Unclassified))?;
        let handle = signals.handle();
        let (reloadable, server, command) = (Arc::default(), Arc::default(), Arc::default());
        let watched = SignalActions {
            reaps,
            reloadable: Arc::clone(&reloadable),
            server: Arc::clone(&server),
            has_command: setup.command.is_some(),
            command: Arc::clone(&command),
        };
        let named = Builder::new().name("ft-signals".to_owned());
        let thread = named
            .spawn(move || watched.act_on(&mut signals))
            .map_err(no_thread)?;
        Ok(SignalThread {
            signals: handle,
            thread,
            reloadable,
            server,
            command,
        })
    }

    /// Has SIGHUP reload this server from now on. It accepts connections a moment later, and from
    /// then on a SIGHUP must not end it.
    pub(super) fn can_reload(&self, running: &Arc<RunningServer>) {
        let _ = self.reloadable.set(Arc::clone(running));
    }

    /// Directs all signals to this server from now on.
    pub(super) fn has_server(&self, running: &Arc<RunningServer>) {
        let _ = self.server.set(Arc::clone(running));
    }

    /// Forwards signals to this command from now on.
    pub(super) fn has_command(&self, pid: Pid) {
        let _ = self.command.set(pid);
    }

    /// Ends the thread. Returns the first signal that ended the server.
    pub(super) fn end(self) -> Option<i32> {
        self.signals.close();
        self.thread.join().ok().flatten()
    }
}

/// The signals to handle. A signal that was ignored at the start stays ignored, except a SIGHUP
/// that can reload something.
fn caught(setup: &Setup, words: &Words) -> Vec<i32> {
    let has_log_file = setup.log.as_ref().is_some_and(LogDestination::is_file);
    let has_config = words.get("config").is_some_and(|words| !words.is_empty());
    let reloads = has_log_file || has_config;
    let is_caught = |signal: &i32| match *signal {
        SIGCHLD => getpid().is_init() || !setup.publish.is_empty(),
        SIGHUP => reloads || !was_ignored(SIGHUP),
        other => !was_ignored(other),
    };
    let signals = [SIGTERM, SIGINT, SIGHUP, SIGCHLD];
    signals.into_iter().filter(is_caught).collect()
}

struct SignalActions {
    reaps: bool,
    reloadable: Arc<OnceLock<Arc<RunningServer>>>,
    server: Arc<OnceLock<Arc<RunningServer>>>,
    has_command: bool,
    command: Arc<OnceLock<Pid>>,
}

impl SignalActions {
    fn act_on(&self, signals: &mut Signals) -> Option<i32> {
        let _guard = EndOnPanic;
        if self.reaps {
            // Orphans that died before the handler was installed sent no signal.
            reap_orphans();
        }
        let mut first = None;
        for signal in signals.forever() {
            if signal == SIGCHLD {
                reap_orphans();
                continue;
            }
            let server = self.server.get();
            if signal == SIGHUP {
                let reloads = self.reloadable.get().is_some_and(|server| server.reload());
                if reloads || was_ignored(SIGHUP) {
                    continue;
                }
            }
            let Some(server) = server else { end_by(signal) };
            match (self.command.get(), first) {
                (Some(pid), _) => command::pass_on(*pid, signal),
                (None, _) if self.has_command => end_by(signal),
                (None, None) => server.drain(),
                (None, Some(_)) => {}
            }
            if first.is_some() {
                server.handle.stop();
            }
            first = first.or(Some(signal));
        }
        first
    }
}

//! Commands of `--exec` and `--on-complete`: run without a shell, and within a time limit.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use rustix::process::{Signal, getpid};

use super::report::Reporter;
use crate::client::{Batch, ClientConfig, ClientError, Download, Downloaded, Item};
use crate::net::Address;
use crate::process::{Child, end_children, reap_orphans};
use crate::wire::ResourcePath;

/// A verified file for the command of `--exec`.
pub(super) struct Run {
    pub(super) index: usize,
    pub(super) address: Address,
    pub(super) path: ResourcePath,
    pub(super) download: Download,
    pub(super) downloaded: Downloaded,
    /// The path of the local file.
    pub(super) file: PathBuf,
}

/// How a command ended.
pub(super) enum CommandOutcome {
    /// It exited: its exit code, or 128 plus the signal that killed it.
    Status(i32),
    /// The time limit passed: its process group was killed, or it was not started.
    OutOfTime,
    /// It cannot be started.
    NotRun(io::Error),
}

impl Run {
    pub(super) fn item(&self) -> Item<'_> {
        Item {
            index: self.index,
            address: &self.address,
            path: &self.path,
            here: None,
        }
    }
}

/// Runs a batch, and the commands of `--exec` in a thread beside it, in the order in which files
/// finish. The batch waits for the commands only if [`RUNS_MAX`] are queued. Returns `false` if the
/// batch could not start; failures are reported either way.
pub(super) fn batch(batch: Batch<'_>, config: &ClientConfig, reporter: &mut Reporter<'_>) -> bool {
    let reporter = Mutex::new(reporter);
    let until = config.whole_timeout.and_then(deadline_after);
    let (runs_in, runs) = bounded(RUNS_MAX);
    let mut idle = Some(runs);
    let run_all = &|runs: Receiver<Run>| {
        for run in runs {
            run_one(&reporter, &run, until);
        }
    };
    thread::scope(|scope| {
        let ran = batch.run(config, &mut |event| {
            let run = lock(&reporter).take(event);
            let Some(run) = run else {
                return;
            };
            if let Some(runs) = idle.take() {
                // If the thread cannot start, sending fails, and the command runs in this thread.
                let named = Builder::new().name("ft-exec".to_owned());
                let _thread = named.spawn_scoped(scope, move || run_all(runs));
            }
            if let Err(unsent) = runs_in.send(run) {
                run_one(&reporter, &unsent.0, until);
            }
        });
        drop(runs_in);
        match &ran {
            Ok(summary) if summary.is_complete => {}
            Ok(_) => lock(&reporter).report_whole(&ClientError::OutOfTime),
            Err(error) => lock(&reporter).report_whole(error),
        }
        ran.is_ok()
    })
}

/// Kills the running command and its children before this program ends. The thread that waits for
/// the command then blocks for good.
pub(super) fn end_running() {
    IS_ENDING.store(true, Ordering::SeqCst);
    end_children(GRACE);
}

fn run_one(reporter: &Mutex<&mut Reporter<'_>>, run: &Run, until: Option<Instant>) {
    let (words, to_stderr) = {
        let reporter = lock(reporter);
        let style = reporter.style();
        (style.exec.as_deref().unwrap_or_default(), style.json)
    };
    let ended = match command(words, to_stderr) {
        Ok(mut command) => {
            command.arg(&run.file);
            run_to_end(command, until)
        }
        Err(error) => CommandOutcome::NotRun(error),
    };
    lock(reporter).report_command(run, ended);
}

/// Runs the command of `--on-complete` for at most `time_max`.
pub(super) fn complete<V: AsRef<OsStr>>(
    words: &[String],
    to_stderr: bool,
    variables: impl IntoIterator<Item = (String, V)>,
    time_max: Option<Duration>,
) -> CommandOutcome {
    match command(words, to_stderr) {
        Ok(mut command) => {
            command.envs(variables);
            run_to_end(command, time_max.and_then(deadline_after))
        }
        Err(error) => CommandOutcome::NotRun(error),
    }
}

/// Prepares a command with empty input. With `to_stderr` its output goes to standard error, because
/// standard output carries data.
fn command(words: &[String], to_stderr: bool) -> io::Result<Command> {
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    // Otherwise a command that calls ftget would start itself again and again.
    command
        .env_remove("FTGET_EXEC")
        .env_remove("FTGET_ON_COMPLETE");
    if to_stderr {
        command.stdout(io::stderr().as_fd().try_clone_to_owned()?);
    }
    Ok(command)
}

/// Runs a command and waits for its end. Only a command with a time limit gets its own process
/// group: without one, Ctrl-C in a terminal reaches it too.
fn run_to_end(mut command: Command, until: Option<Instant>) -> CommandOutcome {
    if until.is_some_and(|until| until <= Instant::now()) {
        return CommandOutcome::OutOfTime;
    }
    if until.is_some() {
        command.process_group(0);
    }
    let ended = Child::start(&mut command).and_then(|mut child| match until {
        None => child.wait().map(Some),
        Some(until) => wait_until(child, until),
    });
    while IS_ENDING.load(Ordering::SeqCst) {
        // Another thread ends the whole program.
        thread::park();
    }
    if getpid().is_init() {
        reap_orphans();
    }
    match ended {
        Ok(Some(status)) => {
            let signalled = || 128 + status.signal().unwrap_or(0);
            CommandOutcome::Status(status.code().unwrap_or_else(signalled))
        }
        Ok(None) => CommandOutcome::OutOfTime,
        Err(error) => CommandOutcome::NotRun(error),
    }
}

/// Waits for a child that has its own process group. At the time limit, kills the group and returns
/// `None`.
fn wait_until(mut child: Child, until: Instant) -> io::Result<Option<ExitStatus>> {
    let is_over = child.ends_by(until);
    if !is_over {
        child.signal_group(Signal::TERM);
        child.ends_by(Instant::now() + GRACE);
        child.kill(None);
    }
    let status = child.wait()?;
    Ok(is_over.then_some(status))
}

/// `None` if the time lies beyond what the clock can express.
fn deadline_after(time: Duration) -> Option<Instant> {
    Instant::now().checked_add(time)
}

fn lock<'m, 'r, 'a>(
    reporter: &'m Mutex<&'r mut Reporter<'a>>,
) -> MutexGuard<'m, &'r mut Reporter<'a>> {
    reporter.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Splits a command into words, as a shell would.
pub(super) fn words(command: &str, option: &str) -> Result<Vec<String>, String> {
    match shlex::split(command) {
        Some(words) if !words.is_empty() => Ok(words),
        Some(_) => Err(format!("{option} has no command")),
        None => Err(format!("{option} has a quote that does not end")),
    }
}

static IS_ENDING: AtomicBool = AtomicBool::new(false);
/// The time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(1);
/// The most verified files that wait for their command.
const RUNS_MAX: usize = 4_096;

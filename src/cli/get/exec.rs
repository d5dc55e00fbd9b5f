//! Commands of `--exec` and `--on-complete`: words, without a shell, and not beyond their time.

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

/// A verified file that the command of `--exec` is to run on.
pub(super) struct Run {
    pub(super) index: usize,
    pub(super) address: Address,
    pub(super) path: ResourcePath,
    pub(super) download: Download,
    pub(super) downloaded: Downloaded,
    /// The file here.
    pub(super) file: PathBuf,
}

/// How a command ended.
pub(super) enum Ended {
    /// By itself: its exit code, or 128 and the signal that ended it.
    Status(i32),
    /// Time was over: it was ended with its process group, or not begun.
    OutOfTime,
    /// It cannot be run.
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

/// Runs a batch, and beside it the commands of `--exec`, one after the other in the order in
/// which files are finished: the batch waits for them only if very many are left to run. Returns
/// whether it could begin; whatever else there is was told.
pub(super) fn batch(batch: Batch<'_>, config: &ClientConfig, reporter: &mut Reporter<'_>) -> bool {
    let reporter = Mutex::new(reporter);
    let until = config.whole_timeout.and_then(moment_after);
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
                // Without the thread what is sent comes back, and is run here.
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
            Ok(_) => lock(&reporter).tell_whole(&ClientError::OutOfTime),
            Err(error) => lock(&reporter).tell_whole(error),
        }
        ran.is_ok()
    })
}

/// Ends the command that runs, if one does, with all that it started: this program ends next.
/// The thread that waits for the command does not go on.
pub(super) fn end_running() {
    IS_ENDING.store(true, Ordering::SeqCst);
    end_children(GRACE);
}

fn run_one(reporter: &Mutex<&mut Reporter<'_>>, run: &Run, until: Option<Instant>) {
    let (words, to_stderr) = {
        let reporter = lock(reporter);
        let manner = reporter.manner();
        (manner.exec.as_deref().unwrap_or_default(), manner.json)
    };
    let ended = match command(words, to_stderr) {
        Ok(mut command) => {
            command.arg(&run.file);
            end_of(command, until)
        }
        Err(error) => Ended::NotRun(error),
    };
    lock(reporter).tell_run(run, ended);
}

/// Runs the command of `--on-complete`, which has so much time.
pub(super) fn complete<V: AsRef<OsStr>>(
    words: &[String],
    to_stderr: bool,
    variables: impl IntoIterator<Item = (String, V)>,
    time_max: Option<Duration>,
) -> Ended {
    match command(words, to_stderr) {
        Ok(mut command) => {
            command.envs(variables);
            end_of(command, time_max.and_then(moment_after))
        }
        Err(error) => Ended::NotRun(error),
    }
}

/// Its input is empty; its output goes to standard error where ours is for programs.
fn command(words: &[String], to_stderr: bool) -> io::Result<Command> {
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    // One that calls ftget would call itself without end.
    command
        .env_remove("FTGET_EXEC")
        .env_remove("FTGET_ON_COMPLETE");
    if to_stderr {
        command.stdout(io::stderr().as_fd().try_clone_to_owned()?);
    }
    Ok(command)
}

/// Runs it and waits for its end. Only one that has a time is a process group of its own: all
/// others end as this program does, when somebody presses Ctrl-C.
fn end_of(mut command: Command, until: Option<Instant>) -> Ended {
    if until.is_some_and(|until| until <= Instant::now()) {
        return Ended::OutOfTime;
    }
    if until.is_some() {
        command.process_group(0);
    }
    let ended = Child::start(&mut command).and_then(|mut child| match until {
        None => child.wait().map(Some),
        Some(until) => end_in_time(child, until),
    });
    while IS_ENDING.load(Ordering::SeqCst) {
        // Its end is that of the whole program, which another thread sees to.
        thread::park();
    }
    if getpid().is_init() {
        reap_orphans();
    }
    match ended {
        Ok(Some(status)) => {
            let signalled = || 128 + status.signal().unwrap_or(0);
            Ended::Status(status.code().unwrap_or_else(signalled))
        }
        Ok(None) => Ended::OutOfTime,
        Err(error) => Ended::NotRun(error),
    }
}

/// Waits for the end of a child that has a process group of its own; `None` if time was over
/// first, and it was ended with all that it started.
fn end_in_time(mut child: Child, until: Instant) -> io::Result<Option<ExitStatus>> {
    let is_over = child.ends_by(until);
    if !is_over {
        child.signal_group(Signal::TERM);
        child.ends_by(Instant::now() + GRACE);
        child.kill(None);
    }
    let status = child.wait()?;
    Ok(is_over.then_some(status))
}

/// None if it never comes.
fn moment_after(time: Duration) -> Option<Instant> {
    Instant::now().checked_add(time)
}

fn lock<'m, 'r, 'a>(
    reporter: &'m Mutex<&'r mut Reporter<'a>>,
) -> MutexGuard<'m, &'r mut Reporter<'a>> {
    reporter.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The words of a command, as a shell would split them.
pub(super) fn words(command: &str, option: &str) -> Result<Vec<String>, String> {
    match shlex::split(command) {
        Some(words) if !words.is_empty() => Ok(words),
        Some(_) => Err(format!("{option} has no command")),
        None => Err(format!("{option} has a quote that does not end")),
    }
}

static IS_ENDING: AtomicBool = AtomicBool::new(false);
/// From being asked to end to being ended.
const GRACE: Duration = Duration::from_secs(1);
/// Files that wait for their command.
const RUNS_MAX: usize = 4_096;

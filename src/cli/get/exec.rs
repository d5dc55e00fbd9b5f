//! Commands of `--exec` and `--on-complete`: words, without a shell.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Builder};

use crossbeam_channel::{Receiver, bounded};

use super::report::Reporter;
use crate::client::{Batch, ClientConfig, Download, Downloaded, Item};
use crate::net::Address;
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

impl Run {
    pub(super) fn item(&self) -> Item<'_> {
        Item {
            index: self.index,
            address: &self.address,
            path: &self.path,
        }
    }
}

/// Runs a batch, and beside it the commands of `--exec`, one after the other in the order in
/// which files are finished: the batch waits for them only if very many are left to run.
pub(super) fn batch(batch: Batch<'_>, config: &ClientConfig, reporter: &mut Reporter<'_>) {
    let reporter = Mutex::new(reporter);
    let (runs_in, runs) = bounded(RUNS_MAX);
    let run_all = |runs: Receiver<Run>| {
        for run in runs {
            run_one(&reporter, &run);
        }
    };
    thread::scope(|scope| {
        // Without the thread what is sent comes back, and is run here.
        let named = Builder::new().name("ft-exec".to_owned());
        let _thread = named.spawn_scoped(scope, || run_all(runs));
        let summary = batch.run(config, &mut |event| {
            let run = lock(&reporter).take(event);
            if let Some(run) = run
                && let Err(unsent) = runs_in.send(run)
            {
                run_one(&reporter, &unsent.0);
            }
        });
        if !summary.is_complete {
            lock(&reporter).tell_incomplete();
        }
        drop(runs_in);
    });
}

fn run_one(reporter: &Mutex<&mut Reporter<'_>>, run: &Run) {
    let (words, to_stderr) = {
        let reporter = lock(reporter);
        let manner = reporter.manner();
        (manner.exec.as_deref().unwrap_or_default(), manner.json)
    };
    let ended = command(words, to_stderr).and_then(|mut command| {
        command.arg(&run.file);
        end_of(command)
    });
    lock(reporter).tell_run(run, ended);
}

/// Runs the command of `--on-complete`; says how it ended.
///
/// # Errors
/// It cannot be started.
pub(super) fn complete<V: AsRef<OsStr>>(
    words: &[String],
    to_stderr: bool,
    variables: impl IntoIterator<Item = (String, V)>,
) -> io::Result<i32> {
    let mut command = command(words, to_stderr)?;
    command.envs(variables);
    end_of(command)
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

/// Waits for the end: the exit code, or 128 and the signal that ended it.
fn end_of(mut command: Command) -> io::Result<i32> {
    let status = command.status()?;
    Ok(status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}

fn lock<'m, 'r, 'a>(
    reporter: &'m Mutex<&'r mut Reporter<'a>>,
) -> MutexGuard<'m, &'r mut Reporter<'a>> {
    reporter.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Files that wait for their command.
const RUNS_MAX: usize = 4_096;

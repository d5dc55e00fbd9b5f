//! `ftserve index`: hashes a tree into the index, with progress on standard error.

mod args;
mod progress;

use std::ffi::OsString;
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::args::IndexArgs;
use self::progress::{IndexProgress, first_line};
use crate::cli::blocking::Snapshot;
use crate::cli::digests::{IndexChoice, describe};
use crate::cli::ending::{End, EndOnPanic, end_by, survive_file_size_limit};
use crate::cli::failure::{Failure, failure, no_thread, sentence};
use crate::cli::settings::{self, Settings, SettingsError};
use crate::cli::terminal::shown;
use crate::cli::usage;
use crate::cli::values::Hidden;
use crate::cli::{ExitCode, visible};
use crate::digest::Pools;
use crate::process::was_ignored;
use crate::store::{
    DirectoryOptions, DirectoryStore, FileIndex, IndexError, IndexEvent, Indexing, IndexingError,
    IndexingProgress, Priority,
};
use crate::wire::ResourcePath;

/// Runs `ftserve index` with these arguments, the program's name and `index` first.
pub(super) fn index(args: &[OsString]) -> process::ExitCode {
    let args = match settings::read::<IndexArgs>(&args[1..], "FTSERVE", None) {
        Ok(Settings { args, .. }) => args,
        Err(SettingsError::EnvironmentOrFile(sentence)) => {
            return failure(ExitCode::Usage)(sentence).print();
        }
        Err(SettingsError::CommandLine(error)) => {
            return usage::show(&error, "ftserve index", &[]).into();
        }
    };
    match index_tree(args) {
        Ok(end) => end.take(),
        Err(failure) => failure.print(),
    }
}

fn index_tree(args: IndexArgs) -> Result<End, Failure> {
    survive_file_size_limit();
    // A signal that was ignored at the start stays ignored.
    let caught = [SIGTERM, SIGINT]
        .into_iter()
        .filter(|signal| !was_ignored(*signal));
    let signals = Signals::new(caught).map_err(failure(ExitCode::Unclassified))?;
    let choice = IndexChoice::from_arg(args.index);
    let Some(path) = choice.file().map(Path::to_owned) else {
        let reason = match choice {
            IndexChoice::MemoryInstead(reason) => {
                format!("no file for digests: {reason}")
            }
            _ => "no file for digests".to_owned(),
        };
        let mut usage = failure(ExitCode::Usage)(reason);
        usage.hint = Some("--index FILE sets the file");
        return Err(usage);
    };
    let options = DirectoryOptions {
        show_hidden: args.hidden == Hidden::Show,
        follow_links_inside: true,
    };
    let tree = DirectoryStore::open_root(&args.path, options).map_err(|error| {
        failure(ExitCode::LocalFile)(format!("cannot read {}: {error}", shown(&args.path)))
    })?;
    let progress = IndexProgress::new(args.quiet);
    let (index_failure, lines) = (Arc::new(IndexFailure::default()), progress.clone());
    let (reporting, reported) = (Arc::clone(&index_failure), path.clone());
    let index = FileIndex::open(&path, move |event| {
        lines.line(&format!(
            "ftserve: warning: {}",
            describe(&reported, &event)
        ));
        reporting.take(&event);
    });
    let index = Arc::new(index.map_err(|error| {
        let text = format!(
            "index {} cannot be used: {}",
            shown(&path),
            sentence(&error)
        );
        failure(exit_code(&error))(text)
    })?);
    let indexing = Arc::new(start(tree, &index, &progress)?);
    let caught = Arc::new(CaughtSignals::default());
    let (acting, stopped) = (Arc::clone(&caught), Arc::clone(&indexing));
    thread::Builder::new()
        .name("ft-signals".to_owned())
        .spawn(move || acting.act_on(signals, &stopped))
        .map_err(no_thread)?;
    watch(&indexing, &progress, &caught);
    if !index.close(CLOSE_TIMEOUT) {
        index_failure.set(ExitCode::LocalFile);
    }
    let outcome = indexing.progress();
    progress.end(&outcome);
    Ok(match caught.first.get() {
        Some(&signal) => End::Signal(signal),
        None => {
            let whole = match is_whole(&outcome) {
                true => ExitCode::Success,
                false => ExitCode::LocalFile,
            };
            End::Code(index_failure.get().unwrap_or(whole) as u8)
        }
    })
}

fn start(
    tree: DirectoryStore,
    index: &Arc<FileIndex>,
    progress: &IndexProgress,
) -> Result<Indexing, Failure> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let pools = Pools::start(cores).map_err(no_thread)?;
    let progress = progress.clone();
    let on_failure = move |path: &ResourcePath, error: &IndexingError| {
        let name = match path.as_bytes() {
            b"" => ".",
            name => &visible(name),
        };
        progress.line(&format!("ftserve: {name}: {error}"));
    };
    let index = Arc::clone(index);
    Indexing::start(
        Arc::new(tree),
        index,
        Arc::new(pools),
        Priority::Foreground,
        on_failure,
    )
    .map_err(no_thread)
}

/// Shows progress until all files are hashed, or a signal has stopped the hashing.
fn watch(indexing: &Indexing, progress: &IndexProgress, caught: &CaughtSignals) {
    let mut next_line = first_line();
    // The first signal waits for files that are being read. The second does not: a read may hang.
    while !indexing.wait(LOOK_INTERVAL) && caught.count.load(Ordering::SeqCst) < 2 {
        progress.show(&indexing.progress(), &mut next_line);
    }
}

/// The signals that arrived.
#[derive(Default)]
struct CaughtSignals {
    first: OnceLock<i32>,
    count: AtomicUsize,
}

impl CaughtSignals {
    /// Handles signals. The first stops the hashing, and the digests so far are kept.
    fn act_on(&self, mut signals: Signals, indexing: &Indexing) {
        let _guard = EndOnPanic;
        for signal in signals.forever() {
            let _ = self.first.set(signal);
            indexing.stop();
            match self.count.fetch_add(1, Ordering::SeqCst) {
                0 => end_if_unread(signal),
                1 => {}
                _ => end_by(signal),
            }
        }
    }
}

/// Starts a thread that ends the process by this signal if nobody reads its messages.
fn end_if_unread(signal: i32) {
    let named = thread::Builder::new().name("ft-end".to_owned());
    let watch = move || {
        loop {
            let snapshot = Snapshot::take();
            thread::sleep(UNREAD_TIMEOUT);
            if snapshot.held_up().is_some() {
                end_by(signal);
            }
        }
    };
    // If there is no thread, the next signals end the process.
    let _ = named.spawn(watch);
}

/// Whether the walk is complete and no file failed.
fn is_whole(progress: &IndexingProgress) -> bool {
    progress.is_all_found && progress.failed.files == 0
}

/// The exit code if the index file lacks some of the new digests.
#[derive(Default)]
struct IndexFailure(Mutex<Option<ExitCode>>);

impl IndexFailure {
    fn take(&self, event: &IndexEvent) {
        match event {
            IndexEvent::SetAside { .. } => {}
            IndexEvent::NotWritten(error) | IndexEvent::GivenUp(error) => {
                self.set(exit_code(error));
            }
        }
    }

    fn set(&self, code: ExitCode) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(code);
    }

    fn get(&self) -> Option<ExitCode> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn exit_code(error: &IndexError) -> ExitCode {
    match error {
        IndexError::Full => ExitCode::NoSpace,
        IndexError::Directory(_)
        | IndexError::NotAFile
        | IndexError::NotOurs { .. }
        | IndexError::NetworkFileSystem(_)
        | IndexError::Foreign
        | IndexError::Newer { .. }
        | IndexError::Damaged(_)
        | IndexError::Locked
        | IndexError::ReadOnly
        | IndexError::NoThread(_)
        | IndexError::Failed(_) => ExitCode::LocalFile,
    }
}

/// How long a message may wait for its reader after a signal.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(1);
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

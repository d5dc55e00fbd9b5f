//! `ftserve index`: hashes a tree into the index, while somebody watches.

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

use self::args::Args;
use self::progress::{Progress, first_line};
use crate::cli::digests::{IndexChoice, told};
use crate::cli::ending::{End, EndOnPanic, end_by, survive_file_size_limit};
use crate::cli::failure::{Failure, failure, no_thread, sentence};
use crate::cli::outside::Snapshot;
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
    let args = match settings::read::<Args>(&args[1..], "FTSERVE", None) {
        Ok(Settings { typed, .. }) => typed,
        Err(SettingsError::Elsewhere(sentence)) => {
            return failure(ExitCode::Usage)(sentence).complain();
        }
        Err(SettingsError::Typed(error)) => {
            return usage::show(&error, "ftserve index", &[]).into();
        }
    };
    match index_tree(args) {
        Ok(end) => end.take(),
        Err(failure) => failure.complain(),
    }
}

fn index_tree(args: Args) -> Result<End, Failure> {
    survive_file_size_limit();
    // One that was ignored at the start stays so.
    let caught = [SIGTERM, SIGINT]
        .into_iter()
        .filter(|signal| !was_ignored(*signal));
    let signals = Signals::new(caught).map_err(failure(ExitCode::Unclassified))?;
    let choice = IndexChoice::from_typed(args.index);
    let Some(path) = choice.file().map(Path::to_owned) else {
        let reason = match choice {
            IndexChoice::NoPlace(reason) => {
                format!("there is no file to keep digests in: {reason}")
            }
            _ => "there is no file to keep digests in".to_owned(),
        };
        let mut usage = failure(ExitCode::Usage)(reason);
        usage.hint = Some("name one: --index FILE");
        return Err(usage);
    };
    let options = DirectoryOptions {
        show_hidden: args.hidden == Hidden::Show,
        follow_links_inside: true,
    };
    let tree = DirectoryStore::open_root(&args.path, options).map_err(|error| {
        failure(ExitCode::LocalFile)(format!("cannot read {}: {error}", shown(&args.path)))
    })?;
    let progress = Progress::new(args.quiet);
    let (trouble, lines) = (Arc::new(Trouble::default()), progress.clone());
    let (reporting, reported) = (Arc::clone(&trouble), path.clone());
    let index = FileIndex::open(&path, move |event| {
        lines.line(&format!("ftserve: warning: {}", told(&reported, &event)));
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
    let caught = Arc::new(Caught::default());
    let (acting, stopped) = (Arc::clone(&caught), Arc::clone(&indexing));
    thread::Builder::new()
        .name("ft-signals".to_owned())
        .spawn(move || acting.act_on(signals, &stopped))
        .map_err(no_thread)?;
    watch(&indexing, &progress, &caught);
    if !index.close(CLOSE_TIMEOUT) {
        trouble.set(ExitCode::LocalFile);
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
            End::Code(trouble.get().unwrap_or(whole) as u8)
        }
    })
}

fn start(
    tree: DirectoryStore,
    index: &Arc<FileIndex>,
    progress: &Progress,
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

/// Shows progress until the end, or until a signal has ended it.
fn watch(indexing: &Indexing, progress: &Progress, caught: &Caught) {
    let mut next_line = first_line();
    // The second one does not wait for a file that cannot be read.
    while !indexing.wait(LOOK_INTERVAL) && caught.count.load(Ordering::SeqCst) < 2 {
        progress.show(&indexing.progress(), &mut next_line);
    }
}

/// The signals that came.
#[derive(Default)]
struct Caught {
    first: OnceLock<i32>,
    count: AtomicUsize,
}

impl Caught {
    /// Acts on signals: the first ends the indexing, and what is hashed is kept.
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

/// Has the process end by this signal where it waits for the reader of its messages.
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
    // Without the thread another signal ends it.
    let _ = named.spawn(watch);
}

/// Whether every file that was found is in the index now.
fn is_whole(progress: &IndexingProgress) -> bool {
    progress.is_all_found && progress.failed.files == 0
}

/// Why, if so, not everything that was hashed is in the file.
#[derive(Default)]
struct Trouble(Mutex<Option<ExitCode>>);

impl Trouble {
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
        IndexError::Folder(_)
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

/// How long a message may wait for its reader once the end has come.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(1);
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

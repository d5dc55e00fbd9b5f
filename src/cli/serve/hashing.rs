//! Hashing in the background: keeps the index file, and hashes files before clients request them.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cli::digests::OpenedIndex;
use crate::cli::terminal::print_line;
use crate::digest::Pools;
use crate::store::{
    DigestIndex, DirectoryStore, FileIndex, Indexing, IndexingError, InotifyLimit, Priority,
    Watching,
};
use crate::wire::ResourcePath;

/// The index file and the hashing that fills it. Both are absent if digests are kept in memory and
/// the directory is not watched.
pub(super) struct BackgroundHashing {
    file: Option<Arc<FileIndex>>,
    index: Arc<dyn DigestIndex>,
    tree: Arc<DirectoryStore>,
    pools: Arc<Pools>,
    /// `None` if nothing is hashed in advance, or no thread could start.
    ahead: Mutex<Option<Ahead>>,
    is_stopped: AtomicBool,
}

/// The files that are hashed before clients request them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HashAhead {
    /// No files.
    Nothing,
    /// The files at the start, if their digests outlive the server.
    Once,
    /// The files at the start, and each file that changes.
    Always,
}

/// Hashing in progress.
enum Ahead {
    Once(Indexing),
    Always(Watching),
}

impl BackgroundHashing {
    /// Starts the hashing. It runs while no client waits for a digest.
    pub(super) fn start(
        index: &OpenedIndex,
        tree: &Arc<DirectoryStore>,
        pools: &Arc<Pools>,
        what: HashAhead,
    ) -> BackgroundHashing {
        let file = match index {
            OpenedIndex::File(file) => Some(Arc::clone(file)),
            OpenedIndex::Other(_) => None,
        };
        let hashing = BackgroundHashing {
            index: index.index(),
            tree: Arc::clone(tree),
            pools: Arc::clone(pools),
            ahead: Mutex::default(),
            is_stopped: AtomicBool::new(false),
            file,
        };
        let ahead = match what {
            HashAhead::Always => hashing.watch().or_else(|error| {
                warn(
                    &error,
                    "no directory can be watched",
                    "files are hashed now, and changed files when they are requested",
                );
                hashing.hash_once()
            }),
            HashAhead::Once if hashing.has_index() => hashing.hash_once(),
            HashAhead::Once | HashAhead::Nothing => return hashing,
        };
        match ahead {
            Ok(ahead) => *hashing.ahead() = Some(ahead),
            Err(error) => warn_of_no_thread(&error),
        }
        hashing
    }

    fn watch(&self) -> io::Result<Ahead> {
        let (tree, index, pools) = self.parts();
        let watching = Watching::start(tree, index, pools, ignore_failure, warn_of_part);
        watching.map(Ahead::Always)
    }

    fn hash_once(&self) -> io::Result<Ahead> {
        let (tree, index, pools) = self.parts();
        Indexing::start(tree, index, pools, Priority::Background, ignore_failure).map(Ahead::Once)
    }

    fn parts(&self) -> (Arc<DirectoryStore>, Arc<dyn DigestIndex>, Arc<Pools>) {
        let index = Arc::clone(&self.index);
        (Arc::clone(&self.tree), index, Arc::clone(&self.pools))
    }

    /// Whether digests outlive the server.
    pub(super) fn has_index(&self) -> bool {
        self.file.is_some()
    }

    /// Whether files are hashed in advance.
    pub(super) fn hashes_ahead(&self) -> bool {
        self.ahead().is_some()
    }

    /// Continues with the directory that the root's name leads to now.
    pub(super) fn follow_root(&self) {
        let mut ahead = self.ahead();
        match &*ahead {
            // The server ends.
            _ if self.is_stopped.load(Ordering::SeqCst) => {}
            Some(Ahead::Once(indexing)) => {
                indexing.stop();
                match self.hash_once() {
                    Ok(again) => *ahead = Some(again),
                    Err(error) => warn_of_no_thread(&error),
                }
            }
            Some(Ahead::Always(watching)) => watching.check_root(),
            None => {}
        }
    }

    /// Stops the hashing, so that the server can end.
    pub(super) fn stop(&self) {
        let ahead = self.ahead();
        self.is_stopped.store(true, Ordering::SeqCst);
        match &*ahead {
            Some(Ahead::Once(indexing)) => indexing.stop(),
            Some(Ahead::Always(watching)) => watching.stop(),
            None => {}
        }
    }

    /// Stops the hashing, and writes the digests to the index.
    pub(super) fn end(&self) {
        self.stop();
        match &*self.ahead() {
            Some(Ahead::Once(indexing)) => indexing.wait(END_TIMEOUT),
            Some(Ahead::Always(watching)) => watching.wait(END_TIMEOUT),
            None => true,
        };
        if let Some(file) = &self.file {
            file.close(END_TIMEOUT);
        }
    }

    fn ahead(&self) -> MutexGuard<'_, Option<Ahead>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The client that requests an unreadable file gets the error then.
fn ignore_failure(_: &ResourcePath, _: &IndexingError) {}

fn warn_of_no_thread(error: &io::Error) {
    warn(
        error,
        "cannot start a thread",
        "files are hashed when they are requested",
    );
}

fn warn_of_part(error: &io::Error) {
    match InotifyLimit::of(error) {
        Some(InotifyLimit::QueuedEvents) => warn(
            error,
            "too much changed at once",
            "the whole directory is read again",
        ),
        _ => warn(
            error,
            "not every directory can be watched",
            "changes there are hashed later",
        ),
    }
}

fn warn(error: &io::Error, what: &str, consequence: &str) {
    let mut text = format!("ftserve: warning: {what}: {error}; {consequence}");
    if let Some(limit) = InotifyLimit::of(error) {
        text.push_str(&format!(
            "\nhint: sysctl -w {}=N raises the limit",
            limit.sysctl()
        ));
    }
    print_line(&text);
}

/// Enough for writes in progress. A hanging disk loses digests, which can be computed again.
const END_TIMEOUT: Duration = Duration::from_secs(2);

//! What goes on beside the server: an index in a file, and the hashing of what nobody has
//! asked for yet.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cli::digests::Opened;
use crate::cli::terminal::tell;
use crate::digest::Pools;
use crate::store::{
    DigestIndex, DirectoryStore, FileIndex, Indexing, IndexingError, InotifyLimit, Priority,
    Watching,
};
use crate::wire::ResourcePath;

/// An index that outlives the server, and the hashing that fills it; neither, where digests
/// are kept in memory only and nothing is to be watched.
pub(super) struct Beside {
    file: Option<Arc<FileIndex>>,
    index: Arc<dyn DigestIndex>,
    tree: Arc<DirectoryStore>,
    pools: Arc<Pools>,
    /// `None`: nothing is hashed ahead, or there are no threads for it.
    ahead: Mutex<Option<Ahead>>,
    is_stopped: AtomicBool,
}

/// What is hashed before anybody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HashAhead {
    /// Nothing.
    Nothing,
    /// What is there at the start, if its digests outlive the server.
    Once,
    /// That, and what changes.
    Always,
}

/// Hashing that is under way.
enum Ahead {
    Once(Indexing),
    Always(Watching),
}

impl Beside {
    /// Begins to hash, if there is a place for it, once nobody waits for a digest.
    pub(super) fn start(
        index: &Opened,
        tree: &Arc<DirectoryStore>,
        pools: &Arc<Pools>,
        what: HashAhead,
    ) -> Beside {
        let file = match index {
            Opened::File(file) => Some(Arc::clone(file)),
            Opened::Other(_) => None,
        };
        let beside = Beside {
            index: index.index(),
            tree: Arc::clone(tree),
            pools: Arc::clone(pools),
            ahead: Mutex::default(),
            is_stopped: AtomicBool::new(false),
            file,
        };
        let ahead = match what {
            HashAhead::Always => beside.watch().or_else(|error| {
                warn(
                    &error,
                    "no directory can be watched",
                    "files are hashed now, and what changes when it is asked for",
                );
                beside.hash_once()
            }),
            HashAhead::Once if beside.has_index() => beside.hash_once(),
            HashAhead::Once | HashAhead::Nothing => return beside,
        };
        match ahead {
            Ok(ahead) => *beside.ahead() = Some(ahead),
            Err(error) => warn_of_no_thread(&error),
        }
        beside
    }

    fn watch(&self) -> io::Result<Ahead> {
        let (tree, index, pools) = self.parts();
        let watching = Watching::start(tree, index, pools, unheard, warn_of_part);
        watching.map(Ahead::Always)
    }

    fn hash_once(&self) -> io::Result<Ahead> {
        let (tree, index, pools) = self.parts();
        Indexing::start(tree, index, pools, Priority::Background, unheard).map(Ahead::Once)
    }

    fn parts(&self) -> (Arc<DirectoryStore>, Arc<dyn DigestIndex>, Arc<Pools>) {
        let index = Arc::clone(&self.index);
        (Arc::clone(&self.tree), index, Arc::clone(&self.pools))
    }

    /// Whether digests outlive the server.
    pub(super) fn has_index(&self) -> bool {
        self.file.is_some()
    }

    /// Whether anything is hashed before somebody asks for it.
    pub(super) fn hashes_ahead(&self) -> bool {
        self.ahead().is_some()
    }

    /// Goes on with what the tree's root is now.
    pub(super) fn follow_root(&self) {
        let mut ahead = self.ahead();
        match &*ahead {
            // Stopped: the server ends.
            _ if self.is_stopped.load(Ordering::SeqCst) => {}
            Some(Ahead::Once(indexing)) => {
                indexing.stop();
                match self.hash_once() {
                    Ok(again) => *ahead = Some(again),
                    Err(error) => warn_of_no_thread(&error),
                }
            }
            Some(Ahead::Always(watching)) => watching.look_again(),
            None => {}
        }
    }

    /// Lets the server end.
    pub(super) fn stop(&self) {
        let ahead = self.ahead();
        self.is_stopped.store(true, Ordering::SeqCst);
        match &*ahead {
            Some(Ahead::Once(indexing)) => indexing.stop(),
            Some(Ahead::Always(watching)) => watching.stop(),
            None => {}
        }
    }

    /// Keeps what was learnt.
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

/// Who asks for a file that cannot be read is told so then.
fn unheard(_: &ResourcePath, _: &IndexingError) {}

fn warn_of_no_thread(error: &io::Error) {
    warn(
        error,
        "cannot start a thread",
        "files are hashed when they are asked for",
    );
}

fn warn_of_part(error: &io::Error) {
    match InotifyLimit::of(error) {
        Some(InotifyLimit::QueuedEvents) => warn(
            error,
            "too much changed at once",
            "the whole directory is looked through",
        ),
        _ => warn(
            error,
            "not every directory can be watched",
            "what changes unseen is hashed later",
        ),
    }
}

fn warn(error: &io::Error, what: &str, consequence: &str) {
    let mut text = format!("ftserve: warning: {what}: {error}; {consequence}");
    if let Some(limit) = InotifyLimit::of(error) {
        text.push_str(&format!("\nhint: sysctl -w {}=N raises it", limit.sysctl()));
    }
    tell(&text);
}

/// Long enough for what is on its way; what a disk that hangs loses can be made anew.
const END_TIMEOUT: Duration = Duration::from_secs(2);

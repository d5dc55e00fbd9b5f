//! What goes on beside the server: an index in a file, and the hashing of what nobody has
//! asked for yet.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::digests::Opened;
use crate::cli::terminal::tell;
use crate::digest::Pools;
use crate::store::{
    DirectoryStore, FileIndex, Indexing, IndexingError, InotifyLimit, Priority, Watching,
};
use crate::wire::ResourcePath;

/// An index that outlives the server, and the hashing that fills it; neither, where digests
/// are kept in memory only and nothing is to be watched.
#[derive(Default)]
pub(super) struct Beside {
    index: Option<Arc<FileIndex>>,
    ahead: Option<Ahead>,
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
        let once = || {
            let (tree, pools) = (Arc::clone(tree), Arc::clone(pools));
            Indexing::start(tree, index.index(), pools, Priority::Background, unheard)
        };
        let ahead = match what {
            HashAhead::Always => {
                let (tree, pools) = (Arc::clone(tree), Arc::clone(pools));
                let watching = Watching::start(tree, index.index(), pools, unheard, warn_of_part);
                watching.map(Ahead::Always).or_else(|error| {
                    warn(
                        &error,
                        "no folder can be watched",
                        "files are hashed now, and what changes when it is asked for",
                    );
                    once().map(Ahead::Once)
                })
            }
            HashAhead::Once if file.is_some() => once().map(Ahead::Once),
            HashAhead::Once | HashAhead::Nothing => {
                return Beside {
                    index: file,
                    ahead: None,
                };
            }
        };
        Beside {
            index: file,
            // Without threads there is nothing but requests.
            ahead: ahead.ok(),
        }
    }

    /// Whether digests outlive the server.
    pub(super) fn has_index(&self) -> bool {
        self.index.is_some()
    }

    /// Lets the server end.
    pub(super) fn stop(&self) {
        match &self.ahead {
            Some(Ahead::Once(indexing)) => indexing.stop(),
            Some(Ahead::Always(watching)) => watching.stop(),
            None => {}
        }
    }

    /// Keeps what was learnt.
    pub(super) fn end(&self) {
        self.stop();
        match &self.ahead {
            Some(Ahead::Once(indexing)) => indexing.wait(END_TIMEOUT),
            Some(Ahead::Always(watching)) => watching.wait(END_TIMEOUT),
            None => true,
        };
        if let Some(index) = &self.index {
            index.close(END_TIMEOUT);
        }
    }
}

/// Who asks for a file that cannot be read is told so then.
fn unheard(_: &ResourcePath, _: &IndexingError) {}

fn warn_of_part(error: &io::Error) {
    match InotifyLimit::of(error) {
        Some(InotifyLimit::QueuedEvents) => warn(
            error,
            "too much changed at once",
            "the whole folder is looked through",
        ),
        _ => warn(
            error,
            "not every folder can be watched",
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

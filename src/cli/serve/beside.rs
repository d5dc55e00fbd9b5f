//! What goes on beside the server: an index in a file, and the hashing of what nobody has
//! asked for yet.

use std::sync::Arc;
use std::time::Duration;

use crate::cli::index::Opened;
use crate::digest::Pools;
use crate::store::{DirectoryStore, FileIndex, Indexing, Priority};

/// An index that outlives the server, and the hashing that fills it; neither, where digests
/// are kept in memory only.
#[derive(Default)]
pub(super) struct Beside {
    index: Option<Arc<FileIndex>>,
    indexing: Option<Indexing>,
}

impl Beside {
    /// Begins to hash, if there is a place for it, once nobody waits for a digest.
    pub(super) fn start(
        index: &Opened,
        tree: &Arc<DirectoryStore>,
        pools: &Arc<Pools>,
        wants_prehash: bool,
    ) -> Beside {
        let Opened::File(file) = index else {
            return Beside::default();
        };
        let indexing = wants_prehash.then(|| {
            let (tree, pools) = (Arc::clone(tree), Arc::clone(pools));
            // Who asks for a file that cannot be read is told so then.
            let on_failure = |_: &_, _: &_| {};
            Indexing::start(tree, index.index(), pools, Priority::Background, on_failure)
        });
        Beside {
            index: Some(Arc::clone(file)),
            // Without threads there is nothing but requests.
            indexing: indexing.and_then(Result::ok),
        }
    }

    /// Whether digests outlive the server.
    pub(super) fn has_index(&self) -> bool {
        self.index.is_some()
    }

    /// Lets the server end.
    pub(super) fn stop(&self) {
        if let Some(indexing) = &self.indexing {
            indexing.stop();
        }
    }

    /// Keeps what was learnt.
    pub(super) fn end(&self) {
        self.stop();
        if let Some(indexing) = &self.indexing {
            indexing.wait(END_TIMEOUT);
        }
        if let Some(index) = &self.index {
            index.close(END_TIMEOUT);
        }
    }
}

/// Long enough for what is on its way; what a disk that hangs loses can be made anew.
const END_TIMEOUT: Duration = Duration::from_secs(2);

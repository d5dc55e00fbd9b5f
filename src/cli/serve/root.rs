//! The root of a server that runs: reporting that its name leads elsewhere, and hashing what is
//! there.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::cli::serve::beside::Beside;
use crate::cli::terminal::{shown, tell};
use crate::store::{DirectoryStore, RootChange};

/// Has a thread look where the root's name leads. To look may take as long as a file system
/// likes, and to report as long as the reader of the report: neither a signal nor a request waits
/// for it.
pub(super) struct RootWatch {
    events: Sender<Event>,
}

enum Event {
    Look,
    Changed(RootChange),
}

impl RootWatch {
    /// Begins to report what becomes of the root; quietly only that it is away.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(super) fn start(
        root: &Path,
        store: &Arc<DirectoryStore>,
        beside: &Arc<Beside>,
        quiet: bool,
    ) -> io::Result<RootWatch> {
        let (events, received) = bounded(EVENTS_MAX);
        let changes = events.clone();
        // A report that has no room is one of many that nobody reads.
        store.on_root_change(move |change| drop(changes.try_send(Event::Changed(change))));
        let (root, store, beside) = (shown(root), Arc::clone(store), Arc::clone(beside));
        thread::Builder::new()
            .name("ft-root".to_owned())
            .spawn(move || watch(&root, &store, &beside, quiet, &received))?;
        Ok(RootWatch { events })
    }

    /// Looks where the root's name leads, soon.
    pub(super) fn look(&self) {
        let _ = self.events.try_send(Event::Look);
    }
}

fn watch(
    root: &str,
    store: &DirectoryStore,
    beside: &Beside,
    quiet: bool,
    received: &Receiver<Event>,
) {
    loop {
        // Requests look by themselves; where there are none, only what is hashed ahead goes by it.
        let event = match beside.hashes_ahead() {
            true => received.recv_timeout(LOOK_INTERVAL),
            false => received.recv().map_err(RecvTimeoutError::from),
        };
        match event {
            Ok(Event::Changed(change)) => {
                beside.follow_root();
                report(root, &change, quiet);
            }
            Ok(Event::Look) | Err(RecvTimeoutError::Timeout) => store.look_again(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn report(root: &str, change: &RootChange, quiet: bool) {
    match change {
        RootChange::Away(error) => tell(&format!(
            "ftserve: warning: root {root} cannot be served: {error}; requests are answered \
             with not_found until it is back"
        )),
        RootChange::Replaced if !quiet => tell(&format!(
            "root {root} is another one now; requests from here on are answered from it"
        )),
        RootChange::Back if !quiet => tell(&format!("root {root} is back")),
        RootChange::Replaced | RootChange::Back => {}
    }
}

const EVENTS_MAX: usize = 64;
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

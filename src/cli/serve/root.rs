//! Watches the root of a running server: reports that its name leads to another directory, and
//! hashes the files there.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::cli::serve::hashing::BackgroundHashing;
use crate::cli::terminal::{print_line, shown};
use crate::store::{DirectoryStore, RootChange};

/// Checks in a thread where the root's name leads. A check can hang on a file system, and a report
/// on its reader, so neither may run in the threads of signals and requests.
pub(super) struct RootWatch {
    events: Sender<RootEvent>,
}

enum RootEvent {
    Look,
    Changed(RootChange),
}

impl RootWatch {
    /// Starts to report changes of the root. With `quiet`, only that it is missing.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(
        root: &Path,
        store: &Arc<DirectoryStore>,
        hashing: &Arc<BackgroundHashing>,
        quiet: bool,
    ) -> io::Result<RootWatch> {
        let (events, received) = bounded(EVENTS_MAX);
        let changes = events.clone();
        // If the queue is full, nobody reads the reports.
        store.on_root_change(move |change| drop(changes.try_send(RootEvent::Changed(change))));
        let (root, store, hashing) = (shown(root), Arc::clone(store), Arc::clone(hashing));
        thread::Builder::new()
            .name("ft-root".to_owned())
            .spawn(move || watch(&root, &store, &hashing, quiet, &received))?;
        Ok(RootWatch { events })
    }

    /// Asks the thread to check where the root's name leads.
    pub(super) fn look(&self) {
        let _ = self.events.try_send(RootEvent::Look);
    }
}

fn watch(
    root: &str,
    store: &DirectoryStore,
    hashing: &BackgroundHashing,
    quiet: bool,
    received: &Receiver<RootEvent>,
) {
    loop {
        // Each request checks the root itself. Without requests only the hashing needs a check.
        let event = match hashing.hashes_ahead() {
            true => received.recv_timeout(LOOK_INTERVAL),
            false => received.recv().map_err(RecvTimeoutError::from),
        };
        match event {
            Ok(RootEvent::Changed(change)) => {
                hashing.follow_root();
                report(root, &change, quiet);
            }
            Ok(RootEvent::Look) | Err(RecvTimeoutError::Timeout) => store.check_root(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn report(root: &str, change: &RootChange, quiet: bool) {
    match change {
        RootChange::Away(error) => print_line(&format!(
            "ftserve: warning: root {root} cannot be served: {error}; requests are answered \
             with not_found until it is back"
        )),
        RootChange::Replaced if !quiet => print_line(&format!(
            "root {root} was replaced; new requests are answered from the new one"
        )),
        RootChange::Back if !quiet => print_line(&format!("root {root} is back")),
        RootChange::Replaced | RootChange::Back => {}
    }
}

const EVENTS_MAX: usize = 64;
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

//! The queue of connections that are ready to run.

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::server::slots::Key;

/// A bounded queue of connection keys. Each connection is queued at most once, so the queue never
/// overflows.
pub(super) struct WorkQueue {
    sender: Sender<WorkItem>,
    receiver: Receiver<WorkItem>,
}

enum WorkItem {
    Advance(Key),
    Stop,
}

impl WorkQueue {
    /// A queue for so many connections and workers.
    pub(super) fn new(connections_max: usize, workers: usize) -> WorkQueue {
        let (sender, receiver) = bounded(connections_max + workers);
        WorkQueue { sender, receiver }
    }

    pub(super) fn push(&self, key: Key) {
        let sent = self.sender.try_send(WorkItem::Advance(key));
        debug_assert!(sent.is_ok(), "a connection was queued twice");
    }

    /// Waits for the next connection. `None` means that this worker must end.
    pub(super) fn next(&self) -> Option<Key> {
        match self.receiver.recv() {
            Ok(WorkItem::Advance(key)) => Some(key),
            Ok(WorkItem::Stop) | Err(_) => None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    /// Ends so many workers once the queued connections have run.
    pub(super) fn stop(&self, workers: usize) {
        for _ in 0..workers {
            let _ = self.sender.try_send(WorkItem::Stop);
        }
    }
}

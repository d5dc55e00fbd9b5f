//! The connections that a worker should look at next, in order.

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::server::slots::Key;

/// A bounded queue of connection keys. A connection is in it at most once, so a queue of
/// as many places as there are connections is never full.
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

    /// The next connection; `None` when this worker should end. Waits for one of both.
    pub(super) fn next(&self) -> Option<Key> {
        match self.receiver.recv() {
            Ok(WorkItem::Advance(key)) => Some(key),
            Ok(WorkItem::Stop) | Err(_) => None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    /// Ends so many workers, after what is queued already.
    pub(super) fn stop(&self, workers: usize) {
        for _ in 0..workers {
            let _ = self.sender.try_send(WorkItem::Stop);
        }
    }
}

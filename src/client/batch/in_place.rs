//! What has its name here and was not told yet, when time is over.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::client::batch::jobs::JobId;

/// Jobs whose files have their names and wait to be made to last. They have not failed when time is
/// over; after that nothing gets a name any more.
#[derive(Default)]
pub(in crate::client) struct InPlace(Mutex<State>);

#[derive(Default)]
struct State {
    is_over: bool,
    jobs: BTreeSet<JobId>,
}

impl InPlace {
    /// Gives files their names: `place` adds those that have theirs, or gives none its name if
    /// there is nothing to add them to, since time is over.
    pub(super) fn place<T>(&self, place: impl FnOnce(Option<&mut BTreeSet<JobId>>) -> T) -> T {
        let mut state = self.lock();
        match state.is_over {
            true => place(None),
            false => place(Some(&mut state.jobs)),
        }
    }

    /// One has its name.
    pub(super) fn add(&self, id: JobId) {
        self.lock().jobs.insert(id);
    }

    /// These were reported.
    pub(super) fn forget(&self, ids: &[JobId]) {
        let mut state = self.lock();
        for id in ids {
            state.jobs.remove(id);
        }
    }

    /// Time is over. Returns what has a name and is not known to have ended.
    pub(super) fn end(&self) -> BTreeSet<JobId> {
        let mut state = self.lock();
        state.is_over = true;
        state.jobs.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

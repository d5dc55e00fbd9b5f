//! A record of syncs for tests: no file system shows them afterwards.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A sync call that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Synced {
    Directory,
    FileSystem,
}

/// Notes a sync of the directory at this path.
pub(super) fn note(path: &Path, what: Synced) {
    lock().push((path.to_owned(), what));
}

/// The syncs of this directory and those below it so far, oldest first.
pub(crate) fn synced_below(root: &Path) -> Vec<Synced> {
    let is_below = |(path, _): &&(PathBuf, Synced)| path.starts_with(root);
    lock()
        .iter()
        .filter(is_below)
        .map(|(_, what)| *what)
        .collect()
}

fn lock() -> MutexGuard<'static, Vec<(PathBuf, Synced)>> {
    SYNCED.lock().unwrap_or_else(PoisonError::into_inner)
}

static SYNCED: Mutex<Vec<(PathBuf, Synced)>> = Mutex::new(Vec::new());

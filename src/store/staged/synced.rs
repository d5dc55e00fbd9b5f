//! What was synced, for tests to look at: no file system shows it afterwards.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One call that has come back without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Synced {
    Folder,
    FileSystem,
}

/// Notes a call that was made for the folder at this path.
pub(super) fn note(path: &Path, what: Synced) {
    lock().push((path.to_owned(), what));
}

/// Calls so far for folders below this one and for itself, the first one first.
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

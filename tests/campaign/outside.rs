//! A folder beside a destination in which nobody has any business, for links to lead to.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::guests::GUESTS;
use crate::harness::{Scratch, noise};
use crate::tree_stage::FILES;

/// It has everything that the served tree has, and in each folder something more: a client that
/// follows a link into it finds what to replace and what to delete.
pub(crate) struct Outside {
    folder: Scratch,
    before: Facts,
}

/// Of each thing its mode, its mtime and its bytes: what a write, a rename, a deletion or a change
/// of attributes would change.
type Facts = BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)>;

impl Outside {
    pub(crate) fn new() -> Outside {
        let folder = Scratch::in_memory();
        for (path, _) in FILES.map(|(path, _)| (path, 0)).into_iter().chain(GUESTS) {
            let path = folder.write(path, noise(7, 100));
            let more = path.with_file_name("more");
            fs::write(more, noise(9, 100)).expect("a file outside");
        }
        folder.write(VICTIM, noise(8, 100));
        let before = facts(folder.path());
        Outside { folder, before }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A file in it.
    pub(crate) fn victim(&self) -> PathBuf {
        self.folder.join(VICTIM)
    }

    /// Panics if anything in it is not as it was.
    pub(crate) fn assert_untouched(&self) {
        let now = facts(self.folder.path());
        let names = |facts: &Facts| facts.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&self.before), names(&now), "names outside");
        for (path, before) in &self.before {
            assert!(now[path] == *before, "{} has changed", path.display());
        }
    }
}

fn facts(folder: &Path) -> Facts {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        let facts = fs::symlink_metadata(&path).expect("the facts of what is outside");
        let mut bytes = Vec::new();
        if facts.is_dir() {
            let entries = fs::read_dir(&path).expect("a folder outside").flatten();
            open.extend(entries.map(|entry| entry.path()));
        } else {
            bytes = fs::read(&path).expect("a file outside");
        }
        let written = (facts.mtime(), facts.mtime_nsec());
        found.insert(path, (facts.mode(), written.0, written.1, bytes));
    }
    found
}

const VICTIM: &str = "victim";

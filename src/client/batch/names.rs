//! Which places below the folders of a batch are taken, and whether by a folder.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use crate::client::Download;
use crate::wire::ResourcePath;

/// The places that are taken. A folder may be wanted by many, everything else by one alone.
#[derive(Default)]
pub(in crate::client) struct Names {
    /// Hashes of places; by its key, nobody can make two the same.
    taken: HashSet<u64>,
    hasher: RandomState,
}

impl Names {
    /// Takes the place of a file or a link. False if something has it, or if what is no folder
    /// is on the way there.
    #[must_use]
    pub(in crate::client) fn take(&mut self, download: &Download) -> bool {
        let place = download.beside(&download.name);
        self.take_below(&download.folder, &download.below, &place)
    }

    /// The same of a place below a folder.
    #[must_use]
    pub(in crate::client) fn take_place(&mut self, root: &Path, place: &ResourcePath) -> bool {
        let below = place.parent().unwrap_or_else(ResourcePath::root);
        self.take_below(root, &below, place.as_bytes())
    }

    fn take_below(&mut self, root: &Path, below: &ResourcePath, place: &[u8]) -> bool {
        self.take_folder(root, below)
            && !self.taken.contains(&self.folder(root, place))
            && self.taken.insert(self.other(root, place))
    }

    /// The same of a folder and those above it.
    #[must_use]
    pub(in crate::client) fn take_folder(&mut self, root: &Path, path: &ResourcePath) -> bool {
        let mut missing = Vec::new();
        let mut at = Some(path.clone());
        while let Some(path) = at.filter(|path| !path.is_root()) {
            if self.taken.contains(&self.other(root, path.as_bytes())) {
                return false;
            }
            let folder = self.folder(root, path.as_bytes());
            if self.taken.contains(&folder) {
                // And so are those above it.
                break;
            }
            missing.push(folder);
            at = path.parent();
        }
        self.taken.extend(missing);
        true
    }

    fn folder(&self, root: &Path, place: &[u8]) -> u64 {
        self.hasher.hash_one((root, place, "a folder"))
    }

    fn other(&self, root: &Path, place: &[u8]) -> u64 {
        self.hasher.hash_one((root, place))
    }
}

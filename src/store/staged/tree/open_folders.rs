//! Folders of a tree that are kept open for the next file.

use std::collections::HashMap;
use std::sync::Arc;

use crate::store::staged::StagingFolder;
use crate::wire::ResourcePath;

/// The folders used last. It makes no system call: what it gives back is closed by whoever
/// drops it, after the lock.
pub(super) struct OpenFolders {
    /// What is kept beyond that stays until it is the oldest.
    pub(super) folders_max: usize,
    folders: HashMap<ResourcePath, Used>,
    uses: u64,
}

struct Used {
    folder: Arc<StagingFolder>,
    last: u64,
}

impl Default for OpenFolders {
    fn default() -> OpenFolders {
        OpenFolders {
            folders_max: OPEN_FOLDERS_MAX,
            folders: HashMap::new(),
            uses: 0,
        }
    }
}

impl OpenFolders {
    pub(super) fn get(&mut self, path: &ResourcePath) -> Option<Arc<StagingFolder>> {
        self.uses += 1;
        let used = self.folders.get_mut(path)?;
        used.last = self.uses;
        Some(used.folder.clone())
    }

    /// Keeps a folder, unless another thread was faster with it. Returns the one that is kept,
    /// and what is to be closed.
    pub(super) fn insert(
        &mut self,
        path: &ResourcePath,
        folder: Arc<StagingFolder>,
    ) -> (Arc<StagingFolder>, Option<Arc<StagingFolder>>) {
        if let Some(kept) = self.get(path) {
            return (kept, Some(folder));
        }
        let closed = if self.folders.len() < self.folders_max {
            None
        } else {
            self.remove_oldest()
        };
        let last = self.uses;
        self.folders.insert(
            path.clone(),
            Used {
                folder: folder.clone(),
                last,
            },
        );
        (folder, closed)
    }

    pub(super) fn remove(&mut self, path: &ResourcePath) -> Option<Arc<StagingFolder>> {
        Some(self.folders.remove(path)?.folder)
    }

    /// Takes out a folder and all below it.
    pub(super) fn remove_tree(&mut self, path: &ResourcePath) -> Vec<Arc<StagingFolder>> {
        let is_in = |other: &ResourcePath| other == path || other.is_below(path);
        let removed = self.folders.extract_if(|other, _| is_in(other));
        removed.map(|(_, used)| used.folder).collect()
    }

    fn remove_oldest(&mut self) -> Option<Arc<StagingFolder>> {
        let oldest = self.folders.iter().min_by_key(|(_, used)| used.last);
        let path = oldest?.0.clone();
        self.remove(&path)
    }
}

/// Folders kept open unless another number is told: those of a walk in order, and above.
pub(super) const OPEN_FOLDERS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_is_longest_unused_goes_first_and_a_tree_goes_together() {
        let temp = tempfile::tempdir().unwrap();
        let path = |name: &str| ResourcePath::parse(name.as_bytes()).unwrap();
        let mut open = OpenFolders {
            folders_max: 3,
            ..OpenFolders::default()
        };
        let folder = || StagingFolder::open(temp.path()).unwrap();
        for name in ["a", "a/b", "ab"] {
            assert!(open.insert(&path(name), folder()).1.is_none());
        }
        assert!(open.get(&path("a")).is_some());
        // Another thread was faster with this one.
        let (kept, closed) = open.insert(&path("a/b"), folder());
        assert!(!Arc::ptr_eq(&kept, &closed.unwrap()));
        let oldest = open.get(&path("ab")).unwrap();
        assert!(open.get(&path("a/b")).is_some());
        assert!(open.get(&path("a")).is_some());
        let (_, closed) = open.insert(&path("a/c"), folder());
        assert!(Arc::ptr_eq(&oldest, &closed.unwrap()));
        assert!(open.get(&path("ab")).is_none());
        open.folders_max = 4;
        assert!(open.insert(&path("ab"), folder()).1.is_none());
        assert_eq!(open.remove_tree(&path("a")).len(), 3);
        assert!(open.get(&path("ab")).is_some() && open.get(&path("a/b")).is_none());
    }
}

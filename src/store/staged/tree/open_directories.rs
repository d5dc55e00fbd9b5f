//! The directories of a tree that are kept open.

use std::collections::HashMap;
use std::sync::Arc;

use crate::store::staged::StagingDirectory;
use crate::wire::ResourcePath;

/// The directories used last. This makes no system call: the caller drops, and so closes, the
/// returned directories after the lock.
pub(super) struct OpenDirectories {
    /// Directories beyond this number stay until each is the oldest.
    pub(super) directories_max: usize,
    directories: HashMap<ResourcePath, OpenDirectory>,
    uses: u64,
}

struct OpenDirectory {
    directory: Arc<StagingDirectory>,
    last: u64,
}

impl Default for OpenDirectories {
    fn default() -> OpenDirectories {
        OpenDirectories {
            directories_max: OPEN_DIRECTORIES_MAX,
            directories: HashMap::new(),
            uses: 0,
        }
    }
}

impl OpenDirectories {
    pub(super) fn get(&mut self, path: &ResourcePath) -> Option<Arc<StagingDirectory>> {
        self.uses += 1;
        let used = self.directories.get_mut(path)?;
        used.last = self.uses;
        Some(used.directory.clone())
    }

    /// Keeps a directory open, unless another thread inserted it first. Returns the one that is
    /// kept and the one to close.
    pub(super) fn insert(
        &mut self,
        path: &ResourcePath,
        directory: Arc<StagingDirectory>,
    ) -> (Arc<StagingDirectory>, Option<Arc<StagingDirectory>>) {
        if let Some(kept) = self.get(path) {
            return (kept, Some(directory));
        }
        let closed = if self.directories.len() < self.directories_max {
            None
        } else {
            self.remove_oldest()
        };
        let last = self.uses;
        self.directories.insert(
            path.clone(),
            OpenDirectory {
                directory: directory.clone(),
                last,
            },
        );
        (directory, closed)
    }

    pub(super) fn remove(&mut self, path: &ResourcePath) -> Option<Arc<StagingDirectory>> {
        Some(self.directories.remove(path)?.directory)
    }

    /// Removes a directory and all below it.
    pub(super) fn remove_tree(&mut self, path: &ResourcePath) -> Vec<Arc<StagingDirectory>> {
        let is_in = |other: &ResourcePath| other == path || other.is_below(path);
        let removed = self.directories.extract_if(|other, _| is_in(other));
        removed.map(|(_, used)| used.directory).collect()
    }

    fn remove_oldest(&mut self) -> Option<Arc<StagingDirectory>> {
        let oldest = self.directories.iter().min_by_key(|(_, used)| used.last);
        let path = oldest?.0.clone();
        self.remove(&path)
    }
}

/// The default number of directories kept open: those of a walk in order, and their parents.
pub(super) const OPEN_DIRECTORIES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closes_the_oldest_first_and_a_tree_together() {
        let temp = tempfile::tempdir().unwrap();
        let path = |name: &str| ResourcePath::parse(name.as_bytes()).unwrap();
        let mut open = OpenDirectories {
            directories_max: 3,
            ..OpenDirectories::default()
        };
        let directory = || StagingDirectory::open(temp.path()).unwrap();
        for name in ["a", "a/b", "ab"] {
            assert!(open.insert(&path(name), directory()).1.is_none());
        }
        assert!(open.get(&path("a")).is_some());
        // Another thread was faster with this one.
        let (kept, closed) = open.insert(&path("a/b"), directory());
        assert!(!Arc::ptr_eq(&kept, &closed.unwrap()));
        let oldest = open.get(&path("ab")).unwrap();
        assert!(open.get(&path("a/b")).is_some());
        assert!(open.get(&path("a")).is_some());
        let (_, closed) = open.insert(&path("a/c"), directory());
        assert!(Arc::ptr_eq(&oldest, &closed.unwrap()));
        assert!(open.get(&path("ab")).is_none());
        open.directories_max = 4;
        assert!(open.insert(&path("ab"), directory()).1.is_none());
        assert_eq!(open.remove_tree(&path("a")).len(), 3);
        assert!(open.get(&path("ab")).is_some() && open.get(&path("a/b")).is_none());
    }
}

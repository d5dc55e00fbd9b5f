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

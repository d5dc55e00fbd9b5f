//! The changed directories, as a listing.

use std::sync::Arc;

use super::watches::{Changed, Watches};
use crate::store::{DirectoryStore, Listed, Listing, Store, StoreError};
use crate::wire::{ObjectKind, ResourcePath};

/// The entries of the changed directories, in no order, and of all directories below them that were
/// not watched yet. Each is watched before it is read, so that no change is missed.
pub(super) struct ChangedDirectories {
    tree: Arc<DirectoryStore>,
    watches: Arc<Watches>,
    waiting: Vec<ResourcePath>,
    /// Also enters directories that are watched already.
    descends: bool,
    current: Option<(ResourcePath, Box<dyn Listing>)>,
}

impl ChangedDirectories {
    pub(super) fn new(
        tree: Arc<DirectoryStore>,
        watches: Arc<Watches>,
        changed: Changed,
    ) -> ChangedDirectories {
        let (waiting, descends) = match changed {
            Changed::Everything => {
                let root = ResourcePath::root();
                watches.watch(&root);
                (vec![root], true)
            }
            Changed::Directories(directories) => (directories.into_iter().collect(), false),
        };
        ChangedDirectories {
            tree,
            watches,
            waiting,
            descends,
            current: None,
        }
    }
}

impl Listing for ChangedDirectories {
    fn next(&mut self) -> Result<Option<Listed>, StoreError> {
        loop {
            let Some((directory, listing)) = &mut self.current else {
                let Some(directory) = self.waiting.pop() else {
                    return Ok(None);
                };
                match self.tree.list(&directory, false, None) {
                    Ok(listing) => self.current = Some((directory, listing)),
                    // The directory is gone; its parent reports what is there instead.
                    Err(StoreError::NotFound | StoreError::Away | StoreError::NotADirectory) => {}
                    Err(error) => {
                        return Ok(Some(Listed::failed(
                            directory,
                            ObjectKind::Directory,
                            error,
                        )));
                    }
                }
                continue;
            };
            match listing.next() {
                Ok(Some(listed)) => {
                    if listed.kind == ObjectKind::Directory {
                        let is_new = self.watches.watch(&listed.path);
                        if is_new || self.descends {
                            self.waiting.push(listed.path.clone());
                        }
                    }
                    return Ok(Some(listed));
                }
                Ok(None) => self.current = None,
                Err(error) => {
                    let failed = Listed::failed(directory.clone(), ObjectKind::Directory, error);
                    self.current = None;
                    return Ok(Some(failed));
                }
            }
        }
    }

    fn take_hidden(&mut self) -> u64 {
        0
    }

    fn held_bytes(&self) -> usize {
        self.current
            .as_ref()
            .map_or(0, |(_, listing)| listing.held_bytes())
    }

    fn held_descriptors(&self) -> usize {
        usize::from(self.current.is_some())
    }
}

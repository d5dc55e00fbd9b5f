//! The folders that changed, as a listing of what is in them.

use std::sync::Arc;

use super::watches::{Changed, Watches};
use crate::store::{DirectoryStore, Listed, Listing, Store, StoreError};
use crate::wire::{ObjectKind, ResourcePath};

/// Entries of the folders that changed, in no order, and of all folders below them that were
/// not watched yet; each is watched before it is read, so that no change is missed.
pub(super) struct Folders {
    tree: Arc<DirectoryStore>,
    watches: Arc<Watches>,
    waiting: Vec<ResourcePath>,
    /// Into folders that are watched already, too.
    descends: bool,
    current: Option<(ResourcePath, Box<dyn Listing>)>,
}

impl Folders {
    pub(super) fn new(
        tree: Arc<DirectoryStore>,
        watches: Arc<Watches>,
        changed: Changed,
    ) -> Folders {
        let (waiting, descends) = match changed {
            Changed::Everything => {
                let root = ResourcePath::root();
                watches.watch(&root);
                (vec![root], true)
            }
            Changed::Folders(folders) => (folders.into_iter().collect(), false),
        };
        Folders {
            tree,
            watches,
            waiting,
            descends,
            current: None,
        }
    }
}

impl Listing for Folders {
    fn next(&mut self) -> Result<Option<Listed>, StoreError> {
        loop {
            let Some((folder, listing)) = &mut self.current else {
                let Some(folder) = self.waiting.pop() else {
                    return Ok(None);
                };
                match self.tree.list(&folder, false, None) {
                    Ok(listing) => self.current = Some((folder, listing)),
                    // Gone by now: its parent tells of what is there instead.
                    Err(StoreError::NotFound | StoreError::Away | StoreError::NotADirectory) => {}
                    Err(error) => {
                        return Ok(Some(Listed::failed(folder, ObjectKind::Directory, error)));
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
                    let failed = Listed::failed(folder.clone(), ObjectKind::Directory, error);
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

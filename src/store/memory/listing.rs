//! Listings of a [`MemoryStore`].

use std::collections::{BTreeSet, btree_set};

use crate::store::{Listed, Listing, MemoryStore, Store, StoreError};
use crate::wire::ResourcePath;

/// The paths that existed when the listing began.
pub(super) struct MemoryListing {
    store: MemoryStore,
    paths: btree_set::IntoIter<ResourcePath>,
}

impl MemoryListing {
    pub(super) fn of(
        store: &MemoryStore,
        names: Vec<Vec<u8>>,
        directory: &ResourcePath,
        recursive: bool,
        after: Option<&ResourcePath>,
    ) -> MemoryListing {
        let mut paths = BTreeSet::new();
        for name in names {
            let ends = name.iter().enumerate().filter(|(_, byte)| **byte == b'/');
            let ends = ends.map(|(at, _)| at).chain([name.len()]);
            let prefixes = ends.filter_map(|end| ResourcePath::parse(&name[..end]).ok());
            paths.extend(prefixes.filter(|found| found.is_below(directory)));
        }
        let depth = directory.parts().count() + 1;
        paths.retain(|found| {
            (recursive || found.parts().count() == depth) && after.is_none_or(|after| after < found)
        });
        let (store, paths) = (store.clone(), paths.into_iter());
        MemoryListing { store, paths }
    }
}

impl Listing for MemoryListing {
    fn next(&mut self) -> Result<Option<Listed>, StoreError> {
        for path in self.paths.by_ref() {
            match self.store.stat(&path) {
                Ok(meta) => return Ok(Some(Listed::of(path, meta))),
                Err(StoreError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn take_hidden(&mut self) -> u64 {
        0
    }

    fn held_bytes(&self) -> usize {
        self.paths.len() * size_of::<ResourcePath>()
    }

    fn held_descriptors(&self) -> usize {
        0
    }
}

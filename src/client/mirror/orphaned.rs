//! Partial files of what a tree no longer has: no download will go on with them.

use crate::store::{DestinationTree, Orphans};
use crate::wire::ResourcePath;

/// Partial files in the folders of a tree, in the order of listings.
#[derive(Default)]
pub(super) struct Orphaned {
    /// Around the place at hand, the innermost last; only folders that have partial files.
    open: Vec<(ResourcePath, Orphans)>,
    found: Vec<(ResourcePath, Orphans)>,
}

impl Orphaned {
    /// Comes to a place: folders that it is not in have been seen to their end.
    pub(super) fn come_to(&mut self, place: &ResourcePath) {
        while let Some((folder, _)) = self.open.last()
            && !place.is_below(folder)
        {
            self.found.extend(self.open.pop());
        }
    }

    /// The tree has something of this place.
    pub(super) fn spare(&mut self, place: &ResourcePath) {
        if let Some((folder, orphans)) = self.open.last_mut()
            && place.parent().as_ref() == Some(folder)
        {
            orphans.exclude(place.file_name().unwrap_or_default());
        }
    }

    /// Enters a folder of the tree. Returns whether there are partial files in it; one that
    /// cannot be looked into has none.
    pub(super) fn enter(&mut self, folder: &ResourcePath, destination: &DestinationTree) -> bool {
        let found = destination.existing_directory(folder).ok().flatten();
        let orphans = found.map(|found| found.orphans());
        let orphans = orphans.filter(|orphans| !orphans.is_empty());
        let has_some = orphans.is_some();
        let orphans = orphans.map(|orphans| (folder.clone(), orphans));
        self.open.extend(orphans);
        has_some
    }

    /// The folders and their partial files that are of no use, once the tree was seen to its end.
    pub(super) fn of_tree(&self) -> impl Iterator<Item = &(ResourcePath, Orphans)> {
        let all = self.open.iter().chain(&self.found);
        all.filter(|(_, orphans)| !orphans.is_empty())
    }
}

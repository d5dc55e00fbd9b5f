//! What a server could not list of a tree.

use std::collections::HashSet;

use crate::client::ServerRefusal;
use crate::wire::ResourcePath;

/// Places of folders in or below which something could not be listed; all, if it is too many.
#[derive(Default)]
pub(super) struct Unlisted {
    folders: HashSet<ResourcePath>,
    pub(super) is_everywhere: bool,
    first: Option<(ResourcePath, ServerRefusal)>,
    first_unselected: Option<(ResourcePath, ServerRefusal)>,
}

impl Unlisted {
    pub(super) fn add(
        &mut self,
        place: &ResourcePath,
        path: &ResourcePath,
        refusal: ServerRefusal,
    ) {
        self.first.get_or_insert_with(|| (path.clone(), refusal));
        self.is_everywhere |= self.folders.len() >= UNLISTED_MAX;
        let mut at = Some(place.clone());
        while let Some(folder) = at
            && !self.is_everywhere
        {
            at = folder.parent();
            if !self.folders.insert(folder) {
                // So are those above it.
                break;
            }
        }
    }

    /// The same of what is not selected: what is in the folders around it is not kept for it.
    pub(super) fn add_unselected(
        &mut self,
        place: &ResourcePath,
        path: &ResourcePath,
        refusal: ServerRefusal,
    ) {
        self.first_unselected
            .get_or_insert_with(|| (path.clone(), refusal));
        self.is_everywhere |= self.folders.len() >= UNLISTED_MAX;
        self.folders.insert(place.clone());
    }

    /// The first of all, with its reason; what is not selected comes last.
    pub(super) fn first(&self) -> Option<(ResourcePath, ServerRefusal)> {
        self.first
            .as_ref()
            .or(self.first_unselected.as_ref())
            .cloned()
    }

    /// Whether something may be missing in the listing of the folder that this is in.
    pub(super) fn is_about(&self, place: &ResourcePath) -> bool {
        place.parent().is_none_or(|folder| self.is_in(&folder))
    }

    /// Whether something may be missing in the listing of this folder.
    pub(super) fn is_in(&self, folder: &ResourcePath) -> bool {
        self.is_everywhere || self.folders.contains(folder)
    }
}

/// Folders in which something could not be listed, besides those around them.
const UNLISTED_MAX: usize = 50_000;

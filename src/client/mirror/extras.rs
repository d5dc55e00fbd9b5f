//! What is here and not in a tree of a server.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::client::batch::Limits;
use crate::client::beside::{Beside, Pair, Unplaced};
use crate::client::mirror::notes::MirrorNotes;
use crate::client::mirror::orphaned::Orphaned;
use crate::client::question::refusal;
use crate::client::{ClientConfig, Event, ServerRefusal, Tree};
use crate::store::{Attributes, DestinationTree, StoreError};
use crate::wire::{ObjectKind, ResourcePath};

/// What is here alone, in the order of listings, and what stands in the way of deleting it.
pub(super) struct Extras {
    /// Folders come right before their contents.
    pub(super) all: Vec<Extra>,
    /// There are no more than these.
    pub(super) is_all: bool,
    /// What has a name here that the tree has for something else, and was met there.
    pub(super) in_the_way: Vec<InTheWay>,
    /// Those folders of the tree that have any of them right in them, or partial files, by their
    /// place: the path there, and what they get again.
    pub(super) folders: HashMap<ResourcePath, (ResourcePath, Attributes)>,
    /// Partial files of what the tree does not have.
    orphaned: Orphaned,
    /// The tree here, if there is one.
    pub(super) destination: Option<Arc<DestinationTree>>,
    /// Places of folders in or below which something could not be listed; all, if it is too
    /// many.
    unlisted: Unlisted,
    hides_some: bool,
    /// The tree is a file there.
    pub(super) is_file: bool,
}

/// Something that is here alone.
pub(super) struct Extra {
    /// Below the folder that the tree goes below.
    pub(super) place: ResourcePath,
    /// The path that it would have on the server.
    pub(super) path: ResourcePath,
    pub(super) kind: ObjectKind,
    /// The folder it is in, if that is one of these.
    parent: Option<usize>,
    /// Something in it stays.
    keeps: bool,
}

/// Something that has the name of something else.
pub(super) struct InTheWay {
    /// Below the folder that the tree goes below.
    pub(super) place: ResourcePath,
    /// The path on the server.
    pub(super) path: ResourcePath,
    pub(super) here: ObjectKind,
    pub(super) there: ObjectKind,
}

/// What of it may be deleted, if the server agrees.
pub(super) struct Chosen {
    /// None of them is in another one.
    pub(super) indices: Vec<usize>,
    pub(super) kept_hidden: u64,
    /// Something stays because this could not be listed.
    pub(super) refused: Option<(ResourcePath, ServerRefusal)>,
}

#[derive(Default)]
struct Unlisted {
    folders: HashSet<ResourcePath>,
    is_everywhere: bool,
    first: Option<(ResourcePath, ServerRefusal)>,
}

impl Extras {
    /// Puts both trees beside each other, to their end.
    pub(super) fn find(
        tree: &Tree,
        notes: &MirrorNotes,
        limits: &Limits,
        config: &ClientConfig,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Extras, Unplaced> {
        let mut beside = Beside::new(tree, false, limits, config);
        let mut extras = Extras {
            all: Vec::new(),
            is_all: true,
            in_the_way: Vec::new(),
            folders: HashMap::new(),
            orphaned: Orphaned::default(),
            destination: None,
            unlisted: Unlisted::default(),
            hides_some: false,
            is_file: false,
        };
        // Folders around the place at hand: of the tree, and of those that are here alone.
        let mut above: Vec<(ResourcePath, ResourcePath, Attributes)> = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        let mut is_entered = tree.name.is_some();
        while let Some(pair) = beside.next(on_event) {
            let pair = pair?;
            if !is_entered {
                is_entered = true;
                extras.enter_root(&beside);
            }
            extras.orphaned.come_to(&pair.place);
            while above
                .last()
                .is_some_and(|(at, ..)| !pair.place.is_below(at))
            {
                above.pop();
            }
            while open
                .last()
                .is_some_and(|&at| !pair.place.is_below(&extras.all[at].place))
            {
                open.pop();
            }
            let Some(there) = &pair.there else {
                let folder = above.last().filter(|(at, ..)| pair.place.is_child_of(at));
                let was_listed = |path| notes.was_listed(&tree.address, path);
                if pair.path.as_ref().is_some_and(was_listed) {
                    // It is gone since then: the next run finds that it is.
                    extras.keep(open.last().copied());
                } else {
                    extras.add(&pair, folder, &mut open);
                }
                continue;
            };
            // No download goes on with what came of a file that is a folder or a link by now.
            if there.kind == ObjectKind::File || there.error.is_some() {
                extras.orphaned.spare(&pair.place);
            }
            if let Some(error) = &there.error {
                extras
                    .unlisted
                    .add(&pair.place, &there.path, refusal(error));
            }
            // A file that is asked for like a folder is nobody's mirror.
            let is_itself = there.kind != ObjectKind::Directory && there.path == tree.path;
            extras.is_file |= is_itself && there.error.is_none();
            if let Some(here) = &pair.here
                && here.kind != there.kind
                && there.error.is_none()
                && !is_itself
                && notes.has(&tree.address, &there.path)
            {
                extras.in_the_way.push(InTheWay {
                    place: pair.place.clone(),
                    path: there.path.clone(),
                    here: here.kind,
                    there: there.kind,
                });
            }
            if there.kind == ObjectKind::Directory {
                let attributes = config.attributes(there.mode, there.mtime, 0o777);
                if let Some(destination) = beside.destination()
                    && extras.orphaned.enter(&pair.place, destination)
                {
                    let kept = (there.path.clone(), attributes);
                    extras.folders.insert(pair.place.clone(), kept);
                }
                above.push((pair.place, there.path.clone(), attributes));
            }
        }
        if !is_entered {
            extras.enter_root(&beside);
        }
        if !beside.is_whole() {
            // An iterator that ends without an error has come to its end.
            extras.unlisted.is_everywhere = true;
        }
        extras.hides_some = beside.hidden > 0;
        extras.destination = beside.destination().cloned();
        Ok(extras)
    }

    fn enter_root(&mut self, beside: &Beside<'_>) {
        if let Some(destination) = beside.destination() {
            self.orphaned.enter(&ResourcePath::root(), destination);
        }
    }

    fn add(
        &mut self,
        pair: &Pair,
        folder: Option<&(ResourcePath, ResourcePath, Attributes)>,
        open: &mut Vec<usize>,
    ) {
        // What is too deep to have a name anywhere goes with the folder that it is in.
        let is_readable = pair
            .here
            .as_ref()
            .is_some_and(|here| matches!(here.error, None | Some(StoreError::TooDeep)));
        let has_room = self.all.len() < EXTRAS_MAX;
        self.is_all &= has_room;
        let (Some(path), Some(here), true) = (
            &pair.path,
            &pair.here,
            pair.is_selected && is_readable && has_room,
        ) else {
            self.keep(open.last().copied());
            return;
        };
        if let Some((place, path, attributes)) = folder
            && !self.folders.contains_key(place)
        {
            let kept = (path.clone(), *attributes);
            self.folders.insert(place.clone(), kept);
        }
        self.all.push(Extra {
            place: pair.place.clone(),
            path: path.clone(),
            kind: here.kind,
            parent: open.last().copied(),
            keeps: false,
        });
        if here.kind == ObjectKind::Directory {
            open.push(self.all.len() - 1);
        }
    }

    /// Something in this folder stays, and so do the folders around it.
    fn keep(&mut self, folder: Option<usize>) {
        let mut at = folder;
        while let Some(folder) = at
            && !self.all[folder].keeps
        {
            self.all[folder].keeps = true;
            at = self.all[folder].parent;
        }
    }

    /// Says what may be deleted: the highest folders of which nothing stays, and what is in
    /// none of these.
    pub(super) fn choose(&mut self) -> Chosen {
        let mut chosen = Chosen {
            indices: Vec::new(),
            kept_hidden: 0,
            refused: None,
        };
        if self.hides_some {
            for at in 0..self.all.len() {
                if self.may_be_hidden(&self.all[at].place) {
                    self.keep(self.all[at].parent);
                }
            }
        }
        let mut at = 0;
        while let Some(extra) = self.all.get(at) {
            if extra.parent.is_none() && self.is_unlisted(&extra.place) {
                chosen.refused = self.first_unlisted();
            } else if self.may_be_hidden(&extra.place) {
                chosen.kept_hidden += 1;
            } else if extra.keeps {
                at += 1;
                continue;
            } else {
                chosen.indices.push(at);
            }
            at = self.end_of(at);
        }
        chosen
    }

    /// The server may have something of this name and hide it.
    pub(super) fn may_be_hidden(&self, place: &ResourcePath) -> bool {
        self.hides_some && place.file_name().unwrap_or_default().starts_with(b".")
    }

    /// Something could not be listed in the folder that this is in, or below that.
    pub(super) fn is_unlisted(&self, place: &ResourcePath) -> bool {
        self.unlisted.is_about(place)
    }

    /// What could not be listed.
    pub(super) fn first_unlisted(&self) -> Option<(ResourcePath, ServerRefusal)> {
        self.unlisted.first.clone()
    }

    /// Removes the partial files of what the tree does not have, where all was listed, and
    /// notes the folders that they were in.
    pub(super) fn remove_orphans(
        &self,
        destination: &DestinationTree,
        touched: &mut Vec<ResourcePath>,
    ) {
        for (folder, orphans) in self.orphaned.of_tree() {
            if !self.unlisted.is_in(folder)
                && let Ok(Some(found)) = destination.existing_folder(folder)
            {
                found.remove_orphans(orphans);
                touched.push(folder.clone());
            }
        }
    }

    /// One of these and all that is in it, contents before their folder.
    pub(super) fn with_contents(&self, at: usize) -> impl Iterator<Item = &Extra> {
        self.all[at..self.end_of(at)].iter().rev()
    }

    /// The first behind what is in one of these.
    fn end_of(&self, at: usize) -> usize {
        let place = &self.all[at].place;
        let behind = &self.all[at + 1..];
        let inside = behind.partition_point(|extra| extra.place.is_below(place));
        at + 1 + inside
    }
}

impl Unlisted {
    fn add(&mut self, place: &ResourcePath, path: &ResourcePath, refusal: ServerRefusal) {
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

    /// Whether something may be missing in the listing of the folder that this is in.
    fn is_about(&self, place: &ResourcePath) -> bool {
        place.parent().is_none_or(|folder| self.is_in(&folder))
    }

    /// Whether something may be missing in the listing of this folder.
    fn is_in(&self, folder: &ResourcePath) -> bool {
        self.is_everywhere || self.folders.contains(folder)
    }
}

/// As many are held at once, about 50 MB.
const EXTRAS_MAX: usize = 250_000;
/// Folders in which something could not be listed, besides those around them.
const UNLISTED_MAX: usize = 50_000;

//! What is here and not in a tree of a server.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::client::batch::Limits;
use crate::client::beside::{Beside, Pair, Unplaced, View, unreadable};
use crate::client::mirror::aliases::Aliases;
use crate::client::mirror::notes::MirrorNotes;
use crate::client::mirror::orphaned::Orphaned;
use crate::client::mirror::unlisted::Unlisted;
use crate::client::question::refusal;
use crate::client::{ClientConfig, Event, Tree};
use crate::store::{Attributes, DestinationTree, Listed, Orphans, StageError, StoreError};
use crate::wire::{ObjectKind, ResourcePath};

/// What is here alone, in the order of listings, and what stands in the way of deleting it.
pub(super) struct Extras {
    /// Folders come right before their contents.
    pub(super) all: Vec<Extra>,
    /// There are no more than these.
    pub(super) is_all: bool,
    /// What has a name here that the tree has for something else, and was met there.
    pub(super) in_the_way: Vec<InTheWay>,
    /// Those folders that have any of them right in them, or partial files, or on the way to them are
    /// opened up, by their place: the path there, and what they get again.
    pub(super) folders: HashMap<ResourcePath, (ResourcePath, Attributes)>,
    /// Of what is here alone, those folders that are opened up to be emptied.
    pub(super) opened: Vec<ResourcePath>,
    /// Partial files of what the tree does not have.
    orphaned: Orphaned,
    /// The tree here, if there is one.
    pub(super) destination: Option<Arc<DestinationTree>>,
    /// Places of folders in or below which something could not be listed; all, if it is too
    /// many.
    pub(super) unlisted: Unlisted,
    pub(super) hides_names: bool,
    /// Names of the tree that are found here and not listed.
    pub(super) aliases: Aliases,
    /// The tree is a file there.
    pub(super) is_file: bool,
    /// Folders of the tree that lie here on another file system than the one around them: nothing
    /// in them is looked at.
    pub(super) crossed: BTreeSet<PathBuf>,
    /// The tree has nothing but directories in it that is wanted, and had nothing else when it was
    /// fetched.
    pub(super) is_empty_there: bool,
    /// What cannot be looked into here, by its path on the server.
    pub(super) unread: Vec<Unplaced>,
    /// Folders of this user that cannot be looked into before they are opened up. What is in them
    /// is taken for missing.
    pub(super) locked: BTreeSet<PathBuf>,
}

/// Something that is here alone.
pub(super) struct Extra {
    /// Below the folder that the tree goes below.
    pub(super) place: ResourcePath,
    /// The path that it would have on the server.
    pub(super) path: ResourcePath,
    pub(super) kind: ObjectKind,
    /// The folder it is in, if that is one of these.
    pub(super) parent: Option<usize>,
    /// Something in it stays.
    pub(super) keeps: bool,
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

/// A folder of the tree, around the place at hand.
struct Around {
    place: ResourcePath,
    path: ResourcePath,
    attributes: Attributes,
    /// Here is a directory of this name, too, and what is in it is listed.
    is_here: bool,
    /// Here its owner cannot do everything in it.
    is_locked: bool,
}

impl Extras {
    /// Puts both trees beside each other, to their end.
    pub(super) fn find(
        tree: &Tree,
        view: View,
        notes: &MirrorNotes,
        limits: &Limits,
        config: &ClientConfig,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Extras, Unplaced> {
        let mut beside = Beside::new(tree, view, limits, config);
        let mut extras = Extras {
            all: Vec::new(),
            is_all: true,
            in_the_way: Vec::new(),
            folders: HashMap::new(),
            opened: Vec::new(),
            orphaned: Orphaned::default(),
            destination: None,
            unlisted: Unlisted::default(),
            hides_names: false,
            aliases: Aliases::default(),
            is_file: false,
            crossed: BTreeSet::new(),
            is_empty_there: true,
            unread: Vec::new(),
            locked: BTreeSet::new(),
        };
        // Folders around the place at hand: of the tree, and of those that are here alone.
        let mut above: Vec<Around> = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        let mut is_entered = tree.name.is_some();
        while let Some(pair) = beside.next(on_event) {
            let mut pair = pair?;
            if !is_entered {
                is_entered = true;
                extras.enter_root(&beside);
            }
            extras.orphaned.come_to(&pair.place);
            while above
                .last()
                .is_some_and(|around| !pair.place.is_below(&around.place))
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
                let was_listed = |path| notes.was_listed(&tree.address, path);
                if pair.path.as_ref().is_some_and(was_listed) {
                    // It is gone since then: the next run finds that it is.
                    extras.is_empty_there = false;
                    extras.keep(open.last().copied());
                } else {
                    extras.see(&mut pair, tree, view, beside.destination());
                    extras.add(&pair, &above, &mut open);
                }
                continue;
            };
            // It may be that each of them lacks its disk.
            let is_directory = there.kind == ObjectKind::Directory && there.error.is_none();
            extras.is_empty_there &= is_directory || !pair.is_selected;
            if pair.here.is_none()
                && pair.is_selected
                && above.last().is_none_or(|around| around.is_here)
                && let Some(destination) = beside.destination()
            {
                extras.aliases.come_to(&pair.place, destination);
            }
            // No download goes on with what came of a file that is a folder or a link by now.
            if there.kind == ObjectKind::File || there.error.is_some() {
                extras.orphaned.spare(&pair.place);
            }
            if let Some(error) = &there.error {
                let (place, refusal) = (&pair.place, refusal(error));
                match pair.is_selected {
                    true => extras.unlisted.add(place, &there.path, refusal),
                    false => extras.unlisted.add_unselected(place, &there.path, refusal),
                }
            }
            let is_itself = there.kind != ObjectKind::Directory && there.path == tree.path;
            let in_the_way = extras.in_the_way.len();
            if let Some(here) = &pair.here
                && here.kind != there.kind
                && there.error.is_none()
                && notes.has(&tree.address, &there.path)
            {
                extras.in_the_way.push(InTheWay {
                    place: pair.place.clone(),
                    path: there.path.clone(),
                    here: here.kind,
                    there: there.kind,
                });
                extras.keep_around(&pair.place, &above);
            }
            // For a source that is a file nothing is deleted but what has its name.
            let is_alone = extras.in_the_way.len() == in_the_way;
            extras.is_file |= is_itself && is_alone && there.error.is_none();
            if there.kind == ObjectKind::Directory {
                let path = there.path.clone();
                let mut attributes = config.attributes(there.mode, there.mtime, 0o777);
                // One that is opened up for what is done in it is as it was afterwards.
                let mode_here = pair.here.as_ref().and_then(Listed::locked_mode);
                attributes.mode = attributes.mode.or(mode_here);
                if let Some(destination) = beside.destination()
                    && extras.orphaned.enter(&pair.place, destination)
                {
                    let kept = (path.clone(), attributes);
                    extras.folders.insert(pair.place.clone(), kept);
                }
                let is_locked = pair
                    .here
                    .as_ref()
                    .is_some_and(|here| here.locked_mode().is_some());
                let is_listed =
                    |here: &Listed| here.kind == ObjectKind::Directory && here.error.is_none();
                let is_here = pair.here.as_ref().is_some_and(is_listed);
                extras.see(&mut pair, tree, view, beside.destination());
                above.push(Around {
                    is_here,
                    place: pair.place,
                    path,
                    attributes,
                    is_locked,
                });
            }
        }
        if !is_entered {
            extras.enter_root(&beside);
        }
        if !beside.is_whole() {
            // An iterator that ends without an error has come to its end.
            extras.unlisted.is_everywhere = true;
        }
        extras.hides_names = beside.hides_names;
        extras.destination = beside.destination().cloned();
        if let Some(destination) = &extras.destination {
            let in_tree = extras.all.iter().filter(|extra| extra.parent.is_none());
            extras.aliases.match_with(in_tree, destination);
        }
        Ok(extras)
    }

    fn enter_root(&mut self, beside: &Beside<'_>) {
        if let Some(destination) = beside.destination() {
            self.orphaned.enter(&ResourcePath::root(), destination);
        }
    }

    /// Notes a folder here that could not be looked into, unless what is there is taken for missing.
    fn see(
        &mut self,
        pair: &mut Pair,
        tree: &Tree,
        view: View,
        destination: Option<&Arc<DestinationTree>>,
    ) {
        let (Some(here), true) = (&mut pair.here, pair.is_selected) else {
            return;
        };
        let error = match here.error.take() {
            // What is too deep to have a name anywhere goes with the folder that it is in.
            None | Some(StoreError::TooDeep) => return,
            Some(error) => error,
        };
        let at = || tree.folder.join(OsStr::from_bytes(pair.place.as_bytes()));
        let is_crossing = is_crossing(&error);
        if is_crossing && pair.there.is_some() {
            self.crossed.insert(at());
            return;
        }
        let is_as_it_is = |_: &&Arc<DestinationTree>| view == View::AsIs;
        let locked = destination.filter(is_as_it_is);
        if let Some(locked) = locked.and_then(|here| here.locked(&pair.place)) {
            let locked = OsStr::from_bytes(locked.as_bytes());
            self.locked.insert(tree.folder.join(locked));
            return;
        }
        if self.unread.len() < UNREAD_MAX {
            let path = pair.path.as_ref().unwrap_or(&tree.path).clone();
            let cannot_look = StageError::Directory {
                doing: if is_crossing { "delete" } else { "read" },
                directory: at(),
                source: unreadable(error),
            };
            self.unread.push((path, cannot_look.into()));
        }
        here.error = Some(StoreError::Forbidden);
    }

    /// What is deleted here opens up the folders around it: these are what they were then.
    fn keep_around(&mut self, place: &ResourcePath, above: &[Around]) {
        for around in above {
            if around.is_locked || place.is_child_of(&around.place) {
                self.folders
                    .entry(around.place.clone())
                    .or_insert_with(|| (around.path.clone(), around.attributes));
            }
        }
    }

    /// The folders around a place that get their attributes again, if something there goes.
    pub(super) fn kept_around(&self, place: &ResourcePath) -> impl Iterator<Item = ResourcePath> {
        let around = std::iter::successors(place.parent(), ResourcePath::parent);
        around.filter(|folder| self.folders.contains_key(folder))
    }

    fn add(&mut self, pair: &Pair, above: &[Around], open: &mut Vec<usize>) {
        let is_readable = pair.here.as_ref().is_some_and(|here| here.error.is_none());
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
        self.keep_around(&pair.place, above);
        if let Some(mode) = here.locked_mode() {
            let attributes = Attributes {
                mode: Some(mode),
                mtime: None,
            };
            let kept = (path.clone(), attributes);
            self.folders.insert(pair.place.clone(), kept);
            self.opened.push(pair.place.clone());
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

    /// The partial files of what the tree does not have, by their folders, where all was listed.
    pub(super) fn orphans(&self) -> impl Iterator<Item = &(ResourcePath, Orphans)> {
        let all = self.orphaned.of_tree();
        all.filter(|(folder, _)| !self.unlisted.is_in(folder))
    }

    /// One of these and all that is in it, contents before their folder.
    pub(super) fn with_contents(&self, at: usize) -> impl Iterator<Item = &Extra> + Clone {
        self.all[at..self.end_of(at)].iter().rev()
    }

    /// The first behind what is in one of these.
    pub(super) fn end_of(&self, at: usize) -> usize {
        let place = &self.all[at].place;
        let behind = &self.all[at + 1..];
        let inside = behind.partition_point(|extra| extra.place.is_below(place));
        at + 1 + inside
    }
}

/// It is a folder on another file system than the one around it.
pub(super) fn is_crossing(error: &StoreError) -> bool {
    matches!(error, StoreError::Io(source) if source.kind() == ErrorKind::CrossesDevices)
}

/// As many are held at once, about 50 MB.
const EXTRAS_MAX: usize = 250_000;
/// Folders here that could not be looked into.
const UNREAD_MAX: usize = 50_000;

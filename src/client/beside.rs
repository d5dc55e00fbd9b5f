//! A tree of a server beside the one that is here, place by place, in the order of listings.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;

use crate::client::batch::Limits;
use crate::client::{ClientConfig, ClientError, Event, Folder, Listing, Tree};
use crate::store::{self, DestinationTree, Listed, StageError, StoreError};
use crate::wire::{ListEntry, ObjectKind, ResourcePath};

/// Two trees under way: all places at which something is, there or here. Holds two pages of the
/// listing, and of the tree here what a walk holds.
pub(super) struct Beside<'t> {
    tree: &'t Tree,
    listing: Listing<'t>,
    limits: &'t Limits,
    view: View,
    here: Here,
    /// Of the page at hand.
    entries: VecDeque<ListEntry<'static>>,
    there_is_over: bool,
    /// Of the tree here.
    next_here: Option<Listed>,
    /// A folder here that is something else there: what is in it has no counterpart.
    passed: Option<ResourcePath>,
    is_over: bool,
    /// Entries that the server has come upon and does not show.
    pub(super) hidden: u64,
    /// The server shows no name that begins with a dot.
    pub(super) hides_names: bool,
}

/// How the tree here is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// It is compared: the digests of all files there are waited for, unless the tree is filtered,
    /// and it is a failure if nothing can be seen here.
    Compared,
    /// As it is: a folder that cannot be looked into is told with its error.
    AsIs,
    /// Folders of this user that he cannot look into are opened up while they are looked into.
    OpenedUp,
}

/// What is at one place. At least one of the two is something.
pub(super) struct Pair {
    /// Below the folder that the tree goes below.
    pub(super) place: ResourcePath,
    /// Its path on the server; `None` if no server can have it, as it would be too long.
    pub(super) path: Option<ResourcePath>,
    pub(super) there: Option<ListEntry<'static>>,
    pub(super) here: Option<Listed>,
    /// It is one of the things that are wanted.
    pub(super) is_selected: bool,
}

/// What cannot be put beside anything, by its path on the server.
pub(super) type Unplaced = (ResourcePath, ClientError);

enum Here {
    /// Nothing is known of the tree there yet, and so not where to look.
    Unopened,
    Open(Arc<DestinationTree>, Option<Box<dyn store::Listing>>),
    /// It is missing.
    Nothing,
}

impl<'t> Beside<'t> {
    pub(super) fn new(
        tree: &'t Tree,
        view: View,
        limits: &'t Limits,
        config: &'t ClientConfig,
    ) -> Beside<'t> {
        let folder = Folder {
            address: tree.address.clone(),
            path: tree.path.clone(),
            recursive: tree.recursive,
            digests: view == View::Compared && !tree.is_filtered,
        };
        Beside {
            tree,
            listing: Listing::new(folder, config).within(limits),
            limits,
            view,
            here: Here::Unopened,
            entries: VecDeque::new(),
            there_is_over: false,
            next_here: None,
            passed: None,
            is_over: false,
            hidden: 0,
            hides_names: false,
        }
    }

    /// Both trees came to their end.
    pub(super) fn is_whole(&self) -> bool {
        self.is_over && self.there_is_over && self.next_here.is_none()
    }

    /// The tree here, if there is one.
    pub(super) fn destination(&self) -> Option<&Arc<DestinationTree>> {
        match &self.here {
            Here::Open(destination, _) => Some(destination),
            Here::Unopened | Here::Nothing => None,
        }
    }

    /// The next place; `None` at the end, or behind the first error, with [`Beside::is_whole`]
    /// unset. Failures that may pass are tried again, each of which `on_event` hears of.
    pub(super) fn next(
        &mut self,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Option<Result<Pair, Unplaced>> {
        if self.is_over {
            return None;
        }
        let step = self.step(&mut |event| {
            on_event(match event {
                Event::Retrying { error, pause, .. } => Event::Relisting { error, pause },
                other => other,
            });
        });
        // A name that cannot be here is followed by others.
        self.is_over = !matches!(&step, Ok(Some(_)) | Err((_, ClientError::LocalName(_))));
        step.transpose()
    }

    fn step(&mut self, on_event: &mut dyn FnMut(Event<'_>)) -> Result<Option<Pair>, Unplaced> {
        let of_all = |error| (self.tree.path.clone(), error);
        if !self.limits.has_time() {
            return Err(of_all(ClientError::OutOfTime));
        }
        if let (Here::Unopened, Some(_)) = (&self.here, &self.tree.name) {
            // A folder that has a name here is part of the tree.
            let entry = self.listing.itself(on_event).map_err(of_all)?;
            if entry.kind == ObjectKind::Directory {
                self.entries.push_back(entry);
            }
        }
        while self.entries.is_empty() && !self.there_is_over {
            match self.listing.next_page(on_event).map_err(of_all)? {
                Some(page) => {
                    self.hidden = self.hidden.saturating_add(page.hidden);
                    self.hides_names |= page.hides_names;
                    self.entries = page.entries.into();
                }
                None => self.there_is_over = true,
            }
        }
        if let Here::Unopened = self.here {
            self.here = self.open().map_err(of_all)?;
            if self.next_here.is_none() {
                self.advance_here().map_err(of_all)?;
            }
        }
        self.pass().map_err(of_all)?;
        let Some(entry) = self.entries.front() else {
            let Some(here) = self.next_here.take() else {
                return Ok(None);
            };
            self.advance_here().map_err(of_all)?;
            return Ok(Some(self.pair_of(here)));
        };
        let place = match self.tree.place(&entry.path) {
            Ok(place) => place,
            Err(error) => {
                let path = entry.path.clone();
                self.entries.pop_front();
                return Err((path, error));
            }
        };
        let order = match &self.next_here {
            Some(here) => place.cmp(&here.path),
            None => Ordering::Less,
        };
        let there = match order {
            Ordering::Less | Ordering::Equal => self.entries.pop_front(),
            Ordering::Greater => None,
        };
        let here = match order {
            Ordering::Less => None,
            Ordering::Equal | Ordering::Greater => self.next_here.take(),
        };
        if here.is_some() {
            self.advance_here().map_err(of_all)?;
        }
        Ok(match (there, here) {
            (Some(there), here) => {
                if here.as_ref().is_some_and(|here| here.kind != there.kind) {
                    self.passed = Some(place.clone());
                }
                let below = self.tree.below(&there.path);
                Some(Pair {
                    is_selected: self.tree.selects(below, there.kind),
                    place,
                    path: Some(there.path.clone()),
                    there: Some(there),
                    here,
                })
            }
            (None, Some(here)) => Some(self.pair_of(here)),
            (None, None) => None,
        })
    }

    /// What is here alone.
    fn pair_of(&self, here: Listed) -> Pair {
        let (below, path) = self.tree.path_of(&here.path);
        Pair {
            is_selected: self.tree.selects(below, here.kind),
            place: here.path.clone(),
            path,
            there: None,
            here: Some(here),
        }
    }

    /// Opens the tree here. The first entries of the other one are there.
    fn open(&mut self) -> Result<Here, ClientError> {
        let destination = match DestinationTree::open(&self.tree.folder, false) {
            Ok(destination) => destination,
            Err(error) if is_missing(&error) => return Ok(Here::Nothing),
            Err(error) => return Err(error.into()),
        };
        let itself = self.entries.front();
        let itself = itself.filter(|entry| entry.path == self.tree.path);
        let (mut top, mut is_folder) = (ResourcePath::root(), true);
        if let Some(itself) = itself {
            top = self.tree.place(&itself.path)?;
            self.next_here = destination.look(&top)?;
            let is_there = |here: &Listed| here.kind == ObjectKind::Directory;
            is_folder = itself.kind == ObjectKind::Directory
                && self.next_here.as_ref().is_some_and(is_there);
        }
        if !is_folder {
            return Ok(Here::Open(destination, None));
        }
        let recursive = self.tree.recursive;
        let listing = match self.view {
            View::Compared => destination.list(&top, recursive),
            View::AsIs => destination.list_all(&top, recursive, false),
            View::OpenedUp => destination.list_all(&top, recursive, true),
        };
        match (listing, &mut self.next_here) {
            (Ok(listing), _) => Ok(Here::Open(destination, Some(listing))),
            (Err(error), _) if is_missing(&error) => Ok(Here::Nothing),
            // Before a download has opened it up nothing is known of it.
            (Err(_), Some(here))
                if self.view == View::AsIs && destination.locked(&top).is_some() =>
            {
                here.error = Some(StoreError::Forbidden);
                Ok(Here::Open(destination, None))
            }
            (Err(error), _) => Err(error.into()),
        }
    }

    fn advance_here(&mut self) -> Result<(), ClientError> {
        if let Here::Open(_, Some(listing)) = &mut self.here {
            self.next_here = listing.next().map_err(|error| StageError::Directory {
                doing: "read a subdirectory",
                directory: self.tree.folder.clone(),
                source: unreadable(error),
            })?;
        }
        Ok(())
    }

    /// Goes on behind a folder that is to be passed.
    fn pass(&mut self) -> Result<(), ClientError> {
        while let (Some(passed), Some(here)) = (&self.passed, &self.next_here) {
            if here.path.is_below(passed) {
                self.next_here = None;
                self.advance_here()?;
            } else {
                self.passed = None;
            }
        }
        Ok(())
    }
}

/// What the file system said.
pub(super) fn unreadable(error: StoreError) -> std::io::Error {
    match error {
        StoreError::Io(source) | StoreError::Busy(source) => source,
        StoreError::Forbidden => ErrorKind::PermissionDenied.into(),
        other => std::io::Error::other(other),
    }
}

fn is_missing(error: &StageError) -> bool {
    matches!(error, StageError::Directory { source, .. } if source.kind() == ErrorKind::NotFound)
}

//! Making a tree here a mirror: what the server does not have is deleted.

mod aliases;
mod chosen;
mod extras;
mod notes;
mod orphaned;
mod removal;
mod unlisted;
mod way;

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::extras::{Extra, Extras};
pub use self::notes::MirrorNotes;
use self::removal::Checked;
use crate::client::asking::Asking;
use crate::client::batch::Limits;
use crate::client::beside::View;
use crate::client::in_time::{in_time, last_sync};
use crate::client::question::refusal;
use crate::client::{ClientConfig, ClientError, Event, Item, ServerRefusal, SyncPolicy, Tree};
use crate::store::{DestinationTree, EntryKind};
use crate::wire::{ErrorCode, ObjectKind, ResourcePath, StatRequest};

/// How far deleting may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeleteLimit {
    /// So many files, links and folders at most.
    pub deleted_max: u64,
    /// Everything here may be deleted, if the server has nothing.
    pub allow_empty: bool,
    /// What would be deleted is told and stays.
    pub dry_run: bool,
}

/// What became of what the server does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Files, links and folders that were deleted; each was told by [`Event::Deleted`].
    pub deleted: u64,
    /// What could not be looked at or deleted; each was told by [`Event::Failed`].
    pub failed: u64,
    /// There was more, and it stays: the limit was reached.
    pub reached_limit: bool,
    /// Things whose name begins with a dot, which stay: the server hides such names, and nobody can
    /// tell which it has.
    pub kept_hidden: u64,
    /// Things that the server has under another name, as far as can be seen: their file system takes
    /// it for the one that they have here.
    pub kept_aliases: u64,
    /// So much of the batch failed, and so nothing was deleted.
    pub not_fetched: u64,
    /// The tree is a file, which has no place of its own in which anything could be deleted.
    pub is_file: bool,
    /// Of a dry run: folders of this user that he cannot look into as they are. What is in them was
    /// taken for missing.
    pub locked: BTreeSet<PathBuf>,
    /// Folders of the tree that lie here on another file system than the one around them: nothing
    /// was deleted in them.
    pub crossed: BTreeSet<PathBuf>,
}

/// Deletes what is in the place of a tree and not in the tree, as the server lists it now and
/// listed it for the batch that `notes` were taken of.
///
/// Nothing is deleted if something of the batch failed, but for what could not be listed and
/// what is gone since; nor before the listing came to its end, nor in a folder in which, or below
/// which, something could not be listed, nor before the server was asked and said that there
/// is no such file. What `select` does not want stays, and so do the folders it is in. No link
/// is followed, and nothing outside of the tree's place is touched. Contents are told before
/// their folder. Folders that stay get their attributes again. Folders of this user that he cannot
/// look into are opened up while they are looked into, and other ones are failures. What was in
/// the way of the tree goes last, where the server has something of another kind: each as a whole
/// or not at all, and only if nothing in it is to stay; why it stays is told. Partial files of what
/// the server does not have go too, unless somebody works on them.
///
/// What lies on another file system than the folder around it is never looked into: it stays, and
/// is a failure if the server does not have it. Nothing is deleted for a server that has nothing but
/// directories in the tree, unless [`DeleteLimit::allow_empty`]: its disk may just not be mounted.
///
/// What a name of the tree leads to stays, whatever name it has here: where case is ignored, what was
/// fetched may have the name of what was there before.
pub fn delete_extras(
    tree: &Tree,
    limit: DeleteLimit,
    notes: &mut MirrorNotes,
    config: &ClientConfig,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Deleted {
    if notes.failed() > 0 {
        return Deleted {
            not_fetched: notes.failed(),
            ..Deleted::default()
        };
    }
    let mut deletion = Deletion {
        tree,
        limit,
        notes,
        limits: Limits::new(config),
        config,
        on_event,
        index: 0,
        total: Deleted::default(),
        is_source_lost: false,
        last_checked: None,
    };
    // What one pass cannot hold the next one finds.
    while deletion.pass() == Pass::More {}
    deletion.total
}

#[derive(PartialEq, Eq)]
enum Pass {
    More,
    Last,
}

/// What a server has at a path, or why it does not say.
type Answer = Result<Option<ObjectKind>, ServerRefusal>;

struct Deletion<'t, 'e> {
    tree: &'t Tree,
    limit: DeleteLimit,
    notes: &'t mut MirrorNotes,
    limits: Limits,
    config: &'t ClientConfig,
    on_event: &'t mut (dyn FnMut(Event<'_>) + 'e),
    /// Of the next thing that is told.
    index: usize,
    total: Deleted,
    /// The server has nothing there any more, and so nothing goes.
    is_source_lost: bool,
    /// The folder in which something was checked last, and what is known of it.
    last_checked: Option<(ResourcePath, Checked)>,
}

impl Deletion<'_, '_> {
    fn pass(&mut self) -> Pass {
        let before = self.total.deleted;
        let view = match self.limit.dry_run {
            true => View::AsIs,
            false => View::OpenedUp,
        };
        let (tree, limits, config) = (self.tree, &self.limits, self.config);
        let found = Extras::find(tree, view, self.notes, limits, config, self.on_event);
        let mut extras = match found {
            Ok(extras) => extras,
            Err((path, error)) => {
                self.fail(&path, &error);
                return Pass::Last;
            }
        };
        self.total.is_file = extras.is_file;
        self.total.locked.append(&mut extras.locked);
        self.total.crossed.append(&mut extras.crossed);
        let chosen = extras.choose();
        self.total.kept_hidden = chosen.kept_hidden;
        self.total.kept_aliases = chosen.kept_aliases;
        let mut in_the_way = extras.in_the_way.iter();
        if (chosen.is_refused || in_the_way.any(|one| extras.is_unlisted(&one.place)))
            && let Some((path, refusal)) = extras.first_unlisted()
        {
            self.fail(&path, &ClientError::Unlisted(refusal));
        }
        let Some(destination) = &extras.destination else {
            return Pass::Last;
        };
        let mut touched: Vec<ResourcePath> = Vec::new();
        let all_done = self.delete(&extras, &chosen.indices, destination, &mut touched);
        // A dry run would find the same again.
        let has_more = !extras.is_all && !self.limit.dry_run;
        let goes_on = has_more && all_done && self.total.deleted > before;
        if all_done && !goes_on {
            self.make_way(&extras, destination, &mut touched);
        }
        if !goes_on {
            for (path, error) in &extras.unread {
                self.fail(path, error);
            }
        }
        if !self.is_source_lost {
            self.remove_orphans(&extras, destination, &mut touched);
        }
        if !self.limit.dry_run {
            self.finish(&extras, destination, &mut touched);
        }
        if goes_on { Pass::More } else { Pass::Last }
    }

    /// Returns whether all were looked at.
    fn delete(
        &mut self,
        extras: &Extras,
        chosen: &[usize],
        destination: &Arc<DestinationTree>,
        touched: &mut Vec<ResourcePath>,
    ) -> bool {
        let paths = chosen.iter().map(|&number| &extras.all[number].path);
        self.ask_about(paths, &mut |deletion, at, answer| {
            let number = chosen[at];
            let extra = &extras.all[number];
            match answer {
                // It is there after all.
                Ok(_) => {}
                Err(ServerRefusal {
                    code: Some(ErrorCode::NotFound),
                    ..
                }) => {
                    if extras.is_empty_there && !deletion.limit.allow_empty {
                        // The server may just not have its disk.
                        deletion.is_source_lost = true;
                        let error = ClientError::EmptySource(extras.all.len() as u64);
                        deletion.fail(&deletion.tree.path, &error);
                        return false;
                    }
                    if deletion.total.deleted >= deletion.limit.deleted_max {
                        deletion.total.reached_limit = true;
                        return false;
                    }
                    touched.extend(extras.kept_around(&extra.place));
                    let all = extras.with_contents(number);
                    let check = |extra: &Extra| {
                        let checked = deletion.check_removing(&extra.place, destination);
                        checked.err()
                    };
                    let flow = if let Some(error) = all.clone().find_map(check) {
                        deletion.fail(&extra.path, &error);
                        ControlFlow::Continue(())
                    } else if deletion.limit.dry_run {
                        deletion.tell_all(all)
                    } else {
                        deletion.remove(&extra.place, &extra.path, destination)
                    };
                    if flow.is_break() {
                        deletion.total.reached_limit = true;
                        return false;
                    }
                }
                Err(refused) => deletion.fail(&extra.path, &refused.into()),
            }
            true
        })
    }

    /// Asks what the server has at these paths now, many at once, and hands on each answer with
    /// the number of its path, until one is enough. Returns whether all were answered.
    fn ask_about<'p>(
        &mut self,
        paths: impl Iterator<Item = &'p ResourcePath>,
        on_answer: &mut dyn FnMut(&mut Self, usize, Answer) -> bool,
    ) -> bool {
        let mut asking = Asking::new(self.tree.address.clone(), self.config).within(&self.limits);
        let mut to_ask = paths.enumerate();
        let mut asked = VecDeque::new();
        loop {
            while asking.has_room()
                && let Some((number, path)) = to_ask.next()
            {
                asking.ask(StatRequest {
                    path: path.clone(),
                    digest: false,
                    fresh: false,
                    progress: false,
                });
                asked.push_back((number, path));
            }
            let Some((number, path)) = asked.pop_front() else {
                return true;
            };
            let answer = match self.limits.has_time() {
                true => asking.answer(self.on_event),
                false => Err(ClientError::OutOfTime),
            };
            let header = match answer {
                Ok(header) => header,
                Err(error) => {
                    self.fail(path, &error);
                    return false;
                }
            };
            let answer = match &header.error {
                Some(error) => Err(refusal(error)),
                None => Ok(header.kind),
            };
            if !on_answer(self, number, answer) {
                return false;
            }
        }
    }

    /// Folders in which something was deleted get their time again, those deepest first.
    fn finish(
        &mut self,
        extras: &Extras,
        destination: &Arc<DestinationTree>,
        touched: &mut Vec<ResourcePath>,
    ) {
        // What was to go may still be there.
        touched.extend(extras.opened.iter().cloned());
        touched.sort_unstable_by(|a, b| b.cmp(a));
        touched.dedup();
        for place in &*touched {
            let Some((path, attributes)) = extras.folders.get(place) else {
                continue;
            };
            if let Ok(None) = destination.existing_directory(place) {
                continue;
            }
            if let Err(error) = destination.finish_directory(place, attributes) {
                self.fail(path, &error.into());
            }
        }
        if self.config.sync == SyncPolicy::Never {
            return;
        }
        let (until, destination) = (last_sync(self.limits.whole), Arc::clone(destination));
        let synced = Arc::clone(&destination);
        match in_time(until, move || synced.sync(until.is_some())) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.fail(&self.tree.path.clone(), &error.into()),
            Err(error) => self.fail(&self.tree.path.clone(), &error),
        }
        let unkept = destination.unkept();
        if !unkept.is_empty() {
            (self.on_event)(Event::Unkept(unkept));
        }
    }

    fn here(&self, path: &ResourcePath) -> Option<PathBuf> {
        Some(self.at(&self.tree.place(path).ok()?))
    }

    fn at(&self, place: &ResourcePath) -> PathBuf {
        self.tree.folder.join(OsStr::from_bytes(place.as_bytes()))
    }

    fn tell(&mut self, path: &ResourcePath, kind: ObjectKind) {
        self.total.deleted += 1;
        let here = self.here(path);
        let item = item(&mut self.index, self.tree, path, here.as_deref());
        (self.on_event)(Event::Deleted { item, kind });
    }

    fn fail(&mut self, path: &ResourcePath, error: &ClientError) {
        self.total.failed += 1;
        let here = self.here(path);
        let item = item(&mut self.index, self.tree, path, here.as_deref());
        (self.on_event)(Event::Failed { item, error });
    }
}

/// The next of all things that are told.
fn item<'i>(
    index: &mut usize,
    tree: &'i Tree,
    path: &'i ResourcePath,
    here: Option<&'i Path>,
) -> Item<'i> {
    *index += 1;
    Item {
        index: *index - 1,
        address: &tree.address,
        path,
        here,
    }
}

fn kind_of(occupant: EntryKind) -> ObjectKind {
    match occupant {
        EntryKind::File | EntryKind::InUse => ObjectKind::File,
        EntryKind::Directory => ObjectKind::Directory,
        EntryKind::Link => ObjectKind::Symlink,
        EntryKind::Nothing | EntryKind::Other => ObjectKind::Other,
    }
}

//! What has the name of something of another kind gives way.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Deletion, kind_of};
use crate::client::ClientError;
use crate::client::beside::unreadable;
use crate::client::mirror::extras::{Extras, InTheWay};
use crate::store::{DestinationTree, EntryKind, StageError};
use crate::wire::{ObjectKind, ResourcePath};

/// What goes with something that gives way.
enum Going {
    /// So much, itself included; in a dry run each of it, contents before their folder.
    All(u64, Vec<(ResourcePath, ObjectKind)>),
    /// This of it is to stay, by its path here.
    Stays(PathBuf),
    /// It is more than may be deleted.
    TooMuch,
}

impl Deletion<'_, '_> {
    /// Deletes what is in the way, each as a whole or not at all: once everything else has come
    /// and gone, right before what it gives way to is fetched.
    pub(super) fn make_way(
        &mut self,
        extras: &Extras,
        destination: &Arc<DestinationTree>,
        touched: &mut Vec<ResourcePath>,
    ) {
        let mut cleared = Vec::new();
        let paths = extras.in_the_way.iter().map(|one| &one.path);
        self.ask_about(paths, &mut |deletion, number, answer| {
            let one = &extras.in_the_way[number];
            let is_there = match answer {
                // The answer is about what a link leads to: that it is one, the listing says.
                _ if one.there == ObjectKind::Symlink => true,
                Ok(kind) => kind == Some(one.there),
                Err(refused) => {
                    deletion.refuse(one, &refused.into());
                    false
                }
            };
            touched.extend(extras.kept_around(&one.place));
            if is_there && deletion.give_way(one, extras, destination) {
                cleared.push(one.path.clone());
            }
            true
        });
        self.notes.clear(self.tree, &cleared);
    }

    /// Returns whether it is gone, or would be.
    fn give_way(
        &mut self,
        one: &InTheWay,
        extras: &Extras,
        destination: &Arc<DestinationTree>,
    ) -> bool {
        if extras.is_unlisted(&one.place) {
            // What could not be listed is reported, and at the end that this is in the way.
            return false;
        }
        if extras.aliases.are_around(&one.place) {
            // A name of the tree may lead to it, or into it.
            self.refuse(one, &ClientError::StaysInTheWay(self.at(&one.place)));
            return false;
        }
        let (count, all) = match self.going(one, extras, destination) {
            Ok(Going::All(count, all)) => (count, all),
            Ok(Going::Stays(path)) => {
                self.refuse(one, &ClientError::StaysInTheWay(path));
                return false;
            }
            Ok(Going::TooMuch) => {
                self.total.reached_limit = true;
                self.refuse(one, &ClientError::DeletesTooMuch);
                return false;
            }
            Err(error) => {
                self.refuse(one, &error);
                return false;
            }
        };
        if self.limit.dry_run {
            for (path, kind) in &all {
                self.tell(path, *kind);
            }
            // Those that there was no room for.
            self.total.deleted += count - all.len() as u64;
            return true;
        }
        if one.here != ObjectKind::Directory {
            // It was not looked at as a folder: if it has become one, it stays.
            return match destination.remove_unless_directory(&one.place) {
                Ok(gone) => {
                    if gone != EntryKind::Nothing {
                        self.tell(&one.path, kind_of(gone));
                    }
                    true
                }
                Err(error) => {
                    self.refuse(one, &error.into());
                    false
                }
            };
        }
        let failed = self.total.failed;
        let flow = self.remove(&one.place, &one.path, destination);
        // More has come into it meanwhile.
        self.total.reached_limit |= flow.is_break();
        if self.total.failed > failed {
            self.notes.settle(&self.tree.address, &one.path);
        }
        flow.is_continue() && self.total.failed == failed
    }

    /// Looks at all that would go.
    fn going(
        &mut self,
        one: &InTheWay,
        extras: &Extras,
        destination: &Arc<DestinationTree>,
    ) -> Result<Going, ClientError> {
        let below = self.tree.below(&one.path);
        if !self.tree.selects(below, one.here) {
            return Ok(Going::Stays(self.at(&one.place)));
        }
        let left = self.limit.deleted_max.saturating_sub(self.total.deleted);
        let mut count = 1;
        let mut all = vec![(one.path.clone(), one.here)];
        if left < count {
            return Ok(Going::TooMuch);
        }
        let is_dry = self.limit.dry_run;
        self.check_removing(&one.place, destination)?;
        if one.here != ObjectKind::Directory {
            return Ok(Going::All(count, all));
        }
        let cannot_read = |error| StageError::Directory {
            doing: "read a subdirectory",
            directory: self.tree.folder.clone(),
            source: unreadable(error),
        };
        let mut contents = match destination.list_all(&one.place, true, !is_dry) {
            Ok(contents) => contents,
            Err(_) if self.is_opened_up(&one.place, destination) => {
                return Ok(Going::All(count, all));
            }
            Err(error) => return Err(error.into()),
        };
        while let Some(listed) = contents.next().map_err(cannot_read)? {
            if !self.limits.has_time() {
                return Err(ClientError::OutOfTime);
            }
            self.check_removing(&listed.path, destination)?;
            let (below, path) = self.tree.path_of(&listed.path);
            let is_seen = listed.error.is_none() || self.is_opened_up(&listed.path, destination);
            let goes = is_seen
                && !extras.may_be_hidden(&listed.path)
                && self.tree.selects(below, listed.kind);
            let path = match path {
                Some(path) if goes => path,
                _ => return Ok(Going::Stays(self.at(&listed.path))),
            };
            count += 1;
            if left < count {
                return Ok(Going::TooMuch);
            }
            if is_dry && all.len() < TOLD_MAX {
                all.push((path, listed.kind));
            }
        }
        all.reverse();
        Ok(Going::All(count, all))
    }

    /// Whether this cannot be looked into before a run that is not dry opens it up. What is in it is
    /// taken for missing.
    fn is_opened_up(&mut self, place: &ResourcePath, destination: &DestinationTree) -> bool {
        let locked = destination.locked(place).filter(|_| self.limit.dry_run);
        let is_opened_up = locked.is_some();
        let locked = locked.map(|locked| self.at(&locked));
        self.total.locked.extend(locked);
        is_opened_up
    }

    /// Tells why something stays in the way.
    fn refuse(&mut self, one: &InTheWay, error: &ClientError) {
        self.notes.settle(&self.tree.address, &one.path);
        self.fail(&one.path, error);
    }
}

/// Names in one folder that a dry run tells.
const TOLD_MAX: usize = 250_000;

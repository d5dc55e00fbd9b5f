//! `ftget --delete`: which trees become mirrors, and what deleting is held to.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::arguments::Typed;
use super::meaning::Destination;
use super::wish::Wish;
use super::wording::Source;
use crate::cli::settings::Places;
use crate::client::{
    ClientConfig, ClientError, DeleteLimit, Deleted, Event, MirrorNotes, Tree, delete_extras,
};

impl Typed {
    /// How many things may be deleted; `None` without `--delete`.
    pub(super) fn deletion(
        &self,
        destination: &Destination,
        elsewhere: &Places,
    ) -> Result<Option<u64>, String> {
        let delete = elsewhere.called("delete");
        let Some(max) = self.delete.then(|| self.max_delete.unwrap_or(u64::MAX)) else {
            return match self.max_delete {
                Some(_) => Err(format!(
                    "{} goes with --delete",
                    elsewhere.called("max-delete")
                )),
                None => Ok(None),
            };
        };
        if !self.recursive {
            return Err(format!("{delete} goes with --recursive"));
        }
        let Destination::Files(wishes) = destination else {
            return Err(format!("{delete} is for files, not for standard output"));
        };
        let mut names = HashSet::new();
        for wish in wishes {
            let Wish::Tree(tree, found) = wish else {
                return Err(format!("{delete} is for folders"));
            };
            if found.has_pattern() {
                return Err(format!("{delete} is for whole folders, not for a pattern"));
            }
            if tree.name.is_none() && self.dir.is_none() {
                return Err(format!(
                    "{delete} needs --dir, so that it is clear in which folder"
                ));
            }
            // What comes from one would be deleted for the other.
            if !names.insert(&tree.name) || (tree.name.is_none() && wishes.len() > 1) {
                return Err(format!(
                    "{delete} is for sources that do not share a folder"
                ));
            }
        }
        Ok(Some(max))
    }
}

/// Whole trees are wished for, and nothing else.
pub(super) fn are_trees(destination: &Destination) -> bool {
    let is_tree = |wish: &Wish| matches!(wish, Wish::Tree(_, found) if !found.has_pattern());
    matches!(destination, Destination::Files(wishes) if wishes.iter().all(is_tree))
}

/// The trees of all wishes, without the receipts, should these be in one of them.
pub(super) fn trees(wishes: &[Wish], receipts: Option<&Path>) -> Vec<Tree> {
    let receipts = receipts.and_then(|receipts| receipts.canonicalize().ok());
    let tree = |wish: &Wish| match (wish, &receipts) {
        (Wish::Tree(tree, _), None) => Some(tree.clone()),
        (Wish::Tree(tree, _), Some(receipts)) => Some(without(tree.clone(), receipts)),
        (Wish::File(_) | Wish::List(_), _) => None,
    };
    wishes.iter().filter_map(tree).collect()
}

/// A tree without this file of ours, by its canonical path.
fn without(tree: Tree, file: &Path) -> Tree {
    let top = match &tree.name {
        Some(name) => tree.folder.join(OsStr::from_bytes(name.as_bytes())),
        None => tree.folder.clone(),
    };
    let Ok(top) = top.canonicalize() else {
        return tree;
    };
    let Ok(spared) = file.strip_prefix(top) else {
        return tree;
    };
    let spared = spared.as_os_str().as_bytes().to_vec();
    let select = Arc::clone(&tree.select);
    Tree {
        select: Arc::new(move |below, kind| below != spared && select(below, kind)),
        ..tree
    }
}

/// What became of all mirrors.
pub(super) struct Mirrored {
    pub(super) total: Deleted,
    /// Sources that are files.
    files: Vec<String>,
}

impl Mirrored {
    /// What is said of how it ended, for people.
    pub(super) fn sentences(&self, quiet: bool) -> Vec<String> {
        let Deleted {
            deleted,
            reached_limit,
            not_fetched,
            kept_hidden,
            ..
        } = self.total;
        let mut said = Vec::new();
        if reached_limit {
            said.push(format!(
                "--max-delete is reached after {deleted}; what is left to delete stays"
            ));
        }
        if quiet {
            return said;
        }
        if not_fetched > 0 {
            said.push(format!(
                "nothing is deleted, since {not_fetched} could not be fetched"
            ));
        }
        if kept_hidden > 0 {
            said.push(format!(
                "{kept_hidden} with a dot before the name stay: the server hides such names"
            ));
        }
        let files = self.files.iter();
        said.extend(files.map(|file| format!("{file} is a file: --delete deletes nothing for it")));
        said
    }
}

/// Deletes what the servers do not have, or tells what would be deleted, `deleted_max` things in
/// all; `notes` give way, or why they do not is told. `spent`: of the time for everything.
pub(super) fn delete(
    trees: &[Tree],
    limit: DeleteLimit,
    notes: &mut MirrorNotes,
    config: &ClientConfig,
    spent: Duration,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Mirrored {
    let begun = Instant::now();
    let (mut total, mut files) = (Deleted::default(), Vec::new());
    for tree in trees {
        // One tree after the other has what is left.
        let config = after(spent + begun.elapsed(), config);
        let limit = DeleteLimit {
            deleted_max: limit.deleted_max - total.deleted,
            ..limit
        };
        let one = delete_extras(tree, limit, notes, &config, on_event);
        total.deleted += one.deleted;
        total.failed += one.failed;
        total.kept_hidden += one.kept_hidden;
        total.reached_limit |= one.reached_limit;
        total.not_fetched = one.not_fetched;
        if one.is_file {
            let source = Source {
                address: &tree.address,
                path: &tree.path,
                is_command: false,
            };
            files.push(source.to_string());
        }
        if total.reached_limit {
            break;
        }
    }
    total.failed += notes.tell_left(total.reached_limit, on_event);
    Mirrored { total, files }
}

/// With the time for everything that is left.
pub(super) fn after(spent: Duration, config: &ClientConfig) -> ClientConfig {
    ClientConfig {
        whole_timeout: config
            .whole_timeout
            .map(|whole| whole.saturating_sub(spent)),
        ..config.clone()
    }
}

/// What would help if something is in the way of a tree.
pub(super) fn hint(error: &ClientError) -> Option<&'static str> {
    let hint = "--delete removes what the server has something else for, and what it does not have";
    error.is_in_the_way().then_some(hint)
}

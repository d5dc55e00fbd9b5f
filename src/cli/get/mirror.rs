//! `ftget --delete`: which trees become mirrors, and what deleting is held to.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::arguments::{MaxDelete, Typed, TypedIfExists};
use super::destination::Destination;
use super::wish::Wish;
use super::wording::Source;
use crate::cli::settings::Places;
use crate::cli::terminal::{counted, shown};
use crate::client::{
    ClientConfig, ClientError, DeleteLimit, Deleted, Event, MirrorNotes, Tree, delete_extras,
};

impl Typed {
    /// How far deleting may go; `None` without `--delete`.
    pub(super) fn deletion(
        &self,
        destination: &Destination,
        elsewhere: &Places,
    ) -> Result<Option<DeleteLimit>, String> {
        let delete = elsewhere.called("delete");
        let limit = DeleteLimit {
            deleted_max: match self.max_delete {
                Some(MaxDelete::Number(max)) => max,
                Some(MaxDelete::All) | None => u64::MAX,
            },
            allow_empty: self.max_delete == Some(MaxDelete::All),
            dry_run: self.dry_run,
        };
        if !self.delete {
            return match self.max_delete {
                Some(_) => Err(format!(
                    "{} goes with --delete",
                    elsewhere.called("max-delete")
                )),
                None => Ok(None),
            };
        }
        if !self.recursive {
            return Err(format!("{delete} goes with --recursive"));
        }
        let Destination::Files(wishes) = destination else {
            return Err(format!("{delete} is for files, not for standard output"));
        };
        if self.if_exists == TypedIfExists::Rename {
            let if_exists = elsewhere.called("if-exists");
            // The new names are none of the server's.
            return Err(format!("{delete} does not go with {if_exists} rename"));
        }
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
        }
        if shares_folder(wishes) {
            // What comes from one would be deleted for the other.
            return Err(format!(
                "{delete} is for sources that do not share a folder"
            ));
        }
        Ok(Some(limit))
    }
}

/// Whole trees are wished for, and nothing else, each for a folder that has nothing else in it.
pub(super) fn are_mirrors(destination: &Destination) -> bool {
    let is_tree = |wish: &Wish| matches!(wish, Wish::Tree(_, found) if !found.has_pattern());
    matches!(destination, Destination::Files(wishes)
        if wishes.iter().all(is_tree) && !shares_folder(wishes))
}

/// Whether something else goes into the folder of one of these trees.
fn shares_folder(wishes: &[Wish]) -> bool {
    let mut names = HashSet::new();
    wishes.iter().any(|wish| match wish {
        Wish::Tree(tree, _) if tree.name.is_none() => wishes.len() > 1,
        Wish::Tree(tree, _) => !names.insert(&tree.name),
        Wish::File(_) | Wish::List(_) => false,
    })
}

/// The trees of all wishes, without the files of ours that are in one of them.
pub(super) fn trees(wishes: &[Wish], ours: &[PathBuf]) -> Vec<Tree> {
    let tree = |wish: &Wish| match wish {
        Wish::Tree(tree, _) => Some(without(tree.clone(), ours)),
        Wish::File(_) | Wish::List(_) => None,
    };
    wishes.iter().filter_map(tree).collect()
}

/// A tree without these files.
fn without(tree: Tree, files: &[PathBuf]) -> Tree {
    let top = match &tree.name {
        Some(name) => tree.folder.join(OsStr::from_bytes(name.as_bytes())),
        None => tree.folder.clone(),
    };
    let Ok(top) = top.canonicalize() else {
        return tree;
    };
    let below = |file: PathBuf| {
        let below = file.strip_prefix(&top).ok()?;
        Some(below.as_os_str().as_bytes().to_vec())
    };
    // It may be a link, and it may have yet to be made.
    let found = files.iter().filter_map(|file| file.canonicalize().ok());
    let named = files.iter().filter_map(|file| {
        let folder = match file.parent()? {
            here if here.as_os_str().is_empty() => Path::new("."),
            folder => folder,
        };
        Some(folder.canonicalize().ok()?.join(file.file_name()?))
    });
    let spared: Vec<Vec<u8>> = found.chain(named).filter_map(below).collect();
    if spared.is_empty() {
        return tree;
    }
    let select = Arc::clone(&tree.select);
    let is_spared = move |below: &[u8]| spared.iter().any(|spared| spared == below);
    Tree {
        select: Arc::new(move |below, kind| !is_spared(below) && select(below, kind)),
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
            kept_aliases,
            ref crossed,
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
        if let Some(first) = crossed.first() {
            let first = shown(first.as_os_str());
            said.push(match crossed.len() - 1 {
                0 => format!("{first} is on another file system, and nothing is deleted in it"),
                more => format!(
                    "{first} and {more} more are on another file system, and nothing is deleted in them"
                ),
            });
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
        if kept_aliases > 0 {
            let names = counted(kept_aliases, "local name");
            said.push(match kept_aliases {
                1 => format!("{names} stays: its file system takes it for a name on the server"),
                _ => format!("{names} stay: their file system takes them for names on the server"),
            });
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
        let mut one = delete_extras(tree, limit, notes, &config, on_event);
        total.locked.append(&mut one.locked);
        total.crossed.append(&mut one.crossed);
        total.deleted += one.deleted;
        total.failed += one.failed;
        total.kept_hidden += one.kept_hidden;
        total.kept_aliases += one.kept_aliases;
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

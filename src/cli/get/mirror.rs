//! `ftget --delete`: which trees become mirrors, and the limits of deletion.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::args::{GetArgs, IfExistsArg, MaxDelete};
use super::destination::Destination;
use super::target::Target;
use super::wording::Source;
use crate::cli::settings::SettingSources;
use crate::cli::terminal::{counted, shown};
use crate::client::{
    ClientConfig, ClientError, DeleteLimit, Deleted, Event, MirrorNotes, Tree, delete_extras,
};

impl GetArgs {
    /// The limit of `--delete`; `None` without the option.
    pub(super) fn deletion(
        &self,
        destination: &Destination,
        settings: &SettingSources,
    ) -> Result<Option<DeleteLimit>, String> {
        let delete = settings.spelling("delete");
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
                    "{} needs --delete",
                    settings.spelling("max-delete")
                )),
                None => Ok(None),
            };
        }
        if !self.recursive {
            return Err(format!("{delete} needs --recursive"));
        }
        let Destination::Files(targets) = destination else {
            return Err(format!("{delete} is for files, not for standard output"));
        };
        if self.if_exists == IfExistsArg::Rename {
            let if_exists = settings.spelling("if-exists");
            // The server has none of the new names, so they would be deleted.
            return Err(format!("{delete} cannot be used with {if_exists} rename"));
        }
        for target in targets {
            let Target::Tree(tree, matches) = target else {
                return Err(format!("{delete} is for directories"));
            };
            if matches.has_pattern() {
                return Err(format!(
                    "{delete} is for whole directories, not for a pattern"
                ));
            }
            if tree.name.is_none() && self.dir.is_none() {
                return Err(format!("{delete} needs --dir to know the local directory"));
            }
        }
        if shares_directory(targets) {
            // The files of one source would be deleted as extras of the other.
            return Err(format!(
                "{delete} is for sources that do not share a directory"
            ));
        }
        Ok(Some(limit))
    }
}

/// Whether all targets are whole trees, each with a directory of its own.
pub(super) fn are_mirrors(destination: &Destination) -> bool {
    let is_tree =
        |target: &Target| matches!(target, Target::Tree(_, matches) if !matches.has_pattern());
    matches!(destination, Destination::Files(targets)
        if targets.iter().all(is_tree) && !shares_directory(targets))
}

/// Whether two targets write to the directory of one of these trees.
fn shares_directory(targets: &[Target]) -> bool {
    let mut names = HashSet::new();
    targets.iter().any(|target| match target {
        Target::Tree(tree, _) if tree.name.is_none() => targets.len() > 1,
        Target::Tree(tree, _) => !names.insert(&tree.name),
        Target::File(_) | Target::List(_) => false,
    })
}

/// The trees of all targets, without the files that this program itself writes.
pub(super) fn trees(targets: &[Target], ours: &[PathBuf]) -> Vec<Tree> {
    let tree = |target: &Target| match target {
        Target::Tree(tree, _) => Some(without(tree.clone(), ours)),
        Target::File(_) | Target::List(_) => None,
    };
    targets.iter().filter_map(tree).collect()
}

/// Excludes files from a tree.
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
    // A file may be a symbolic link, or may not exist yet.
    let found = files.iter().filter_map(|file| file.canonicalize().ok());
    let named = files.iter().filter_map(|file| {
        let directory = match file.parent()? {
            here if here.as_os_str().is_empty() => Path::new("."),
            directory => directory,
        };
        Some(directory.canonicalize().ok()?.join(file.file_name()?))
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

/// The result of all mirrors.
pub(super) struct Mirrored {
    pub(super) total: Deleted,
    /// Sources that are files.
    files: Vec<String>,
}

impl Mirrored {
    /// Lines about the result, for people.
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
        let mut lines = Vec::new();
        if reached_limit {
            lines.push(format!(
                "--max-delete is reached after {deleted} deletions; the rest stays"
            ));
        }
        if quiet {
            return lines;
        }
        if let Some(first) = crossed.first() {
            let first = shown(first.as_os_str());
            lines.push(match crossed.len() - 1 {
                0 => format!("{first} is on another file system, and nothing is deleted in it"),
                more => format!(
                    "{first} and {more} more are on another file system, and nothing is deleted in them"
                ),
            });
        }
        if not_fetched > 0 {
            lines.push(format!(
                "nothing is deleted, since {not_fetched} could not be downloaded"
            ));
        }
        if kept_hidden > 0 {
            lines.push(format!(
                "{kept_hidden} dotfiles stay: the server hides such names"
            ));
        }
        if kept_aliases > 0 {
            let names = counted(kept_aliases, "local name");
            lines.push(match kept_aliases {
                1 => format!("{names} stays: its file system takes it for a name on the server"),
                _ => format!("{names} stay: their file system takes them for names on the server"),
            });
        }
        let files = self.files.iter();
        lines
            .extend(files.map(|file| format!("{file} is a file: --delete deletes nothing for it")));
        lines
    }
}

/// Deletes local entries that the servers do not have, or only reports them in a dry run. At most
/// `limit.deleted_max` in all. Resolves the type conflicts in `notes`, or reports why they stay.
/// `spent` is subtracted from the time limit of the run.
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
        // Each tree gets what the trees before it left of the limits.
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

/// The configuration with what is left of the time limit.
pub(super) fn after(spent: Duration, config: &ClientConfig) -> ClientConfig {
    ClientConfig {
        whole_timeout: config
            .whole_timeout
            .map(|whole| whole.saturating_sub(spent)),
        ..config.clone()
    }
}

/// A hint for local entries that block a tree.
pub(super) fn hint(error: &ClientError) -> Option<&'static str> {
    let hint = "--delete replaces entries of another kind, and deletes those that the server does not have";
    error.is_in_the_way().then_some(hint)
}

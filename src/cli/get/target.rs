//! Targets of a transfer: the files and trees that the sources name.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::args::{GetArgs, LinksArg};
use super::filter::{Filter, Selection};
use super::listed::List;
use super::source::{is_url, taken_for_port};
use crate::cli::settings::SettingSources;
use crate::cli::terminal::shown;
use crate::cli::visible;
use crate::client::{Batch, Download, Tree};
use crate::net::Location;
use crate::store::FileName;
use crate::wire::{ObjectKind, ResourcePath};

/// The meaning of one source.
pub(super) enum Target {
    File(Download),
    Tree(Tree, PatternMatches),
    /// The entries of a list.
    List(List),
}

/// Whether anything matched a source.
#[derive(Clone)]
pub(super) struct PatternMatches {
    pub(super) source: String,
    is_matched: Arc<AtomicBool>,
    /// A source with a pattern must match something.
    has_pattern: bool,
}

impl PatternMatches {
    /// Whether the source has a pattern.
    pub(super) fn has_pattern(&self) -> bool {
        self.has_pattern
    }

    /// Whether nothing matched the pattern.
    pub(super) fn is_unmatched(&self) -> bool {
        self.has_pattern && !self.is_matched.load(Ordering::SeqCst)
    }
}

/// Copies the targets; `None` if one is a list that can be read only once.
pub(super) fn duplicate(targets: &[Target]) -> Option<Vec<Target>> {
    let duplicate = |target: &Target| match target {
        Target::File(download) => Some(Target::File(download.clone())),
        Target::Tree(tree, matches) => Some(Target::Tree(tree.clone(), matches.clone())),
        Target::List(list) => list.reread().map(Target::List),
    };
    targets.iter().map(duplicate).collect()
}

/// All targets as one batch, and the match flags to check after it.
pub(super) fn batch(targets: Vec<Target>) -> (Batch<'static>, Vec<PatternMatches>) {
    let (mut batch, mut sources, mut files) = (Batch::new(), Vec::new(), Vec::new());
    for target in targets {
        match target {
            Target::File(download) => files.push(download),
            Target::Tree(tree, matches) => {
                if !files.is_empty() {
                    batch = batch.files(std::mem::take(&mut files));
                }
                batch = batch.tree(tree);
                sources.push(matches);
            }
            // A list is the only target.
            Target::List(list) => batch = batch.files(list),
        }
    }
    if !files.is_empty() {
        batch = batch.files(files);
    }
    (batch, sources)
}

impl GetArgs {
    /// The targets of all sources, each below `--dir`.
    pub(super) fn targets(
        &self,
        filter: Filter,
        settings: &SettingSources,
    ) -> Result<Vec<Target>, String> {
        let directory = self.dir.as_deref().unwrap_or(Path::new("."));
        let filter = Arc::new(filter);
        let mut names = HashMap::new();
        let mut targets = Vec::with_capacity(self.sources.len());
        for source in &self.sources {
            let target = self.target(source, directory, &filter)?;
            if let Target::File(download) = &target
                && let wanted = (download.address.clone(), download.path.clone())
                && let Some(other) = names.insert(download.name.clone(), wanted.clone())
                && other != wanted
            {
                return Err(format!(
                    "two sources would write the file {}",
                    visible(download.name.as_bytes())
                ));
            }
            targets.push(target);
        }
        let has_tree = targets
            .iter()
            .any(|target| matches!(target, Target::Tree(..)));
        for (options, given, goes) in [
            (settings.spelling("md5"), self.md5.is_some(), !has_tree),
            (
                "--include, --exclude and --exclude-from".to_owned(),
                !filter.is_empty(),
                has_tree,
            ),
        ] {
            if given && !goes {
                return Err(if has_tree {
                    format!("{options} is for one file")
                } else {
                    format!("{options} need --recursive, --list, or a pattern in SOURCE")
                });
            }
        }
        Ok(targets)
    }

    fn target(
        &self,
        source: &OsStr,
        directory: &Path,
        filter: &Arc<Filter>,
    ) -> Result<Target, String> {
        let location = Location::parse(source.as_bytes()).map_err(|error| error.to_string())?;
        // In a URL, every name can be percent-encoded: it has no patterns.
        let literal = || Selection::everything(&location.path, self.recursive);
        let split = if is_url(source) {
            literal()
        } else {
            // As in a shell, a malformed pattern is a name.
            Selection::split(&location.path, self.recursive).unwrap_or_else(|_| literal())
        };
        let is_pattern = split.selection.written().is_some();
        let (written, is_deep) = (split.path.to_vec(), split.is_deep);
        let selection = split.selection;
        let bad = |error: &dyn std::fmt::Display| format!("{}: {error}", shown(source));
        let path = written.strip_suffix(b"/").unwrap_or(&written);
        if !self.recursive && !is_pattern {
            // A slash at the end marks a directory.
            let path = ResourcePath::parse(&written).map_err(|error| match path.is_empty() {
                false if path.len() < written.len() => {
                    format!("{} names a directory; -r downloads it", shown(source))
                }
                _ => bad(&error),
            })?;
            let Some(last) = path.file_name() else {
                let port = taken_for_port(&location.address, &path).filter(|_| !is_url(source));
                let port = port.map_or_else(String::new, |port| format!("; {port}"));
                return Err(format!(
                    "{} names no file; -o FILE names it, and -r downloads a directory{port}",
                    shown(source)
                ));
            };
            let name = FileName::parse(last).map_err(|error| bad(&error))?;
            return Ok(Target::File(Download {
                want_md5: self.md5,
                ..Download::new(location.address, path, directory.to_owned(), name)
            }));
        }
        let path = ResourcePath::parse(path).map_err(|error| bad(&error))?;
        // `dir` is the directory itself, `dir/` its contents.
        let top = path
            .file_name()
            .filter(|_| !is_pattern && !written.ends_with(b"/"));
        let matches = PatternMatches {
            source: shown(source),
            is_matched: Arc::new(AtomicBool::new(false)),
            has_pattern: is_pattern,
        };
        let (is_matched, filter) = (Arc::clone(&matches.is_matched), Arc::clone(filter));
        let is_recursive = self.recursive;
        let tree = Tree {
            skips_links: matches!(self.links, LinksArg::Skip),
            is_filtered: is_pattern || !filter.is_empty(),
            name: top
                .map(FileName::parse)
                .transpose()
                .map_err(|error| bad(&error))?,
            address: location.address,
            path,
            recursive: is_deep,
            folder: directory.to_owned(),
            select: Arc::new(move |path, kind| {
                let is_directory = kind == ObjectKind::Directory;
                let is_meant = (is_recursive || !is_directory)
                    && selection.admits(path, is_directory)
                    && filter.admits(path, is_directory);
                if is_meant {
                    is_matched.store(true, Ordering::SeqCst);
                }
                is_meant
            }),
        };
        Ok(Target::Tree(tree, matches))
    }
}

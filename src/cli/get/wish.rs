//! What the sources of a command line stand for: files, and what is in folders.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::arguments::{Typed, TypedLinks};
use super::filter::{Filter, Selection};
use super::listed::List;
use super::source::{is_url, taken_for_port};
use crate::cli::settings::Places;
use crate::cli::terminal::shown;
use crate::cli::visible;
use crate::client::{Batch, Download, Tree};
use crate::net::Location;
use crate::store::FileName;
use crate::wire::{ObjectKind, ResourcePath};

/// What one source stands for.
pub(super) enum Wish {
    File(Download),
    Tree(Tree, Found),
    /// What the lines of a list name.
    List(List),
}

/// Whether anything was found of a source, as it was typed.
#[derive(Clone)]
pub(super) struct Found {
    pub(super) source: String,
    is_found: Arc<AtomicBool>,
    /// Whether it is a failure if there is nothing.
    is_expected: bool,
}

impl Found {
    /// It was typed with a pattern.
    pub(super) fn has_pattern(&self) -> bool {
        self.is_expected
    }

    /// It has a pattern that nothing matched.
    pub(super) fn is_nothing(&self) -> bool {
        self.is_expected && !self.is_found.load(Ordering::SeqCst)
    }
}

/// The same wishes once more; `None` if one is a list that can be read only once.
pub(super) fn again(wishes: &[Wish]) -> Option<Vec<Wish>> {
    let again = |wish: &Wish| match wish {
        Wish::File(download) => Some(Wish::File(download.clone())),
        Wish::Tree(tree, found) => Some(Wish::Tree(tree.clone(), found.clone())),
        Wish::List(list) => list.again().map(Wish::List),
    };
    wishes.iter().map(again).collect()
}

/// All wishes as one batch, and what to look at when it is over.
pub(super) fn batch(wishes: Vec<Wish>) -> (Batch<'static>, Vec<Found>) {
    let (mut batch, mut sources, mut files) = (Batch::new(), Vec::new(), Vec::new());
    for wish in wishes {
        match wish {
            Wish::File(download) => files.push(download),
            Wish::Tree(tree, found) => {
                if !files.is_empty() {
                    batch = batch.files(std::mem::take(&mut files));
                }
                batch = batch.tree(tree);
                sources.push(found);
            }
            // It is alone.
            Wish::List(list) => batch = batch.files(list),
        }
    }
    if !files.is_empty() {
        batch = batch.files(files);
    }
    (batch, sources)
}

impl Typed {
    /// What the sources stand for, each below the folder of `--dir`.
    pub(super) fn wishes(&self, filter: Filter, elsewhere: &Places) -> Result<Vec<Wish>, String> {
        let folder = self.dir.as_deref().unwrap_or(Path::new("."));
        let filter = Arc::new(filter);
        let mut names = HashMap::new();
        let mut wishes = Vec::with_capacity(self.sources.len());
        for source in &self.sources {
            let wish = self.wish(source, folder, &filter)?;
            if let Wish::File(download) = &wish
                && let wanted = (download.address.clone(), download.path.clone())
                && let Some(other) = names.insert(download.name.clone(), wanted.clone())
                && other != wanted
            {
                return Err(format!(
                    "two sources would become the file {}",
                    visible(download.name.as_bytes())
                ));
            }
            wishes.push(wish);
        }
        let has_tree = wishes.iter().any(|wish| matches!(wish, Wish::Tree(..)));
        for (options, given, goes) in [
            (elsewhere.called("md5"), self.md5.is_some(), !has_tree),
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
                    format!("{options} go with --recursive, --list, or a pattern in SOURCE")
                });
            }
        }
        Ok(wishes)
    }

    fn wish(&self, source: &OsStr, folder: &Path, filter: &Arc<Filter>) -> Result<Wish, String> {
        let location = Location::parse(source.as_bytes()).map_err(|error| error.to_string())?;
        // In a URL every name can be written without a sign.
        let literal = || Selection::everything(&location.path, self.recursive);
        let split = if is_url(source) {
            literal()
        } else {
            // What is no pattern is a name, as in a shell.
            Selection::split(&location.path, self.recursive).unwrap_or_else(|_| literal())
        };
        let is_pattern = split.selection.written().is_some();
        let (typed, is_deep) = (split.path.to_vec(), split.is_deep);
        let selection = split.selection;
        let bad = |error: &dyn std::fmt::Display| format!("{}: {error}", shown(source));
        let path = typed.strip_suffix(b"/").unwrap_or(&typed);
        if !self.recursive && !is_pattern {
            // A slash at its end says that it is a folder.
            let path = ResourcePath::parse(&typed).map_err(|error| match path.is_empty() {
                false if path.len() < typed.len() => {
                    format!(
                        "{} is the name of a folder, which -r fetches",
                        shown(source)
                    )
                }
                _ => bad(&error),
            })?;
            let Some(last) = path.file_name() else {
                let port = taken_for_port(&location.address, &path).filter(|_| !is_url(source));
                let port = port.map_or_else(String::new, |port| format!("; {port}"));
                return Err(format!(
                    "{} names no file; with -o FILE it may, and -r fetches a folder{port}",
                    shown(source)
                ));
            };
            let name = FileName::parse(last).map_err(|error| bad(&error))?;
            return Ok(Wish::File(Download {
                want_md5: self.md5,
                ..Download::new(location.address, path, folder.to_owned(), name)
            }));
        }
        let path = ResourcePath::parse(path).map_err(|error| bad(&error))?;
        // `dir` is the folder itself, `dir/` its contents.
        let top = path
            .file_name()
            .filter(|_| !is_pattern && !typed.ends_with(b"/"));
        let found = Found {
            source: shown(source),
            is_found: Arc::new(AtomicBool::new(false)),
            is_expected: is_pattern,
        };
        let (is_found, filter) = (Arc::clone(&found.is_found), Arc::clone(filter));
        let is_recursive = self.recursive;
        let tree = Tree {
            skips_links: matches!(self.links, TypedLinks::Skip),
            is_filtered: is_pattern || !filter.is_empty(),
            name: top
                .map(FileName::parse)
                .transpose()
                .map_err(|error| bad(&error))?,
            address: location.address,
            path,
            recursive: is_deep,
            folder: folder.to_owned(),
            select: Arc::new(move |path, kind| {
                let is_folder = kind == ObjectKind::Directory;
                let is_meant = (is_recursive || !is_folder)
                    && selection.admits(path, is_folder)
                    && filter.admits(path, is_folder);
                if is_meant {
                    is_found.store(true, Ordering::SeqCst);
                }
                is_meant
            }),
        };
        Ok(Wish::Tree(tree, found))
    }
}

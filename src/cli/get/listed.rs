//! `ftget -i`: from the lines of a list to downloads, one by one.

use std::error::Error;
use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{self, BufRead};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::arguments::Typed;
use super::destination::Destination;
use super::filter::Filter;
use super::input::{Held, Input, InputError, Wanted, hold};
use super::list::name_below;
use super::no_order::NoOrder;
use super::wish::Wish;
use crate::cli::terminal::shown;
use crate::cli::{ExitCode, visible};
use crate::client::{ClientError, Download, Entry, ListedFile};
use crate::net::{Address, Location};
use crate::store::FileName;
use crate::wire::{ObjectKind, ResourcePath};

/// A list that is being read: what its lines name, for the engine.
pub(super) struct List {
    lines: Input<Box<dyn BufRead + Send>>,
    /// What it is read from again.
    held: Option<Held>,
    /// Its names end with a NUL.
    is_null: bool,
    /// What it is called in a sentence.
    name: String,
    /// It has no line so far.
    is_empty: Arc<AtomicBool>,
    address: Address,
    /// The folder of the source.
    root: ResourcePath,
    /// The filter of the names in the list.
    filter: Arc<Filter>,
    /// The folder here that all goes below.
    folder: PathBuf,
}

/// Why a line of a list, or what is left of it, names nothing.
#[derive(Debug, thiserror::Error)]
#[error("{list}:{error}")]
pub(super) struct ListError {
    /// What the list is called, safe to show.
    pub(super) list: String,
    pub(super) error: InputError,
}

impl From<ListError> for ClientError {
    fn from(error: ListError) -> ClientError {
        ClientError::BadEntry(Arc::new(error))
    }
}

/// Opens a list, `-` for standard input. Its files go below the folder that was typed, in the
/// folders that they are in below the source.
///
/// # Errors
/// The options make no sense with a list, or it cannot be opened.
pub(super) fn read(list: &OsStr, typed: &Typed) -> Result<Destination, NoOrder> {
    let [source] = &typed.sources[..] else {
        return Err(NoOrder::Meaningless(format!(
            "--input-file is for one SOURCE, there are {}",
            typed.sources.len()
        )));
    };
    let location = Location::parse(source.as_bytes())
        .map_err(|error| NoOrder::Meaningless(error.to_string()))?;
    let meaningless =
        |error: &dyn Display| NoOrder::Meaningless(format!("{}: {error}", shown(source)));
    // A folder may be named with the slash that it is shown with.
    let path = location.path.strip_suffix(b"/").unwrap_or(&location.path);
    let root = ResourcePath::parse(path).map_err(|error| meaningless(&error))?;
    let unusable =
        |error: io::Error| NoOrder::Unusable(format!("cannot open {}: {error}", name_of(list)));
    let held = typed.preflight.then(|| hold(list, typed.max_time));
    let held = held.transpose().map_err(unusable)?;
    let lines = match &held {
        Some(held) => Input::again(held, root.clone(), typed.null),
        None => Input::open(list, root.clone(), typed.null, typed.max_time).map_err(unusable)?,
    };
    Ok(Destination::Files(vec![Wish::List(List {
        lines,
        held,
        is_null: typed.null,
        name: name_of(list),
        is_empty: Arc::new(AtomicBool::new(true)),
        address: location.address,
        root,
        filter: Arc::new(typed.rules.read()?),
        folder: typed.dir.clone().unwrap_or_else(|| Path::new(".").into()),
    })]))
}

impl Iterator for List {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            let line = self.lines.next()?;
            self.is_empty.store(false, Ordering::SeqCst);
            let entry = match line {
                // The folder of the source is here.
                Ok(Wanted {
                    kind: ObjectKind::Directory,
                    path,
                    ..
                }) if path == self.root => continue,
                Ok(wanted) if !self.admits(&wanted) => continue,
                Ok(wanted) => self.entry(wanted),
                Err(error) => self.failed(ResourcePath::root(), self.bad_line(error)),
            };
            return Some(entry);
        }
    }
}

impl List {
    /// What it is called, and whether no line of it has come so far.
    pub(super) fn emptiness(&self) -> (String, Arc<AtomicBool>) {
        (self.name.clone(), Arc::clone(&self.is_empty))
    }

    /// The same list from its beginning, which was opened to be held; otherwise nothing.
    pub(super) fn again(&self) -> Option<List> {
        let held = self.held.as_ref()?;
        Some(List {
            lines: Input::again(held, self.root.clone(), self.is_null),
            held: Some(held.clone()),
            is_null: self.is_null,
            name: self.name.clone(),
            is_empty: Arc::clone(&self.is_empty),
            address: self.address.clone(),
            root: self.root.clone(),
            filter: Arc::clone(&self.filter),
            folder: self.folder.clone(),
        })
    }

    fn admits(&self, wanted: &Wanted) -> bool {
        let is_folder = wanted.kind == ObjectKind::Directory;
        self.filter
            .admits(name_below(&self.root, &wanted.path), is_folder)
    }

    fn entry(&self, wanted: Wanted) -> Entry {
        let (address, path) = (self.address.clone(), wanted.path);
        // Names alone, as find(1) writes them, do not say what they are of.
        let is_bare = wanted.md5.is_none() && wanted.total_size.is_none();
        let or_folder = match wanted.kind {
            ObjectKind::Directory => true,
            ObjectKind::File => is_bare,
            kind @ (ObjectKind::Symlink | ObjectKind::Other) => {
                return Entry::PassedOver {
                    address,
                    path,
                    kind,
                };
            }
        };
        match place(name_below(&self.root, &path)) {
            Ok((below, name)) => Entry::File(Download {
                below,
                want_md5: wanted.md5,
                or_folder,
                listed_folder: wanted.folder,
                // A hint of how much there is to do; what it is now only the server knows.
                listed: wanted
                    .md5
                    .zip(wanted.total_size)
                    .map(|(md5, total_size)| ListedFile {
                        total_size,
                        md5: Some(md5),
                        ..ListedFile::default()
                    }),
                ..Download::new(address, path, self.folder.clone(), name)
            }),
            Err(error) => self.failed(path, ClientError::LocalName(error.to_string())),
        }
    }

    fn failed(&self, path: ResourcePath, error: ClientError) -> Entry {
        let address = self.address.clone();
        Entry::Failed {
            address,
            path,
            error,
        }
    }

    fn bad_line(&self, error: InputError) -> ClientError {
        let list = self.name.clone();
        ListError { list, error }.into()
    }
}

/// The exit code of what is wrong with a list, and the word for programs.
pub(super) fn classify(error: &(dyn Error + Send + Sync + 'static)) -> (ExitCode, &'static str) {
    match error.downcast_ref().map(|ListError { error, .. }| error) {
        Some(InputError::Line { .. }) => (ExitCode::Usage, "bad_line"),
        Some(
            InputError::Endless(_)
            | InputError::Utf16
            | InputError::Nul
            | InputError::OtherAlgorithm { .. }
            | InputError::NotClear(_),
        ) => (ExitCode::Usage, "bad_list"),
        Some(InputError::Read(_)) => (ExitCode::LocalFile, "local_file"),
        None => (ExitCode::Unclassified, "internal"),
    }
}

/// What a list is called in a sentence.
fn name_of(list: &OsStr) -> String {
    if list == "-" {
        "standard input".to_owned()
    } else {
        visible(list.as_bytes()).into_owned()
    }
}

/// The folders above a file, and its own name.
fn place(path: &[u8]) -> Result<(ResourcePath, FileName), Box<dyn Error>> {
    let (above, name) = match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&b""[..], path),
    };
    Ok((ResourcePath::parse(above)?, FileName::parse(name)?))
}

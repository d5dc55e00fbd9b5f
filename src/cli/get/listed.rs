//! `ftget -i`: turns the lines of a list into downloads, one by one.

use std::error::Error;
use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{self, BufRead};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::args::GetArgs;
use super::destination::Destination;
use super::filter::Filter;
use super::input::{ListItem, ListReadError, ListReader, RereadableList, open_rereadable};
use super::list::name_below;
use super::target::Target;
use super::usage_error::UsageError;
use crate::cli::terminal::shown;
use crate::cli::{ExitCode, visible};
use crate::client::{ClientError, Download, Entry, ListedFile};
use crate::net::{Address, Location};
use crate::store::FileName;
use crate::wire::{ObjectKind, ResourcePath};

/// The entries of a list, as downloads for the client.
pub(super) struct List {
    lines: ListReader<Box<dyn BufRead + Send>>,
    /// Set if the list can be read again.
    held: Option<RereadableList>,
    /// Names end with a NUL.
    is_null: bool,
    /// The name of the list for messages.
    name: String,
    /// True until the first line.
    is_empty: Arc<AtomicBool>,
    address: Address,
    /// The directory that SOURCE names.
    root: ResourcePath,
    /// Filters the names of the list.
    filter: Arc<Filter>,
    /// The local directory for all files.
    directory: PathBuf,
}

/// Why a line, or the rest of a list, is not used.
#[derive(Debug, thiserror::Error)]
#[error("{list}:{error}")]
pub(super) struct ListError {
    /// The name of the list, escaped for a terminal.
    pub(super) list: String,
    pub(super) error: ListReadError,
}

impl From<ListError> for ClientError {
    fn from(error: ListError) -> ClientError {
        ClientError::BadEntry(Arc::new(error))
    }
}

/// Opens a list, `-` for standard input. Its files go below `--dir`, with the directories that they
/// have below the source.
///
/// # Errors
/// The options cannot be used with a list, or the list cannot be opened.
pub(super) fn read(list: &OsStr, args: &GetArgs) -> Result<Destination, UsageError> {
    let [source] = &args.sources[..] else {
        return Err(UsageError::Invalid(format!(
            "--input-file is for one SOURCE, there are {}",
            args.sources.len()
        )));
    };
    let location = Location::parse(source.as_bytes())
        .map_err(|error| UsageError::Invalid(error.to_string()))?;
    let meaningless =
        |error: &dyn Display| UsageError::Invalid(format!("{}: {error}", shown(source)));
    // `--list` prints directories with a slash, so a source may end with one.
    let path = location.path.strip_suffix(b"/").unwrap_or(&location.path);
    let root = ResourcePath::parse(path).map_err(|error| meaningless(&error))?;
    let unusable = |error: io::Error| {
        UsageError::UnusableFile(format!("cannot open {}: {error}", name_of(list)))
    };
    let held = args.preflight.then(|| open_rereadable(list, args.max_time));
    let held = held.transpose().map_err(unusable)?;
    let lines = match &held {
        Some(held) => ListReader::reread(held, root.clone(), args.null),
        None => ListReader::open(list, root.clone(), args.null, args.max_time).map_err(unusable)?,
    };
    Ok(Destination::Files(vec![Target::List(List {
        lines,
        held,
        is_null: args.null,
        name: name_of(list),
        is_empty: Arc::new(AtomicBool::new(true)),
        address: location.address,
        root,
        filter: Arc::new(args.rules.read()?),
        directory: args.dir.clone().unwrap_or_else(|| Path::new(".").into()),
    })]))
}

impl Iterator for List {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            let line = self.lines.next()?;
            self.is_empty.store(false, Ordering::SeqCst);
            let entry = match line {
                // The directory of the source exists already.
                Ok(ListItem {
                    kind: ObjectKind::Directory,
                    path,
                    ..
                }) if path == self.root => continue,
                Ok(item) if !self.admits(&item) => continue,
                Ok(item) => self.entry(item),
                Err(error) => self.failed(ResourcePath::root(), self.bad_line(error)),
            };
            return Some(entry);
        }
    }
}

impl List {
    /// The name of the list, and a flag that is true until the first line.
    pub(super) fn emptiness(&self) -> (String, Arc<AtomicBool>) {
        (self.name.clone(), Arc::clone(&self.is_empty))
    }

    /// The list from its beginning, if it was opened to be read again.
    pub(super) fn reread(&self) -> Option<List> {
        let held = self.held.as_ref()?;
        Some(List {
            lines: ListReader::reread(held, self.root.clone(), self.is_null),
            held: Some(held.clone()),
            is_null: self.is_null,
            name: self.name.clone(),
            is_empty: Arc::clone(&self.is_empty),
            address: self.address.clone(),
            root: self.root.clone(),
            filter: Arc::clone(&self.filter),
            directory: self.directory.clone(),
        })
    }

    fn admits(&self, item: &ListItem) -> bool {
        let is_directory = item.kind == ObjectKind::Directory;
        self.filter
            .admits(name_below(&self.root, &item.path), is_directory)
    }

    fn entry(&self, item: ListItem) -> Entry {
        let (address, path) = (self.address.clone(), item.path);
        // Bare names, as from find(1), do not tell files from directories.
        let is_bare = item.md5.is_none() && item.total_size.is_none();
        let or_folder = match item.kind {
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
                want_md5: item.md5,
                or_folder,
                listed_folder: item.directory,
                // Only for the progress bar: the file on the server may have changed since.
                listed: item
                    .md5
                    .zip(item.total_size)
                    .map(|(md5, total_size)| ListedFile {
                        total_size,
                        md5: Some(md5),
                        ..ListedFile::default()
                    }),
                ..Download::new(address, path, self.directory.clone(), name)
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

    fn bad_line(&self, error: ListReadError) -> ClientError {
        let list = self.name.clone();
        ListError { list, error }.into()
    }
}

/// The exit code of an error in a list, and its reason for `--json`.
pub(super) fn classify(error: &(dyn Error + Send + Sync + 'static)) -> (ExitCode, &'static str) {
    match error.downcast_ref().map(|ListError { error, .. }| error) {
        Some(ListReadError::Line { .. }) => (ExitCode::Usage, "bad_line"),
        Some(
            ListReadError::Endless(_)
            | ListReadError::Utf16
            | ListReadError::Nul
            | ListReadError::OtherAlgorithm { .. }
            | ListReadError::NotClear(_),
        ) => (ExitCode::Usage, "bad_list"),
        Some(ListReadError::Read(_)) => (ExitCode::LocalFile, "local_file"),
        None => (ExitCode::Unclassified, "internal"),
    }
}

/// The name of a list for messages.
fn name_of(list: &OsStr) -> String {
    if list == "-" {
        "standard input".to_owned()
    } else {
        visible(list.as_bytes()).into_owned()
    }
}

/// Splits a path into its directories and its last part.
fn place(path: &[u8]) -> Result<(ResourcePath, FileName), Box<dyn Error>> {
    let (above, name) = match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&b""[..], path),
    };
    Ok((ResourcePath::parse(above)?, FileName::parse(name)?))
}

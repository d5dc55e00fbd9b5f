//! `ftget -i`: from the lines of a list to downloads.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::Display;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::arguments::Typed;
use super::input::{Input, InputError};
use super::list::name_below;
use super::meaning::Destination;
use super::no_order::NoOrder;
use super::wish::Wish;
use crate::cli::terminal::{counted, shown, tell};
use crate::cli::{ExitCode, visible};
use crate::client::Download;
use crate::net::Location;
use crate::store::FileName;
use crate::wire::{ObjectKind, ResourcePath};

/// What a list asks for and cannot be.
pub(super) struct Complaint {
    pub(super) code: ExitCode,
    /// For programs.
    pub(super) reason: &'static str,
    /// For people, safe to show: the list, the line, and what is wrong.
    pub(super) sentence: String,
}

/// Reads a list, `-` for standard input. Its files go below the folder that was typed, in the
/// folders that they are in below the source.
///
/// # Errors
/// The options make no sense with a list, or it cannot be opened.
pub(super) fn read(list: &OsStr, typed: &Typed) -> Result<(Destination, Vec<Complaint>), NoOrder> {
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
    let input = Input::open(list, root.clone(), typed.null)
        .map_err(|error| NoOrder::Unusable(format!("cannot open {}: {error}", name_of(list))))?;
    let dir = typed.dir.as_deref().unwrap_or(Path::new("."));
    let (mut downloads, mut complaints, mut passed_over) = (Vec::new(), Vec::new(), 0);
    for line in input {
        let wanted = match line {
            Ok(wanted) => wanted,
            Err(error) => {
                complaints.push(complaint(list, &error));
                continue;
            }
        };
        match wanted.kind {
            // A folder is made when a file goes into it.
            ObjectKind::Directory => {}
            ObjectKind::Symlink | ObjectKind::Other => passed_over += 1,
            ObjectKind::File => {
                let (above, name) = split(name_below(&root, &wanted.path));
                let below = ResourcePath::parse(above).map_err(|error| meaningless(&error))?;
                let name = FileName::parse(name).map_err(|error| meaningless(&error))?;
                let (address, path) = (location.address.clone(), wanted.path);
                downloads.push(Wish::File(Download {
                    below,
                    want_md5: wanted.md5,
                    ..Download::new(address, path, dir.to_owned(), name)
                }));
            }
        }
    }
    if passed_over > 0 && !typed.quiet {
        let (list, entries) = (name_of(list), counted(passed_over, "line"));
        tell(&format!(
            "ftget: {list}: {entries} passed over, which name links or special files"
        ));
    }
    Ok((Destination::Files(downloads), complaints))
}

/// What is said of complaints to people: a list that is none must not bury everything else.
pub(super) fn sentences(complaints: &[Complaint]) -> impl Iterator<Item = Cow<'_, str>> {
    let (told, untold) = complaints.split_at(complaints.len().min(COMPLAINTS_TOLD_MAX));
    let told = told.iter().map(|complaint| (&*complaint.sentence).into());
    let more = (!untold.is_empty()).then(|| {
        let lines = counted(untold.len() as u64, "more line");
        format!("{lines} of the list cannot be read").into()
    });
    told.chain(more)
}

fn complaint(list: &OsStr, error: &InputError) -> Complaint {
    let (code, reason) = match error {
        InputError::Line { .. } => (ExitCode::Usage, "bad_line"),
        InputError::Utf16 | InputError::Nul => (ExitCode::Usage, "bad_list"),
        InputError::Read(_) => (ExitCode::LocalFile, "local_file"),
    };
    Complaint {
        code,
        reason,
        sentence: format!("{}:{error}", name_of(list)),
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
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

const COMPLAINTS_TOLD_MAX: usize = 10;

//! What --output names.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::destination::Destination;
use super::meaning::Meaning;
use crate::cli::streams::Stream;
use crate::cli::terminal::shown;
use crate::store::FileName;

/// What is written to as it is, if this names no file that is placed. A link to a file is replaced
/// itself, as every link is; one to a descriptor, a device or a FIFO is not.
pub(super) fn stream(output: &OsStr) -> Option<Stream> {
    if output == "-" {
        return Some(Stream::Standard);
    }
    Stream::at(Path::new(output))
}

/// Whether something is to be written to standard output.
pub(super) fn is_standard_needed(meaning: &Meaning) -> bool {
    match meaning {
        Meaning::Fetch(order) => match &order.destination {
            Destination::Stream(_, output) => order.manner.json || output.is_standard(),
            Destination::Files(_) => order.manner.json,
        },
        _ => true,
    }
}

/// The folder and the name in it.
pub(super) fn split_output(output: &OsStr) -> Result<(PathBuf, FileName), String> {
    let (folder, name) = match output.as_bytes().iter().rposition(|&byte| byte == b'/') {
        None => (&b"."[..], output.as_bytes()),
        Some(0) => (&b"/"[..], &output.as_bytes()[1..]),
        Some(slash) => (&output.as_bytes()[..slash], &output.as_bytes()[slash + 1..]),
    };
    let name = FileName::parse(name)
        .map_err(|error| format!("-o {}: {error}; a folder is given with -d", shown(output)))?;
    Ok((PathBuf::from(OsStr::from_bytes(folder)), name))
}

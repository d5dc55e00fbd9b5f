//! The file or stream that --output names.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::command::GetCommand;
use super::destination::Destination;
use crate::cli::streams::Stream;
use crate::cli::terminal::shown;
use crate::store::FileName;

/// The stream to write to, if the path names one. A symbolic link to a file is replaced like any
/// link. A link to a descriptor, a device or a FIFO is followed.
pub(super) fn stream(output: &OsStr) -> Option<Stream> {
    if output == "-" {
        return Some(Stream::Standard);
    }
    Stream::at(Path::new(output))
}

/// Whether a command writes to standard output.
pub(super) fn is_standard_needed(command: &GetCommand) -> bool {
    match command {
        GetCommand::Fetch(transfer) => match &transfer.destination {
            Destination::Stream(_, output) => transfer.style.json || output.is_standard(),
            Destination::Files(_) => transfer.style.json,
        },
        _ => true,
    }
}

/// Splits a path into its directory and its name.
pub(super) fn split_output(output: &OsStr) -> Result<(PathBuf, FileName), String> {
    let (directory, name) = match output.as_bytes().iter().rposition(|&byte| byte == b'/') {
        None => (&b"."[..], output.as_bytes()),
        Some(0) => (&b"/"[..], &output.as_bytes()[1..]),
        Some(slash) => (&output.as_bytes()[..slash], &output.as_bytes()[slash + 1..]),
    };
    let name = FileName::parse(name).map_err(|error| {
        format!(
            "-o {}: {error}; a directory is given with -d",
            shown(output)
        )
    })?;
    Ok((PathBuf::from(OsStr::from_bytes(directory)), name))
}

//! What --output names.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::cli::terminal::shown;
use crate::store::FileName;

/// Whether this name for a file is standard output.
pub(super) fn is_standard_output(output: &OsStr) -> bool {
    output == "-" || output == "/dev/stdout"
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

//! What a SOURCE names.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::cli::terminal::shown;
use crate::net::Location;
use crate::wire::ResourcePath;

/// Where a file is, or why this names none.
pub(super) fn read_source(source: &OsStr) -> Result<(Location, ResourcePath), String> {
    let location = Location::parse(source.as_bytes()).map_err(|error| error.to_string())?;
    let path = ResourcePath::parse(&location.path)
        .map_err(|error| format!("{}: {error}", shown(source)))?;
    Ok((location, path))
}

/// Whether a source is a published command, should it be one at all.
pub(super) fn is_command(source: &OsStr) -> bool {
    let names_one = |location: Location| location.path.starts_with(b"@");
    !is_url(source) && Location::parse(source.as_bytes()).is_ok_and(names_one)
}

/// Whether it has the form in which `@` means nothing.
pub(super) fn is_url(source: &OsStr) -> bool {
    source.as_bytes().starts_with(b"ft://")
}

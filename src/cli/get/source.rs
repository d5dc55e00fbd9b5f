//! Parsing of SOURCE.

use std::ffi::OsStr;
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;

use crate::cli::terminal::shown;
use crate::net::{Address, DEFAULT_PORT, Location};
use crate::wire::ResourcePath;

/// Parses a source that names one file.
pub(super) fn read_source(source: &OsStr) -> Result<(Location, ResourcePath), String> {
    let location = Location::parse(source.as_bytes()).map_err(|error| error.to_string())?;
    let path = ResourcePath::parse(&location.path)
        .map_err(|error| format!("{}: {error}", shown(source)))?;
    Ok((location, path))
}

/// Whether a source has the form of a published command.
pub(super) fn is_command(source: &OsStr) -> bool {
    let names_one = |location: Location| location.path.starts_with(b"@");
    !is_url(source) && Location::parse(source.as_bytes()).is_ok_and(names_one)
}

/// Whether a source is a URL, in which `@` has no meaning.
pub(super) fn is_url(source: &OsStr) -> bool {
    let scheme = source.as_bytes().get(..URL.len());
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(URL))
}

/// How to write a name of digits that was parsed as the port, such as the 2024 of `HOST:2024`.
/// Returns `None` if it most likely is a port: it has a path and is not a year.
pub(super) fn taken_for_port(address: &Address, path: &ResourcePath) -> Option<String> {
    let Address::Tcp { host, port } = address else {
        return None;
    };
    let may_be_name = path.as_bytes().is_empty() || YEARS.contains(port);
    let at_default = Address::Tcp {
        host: host.clone(),
        port: DEFAULT_PORT,
    };
    (may_be_name && *port != DEFAULT_PORT)
        .then(|| format!("{port} is the port; the file {port} is {at_default}/{port}"))
}

const YEARS: RangeInclusive<u16> = 1900..=2099;
const URL: &[u8] = b"ft://";

//! What a SOURCE names.

use std::ffi::OsStr;
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;

use crate::cli::terminal::shown;
use crate::net::{Address, DEFAULT_PORT, Location};
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
    let scheme = source.as_bytes().get(..URL.len());
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(URL))
}

/// How a name of digits is written that was taken for a port, such as the 2024 of `HOST:2024`.
/// `None` where it most likely is a port: it has a path behind it and is no year.
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
        .then(|| format!("{port} is the port; what is named {port} is {at_default}/{port}"))
}

const YEARS: RangeInclusive<u16> = 1900..=2099;
const URL: &[u8] = b"ft://";

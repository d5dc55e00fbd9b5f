//! Addresses as people write them: `host:port`, `[v6]:port`, `unix:/path`, `ft://host/path`.

use std::path::PathBuf;

/// The port of a server that was told none, and of an address without one.
pub const DEFAULT_PORT: u16 = 9521;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A host name or number (no brackets) and a port.
    Tcp {
        /// Name, IPv4 or IPv6 address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A socket in the file system.
    Unix(PathBuf),
}

/// A server and a path on it: the SOURCE of `ftget`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    /// The server.
    pub address: Address,
    /// The path, as bytes, not yet checked; empty is the root. For `ft://` URLs it was
    /// percent-decoded.
    pub path: Vec<u8>,
}

/// Why text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// What is wrong, with the text.
    #[error("{0}")]
    Malformed(String),
}

impl Location {
    /// Reads `host:path`, `host:port/path`, `[v6]:port/path`, `[v6]:path`,
    /// `ft://host[:port]/path`, `unix:/socket:path`. `host:123` and `host:123/...` mean port 123;
    /// the default port is [`DEFAULT_PORT`]. Bytes, since a path need not be UTF-8.
    ///
    /// # Errors
    /// [`AddressError`], with a sentence that shows the right form.
    pub fn parse(text: &[u8]) -> Result<Location, AddressError> {
        let _ = text;
        todo!()
    }
}

impl Address {
    /// Reads an address to listen on: `ADDR`, `ADDR:PORT`, `[v6]:PORT`, `unix:PATH`.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn parse_bind(text: &str, default_port: u16) -> Result<Address, AddressError> {
        let _ = (text, default_port);
        todo!()
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let _ = f;
        todo!()
    }
}

//! Parses addresses as people write them: `host:port`, `[v6]:port`, `unix:/path`,
//! `ft://host/path`. Ambiguous text is refused with a message that shows the right form.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::net::Ipv6Addr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The default port of servers and clients.
pub const DEFAULT_PORT: u16 = 9521;

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A host name or IP address (without brackets) and a port.
    Tcp {
        /// Host name, IPv4 or IPv6 address.
        host: String,
        /// Port number.
        port: u16,
    },
    /// The path of a unix socket.
    Unix(PathBuf),
}

/// A server and a path on it: a SOURCE of `ftget`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    /// The server.
    pub address: Address,
    /// The path in bytes, not validated; empty is the root. The path of an `ft://` URL is
    /// percent-decoded.
    pub path: Vec<u8>,
}

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The text, what is wrong with it, and the right form, on one line.
    #[error("{0}")]
    Malformed(String),
}

impl Location {
    /// Parses `host:path`, `host:port/path`, `[v6]:port/path`, `[v6]:path`,
    /// `ft://host[:port]/path`, `unix:/socket:path`. `host:123` and `host:123/...` mean port 123;
    /// the default is [`DEFAULT_PORT`]. Schemes are case-insensitive. The text is bytes, since a
    /// path need not be UTF-8.
    ///
    /// # Errors
    /// [`AddressError`], with a message that shows the right form.
    pub fn parse(text: &[u8]) -> Result<Location, AddressError> {
        let location = if let Some(rest) = strip_unix(text) {
            parse_unix(rest)
        } else if let Some((scheme, rest)) = split_at_scheme(text) {
            parse_url(scheme, rest)
        } else {
            parse_host(text)
        };
        location.map_err(|problem| malformed(text, problem))
    }
}

impl Address {
    /// Parses an address to listen on: `ADDR`, `ADDR:PORT`, `[v6]`, `[v6]:PORT`, `unix:PATH`.
    /// Port 0 means any free port.
    ///
    /// # Errors
    /// [`AddressError`], with a message that shows the right form.
    pub fn parse_bind(text: &str, default_port: u16) -> Result<Address, AddressError> {
        let address = if let Some(socket) = strip_unix(text.as_bytes()) {
            read_socket(socket)
        } else {
            read_authority(text.as_bytes(), 0, default_port)
        };
        address.map_err(|problem| malformed(text.as_bytes(), problem))
    }
}

/// Writes a form that parses again: `host:port`, `[v6]:port`, `unix:/path`. The port is always
/// there.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The fault of a text. The message places it after the text.
type Problem = Cow<'static, str>;

fn malformed(text: &[u8], problem: Problem) -> AddressError {
    AddressError::Malformed(format!("{:?} {problem}", String::from_utf8_lossy(text)))
}

fn parse_unix(rest: &[u8]) -> Result<Location, Problem> {
    let (socket, path) = split_at(rest, b':').ok_or("names no file, write unix:/SOCKET:PATH")?;
    Ok(Location {
        address: read_socket(socket)?,
        path: path.to_vec(),
    })
}

fn parse_url(scheme: &[u8], rest: &[u8]) -> Result<Location, Problem> {
    match &*scheme.to_ascii_lowercase() {
        b"ft" => {}
        b"fts" => return Err("needs TLS, which is not built yet, write ft://HOST/PATH".into()),
        b"http" | b"https" => return Err("is an HTTP URL, write ft://HOST/PATH for ftserve".into()),
        _ => return Err("has an unknown scheme, write ft://HOST/PATH".into()),
    }
    let (authority, path) = split_at(rest, b'/').unwrap_or((rest, b""));
    if path.iter().any(|byte| b"?#".contains(byte)) {
        return Err("has a query or a fragment, write ? as %3F and # as %23".into());
    }
    let path = percent_decoded(path).ok_or("has a % that is not one of %00 to %FF, write %25")?;
    Ok(Location {
        address: read_authority(&with_plain_scope(authority), 1, DEFAULT_PORT)?,
        path,
    })
}

/// Replaces the `%25` before the scope of an IPv6 address in a URL by `%`, as the resolver
/// expects (RFC 6874). A plain `%` is accepted too.
fn with_plain_scope(authority: &[u8]) -> Cow<'_, [u8]> {
    let bracket = authority.iter().position(|&byte| byte == b']');
    let Some((address, port)) = bracket.and_then(|at| authority.split_at_checked(at)) else {
        return Cow::Borrowed(authority);
    };
    match split_at(address, b'%') {
        // An interface may have the number 25.
        Some((number, scope)) if scope.starts_with(b"25") && scope.len() > 2 => {
            let scope = percent_decoded(&scope[2..]).unwrap_or_else(|| scope[2..].to_vec());
            Cow::Owned([number, b"%", &scope, port].concat())
        }
        Some(_) | None => Cow::Borrowed(authority),
    }
}

/// Whether the text looks like a local path. No host name begins like that.
fn is_local_path(text: &[u8]) -> bool {
    let is_directory = [&b"."[..], b"..", b"~"].contains(&text);
    is_directory
        || [&b"./"[..], b"../", b"/", b"~/"]
            .iter()
            .any(|start| text.starts_with(start))
}

fn parse_host(text: &[u8]) -> Result<Location, Problem> {
    if is_local_path(text) {
        return Err("is a path on this machine, write HOST:PATH".into());
    }
    if let Some(suggestion) = suggest_colon(text) {
        return Err(format!("has no colon after the host, write HOST:PATH: {suggestion}").into());
    }
    let (host, rest) = split_host(text)?;
    let rest = rest.ok_or("names no file, write HOST:PATH or HOST:PORT/PATH")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, after) = rest.split_at(digits);
    let (port, path) = match after {
        [] | [b'/', ..] if !digits.is_empty() => {
            let port = read_port(digits, 1).map_err(|problem| {
                let name = String::from_utf8_lossy(digits);
                format!("{problem}, and a file of that name is HOST:{DEFAULT_PORT}/{name}")
            })?;
            (port, after.strip_prefix(b"/").unwrap_or(after))
        }
        // Digits that neither end the text nor precede a slash begin a name.
        _ => (DEFAULT_PORT, rest),
    };
    if path.starts_with(b"/") {
        return Err("has an absolute path, write it relative to the served directory".into());
    }
    Ok(Location {
        address: Address::Tcp { host, port },
        path: path.to_vec(),
    })
}

/// The corrected form of `host/path`, which has a slash in place of the colon.
fn suggest_colon(text: &[u8]) -> Option<String> {
    let (host, rest) = split_at(text, b'/')?;
    let host = read_host(host).ok().filter(|host| !host.starts_with('.'))?;
    let path = String::from_utf8_lossy(rest);
    let path = path.trim_start_matches('/');
    let suggestion = match Location::parse(format!("{host}:{path}").as_bytes()).ok()? {
        location if location.path == path.as_bytes() => format!("{host}:{path}"),
        // The path begins like a port.
        _ => format!("{host}:{DEFAULT_PORT}/{path}"),
    };
    Some(suggestion.escape_debug().to_string())
}

/// Parses `host`, `host:port`, `[v6]`, `[v6]:port`.
fn read_authority(text: &[u8], port_min: u16, default_port: u16) -> Result<Address, Problem> {
    let (host, port) = split_host(text)?;
    let port = port.map_or(Ok(default_port), |digits| read_port(digits, port_min))?;
    Ok(Address::Tcp { host, port })
}

/// Splits off the host, without brackets. Also returns what follows the colon, if there is one.
fn split_host(text: &[u8]) -> Result<(String, Option<&[u8]>), Problem> {
    if let Some(bracketed) = text.strip_prefix(b"[") {
        let (host, rest) = split_at(bracketed, b']').ok_or("has [ without ]")?;
        let host = read_ipv6(host).ok_or("has no IPv6 address between [ and ]")?;
        return match rest {
            [] => Ok((host, None)),
            [b':', rest @ ..] => Ok((host, Some(rest))),
            _ => Err("has no colon after ], write [V6]:PATH or [V6]:PORT/PATH".into()),
        };
    }
    // `::1:x` could be split at any of its colons, so any split that leaves an address counts.
    let mut ends = (0..=text.len()).filter(|&at| text.get(at).is_none_or(|&byte| byte == b':'));
    if ends.any(|end| read_ipv6(&text[..end]).is_some()) {
        return Err("has an IPv6 address without brackets, write [V6]:PATH or [V6]:PORT".into());
    }
    Ok(match split_at(text, b':') {
        Some((host, rest)) => (read_host(host)?, Some(rest)),
        None => (read_host(text)?, None),
    })
}

fn read_host(host: &[u8]) -> Result<String, Problem> {
    if host.is_empty() {
        return Err("has no host before the colon".into());
    }
    if host.contains(&b'@') {
        return Err("has a user before @, which ftserve does not support".into());
    }
    // The resolver would read 9521 as 0.0.37.49.
    if host.iter().all(u8::is_ascii_digit) {
        return Err("has a number where the host should be, write HOST:PORT".into());
    }
    if !host
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(byte))
    {
        return Err("has no host name before the first colon, write HOST:PATH".into());
    }
    Ok(String::from_utf8_lossy(host).into_owned())
}

/// An IPv6 address. The resolver interprets its scope (`%eth0`).
fn read_ipv6(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let (number, scope) = match text.split_once('%') {
        Some((number, scope)) => (number, Some(scope)),
        None => (text, None),
    };
    // The characters of an interface name (dev_valid_name in Linux), except those that end an
    // address.
    let is_scope = |scope: &str| {
        !scope.is_empty()
            && !scope.contains(|c: char| c.is_whitespace() || c.is_control() || "/:%]".contains(c))
    };
    let is_address = number.parse::<Ipv6Addr>().is_ok() && scope.is_none_or(is_scope);
    is_address.then(|| text.to_owned())
}

fn read_port(digits: &[u8], min: u16) -> Result<u16, Problem> {
    let port = std::str::from_utf8(digits)
        .ok()
        .filter(|_| digits.iter().all(u8::is_ascii_digit));
    let port = port
        .and_then(|digits| digits.parse().ok())
        .filter(|&port| port >= min);
    port.ok_or_else(|| {
        let digits = String::from_utf8_lossy(digits);
        format!("has port {digits:?}, a port is {min} to 65535").into()
    })
}

fn read_socket(path: &[u8]) -> Result<Address, Problem> {
    if path.is_empty() {
        return Err("names no socket, write unix:/SOCKET".into());
    }
    if path.contains(&0) {
        return Err("has a NUL byte in the socket's path".into());
    }
    if path.len() > SOCKET_PATH_BYTES_MAX {
        let bytes = path.len();
        return Err(format!("has a socket path of {bytes} bytes, the limit is 107").into());
    }
    Ok(Address::Unix(PathBuf::from(OsStr::from_bytes(path))))
}

/// The text after `unix:`, in any case.
fn strip_unix(text: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = text.split_at_checked(UNIX.len())?;
    scheme.eq_ignore_ascii_case(UNIX).then_some(rest)
}

/// Splits `scheme://rest`. A scheme is letters, digits and `+-.` (RFC 3986, section 3.1).
fn split_at_scheme(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (scheme, rest) = split_at(text, b':')?;
    let rest = rest.strip_prefix(b"//")?;
    let is_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    (!scheme.is_empty() && scheme.iter().all(is_scheme)).then_some((scheme, rest))
}

fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = tail else {
            return None;
        };
        let [high, low] = [high, low].map(|&digit| char::from(digit).to_digit(16));
        bytes.push((high? << 4 | low?) as u8);
        rest = tail;
    }
    Some(bytes)
}

/// The parts before and after the first `mark`.
fn split_at(text: &[u8], mark: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&byte| byte == mark)?;
    Some((&text[..at], &text[at + 1..]))
}

const UNIX: &[u8] = b"unix:";
/// The longest path of a unix socket (unix(7): `sun_path` is 108 bytes with its NUL).
const SOCKET_PATH_BYTES_MAX: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    fn at_host(text: &str) -> (String, u16, String) {
        let location = Location::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        let Address::Tcp { host, port } = location.address else {
            panic!("{text} is a socket")
        };
        (host, port, String::from_utf8(location.path).unwrap())
    }

    fn problem(text: &str) -> String {
        match Location::parse(text.as_bytes()) {
            Err(error) => error.to_string(),
            Ok(location) => panic!("{text} is {location:?}"),
        }
    }

    #[test]
    fn reads_every_form_of_a_source() {
        for (text, host, port, path) in [
            ("host:a", "host", 9521, "a"),
            ("host:a/b.txt", "host", 9521, "a/b.txt"),
            ("host:a:b", "host", 9521, "a:b"),
            ("host:", "host", 9521, ""),
            ("host:dir/", "host", 9521, "dir/"),
            ("host:123", "host", 123, ""),
            ("host:123/", "host", 123, ""),
            ("host:123/x", "host", 123, "x"),
            ("host:9521/123", "host", 9521, "123"),
            ("host:65535/x", "host", 65_535, "x"),
            ("host:1/x", "host", 1, "x"),
            ("host:00080/x", "host", 80, "x"),
            ("host:123abc", "host", 9521, "123abc"),
            ("host:123.txt/x", "host", 9521, "123.txt/x"),
            ("host:-rf", "host", 9521, "-rf"),
            ("host:@x", "host", 9521, "@x"),
            (
                "my-host_2.example.org:a b",
                "my-host_2.example.org",
                9521,
                "a b",
            ),
            ("10.0.0.1:x", "10.0.0.1", 9521, "x"),
            ("10.0.0.1:8000/x", "10.0.0.1", 8000, "x"),
            ("[::1]:a/b", "::1", 9521, "a/b"),
            ("[::1]:9000/x", "::1", 9000, "x"),
            ("[::1]:9000", "::1", 9000, ""),
            ("[::1]:", "::1", 9521, ""),
            ("[fe80::1%eth0]:x", "fe80::1%eth0", 9521, "x"),
            ("[::ffff:10.0.0.1]:x", "::ffff:10.0.0.1", 9521, "x"),
            ("ft://h/p%20q", "h", 9521, "p q"),
            ("FT://h:80/a/b", "h", 80, "a/b"),
            ("ft://[::1]:80/x", "::1", 80, "x"),
            ("ft://[::1]/x", "::1", 9521, "x"),
            ("Ft://h/x", "h", 9521, "x"),
            ("ft://[fe80::1%25eth0]/x", "fe80::1%eth0", 9521, "x"),
            ("ft://[fe80::1%25eth0]:80/x%25", "fe80::1%eth0", 80, "x%"),
            ("ft://[fe80::1%252]/x", "fe80::1%2", 9521, "x"),
            ("ft://[fe80::1%25a%2Db]/x", "fe80::1%a-b", 9521, "x"),
            ("ft://[fe80::1%eth0]/x", "fe80::1%eth0", 9521, "x"),
            ("ft://[fe80::1%25]/x", "fe80::1%25", 9521, "x"),
            ("[fe80::1%eth0]:80/x", "fe80::1%eth0", 80, "x"),
            ("ft://h", "h", 9521, ""),
            ("ft://h:80", "h", 80, ""),
            ("ft://h/", "h", 9521, ""),
            ("ft://h/123", "h", 9521, "123"),
            ("ft://h/a:b@c+d&e=f", "h", 9521, "a:b@c+d&e=f"),
            ("ft://h/%2e%2E%2f%25%3F%23", "h", 9521, "../%?#"),
            ("unix.example.org:x", "unix.example.org", 9521, "x"),
            ("ft:x", "ft", 9521, "x"),
        ] {
            let expected = (host.to_owned(), port, path.to_owned());
            assert_eq!(at_host(text), expected, "{text}");
        }
    }

    #[test]
    fn keeps_paths_that_are_not_utf8() {
        assert_eq!(Location::parse(b"host:\xff\xfe").unwrap().path, b"\xff\xfe");
        assert_eq!(
            Location::parse(b"ft://h/%ff\xfe").unwrap().path,
            b"\xff\xfe"
        );
    }

    #[test]
    fn reads_sockets_up_to_the_first_colon() {
        for (text, socket, path) in [
            ("unix:/run/s.sock:NAME", "/run/s.sock", "NAME"),
            ("unix:/run/s.sock:a/b:c", "/run/s.sock", "a/b:c"),
            ("unix:/run/s.sock:", "/run/s.sock", ""),
            ("unix:s:123", "s", "123"),
            ("UNIX:s:X", "s", "X"),
        ] {
            let location = Location::parse(text.as_bytes()).unwrap();
            assert_eq!(location.address, Address::Unix(socket.into()), "{text}");
            assert_eq!(location.path, path.as_bytes(), "{text}");
        }
    }

    #[test]
    fn refuses_ambiguous_text_and_shows_the_right_form() {
        for (text, hint) in [
            ("", "no host"),
            ("word", "HOST:PATH"),
            ("dir/word", "HOST:PATH"),
            ("localhost/f", "write HOST:PATH: localhost:f"),
            ("localhost//f", "localhost:f"),
            ("localhost/a/b:c", "localhost:a/b:c"),
            ("h/2024/x", "h:9521/2024/x"),
            ("10.0.0.1/", "10.0.0.1:"),
            ("h/\x1b[2J", "h:\\u{1b}[2J"),
            ("[fe80::1%]:x", "IPv6"),
            ("ft://[fe80::1%25%2F]/x", "IPv6"),
            ("./f", "HOST:PATH"),
            ("../f", "HOST:PATH"),
            ("/f", "HOST:PATH"),
            ("./word:x", "HOST:PATH"),
            (":x", "no host"),
            (":9521/x", "no host"),
            ("me@host:x", "before @"),
            ("9521:x", "HOST:PORT"),
            ("a b:x", "HOST:PATH"),
            ("host:/abs", "relative to the served directory"),
            ("host:9521//abs", "relative to the served directory"),
            ("[::1]:/abs", "relative to the served directory"),
            ("host:0/x", "1 to 65535"),
            ("host:65536/x", "1 to 65535"),
            ("host:65536", "HOST:9521/65536"),
            ("host:99999999999999999999", "1 to 65535"),
            ("::1", "[V6]:PATH"),
            ("::1:x", "[V6]:PATH"),
            ("::", "[V6]:PATH"),
            ("2001:db8::1:file", "[V6]:PATH"),
            ("fe80::1%eth0:x", "[V6]:PATH"),
            ("[::1", "without ]"),
            ("[host]:x", "IPv6"),
            ("[]:x", "IPv6"),
            ("[::1]", "names no file"),
            ("[::1]x", "colon after ]"),
            ("[::1]/x", "colon after ]"),
            ("unix:/run/s.sock", "unix:/SOCKET:PATH"),
            ("unix::x", "names no socket"),
            ("unix:", "names no file"),
            ("unix:/a\0b:x", "NUL"),
            ("fts://h/x", "not built"),
            ("http://h/x", "is an HTTP URL"),
            ("HTTPS://h/x", "is an HTTP URL"),
            ("ftp://h/x", "unknown scheme"),
            ("ft:///x", "no host"),
            ("ft://h:/x", "port"),
            ("ft://h:x/y", "port"),
            ("ft://h:+80/y", "port"),
            ("ft://me@h/x", "before @"),
            ("ft://::1/x", "[V6]"),
            ("ft://h/x?y", "%3F"),
            ("ft://h/x#y", "%23"),
            ("ft://h/%", "%25"),
            ("ft://h/%2", "%25"),
            ("ft://h/%zz", "%25"),
            ("ft://h/%+1", "%25"),
        ] {
            let problem = problem(text);
            assert!(
                problem.contains(hint),
                "{text:?}: {problem:?} does not show {hint:?}"
            );
            assert!(problem.starts_with(&format!("{text:?} ")), "{problem:?}");
        }
    }

    #[test]
    fn escapes_control_and_direction_characters() {
        let problem = problem("\x1b[2J\u{202e}\n");
        assert!(!problem.contains(['\x1b', '\u{202e}', '\n']), "{problem:?}");
    }

    #[test]
    fn limits_socket_paths_to_what_the_system_accepts() {
        let socket = "s".repeat(SOCKET_PATH_BYTES_MAX);
        assert!(Location::parse(format!("unix:{socket}:x").as_bytes()).is_ok());
        assert!(Address::parse_bind(&format!("unix:{socket}"), 1).is_ok());
        assert!(problem(&format!("unix:{socket}s:x")).contains("108 bytes, the limit is 107"));
    }

    #[test]
    fn reads_addresses_to_listen_on() {
        for (text, shown) in [
            ("127.0.0.1", "127.0.0.1:9000"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("localhost:80", "localhost:80"),
            ("[::]", "[::]:9000"),
            ("[::1]:0", "[::1]:0"),
            ("unix:/run/ft.sock", "unix:/run/ft.sock"),
            ("unix:relative:colon", "unix:relative:colon"),
            ("UNIX:/run/ft.sock", "unix:/run/ft.sock"),
            ("[fe80::1%eth0]", "[fe80::1%eth0]:9000"),
        ] {
            assert_eq!(
                Address::parse_bind(text, 9000).unwrap().to_string(),
                shown,
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_addresses_that_cannot_be_listened_on() {
        for (text, hint) in [
            ("", "no host"),
            (":80", "no host"),
            ("80", "HOST:PORT"),
            ("::", "[V6]"),
            ("::1:80", "[V6]"),
            ("[::1]80", "colon"),
            ("*:80", "no host name"),
            ("host:", "port"),
            ("host:65536", "0 to 65535"),
            ("host:80/x", "port"),
            ("ft://host", "port"),
            ("unix:", "no socket"),
        ] {
            let problem = Address::parse_bind(text, 9000).unwrap_err().to_string();
            assert!(
                problem.contains(hint),
                "{text:?}: {problem:?} does not show {hint:?}"
            );
        }
    }

    #[test]
    fn writes_addresses_in_a_form_that_parses_again() {
        for text in ["host:80", "[::1]:80", "10.0.0.1:9521"] {
            let address = Address::parse_bind(text, 1).unwrap();
            assert_eq!(address.to_string(), text);
            let location = Location::parse(format!("{address}/x").as_bytes()).unwrap();
            assert_eq!(location.address, address);
        }
    }
}

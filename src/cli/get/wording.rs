//! The wording of sources, actions and failures, for all reports.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use super::command::OutputStyle;
use super::failure::{hint, sentence};
use super::source::taken_for_port;
use crate::cli::terminal::print_line;
use crate::cli::visible;
use crate::client::{Action, ClientError, ConnectError, Item, ProtocolError};
use crate::net::{Address, DEFAULT_PORT};
use crate::wire::{ErrorCode, ObjectKind, ResourcePath};

/// The place on a server. Its text has the form of SOURCE, escaped for a terminal.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) address: &'a Address,
    /// The path of a file or directory, or the name of a command.
    pub(super) path: &'a ResourcePath,
    pub(super) is_command: bool,
}

impl Source<'_> {
    /// The path, or `@NAME` for a command.
    pub(super) fn name(self) -> String {
        let mark = if self.is_command { "@" } else { "" };
        format!("{mark}{}", visible(self.path.as_bytes()))
    }

    /// How to write a name of digits that was parsed as the port, such as the 2024 of `HOST:2024`.
    /// Only if the error fits: no ftserve answered at that port.
    fn named_like_its_port(self, error: &ClientError) -> Option<String> {
        let is_no_server = matches!(
            error,
            ClientError::Connect(ConnectError::Failed { .. } | ConnectError::TimedOut { .. })
                | ClientError::Protocol(ProtocolError::Wire(_))
        );
        taken_for_port(self.address, self.path).filter(|_| is_no_server)
    }

    /// The source rewritten from the form of another program: `host::module/x` of rsync, or
    /// `host:9521:x`. A file may have such a name, so only if it was not found, and only without a
    /// port.
    fn in_another_form(self, error: &ClientError) -> Option<String> {
        let is_not_found = match error {
            ClientError::Connect(_) => true,
            ClientError::Refused(refusal) => refusal.code == Some(ErrorCode::NotFound),
            _ => false,
        };
        let Address::Tcp {
            host,
            port: DEFAULT_PORT,
        } = self.address
        else {
            return None;
        };
        let (port, path) = split_at_colon(self.path.as_bytes())?;
        let is_port =
            port.is_empty() || str::from_utf8(port).is_ok_and(|port| port.parse::<u16>().is_ok());
        if !is_not_found || !is_port {
            return None;
        }
        let host = match host.contains(':') {
            true => format!("[{host}]"),
            false => host.clone(),
        };
        let form = match port.is_empty() {
            true => [host.as_bytes(), b":", path].concat(),
            false => [host.as_bytes(), b":", port, b"/", path].concat(),
        };
        Some(format!("did you mean {}?", visible(&form)))
    }

    /// The URL of the file that has the name of the command.
    fn url_of_namesake(self) -> Option<String> {
        let Address::Tcp { .. } = self.address else {
            return None;
        };
        // The zone of an IPv6 address follows %25 in a URL (RFC 6874).
        let address = self.address.to_string().replace('%', "%25");
        let mut url = format!("ft://{address}/@");
        for &byte in self.path.as_bytes() {
            // Unreserved characters (RFC 3986, 2.3), and the slash between parts.
            if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
                url.push(byte.into());
            } else {
                // Writing to a String cannot fail.
                let _ = write!(url, "%{byte:02X}");
            }
        }
        Some(url)
    }
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = match self.address {
            Address::Tcp { .. } => '/',
            Address::Unix(_) => ':',
        };
        let address = self.address.to_string();
        let address = visible(address.as_bytes());
        write!(f, "{address}{separator}{}", self.name())
    }
}

/// A failure for people: one line, and a hint if there is one.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) line: String,
    pub(super) hint: Option<Cow<'static, str>>,
}

/// How a message names an entry: its local path without a needless `./`. Without a local path, the
/// path on the server.
pub(super) fn name_here(item: Item<'_>) -> Vec<u8> {
    let name = match item.here {
        Some(here) => here
            .strip_prefix("./")
            .unwrap_or(here)
            .as_os_str()
            .as_bytes(),
        None => item.path.as_bytes(),
    };
    if name.is_empty() { b"." } else { name }.to_vec()
}

/// The local path for programs, and its bytes in base64 if it is not UTF-8.
pub(super) fn file_here(item: Item<'_>) -> (Option<Cow<'_, str>>, Option<String>) {
    let bytes = item.here.map(|here| here.as_os_str().as_bytes());
    (
        bytes.map(String::from_utf8_lossy),
        bytes.and_then(filename_b64),
    )
}

impl Message {
    /// The message about an entry of a batch.
    pub(super) fn of_item(item: Item<'_>, is_command: bool, error: &ClientError) -> Message {
        let source = Source {
            address: item.address,
            path: item.path,
            is_command,
        };
        let mut message = Message::of(source, error);
        if let ClientError::Stage(_)
        | ClientError::StaysInTheWay(_)
        | ClientError::DeletesTooMuch
        | ClientError::EmptySource(_) = error
            && item.here.is_some()
        {
            message.line = format!("{}: {}", visible(&name_here(item)), sentence(error));
        }
        message
    }

    /// The message about a source.
    pub(super) fn of(source: Source<'_>, error: &ClientError) -> Message {
        let line = match error {
            // The error names the server, and all files of the server fail with it.
            ClientError::Connect(_) => sentence(error),
            // The error names the list and its line.
            ClientError::BadEntry(_) => sentence(error),
            _ => format!("{source}: {}", sentence(error)),
        };
        let hint = match error {
            ClientError::Refused(refusal)
                if source.is_command && refusal.code == Some(ErrorCode::NotFound) =>
            {
                source.url_of_namesake().map(|url| {
                    Cow::Owned(format!(
                        "@NAME runs a command; a file of that name is {url}"
                    ))
                })
            }
            _ => match source.in_another_form(error) {
                Some(form) => Some(Cow::Owned(form)),
                None => hint(error).map(|hint| match source.named_like_its_port(error) {
                    Some(name) => Cow::Owned(format!("{hint} {name}")),
                    None => Cow::Borrowed(hint),
                }),
            },
        };
        Message { line, hint }
    }

    /// The lines of the message, without a line feed at the end.
    pub(super) fn text(&self, is_coloured: bool) -> String {
        let mut text = labelled("ftget:", RED, &self.line, is_coloured);
        if let Some(hint) = &self.hint {
            text.push('\n');
            text += &labelled("hint:", DIM, hint, is_coloured);
        }
        text
    }
}

/// A plain line.
pub(super) fn line(text: &str, is_coloured: bool) -> String {
    labelled("ftget:", BOLD, text, is_coloured)
}

/// A line about something that is not a failure.
pub(super) fn note(text: &str, is_coloured: bool) -> String {
    labelled("ftget: note:", BOLD, text, is_coloured)
}

/// A line about something that may matter, in a run that succeeds.
pub(super) fn warning(text: &str, is_coloured: bool) -> String {
    labelled("ftget: warning:", YELLOW, text, is_coloured)
}

/// A line about a failure that is not about one file.
pub(super) fn failure(text: &str, is_coloured: bool) -> String {
    labelled("ftget:", RED, text, is_coloured)
}

/// Prints retries, for a comparison or preview.
pub(super) fn on_retry(
    style: &OutputStyle,
) -> impl Fn(&ClientError, Duration) + Send + Sync + use<> {
    let (verbose, quiet, is_coloured) = (style.verbose, style.quiet, style.is_coloured);
    move |error, pause| {
        if verbose || pause >= REPORTED_PAUSE_MIN && !quiet {
            let seconds = pause.as_secs_f64();
            let text = format!("{}; retrying in {seconds:.1} s", sentence(error));
            print_line(&note(&text, is_coloured));
        }
    }
}

/// The word for an action, for people and programs, and the offset of a resumed file.
pub(super) fn action(action: Action) -> (&'static str, Option<u64>) {
    match action {
        Action::Fetched => ("fetched", None),
        Action::Resumed { from } => ("resumed", Some(from)),
        Action::Identical => ("identical", None),
        Action::Linked => ("linked", None),
        Action::Skipped => ("skipped", None),
        Action::Link => ("link", None),
    }
}

/// The words for an entry that cannot be transferred.
pub(super) fn special(kind: ObjectKind) -> &'static str {
    if kind == ObjectKind::Symlink {
        "a link that cannot be made"
    } else {
        "a special file"
    }
}

/// The words for entries that the server hides.
pub(super) fn hidden(entries: u64) -> String {
    let are = if entries == 1 {
        "entry is"
    } else {
        "entries are"
    };
    format!("{entries} hidden {are} not shown by the server")
}

/// The words for local directories that cannot be read; `None` if there are none.
pub(super) fn locked(directories: &BTreeSet<PathBuf>) -> Option<String> {
    let first = visible(directories.first()?.as_os_str().as_bytes());
    let directories = match directories.len() {
        1 => first.into_owned(),
        count => format!("{first} and {} more", count - 1),
    };
    Some(format!(
        "cannot read {directories}: a run makes your own directories readable; \
         their contents count as missing"
    ))
}

/// A name in base64, if it is not UTF-8.
pub(super) fn filename_b64(name: &[u8]) -> Option<String> {
    use base64::Engine;
    let base64 = base64::engine::general_purpose::STANDARD;
    std::str::from_utf8(name)
        .is_err()
        .then(|| base64.encode(name))
}

fn split_at_colon(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = path.iter().position(|&byte| byte == b':')?;
    Some((&path[..at], &path[at + 1..]))
}

fn labelled(label: &str, style: &str, text: &str, is_coloured: bool) -> String {
    if is_coloured {
        format!("\x1b[{style}m{label}\x1b[0m {text}")
    } else {
        format!("{label} {text}")
    }
}

/// Shorter pauses are printed only with -v.
pub(super) const REPORTED_PAUSE_MIN: Duration = Duration::from_secs(5);
/// Select Graphic Rendition (ECMA-48, 8.3.117).
const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "1;31";
const YELLOW: &str = "1;33";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ServerRefusal;

    fn message(address: &str, name: &str, is_command: bool) -> Message {
        let error = ClientError::Refused(ServerRefusal {
            code: Some(ErrorCode::NotFound),
            spelling: "not_found".to_owned(),
            message: "no".to_owned(),
            retry_after: None,
        });
        let source = Source {
            address: &Address::parse_bind(address, 9521).unwrap(),
            path: &ResourcePath::parse(name.as_bytes()).unwrap(),
            is_command,
        };
        Message::of(source, &error)
    }

    #[test]
    fn a_source_is_printed_as_it_is_typed() {
        for (address, name, is_command, printed) in [
            ("h:1", "a/b", false, "h:1/a/b: "),
            ("h:1", "@a", false, "h:1/@a: "),
            ("h:1", "a\nb", true, "h:1/@a\\nb: "),
            ("[::1]:1", "a", false, "[::1]:1/a: "),
            ("unix:/x/y", "a", false, "unix:/x/y:a: "),
            ("unix:/x/y", "a", true, "unix:/x/y:@a: "),
        ] {
            let line = message(address, name, is_command).line;
            assert_eq!(line, format!("{printed}server says not_found: no"));
        }
    }

    #[test]
    fn a_source_in_the_form_of_another_program_is_rewritten() {
        for (address, name, form) in [
            ("h:9521", ":module/a", Some("did you mean h:module/a?")),
            ("h:9521", "9000:a/b", Some("did you mean h:9000/a/b?")),
            ("[::1]:9521", "9000:a", Some("did you mean [::1]:9000/a?")),
            ("h:9521", "70000:a", None),
            ("h:9521", "a:b", None),
            ("h:9521", "a", None),
            // Neither program writes a port before it.
            ("h:9000", "9521:a", None),
            ("unix:/x", ":a", None),
        ] {
            assert_eq!(
                message(address, name, false).hint.as_deref(),
                form,
                "{address} {name}"
            );
        }
    }

    #[test]
    fn the_hint_has_the_url_of_a_file_named_like_a_command() {
        let hint = |address, is_command| message(address, "a b/50%?\n", is_command).hint;
        let hinted = hint("h:1", true).unwrap();
        let url = hinted.split(' ').next_back().unwrap();
        assert_eq!(url, "ft://h:1/@a%20b/50%25%3F%0A");
        let location = crate::net::Location::parse(url.as_bytes()).unwrap();
        assert_eq!(location.path, b"@a b/50%?\n");
        let hinted = hint("[fe80::1%eth0]:1", true).unwrap();
        assert!(
            hinted.ends_with("ft://[fe80::1%25eth0]:1/@a%20b/50%25%3F%0A"),
            "{hinted}"
        );
        assert_eq!(hint("h:1", false), None);
        assert_eq!(hint("unix:/x", true), None);
    }
}

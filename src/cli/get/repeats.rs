//! Limits repeated errors, so that they do not bury the others.

use super::failure::sentence;
use crate::cli::terminal::counted;
use crate::cli::visible;
use crate::client::ClientError;
use crate::net::Address;
use crate::store::StageError;

/// Counts failures with a shared cause: the server, the time limit, the disk, or a list of the
/// wrong kind. Ten of each cause are printed. A failure with a cause of its own is always printed,
/// because people need its name.
#[derive(Default)]
pub(super) struct Repeats {
    /// Limit only the lines of lists.
    prints_all: bool,
    bad_lines: u64,
    /// The count of each other cause, by its message.
    shared: Vec<(String, u64)>,
}

impl Repeats {
    /// `prints_all`: limit only the bad lines of a list.
    pub(super) fn new(prints_all: bool) -> Repeats {
        Repeats {
            prints_all,
            ..Repeats::default()
        }
    }

    /// Counts a failure. Returns whether it is printed.
    pub(super) fn is_printed(&mut self, address: &Address, error: &ClientError) -> bool {
        let message = match error {
            ClientError::BadEntry(_) => return self.is_line_printed(),
            _ if self.prints_all => return true,
            ClientError::OutOfTime => sentence(error),
            ClientError::Session(_) | ClientError::Protocol(_) => {
                let address = address.to_string();
                format!("{}: {}", visible(address.as_bytes()), sentence(error))
            }
            ClientError::Stage(stage) if matches!(**stage, StageError::DiskFull(_)) => {
                sentence(error)
            }
            _ => return true,
        };
        let known = self.shared.iter_mut().find(|(cause, _)| *cause == message);
        if let Some((_, count)) = known {
            *count += 1;
            return *count <= PRINTED_MAX;
        }
        if self.shared.len() < CAUSES_MAX {
            self.shared.push((message, 1));
        }
        true
    }

    /// Counts a bad line of a list. Returns whether it is printed.
    pub(super) fn is_line_printed(&mut self) -> bool {
        self.bad_lines += 1;
        self.bad_lines <= PRINTED_MAX
    }

    /// The lines at the end about failures that were not printed.
    pub(super) fn omitted(&self) -> impl Iterator<Item = String> {
        let omitted = |count: u64| {
            count
                .checked_sub(PRINTED_MAX)
                .filter(|&omitted| omitted > 0)
        };
        let lines = omitted(self.bad_lines).map(|omitted| {
            let lines = counted(omitted, "more line");
            format!("{lines} of the list cannot be read")
        });
        let shared = self.shared.iter().filter_map(move |(cause, count)| {
            let more = omitted(*count)?;
            Some(format!("and {more} more: {cause} (-v names them)"))
        });
        lines.into_iter().chain(shared)
    }
}

const PRINTED_MAX: u64 = 10;
/// The most causes that are counted. All failures of further causes are printed.
const CAUSES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;
    use crate::client::SessionError;
    use crate::net::Wait;

    fn printed(repeats: &mut Repeats, server: &str, error: &ClientError, times: u64) -> usize {
        let address = Address::parse_bind(server, 1).unwrap();
        let printed = (0..times).filter(|_| repeats.is_printed(&address, error));
        printed.count()
    }

    #[test]
    fn ten_of_each_shared_cause_are_printed_and_the_rest_is_counted() {
        let cut_off = ClientError::Session(SessionError::CutOff(Wait::RequestHeader));
        let full = StageError::DiskFull(io::Error::other("it is full")).into();
        let own = ClientError::ReadBack(Arc::new(io::Error::other("of one")));
        let mut repeats = Repeats::new(false);
        for (server, error, times, expected) in [
            ("h:1", &cut_off, 12, 10),
            ("h:2", &cut_off, 10, 10),
            ("h:1", &ClientError::OutOfTime, 11, 10),
            ("h:1", &full, 6, 6),
            // All servers share the disk.
            ("h:2", &full, 6, 4),
            ("h:1", &own, 20, 20),
        ] {
            assert_eq!(
                printed(&mut repeats, server, error, times),
                expected,
                "{error}"
            );
        }
        let others: Vec<String> = repeats.omitted().collect();
        assert_eq!(others.len(), 3, "{others:?}");
        for (other, begin) in others.iter().zip([
            "and 2 more: h:1: server closed",
            "and 1 more: not finished",
            "and 2 more: no space: it is full",
        ]) {
            assert!(other.starts_with(begin), "{other}");
        }
        let mut all = Repeats::new(true);
        assert_eq!(printed(&mut all, "h:1", &cut_off, 12), 12);
        assert_eq!(all.omitted().count(), 0);
    }
}

//! Failures that are alike: what many have failed of must not bury everything else for people.

use super::failure::sentence;
use crate::cli::terminal::counted;
use crate::cli::visible;
use crate::client::ClientError;
use crate::net::Address;
use crate::store::StageError;

/// Counts failures whose cause is none of one file, but of its server, of the time or the space
/// there is, or of a list that is none: 10 of each cause are told. What fails for a reason of its
/// own is always told, since names are what people look for.
#[derive(Default)]
pub(super) struct Repeats {
    /// Only lines of lists are counted.
    tells_all: bool,
    bad_lines: u64,
    /// Of each other cause, as it is said.
    shared: Vec<(String, u64)>,
}

impl Repeats {
    /// `tells_all`: only the lines of a list that is none can be too many.
    pub(super) fn new(tells_all: bool) -> Repeats {
        Repeats {
            tells_all,
            ..Repeats::default()
        }
    }

    /// Whether people are to be told of this failure, of something that this server has.
    pub(super) fn is_told(&mut self, address: &Address, error: &ClientError) -> bool {
        let said = match error {
            ClientError::BadEntry(_) => return self.is_line_told(),
            _ if self.tells_all => return true,
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
        let known = self.shared.iter_mut().find(|(cause, _)| *cause == said);
        if let Some((_, count)) = known {
            *count += 1;
            return *count <= TOLD_MAX;
        }
        if self.shared.len() < CAUSES_MAX {
            self.shared.push((said, 1));
        }
        true
    }

    /// The same of a line of a list.
    pub(super) fn is_line_told(&mut self) -> bool {
        self.bad_lines += 1;
        self.bad_lines <= TOLD_MAX
    }

    /// What is said in the end of those they were not told of.
    pub(super) fn others(&self) -> impl Iterator<Item = String> {
        let untold = |count: u64| count.checked_sub(TOLD_MAX).filter(|&untold| untold > 0);
        let lines = untold(self.bad_lines).map(|untold| {
            let lines = counted(untold, "more line");
            format!("{lines} of the list cannot be read")
        });
        let shared = self.shared.iter().filter_map(move |(cause, count)| {
            let more = untold(*count)?;
            Some(format!("and {more} more: {cause} (-v names them)"))
        });
        lines.into_iter().chain(shared)
    }
}

const TOLD_MAX: u64 = 10;
/// Causes that are counted; those of servers that say something else each time are all told.
const CAUSES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;
    use crate::client::SessionError;
    use crate::net::Wait;

    fn told(repeats: &mut Repeats, server: &str, error: &ClientError, times: u64) -> usize {
        let address = Address::parse_bind(server, 1).unwrap();
        let told = (0..times).filter(|_| repeats.is_told(&address, error));
        told.count()
    }

    #[test]
    fn ten_of_each_shared_cause_are_told_and_the_rest_is_counted() {
        let cut_off = ClientError::Session(SessionError::CutOff(Wait::RequestHeader));
        let full = StageError::DiskFull(io::Error::other("it is full")).into();
        let own = ClientError::ReadBack(Arc::new(io::Error::other("of one")));
        let mut repeats = Repeats::new(false);
        for (server, error, times, expected) in [
            ("h:1", &cut_off, 12, 10),
            ("h:2", &cut_off, 10, 10),
            ("h:1", &ClientError::OutOfTime, 11, 10),
            ("h:1", &full, 6, 6),
            // The disk is the same for all servers.
            ("h:2", &full, 6, 4),
            ("h:1", &own, 20, 20),
        ] {
            assert_eq!(
                told(&mut repeats, server, error, times),
                expected,
                "{error}"
            );
        }
        let others: Vec<String> = repeats.others().collect();
        assert_eq!(others.len(), 3, "{others:?}");
        for (other, begin) in others.iter().zip([
            "and 2 more: h:1: server closed",
            "and 1 more: not finished",
            "and 2 more: no space: it is full",
        ]) {
            assert!(other.starts_with(begin), "{other}");
        }
        let mut all = Repeats::new(true);
        assert_eq!(told(&mut all, "h:1", &cut_off, 12), 12);
        assert_eq!(all.others().count(), 0);
    }
}

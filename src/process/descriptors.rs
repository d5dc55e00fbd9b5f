//! How many descriptors this process may have.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open descriptors as far as this user may, and says what it is then.
pub fn raise_descriptor_limit() -> u64 {
    let limit = *AT_START.get_or_init(|| getrlimit(Resource::Nofile));
    // Refused: the limit stays what it was.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The limit before it was raised; `None` if it never was. Programs that use select(2) break with
/// more descriptors than 1024, and others close every number up to the limit.
pub(super) fn at_start() -> Option<Rlimit> {
    let limit = AT_START.get()?;
    (limit.current != limit.maximum).then_some(*limit)
}

static AT_START: OnceLock<Rlimit> = OnceLock::new();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_highest_that_there_is() {
        let maximum = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        assert_eq!(raise_descriptor_limit(), maximum);
    }
}

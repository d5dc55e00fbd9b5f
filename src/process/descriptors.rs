//! The limit of open descriptors.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open descriptors to the hard limit. Returns the limit.
pub fn raise_descriptor_limit() -> u64 {
    let limit = *AT_START.get_or_init(|| getrlimit(Resource::Nofile));
    // If this is refused, the limit stays as it was.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The original limit; `None` if it was never raised. Programs that use select(2) break with more
/// than 1024 descriptors, and others close every number up to the limit.
pub(super) fn at_start() -> Option<Rlimit> {
    let limit = AT_START.get()?;
    (limit.current != limit.maximum).then_some(*limit)
}

static AT_START: OnceLock<Rlimit> = OnceLock::new();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_highest_possible() {
        let maximum = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        assert_eq!(raise_descriptor_limit(), maximum);
    }
}

//! How many descriptors this process may have, and how many connections that means.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open descriptors as far as this user may, and says what it is.
pub(super) fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
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

/// The most connections that so many descriptors carry: each may need one for its socket and one
/// for its file.
pub(super) fn connections_for(descriptors: u64) -> usize {
    usize::try_from(descriptors.saturating_sub(DESCRIPTORS_RESERVED) / 2)
        .unwrap_or(usize::MAX)
        .max(1)
}

/// For listeners, standard streams, the served root, epoll, logs.
const DESCRIPTORS_RESERVED: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_what_is_left_is_for_connections() {
        assert_eq!(connections_for(1024), 480);
        assert_eq!(connections_for(66), 1);
        assert_eq!(connections_for(10), 1);
    }
}

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
/// for its file, and some are for listeners, standard streams, the served root, epoll, logs, the
/// index and commands: up to half where there are few.
pub(super) fn connections_for(descriptors: u64) -> usize {
    let reserved = DESCRIPTORS_RESERVED.min(descriptors / 2);
    usize::try_from((descriptors - reserved) / 2)
        .unwrap_or(usize::MAX)
        .max(1)
}

const DESCRIPTORS_RESERVED: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_what_is_left_is_for_connections() {
        assert_eq!(connections_for(1024), 480);
        assert_eq!(connections_for(128), 32);
        assert_eq!(connections_for(64), 16);
        assert_eq!(connections_for(3), 1);
    }
}

//! How many connections the descriptors of this process can carry.

use crate::process::raise_descriptor_limit;

/// The most connections that so many descriptors carry: each may need one for its socket and one
/// for its file, and some are for listeners, standard streams, the served root, epoll, logs, the
/// index, commands and the folders of listings: up to half where there are few.
pub(super) fn connections_for(descriptors: u64) -> usize {
    let reserved = DESCRIPTORS_RESERVED + kept_of(descriptors);
    let reserved = reserved.min(descriptors / 2);
    usize::try_from((descriptors - reserved) / 2)
        .unwrap_or(usize::MAX)
        .max(1)
}

/// Open folders that listings may keep while nobody works on them, of all connections.
pub(super) fn for_listings() -> usize {
    usize::try_from(kept_of(raise_descriptor_limit())).unwrap_or(0)
}

fn kept_of(descriptors: u64) -> u64 {
    (descriptors / 8).min(LISTING_DESCRIPTORS_MAX)
}

const LISTING_DESCRIPTORS_MAX: u64 = 128;
const DESCRIPTORS_RESERVED: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_what_is_left_is_for_connections() {
        assert_eq!(connections_for(1024), 416);
        assert_eq!(connections_for(128), 32);
        assert_eq!(connections_for(64), 16);
        assert_eq!(connections_for(3), 1);
    }
}

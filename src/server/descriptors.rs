//! Computes how many connections this process's descriptors allow.

use crate::process::raise_descriptor_limit;

/// The most connections for a limit of `descriptors`. Each may need one descriptor for its socket
/// and one for its file. Some are reserved for listeners, standard streams, the root, epoll,
/// logs, the index, commands and listings, but at most half.
pub(super) fn connections_for(descriptors: u64) -> usize {
    let reserved = DESCRIPTORS_RESERVED + kept_of(descriptors);
    let reserved = reserved.min(descriptors / 2);
    usize::try_from((descriptors - reserved) / 2)
        .unwrap_or(usize::MAX)
        .max(1)
}

/// Open directories that parked listings may keep, over all connections.
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
    fn half_of_the_unreserved_descriptors_are_for_connections() {
        assert_eq!(connections_for(1024), 416);
        assert_eq!(connections_for(128), 32);
        assert_eq!(connections_for(64), 16);
        assert_eq!(connections_for(3), 1);
    }
}

//! How many connections the descriptors of this process can carry.

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

//! How long a peer that reads slowly is borne with.

use std::time::{Duration, Instant};

use crate::net::{Deadline, Wait, time_of};

/// The time by which a peer is behind the least rate: it grows while the server waits for
/// the peer to read and shrinks with the bytes that go out.
#[derive(Debug, Default)]
pub(super) struct SlowReaderTimer {
    behind: Duration,
    blocked_since: Option<Instant>,
}

impl SlowReaderTimer {
    /// The peer's window is full.
    pub(super) fn blocked(&mut self, now: Instant) {
        self.blocked_since.get_or_insert(now);
    }

    /// Bytes went out. `min_rate` in bytes per second; 0 means that there is none.
    pub(super) fn moved(&mut self, bytes: usize, min_rate: u64, now: Instant) {
        self.behind = self.behind_at(now);
        self.blocked_since = None;
        let worth = if min_rate == 0 {
            Duration::MAX
        } else {
            time_of(bytes as u64, min_rate)
        };
        self.behind = self.behind.saturating_sub(worth);
    }

    /// When the peer, sending nothing on, will be behind by `limit`.
    pub(super) fn deadline(&self, limit: Duration, now: Instant) -> Deadline {
        Deadline::after(
            now,
            Wait::SendProgress,
            limit.saturating_sub(self.behind_at(now)),
        )
    }

    fn behind_at(&self, now: Instant) -> Duration {
        let blocked = self
            .blocked_since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.behind.saturating_add(blocked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(300);
    const MIN_RATE: u64 = 1024;

    /// Seconds until a peer that takes `bytes` each second is given up.
    fn given_up_after(bytes: usize, seconds_max: u64) -> Option<u64> {
        let start = Instant::now();
        let mut slow_reader = SlowReaderTimer::default();
        (0..seconds_max).find(|&second| {
            let now = start + Duration::from_secs(second);
            let over = slow_reader.deadline(LIMIT, now).is_over(now);
            slow_reader.moved(bytes, MIN_RATE, now);
            slow_reader.blocked(now);
            over
        })
    }

    #[test]
    fn a_peer_that_takes_nothing_is_given_up_after_the_limit() {
        assert_eq!(given_up_after(0, 1000), Some(300));
    }

    #[test]
    fn a_peer_at_half_the_rate_has_twice_the_time() {
        assert_eq!(given_up_after(512, 1000), Some(599));
    }

    #[test]
    fn a_peer_at_the_least_rate_is_never_given_up() {
        assert_eq!(given_up_after(1024, 100_000), None);
    }

    #[test]
    fn time_in_which_the_server_did_not_wait_does_not_count() {
        let start = Instant::now();
        let mut slow_reader = SlowReaderTimer::default();
        slow_reader.blocked(start);
        slow_reader.moved(1, MIN_RATE, start + Duration::from_secs(1));
        let later = start + Duration::from_secs(1000);
        assert!(!slow_reader.deadline(LIMIT, later).is_over(later));
    }

    #[test]
    fn the_largest_numbers_are_no_panic() {
        let now = Instant::now();
        let mut slow_reader = SlowReaderTimer::default();
        slow_reader.blocked(now);
        slow_reader.moved(usize::MAX, 1, now + Duration::from_secs(1));
        assert_eq!(slow_reader.deadline(LIMIT, now).remaining(now), LIMIT);
    }

    #[test]
    fn without_a_least_rate_any_byte_makes_up_for_everything() {
        let start = Instant::now();
        let mut slow_reader = SlowReaderTimer::default();
        slow_reader.blocked(start);
        let later = start + Duration::from_secs(299);
        slow_reader.moved(1, 0, later);
        assert_eq!(slow_reader.deadline(LIMIT, later).remaining(later), LIMIT);
    }
}

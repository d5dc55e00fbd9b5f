//! Measures how far a slow reader is behind.

use std::time::{Duration, Instant};

use crate::net::{Deadline, Wait, time_of};

/// How far a peer is behind the minimum rate, as a time. It grows while the server waits for the
/// peer to read, and shrinks with the bytes that are sent.
#[derive(Debug, Default)]
pub(super) struct SlowReaderTimer {
    behind: Duration,
    blocked_since: Option<Instant>,
}

impl SlowReaderTimer {
    /// The peer's receive window is full.
    pub(super) fn blocked(&mut self, now: Instant) {
        self.blocked_since.get_or_insert(now);
    }

    /// Records that bytes were sent. `min_rate` is in bytes per second; 0 means no minimum.
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

    /// When the peer will be behind by `limit` if it reads nothing more.
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

    /// Seconds until the server gives up on a peer that reads `bytes` each second.
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
    fn gives_up_after_the_limit_on_a_peer_that_reads_nothing() {
        assert_eq!(given_up_after(0, 1000), Some(300));
    }

    #[test]
    fn gives_a_peer_at_half_the_rate_twice_the_time() {
        assert_eq!(given_up_after(512, 1000), Some(599));
    }

    #[test]
    fn never_gives_up_on_a_peer_at_the_minimum_rate() {
        assert_eq!(given_up_after(1024, 100_000), None);
    }

    #[test]
    fn counts_only_time_in_which_the_server_waits() {
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
    fn any_byte_resets_the_timer_without_a_minimum_rate() {
        let start = Instant::now();
        let mut slow_reader = SlowReaderTimer::default();
        slow_reader.blocked(start);
        let later = start + Duration::from_secs(299);
        slow_reader.moved(1, 0, later);
        assert_eq!(slow_reader.deadline(LIMIT, later).remaining(later), LIMIT);
    }
}

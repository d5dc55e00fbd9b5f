//! Limits rates. The functions are pure: `now` is passed in.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Assigns moments to portions of bytes so that a rate is kept. Callers receive their moments in
/// the order of their calls. Time that a late caller missed can be caught up, up to
/// [`BURST_TIME`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    // When all reserved bytes are paid for.
    free_at: Option<Instant>,
}

impl Pace {
    /// Reserves bytes. Returns when they may be sent. `rate` is in bytes per second, at least 1.
    pub fn reserve(&mut self, bytes: u64, rate: u64, now: Instant) -> Instant {
        let earliest = now.checked_sub(BURST_TIME).unwrap_or(now);
        let from = self.free_at.map_or(now, |free_at| free_at.max(earliest));
        // If the sum exceeds the clock's range, the time stays as it was.
        self.free_at = from.checked_add(time_of(bytes, rate)).or(self.free_at);
        from.max(now)
    }
}

/// A rate limit that several threads share.
#[derive(Debug)]
pub struct Rate {
    bytes_per_second: u64,
    pace: Mutex<Pace>,
}

impl Rate {
    /// A limit of which nothing is used yet.
    pub fn new(bytes_per_second: u64) -> Arc<Rate> {
        Arc::new(Rate {
            bytes_per_second,
            pace: Mutex::default(),
        })
    }

    /// Like the function [`portion`].
    pub fn portion(&self, bytes_max: u64) -> u64 {
        portion(self.bytes_per_second, bytes_max)
    }

    /// Counts received bytes. Returns when more may be requested.
    pub fn spend(&self, bytes: u64, now: Instant) -> Instant {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.reserve(bytes, self.bytes_per_second, now);
        pace.reserve(0, self.bytes_per_second, now)
    }
}

/// How long `bytes` take at `rate`, in bytes per second; 0 counts as 1.
pub fn time_of(bytes: u64, rate: u64) -> Duration {
    let rate = rate.max(1);
    let rest = u128::from(bytes % rate) * NANOS_PER_SECOND / u128::from(rate);
    Duration::from_secs(bytes / rate) + Duration::from_nanos(u64::try_from(rest).unwrap_or(0))
}

/// How many bytes to reserve at once: an eighth of a second's worth, at least 1 and at most
/// `bytes_max`.
pub fn portion(rate: u64, bytes_max: u64) -> u64 {
    (rate / PORTIONS_PER_SECOND).clamp(1, bytes_max.max(1))
}

/// How long the rate may be exceeded after it was not reached for as long.
pub const BURST_TIME: Duration = Duration::from_millis(250);
const PORTIONS_PER_SECOND: u64 = 8;
const NANOS_PER_SECOND: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 1_000_000;

    /// Bytes sent in ten seconds by so many callers that are `late` each time.
    fn sent(askers: usize, late: Duration) -> Vec<u64> {
        let start = Instant::now();
        let end = start + Duration::from_secs(10);
        let mut pace = Pace::default();
        let bytes = portion(RATE, 256 << 10);
        let mut due: Vec<Instant> = (0..askers)
            .map(|_| pace.reserve(bytes, RATE, start))
            .collect();
        let mut sent = vec![0; askers];
        while let Some((at, first)) = due.iter().copied().enumerate().min_by_key(|it| it.1)
            && first + late < end
        {
            sent[at] += bytes;
            due[at] = pace.reserve(bytes, RATE, first + late);
        }
        sent
    }

    #[test]
    fn the_rate_is_kept_and_reached_by_one_and_by_many() {
        for askers in [1, 2, 7, 50] {
            for late in [0, 1, 50, 100].map(Duration::from_millis) {
                let sent = sent(askers, late);
                let all: u64 = sent.iter().sum();
                let most = 10 * RATE + RATE / 2;
                assert!(all <= most, "{askers} askers, {late:?} late: {all}");
                assert!(all >= 9 * RATE, "{askers} askers, {late:?} late: {all}");
            }
        }
    }

    #[test]
    fn everybody_gets_the_same() {
        let sent = sent(10, Duration::from_millis(50));
        let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
        assert!(most - least <= portion(RATE, u64::MAX), "{sent:?}");
    }

    #[test]
    fn what_was_not_used_for_long_is_lost() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.reserve(1, RATE, start);
        let later = start + Duration::from_secs(3600);
        let mut at_once = 0;
        while pace.reserve(1000, RATE, later) == later {
            at_once += 1000;
        }
        assert!(at_once <= RATE / 2, "{at_once}");
    }

    #[test]
    fn the_largest_numbers_cause_no_panic() {
        assert_eq!(time_of(u64::MAX, 0), Duration::from_secs(u64::MAX));
        assert_eq!(time_of(u64::MAX, u64::MAX), Duration::from_secs(1));
        assert_eq!(time_of(u64::MAX - 1, u64::MAX).as_secs(), 0);
        assert_eq!(time_of(3, 2), Duration::from_millis(1500));
        let now = Instant::now();
        let mut pace = Pace::default();
        pace.reserve(u64::MAX, 1, now);
        assert_eq!(pace.reserve(1, RATE, now), now);
    }

    #[test]
    fn a_portion_is_never_empty_and_never_too_large() {
        assert_eq!(portion(1, 1000), 1);
        assert_eq!(portion(8_000, 1000), 1000);
        assert_eq!(portion(u64::MAX, 1000), 1000);
    }

    #[test]
    fn callers_of_a_shared_rate_wait_for_each_other() {
        let rate = Rate::new(1_000);
        let now = Instant::now();
        assert_eq!(rate.spend(500, now), now + Duration::from_millis(500));
        assert_eq!(rate.spend(500, now), now + Duration::from_secs(1));
        assert_eq!(rate.portion(1_000_000), 125);
    }
}

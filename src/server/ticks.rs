//! Time in steps, so that a moment fits into one atomic number.

use std::time::{Duration, Instant};

/// Later than every tick.
pub(super) const NEVER: u64 = u64::MAX;

/// Moments as numbers of 50 ms steps since a start.
pub(super) struct Ticks {
    start: Instant,
}

impl Ticks {
    pub(super) fn since(start: Instant) -> Ticks {
        Ticks { start }
    }

    /// The first tick at or after this moment, so that no deadline is early.
    pub(super) fn at_or_after(&self, moment: Instant) -> u64 {
        let passed = moment.saturating_duration_since(self.start);
        u64::try_from(passed.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(NEVER - 1)
    }

    /// The last tick at or before this moment.
    pub(super) fn at_or_before(&self, moment: Instant) -> u64 {
        let passed = moment.saturating_duration_since(self.start);
        u64::try_from(passed.as_nanos() / TICK.as_nanos()).unwrap_or(NEVER - 1)
    }

    /// Microseconds from the start to this moment, for ordering.
    pub(super) fn exactly(&self, moment: Instant) -> u64 {
        let passed = moment.saturating_duration_since(self.start);
        u64::try_from(passed.as_micros()).unwrap_or(NEVER - 1)
    }

    /// The time from `now` to a tick; `None` for [`NEVER`].
    pub(super) fn until(&self, tick: u64, now: Instant) -> Option<Duration> {
        if tick == NEVER {
            return None;
        }
        let at = Duration::from_millis(tick.saturating_mul(TICK.as_millis() as u64));
        Some(at.saturating_sub(now.saturating_duration_since(self.start)))
    }
}

const TICK: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_early_and_at_most_one_step_late() {
        let start = Instant::now();
        let ticks = Ticks::since(start);
        for us in [0, 1, 49_999, 50_000, 50_001, 99_000, 100_000, 12_345_678] {
            let at = start + Duration::from_micros(us);
            let tick = ticks.at_or_after(at);
            let late = ticks.until(tick, at).unwrap();
            assert!(late < Duration::from_millis(50), "{us}: {late:?}");
            assert!(ticks.at_or_before(at + late) >= tick, "{us}");
            assert!(late.is_zero() || ticks.at_or_before(at) < tick, "{us}");
        }
    }

    #[test]
    fn a_moment_before_the_start_counts_as_the_start() {
        let start = Instant::now() + Duration::from_secs(60);
        assert_eq!(Ticks::since(start).at_or_after(Instant::now()), 0);
        assert_eq!(Ticks::since(start).until(NEVER, start), None);
    }
}

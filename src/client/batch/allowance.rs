//! How many connections one server is to have.

use std::time::{Duration, Instant};

use crate::client::RetryPolicy;
use crate::client::retry::growing_pause;

/// How many connections one server is to have: as many as are wanted, or as it takes. What it
/// refuses once it may take later, and so one more is tried now and then, ever more seldom.
pub(super) struct Allowance {
    /// As many as the user allows, or as are of use.
    wanted_max: usize,
    policy: RetryPolicy,
    /// Since it refused one.
    learned: Option<Learned>,
}

struct Learned {
    taken_max: usize,
    /// In a row, of one more than that.
    refusals: u32,
    again_at: Instant,
}

impl Allowance {
    pub(super) fn new(wanted_max: usize, policy: RetryPolicy) -> Allowance {
        Allowance {
            wanted_max: wanted_max.max(1),
            policy: RetryPolicy {
                delay: policy.delay.max(DELAY_MIN),
                ..policy
            },
            learned: None,
        }
    }

    /// Whether there may be one more beside `all`, of which `counted` count for what is wanted.
    pub(super) fn admits(&self, all: usize, counted: usize, now: Instant) -> bool {
        let is_taken = |learned: &Learned| {
            let may_be_more = usize::from(learned.again_at <= now);
            all < learned.taken_max + may_be_more
        };
        counted < self.wanted_max && self.learned.as_ref().is_none_or(is_taken)
    }

    /// Whether one more beside `all` is more than the server is known to take.
    pub(super) fn is_trial(&self, all: usize) -> bool {
        let learned = self.learned.as_ref();
        learned.is_some_and(|learned| all >= learned.taken_max)
    }

    /// The server refused one beside `others`; it may have said for how long.
    pub(super) fn refused(&mut self, others: usize, asked_for: Option<Duration>, now: Instant) {
        let others = others.max(1);
        let (taken_max, refusals) = match &self.learned {
            // Several that were opened before that was known say the same.
            Some(known) if others < known.taken_max => (others, known.refusals),
            Some(known) => (known.taken_max, known.refusals + 1),
            None => (others, 1),
        };
        self.learned = Some(Learned {
            taken_max,
            refusals,
            again_at: now + growing_pause(&self.policy, refusals, asked_for),
        });
    }

    /// So many are served now.
    pub(super) fn served(&mut self, count: usize, now: Instant) {
        if let Some(known) = &mut self.learned
            && count > known.taken_max
        {
            *known = Learned {
                taken_max: count,
                refusals: 0,
                again_at: now,
            };
        }
    }

    /// When one more may be tried, if not before.
    pub(super) fn again_at(&self) -> Option<Instant> {
        self.learned.as_ref().map(|learned| learned.again_at)
    }
}

/// Without pauses between retries, too, a server is left alone for ever longer.
const DELAY_MIN: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::RETRY_DELAY_MAX;

    const DELAY: Duration = Duration::from_secs(1);

    fn four() -> Allowance {
        let policy = RetryPolicy {
            delay: DELAY,
            ..RetryPolicy::default()
        };
        Allowance::new(4, policy)
    }

    /// How many there may be.
    fn most(allowance: &Allowance, now: Instant) -> usize {
        let admits = |&open: &usize| allowance.admits(open, open, now);
        (0..100).take_while(admits).count()
    }

    #[test]
    fn a_server_that_refuses_nothing_has_as_many_as_are_wanted() {
        let (mut allowance, now) = (four(), Instant::now());
        for served in 0..=4 {
            assert_eq!(most(&allowance, now), 4);
            allowance.served(served, now);
        }
        assert_eq!(most(&Allowance::new(0, RetryPolicy::default()), now), 1);
        // Those that wait for digests do not count for what is wanted, and are taken or not.
        assert!(allowance.admits(7, 3, now) && !allowance.admits(7, 4, now));
        allowance.refused(7, None, now);
        assert!(!allowance.admits(7, 3, now) && allowance.admits(6, 3, now));
    }

    #[test]
    fn one_that_is_refused_is_tried_again_after_pauses_that_double() {
        let (mut allowance, mut now) = (four(), Instant::now());
        for longest in [1, 2, 4, 8, 16, 30, 30, 30] {
            allowance.refused(2, None, now);
            let longest = DELAY * longest;
            assert!(longest <= RETRY_DELAY_MAX);
            assert_eq!(most(&allowance, now + longest * 74 / 100), 2);
            now += longest;
            assert_eq!(most(&allowance, now), 3, "one more, not all");
            assert!(allowance.is_trial(2) && !allowance.is_trial(1));
        }
    }

    #[test]
    fn several_that_are_refused_together_make_no_longer_pause() {
        let (mut allowance, now) = (four(), Instant::now());
        for others in [3, 2, 1, 0] {
            allowance.refused(others, None, now);
            assert_eq!(most(&allowance, now), others.max(1));
        }
        // The last of them was beyond what was known.
        assert_eq!(most(&allowance, now + 2 * DELAY), 2);
        let mut allowance = four();
        for others in [3, 2, 1] {
            allowance.refused(others, None, now);
        }
        assert_eq!(most(&allowance, now + DELAY), 2);
    }

    #[test]
    fn each_that_is_served_lets_one_more_be_tried_until_all_are_there() {
        let (mut allowance, now) = (four(), Instant::now());
        allowance.refused(1, None, now);
        allowance.refused(1, None, now);
        for served in [0, 1] {
            allowance.served(served, now);
            assert_eq!(most(&allowance, now), 1, "that was known");
        }
        for served in [2, 3, 4] {
            allowance.served(served, now);
            assert_eq!(most(&allowance, now), 4.min(served + 1));
        }
        // What it took last counts, and the pauses begin anew.
        allowance.served(1, now);
        allowance.refused(3, None, now);
        assert_eq!(most(&allowance, now), 3);
        assert_eq!(most(&allowance, now + DELAY), 4);
    }

    #[test]
    fn a_server_may_ask_for_a_longer_pause() {
        let (mut allowance, now) = (four(), Instant::now());
        let asked_for = 7 * DELAY;
        allowance.refused(2, Some(asked_for), now);
        let step = Duration::from_millis(1);
        assert_eq!(most(&allowance, now + asked_for - step), 2);
        assert_eq!(allowance.again_at(), Some(now + asked_for));
        assert_eq!(most(&allowance, now + asked_for), 3);
    }

    #[test]
    fn without_pauses_between_retries_there_are_some_all_the_same() {
        let policy = RetryPolicy {
            delay: Duration::ZERO,
            ..RetryPolicy::default()
        };
        let (mut allowance, mut now) = (Allowance::new(4, policy), Instant::now());
        let begun = now;
        for _ in 0..20 {
            allowance.refused(2, None, now);
            assert_eq!(most(&allowance, now), 2);
            now = allowance.again_at().unwrap();
        }
        assert!(now - begun > RETRY_DELAY_MAX, "{:?}", now - begun);
    }
}

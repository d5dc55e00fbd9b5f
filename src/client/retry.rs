//! What a failure means for a download, and how long to wait before the next attempt.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use crate::client::config::{RETRY_AFTER_MAX, RETRY_DELAY_MAX, RETRY_DOUBLINGS_MAX};
use crate::client::{ClientConfig, ClientError, Event, RetryPolicy, SessionError};
use crate::net::{Deadline, Wait};
use crate::store::StageError;
use crate::wire::ErrorCode;

/// What a failure means for a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has failed for good.
    Final,
    /// Ask at once, for a digest made anew.
    AskFresh,
    /// Ask at once, for the whole file.
    AskWhole,
    /// It may pass; the server may have said when.
    MayPass(Option<Duration>),
}

/// Judges a failure. `continued`: the question was for the rest of a file; `fresh`: for a
/// digest made anew.
pub(super) fn judge(error: &ClientError, continued: bool, fresh: bool) -> Verdict {
    match error {
        // The digest may be stale, or the beginning that was here damaged.
        ClientError::DigestMismatch { .. } if !fresh => Verdict::AskFresh,
        ClientError::Refused(refusal) => match refusal.code {
            Some(ErrorCode::Changed | ErrorCode::BadRange) if continued => Verdict::AskWhole,
            Some(ErrorCode::Busy | ErrorCode::ShuttingDown | ErrorCode::Timeout)
                if refusal.retry_after.unwrap_or_default() <= RETRY_AFTER_MAX =>
            {
                Verdict::MayPass(refusal.retry_after)
            }
            Some(_) | None => Verdict::Final,
        },
        ClientError::Session(
            SessionError::CutOff(_) | SessionError::Broken { .. } | SessionError::TimedOut { .. },
        ) => Verdict::MayPass(None),
        // A server that was reached before is being restarted, perhaps.
        ClientError::Connect(_) => Verdict::MayPass(None),
        // Another client works on that partial file.
        ClientError::Stage(error) if matches!(**error, StageError::Vanished) && continued => {
            Verdict::AskWhole
        }
        ClientError::Stage(error) if matches!(**error, StageError::Vanished) => {
            Verdict::MayPass(None)
        }
        // Others are closed as they are done with.
        ClientError::Stage(error) if error.lacks_descriptors() => Verdict::MayPass(None),
        ClientError::DigestMismatch { .. }
        | ClientError::Gone(_)
        | ClientError::CannotList(_)
        | ClientError::Protocol(_)
        | ClientError::OtherContent { .. }
        | ClientError::Stage(_)
        | ClientError::ReadBack(_)
        | ClientError::Output(_)
        | ClientError::SameName(_)
        | ClientError::LocalName(_)
        | ClientError::BadEntry(_)
        | ClientError::NoThread(_)
        | ClientError::Internal(_)
        | ClientError::OutOfTime
        | ClientError::StaysInTheWay(_)
        | ClientError::DeletesTooMuch
        | ClientError::EmptySource(_)
        | ClientError::Unlisted(_) => Verdict::Final,
    }
}

/// The pause before the next attempt. `failures`: how many there were in a row, at least 1.
pub(super) fn pause(policy: &RetryPolicy, failures: u32, asked_for: Option<Duration>) -> Duration {
    growing_pause(policy, failures.min(RETRY_DOUBLINGS_MAX + 1), asked_for)
}

/// The same for what is tried ever more seldom: only [`RETRY_DELAY_MAX`] ends its growth.
pub(super) fn growing_pause(
    policy: &RetryPolicy,
    failures: u32,
    asked_for: Option<Duration>,
) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let longest = policy
        .delay
        .saturating_mul(1 << doublings)
        .min(RETRY_DELAY_MAX.max(policy.delay));
    let jitter = u32::try_from(RandomState::new().hash_one(failures) % 256).unwrap_or(0);
    let own = longest - longest * jitter / 1024;
    own.max(asked_for.unwrap_or_default())
}

/// Attempts at one thing, one after the other.
pub(super) struct Attempts<'c> {
    policy: &'c RetryPolicy,
    /// When everything is over.
    pub(super) whole: Option<Deadline>,
    started: Instant,
    failures: u32,
    reached: bool,
}

impl<'c> Attempts<'c> {
    pub(super) fn begin(config: &'c ClientConfig, now: Instant) -> Attempts<'c> {
        Attempts {
            policy: &config.retry,
            whole: config
                .whole_timeout
                .map(|limit| Deadline::after(now, Wait::Whole, limit)),
            started: now,
            failures: 0,
            reached: config.retry.before_contact,
        }
    }

    /// The server was reached: from now on it is worth waiting for.
    pub(super) fn reach(&mut self) {
        self.reached = true;
    }

    /// Waits after a failure that may pass, as long as the policy says. `progress`: something
    /// was gained since the last one.
    ///
    /// # Errors
    /// The failure itself, if there is to be no further attempt.
    pub(super) fn pause_after(
        &mut self,
        error: ClientError,
        retry_after: Option<Duration>,
        progress: bool,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), ClientError> {
        self.failures = if progress { 1 } else { self.failures + 1 };
        let pause = pause(self.policy, self.failures, retry_after);
        let is_too_late = self
            .policy
            .time_max
            .is_some_and(|max| self.started.elapsed() + pause > max);
        if !self.reached || self.failures > self.policy.retries_max || is_too_late {
            return Err(error);
        }
        on_event(Event::Retrying {
            unfinished: 1,
            error: &error,
            pause,
        });
        let left = self
            .whole
            .map_or(pause, |whole| whole.remaining(Instant::now()));
        std::thread::sleep(pause.min(left));
        if self
            .whole
            .is_some_and(|whole| whole.is_over(Instant::now()))
        {
            return Err(ClientError::OutOfTime);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rustix::io::Errno;

    use super::*;
    use crate::client::ServerRefusal;

    #[test]
    fn pauses_double_up_to_the_limit_less_at_most_a_quarter() {
        let policy = RetryPolicy {
            delay: Duration::from_secs(1),
            ..RetryPolicy::default()
        };
        for (failures, seconds) in [
            (0, 1),
            (1, 1),
            (2, 2),
            (3, 4),
            (5, 16),
            (6, 16),
            (u32::MAX, 16),
        ] {
            let longest = Duration::from_secs(seconds);
            for _ in 0..64 {
                let pause = pause(&policy, failures, None);
                assert!(
                    pause <= longest && pause >= longest * 3 / 4,
                    "{failures}: {pause:?}"
                );
            }
        }
    }

    #[test]
    fn no_descriptor_is_left_for_now_and_other_faults_of_a_folder_stay() {
        for (errno, verdict) in [
            (Errno::MFILE, Verdict::MayPass(None)),
            (Errno::NFILE, Verdict::MayPass(None)),
            (Errno::ACCESS, Verdict::Final),
        ] {
            let folder = StageError::of_directory("open the directory", Path::new("d"), errno);
            for error in [folder, StageError::sort("write", errno)] {
                assert_eq!(judge(&error.into(), false, false), verdict, "{errno}");
            }
        }
    }

    #[test]
    fn a_server_makes_the_pause_longer_and_one_that_asks_for_too_long_has_refused() {
        let policy = RetryPolicy {
            delay: Duration::ZERO,
            ..RetryPolicy::default()
        };
        let seven = Duration::from_secs(7);
        assert_eq!(pause(&policy, 1, Some(seven)), seven);
        assert_eq!(pause(&policy, 1, None), Duration::ZERO);
        let judged = |retry_after| {
            let refusal = ServerRefusal {
                code: Some(ErrorCode::Busy),
                spelling: "busy".into(),
                message: "no".into(),
                retry_after,
            };
            judge(&refusal.into(), false, false)
        };
        let step = Duration::from_millis(1);
        for asked_for in [RETRY_AFTER_MAX - step, RETRY_AFTER_MAX] {
            assert_eq!(judged(Some(asked_for)), Verdict::MayPass(Some(asked_for)));
        }
        for asked_for in [RETRY_AFTER_MAX + step, Duration::MAX] {
            assert_eq!(judged(Some(asked_for)), Verdict::Final);
        }
    }

    fn config(retries_max: u32, time_max: Option<Duration>) -> ClientConfig {
        ClientConfig {
            retry: RetryPolicy {
                retries_max,
                time_max,
                delay: Duration::ZERO,
                ..RetryPolicy::default()
            },
            ..ClientConfig::default()
        }
    }

    /// Whether there is another attempt after a failure.
    fn goes_on(attempts: &mut Attempts<'_>, progress: bool) -> bool {
        let error = ClientError::panicked();
        attempts
            .pause_after(error, None, progress, &mut |_| {})
            .is_ok()
    }

    #[test]
    fn attempts_end_after_so_many_failures_in_a_row() {
        let config = config(2, None);
        let mut attempts = Attempts::begin(&config, Instant::now());
        attempts.reach();
        let row: Vec<bool> = [false, false, true, false, false]
            .map(|progress| goes_on(&mut attempts, progress))
            .into();
        // Progress begins the row anew.
        assert_eq!(row, [true, true, true, true, false]);
    }

    #[test]
    fn a_server_that_was_never_reached_is_not_waited_for() {
        let config = config(2, None);
        let mut attempts = Attempts::begin(&config, Instant::now());
        assert!(!goes_on(&mut attempts, false));
    }

    #[test]
    fn attempts_end_when_their_time_is_over() {
        let hour = Duration::from_secs(3600);
        for (time_max, expected) in [(hour, false), (2 * hour, true)] {
            let config = config(u32::MAX, Some(time_max));
            let started = Instant::now()
                .checked_sub(hour)
                .expect("a clock past its start");
            let mut attempts = Attempts::begin(&config, started);
            attempts.reach();
            assert_eq!(goes_on(&mut attempts, false), expected, "{time_max:?}");
        }
    }

    #[test]
    fn a_delay_above_the_limit_is_the_users_will() {
        let policy = RetryPolicy {
            delay: Duration::from_secs(120),
            ..RetryPolicy::default()
        };
        assert!(pause(&policy, 3, None) >= Duration::from_secs(90));
    }
}

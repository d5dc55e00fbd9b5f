//! What a failure means for a download, and how long to wait before the next attempt.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::client::config::{RETRY_AFTER_MAX, RETRY_DELAY_MAX};
use crate::client::{ClientError, RetryPolicy, SessionError};
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
            Some(ErrorCode::Busy | ErrorCode::ShuttingDown | ErrorCode::Timeout) => {
                Verdict::MayPass(refusal.retry_after)
            }
            Some(_) | None => Verdict::Final,
        },
        ClientError::Session(
            SessionError::CutOff(_) | SessionError::Broken { .. } | SessionError::TimedOut { .. },
        ) => Verdict::MayPass(None),
        // A server that was reached before is being restarted, perhaps.
        ClientError::Connect(_) => Verdict::MayPass(None),
        ClientError::Stage(error) if matches!(**error, StageError::Vanished) => {
            Verdict::MayPass(None)
        }
        ClientError::DigestMismatch { .. }
        | ClientError::Protocol(_)
        | ClientError::OtherContent { .. }
        | ClientError::Stage(_)
        | ClientError::ReadBack(_)
        | ClientError::Output(_)
        | ClientError::SameName(_)
        | ClientError::OutOfTime => Verdict::Final,
    }
}

/// The pause before the next attempt. `failures`: how many there were in a row, at least 1.
pub(super) fn pause(policy: &RetryPolicy, failures: u32, asked_for: Option<Duration>) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let longest = policy
        .delay
        .saturating_mul(1 << doublings)
        .min(RETRY_DELAY_MAX.max(policy.delay));
    let jitter = u32::try_from(RandomState::new().hash_one(failures) % 256).unwrap_or(0);
    let own = longest - longest * jitter / 1024;
    own.max(asked_for.unwrap_or_default().min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            (6, 30),
            (7, 30),
            (u32::MAX, 30),
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
    fn a_server_makes_the_pause_longer_but_not_endless() {
        let policy = RetryPolicy {
            delay: Duration::ZERO,
            ..RetryPolicy::default()
        };
        assert_eq!(
            pause(&policy, 1, Some(Duration::from_secs(7))),
            Duration::from_secs(7)
        );
        assert_eq!(pause(&policy, 1, Some(Duration::MAX)), RETRY_AFTER_MAX);
        assert_eq!(pause(&policy, 1, None), Duration::ZERO);
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

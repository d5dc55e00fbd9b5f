//! Every wait has a name and a limit. Pure functions of a passed `now`.

use std::fmt;
use std::time::{Duration, Instant};

/// What is waited for. Both ends name their waits from this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Wait {
    /// A connection to be made.
    Connect,
    /// The next request, with nothing of it read.
    NextRequest,
    /// The rest of a request whose first bytes came.
    RequestHeader,
    /// The silence that ends a line of text without an end mark.
    TextSilence,
    /// A request body that is dropped.
    DroppedBody,
    /// A digest.
    Hashing,
    /// A page of a listing.
    Page,
    /// A published command to end.
    Command,
    /// The peer to read what is sent to it.
    SendProgress,
    /// An answer's header.
    ResponseHeader,
    /// The next bytes of a body.
    ResponseBody,
    /// An entry of a listing.
    ListEntry,
    /// The peer to close after the last answer.
    Linger,
    /// What was written of an abandoned answer to arrive.
    Emptied,
    /// The moment that a limited rate allows for.
    Pace,
    /// The whole job.
    Whole,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wait::Connect => "the connection",
            Wait::NextRequest => "the next request",
            Wait::RequestHeader => "the rest of the request",
            Wait::TextSilence => "the end of the line",
            Wait::DroppedBody => "the rest of the request's body",
            Wait::Hashing => "the digest",
            Wait::Page => "the page",
            Wait::Command => "the command to end",
            Wait::SendProgress => "the peer to read",
            Wait::ResponseHeader => "the answer",
            Wait::ResponseBody => "the next bytes of the file",
            Wait::ListEntry => "the next entry of the listing",
            Wait::Linger => "the peer to close",
            Wait::Emptied => "the peer to take what was sent",
            Wait::Pace => "the next bytes of a limited rate",
            Wait::Whole => "the whole job",
        })
    }
}

/// A wait and when it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// What is waited for.
    pub wait: Wait,
    /// When that has taken too long.
    pub at: Instant,
}

impl Deadline {
    /// `limit` from `now` on.
    pub fn after(now: Instant, wait: Wait, limit: Duration) -> Deadline {
        // A limit beyond the clock's range is as good as a year.
        let at = now
            .checked_add(limit)
            .unwrap_or(now + Duration::from_secs(365 * 86_400));
        Deadline { wait, at }
    }

    /// The one that is over first.
    pub fn or_sooner(self, other: Deadline) -> Deadline {
        if other.at < self.at { other } else { self }
    }

    /// How long it still is; zero when over.
    pub fn remaining(&self, now: Instant) -> Duration {
        self.at.saturating_duration_since(now)
    }

    /// Whether it is over.
    pub fn is_over(&self, now: Instant) -> bool {
        self.at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sooner_deadline_wins_with_its_name() {
        let now = Instant::now();
        let late = Deadline::after(now, Wait::NextRequest, Duration::from_secs(2));
        let soon = Deadline::after(now, Wait::TextSilence, Duration::from_secs(1));
        assert_eq!(late.or_sooner(soon), soon);
        assert_eq!(soon.or_sooner(late), soon);
    }

    #[test]
    fn is_over_at_its_moment_and_not_before() {
        let now = Instant::now();
        let deadline = Deadline::after(now, Wait::Connect, Duration::from_secs(1));
        assert!(!deadline.is_over(now + Duration::from_millis(999)));
        assert!(deadline.is_over(now + Duration::from_secs(1)));
        assert_eq!(
            deadline.remaining(now + Duration::from_secs(2)),
            Duration::ZERO
        );
    }

    #[test]
    fn a_limit_beyond_the_clock_is_far_away() {
        let now = Instant::now();
        let deadline = Deadline::after(now, Wait::Whole, Duration::MAX);
        assert!(deadline.remaining(now) > Duration::from_secs(86_400));
    }
}

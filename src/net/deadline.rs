//! Every wait has a name and a limit. The functions are pure: `now` is passed in.

use std::fmt;
use std::time::{Duration, Instant};

/// The name of a wait, of both the server and the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Wait {
    /// Until a connection is made.
    Connect,
    /// Until the first byte of the next request.
    NextRequest,
    /// Until the rest of a request that has begun.
    RequestHeader,
    /// Until silence ends a line of text that has no end mark.
    TextSilence,
    /// Until a dropped request body has arrived.
    DroppedBody,
    /// Until a digest is computed.
    Hashing,
    /// Until a page of a listing is built.
    Page,
    /// Until a published command ends.
    Command,
    /// Until the peer reads what was sent.
    SendProgress,
    /// Until the header of an answer.
    ResponseHeader,
    /// Until the next bytes of a body.
    ResponseBody,
    /// Until the next entry of a listing.
    ListEntry,
    /// Until the peer closes after the last answer.
    Linger,
    /// Until the bytes of an abandoned answer have arrived.
    Emptied,
    /// Until a rate limit allows more bytes.
    Pace,
    /// Until the whole job ends.
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

/// A named wait and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// The name of the wait.
    pub wait: Wait,
    /// When the wait has taken too long.
    pub at: Instant,
}

impl Deadline {
    /// A deadline at `now + limit`.
    pub fn after(now: Instant, wait: Wait, limit: Duration) -> Deadline {
        // A limit beyond the clock's range becomes one year.
        let at = now
            .checked_add(limit)
            .unwrap_or(now + Duration::from_secs(365 * 86_400));
        Deadline { wait, at }
    }

    /// The earlier of both deadlines.
    pub fn or_sooner(self, other: Deadline) -> Deadline {
        if other.at < self.at { other } else { self }
    }

    /// The remaining time; zero if the deadline has passed.
    pub fn remaining(&self, now: Instant) -> Duration {
        self.at.saturating_duration_since(now)
    }

    /// Whether the deadline has passed.
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

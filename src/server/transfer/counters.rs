//! Counts the outcomes of requests.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::server::transfer::Outcome;
use crate::wire::ErrorCode;

/// The counters, shared by all workers. They start at zero with the handler.
#[derive(Default)]
pub struct TransferCounters {
    answered: AtomicU64,
    body_bytes: AtomicU64,
    refused: [AtomicU64; ErrorCode::ALL.len()],
    abandoned: AtomicU64,
    cut_off: AtomicU64,
    other_protocol: AtomicU64,
}

/// The counts at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransferStats {
    /// Requests answered completely.
    pub answered: u64,
    /// Bytes of the bodies of those answers.
    pub body_bytes: u64,
    /// Requests answered with an error, by code; no zeros.
    pub refused: Vec<(ErrorCode, u64)>,
    /// Answers broken off because the file changed or could not be read.
    pub abandoned: u64,
    /// Answers that did not end: the peer left or was too slow, or the server closed the
    /// connection.
    pub cut_off: u64,
    /// Connections that spoke HTTP or TLS.
    pub other_protocol: u64,
}

impl TransferCounters {
    /// The current counts.
    pub fn snapshot(&self) -> TransferStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let refused = ErrorCode::ALL
            .into_iter()
            .zip(self.refused.iter().map(count));
        TransferStats {
            answered: count(&self.answered),
            body_bytes: count(&self.body_bytes),
            refused: refused.filter(|(_, count)| *count > 0).collect(),
            abandoned: count(&self.abandoned),
            cut_off: count(&self.cut_off),
            other_protocol: count(&self.other_protocol),
        }
    }

    pub(super) fn count(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Answered { body_bytes } => {
                self.body_bytes.fetch_add(body_bytes, Ordering::Relaxed);
                &self.answered
            }
            Outcome::Refused(code) => {
                let at = ErrorCode::ALL.iter().position(|known| *known == code);
                &self.refused[at.unwrap_or(0)]
            }
            Outcome::Abandoned => &self.abandoned,
            Outcome::CutOff | Outcome::TooSlow | Outcome::Closed => &self.cut_off,
            Outcome::OtherProtocol => &self.other_protocol,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl TransferStats {
    /// Requests that ended, with any outcome.
    pub fn requests(&self) -> u64 {
        let broken_off = self.abandoned + self.cut_off;
        self.answered + self.refusals() + broken_off + self.other_protocol
    }

    /// Requests answered with an error.
    pub fn refusals(&self) -> u64 {
        self.refused.iter().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_every_outcome_in_its_counter() {
        let counters = TransferCounters::default();
        assert_eq!(counters.snapshot(), TransferStats::default());
        let outcomes = [
            (Outcome::Answered { body_bytes: 5 }, 4),
            (Outcome::Answered { body_bytes: 0 }, 1),
            (Outcome::Refused(ErrorCode::NotFound), 3),
            (Outcome::Refused(ErrorCode::Internal), 1),
            (Outcome::Abandoned, 2),
            (Outcome::CutOff, 1),
            (Outcome::TooSlow, 1),
            (Outcome::Closed, 1),
            (Outcome::OtherProtocol, 7),
        ];
        for (outcome, times) in outcomes {
            for _ in 0..times {
                counters.count(outcome);
            }
        }
        let stats = counters.snapshot();
        let expected = TransferStats {
            answered: 5,
            body_bytes: 20,
            refused: vec![(ErrorCode::NotFound, 3), (ErrorCode::Internal, 1)],
            abandoned: 2,
            cut_off: 3,
            other_protocol: 7,
        };
        assert_eq!(stats, expected);
        assert_eq!((stats.refusals(), stats.requests()), (4, 21));
    }
}

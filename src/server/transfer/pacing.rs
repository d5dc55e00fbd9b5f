//! Rate limits: a connection reserves a portion of bytes, and parks until it may send them.

use std::time::Instant;

use crate::net::{Deadline, Pace, Wait, portion};
use crate::server::control::lock;
use crate::server::handler::{Disposition, Interest, Parking};
use crate::server::transfer::connection_state::BODY_STEP_BYTES;
use crate::server::transfer::connection_turn::ConnectionTurn;
use crate::store::Store;

/// The bytes that a connection has reserved, and when it may send them.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    own: Pace,
    /// Bytes reserved and not sent yet.
    bytes: u64,
    from: Option<Instant>,
}

impl<S: Store> ConnectionTurn<'_, S> {
    /// How many of `wanted` bytes may be sent now.
    ///
    /// # Errors
    /// If the answer is none: how to park until some may be sent.
    pub(super) fn allowed(&mut self, wanted: usize) -> Result<usize, Disposition> {
        let rates = [self.limits.rate, self.limits.rate_per_connection];
        let Some(least) = rates.into_iter().flatten().min() else {
            return Ok(wanted);
        };
        let allowance = &mut self.state.allowance;
        if allowance.bytes == 0 {
            let now = Instant::now();
            let bytes = portion(least, BODY_STEP_BYTES as u64).min(wanted as u64);
            let mut from = now;
            if let Some(rate) = self.limits.rate {
                from = lock(&self.handler.pace).reserve(bytes, rate, now);
            }
            if let Some(rate) = self.limits.rate_per_connection {
                from = from.max(allowance.own.reserve(bytes, rate, now));
            }
            (allowance.bytes, allowance.from) = (bytes, Some(from));
        }
        match allowance.from {
            Some(from) if from > Instant::now() => Err(Disposition::Park(Parking {
                interest: Interest::Nothing,
                until: Deadline {
                    wait: Wait::Pace,
                    at: from,
                },
                evictable_from: None,
            })),
            _ => Ok(usize::try_from(allowance.bytes).map_or(wanted, |bytes| bytes.min(wanted))),
        }
    }

    /// Deducts bytes that were sent.
    pub(super) fn spend(&mut self, bytes: usize) {
        let allowance = &mut self.state.allowance;
        allowance.bytes = allowance.bytes.saturating_sub(bytes as u64);
    }
}

//! Tests of what the programs do in time, on machines that do not always have time.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Plays `round` until it holds: with the factor 1, then 2, 4 and so on to [`FACTOR_MAX`].
///
/// It is for what depends on a limit of time on either side, where a process that is kept waiting
/// for a processor would be late through no fault of its own. The round multiplies the limits that
/// it may set by the factor; where the programs have fixed them, it is played again as it is. A
/// program that is right holds as soon as nothing is late; one that is wrong never does.
#[track_caller]
pub fn at_some_pace(round: impl Fn(u32)) {
    let factors = std::iter::successors(Some(1), |factor| Some(factor * 2));
    for factor in factors.take_while(|factor| *factor < FACTOR_MAX) {
        if catch_unwind(AssertUnwindSafe(|| round(factor))).is_ok() {
            return;
        }
    }
    round(FACTOR_MAX);
}

const FACTOR_MAX: u32 = 32;

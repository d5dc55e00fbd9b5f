//! Calls that wait for a disk, which may be long, and the time for everything.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use crate::client::ClientError;
use crate::net::{Deadline, Wait};

/// Makes a call, and waits for it as long as there is time. After that it goes on in a thread that
/// nobody waits for, and that ends with the process. A panic of the call counts as no answer in time.
///
/// # Errors
/// [`ClientError::OutOfTime`].
pub(super) fn in_time<T: Send + 'static>(
    until: Option<Deadline>,
    call: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ClientError> {
    let Some(until) = until else {
        return Ok(call());
    };
    let remaining = until.remaining(Instant::now());
    if remaining.is_zero() {
        return Err(ClientError::OutOfTime);
    }
    let (answer_in, answer) = bounded(1);
    let call = Arc::new(Mutex::new(Some(call)));
    let shared = Arc::clone(&call);
    let thread = Builder::new().name("ft-sync".to_owned()).spawn(move || {
        if let Some(call) = take(&shared) {
            // Refused when time is over.
            let _ = answer_in.send(call());
        }
    });
    match thread {
        Ok(_) => answer.recv_timeout(remaining).ok(),
        // Without a thread it takes the time that it takes.
        Err(_) => take(&call).map(|call| call()),
    }
    .ok_or(ClientError::OutOfTime)
}

fn take<C>(call: &Mutex<Option<C>>) -> Option<C> {
    call.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// When the last sync is given up, which begins when all else is done, or time is over: what was
/// told as done is to last.
pub(super) fn last_sync(whole: Option<Deadline>) -> Option<Deadline> {
    let grace = Deadline::after(Instant::now(), Wait::Whole, LAST_SYNC_MIN);
    whole.map(|whole| if whole.at > grace.at { whole } else { grace })
}

const LAST_SYNC_MIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn within(limit: Duration) -> Option<Deadline> {
        Some(Deadline::after(Instant::now(), Wait::Whole, limit))
    }

    #[test]
    fn a_call_that_ends_in_time_is_answered() {
        for until in [None, within(Duration::from_secs(600))] {
            assert_eq!(in_time(until, || 5).unwrap(), 5);
        }
    }

    #[test]
    fn a_call_that_does_not_end_is_left_behind() {
        let (_hold, held) = bounded::<()>(0);
        let hangs = move || held.recv().is_ok();
        let ended = in_time(within(Duration::from_millis(10)), hangs);
        assert!(matches!(ended, Err(ClientError::OutOfTime)), "{ended:?}");
        let ended = in_time(within(Duration::ZERO), || unreachable!("there is no time"));
        let ended: Result<(), _> = ended;
        assert!(matches!(ended, Err(ClientError::OutOfTime)));
    }

    #[test]
    fn the_last_sync_has_a_moment_when_time_is_over() {
        assert_eq!(last_sync(None), None);
        let now = Instant::now();
        let over = last_sync(within(Duration::ZERO)).unwrap();
        assert!(over.remaining(now) >= LAST_SYNC_MIN);
        let later = within(Duration::from_secs(600));
        assert_eq!(last_sync(later), later);
    }
}

//! Limits the runs of commands, in total and per address, and the memory of their outputs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::server::control::lock;
use crate::wire::{ErrorCode, Refusal};

/// Limits of runs (`PROTOCOL.md`, "Limits").
#[derive(Clone, Copy, Debug)]
pub struct RunLimits {
    /// Runs at once; half of them, rounded up, for one address.
    pub runs_max: usize,
    /// Bytes of the content of one run. All outputs together, running or unsent, take at most
    /// twice what `runs_max` runs may write, and those of one address half of that.
    pub output_bytes_max: u64,
    /// The longest time of one run.
    pub time_max: Duration,
}

/// All runs, and the space of all outputs.
pub(super) struct RunTable {
    pub(super) limits: RunLimits,
    runs: Mutex<Runs>,
    all_ended: Condvar,
}

/// Signals to a run, from its waiting connection and from requests that need a place.
#[derive(Default)]
pub(in crate::server) struct RunSignals {
    /// When the connection's peer ended its stream. It may be gone, or still read.
    peer_ended: OnceLock<Instant>,
    /// Another request needs the place.
    must_yield: AtomicBool,
}

#[derive(Default)]
struct Runs {
    /// All runs, each with the address that requested it.
    running: Vec<(u128, Arc<RunSignals>)>,
    has_ended: bool,
    /// Bytes of outputs, plus what running commands may still write.
    space: u64,
    /// The share of each address in `space`; no zeros.
    space_by_address: HashMap<u128, u64>,
}

impl RunTable {
    pub(super) fn new(limits: RunLimits) -> Arc<RunTable> {
        Arc::new(RunTable {
            limits,
            runs: Mutex::default(),
            all_ended: Condvar::new(),
        })
    }

    /// Ends all runs and refuses further ones. Waits until none is left, for at most `within`.
    pub(super) fn end(&self, within: Duration) {
        let mut runs = lock(&self.runs);
        runs.has_ended = true;
        let waited = self
            .all_ended
            .wait_timeout_while(runs, within, |runs| !runs.running.is_empty());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether all runs must end.
    pub(super) fn has_ended(&self) -> bool {
        lock(&self.runs).has_ended
    }

    /// Whether a command runs.
    #[cfg(test)]
    pub(super) fn has_runs(&self) -> bool {
        !lock(&self.runs).running.is_empty()
    }

    /// Bytes of outputs, plus what running commands may still write.
    #[cfg(test)]
    pub(super) fn space(&self) -> u64 {
        let runs = lock(&self.runs);
        let by_address: u64 = runs.space_by_address.values().sum();
        assert_eq!(runs.space, by_address, "counted twice");
        runs.space
    }

    /// Reserves a run for this address, with space for the longest output.
    ///
    /// # Errors
    /// `busy`, `shutting_down`.
    pub(super) fn take(self: &Arc<Self>, address: u128) -> Result<(Running, OutputSpace), Refusal> {
        let mut runs = lock(&self.runs);
        let of_address = runs.space_by_address.get(&address).copied().unwrap_or(0);
        let bytes = self.limits.output_bytes_max;
        let one_address_max = bytes.saturating_mul(self.limits.runs_max as u64);
        let has_room = |space: u64, max: u64| space.saturating_add(bytes) <= max;
        let runs_of_address = runs.running.iter().filter(|(of, _)| *of == address);
        if runs.has_ended {
            return Err(shutting_down());
        }
        let message = if runs.running.len() >= self.limits.runs_max {
            request_yield(runs.running.iter());
            "too many commands run already"
        } else if runs_of_address.clone().count() >= self.limits.runs_max.div_ceil(2) {
            request_yield(runs_of_address);
            "too many commands run for this address"
        } else if !has_room(of_address, one_address_max)
            || !has_room(runs.space, one_address_max.saturating_mul(2))
        {
            "too many outputs wait to be read"
        } else {
            let signals = Arc::default();
            runs.running.push((address, Arc::clone(&signals)));
            runs.space += bytes;
            runs.space_by_address.insert(address, of_address + bytes);
            let running = Running {
                table: Arc::clone(self),
                signals,
            };
            let space = OutputSpace {
                table: Arc::clone(self),
                address,
                bytes,
            };
            return Ok((running, space));
        };
        Err(refuse_for_now(ErrorCode::Busy, message))
    }
}

/// A run in the table until it is dropped.
pub(super) struct Running {
    table: Arc<RunTable>,
    pub(super) signals: Arc<RunSignals>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut runs = lock(&self.table.runs);
        runs.running
            .retain(|(_, signals)| !Arc::ptr_eq(signals, &self.signals));
        if runs.running.is_empty() {
            self.table.all_ended.notify_all();
        }
    }
}

impl RunSignals {
    /// Notes that the waiting peer has ended its stream.
    pub(in crate::server) fn note_peer_ended(&self, now: Instant) {
        // The first call sets the time.
        let _ = self.peer_ended.set(now);
    }

    pub(super) fn must_yield(&self) -> bool {
        self.must_yield.load(Ordering::Relaxed)
    }
}

/// Ends the run whose peer ended its stream first, if that is long enough ago.
fn request_yield<'r>(runs: impl Iterator<Item = &'r (u128, Arc<RunSignals>)>) {
    let ended = runs.filter_map(|(_, signals)| Some((signals.peer_ended.get()?, signals)));
    if let Some((since, signals)) = ended
        .filter(|(_, signals)| !signals.must_yield())
        .min_by_key(|(since, _)| **since)
        && since.elapsed() >= YIELD_AFTER
    {
        signals.must_yield.store(true, Ordering::Relaxed);
    }
}

/// Space for an output, released on drop.
pub(in crate::server) struct OutputSpace {
    table: Arc<RunTable>,
    address: u128,
    bytes: u64,
}

impl OutputSpace {
    /// Releases what an output of so many bytes does not need.
    pub(super) fn shrink_to(&mut self, bytes: u64) {
        let spare = self.bytes.saturating_sub(bytes);
        self.bytes -= spare;
        let mut runs = lock(&self.table.runs);
        runs.space -= spare;
        if let Some(space) = runs.space_by_address.get_mut(&self.address) {
            *space -= spare;
            if *space == 0 {
                runs.space_by_address.remove(&self.address);
            }
        }
    }
}

impl Drop for OutputSpace {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// The refusal of a run that was ended for another request.
pub(super) fn displaced() -> Refusal {
    refuse_for_now(
        ErrorCode::Busy,
        "another request needed the command's place",
    )
}

/// The refusal of a run that was ended or not started because the server stops.
pub(super) fn shutting_down() -> Refusal {
    refuse_for_now(ErrorCode::ShuttingDown, "server is shutting down")
}

/// A refusal that the client may retry.
fn refuse_for_now(code: ErrorCode, message: &str) -> Refusal {
    Refusal {
        retry_after_ms: Some(RETRY_AFTER_MS),
        ..Refusal::new(code, message)
    }
}

impl Default for RunLimits {
    fn default() -> RunLimits {
        RunLimits {
            runs_max: 4,
            output_bytes_max: 64 << 20,
            time_max: Duration::from_secs(60),
        }
    }
}

const RETRY_AFTER_MS: u64 = 1000;
/// How long a run is safe after its peer has ended its stream, since the peer may still read.
pub(super) const YIELD_AFTER: Duration = Duration::from_secs(1);

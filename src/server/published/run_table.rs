//! Places for runs: how many there are, of which addresses, and how much their outputs take.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::server::control::lock;
use crate::wire::{ErrorCode, Refusal};

/// Bounds of runs (`PROTOCOL.md`, "Limits").
#[derive(Clone, Copy, Debug)]
pub struct RunLimits {
    /// Runs at once; half of them, rounded up, for one address.
    pub runs_max: usize,
    /// Bytes of the content of one run. All outputs together, of runs and those still to be
    /// sent, are at most twice what `runs_max` runs may write, and half of that for one address.
    pub output_bytes_max: u64,
    /// How long one run may take.
    pub time_max: Duration,
}

/// Every run there is, and what all outputs take.
pub(super) struct RunTable {
    pub(super) limits: RunLimits,
    runs: Mutex<Runs>,
    all_ended: Condvar,
}

/// What the connection that waits for a run, and requests that find no place, say to it.
#[derive(Default)]
pub(in crate::server) struct RunSignals {
    /// Since when the connection's peer has ended its stream. It may be gone, or still read.
    peer_ended: OnceLock<Instant>,
    /// Another request needs the place.
    must_yield: AtomicBool,
}

#[derive(Default)]
struct Runs {
    /// Every run there is, with the address that asked for it.
    running: Vec<(u128, Arc<RunSignals>)>,
    has_ended: bool,
    /// Bytes of outputs, and bytes that running commands may still write.
    space: u64,
    /// The same by address; no zeros.
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

    /// Ends every run, now and later, and waits until there is none, or for this long.
    pub(super) fn end(&self, within: Duration) {
        let mut runs = lock(&self.runs);
        runs.has_ended = true;
        let waited = self
            .all_ended
            .wait_timeout_while(runs, within, |runs| !runs.running.is_empty());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether every run is to end.
    pub(super) fn has_ended(&self) -> bool {
        lock(&self.runs).has_ended
    }

    /// Whether there is a run.
    #[cfg(test)]
    pub(super) fn has_runs(&self) -> bool {
        !lock(&self.runs).running.is_empty()
    }

    /// Bytes that outputs take, and that running commands may still write.
    #[cfg(test)]
    pub(super) fn space(&self) -> u64 {
        let runs = lock(&self.runs);
        let by_address: u64 = runs.space_by_address.values().sum();
        assert_eq!(runs.space, by_address, "counted twice");
        runs.space
    }

    /// A place for a run of this address, and room for all that it may write.
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

/// One of the runs there are.
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
    /// The peer that waits for the run has ended its stream.
    pub(in crate::server) fn note_peer_ended(&self, now: Instant) {
        // Only the first time counts.
        let _ = self.peer_ended.set(now);
    }

    pub(super) fn must_yield(&self) -> bool {
        self.must_yield.load(Ordering::Relaxed)
    }
}

/// Ends the run whose peer ended its stream first, if that is a while ago: its place is needed.
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

/// Room for an output, or what it takes; dropping it gives it back.
pub(in crate::server) struct OutputSpace {
    table: Arc<RunTable>,
    address: u128,
    bytes: u64,
}

impl OutputSpace {
    /// Gives back what an output of so many bytes does not take.
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

/// The run was ended since another request needed its place.
pub(super) fn displaced() -> Refusal {
    refuse_for_now(
        ErrorCode::Busy,
        "another request needed the command's place",
    )
}

/// The run was ended, or was not begun, since the server ends.
pub(super) fn shutting_down() -> Refusal {
    refuse_for_now(ErrorCode::ShuttingDown, "server is shutting down")
}

/// A refusal that another try may not meet.
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
/// A peer that ends its stream and reads on has this long before its run may be ended.
pub(super) const YIELD_AFTER: Duration = Duration::from_secs(1);

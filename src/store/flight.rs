//! Many askers, one hash.
//!
//! Askers of the same content share one flight. Flights of long files stand in one line for a
//! place, first come first served but for the bound per address; those with a place, and all
//! short ones, take turns on the foreground pool. Who waits holds a [`Ticket`].

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::digest::Pools;
use crate::store::hash::{Hashing, Turn};
use crate::store::index::keep;
use crate::store::{
    Asker, CatalogLimits, DigestIndex, DigestState, Object, ObjectMeta, Stamp, WakeFn,
};
use crate::wire::{ErrorCode, Md5Digest, Refusal, Timestamp};

/// Every hash in the making.
pub(super) struct Flights {
    table: Mutex<Table>,
    is_stopped: AtomicBool,
    index: Arc<dyn DigestIndex>,
    pools: Arc<Pools>,
    limits: CatalogLimits,
}

/// One asker's place at one hash. Dropping it gives the place up; a hash that nobody waits
/// for stops within a MiB.
pub struct Ticket {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
    id: u64,
    asked_at: Instant,
}

impl Ticket {
    /// Looks how far the hash is, without blocking; also notices that the stay in line was too
    /// long, which wakes nobody.
    pub fn state(&self, now: Instant) -> DigestState {
        let waited = now.saturating_duration_since(self.asked_at);
        match self.flight.outcome.get() {
            Some(Ok((md5, stamp))) => DigestState::Ready(*md5, *stamp),
            Some(Err(refusal)) => DigestState::Failed(refusal.clone()),
            None if self.flight.is_begun.load(Ordering::SeqCst) => DigestState::Waiting {
                done: self.flight.done.load(Ordering::Relaxed),
            },
            None if waited >= self.flights.limits.hash_queue_timeout => {
                DigestState::Failed(busy(waited))
            }
            None => DigestState::Waiting { done: 0 },
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.flights.leave(&self.flight, self.id);
    }
}

/// One hash, seen from those who wait for it.
#[derive(Default)]
struct Flight {
    /// Bytes hashed so far.
    done: AtomicU64,
    /// The first byte may have been read; `fresh` askers come too late.
    is_begun: AtomicBool,
    /// The last asker left.
    is_abandoned: AtomicBool,
    outcome: OnceLock<Outcome>,
    /// Whom to wake. Locked only while the table is.
    askers: Mutex<Vec<(u64, WakeFn)>>,
}

type Outcome = Result<(Md5Digest, Stamp), Refusal>;

/// A flight and its hash, between two turns or in line.
struct Job {
    flight: Arc<Flight>,
    hash: Hashing,
    /// The address whose place a long file needs; a short one needs none.
    place: Option<u128>,
}

/// What makes two files the same to those who ask for a digest: a [`Stamp`] but for ctime.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Content {
    device: u64,
    inode: u64,
    size: u64,
    mtime: Timestamp,
}

/// Never longer than there are tickets, and those are bounded by the connections.
#[derive(Default)]
struct Table {
    /// The newest flight of each content, to be joined.
    newest: HashMap<Content, Arc<Flight>>,
    /// Jobs without the place they need.
    line: VecDeque<Job>,
    /// Jobs that wait for their next turn.
    turns: VecDeque<Job>,
    /// Places taken, by address; no zeros.
    places: HashMap<u128, usize>,
    places_taken: usize,
    /// Pool jobs that take turns now, at most one per thread.
    hands: usize,
    /// Tickets given out since the start.
    tickets: u64,
}

impl Flights {
    pub(super) fn new(
        index: Arc<dyn DigestIndex>,
        pools: Arc<Pools>,
        limits: CatalogLimits,
    ) -> Flights {
        let is_stopped = AtomicBool::new(false);
        Flights {
            table: Mutex::default(),
            is_stopped,
            index,
            pools,
            limits,
        }
    }

    /// Joins the flight of this content, or starts one.
    pub(super) fn join(
        self: &Arc<Self>,
        object: Arc<dyn Object>,
        meta: &ObjectMeta,
        asker: Asker,
    ) -> Ticket {
        let mut table = self.lock();
        let flight = match table.newest.get(&Content::of(&meta.stamp)) {
            Some(flight) if flight.takes(asker.fresh) => Arc::clone(flight),
            _ => {
                let hash = Hashing::begin(object, *meta);
                let is_long = meta.stamp.size > self.limits.queued_hash_bytes_min;
                self.start(&mut table, hash, is_long.then_some(asker.address))
            }
        };
        table.tickets += 1;
        let id = table.tickets;
        locked(&flight.askers).push((id, asker.wake));
        self.staff(table);
        Ticket {
            flights: Arc::clone(self),
            flight,
            id,
            asked_at: asker.asked_at,
        }
    }

    fn start(&self, table: &mut Table, hash: Hashing, place: Option<u128>) -> Arc<Flight> {
        let flight = Arc::new(Flight::default());
        if self.is_stopped() {
            flight.end(Err(shutting_down()));
            return flight;
        }
        table
            .newest
            .insert(Content::of(&hash.meta().stamp), Arc::clone(&flight));
        let job = Job {
            flight: Arc::clone(&flight),
            hash,
            place,
        };
        if place.is_some() {
            table.line.push_back(job);
            table.move_up(&self.limits);
        } else {
            table.turns.push_back(job);
        }
        flight
    }

    /// Ends every flight, now and later, with `shutting_down`; those that run within a MiB.
    pub(super) fn stop(&self) {
        let mut table = self.lock();
        self.is_stopped.store(true, Ordering::SeqCst);
        let in_line: Vec<Job> = table.line.drain(..).collect();
        for job in &in_line {
            table.forget(job);
        }
        drop(table);
        for job in in_line {
            wake_all(job.flight.end(Err(shutting_down())));
        }
    }

    fn leave(&self, flight: &Arc<Flight>, id: u64) {
        let mut table = self.lock();
        let mut askers = locked(&flight.askers);
        askers.retain(|(asker, _)| *asker != id);
        if !askers.is_empty() || flight.outcome.get().is_some() {
            return;
        }
        // If a hand has it, or it waits for its turn, that is where this is noticed.
        flight.is_abandoned.store(true, Ordering::SeqCst);
        let in_line = table
            .line
            .iter()
            .position(|job| Arc::ptr_eq(&job.flight, flight));
        let job = in_line.and_then(|at| table.line.remove(at));
        if let Some(job) = &job {
            table.forget(job);
        }
        // The lock goes first: closing the job's file may take long.
        drop(askers);
        drop(table);
    }

    /// Puts as many hands to work as there are turns to take, one per thread at most.
    fn staff(self: &Arc<Self>, mut table: MutexGuard<'_, Table>) {
        let idle = self.pools.foreground_threads().saturating_sub(table.hands);
        let hired = idle.min(table.turns.len());
        table.hands += hired;
        drop(table);
        for _ in 0..hired {
            let hand = Hand(Arc::clone(self));
            self.pools.foreground(move || hand.take_turns());
        }
    }

    /// Ends the flight of a job that had its place, and lets the line move up.
    fn settle(self: &Arc<Self>, job: Job, outcome: Outcome) {
        let mut table = self.lock();
        table.forget(&job);
        table.give_back(job.place);
        table.move_up(&self.limits);
        let askers = job.flight.end(outcome);
        self.staff(table);
        drop(job);
        wake_all(askers);
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        locked(&self.table)
    }
}

/// One pool job that takes turns, of whichever flights are due.
struct Hand(Arc<Flights>);

impl Hand {
    fn take_turns(self) {
        let mut buffer = vec![0; STEP_BYTES];
        while let Some(job) = self.next() {
            self.take_turn(job, &mut buffer);
        }
    }

    fn next(&self) -> Option<Job> {
        let mut table = self.0.lock();
        let job = table.turns.pop_front()?;
        job.flight.is_begun.store(true, Ordering::SeqCst);
        Some(job)
    }

    fn take_turn(&self, mut job: Job, buffer: &mut [u8]) {
        let flights = &self.0;
        let before = Content::of(&job.hash.meta().stamp);
        let turn = catch_unwind(AssertUnwindSafe(|| {
            job.hash
                .turn(buffer, flights.limits.changed_hashes_max, |done| {
                    job.flight.done.store(done, Ordering::Relaxed);
                    !flights.is_stopped() && !job.flight.is_abandoned()
                })
        }));
        let outcome = match turn {
            Ok(Turn::Unfinished) if flights.is_stopped() => Err(shutting_down()),
            Ok(Turn::Unfinished) if job.flight.is_abandoned() => Err(nobody_asks()),
            Ok(Turn::Unfinished) => return flights.lock().turns.push_back(job),
            Ok(Turn::BegunAnew) => return flights.lock().begin_anew(before, job),
            Ok(Turn::Made { md5, is_untouched }) => {
                let meta = job.hash.meta();
                if is_untouched {
                    keep(&*flights.index, meta, md5);
                }
                Ok((md5, meta.stamp))
            }
            Ok(Turn::Failed(refusal)) => Err(refusal),
            Err(_) => Err(panicked()),
        };
        flights.settle(job, outcome);
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        let mut table = self.0.lock();
        table.hands -= 1;
        // A job may have come after the last look, when every thread seemed to have a hand.
        self.0.staff(table);
    }
}

impl Table {
    /// Gives the places that are free to the first in line whose address may have one more.
    fn move_up(&mut self, limits: &CatalogLimits) {
        let mut at = 0;
        while self.places_taken < limits.hashes_max.max(1) && at < self.line.len() {
            let address = self.line[at].place.unwrap_or_default();
            let taken = self.places.get(&address).copied().unwrap_or_default();
            if taken >= limits.hashes_per_address_max.max(1) {
                at += 1;
                continue;
            }
            self.places.insert(address, taken + 1);
            self.places_taken += 1;
            self.turns.extend(self.line.remove(at));
        }
    }

    fn give_back(&mut self, place: Option<u128>) {
        let Some(address) = place else { return };
        self.places_taken -= 1;
        if let Entry::Occupied(mut taken) = self.places.entry(address) {
            *taken.get_mut() -= 1;
            if *taken.get() == 0 {
                taken.remove();
            }
        }
    }

    /// Lets later askers no longer join this job's flight.
    fn forget(&mut self, job: &Job) {
        self.forget_as(Content::of(&job.hash.meta().stamp), &job.flight);
    }

    fn forget_as(&mut self, content: Content, flight: &Arc<Flight>) {
        if self
            .newest
            .get(&content)
            .is_some_and(|newest| Arc::ptr_eq(newest, flight))
        {
            self.newest.remove(&content);
        }
    }

    /// The file turned out to have other content, under which it is asked for from now on.
    fn begin_anew(&mut self, before: Content, job: Job) {
        self.forget_as(before, &job.flight);
        let now = Content::of(&job.hash.meta().stamp);
        self.newest
            .entry(now)
            .or_insert_with(|| Arc::clone(&job.flight));
        self.turns.push_back(job);
    }
}

impl Flight {
    /// Whether one more asker may join. Called and answered under the table's lock.
    fn takes(&self, fresh: bool) -> bool {
        !self.is_abandoned() && !(fresh && self.is_begun.load(Ordering::SeqCst))
    }

    fn is_abandoned(&self) -> bool {
        self.is_abandoned.load(Ordering::SeqCst)
    }

    /// Sets the outcome. Returns whom to wake.
    fn end(&self, outcome: Outcome) -> Vec<(u64, WakeFn)> {
        // Nobody ends a flight twice: its job is owned by whoever does it.
        let _ = self.outcome.set(outcome);
        mem::take(&mut *locked(&self.askers))
    }
}

impl Content {
    fn of(stamp: &Stamp) -> Content {
        let Stamp {
            device,
            inode,
            size,
            mtime,
            ctime: _,
        } = *stamp;
        Content {
            device,
            inode,
            size,
            mtime,
        }
    }
}

fn wake_all(askers: Vec<(u64, WakeFn)>) {
    for (_, wake) in askers {
        wake();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing but bookkeeping happens under these locks, and none of it panics half way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn busy(waited: Duration) -> Refusal {
    let message = format!("hash has been in line for {} s", waited.as_secs());
    let retry_after_ms = Some(RETRY_AFTER_BUSY_MS);
    Refusal {
        code: ErrorCode::Busy,
        message,
        retry_after_ms,
    }
}

fn shutting_down() -> Refusal {
    let message = "server is shutting down".to_owned();
    let retry_after_ms = Some(RETRY_AFTER_SHUT_DOWN_MS);
    Refusal {
        code: ErrorCode::ShuttingDown,
        message,
        retry_after_ms,
    }
}

fn nobody_asks() -> Refusal {
    Refusal::new(ErrorCode::Internal, "hash was given up")
}

fn panicked() -> Refusal {
    Refusal::new(ErrorCode::Internal, "hash failed")
}

/// Bytes read at once: enough that the system call costs little, and at home in a core's cache.
const STEP_BYTES: usize = 256 * 1024;
const RETRY_AFTER_BUSY_MS: u64 = 5_000;
const RETRY_AFTER_SHUT_DOWN_MS: u64 = 1_000;

//! One hash for many requests.
//!
//! Requests for the same content share one flight. Flights of long files wait in a fair queue for a
//! place; the queue alternates between client addresses. Flights with a place, and all short ones,
//! take turns in the foreground pool. After some turns a place goes to the next flight in the
//! queue, so that a few huge files do not block others. Each request holds a [`Ticket`].

mod table;

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use self::table::{Content, FlightTable, Job};
use crate::digest::Pools;
use crate::store::hash::{Hashing, STEP_BYTES, Turn};
use crate::store::index::keep;
use crate::store::{
    CatalogLimits, DigestIndex, DigestRequest, DigestState, Object, ObjectMeta, Stamp, WakeFn,
};
use crate::wire::{ErrorCode, Md5Digest, Refusal};

/// All running and queued hashes.
pub(super) struct Flights {
    table: Mutex<FlightTable>,
    is_stopped: AtomicBool,
    index: Arc<dyn DigestIndex>,
    pools: Arc<Pools>,
    limits: CatalogLimits,
}

/// One request for a hash. Dropping it withdraws the request. A hash without requests stops within
/// a MiB.
pub struct Ticket {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
    id: u64,
    asked_at: Instant,
}

impl Ticket {
    /// The state of the hash, without blocking. Also detects that the hash was queued for too long,
    /// which calls no waker.
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

/// A hash as its requests see it.
#[derive(Default)]
struct Flight {
    /// Bytes hashed so far.
    done: AtomicU64,
    /// The first byte may have been read, so `fresh` requests must not join.
    is_begun: AtomicBool,
    /// The last request was withdrawn.
    is_abandoned: AtomicBool,
    outcome: OnceLock<Outcome>,
    /// The wakers of the requests, by ticket id. Locked only while the table is locked.
    wakers: Mutex<Vec<(u64, WakeFn)>>,
}

type Outcome = Result<(Md5Digest, Stamp), Refusal>;

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
        request: DigestRequest,
    ) -> Ticket {
        let mut table = self.lock();
        let flight = match table.newest.get(&Content::of(&meta.stamp)) {
            Some(flight) if flight.admits(request.fresh) => Arc::clone(flight),
            _ => {
                let hash = Hashing::begin(object, *meta);
                let is_long = meta.stamp.size > self.limits.queued_hash_bytes_min;
                self.start(&mut table, hash, is_long.then_some(request.address))
            }
        };
        table.tickets += 1;
        let id = table.tickets;
        locked(&flight.wakers).push((id, request.wake));
        self.start_workers(table);
        Ticket {
            flights: Arc::clone(self),
            flight,
            id,
            asked_at: request.asked_at,
        }
    }

    fn start(&self, table: &mut FlightTable, hash: Hashing, place: Option<u128>) -> Arc<Flight> {
        let flight = Arc::new(Flight::default());
        if self.is_stopped() {
            flight.end(Err(shutting_down()));
            return flight;
        }
        table
            .newest
            .insert(Content::of(&hash.meta().stamp), Arc::clone(&flight));
        let job = Job::new(Arc::clone(&flight), hash, place);
        if place.is_some() {
            table.enqueue(job);
            table.start_next(&self.limits);
        } else {
            table.turns.push_back(job);
        }
        flight
    }

    /// Ends every flight, now and later, with `shutting_down`. Running ones end within a MiB.
    pub(super) fn stop(&self) {
        let mut table = self.lock();
        self.is_stopped.store(true, Ordering::SeqCst);
        let queued: Vec<Job> = table.queue.drain(..).collect();
        let mut wakers = Vec::new();
        for job in &queued {
            table.close(job);
            wakers.extend(job.flight.end(Err(shutting_down())));
        }
        drop(table);
        drop(queued);
        wake_all(wakers);
    }

    fn leave(&self, flight: &Arc<Flight>, id: u64) {
        let mut table = self.lock();
        let mut wakers = locked(&flight.wakers);
        wakers.retain(|(request, _)| *request != id);
        if !wakers.is_empty() || flight.outcome.get().is_some() {
            return;
        }
        // A flight that is not in the queue is checked for this at its next turn.
        flight.is_abandoned.store(true, Ordering::SeqCst);
        let queued = table
            .queue
            .iter()
            .position(|job| Arc::ptr_eq(&job.flight, flight));
        let job = queued.and_then(|at| table.queue.remove(at));
        if let Some(job) = &job {
            table.close(job);
        }
        // Release the lock first: closing the job's file may take long.
        drop(wakers);
        drop(table);
    }

    /// Starts as many workers as there are turns to take, at most one for each thread of the pool.
    fn start_workers(self: &Arc<Self>, mut table: MutexGuard<'_, FlightTable>) {
        let idle = self
            .pools
            .foreground_threads()
            .saturating_sub(table.workers);
        let new = idle.min(table.turns.len());
        table.workers += new;
        drop(table);
        for _ in 0..new {
            let worker = HashWorker(Arc::clone(self));
            self.pools.foreground(move || worker.take_turns());
        }
    }

    /// Ends the flight of a job that had a place, and starts the next ones.
    fn settle(self: &Arc<Self>, job: Job, outcome: Outcome) {
        let mut table = self.lock();
        table.close(&job);
        table.release_place(job.place);
        table.start_next(&self.limits);
        let wakers = job.flight.end(outcome);
        self.start_workers(table);
        drop(job);
        wake_all(wakers);
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, FlightTable> {
        locked(&self.table)
    }
}

/// A job of the pool that takes turns of any flights that are due.
struct HashWorker(Arc<Flights>);

impl HashWorker {
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
            Ok(Turn::Unfinished) if job.flight.is_abandoned() => Err(abandoned()),
            Ok(Turn::Unfinished) => return flights.lock().return_job(job, &flights.limits),
            Ok(Turn::Restarted) => return flights.lock().restart(before, job),
            Ok(Turn::Made { md5, is_untouched }) => {
                let meta = job.hash.meta();
                if is_untouched {
                    keep(&*flights.index, meta, md5);
                }
                Ok((md5, meta.stamp))
            }
            Ok(Turn::Failed(error)) => Err(error.into()),
            Err(_) => Err(panicked()),
        };
        flights.settle(job, outcome);
    }
}

impl Drop for HashWorker {
    fn drop(&mut self) {
        let mut table = self.0.lock();
        table.workers -= 1;
        // A job may have come after the last look, when every thread seemed to have a worker.
        self.0.start_workers(table);
    }
}

impl Flight {
    /// Whether another request may join. Call this with the table locked.
    fn admits(&self, fresh: bool) -> bool {
        let comes_too_late = fresh && self.is_begun.load(Ordering::SeqCst);
        !self.is_abandoned() && !comes_too_late
    }

    fn is_abandoned(&self) -> bool {
        self.is_abandoned.load(Ordering::SeqCst)
    }

    /// Sets the outcome. Returns the wakers to call.
    fn end(&self, outcome: Outcome) -> Vec<(u64, WakeFn)> {
        // A flight ends only once, because one thread owns its job.
        let _ = self.outcome.set(outcome);
        mem::take(&mut *locked(&self.wakers))
    }
}

fn wake_all(wakers: Vec<(u64, WakeFn)>) {
    for (_, wake) in wakers {
        wake();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only bookkeeping happens under these locks, and it cannot panic half way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn busy(waited: Duration) -> Refusal {
    let message = format!("hash has been queued for {} s", waited.as_secs());
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

fn abandoned() -> Refusal {
    Refusal::new(ErrorCode::Internal, "hash was abandoned")
}

fn panicked() -> Refusal {
    Refusal::new(ErrorCode::Internal, "hash failed")
}

const RETRY_AFTER_BUSY_MS: u64 = 5_000;
const RETRY_AFTER_SHUT_DOWN_MS: u64 = 1_000;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver};
    use std::thread;

    use super::*;
    use crate::digest::Md5Stream;
    use crate::store::{Catalog, Hold, MemoryFile, MemoryIndex, MemoryStore, Store};
    use crate::wire::ResourcePath;

    const MIB: usize = 1024 * 1024;

    /// A memory store with a catalog, and the present time.
    struct FlightFixture {
        store: MemoryStore,
        catalog: Catalog<MemoryStore>,
        flights: Arc<Flights>,
        now: Instant,
    }

    /// A ticket and the channel of its waker.
    struct PendingHash {
        ticket: Ticket,
        woken: Receiver<()>,
        now: Instant,
    }

    impl FlightFixture {
        fn with(threads: usize, change: impl FnOnce(&mut CatalogLimits)) -> FlightFixture {
            let store = MemoryStore::new();
            let index = Arc::new(MemoryIndex::new());
            let pools = Arc::new(Pools::start(threads).unwrap());
            let mut limits = CatalogLimits::for_cores(threads);
            change(&mut limits);
            let catalog = Catalog::new(store.clone(), index, pools, limits);
            let flights = Arc::clone(&catalog.flights);
            FlightFixture {
                store,
                catalog,
                flights,
                now: Instant::now(),
            }
        }

        fn new(threads: usize) -> FlightFixture {
            FlightFixture::with(threads, |_| {})
        }

        fn long_file(&self, name: &str) -> MemoryFile {
            self.store.insert(name, bytes(1, 3 * MIB)).unwrap()
        }

        /// A long file and a hold on reads at its middle.
        fn held_file(&self, name: &str) -> (MemoryFile, Hold) {
            let file = self.long_file(name);
            let hold = file.hold_reads_at(MIB as u64);
            (file, hold)
        }

        fn look(&self, name: &str) -> (Arc<MemoryFile>, ObjectMeta) {
            let path = ResourcePath::parse(name.as_bytes()).unwrap();
            let (file, meta) = self.store.open(&path).unwrap();
            (Arc::new(file), meta)
        }

        fn request_as(&self, name: &str, address: u128, fresh: bool) -> PendingHash {
            let (file, meta) = self.look(name);
            let (wake, woken) = mpsc::channel();
            let wake: WakeFn = Arc::new(move || wake.send(()).unwrap_or_default());
            let request = DigestRequest {
                address,
                fresh,
                is_for_sending: true,
                asked_at: self.now,
                wake,
            };
            PendingHash {
                ticket: self.catalog.digest(file, &meta, request),
                woken,
                now: self.now,
            }
        }

        fn request(&self, name: &str) -> PendingHash {
            self.request_as(name, 1, false)
        }

        fn known(&self, name: &str) -> Option<Md5Digest> {
            self.catalog.known(&self.look(name).1, false)
        }

        /// Waits until no flight, place or worker is left.
        fn becomes_idle(&self) {
            let limit = Instant::now() + Duration::from_secs(60);
            loop {
                let table = self.flights.lock();
                let jobs = table.newest.len() + table.queue.len() + table.turns.len();
                let held = table.places.len() + table.places_taken + table.workers;
                if jobs + held == 0 {
                    return;
                }
                assert!(
                    Instant::now() < limit,
                    "{jobs} jobs, {held} places and hands left over"
                );
                drop(table);
                thread::yield_now();
            }
        }
    }

    impl PendingHash {
        /// Waits for the waker and returns the outcome.
        fn outcome(&self) -> Result<(Md5Digest, Stamp), ErrorCode> {
            self.woken
                .recv_timeout(Duration::from_secs(60))
                .expect("no wake came");
            match self.ticket.state(self.now) {
                DigestState::Ready(md5, stamp) => Ok((md5, stamp)),
                DigestState::Failed(refusal) => Err(refusal.code),
                DigestState::Waiting { done } => panic!("woken at {done} bytes"),
            }
        }

        fn state_after(&self, waited: Duration) -> DigestState {
            self.ticket.state(self.now + waited)
        }
    }

    fn bytes(seed: u8, length: usize) -> Vec<u8> {
        (0..length)
            .map(|at| (at as u8).wrapping_mul(31) ^ (at >> 8) as u8 ^ seed)
            .collect()
    }

    #[test]
    fn many_requests_share_one_hash() {
        let place = FlightFixture::new(2);
        let (file, hold) = place.held_file("f");
        let requests: Vec<_> = (0..50)
            .map(|address| place.request_as("f", address, false))
            .collect();
        assert!(hold.wait_until_reached());
        file.set_mode(0o600);
        let late = place.request("f");
        assert_eq!(
            late.state_after(Duration::ZERO),
            DigestState::Waiting { done: MIB as u64 }
        );
        hold.release();
        for asked in requests.iter().chain([&late]) {
            let (md5, stamp) = asked.outcome().unwrap();
            assert_eq!(md5, Md5Stream::digest(&bytes(1, 3 * MIB)));
            assert!(stamp.same_content(&place.look("f").1.stamp));
            assert!(asked.woken.try_recv().is_err(), "woken twice");
        }
        assert_eq!(file.bytes_read(), 3 * MIB as u64);
        place.becomes_idle();
    }

    #[test]
    fn hashes_every_size_at_the_edges_of_steps_and_turns() {
        let place = FlightFixture::new(2);
        for size in [
            0,
            1,
            63,
            64,
            STEP_BYTES - 1,
            STEP_BYTES,
            STEP_BYTES + 1,
            MIB,
            MIB + 1,
        ]
        .into_iter()
        .chain([4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 9 * MIB])
        {
            place.store.insert("f", bytes(7, size)).unwrap();
            let (md5, stamp) = place.request("f").outcome().unwrap();
            assert_eq!(md5, Md5Stream::digest(&bytes(7, size)), "{size} bytes");
            assert_eq!(stamp.size, size as u64);
        }
    }

    #[test]
    fn fresh_requests_join_only_hashes_that_have_not_begun() {
        let place = FlightFixture::new(1);
        let (file, hold) = place.held_file("f");
        let first = place.request("f");
        assert!(hold.wait_until_reached());
        // The only thread is held, so this one cannot begin and the next may join it.
        let second = place.request_as("f", 2, true);
        let third = place.request_as("f", 3, true);
        let plain = place.request("f");
        hold.release();
        for asked in [&first, &second, &third, &plain] {
            assert!(asked.outcome().is_ok());
        }
        assert_eq!(file.bytes_read(), 2 * 3 * MIB as u64);
        place.becomes_idle();
    }

    #[test]
    fn a_hash_without_requests_stops_within_a_mib() {
        let place = FlightFixture::new(1);
        let file = place.store.insert("f", bytes(1, 16 * MIB)).unwrap();
        let hold = file.hold_reads_at(MIB as u64);
        let (first, second) = (place.request("f"), place.request("f"));
        assert!(hold.wait_until_reached());
        drop(first);
        drop(second);
        hold.release();
        place.becomes_idle();
        assert!(
            file.bytes_read() <= 2 * MIB as u64,
            "{} bytes were read",
            file.bytes_read()
        );
        assert!(
            place.request("f").outcome().is_ok(),
            "and may be asked for again"
        );
    }

    #[test]
    fn a_hash_continues_for_its_last_request() {
        let place = FlightFixture::new(1);
        let (_, hold) = place.held_file("f");
        let (first, second) = (place.request("f"), place.request("f"));
        assert!(hold.wait_until_reached());
        drop(first);
        hold.release();
        assert!(second.outcome().is_ok());
    }

    #[test]
    fn an_address_has_two_places_and_does_not_block_others() {
        let place = FlightFixture::new(4);
        let (_, hold_a) = place.held_file("a");
        let (_, hold_b) = place.held_file("b");
        let (file_c, hold_c) = place.held_file("c");
        let (_, hold_d) = place.held_file("d");
        let of_one = ["a", "b", "c"].map(|name| place.request_as(name, 1, false));
        let of_another = place.request_as("d", 2, false);
        assert!(hold_a.wait_until_reached());
        assert!(hold_b.wait_until_reached());
        // This request came after "c", which waits for a place of its address.
        assert!(hold_d.wait_until_reached());
        assert_eq!(file_c.bytes_read(), 0);
        assert_eq!(
            of_one[2].state_after(Duration::ZERO),
            DigestState::Waiting { done: 0 }
        );
        hold_a.release();
        assert!(hold_c.wait_until_reached());
        drop((hold_b, hold_c, hold_d));
        for asked in of_one.iter().chain([&of_another]) {
            assert!(asked.outcome().is_ok());
        }
        place.becomes_idle();
    }

    #[test]
    fn places_go_in_order_of_requests_and_not_to_short_files() {
        let place = FlightFixture::with(2, |limits| limits.hashes_max = 1);
        let (_, hold_a) = place.held_file("a");
        let first = place.request_as("a", 1, false);
        assert!(hold_a.wait_until_reached());
        let (file_b, hold_b) = place.held_file("b");
        let (file_c, hold_c) = place.held_file("c");
        let second = place.request_as("b", 2, false);
        let third = place.request_as("c", 3, false);

        // A file at the limit is short; with one more byte it is long.
        place.store.insert("short", bytes(2, MIB)).unwrap();
        let longer = place.store.insert("longer", bytes(2, MIB + 1)).unwrap();
        let queued = place.request_as("longer", 4, false);
        assert!(place.request_as("short", 4, false).outcome().is_ok());
        assert_eq!(
            longer.bytes_read() + file_b.bytes_read() + file_c.bytes_read(),
            0
        );

        hold_a.release();
        assert!(first.outcome().is_ok());
        assert!(hold_b.wait_until_reached());
        assert_eq!(file_c.bytes_read(), 0);
        hold_b.release();
        assert!(second.outcome().is_ok());
        assert!(hold_c.wait_until_reached());
        hold_c.release();
        assert!(third.outcome().is_ok());
        assert!(queued.outcome().is_ok());
        place.becomes_idle();
    }

    #[test]
    fn a_medium_file_does_not_wait_for_the_end_of_huge_ones() {
        let place = FlightFixture::with(2, |limits| {
            limits.hashes_max = 1;
            limits.hash_turns_in_place_max = 2;
        });
        let huge = |name| {
            let file = place.store.insert(name, bytes(1, 32 * MIB)).unwrap();
            let hold = file.hold_reads_at(MIB as u64);
            (file, hold)
        };
        let ((first, hold_first), (second, hold_second)) = (huge("first"), huge("second"));
        let of_first = place.request_as("first", 1, false);
        assert!(hold_first.wait_until_reached());
        let of_second = place.request_as("second", 2, false);
        place.long_file("medium");
        let medium = place.request_as("medium", 3, false);
        // Each of the huge files would have to pass this before its end.
        let (end_first, end_second) = (
            first.hold_reads_at(20 * MIB as u64),
            second.hold_reads_at(20 * MIB as u64),
        );
        drop((hold_first, hold_second));
        assert!(medium.outcome().is_ok());
        let waiting = of_first.state_after(Duration::from_secs(3_600));
        assert!(
            matches!(waiting, DigestState::Waiting { done } if done > 0),
            "begun, and queued again: {waiting:?}"
        );
        drop((end_first, end_second));
        assert!(of_first.outcome().is_ok());
        assert!(of_second.outcome().is_ok());
        assert_eq!(first.bytes_read(), 32 * MIB as u64);
        place.becomes_idle();
    }

    #[test]
    fn many_requests_from_one_address_delay_no_other() {
        let place = FlightFixture::with(1, |limits| limits.hashes_max = 1);
        let (_, hold) = place.held_file("held");
        let held = place.request_as("held", 1, false);
        assert!(hold.wait_until_reached());
        let crowd: Vec<_> = (0..50)
            .map(|at| {
                let name = format!("crowd {at}");
                let file = place.long_file(&name);
                (file, place.request_as(&name, 1, false))
            })
            .collect();
        place.long_file("honest");
        let honest = place.request_as("honest", 2, false);
        // All but the first two of the many requests stop here.
        let holds: Vec<_> = crowd[2..]
            .iter()
            .map(|(file, _)| file.hold_reads_at(0))
            .collect();
        drop(hold);
        assert!(honest.outcome().is_ok());
        drop(holds);
        assert!(held.outcome().is_ok());
        for (_, asked) in &crowd {
            assert!(asked.outcome().is_ok());
        }
        place.becomes_idle();
    }

    #[test]
    fn a_short_file_does_not_wait_for_the_end_of_a_long_one() {
        let place = FlightFixture::new(1);
        let long = place.store.insert("long", bytes(1, 32 * MIB)).unwrap();
        let hold = long.hold_reads_at(MIB as u64);
        let asked = place.request("long");
        assert!(hold.wait_until_reached());
        place.store.insert("short", "short").unwrap();
        let short = place.request("short");
        // The next hold is after the end of the long file's turn, and the only thread waits there.
        let hold_again = long.hold_reads_at(5 * MIB as u64);
        hold.release();
        assert!(short.outcome().is_ok());
        hold_again.release();
        assert!(asked.outcome().is_ok());
    }

    #[test]
    fn only_a_hash_queued_for_too_long_is_busy() {
        let place = FlightFixture::with(2, |limits| limits.hashes_max = 1);
        let (_, hold) = place.held_file("a");
        let running = place.request("a");
        assert!(hold.wait_until_reached());
        let file_b = place.long_file("b");
        let waiting = place.request("b");

        let almost = Duration::from_millis(59_999);
        assert_eq!(
            waiting.state_after(almost),
            DigestState::Waiting { done: 0 }
        );
        let DigestState::Failed(refusal) = waiting.state_after(Duration::from_secs(60)) else {
            panic!("still waiting");
        };
        assert_eq!(refusal.code, ErrorCode::Busy);
        assert!(refusal.retry_after_ms.is_some());
        let year = Duration::from_secs(365 * 86_400);
        assert_eq!(
            running.state_after(year),
            DigestState::Waiting { done: MIB as u64 }
        );

        drop(waiting);
        hold.release();
        assert!(running.outcome().is_ok());
        place.becomes_idle();
        assert_eq!(file_b.bytes_read(), 0, "nobody waits for it any more");
    }

    #[test]
    fn a_changed_file_is_hashed_again_up_to_three_times() {
        for changes in 0..=3_u8 {
            let place = FlightFixture::new(1);
            let (file, mut hold) = place.held_file("f");
            let asked = place.request("f");
            let opened = place.look("f").1.stamp;
            for change in 0..changes {
                assert!(hold.wait_until_reached());
                let next = file.hold_reads_at(MIB as u64);
                file.rewrite(bytes(10 + change, 3 * MIB));
                hold.release();
                hold = next;
            }
            hold.release();
            match asked.outcome() {
                Ok((md5, stamp)) if changes < 3 => {
                    let (_, meta) = place.look("f");
                    let seed = if changes == 0 { 1 } else { 9 + changes };
                    assert_eq!(md5, Md5Stream::digest(&bytes(seed, 3 * MIB)));
                    assert_eq!(stamp, meta.stamp);
                    assert_eq!(opened == stamp, changes == 0);
                }
                Err(ErrorCode::Changed) if changes == 3 => {}
                other => panic!("{other:?} after {changes} changes"),
            }
            place.becomes_idle();
        }
    }

    #[test]
    fn a_request_after_a_change_joins_the_restarted_hash() {
        let place = FlightFixture::new(1);
        let (file, hold) = place.held_file("f");
        let first = place.request("f");
        assert!(hold.wait_until_reached());
        let again = file.hold_reads_at(MIB as u64 / 2);
        file.rewrite(bytes(2, 2 * MIB + 1));
        hold.release();
        assert!(again.wait_until_reached());
        let second = place.request("f");
        again.release();
        assert_eq!(first.outcome(), second.outcome());
        assert_eq!(
            first.ticket.state(place.now),
            second.ticket.state(place.now)
        );
        // 2 MiB and a byte until the file was found shorter, and as much again.
        assert_eq!(file.bytes_read(), 2 * (2 * MIB as u64 + 1));
    }

    #[test]
    fn a_grown_file_has_a_digest_that_is_not_kept() {
        let place = FlightFixture::new(1);
        let (file, hold) = place.held_file("f");
        place.store.advance(Duration::from_secs(60));
        let asked = place.request("f");
        let opened = place.look("f").1.stamp;
        assert!(hold.wait_until_reached());
        file.append(b"more");
        hold.release();
        assert_eq!(
            asked.outcome(),
            Ok((Md5Stream::digest(&bytes(1, 3 * MIB)), opened))
        );
        assert_eq!(place.flights.index.look_up(&opened), None);
        assert_eq!(file.bytes_read(), 3 * MIB as u64);
    }

    #[test]
    fn keeps_a_digest_only_under_a_stamp_that_is_settled_and_untouched() {
        let place = FlightFixture::new(1);
        let md5 = Md5Stream::digest(&bytes(1, 3 * MIB));
        place.long_file("young");
        assert!(place.request("young").outcome().is_ok());
        assert_eq!(place.known("young"), None);

        place.long_file("old");
        let (touched, hold) = place.held_file("touched");
        place.store.advance(Duration::from_secs(60));
        assert!(place.request("old").outcome().is_ok());
        assert_eq!(place.known("old"), Some(md5));

        let asked = place.request("touched");
        assert!(hold.wait_until_reached());
        touched.set_mode(0o600);
        hold.release();
        assert!(asked.outcome().is_ok());
        assert_eq!(place.known("touched"), None);
    }

    #[test]
    fn a_digest_is_fresh_for_ten_seconds() {
        let place = FlightFixture::new(1);
        place.long_file("f");
        place.store.advance(Duration::from_secs(60));
        assert!(place.request("f").outcome().is_ok());
        let fresh = || place.catalog.known(&place.look("f").1, true).is_some();
        assert!(fresh());
        place.store.advance(Duration::from_secs(10));
        assert!(fresh());
        place.store.advance(Duration::from_nanos(1));
        assert!(!fresh());
        assert!(place.known("f").is_some());
    }

    #[test]
    fn two_digests_under_one_stamp_leave_none() {
        let place = FlightFixture::new(1);
        let file = place.long_file("f");
        place.store.advance(Duration::from_secs(60));
        let (first, _) = place.request("f").outcome().unwrap();
        assert_eq!(place.known("f"), Some(first));
        file.rewrite_unnoticed(bytes(2, 3 * MIB));
        assert_eq!(place.known("f"), Some(first), "no stamp says so");
        let (second, _) = place.request_as("f", 1, true).outcome().unwrap();
        assert_eq!(second, Md5Stream::digest(&bytes(2, 3 * MIB)));
        assert_eq!(place.known("f"), None);
        assert!(place.request("f").outcome().is_ok());
        assert_eq!(place.known("f"), Some(second));
    }

    #[test]
    fn reads_that_fail_or_panic_end_their_own_hash_only() {
        let place = FlightFixture::new(1);
        place.long_file("failing").fail_reads_from(MIB as u64);
        place.long_file("panicking").panic_reads_from(MIB as u64);
        place.long_file("good");
        let asked = ["failing", "panicking", "good"].map(|name| place.request(name));
        assert_eq!(asked[0].outcome(), Err(ErrorCode::Internal));
        assert_eq!(asked[1].outcome(), Err(ErrorCode::Internal));
        assert!(asked[2].outcome().is_ok());
        place.becomes_idle();
    }

    #[test]
    fn stopping_ends_running_queued_and_later_hashes() {
        let place = FlightFixture::with(1, |limits| limits.hashes_max = 1);
        let (file, hold) = place.held_file("a");
        place.long_file("b");
        let running = place.request("a");
        assert!(hold.wait_until_reached());
        let waiting = place.request("b");
        place.catalog.stop_hashing();
        assert_eq!(waiting.outcome(), Err(ErrorCode::ShuttingDown));
        let late = place.request("b").ticket.state(place.now);
        assert!(matches!(late, DigestState::Failed(refusal) if refusal.retry_after_ms.is_some()));
        hold.release();
        assert_eq!(running.outcome(), Err(ErrorCode::ShuttingDown));
        assert!(file.bytes_read() <= 2 * MIB as u64);
        place.becomes_idle();
    }

    #[test]
    fn a_waker_that_panics_costs_no_worker() {
        let place = FlightFixture::new(1);
        place.long_file("f");
        let (file, meta) = place.look("f");
        let wake: WakeFn = Arc::new(|| panic!("planted panic"));
        let request = DigestRequest {
            address: 1,
            fresh: false,
            is_for_sending: true,
            asked_at: place.now,
            wake,
        };
        let ticket = place.catalog.digest(file, &meta, request);
        place.becomes_idle();
        assert!(matches!(ticket.state(place.now), DigestState::Ready(..)));
        assert!(place.request("f").outcome().is_ok());
    }

    #[test]
    fn random_requests_and_changes_leave_nothing_behind() {
        let place = FlightFixture::with(3, |limits| limits.hashes_max = 2);
        let names = ["a", "b", "c", "short"];
        let files = names.map(|name| match name {
            "short" => place.store.insert(name, "short").unwrap(),
            _ => place.store.insert(name, bytes(1, MIB + 1)).unwrap(),
        });
        thread::scope(|scope| {
            for who in 0..8_usize {
                let (place, files) = (&place, &files);
                scope.spawn(move || {
                    for round in 0..100 {
                        let pick = (who * 7 + round * 3) % names.len();
                        let asked =
                            place.request_as(names[pick], (who % 3) as u128, round % 5 == 0);
                        match round % 4 {
                            0 => drop(asked),
                            1 if who == 0 => {
                                files[pick].append(b"x");
                                assert_ne!(asked.outcome(), Err(ErrorCode::Internal));
                            }
                            _ => assert_ne!(asked.outcome(), Err(ErrorCode::Internal)),
                        }
                    }
                });
            }
        });
        place.becomes_idle();
    }
}

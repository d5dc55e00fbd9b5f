//! The table of open connections. Each has a slot, whose phase shows what it does now.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use crate::server::control::{Control, Mode, lock};
use crate::server::permits::Permits;
use crate::server::ticks::{NEVER, Ticks};

/// A slot's number and generation. It identifies one connection for ever: the generation changes
/// when a connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    slot: u32,
    generation: u32,
}

/// The slots of all connections, their permits and their deadlines. The size is fixed.
///
/// The phases of a slot are `Queued -> Running -> (Queued | Parked -> Queued | Free)`. A
/// connection is in the work queue exactly while it is `Queued`. No lock is held while it is
/// `Running`.
pub(super) struct Slots<C> {
    slots: Box<[Slot<C>]>,
    permits: Mutex<Permits>,
    control: Arc<Control>,
    pub(super) ticks: Ticks,
    /// No parked connection's deadline is earlier than this tick.
    earliest: AtomicU64,
}

struct Slot<C> {
    state: Mutex<SlotState<C>>,
    /// The tick at which a parked connection must wake; `NEVER` if it is not parked. The parker
    /// scans these numbers when the earliest is due, so no timer entries pile up.
    due: AtomicU64,
    /// The microsecond from which a parked connection may be evicted; `NEVER` if it may not.
    evictable: AtomicU64,
    /// The peer's address key folded to 64 bits, to find an address's connections without a lock.
    address: AtomicU64,
}

struct SlotState<C> {
    generation: u32,
    address_key: u128,
    phase: Phase<C>,
}

enum Phase<C> {
    Free,
    Queued(Box<C>),
    Running { woken: bool },
    Parked(Box<C>),
}

impl<C> Slots<C> {
    pub(super) fn new(
        connections_max: usize,
        per_address_max: usize,
        control: Arc<Control>,
        now: Instant,
    ) -> Slots<C> {
        let count = u32::try_from(connections_max).unwrap_or(u32::MAX);
        Slots {
            slots: (0..count).map(|_| Slot::empty()).collect(),
            permits: Mutex::new(Permits::new(count, per_address_max)),
            control,
            ticks: Ticks::since(now),
            earliest: AtomicU64::new(NEVER),
        }
    }

    /// How many connections may be open at once.
    pub(super) fn count(&self) -> usize {
        self.slots.len()
    }

    /// How many connections are open now.
    pub(super) fn open(&self) -> usize {
        self.slots.len() - lock(&self.permits).free()
    }

    /// Whether a slot is free. If not, the next release notifies the acceptor.
    pub(super) fn has_room(&self) -> bool {
        lock(&self.permits).has_room()
    }

    /// Whether this address may have one more connection.
    pub(super) fn has_room_for(&self, address_key: u128) -> bool {
        lock(&self.permits).has_room_for(address_key)
    }

    /// Queues a new connection in a free slot, or returns it if no slot is free.
    pub(super) fn admit(&self, address_key: u128, connection: Box<C>) -> Result<(), Box<C>> {
        let Some(number) = lock(&self.permits).take(address_key) else {
            return Err(connection);
        };
        let slot = &self.slots[number as usize];
        let mut state = lock(&slot.state);
        slot.address.store(fold(address_key), Ordering::Relaxed);
        state.address_key = address_key;
        state.phase = Phase::Queued(connection);
        let key = Key {
            slot: number,
            generation: state.generation,
        };
        drop(state);
        self.control.queue.push(key);
        Ok(())
    }

    /// Takes a queued connection out to run it. `None` if it was closed meanwhile.
    pub(super) fn take(&self, key: Key) -> Option<Box<C>> {
        let (_, mut state) = self.lock_state(key)?;
        match std::mem::replace(&mut state.phase, Phase::Running { woken: false }) {
            Phase::Queued(connection) => Some(connection),
            other => {
                state.phase = other;
                None
            }
        }
    }

    /// Puts a connection that ran at the end of the queue.
    ///
    /// # Errors
    /// The engine stops, so no worker would take it again. Returns the connection.
    pub(super) fn queue(&self, key: Key, connection: Box<C>) -> Result<(), Box<C>> {
        let Some((_, state)) = self.lock_state(key) else {
            return Err(connection);
        };
        self.queue_in(state, key, connection)
    }

    /// `close_all` may already have visited this slot, so check the mode again under its lock.
    fn queue_in(
        &self,
        mut state: MutexGuard<'_, SlotState<C>>,
        key: Key,
        connection: Box<C>,
    ) -> Result<(), Box<C>> {
        if self.control.mode() == Mode::Stopping {
            return Err(connection);
        }
        state.phase = Phase::Queued(connection);
        drop(state);
        self.control.queue.push(key);
        Ok(())
    }

    /// Parks a connection that ran until it is woken or `until` has come. Queues it instead if it
    /// was woken, or if the mode changed, since it was taken out in mode `seen`.
    ///
    /// # Errors
    /// `arm` failed, which must make the kernel report the socket; or the engine stops. Returns
    /// the connection.
    pub(super) fn park(
        &self,
        key: Key,
        mut connection: Box<C>,
        until: Instant,
        evictable_from: Option<Instant>,
        seen: Mode,
        arm: impl FnOnce(&mut C) -> io::Result<()>,
    ) -> Result<(), Box<C>> {
        let Some((slot, mut state)) = self.lock_state(key) else {
            return Err(connection);
        };
        // Check both under the slot's lock. A waker or a sweep that comes later finds the
        // connection parked; one that came earlier has left its mark.
        if matches!(state.phase, Phase::Running { woken: true }) || self.control.mode() != seen {
            return self.queue_in(state, key, connection);
        }
        // Arm under the lock too, so that the socket cannot be closed and its number reused
        // before.
        if arm(&mut connection).is_err() {
            return Err(connection);
        }
        let due = self.ticks.at_or_after(until);
        slot.due.store(due, Ordering::SeqCst);
        slot.evictable.store(
            evictable_from.map_or(NEVER, |from| self.ticks.exactly(from)),
            Ordering::Relaxed,
        );
        state.phase = Phase::Parked(connection);
        drop(state);
        if due < self.earliest.fetch_min(due, Ordering::SeqCst) {
            self.control.parker_wakeup.notify();
        }
        Ok(())
    }

    /// Queues a parked connection after applying `change`. A running connection will not park.
    pub(super) fn wake(&self, key: Key, change: impl FnOnce(&mut C)) {
        let Some((slot, mut state)) = self.lock_state(key) else {
            return;
        };
        match std::mem::replace(&mut state.phase, Phase::Free) {
            Phase::Parked(mut connection) => {
                change(&mut connection);
                slot.unpark();
                state.phase = Phase::Queued(connection);
                drop(state);
                self.control.queue.push(key);
            }
            Phase::Running { .. } => state.phase = Phase::Running { woken: true },
            other => state.phase = other,
        }
    }

    /// Wakes all parked connections.
    pub(super) fn wake_all(&self) {
        for key in self.keys() {
            self.wake(key, |_| {});
        }
    }

    /// Wakes connections that are due. Returns the next due tick; `NEVER` if none is parked.
    pub(super) fn wake_due(&self, now: Instant) -> u64 {
        let now = self.ticks.at_or_before(now);
        if self.earliest.load(Ordering::SeqCst) > now {
            return self.earliest.load(Ordering::SeqCst);
        }
        // Connections that park from now on lower it again; the scan below sees all earlier ones.
        self.earliest.store(NEVER, Ordering::SeqCst);
        let mut earliest = NEVER;
        for (number, slot) in self.slots.iter().enumerate() {
            let due = slot.due.load(Ordering::SeqCst);
            if due > now {
                earliest = earliest.min(due);
                continue;
            }
            let generation = lock(&slot.state).generation;
            self.wake(
                Key {
                    slot: number as u32,
                    generation,
                },
                |_| {},
            );
        }
        self.earliest
            .fetch_min(earliest, Ordering::SeqCst)
            .min(earliest)
    }

    /// Takes out the connection that has been evictable for longest, of one address or of all.
    /// The caller closes it and then releases the key.
    pub(super) fn evict(&self, now: Instant, address_key: Option<u128>) -> Option<(Key, Box<C>)> {
        let now = self.ticks.exactly(now);
        let address = address_key.map(fold);
        let mut candidates: Vec<(u64, usize)> = Vec::new();
        // A candidate may run or park anew before its slot is locked, so collect several.
        for (number, slot) in self.slots.iter().enumerate() {
            let evictable = slot.evictable.load(Ordering::Relaxed);
            let fits = evictable <= now
                && address.is_none_or(|address| slot.address.load(Ordering::Relaxed) == address);
            if !fits
                || candidates.len() == EVICTION_CANDIDATES_MAX
                    && candidates.last().is_some_and(|last| last.0 <= evictable)
            {
                continue;
            }
            candidates.truncate(EVICTION_CANDIDATES_MAX - 1);
            let place = candidates.partition_point(|candidate| candidate.0 <= evictable);
            candidates.insert(place, (evictable, number));
        }
        candidates.into_iter().find_map(|(evictable, number)| {
            let slot = &self.slots[number];
            let mut state = lock(&slot.state);
            if slot.evictable.load(Ordering::Relaxed) != evictable {
                return None;
            }
            match std::mem::replace(&mut state.phase, Phase::Running { woken: false }) {
                Phase::Parked(connection) => {
                    slot.unpark();
                    Some((
                        Key {
                            slot: number as u32,
                            generation: state.generation,
                        },
                        connection,
                    ))
                }
                other => {
                    state.phase = other;
                    None
                }
            }
        })
    }

    /// Frees the slot of a closed connection.
    pub(super) fn release(&self, key: Key) {
        let Some((slot, mut state)) = self.lock_state(key) else {
            return;
        };
        slot.unpark();
        state.phase = Phase::Free;
        state.generation = state.generation.wrapping_add(1);
        let address_key = state.address_key;
        drop(state);
        let mut permits = lock(&self.permits);
        let starved = permits.release_slot(key.slot, address_key);
        let last = permits.free() == self.slots.len();
        drop(permits);
        if starved {
            self.control.acceptor_wakeup.notify();
        }
        if last {
            self.control.notify_empty();
        }
    }

    /// Calls `close` for every connection that does not run. Workers close those that run.
    pub(super) fn close_all(&self, close: impl Fn(Box<C>)) {
        for key in self.keys() {
            let Some((_, mut state)) = self.lock_state(key) else {
                continue;
            };
            match std::mem::replace(&mut state.phase, Phase::Free) {
                Phase::Queued(connection) | Phase::Parked(connection) => {
                    drop(state);
                    close(connection);
                    self.release(key);
                }
                other => state.phase = other,
            }
        }
    }

    fn keys(&self) -> impl Iterator<Item = Key> {
        self.slots.iter().enumerate().map(|(number, slot)| Key {
            slot: number as u32,
            generation: lock(&slot.state).generation,
        })
    }

    fn lock_state(&self, key: Key) -> Option<(&Slot<C>, MutexGuard<'_, SlotState<C>>)> {
        let slot = self.slots.get(key.slot as usize)?;
        let state = lock(&slot.state);
        (state.generation == key.generation).then_some((slot, state))
    }
}

impl<C> Slot<C> {
    fn empty() -> Slot<C> {
        Slot {
            state: Mutex::new(SlotState {
                generation: 0,
                address_key: 0,
                phase: Phase::Free,
            }),
            due: AtomicU64::new(NEVER),
            evictable: AtomicU64::new(NEVER),
            address: AtomicU64::new(0),
        }
    }

    fn unpark(&self) {
        self.due.store(NEVER, Ordering::SeqCst);
        self.evictable.store(NEVER, Ordering::Relaxed);
    }
}

impl Key {
    /// The key as one number, which epoll returns.
    pub(super) fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    pub(super) fn from_bits(bits: u64) -> Key {
        Key {
            slot: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }
}

/// Folds an address key to 64 bits: exact for IPv4 and unix, practically unique for IPv6.
fn fold(address_key: u128) -> u64 {
    (address_key >> 64) as u64 ^ address_key as u64
}

const EVICTION_CANDIDATES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    use crossbeam_channel::{TryRecvError, bounded};

    use super::*;
    use crate::server::config::Quantum;
    use crate::server::queue::WorkQueue;

    const FAR: Duration = Duration::from_secs(3600);

    fn slots<C>(count: usize, start: Instant) -> Arc<Slots<C>> {
        let quantum = Quantum {
            bytes_max: 1,
            time_max: Duration::ZERO,
        };
        let (control, _) = Control::new(WorkQueue::new(count, 1), quantum).unwrap();
        Arc::new(Slots::new(count, count, Arc::new(control), start))
    }

    impl<C> Slots<C> {
        /// Takes the next connection of the queue, as a worker does.
        fn run_next(&self) -> (Key, Box<C>) {
            let key = self.control.queue.next().expect("the queue is not stopped");
            (
                key,
                self.take(key).expect("queued connections can be taken"),
            )
        }

        fn park_until(
            &self,
            key: Key,
            connection: Box<C>,
            until: Instant,
            evictable: Option<Instant>,
        ) {
            let parked = self.park(key, connection, until, evictable, Mode::Serving, |_| Ok(()));
            assert!(parked.is_ok());
        }

        /// Empties the queue. Returns how many connections were in it.
        fn queued(&self) -> usize {
            std::iter::from_fn(|| {
                (!self.control.queue.is_empty()).then(|| self.control.queue.next())
            })
            .count()
        }
    }

    #[test]
    fn a_running_connection_returns_to_its_worker_on_a_stop() {
        for rests in [true, false] {
            let start = Instant::now();
            let slots = slots(1, start);
            slots.admit(1, Box::new("runs")).unwrap();
            let (key, connection) = slots.run_next();
            slots.control.enter(Mode::Stopping);
            slots.close_all(|_| panic!("its worker has it"));
            let back = match rests {
                true => slots.park(
                    key,
                    connection,
                    start + FAR,
                    None,
                    Mode::Serving,
                    |_| Ok(()),
                ),
                false => slots.queue(key, connection),
            };
            assert_eq!(back, Err(Box::new("runs")));
            assert!(slots.control.queue.is_empty(), "no worker takes it out");
            slots.release(key);
            assert_eq!(slots.open(), 0);
        }
    }

    #[test]
    fn loses_no_wake_that_races_with_parking() {
        let start = Instant::now();
        let slots = slots::<()>(1, start);
        slots.admit(1, Box::new(())).unwrap();
        let (key, connection) = slots.run_next();
        slots.park_until(key, connection, start + FAR, None);

        const ROUNDS: usize = 50_000;
        let (news_sender, news_receiver) = bounded::<()>(1);
        let (seen, seen_receiver) = bounded::<()>(1);
        let worker = thread::spawn({
            let slots = Arc::clone(&slots);
            move || {
                loop {
                    let (key, connection) = slots.run_next();
                    // The waker may come at any moment between this check and the parking.
                    match news_receiver.try_recv() {
                        Ok(()) => seen.send(()).unwrap(),
                        Err(TryRecvError::Empty) => {}
                        Err(TryRecvError::Disconnected) => return,
                    }
                    slots.park_until(key, connection, start + FAR, None);
                }
            }
        });
        // Fewer rounds suffice where two threads share a processor with many others.
        let is_time = |_: &usize| start.elapsed() < Duration::from_secs(10);
        for round in (0..ROUNDS).take_while(is_time) {
            news_sender.send(()).unwrap();
            slots.wake(key, |()| {});
            let seen = seen_receiver.recv_timeout(Duration::from_secs(60));
            assert!(seen.is_ok(), "the wake of round {round} was lost");
        }
        drop(news_sender);
        slots.wake(key, |()| {});
        worker.join().unwrap();
    }

    #[test]
    fn loses_no_deadline_that_races_with_the_parker() {
        let start = Instant::now();
        let slots = slots::<()>(4, start);
        for _ in 0..4 {
            slots.admit(1, Box::new(())).unwrap();
        }
        const TURNS: usize = 100_000;
        let (done, done_receiver) = bounded::<()>(1);
        let turns = Arc::new(AtomicUsize::new(0));
        let worker = thread::spawn({
            let (slots, turns) = (Arc::clone(&slots), Arc::clone(&turns));
            // Fewer rounds suffice where two threads share a processor with many others.
            let enough = start + Duration::from_secs(10);
            move || {
                for turn in 0..TURNS {
                    let (key, connection) = slots.run_next();
                    let until = start + Duration::from_millis(50 * (turn as u64 % 3));
                    slots.park_until(key, connection, until, None);
                    turns.store(turn, Ordering::Relaxed);
                    if Instant::now() > enough {
                        break;
                    }
                }
                done.send(()).unwrap();
            }
        });
        // Wait for what `wake_due` returned, as the parker does.
        let late = start + Duration::from_secs(1);
        let mut progress = (0, Instant::now());
        while done_receiver.try_recv().is_err() {
            let earliest = slots.wake_due(late);
            assert!(earliest == NEVER || earliest <= slots.ticks.at_or_before(late));
            let turn = turns.load(Ordering::Relaxed);
            if turn > progress.0 {
                progress = (turn, Instant::now());
            }
            let limit = Duration::from_secs(60);
            assert!(progress.1.elapsed() < limit, "a deadline was lost");
            thread::yield_now();
        }
        worker.join().unwrap();
    }

    #[test]
    fn a_late_waker_leaves_the_successor_alone() {
        let start = Instant::now();
        let slots = slots::<&str>(1, start);
        slots.admit(1, Box::new("first")).unwrap();
        let (first, connection) = slots.run_next();
        drop(connection);
        slots.release(first);
        slots.admit(1, Box::new("second")).unwrap();
        let (second, connection) = slots.run_next();
        assert_ne!(first, second);
        slots.park_until(second, connection, start + FAR, None);
        slots.wake(first, |_| panic!("woke the successor"));
        assert_eq!(slots.queued(), 0);
        slots.wake(second, |_| {});
        assert_eq!(slots.queued(), 1);
    }

    #[test]
    fn deadlines_are_a_function_of_the_moment_passed_in() {
        let start = Instant::now();
        let slots = slots::<u32>(3, start);
        let at = |ms| start + Duration::from_millis(ms);
        for due in [1000, 2000, 3000] {
            slots.admit(1, Box::new(0)).unwrap();
            let (key, connection) = slots.run_next();
            slots.park_until(key, connection, at(due), None);
        }
        assert_eq!(
            slots.ticks.until(slots.wake_due(at(999)), at(999)),
            Some(Duration::from_millis(1))
        );
        assert_eq!(slots.queued(), 0);
        assert_eq!(
            slots.ticks.until(slots.wake_due(at(2000)), at(2000)),
            Some(Duration::from_secs(1))
        );
        assert_eq!(slots.queued(), 2);
        assert_eq!(slots.wake_due(at(10_000)), NEVER);
        assert_eq!(slots.queued(), 1);
    }

    #[test]
    fn evicts_only_the_connections_that_may_be_longest_first() {
        let start = Instant::now();
        let slots = slots::<&str>(5, start);
        let at = |seconds| start + Duration::from_secs(seconds);
        for (name, address, evictable) in [
            ("young", 1, Some(at(50))),
            ("old", 1, Some(at(10))),
            ("older, of another address", 2, Some(at(5))),
            ("being served", 1, None),
            ("not yet", 1, Some(at(200))),
        ] {
            slots.admit(address, Box::new(name)).unwrap();
            let (key, connection) = slots.run_next();
            slots.park_until(key, connection, start + FAR, evictable);
        }
        let mut evicted = Vec::new();
        while let Some((key, name)) = slots.evict(at(100), (evicted.is_empty()).then_some(1)) {
            evicted.push(*name);
            slots.release(key);
        }
        assert_eq!(evicted, ["old", "older, of another address", "young"]);
        assert_eq!(slots.open(), 2);
    }

    #[test]
    fn one_millisecond_of_idleness_decides_an_eviction() {
        let start = Instant::now();
        let slots = slots::<&str>(2, start);
        let at = |ms| start + Duration::from_millis(ms);
        for (name, evictable) in [("idle for 1 ms", 2), ("idle for 2 ms", 1)] {
            slots.admit(1, Box::new(name)).unwrap();
            let (key, connection) = slots.run_next();
            slots.park_until(key, connection, start + FAR, Some(at(evictable)));
        }
        let (_, evicted) = slots.evict(at(3), None).unwrap();
        assert_eq!(*evicted, "idle for 2 ms");
    }

    #[test]
    fn no_connection_stays_parked_through_a_change_of_mode() {
        let start = Instant::now();
        let slots = slots::<()>(1, start);
        slots.admit(1, Box::new(())).unwrap();
        let (key, connection) = slots.run_next();
        slots.control.enter(Mode::Draining);
        slots.wake_all();
        slots.park_until(key, connection, start + FAR, None);
        assert_eq!(slots.queued(), 1);
    }

    #[test]
    fn a_connection_that_cannot_be_armed_comes_back() {
        let start = Instant::now();
        let slots = slots::<()>(1, start);
        slots.admit(1, Box::new(())).unwrap();
        let (key, connection) = slots.run_next();
        let fails = |_: &mut ()| Err(io::ErrorKind::OutOfMemory.into());
        let parked = slots.park(key, connection, start + FAR, None, Mode::Serving, fails);
        assert!(parked.is_err());
        slots.release(key);
        assert_eq!(slots.open(), 0);
    }
}

//! Every open connection has a slot; what it does at the moment is the state of that slot.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::server::control::{Control, Mode};
use crate::server::ticks::{NEVER, Ticks};

/// A slot's number and its generation: names one connection for ever, since a slot's
/// generation moves on when its connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    slot: u32,
    generation: u32,
}

/// The slots of all connections, the permits to have one, and the deadlines of those that
/// rest. Its size is fixed when it is made.
///
/// A connection's place goes `Queued -> Running -> (Queued | Parked -> Queued | Free)`. It is in the
/// work queue exactly while it is `Queued`, and no lock is held while it is `Running`.
pub(super) struct Slots<C> {
    slots: Box<[Slot<C>]>,
    books: Mutex<Books>,
    per_address_max: usize,
    control: Arc<Control>,
    pub(super) ticks: Ticks,
    /// No parked connection's deadline is before this tick.
    earliest: AtomicU64,
}

struct Slot<C> {
    seat: Mutex<Seat<C>>,
    /// The tick at which a parked connection goes on; `NEVER` if it is not parked. A
    /// table of these, looked through when the earliest is due, needs no timer entries that could pile up.
    due: AtomicU64,
    /// The tick from which on a parked connection may be evicted.
    evictable: AtomicU64,
    /// The peer's address key folded to 64 bits, to find an address's connections without a lock.
    address: AtomicU64,
}

struct Seat<C> {
    generation: u32,
    address_key: u128,
    place: Place<C>,
}

enum Place<C> {
    Free,
    Queued(Box<C>),
    Running { woken: bool },
    Parked(Box<C>),
}

/// Permits: which slots are free, and how many each address has.
struct Books {
    free: Vec<u32>,
    per_address: HashMap<u128, usize>,
    /// The acceptor waits for a slot.
    starved: bool,
}

impl<C> Slots<C> {
    pub(super) fn new(
        connections_max: usize,
        per_address_max: usize,
        control: Arc<Control>,
        now: Instant,
    ) -> Slots<C> {
        let count = u32::try_from(connections_max).unwrap_or(u32::MAX);
        let books = Books {
            free: (0..count).rev().collect(),
            per_address: HashMap::new(),
            starved: false,
        };
        Slots {
            slots: (0..count).map(|_| Slot::empty()).collect(),
            books: Mutex::new(books),
            per_address_max,
            control,
            ticks: Ticks::since(now),
            earliest: AtomicU64::new(NEVER),
        }
    }

    /// Connections open now.
    pub(super) fn open(&self) -> usize {
        self.slots.len() - lock(&self.books).free.len()
    }

    /// Whether a slot is free. If none is, the acceptor's bell rings when one becomes so.
    pub(super) fn has_room(&self) -> bool {
        let mut books = lock(&self.books);
        books.starved = books.free.is_empty();
        !books.starved
    }

    /// Whether this address may have one more connection.
    pub(super) fn has_room_for(&self, address_key: u128) -> bool {
        lock(&self.books)
            .per_address
            .get(&address_key)
            .is_none_or(|&count| count < self.per_address_max)
    }

    /// Seats a new connection and queues it; gives it back if there is no room.
    pub(super) fn admit(&self, address_key: u128, connection: Box<C>) -> Result<(), Box<C>> {
        let number = {
            let mut books = lock(&self.books);
            let Some(number) = books.free.pop() else {
                return Err(connection);
            };
            *books.per_address.entry(address_key).or_default() += 1;
            number
        };
        let slot = &self.slots[number as usize];
        let mut seat = lock(&slot.seat);
        slot.address.store(fold(address_key), Ordering::Relaxed);
        seat.address_key = address_key;
        seat.place = Place::Queued(connection);
        let key = Key {
            slot: number,
            generation: seat.generation,
        };
        drop(seat);
        self.control.queue.push(key);
        Ok(())
    }

    /// Takes a queued connection out, to run it. `None` if it was stopped meanwhile.
    pub(super) fn take(&self, key: Key) -> Option<Box<C>> {
        let (_, mut seat) = self.seat(key)?;
        match std::mem::replace(&mut seat.place, Place::Running { woken: false }) {
            Place::Queued(connection) => Some(connection),
            other => {
                seat.place = other;
                None
            }
        }
    }

    /// Puts a connection that ran to the back of the queue.
    pub(super) fn queue(&self, key: Key, connection: Box<C>) {
        if let Some((_, mut seat)) = self.seat(key) {
            seat.place = Place::Queued(connection);
            drop(seat);
            self.control.queue.push(key);
        }
    }

    /// Lets a connection that ran rest until it is woken or `until` has come. It does not
    /// rest if it was woken, or the mode changed, since it was taken out in mode `seen`.
    ///
    /// # Errors
    /// `arm` failed, which has to make the kernel wake it; the connection comes back.
    pub(super) fn park(
        &self,
        key: Key,
        connection: Box<C>,
        until: Instant,
        evictable_from: Option<Instant>,
        seen: Mode,
        arm: impl FnOnce(&C) -> io::Result<()>,
    ) -> Result<(), Box<C>> {
        let Some((slot, mut seat)) = self.seat(key) else {
            return Err(connection);
        };
        // Both are looked at under the seat's lock: a waker or a sweep that comes after it finds
        // the connection parked, one that came before has left its mark.
        if matches!(seat.place, Place::Running { woken: true }) || self.control.mode() != seen {
            seat.place = Place::Queued(connection);
            drop(seat);
            self.control.queue.push(key);
            return Ok(());
        }
        // Armed under the lock too: the socket cannot be closed, and its number reused, before.
        if arm(&connection).is_err() {
            return Err(connection);
        }
        let due = self.ticks.at_or_after(until);
        slot.due.store(due, Ordering::SeqCst);
        slot.evictable.store(
            evictable_from.map_or(NEVER, |from| self.ticks.at_or_after(from)),
            Ordering::Relaxed,
        );
        seat.place = Place::Parked(connection);
        drop(seat);
        if due < self.earliest.fetch_min(due, Ordering::SeqCst) {
            self.control.parker_bell.ring();
        }
        Ok(())
    }

    /// Queues a parked connection; lets one that runs not rest. `change` is made to a parked
    /// one.
    pub(super) fn wake(&self, key: Key, change: impl FnOnce(&mut C)) {
        let Some((slot, mut seat)) = self.seat(key) else {
            return;
        };
        match std::mem::replace(&mut seat.place, Place::Free) {
            Place::Parked(mut connection) => {
                change(&mut connection);
                slot.unpark();
                seat.place = Place::Queued(connection);
                drop(seat);
                self.control.queue.push(key);
            }
            Place::Running { .. } => seat.place = Place::Running { woken: true },
            other => seat.place = other,
        }
    }

    /// Wakes every parked connection.
    pub(super) fn wake_all(&self) {
        for key in self.keys() {
            self.wake(key, |_| {});
        }
    }

    /// Wakes those whose time has come and says when to look again; `NEVER` if nobody rests.
    pub(super) fn wake_due(&self, now: Instant) -> u64 {
        let now = self.ticks.at_or_before(now);
        if self.earliest.load(Ordering::SeqCst) > now {
            return self.earliest.load(Ordering::SeqCst);
        }
        // Whoever parks from here on lowers it again; whoever parked before is seen below.
        self.earliest.store(NEVER, Ordering::SeqCst);
        let mut earliest = NEVER;
        for (number, slot) in self.slots.iter().enumerate() {
            let due = slot.due.load(Ordering::SeqCst);
            if due > now {
                earliest = earliest.min(due);
                continue;
            }
            let generation = lock(&slot.seat).generation;
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

    /// Takes out the connection that could be evicted for longest, of one address or of
    /// all. The caller closes it and then releases the key.
    pub(super) fn evict(&self, now: Instant, address_key: Option<u128>) -> Option<(Key, Box<C>)> {
        let now = self.ticks.at_or_before(now);
        let address = address_key.map(fold);
        let mut candidates: Vec<(u64, usize)> = Vec::new();
        // A candidate may run, or rest anew, before its seat is locked: so several.
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
            let mut seat = lock(&slot.seat);
            if slot.evictable.load(Ordering::Relaxed) != evictable {
                return None;
            }
            match std::mem::replace(&mut seat.place, Place::Running { woken: false }) {
                Place::Parked(connection) => {
                    slot.unpark();
                    Some((
                        Key {
                            slot: number as u32,
                            generation: seat.generation,
                        },
                        connection,
                    ))
                }
                other => {
                    seat.place = other;
                    None
                }
            }
        })
    }

    /// Frees the slot of a connection that was taken out and is closed.
    pub(super) fn release(&self, key: Key) {
        let Some((slot, mut seat)) = self.seat(key) else {
            return;
        };
        slot.unpark();
        seat.place = Place::Free;
        seat.generation = seat.generation.wrapping_add(1);
        let address_key = seat.address_key;
        drop(seat);
        let mut books = lock(&self.books);
        books.free.push(key.slot);
        if let Some(count) = books.per_address.get_mut(&address_key) {
            *count -= 1;
            if *count == 0 {
                books.per_address.remove(&address_key);
            }
        }
        let starved = std::mem::take(&mut books.starved);
        let last = books.free.len() == self.slots.len();
        drop(books);
        if starved {
            self.control.acceptor_bell.ring();
        }
        if last {
            self.control.say_empty();
        }
    }

    /// Closes every connection that does not run; those that run are closed by their workers.
    pub(super) fn close_all(&self) {
        for key in self.keys() {
            let Some((_, mut seat)) = self.seat(key) else {
                continue;
            };
            match std::mem::replace(&mut seat.place, Place::Free) {
                Place::Queued(connection) | Place::Parked(connection) => {
                    drop(seat);
                    drop(connection);
                    self.release(key);
                }
                other => seat.place = other,
            }
        }
    }

    fn keys(&self) -> impl Iterator<Item = Key> {
        self.slots.iter().enumerate().map(|(number, slot)| Key {
            slot: number as u32,
            generation: lock(&slot.seat).generation,
        })
    }

    fn seat(&self, key: Key) -> Option<(&Slot<C>, MutexGuard<'_, Seat<C>>)> {
        let slot = self.slots.get(key.slot as usize)?;
        let seat = lock(&slot.seat);
        (seat.generation == key.generation).then_some((slot, seat))
    }
}

impl<C> Slot<C> {
    fn empty() -> Slot<C> {
        Slot {
            seat: Mutex::new(Seat {
                generation: 0,
                address_key: 0,
                place: Place::Free,
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
    /// As one number, for the kernel to hand back.
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

/// An address key as 64 bits: exact for IPv4 and unix, and for IPv6 as good as exact.
fn fold(address_key: u128) -> u64 {
    (address_key >> 64) as u64 ^ address_key as u64
}

/// Locks even after a panic elsewhere: no code here leaves a half-made change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const EVICTION_CANDIDATES_MAX: usize = 8;

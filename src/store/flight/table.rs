//! The table of flights: the queue, the places and the turns.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::Flight;
use crate::store::hash::Hashing;
use crate::store::{CatalogLimits, Stamp};
use crate::wire::Timestamp;

/// Never has more entries than tickets, and the number of connections limits those.
#[derive(Default)]
pub(super) struct FlightTable {
    /// The newest flight of each content, which requests may join.
    pub(super) newest: HashMap<Content, Arc<Flight>>,
    /// Jobs that wait for a place, ordered by round.
    pub(super) queue: VecDeque<Job>,
    /// The latest round of a job that got its place.
    round: u64,
    /// Jobs that wait for their next turn.
    pub(super) turns: VecDeque<Job>,
    /// The number of places taken by each address; no zeros.
    pub(super) places: HashMap<u128, usize>,
    pub(super) places_taken: usize,
    /// Workers that take turns now, at most one for each thread of the pool.
    pub(super) workers: usize,
    /// Tickets issued since the start.
    pub(super) tickets: u64,
}

impl FlightTable {
    /// Adds a job to the queue. For each job of its own address in the queue, it stays behind one
    /// job of every other address. So many requests from one address delay only that address.
    pub(super) fn enqueue(&mut self, mut job: Job) {
        let of_address = |other: &&Job| other.place == job.place;
        let last = self.queue.iter().rev().find(of_address);
        job.round = last.map_or(self.round, |last| self.round.max(last.round + 1));
        let at = self.queue.partition_point(|other| other.round <= job.round);
        self.queue.insert(at, job);
    }

    /// Returns a job that has more to do. It waits for its next turn. If it had its place for long
    /// enough and others wait for one, it goes back into the queue.
    pub(super) fn return_job(&mut self, mut job: Job, limits: &CatalogLimits) {
        job.turns_in_place += 1;
        let is_due = job.turns_in_place >= limits.hash_turns_in_place_max;
        if job.place.is_none() || !is_due || self.queue.is_empty() {
            return self.turns.push_back(job);
        }
        self.release_place(job.place);
        self.enqueue(job);
        self.start_next(limits);
    }

    /// Gives free places to the first jobs in the queue whose address may have one more.
    pub(super) fn start_next(&mut self, limits: &CatalogLimits) {
        let mut at = 0;
        while self.places_taken < limits.hashes_max.max(1) && at < self.queue.len() {
            let address = self.queue[at].place.unwrap_or_default();
            let taken = self.places.get(&address).copied().unwrap_or_default();
            if taken >= limits.hashes_per_address_max.max(1) {
                at += 1;
                continue;
            }
            self.places.insert(address, taken + 1);
            self.places_taken += 1;
            let Some(mut job) = self.queue.remove(at) else {
                return;
            };
            self.round = self.round.max(job.round);
            job.turns_in_place = 0;
            self.turns.push_back(job);
        }
    }

    pub(super) fn release_place(&mut self, place: Option<u128>) {
        let Some(address) = place else { return };
        self.places_taken -= 1;
        if let Entry::Occupied(mut taken) = self.places.entry(address) {
            *taken.get_mut() -= 1;
            if *taken.get() == 0 {
                taken.remove();
            }
        }
    }

    /// Stops new requests from joining this job's flight.
    pub(super) fn close(&mut self, job: &Job) {
        self.close_as(Content::of(&job.hash.meta().stamp), &job.flight);
    }

    fn close_as(&mut self, content: Content, flight: &Arc<Flight>) {
        if self
            .newest
            .get(&content)
            .is_some_and(|newest| Arc::ptr_eq(newest, flight))
        {
            self.newest.remove(&content);
        }
    }

    /// Notes that the file has other content, under which requests may join from now on.
    pub(super) fn restart(&mut self, before: Content, job: Job) {
        self.close_as(before, &job.flight);
        let now = Content::of(&job.hash.meta().stamp);
        self.newest
            .entry(now)
            .or_insert_with(|| Arc::clone(&job.flight));
        self.turns.push_back(job);
    }
}

/// A flight and its hash, waiting for a turn or in the queue.
pub(super) struct Job {
    pub(super) flight: Arc<Flight>,
    pub(super) hash: Hashing,
    /// The address that the place of a long file counts for; a short file needs no place.
    pub(super) place: Option<u128>,
    /// The round in the queue; lower ones are first.
    round: u64,
    turns_in_place: u32,
}

impl Job {
    /// A job that has had no turn yet.
    pub(super) fn new(flight: Arc<Flight>, hash: Hashing, place: Option<u128>) -> Job {
        Job {
            flight,
            hash,
            place,
            round: 0,
            turns_in_place: 0,
        }
    }
}

/// The identity of a file's content: a [`Stamp`] without ctime.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Content {
    device: u64,
    inode: u64,
    size: u64,
    mtime: Timestamp,
}

impl Content {
    pub(super) fn of(stamp: &Stamp) -> Content {
        let Stamp {
            device,
            inode,
            identity: _,
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

//! Which flights there are, who stands in line, and whose turn is next.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::Flight;
use crate::store::hash::Hashing;
use crate::store::{CatalogLimits, Stamp};
use crate::wire::Timestamp;

/// Never longer than there are tickets, and those are bounded by the connections.
#[derive(Default)]
pub(super) struct Table {
    /// The newest flight of each content, to be joined.
    pub(super) newest: HashMap<Content, Arc<Flight>>,
    /// Jobs without the place they need, by round.
    pub(super) line: VecDeque<Job>,
    /// The latest round of which a job got its place.
    round: u64,
    /// Jobs that wait for their next turn.
    pub(super) turns: VecDeque<Job>,
    /// Places taken, by address; no zeros.
    pub(super) places: HashMap<u128, usize>,
    pub(super) places_taken: usize,
    /// Pool jobs that take turns now, at most one per thread.
    pub(super) hands: usize,
    /// Tickets given out since the start.
    pub(super) tickets: u64,
}

impl Table {
    /// Puts a job into the line: behind one job of each other address for every job that its
    /// own address has there already. So a crowd from one address lengthens nobody's wait but
    /// its own.
    pub(super) fn line_up(&mut self, mut job: Job) {
        let of_address = |other: &&Job| other.place == job.place;
        let last = self.line.iter().rev().find(of_address);
        job.round = last.map_or(self.round, |last| self.round.max(last.round + 1));
        let at = self.line.partition_point(|other| other.round <= job.round);
        self.line.insert(at, job);
    }

    /// Puts a job back that has more to do: to where jobs wait for their next turn, or, once
    /// it had its place for long enough and others wait for one, into the line again.
    pub(super) fn put_back(&mut self, mut job: Job, limits: &CatalogLimits) {
        job.turns_in_place += 1;
        let is_due = job.turns_in_place >= limits.hash_turns_in_place_max;
        if job.place.is_none() || !is_due || self.line.is_empty() {
            return self.turns.push_back(job);
        }
        self.give_back(job.place);
        self.line_up(job);
        self.move_up(limits);
    }

    /// Gives the places that are free to the first in line whose address may have one more.
    pub(super) fn move_up(&mut self, limits: &CatalogLimits) {
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
            let Some(mut job) = self.line.remove(at) else {
                return;
            };
            self.round = self.round.max(job.round);
            job.turns_in_place = 0;
            self.turns.push_back(job);
        }
    }

    pub(super) fn give_back(&mut self, place: Option<u128>) {
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
    pub(super) fn forget(&mut self, job: &Job) {
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
    pub(super) fn begin_anew(&mut self, before: Content, job: Job) {
        self.forget_as(before, &job.flight);
        let now = Content::of(&job.hash.meta().stamp);
        self.newest
            .entry(now)
            .or_insert_with(|| Arc::clone(&job.flight));
        self.turns.push_back(job);
    }
}

/// A flight and its hash, between two turns or in line.
pub(super) struct Job {
    pub(super) flight: Arc<Flight>,
    pub(super) hash: Hashing,
    /// The address whose place a long file needs; a short one needs none.
    pub(super) place: Option<u128>,
    /// When it is due, in line: lower first.
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

/// What makes two files the same to those who ask for a digest: a [`Stamp`] but for ctime.
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

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
    /// Jobs without the place they need.
    pub(super) line: VecDeque<Job>,
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
            self.turns.extend(self.line.remove(at));
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

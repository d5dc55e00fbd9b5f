//! One server of a batch: what it is to be asked, and how it fared.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Instant;

use crate::client::ClientError;
use crate::client::batch::allowance::Allowance;
use crate::client::batch::jobs::JobId;
use crate::client::batch::lane::LaneId;
use crate::net::Address;

/// A server that something is wanted from.
pub(super) struct Server {
    pub(super) address: Address,
    /// To be asked, in the order in which it was wanted.
    quick: VecDeque<(JobId, u64)>,
    /// To be asked before that, the largest first.
    large: BinaryHeap<(u64, Reverse<usize>, JobId)>,
    /// Bytes of all that is to be asked.
    ready_bytes: u64,
    /// It was reached.
    pub(super) is_reached: bool,
    /// How many connections it is to have.
    pub(super) allowance: Allowance,
    /// Connections that failed in a row, without progress in between.
    pub(super) failures: u32,
    /// Connections up to this one were opened before the last of those failures.
    pub(super) failed_with: LaneId,
    /// Answers that are not what the protocol allows, without progress in between.
    pub(super) violations: u32,
    pub(super) has_progress: bool,
    /// No new connection before this.
    pub(super) not_before: Option<Instant>,
    /// It is not asked any more, for this reason.
    pub(super) given_up: Option<ClientError>,
}

impl Server {
    pub(super) fn new(address: Address, is_reached: bool, allowance: Allowance) -> Server {
        Server {
            address,
            quick: VecDeque::new(),
            large: BinaryHeap::new(),
            ready_bytes: 0,
            is_reached,
            violations: 0,
            allowance,
            failures: 0,
            failed_with: 0,
            has_progress: false,
            not_before: None,
            given_up: None,
        }
    }

    /// A job is to be asked. `index`: its place among all; `bytes`: what is expected.
    pub(super) fn add(&mut self, id: JobId, index: usize, bytes: u64) {
        self.ready_bytes += bytes;
        if bytes >= LARGE_BYTES_MIN {
            self.large.push((bytes, Reverse(index), id));
        } else {
            self.quick.push_back((id, bytes));
        }
    }

    /// The same, behind all others: it may be at fault for what failed.
    pub(super) fn add_last(&mut self, id: JobId, bytes: u64) {
        self.ready_bytes += bytes;
        self.quick.push_back((id, bytes));
    }

    /// What is to be asked next, and what is expected of it.
    pub(super) fn next(&mut self) -> Option<(JobId, u64)> {
        let next = self
            .large
            .pop()
            .map(|(bytes, _, id)| (id, bytes))
            .or_else(|| self.quick.pop_front());
        if let Some((_, bytes)) = next {
            self.ready_bytes -= bytes;
        }
        next
    }

    /// Nothing that was to be asked is to be asked any more.
    pub(super) fn forget_all(&mut self) {
        self.quick.clear();
        self.large.clear();
        self.ready_bytes = 0;
    }

    /// Nothing is to be asked.
    pub(super) fn is_idle(&self) -> bool {
        self.quick.is_empty() && self.large.is_empty()
    }

    /// Whether a connection more is of use, besides `open` ones that have no room, of `all` that
    /// there are. `for_blocks`: for those of large files it is.
    pub(super) fn wants_lane(
        &self,
        (open, all): (usize, usize),
        for_blocks: bool,
        now: Instant,
    ) -> bool {
        let is_worth_it = open == 0
            || for_blocks
            || self.quick.len() + self.large.len() >= MORE_LANES_FILES_MIN
            || self.ready_bytes >= MORE_LANES_BYTES_MIN;
        (for_blocks || !self.is_idle())
            && is_worth_it
            && self.allowance.admits(all, open, now)
            && self.not_before.is_none_or(|moment| moment <= now)
    }
}

/// From here on a file is asked for before those that are smaller.
const LARGE_BYTES_MIN: u64 = 1024 * 1024;
/// A connection more must have something to do.
const MORE_LANES_FILES_MIN: usize = 64;
const MORE_LANES_BYTES_MIN: u64 = 16 * 1024 * 1024;

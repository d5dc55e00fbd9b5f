//! One connection of a batch, as the thread that has the jobs sees it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, unbounded};

use crate::client::assembly::Assembly;
use crate::client::batch::budget::Budget;
use crate::client::batch::copying::ToCopy;
use crate::client::batch::crew::{Crew, Opening};
use crate::client::batch::destinations::Destinations;
use crate::client::batch::hands::Body;
use crate::client::batch::jobs::{JobId, ToAsk};
use crate::client::batch::keeper::Keeper;
use crate::client::batch::placing::ToPlace;
use crate::client::batch::report::Reports;
use crate::client::follow::SharedHasher;
use crate::client::session::Held;
use crate::client::{ClientConfig, Download};
use crate::net::{Address, Deadline, Rate};

/// The number of a connection, never given again.
pub(in crate::client) type LaneId = u64;

/// A question for a connection.
pub(in crate::client) struct Ask {
    pub(in crate::client) id: JobId,
    pub(in crate::client) download: Arc<Download>,
    pub(in crate::client) to_ask: Box<ToAsk>,
    /// It is for a block of this file.
    pub(in crate::client) block: Option<Arc<Assembly>>,
}

/// A question without a whole answer.
pub(super) struct Asked {
    pub(super) id: JobId,
    /// Bytes that are expected.
    pub(super) expected: u64,
    /// It is for this block of that file.
    pub(super) block: Option<(Arc<Assembly>, Range<u64>)>,
}

/// What the threads of all connections share.
#[derive(Clone)]
pub(in crate::client) struct LaneWork<'s> {
    pub(in crate::client) config: &'s ClientConfig,
    pub(in crate::client) whole: Option<Deadline>,
    /// Time is over: nothing is wanted any more.
    pub(in crate::client) is_stopped: Arc<AtomicBool>,
    /// Hashes the large files that are being received.
    pub(in crate::client) shared_hasher: Arc<SharedHasher>,
    /// What all receive together.
    pub(in crate::client) rate: Option<Arc<Rate>>,
    /// Groups of small files that were received and not verified yet.
    pub(in crate::client) bodies: Sender<Vec<Body>>,
    pub(in crate::client) copies: Sender<ToCopy>,
    pub(in crate::client) to_place: Sender<ToPlace>,
    pub(in crate::client) reports: Reports,
    pub(in crate::client) destinations: &'s Destinations,
    /// Bytes that small bodies may take in memory.
    pub(in crate::client) memory: Arc<Budget>,
    /// Files that may be open at once.
    pub(in crate::client) open_files: Arc<Budget>,
    pub(in crate::client) keeper: Keeper,
}

/// A connection, as the thread that has the jobs sees it. Dropped, it ends at once: nobody waits
/// for answers that nobody wants.
pub(super) struct Lane {
    pub(super) id: LaneId,
    pub(super) server: usize,
    pub(super) crew: Crew,
    /// When it is there.
    pub(super) connection: Option<Held>,
    /// Questions without a whole answer, in their order.
    pub(super) asked: VecDeque<Asked>,
    /// The sum of what is expected.
    pub(super) expected: u64,
    /// So many questions may be without an answer.
    pub(super) window: usize,
    /// It was asked for a large file whose digest the server has to make first.
    pub(super) hashing: Option<JobId>,
    /// It is not asked any more.
    pub(super) is_dismissed: bool,
    /// It had an answer, or some of one.
    pub(super) has_answered: bool,
    /// The last time that it had nothing to do.
    idle_since: Instant,
    asks: Sender<Vec<Ask>>,
    /// Given since the last [`Lane::send`].
    unsent: Vec<Ask>,
}

impl Lane {
    /// Has a crew begin to connect.
    pub(super) fn open(id: LaneId, server: usize, address: Address, crew: Crew) -> Lane {
        let (asks, to_send) = unbounded();
        crew.open(Opening {
            id,
            address,
            to_send,
        });
        Lane {
            id,
            server,
            crew,
            connection: None,
            asked: VecDeque::new(),
            expected: 0,
            window: WINDOW_AT_FIRST,
            hashing: None,
            has_answered: false,
            is_dismissed: false,
            idle_since: Instant::now(),
            asks,
            unsent: Vec::new(),
        }
    }

    /// Whether it is there.
    pub(super) fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Whether it may be asked more.
    pub(super) fn has_room(&self) -> bool {
        self.is_connected()
            && !self.is_dismissed
            && self.asked.len() < self.window
            && self.expected < EXPECTED_BYTES_MAX
    }

    /// Whether it may be asked for a block more.
    pub(super) fn has_room_for_block(&self) -> bool {
        self.has_room() && self.expected < BLOCKS_BYTES_MAX
    }

    /// Whether a block of this is on its way.
    pub(super) fn has_block_of(&self, id: JobId) -> bool {
        let is_block = |asked: &Asked| asked.id == id && asked.block.is_some();
        self.asked.iter().any(is_block)
    }

    /// Whether it has nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.is_connected() && self.asked.is_empty()
    }

    /// Whether it is of no more use, or the server may have closed it for having nothing to do.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        let idle = now.saturating_duration_since(self.idle_since);
        self.is_idle() && (self.is_dismissed || idle > IDLE_TIME_MAX)
    }

    /// Takes a question; it goes out with [`Lane::send`].
    pub(super) fn give(&mut self, ask: Ask, expected: u64) {
        let question = &ask.to_ask.question;
        let block = ask.block.clone().map(|file| (file, question.block()));
        self.asked.push_back(Asked {
            id: ask.id,
            expected,
            block,
        });
        self.expected += expected;
        self.unsent.push(ask);
    }

    /// Sends what was given.
    pub(super) fn send(&mut self) {
        if !self.unsent.is_empty() {
            // If the connection is over, that is reported, and these are still in `asked`.
            let _ = self.asks.send(std::mem::take(&mut self.unsent));
        }
    }

    /// The oldest question has its whole answer.
    pub(super) fn answered(&mut self) -> Option<JobId> {
        let Asked { id, expected, .. } = self.asked.pop_front()?;
        self.has_answered = true;
        self.expected -= expected;
        self.hashing = self.hashing.filter(|hashing| *hashing != id);
        self.window = (self.window + 1).min(WINDOW_MAX);
        if self.asked.is_empty() {
            self.idle_since = Instant::now();
        }
        Some(id)
    }

    /// So much is still expected of a question.
    pub(super) fn expect(&mut self, id: JobId, bytes: u64) {
        // It is the oldest, or nearly.
        let is_it = |asked: &&mut Asked| asked.id == id && asked.block.is_none();
        if let Some(asked) = self.asked.iter_mut().find(is_it) {
            self.expected = self.expected - asked.expected + bytes;
            asked.expected = bytes;
            // Its bytes come.
            self.has_answered = true;
            self.hashing = self.hashing.filter(|hashing| *hashing != id);
        }
    }

    /// What was asked for as a file comes in blocks, of which this is the first.
    pub(super) fn split(&mut self, id: JobId, assembly: &Arc<Assembly>, first: Range<u64>) {
        self.expect(id, first.end - first.start);
        let is_it = |asked: &&mut Asked| asked.id == id && asked.block.is_none();
        if let Some(asked) = self.asked.iter_mut().find(is_it) {
            asked.block = Some((Arc::clone(assembly), first));
        }
    }
}

/// Questions without an answer, at first, and after many answers.
const WINDOW_AT_FIRST: usize = 512;
const WINDOW_MAX: usize = 4_096;
/// Far below what servers allow a connection that asks nothing.
const IDLE_TIME_MAX: Duration = Duration::from_secs(10);
/// From here on no block more is asked for: what a long round trip at 40 MiB/s takes.
const BLOCKS_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// From here on nothing more is asked.
const EXPECTED_BYTES_MAX: u64 = 16 * 1024 * 1024;

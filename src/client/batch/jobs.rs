//! The downloads that are under way. Each is in one state, known here alone: what other threads
//! have of it is its number, so that none is lost with a thread.

use std::sync::{Arc, Weak};
use std::time::Instant;

use crate::client::batch::look::{Existing, LONG_LOOK_BYTES_MIN};
use crate::client::batch::twins::Twin;
use crate::client::question::Question;
use crate::client::wanted::FolderId;
use crate::client::{Download, Item, ListedFile};
use crate::store::{Attributes, StagingDirectory};
use crate::wire::Timestamp;

/// The number of a job; that of one that has ended is never given again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::client) struct JobId {
    slot: u32,
    generation: u32,
}

/// A download that is not finished.
pub(super) struct Job {
    /// Its place among all that were wanted.
    pub(super) index: usize,
    pub(super) download: Arc<Download>,
    pub(super) task: Task,
    /// Folders of the batch that are not finished before this is.
    pub(super) holds: [Option<FolderId>; 2],
    /// Which of the servers has it.
    pub(super) server: usize,
    pub(super) state: State,
    pub(super) begun: Instant,
    /// Requests sent so far.
    pub(super) attempts: u32,
    /// Failures that may pass, of this job alone.
    pub(super) failures: u32,
    /// What the next question is.
    pub(super) wish: Wish,
    /// The server made the digest anew once.
    pub(super) was_fresh: bool,
    /// The last question was for the rest of a partial file.
    pub(super) continued: bool,
    /// The most bytes of it that were ever here.
    pub(super) furthest: u64,
    /// The file that has the final name, as it was last seen.
    pub(super) have: Option<Existing>,
    /// A look may have to read a large file.
    pub(super) is_long_look: bool,
    /// It was to be copied and could not be: it is fetched.
    pub(super) is_fetched: bool,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub(in crate::client) enum Task {
    /// Download a file.
    Fetch,
    /// Make a symbolic link with this target, and this time of its own.
    Link(Arc<[u8]>, Option<Timestamp>),
    /// Make a folder, if it is missing.
    MakeFolder,
    /// Give a folder its permissions and its time.
    FinishFolder(Attributes),
    /// Make all folders survive a power cut.
    Sync,
}

/// What a question is to be like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::client) struct Wish {
    /// The digest did not fit the bytes: the server is asked to make it anew.
    pub(in crate::client) fresh: bool,
    /// What is there of it belongs to a content that the server no longer has.
    pub(in crate::client) whole: bool,
}

/// Where a job is.
pub(super) enum State {
    /// A hand looks at the folder.
    Looking,
    /// Another job gets the same content.
    Held(Box<ToAsk>),
    /// It is to be asked.
    Ready(Box<ToAsk>),
    /// It failed, and comes again later.
    Waiting,
    /// It was given to a connection, or what came of that is being verified and placed.
    Asked,
    /// It comes in blocks, which are handed out as connections have room.
    Split,
}

/// A question and what the answer is for.
pub(in crate::client) struct ToAsk {
    pub(in crate::client) question: Question,
    /// Where it goes, as it was looked at; a job that waits does not keep it open.
    pub(in crate::client) folder: Weak<StagingDirectory>,
    /// What is copied if the server has the same.
    pub(in crate::client) twin: Option<Arc<Twin>>,
}

impl ToAsk {
    /// Has a file copied instead, if the server says that it has the same. `download`: what is
    /// wanted, whose digest is known.
    pub(super) fn copy_if_same(&mut self, download: &Download, twin: Arc<Twin>) {
        let question = &mut self.question;
        question.offset = 0;
        question.have = download.wanted_md5().map(|md5| (md5, twin.total_size));
        question.want_md5 = download.want_md5;
        self.twin = Some(twin);
    }
}

impl Job {
    pub(super) fn new(
        index: usize,
        download: Download,
        task: Task,
        holds: [Option<FolderId>; 2],
        server: usize,
    ) -> Job {
        // Only a file of the same size is read to be compared.
        let is_large = |listed: ListedFile| listed.total_size >= LONG_LOOK_BYTES_MIN;
        Job {
            index,
            is_long_look: download.listed.is_some_and(is_large),
            download: Arc::new(download),
            task,
            holds,
            server,
            state: State::Looking,
            begun: Instant::now(),
            attempts: 0,
            failures: 0,
            wish: Wish::default(),
            was_fresh: false,
            continued: false,
            furthest: 0,
            have: None,
            is_fetched: false,
        }
    }

    /// Which of all things that were wanted.
    pub(super) fn item(&self) -> Item<'_> {
        Item {
            index: self.index,
            address: &self.download.address,
            path: &self.download.path,
            here: None,
        }
    }

    /// So many bytes of it are here. Returns how many more than ever before.
    pub(super) fn note_bytes(&mut self, bytes: u64) -> u64 {
        let gained = bytes.saturating_sub(self.furthest);
        self.furthest = self.furthest.max(bytes);
        gained
    }
}

/// All jobs.
#[derive(Default)]
pub(super) struct Jobs {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    job: Option<Job>,
}

impl Jobs {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn add(&mut self, job: Job) -> JobId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            // At most JOBS_MAX.
            (self.slots.len() - 1) as u32
        });
        let place = &mut self.slots[slot as usize];
        place.job = Some(job);
        JobId {
            slot,
            generation: place.generation,
        }
    }

    pub(super) fn get(&mut self, id: JobId) -> Option<&mut Job> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        slot.job
            .as_mut()
            .filter(|_| slot.generation == id.generation)
    }

    pub(super) fn remove(&mut self, id: JobId) -> Option<Job> {
        self.get(id)?;
        let slot = &mut self.slots[id.slot as usize];
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.slot);
        slot.job.take()
    }

    /// All that fit, in the order in which they were wanted.
    pub(super) fn select(&self, fits: impl Fn(&Job) -> bool) -> Vec<JobId> {
        let mut found: Vec<(usize, JobId)> = Vec::new();
        for (number, slot) in self.slots.iter().enumerate() {
            if let Some(job) = slot.job.as_ref().filter(|job| fits(job)) {
                let id = JobId {
                    slot: number as u32,
                    generation: slot.generation,
                };
                found.push((job.index, id));
            }
        }
        found.sort_unstable_by_key(|(index, _)| *index);
        found.into_iter().map(|(_, id)| id).collect()
    }
}

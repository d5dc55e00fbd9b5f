//! Hashes several files side by side on one thread, each in one lane.

use std::mem;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::{CHANGED_HASHES_MAX, FileResult, FoundFile, IndexingError, IndexingState};
use crate::digest::{Md5Stream, update_all};
use crate::store::hash::{Hashing, Read, STEP_BYTES};
use crate::store::{ObjectMeta, Priority};

/// The files that one thread works on, and the buffer of a round.
///
/// Each round reads the next step of every file, then hashes all steps at once. A file is closed
/// after its last step is read, so only files longer than one step stay open.
pub(super) struct Group<'a> {
    work: &'a IndexingState,
    files: &'a Receiver<FoundFile>,
    members: Vec<Member>,
    buffer: Vec<u8>,
    /// Bytes of the buffer that this round uses.
    used: usize,
    /// Begins no other file while this many are open. 1 if reading is slower than hashing.
    open_max: usize,
    /// The maximum of `open_max`.
    open_limit: usize,
}

struct Member {
    file: FoundFile,
    /// Its bytes in [`IndexingState::bytes_done`].
    counted: u64,
    /// Where the index was last asked whether the digest is known by now.
    looked_at: u64,
    /// The bytes of the buffer that this round has read.
    step: Range<usize>,
    state: State,
}

enum State {
    Reading(Hashing),
    Complete {
        meta: ObjectMeta,
        md5: Md5Stream,
        is_untouched: bool,
    },
    Over(Result<FileResult, IndexingError>),
}

impl<'a> Group<'a> {
    /// Keeps at most `open_limit` files open, which is at least 1.
    pub(super) fn new(
        work: &'a IndexingState,
        files: &'a Receiver<FoundFile>,
        open_limit: usize,
    ) -> Group<'a> {
        Group {
            work,
            files,
            members: Vec::new(),
            buffer: vec![0; open_limit.max(STEPS_MIN) * STEP_BYTES],
            used: 0,
            open_max: 1,
            open_limit,
        }
    }

    /// Hashes files until there are no more, or until the indexing is stopped.
    pub(super) fn run(mut self) {
        loop {
            self.used = 0;
            let mut reading = Duration::ZERO;
            let is_open = !self.members.is_empty();
            for at in 0..self.members.len() {
                // This may pause, so it does not count as reading.
                if !self.work.may_continue() {
                    return;
                }
                let started = Instant::now();
                self.read(at);
                reading += started.elapsed();
            }
            while self.has_room()
                && let Some(file) = self.next()
            {
                if !self.work.may_continue() {
                    return;
                }
                self.begin(file);
            }
            if self.members.is_empty() {
                return;
            }
            let started = Instant::now();
            self.hash();
            if is_open {
                self.adapt(reading < started.elapsed());
            }
            self.end();
        }
    }

    /// Reads the next step of one file.
    fn read(&mut self, at: usize) {
        let member = &mut self.members[at];
        let count = member.read(self.work, &mut self.buffer[self.used..][..STEP_BYTES]);
        member.step = self.used..self.used + count;
        self.used += count;
    }

    fn has_room(&self) -> bool {
        let is_reading = |member: &&Member| matches!(member.state, State::Reading(_));
        self.used + STEP_BYTES <= self.buffer.len()
            && self.members.len() < MEMBERS_MAX
            && self.members.iter().filter(is_reading).count() < self.open_max
    }

    /// Returns the next file. Waits for it only if there is nothing else to do.
    fn next(&self) -> Option<FoundFile> {
        let waiting = &self.work.waiting;
        if self.members.is_empty() {
            waiting.fetch_add(1, Ordering::SeqCst);
            let file = self.files.recv();
            waiting.fetch_sub(1, Ordering::SeqCst);
            return file.ok();
        }
        // A thread that waits hashes the file sooner.
        match waiting.load(Ordering::SeqCst) {
            0 => self.files.try_recv().ok(),
            _ => None,
        }
    }

    fn begin(&mut self, file: FoundFile) {
        let (path, found) = &file;
        let begun = catch_unwind(AssertUnwindSafe(|| self.work.begin(path, found)));
        let state = match begun.unwrap_or_else(|_| Err(panicked())) {
            Ok(Ok(hash)) => State::Reading(hash),
            Ok(Err(result)) => return self.work.count(&file, 0, Ok(result)),
            Err(error) => return self.work.count(&file, 0, Err(error)),
        };
        self.members.push(Member {
            file,
            looked_at: 0,
            counted: 0,
            step: 0..0,
            state,
        });
        self.read(self.members.len() - 1);
    }

    fn hash(&mut self) {
        let buffer = &self.buffer;
        let steps = self.members.iter_mut().filter_map(|member| {
            let step = &buffer[member.step.clone()];
            match &mut member.state {
                State::Reading(hash) => Some((hash.md5(), step)),
                State::Complete { md5, .. } => Some((md5, step)),
                State::Over(_) => None,
            }
        });
        update_all(&mut steps.collect::<Vec<_>>());
    }

    /// If the disk is slower than the hashing, several files at once only add seeks.
    fn adapt(&mut self, reading_is_faster: bool) {
        self.open_max = match reading_is_faster {
            true => (self.open_max * 2).min(self.open_limit),
            false => (self.open_max / 2).max(1),
        };
    }

    /// Reports the files that are hashed to their end.
    fn end(&mut self) {
        let work = self.work;
        let is_over = |member: &mut Member| !matches!(member.state, State::Reading(_));
        for member in self.members.extract_if(.., is_over) {
            let result = match member.state {
                State::Reading(_) => continue,
                State::Over(result) => result,
                State::Complete {
                    meta,
                    md5,
                    is_untouched,
                } => catch_unwind(AssertUnwindSafe(|| {
                    work.keep(&meta, md5.finish(), is_untouched)
                }))
                .map_err(|_| panicked()),
            };
            work.count(&member.file, member.counted, result);
        }
    }
}

impl Member {
    /// Reads the next step. Returns its length.
    fn read(&mut self, work: &IndexingState, buffer: &mut [u8]) -> usize {
        let State::Reading(hash) = &mut self.state else {
            return 0;
        };
        let done = hash.done();
        let is_due = work.priority == Priority::Background && done >= self.looked_at + LOOK_BYTES;
        if is_due {
            self.looked_at = done;
        }
        let read = catch_unwind(AssertUnwindSafe(|| {
            // A request may have had it hashed meanwhile.
            match is_due && work.index.look_up(&hash.meta().stamp).is_some() {
                true => None,
                false => Some(hash.read(buffer, CHANGED_HASHES_MAX)),
            }
        }));
        work.count_done(&mut self.counted, hash.done());
        match read {
            Ok(Some(Ok(Read::Step(count)))) => return count,
            Ok(Some(Ok(Read::Restarted))) => self.looked_at = 0,
            Ok(Some(Ok(Read::Last {
                count,
                is_untouched,
            }))) => {
                let meta = *hash.meta();
                let md5 = mem::take(hash.md5());
                // Closes the file.
                self.state = State::Complete {
                    meta,
                    md5,
                    is_untouched,
                };
                return count;
            }
            Ok(None) => self.state = State::Over(Ok(FileResult::Known)),
            Ok(Some(Err(error))) => {
                self.state = State::Over(Err(IndexingError::Hash(error.to_string())));
            }
            Err(_) => self.state = State::Over(Err(panicked())),
        }
        0
    }
}

fn panicked() -> IndexingError {
    IndexingError::Hash("hash failed".to_owned())
}

/// Files per round at most: twice the lanes of the widest kernel.
const MEMBERS_MAX: usize = 64;
/// The buffer holds at least this many steps, so that short files share a round.
const STEPS_MIN: usize = 4;
/// After this many bytes, a background job looks whether the digest is known by now.
const LOOK_BYTES: u64 = 4 << 20;

//! Hashing a file while it is still being received: the hashing thread reads back what the
//! receiving thread has written, from the first byte on, so that what is verified is what
//! the file holds, whether its beginning is of this minute or of last week.

use std::fs::File;
use std::io;
use std::mem;
use std::num::NonZero;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use crate::digest::{Kernel, Md5Stream, update_all};
use crate::wire::Md5Digest;

/// The writing thread's end of a track. Dropped before the file is complete, no more bytes
/// come.
pub(super) struct Writing<T> {
    track: Arc<Track<T>>,
}

impl<T> Writing<T> {
    /// A file of which so many bytes are there.
    pub(super) fn begin(written: u64) -> Writing<T> {
        let (state, changed) = (Mutex::new(State { written, end: None }), Condvar::new());
        Writing {
            track: Arc::new(Track { state, changed }),
        }
    }

    /// The other end.
    pub(super) fn track(&self) -> Arc<Track<T>> {
        Arc::clone(&self.track)
    }

    /// So many bytes are there now.
    pub(super) fn advance(&self, written: u64) {
        self.track.lock().written = written;
        self.track.changed.notify_one();
    }

    /// All bytes are there.
    pub(super) fn complete(self, handed_over: T) {
        self.finish(End::Complete(handed_over));
    }

    fn finish(&self, end: End<T>) {
        self.track.lock().end.get_or_insert(end);
        self.track.changed.notify_one();
    }
}

impl<T> Drop for Writing<T> {
    fn drop(&mut self) {
        self.finish(End::Abandoned);
    }
}

/// How far a file is, between the thread that writes it and the one that follows. When it is
/// complete, `T` goes from the one to the other.
pub(super) struct Track<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    written: u64,
    end: Option<End<T>>,
}

enum End<T> {
    Complete(T),
    Abandoned,
}

impl<T> Track<T> {
    /// Hashes the file up to its last byte, together with other files that are followed. `None` if it
    /// was abandoned, or if `goes_on`, which is asked now and then, returns false.
    pub(super) fn follow(
        &self,
        file: &File,
        hasher: &SharedHasher,
        goes_on: impl Fn() -> bool,
    ) -> Option<(T, io::Result<Md5Digest>)> {
        let mut part = Part::new();
        let mut hashed = 0;
        let mut failure = None;
        let handed_over = loop {
            let mut state = self.lock();
            while state.written == hashed && state.end.is_none() {
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if matches!(state.end, Some(End::Abandoned)) || !goes_on() {
                return None;
            }
            if state.written == hashed
                && let Some(End::Complete(handed_over)) = state.end.take()
            {
                break handed_over;
            }
            // A long beginning from an earlier attempt must not keep it from hearing the end.
            let end = state.written.min(hashed + HASH_STEP_BYTES);
            drop(state);
            while failure.is_none() && hashed < end {
                match part.read(file, hashed..end) {
                    Ok(bytes) => hashed += bytes,
                    Err(error) => failure = Some(error),
                }
                let continues = failure.is_none() && hashed < end;
                part = hasher.update(part, continues);
                if part.is_lost {
                    failure.get_or_insert_with(|| io::Error::other("hashing has panicked"));
                }
            }
            hashed = end;
        };
        Some((
            handed_over,
            failure.map_or_else(|| Ok(part.md5.finish()), Err),
        ))
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hashes parts of several files at once, in SIMD lanes. Each thread brings a part of its file. One
/// of them hashes all parts that wait, and their threads wait for it.
pub(super) struct SharedHasher {
    state: Mutex<Parts>,
    hashed: Condvar,
    /// Threads that may hash at once.
    threads_max: usize,
}

#[derive(Default)]
struct Parts {
    threads: usize,
    count: u64,
    /// Parts that are being read. The others wait for them, since more lanes cost hardly more time.
    coming: usize,
    waiting: Vec<(u64, Part)>,
    hashed: Vec<(u64, Part)>,
}

impl SharedHasher {
    /// With SIMD lanes half of the cores hash, and the others receive and write.
    pub(super) fn new() -> SharedHasher {
        let cores = available_parallelism().map_or(1, NonZero::get);
        let has_lanes = Kernel::best().lanes() > PLAIN_LANES;
        SharedHasher::with_threads(if has_lanes { cores.div_ceil(2) } else { cores })
    }

    fn with_threads(threads_max: usize) -> SharedHasher {
        SharedHasher {
            state: Mutex::default(),
            hashed: Condvar::new(),
            threads_max,
        }
    }

    /// Adds the bytes of a part to its digest, and returns the part empty. `continues`: the caller
    /// reads the next part at once, and always comes back with it.
    fn update(&self, mut part: Part, continues: bool) -> Part {
        let mut state = self.lock();
        if mem::take(&mut part.is_coming) {
            state.coming -= 1;
        }
        let number = state.count;
        state.count += 1;
        state.waiting.push((number, part));
        let mut has_waited = false;
        loop {
            if let Some(at) = state.hashed.iter().position(|(of, _)| *of == number) {
                let mut part = state.hashed.swap_remove(at).1;
                part.is_coming = continues;
                state.coming += usize::from(continues);
                return part;
            }
            if state.waiting.is_empty() || state.threads == self.threads_max {
                let woken = self.hashed.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            if state.coming > 0 && !has_waited {
                // A slow disk must not hold up the other files.
                let woken = self.hashed.wait_timeout(state, COMING_TIME_MAX);
                let (woken, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
                (state, has_waited) = (woken, timeout.timed_out());
                continue;
            }
            let mut parts = mem::take(&mut state.waiting);
            state.threads += 1;
            drop(state);
            let mut bytes: Vec<_> = parts.iter_mut().map(|(_, part)| part.take()).collect();
            let updated = catch_unwind(AssertUnwindSafe(|| update_all(&mut bytes)));
            if updated.is_err() {
                let lost = |(_, part): &mut (u64, Part)| part.is_lost = true;
                parts.iter_mut().for_each(lost);
            }
            state = self.lock();
            state.threads -= 1;
            state.hashed.append(&mut parts);
            self.hashed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part of a file, and the digest of what is before it.
struct Part {
    md5: Md5Stream,
    buffer: Vec<u8>,
    bytes: usize,
    /// It is counted as coming.
    is_coming: bool,
    /// Hashing it has panicked, and its digest is wrong.
    is_lost: bool,
}

impl Part {
    fn new() -> Part {
        Part {
            md5: Md5Stream::new(),
            buffer: vec![0; HASH_BUFFER_BYTES],
            bytes: 0,
            is_coming: false,
            is_lost: false,
        }
    }

    /// Reads the beginning of a range. Returns how many bytes that are.
    fn read(&mut self, file: &File, range: Range<u64>) -> io::Result<u64> {
        let room = self.buffer.len();
        let wanted = usize::try_from(range.end - range.start).map_or(room, |left| left.min(room));
        loop {
            match file.read_at(&mut self.buffer[..wanted], range.start) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    self.bytes = read;
                    return Ok(read as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self) -> (&mut Md5Stream, &[u8]) {
        let bytes = mem::take(&mut self.bytes);
        (&mut self.md5, &self.buffer[..bytes])
    }
}

/// Adds a part of a file to a digest.
pub(super) fn hash_range(file: &File, range: Range<u64>, md5: &mut Md5Stream) -> io::Result<()> {
    let mut part = Part::new();
    let mut at = range.start;
    while at < range.end {
        at += part.read(file, at..range.end)?;
        md5.update(part.take().1);
    }
    Ok(())
}

/// Lanes of the kernel without SIMD.
const PLAIN_LANES: usize = 4;
/// How long parts wait for those that are being read.
const COMING_TIME_MAX: Duration = Duration::from_millis(2);
/// As much as is hashed between two looks at the track.
const HASH_STEP_BYTES: u64 = 8 * 1024 * 1024;
/// As much as is read at once to be hashed: small enough to stay in a core's cache.
const HASH_BUFFER_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_long_beginning_is_not_hashed_to_its_end_when_nobody_waits_for_it() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(5 * HASH_STEP_BYTES).unwrap();
        for (steps, is_hashed) in [(0_u32, false), (5, false), (6, true)] {
            let writing = Writing::begin(5 * HASH_STEP_BYTES);
            let track = writing.track();
            writing.complete(());
            let left = Cell::new(steps);
            let goes_on = || left.replace(left.get().saturating_sub(1)) > 0;
            let followed = track.follow(&file, &SharedHasher::new(), goes_on);
            assert_eq!(followed.is_some(), is_hashed, "{steps} steps");
        }
    }

    #[test]
    fn files_that_are_followed_at_once_get_their_own_digests() {
        for threads_max in [1, 2] {
            let hasher = SharedHasher::with_threads(threads_max);
            std::thread::scope(|scope| {
                for number in 0..6_u8 {
                    let hasher = &hasher;
                    scope.spawn(move || {
                        let bytes = vec![number; HASH_BUFFER_BYTES * 3 + usize::from(number) * 100];
                        let file = tempfile::tempfile().unwrap();
                        file.write_all_at(&bytes, 0).unwrap();
                        let writing = Writing::begin(0);
                        let track = writing.track();
                        writing.advance(HASH_BUFFER_BYTES as u64);
                        writing.advance(bytes.len() as u64);
                        writing.complete(());
                        let ((), found) = track.follow(&file, hasher, || true).unwrap();
                        assert_eq!(found.unwrap(), Md5Stream::digest(&bytes), "{number}");
                    });
                }
            });
        }
    }
}

//! Hashing a file while it is still being received: the hashing thread reads back what the
//! receiving thread has written, from the first byte on, so that what is verified is what
//! the file holds, whether its beginning is of this minute or of last week.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::digest::Md5Stream;
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
    /// Hashes the file up to its last byte. `None` if it was abandoned, or if `goes_on`, which
    /// is asked now and then, says no.
    pub(super) fn follow(
        &self,
        file: &File,
        buffer: &mut [u8],
        goes_on: impl Fn() -> bool,
    ) -> Option<(T, io::Result<Md5Digest>)> {
        let mut md5 = Md5Stream::new();
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
            if failure.is_none()
                && let Err(error) = hash_range(file, hashed..end, &mut md5, buffer)
            {
                failure = Some(error);
            }
            hashed = end;
        };
        Some((handed_over, failure.map_or_else(|| Ok(md5.finish()), Err)))
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds a part of a file to a digest.
pub(super) fn hash_range(
    file: &File,
    range: std::ops::Range<u64>,
    md5: &mut Md5Stream,
    buffer: &mut [u8],
) -> io::Result<()> {
    let mut at = range.start;
    while at < range.end {
        let wanted =
            usize::try_from(range.end - at).map_or(buffer.len(), |left| left.min(buffer.len()));
        match file.read_at(&mut buffer[..wanted], at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                md5.update(&buffer[..read]);
                at += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// As much as is hashed between two looks at the track.
const HASH_STEP_BYTES: u64 = 8 * 1024 * 1024;
/// As much as is read at once to be hashed: small enough to stay in a core's cache.
pub(super) const HASH_BUFFER_BYTES: usize = 256 * 1024;

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
            let followed = track.follow(&file, &mut vec![0; HASH_BUFFER_BYTES], goes_on);
            assert_eq!(followed.is_some(), is_hashed, "{steps} steps");
        }
    }
}

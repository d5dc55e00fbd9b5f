//! Hashing one file in turns, with a check that it did not change.

use std::sync::Arc;
use std::{io, mem};

use crate::digest::Md5Stream;
use crate::store::{Object, ObjectMeta, StoreError};
use crate::wire::{ErrorCode, Md5Digest, Refusal};

/// A hash between two turns. It reads exactly the bytes that the file had when it was looked at,
/// even if the file grows.
pub(super) struct Hashing {
    object: Arc<dyn Object>,
    meta: ObjectMeta,
    md5: Md5Stream,
    done: u64,
    changes: u32,
}

/// The result of one turn.
pub(super) enum Turn {
    /// There is more to read.
    Unfinished,
    /// The file changed: the bytes so far are void, and [`Hashing::meta`] is the new metadata.
    Restarted,
    /// Every byte was read, and the stamp shows no change of the content.
    Made {
        /// The digest of the bytes under [`Hashing::meta`].
        md5: Md5Digest,
        /// The whole stamp is the same: the file did not grow, and its ctime did not change.
        is_untouched: bool,
    },
    /// The digest cannot be made.
    Failed(HashError),
}

/// The result of [`Hashing::read`].
pub(super) enum Read {
    /// This many bytes were read, and there are more.
    Step(usize),
    /// The last bytes were read, and the stamp shows no change of the content.
    Last {
        /// The bytes of this step.
        count: usize,
        /// As in [`Turn::Made`].
        is_untouched: bool,
    },
    /// As [`Turn::Restarted`].
    Restarted,
}

/// Why a file cannot be hashed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HashError {
    /// The file changed this often while it was read.
    #[error("file changed {0} times while it was hashed")]
    Changed(u32),
    /// The error of the file system.
    #[error("file could not be read: {0}")]
    Unreadable(io::Error),
}

impl From<HashError> for Refusal {
    /// The message for the peer, which does not contain the error of this machine.
    fn from(error: HashError) -> Refusal {
        match error {
            HashError::Changed(_) => Refusal::new(ErrorCode::Changed, error.to_string()),
            HashError::Unreadable(error) if error.kind() == io::ErrorKind::TimedOut => Refusal {
                retry_after_ms: Some(RETRY_AFTER_MS),
                ..Refusal::new(ErrorCode::Busy, StoreError::Stalled.to_string())
            },
            HashError::Unreadable(_) => Refusal::new(ErrorCode::Internal, "file could not be read"),
        }
    }
}

impl Hashing {
    pub(super) fn begin(object: Arc<dyn Object>, meta: ObjectMeta) -> Hashing {
        Hashing {
            object,
            meta,
            md5: Md5Stream::new(),
            done: 0,
            changes: 0,
        }
    }

    /// The metadata of the file that the digest is for.
    pub(super) fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    /// Bytes hashed so far.
    pub(super) fn done(&self) -> u64 {
        self.done
    }

    /// Hashes at most [`TURN_BYTES_MAX`], in steps of the buffer's length. Before each step, calls
    /// `may_continue` with the bytes done so far; `false` ends the turn.
    pub(super) fn turn(
        &mut self,
        buffer: &mut [u8],
        changed_hashes_max: u32,
        may_continue: impl Fn(u64) -> bool,
    ) -> Turn {
        let turn_end = self.done.saturating_add(TURN_BYTES_MAX);
        loop {
            let is_more = self.done < self.meta.stamp.size;
            if is_more && (self.done >= turn_end || !may_continue(self.done)) {
                return Turn::Unfinished;
            }
            match self.read(buffer, changed_hashes_max) {
                Ok(Read::Step(count)) => self.md5.update(&buffer[..count]),
                Ok(Read::Last {
                    count,
                    is_untouched,
                }) => {
                    self.md5.update(&buffer[..count]);
                    let md5 = mem::take(&mut self.md5).finish();
                    return Turn::Made { md5, is_untouched };
                }
                Ok(Read::Restarted) => return Turn::Restarted,
                Err(error) => return Turn::Failed(error),
            }
        }
    }

    /// Reads the next step, which the caller must add to [`Hashing::md5`]. After the last one,
    /// compares the stamp of the file.
    ///
    /// # Errors
    /// The digest cannot be made.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        changed_hashes_max: u32,
    ) -> Result<Read, HashError> {
        let count = self.read_step(buffer).map_err(HashError::Unreadable)?;
        self.done += count as u64;
        // A file that is shorter now ends early; the comparison below decides.
        if count > 0 && self.done < self.meta.stamp.size {
            return Ok(Read::Step(count));
        }
        let now = self.object.meta().map_err(HashError::Unreadable)?;
        let before = self.meta.stamp;
        if self.done == before.size && before.still_begins(&now.stamp) {
            return Ok(Read::Last {
                count,
                is_untouched: before == now.stamp,
            });
        }
        self.changes += 1;
        if self.changes >= changed_hashes_max {
            return Err(HashError::Changed(self.changes));
        }
        self.meta = now;
        self.md5 = Md5Stream::new();
        self.done = 0;
        Ok(Read::Restarted)
    }

    fn read_step(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.meta.stamp.size - self.done).unwrap_or(usize::MAX);
        let step = buffer.len().min(left);
        if step == 0 {
            return Ok(0);
        }
        loop {
            match self.object.read_at(&mut buffer[..step], self.done) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    /// The md5 of the bytes before the last step that was read.
    pub(super) fn md5(&mut self) -> &mut Md5Stream {
        &mut self.md5
    }
}

const RETRY_AFTER_MS: u64 = 1_000;
/// Bytes per turn: about 6 ms of md5, so that a short file never waits long for a long one.
const TURN_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Bytes per read: few system calls, and a buffer that fits into a core's cache.
pub(super) const STEP_BYTES: usize = 256 * 1024;

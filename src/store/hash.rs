//! One file's digest in the making: read, and compared with what it was when it was opened.

use std::io;
use std::sync::Arc;

use crate::digest::Md5Stream;
use crate::store::{Object, ObjectMeta, StoreError};
use crate::wire::{ErrorCode, Md5Digest, Refusal};

/// A hash between two turns. It reads exactly the bytes that the file had when it was looked
/// at; more may come meanwhile.
pub(super) struct Hashing {
    object: Arc<dyn Object>,
    meta: ObjectMeta,
    md5: Md5Stream,
    done: u64,
    changes: u32,
}

/// How a turn ended.
pub(super) enum Turn {
    /// There is more to read.
    Unfinished,
    /// The file changed: everything so far is void, and [`Hashing::meta`] is the new look.
    BegunAnew,
    /// Every byte was read, and nothing says that they changed meanwhile.
    Made {
        /// The digest of the bytes under [`Hashing::meta`].
        md5: Md5Digest,
        /// The stamp is the same to the last field: it neither grew nor moved its ctime.
        is_untouched: bool,
    },
    /// There will be no digest.
    Failed(HashError),
}

/// Why there is no digest of a file.
#[derive(Debug, thiserror::Error)]
pub(super) enum HashError {
    /// It changed so often while it was read.
    #[error("file changed {0} times while it was hashed")]
    Changed(u32),
    /// What the file system says.
    #[error("file could not be read: {0}")]
    Unreadable(io::Error),
}

impl From<HashError> for Refusal {
    /// What a peer is told: the reason of this machine is not for it.
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

    /// The look at the file that this digest will be for.
    pub(super) fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    /// Bytes hashed so far.
    pub(super) fn done(&self) -> u64 {
        self.done
    }

    /// Hashes at most [`TURN_BYTES_MAX`], in steps of the buffer's length. `goes_on` is told
    /// the bytes done before each step and answers whether to take it.
    pub(super) fn turn(
        &mut self,
        buffer: &mut [u8],
        changed_hashes_max: u32,
        goes_on: impl Fn(u64) -> bool,
    ) -> Turn {
        let turn_end = self.done.saturating_add(TURN_BYTES_MAX);
        while self.done < self.meta.stamp.size {
            if self.done >= turn_end || !goes_on(self.done) {
                return Turn::Unfinished;
            }
            let left = usize::try_from(self.meta.stamp.size - self.done).unwrap_or(usize::MAX);
            let step = buffer.len().min(left);
            match self.object.read_at(&mut buffer[..step], self.done) {
                // Shorter than it was: the comparison below says what to do.
                Ok(0) => break,
                Ok(count) => {
                    self.md5.update(&buffer[..count]);
                    self.done += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Turn::Failed(HashError::Unreadable(error)),
            }
        }
        self.compare(changed_hashes_max)
    }

    fn compare(&mut self, changed_hashes_max: u32) -> Turn {
        let now = match self.object.meta() {
            Ok(now) => now,
            Err(error) => return Turn::Failed(HashError::Unreadable(error)),
        };
        let before = self.meta.stamp;
        if self.done == before.size && before.still_begins(&now.stamp) {
            let md5 = std::mem::take(&mut self.md5).finish();
            return Turn::Made {
                md5,
                is_untouched: before == now.stamp,
            };
        }
        self.changes += 1;
        if self.changes >= changed_hashes_max {
            return Turn::Failed(HashError::Changed(self.changes));
        }
        self.meta = now;
        self.md5 = Md5Stream::new();
        self.done = 0;
        Turn::BegunAnew
    }
}

const RETRY_AFTER_MS: u64 = 1_000;
/// Bytes of one turn: about 6 ms of md5, so that a short file never waits long for a long one.
const TURN_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Bytes read at once: enough that the system call costs little, and at home in a core's cache.
pub(super) const STEP_BYTES: usize = 256 * 1024;

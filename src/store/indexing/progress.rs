//! The progress of hashing a tree.

use std::sync::atomic::{AtomicU64, Ordering};

/// The progress of an indexing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexingProgress {
    /// Files found so far.
    pub found: FilesAndBytes,
    /// All files are found.
    pub is_all_found: bool,
    /// Files that were hashed and kept.
    pub hashed: FilesAndBytes,
    /// Files that were in the index already.
    pub known: FilesAndBytes,
    /// Files that are still being written, or have times in the future: not kept.
    pub unsettled: FilesAndBytes,
    /// Files that wait until their last change is a few seconds old, which is never long.
    pub settling: u64,
    /// Files on file systems of which no digest is kept ([`crate::store::Identity`]): not read.
    pub unkept: FilesAndBytes,
    /// Files that could not be read. Directories that could not be read count as one file each.
    pub failed: FilesAndBytes,
    /// Bytes of all these, and the bytes done so far of files that are being hashed.
    pub bytes_done: u64,
}

/// A number of files, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilesAndBytes {
    /// The number of files.
    pub files: u64,
    /// The sum of their sizes in bytes.
    pub bytes: u64,
}

#[derive(Default)]
pub(super) struct Counter {
    files: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    pub(super) fn add(&self, bytes: u64) {
        self.files.fetch_add(1, Ordering::SeqCst);
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
    }

    pub(super) fn get(&self) -> FilesAndBytes {
        FilesAndBytes {
            files: self.files.load(Ordering::SeqCst),
            bytes: self.bytes.load(Ordering::SeqCst),
        }
    }
}

//! How far the hashing of a tree is.

use std::sync::atomic::{AtomicU64, Ordering};

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexingProgress {
    /// Files found so far, and their bytes.
    pub found: FilesAndBytes,
    /// All files were found.
    pub is_all_found: bool,
    /// Hashed and kept.
    pub hashed: FilesAndBytes,
    /// In the index already.
    pub known: FilesAndBytes,
    /// Still being written, or stamped with times in the future: not kept.
    pub unsettled: FilesAndBytes,
    /// Files that wait now until their last change is a few seconds old, which is never long.
    pub settling: u64,
    /// On file systems of which no digest is kept ([`crate::store::Identity`]): not read.
    pub unkept: FilesAndBytes,
    /// Could not be read. Directories that could not be read count as one file each.
    pub failed: FilesAndBytes,
    /// Bytes of all these, and those of the files being hashed so far.
    pub bytes_done: u64,
}

/// A count of files, and of their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilesAndBytes {
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}

#[derive(Default)]
pub(super) struct Count {
    files: AtomicU64,
    bytes: AtomicU64,
}

impl Count {
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

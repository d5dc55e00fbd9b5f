//! What this machine gives: what it knows of its files, and how many may be open.

use super::arguments::Typed;
use crate::cli::digests::IndexChoice;
use crate::net::raise_descriptor_limit;
use crate::store::{BootId, LocalDigests};

impl Typed {
    /// What is known of files that are here. The index is opened when one is first looked up.
    pub(super) fn local_digests(&self) -> LocalDigests {
        match IndexChoice::from_typed(self.index.clone()) {
            IndexChoice::Off => LocalDigests::unkept(),
            choice => {
                let is_of_many = self.recursive || self.input_file.is_some();
                let open = move || choice.open("ftget").index();
                LocalDigests::opened_by(open, BootId::current()).of_files_from(if is_of_many {
                    0
                } else {
                    LOOKED_UP_BYTES_MIN
                })
            }
        }
    }
}

/// Files that may be open at once, after the limit was raised as far as it goes.
pub(super) fn open_files_max() -> u64 {
    within(raise_descriptor_limit())
}

/// Of so many descriptors, those for files: the others are for folders, connections, an index.
fn within(descriptors: u64) -> u64 {
    descriptors
        .saturating_sub(OTHER_DESCRIPTORS)
        .clamp(OPEN_FILES_MIN, OPEN_FILES_MAX)
}

/// To open the index takes as long as to hash as much, about: 5 ms, three times that where it
/// is begun.
const LOOKED_UP_BYTES_MIN: u64 = 4 * 1024 * 1024;
/// The folders that a tree keeps open, and as much again for everything else.
const OTHER_DESCRIPTORS: u64 = 256;
const OPEN_FILES_MIN: u64 = 16;
/// Twice as many as are placed together: while some are synced, others arrive.
const OPEN_FILES_MAX: u64 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_get_what_others_leave() {
        for (descriptors, files) in [
            (64, 16),
            (272, 16),
            (273, 17),
            (512, 256),
            (768, 512),
            (1 << 20, 512),
            (u64::MAX, 512),
        ] {
            assert_eq!(within(descriptors), files, "{descriptors}");
        }
    }
}

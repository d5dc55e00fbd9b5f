//! What this machine gives: what it knows of its files, and how many may be open.

use super::arguments::Typed;
use crate::cli::digests::IndexChoice;
use crate::cli::terminal::tell;
use crate::client::ClientConfig;
use crate::process::raise_descriptor_limit;
use crate::store::{BootId, LocalDigests};

impl Typed {
    /// What is known of files that are here. The index is opened when one is first looked up.
    pub(super) fn local_digests(&self) -> LocalDigests {
        match IndexChoice::from_typed(self.index.clone()) {
            IndexChoice::Off => LocalDigests::unkept(),
            choice => {
                let is_of_many = self.recursive || self.input_file.is_some();
                let (quiet, verbose) = (self.quiet, self.verbose > 0);
                let open = move || {
                    if verbose && matches!(choice, IndexChoice::NoPlace(_)) {
                        tell(&format!("ftget: digests are kept in {choice}"));
                    }
                    choice.open("ftget", quiet).index()
                };
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
    ClientConfig::open_files_within(raise_descriptor_limit())
}

/// To open the index takes as long as to hash as much, about: 5 ms, three times that where it
/// is begun.
const LOOKED_UP_BYTES_MIN: u64 = 4 * 1024 * 1024;

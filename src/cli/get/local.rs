//! The client's part of this machine: known digests of local files, and the limit of open files.

use super::args::GetArgs;
use crate::cli::digests::IndexChoice;
use crate::cli::terminal::print_line;
use crate::client::ClientConfig;
use crate::process::raise_descriptor_limit;
use crate::store::{BootId, LocalDigests};

impl GetArgs {
    /// The known digests of local files. The index is opened at the first lookup.
    pub(super) fn local_digests(&self) -> LocalDigests {
        match IndexChoice::from_arg(self.index.clone()) {
            IndexChoice::Off => LocalDigests::unkept(),
            choice => {
                let is_of_many = self.recursive || self.input_file.is_some();
                let (quiet, verbose) = (self.quiet, self.verbose > 0);
                let open = move || {
                    if verbose && matches!(choice, IndexChoice::MemoryInstead(_)) {
                        print_line(&format!("ftget: digests are kept in {choice}"));
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

/// The number of files that may be open at once, after raising the limit as far as allowed.
pub(super) fn open_files_max() -> u64 {
    ClientConfig::open_files_within(raise_descriptor_limit())
}

/// Opening the index takes about 5 ms, as long as hashing this many bytes. Creating it takes three
/// times that.
const LOOKED_UP_BYTES_MIN: u64 = 4 * 1024 * 1024;

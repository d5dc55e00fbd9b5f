//! Why an index is not kept in its file, and what its file went through.

use std::error::Error;
use std::io;
use std::path::PathBuf;

/// Why the file of an index cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The directory cannot be made, entered or looked at.
    #[error("directory of the index cannot be used")]
    Directory(#[source] io::Error),
    /// There is something else of that name: a directory, a device.
    #[error("not a regular file")]
    NotAFile,
    /// Others own it or can write it, and could have it say anything; or it leads elsewhere.
    #[error("{what} {why}")]
    NotOurs {
        /// The file, by its name, or its directory.
        what: String,
        /// What others can do with it.
        why: &'static str,
    },
    /// On a network file system, where the locks of several programs do not hold.
    #[error("a network file system ({0}) does not keep locks well enough")]
    NetworkFileSystem(&'static str),
    /// No index: a database of another program, or no database at all.
    #[error("a file of another program")]
    Foreign,
    /// An index of a later version of this program.
    #[error("an index of a newer version ({found}, this program knows {known})")]
    Newer {
        /// The version of the file.
        found: i64,
        /// The version that this program writes.
        known: i64,
    },
    /// Cut off, overwritten or otherwise not what was written.
    #[error("damaged: {0}")]
    Damaged(String),
    /// Another program holds it.
    #[error("locked by another program")]
    Locked,
    /// It may be read only, and an index that learns nothing is of no use.
    #[error("read-only")]
    ReadOnly,
    /// The disk is full.
    #[error("disk is full")]
    Full,
    /// This machine does not start the thread that writes.
    #[error("cannot start a thread")]
    NoThread(#[source] io::Error),
    /// Anything else.
    #[error("index failed")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

impl IndexError {
    /// Whether a new file in place of this one would do.
    pub(super) fn is_of_content(&self) -> bool {
        matches!(self, IndexError::Newer { .. } | IndexError::Damaged(_))
    }
}

/// What happened to the file of an index that goes on working.
#[derive(Debug)]
pub enum IndexEvent {
    /// It was of no use, was renamed, and a new one was begun.
    SetAside {
        /// What was wrong with it.
        reason: IndexError,
        /// Where it is now.
        to: PathBuf,
    },
    /// Digests made from now on are kept in memory only; if it can be written again later,
    /// it is.
    NotWritten(IndexError),
    /// From now on the file is not read or written at all.
    GivenUp(IndexError),
}

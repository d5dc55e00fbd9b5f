//! Errors of an index, and events of its file.

use std::error::Error;
use std::io;
use std::path::PathBuf;

/// Why the file of an index cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The directory cannot be made, entered or looked at.
    #[error("directory of the index cannot be used")]
    Directory(#[source] io::Error),
    /// The name stands for something else, such as a directory or a device.
    #[error("not a regular file")]
    NotAFile,
    /// Other users own it or can write it, and so could forge digests; or it is a link.
    #[error("{what} {why}")]
    NotOurs {
        /// The name of the file, or its directory.
        what: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It is on a network file system, where locks between programs are not reliable.
    #[error("on a network file system ({0}), where locks are not reliable")]
    NetworkFileSystem(&'static str),
    /// It is a database of another program, or no database.
    #[error("a file of another program")]
    Foreign,
    /// It is an index of a later version of this program.
    #[error("an index of a newer version ({found}, this program knows {known})")]
    Newer {
        /// The version of the file.
        found: i64,
        /// The version that this program writes.
        known: i64,
    },
    /// It is cut off, overwritten or otherwise damaged.
    #[error("damaged: {0}")]
    Damaged(String),
    /// Another program holds its lock.
    #[error("locked by another program")]
    Locked,
    /// It is read-only, and an index that cannot learn is of no use.
    #[error("read-only")]
    ReadOnly,
    /// The disk is full.
    #[error("disk is full")]
    Full,
    /// The thread that writes cannot be started.
    #[error("cannot start a thread")]
    NoThread(#[source] io::Error),
    /// Any other error.
    #[error("index failed")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

impl IndexError {
    /// Whether a new file would cure this error.
    pub(super) fn needs_new_file(&self) -> bool {
        matches!(self, IndexError::Newer { .. } | IndexError::Damaged(_))
    }
}

/// An event of an index file, after which the index continues to work.
#[derive(Debug)]
pub enum IndexEvent {
    /// The file was unusable. It was renamed, and a new one was created.
    SetAside {
        /// What was wrong with the file.
        reason: IndexError,
        /// Its new path.
        to: PathBuf,
    },
    /// New digests are kept in memory only. They are written again if that becomes possible.
    NotWritten(IndexError),
    /// The file is not read or written any more.
    GivenUp(IndexError),
}

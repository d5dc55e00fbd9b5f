//! Verified placement: write a partial file, sync it, rename it and sync its directory.
//!
//! The name of a partial file contains the digest of the whole content, so a resume needs no other
//! record. The process that holds the lock of a partial file owns it. A partial file without a lock
//! is left from a process that has ended.

mod capabilities;
mod closing;
mod copy;
mod entry_kind;
mod error_class;
mod existing_attributes;
mod file;
mod link;
mod name;
mod new_modes;
mod partials;
mod refused_name;
mod rename;
mod space;
mod staging_directory;
#[cfg(test)]
mod synced;
mod tree;
mod unwritten;

use std::io;
use std::path::{Path, PathBuf};

pub use capabilities::Unkept;
pub use entry_kind::EntryKind;
pub use file::{Attributes, Placement, StagedFile};
pub use link::PlacedLink;
pub use name::{FileName, FileNameError};
pub use new_modes::NewModes;
pub use partials::Orphans;
pub use space::Space;
pub(super) use space::{BTRFS, EXT, TMPFS, XFS};
pub use staging_directory::StagingDirectory;
#[cfg(test)]
pub(crate) use synced::{Synced, synced_below};
pub use tree::{DestinationTree, TargetInfo};
pub use unwritten::others_delay_sync;

/// Why a file could not be staged or placed. Every cause is on this machine.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The file system or the quota is full, or would be.
    #[error("no space: {needed} more bytes are needed, {available} are free")]
    NoSpace {
        /// Bytes still to be written.
        needed: u64,
        /// Bytes that are free for this user.
        available: u64,
    },
    /// A write failed because the disk is full, or because the file is longer than the file system
    /// allows.
    #[error("no space")]
    DiskFull(#[source] io::Error),
    /// The name exists and must not be replaced.
    #[error("a file of that name exists")]
    Exists,
    /// The entry of this name must not be replaced by a file.
    #[error("{0} and cannot be replaced by a file")]
    NotReplaceable(&'static str),
    /// Another program removed the partial file.
    #[error("another program removed the partial file")]
    Vanished,
    /// The destination directory cannot be used.
    #[error("cannot {doing} {}", .directory.display())]
    Directory {
        /// The action that failed, as in "cannot open the directory".
        doing: &'static str,
        /// The directory.
        directory: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
    /// A part of the destination path is no directory. Links on the way are not followed.
    #[error("{} is {what}, not a directory", .path.display())]
    NotADirectory {
        /// The path, below the destination.
        path: PathBuf,
        /// The kind of the entry, with an article.
        what: &'static str,
    },
    /// The file system does not take this name.
    #[error("file system does not accept the name {}", .name.escape_ascii())]
    NameRefused {
        /// The name of the file, link or directory.
        name: Vec<u8>,
        /// The error of the file system.
        source: io::Error,
    },
    /// A part of the path is not allowed as a file or directory name here.
    #[error(transparent)]
    Name(#[from] FileNameError),
    /// Any other error of the file system.
    #[error("cannot {doing}")]
    Io {
        /// The action that failed.
        doing: &'static str,
        /// The error of the file system.
        source: io::Error,
    },
}

/// For [`StageError::NotReplaceable`]: the entry is a device, a FIFO or a socket.
pub const NOT_REGULAR: &str = "that name is not a regular file";
/// For [`StageError::NotReplaceable`]: this process itself writes the file.
pub const WRITTEN_HERE: &str = "that name is a file that this program itself writes";

/// For [`StageError::NotReplaceable`]: the entry is a directory.
const OCCUPIED_BY_DIRECTORY: &str = "that name is a directory";

impl StageError {
    /// Turns the error of a system call into a [`StageError`].
    pub(crate) fn sort(doing: &'static str, errno: rustix::io::Errno) -> StageError {
        use rustix::io::Errno;
        match errno {
            Errno::NOSPC | Errno::DQUOT | Errno::FBIG => StageError::DiskFull(errno.into()),
            other => StageError::Io {
                doing,
                source: other.into(),
            },
        }
    }

    /// Whether this process or the system has run out of file descriptors.
    pub(crate) fn lacks_descriptors(&self) -> bool {
        use rustix::io::Errno;
        matches!(
            self,
            StageError::Directory { source, .. } | StageError::Io { source, .. }
                if matches!(Errno::from_io_error(source), Some(Errno::MFILE | Errno::NFILE))
        )
    }

    /// Turns the error of a system call on a directory into a [`StageError`].
    pub(crate) fn of_directory(
        doing: &'static str,
        directory: &Path,
        errno: rustix::io::Errno,
    ) -> StageError {
        match StageError::sort(doing, errno) {
            StageError::Io { doing, source } => StageError::Directory {
                doing,
                directory: directory.to_owned(),
                source,
            },
            full => full,
        }
    }
}

#[cfg(test)]
mod tests;

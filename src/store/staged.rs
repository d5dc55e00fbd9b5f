//! Verified placement: a partial file, then sync, rename and sync of the folder.
//!
//! The name of a partial file says what it is a prefix of, so that nothing else needs to be
//! remembered for a resume. Whoever holds its lock owns it; a partial file without a lock
//! was left by a process that is gone.

mod closing;
mod copy;
mod dressing;
mod file;
mod folder;
mod keeping;
mod link;
mod name;
mod new_modes;
mod occupant;
mod partials;
mod refusal;
mod refused_name;
mod rename;
mod space;
#[cfg(test)]
mod synced;
mod tree;
mod unwritten;

use std::io;
use std::path::{Path, PathBuf};

pub use file::{Attributes, Placement, StagedFile};
pub use folder::StagingFolder;
pub use keeping::Unkept;
pub use link::PlacedLink;
pub use name::{FileName, FileNameError};
pub use new_modes::NewModes;
pub use occupant::Occupant;
pub use partials::Orphans;
pub use space::Space;
pub(super) use space::{BTRFS, EXT, TMPFS, XFS};
#[cfg(test)]
pub(crate) use synced::{Synced, synced_below};
pub use tree::{DestinationTree, Ground};
pub use unwritten::is_held_up_by_others;

/// Why a file could not be staged or placed. All of it is about this machine.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The file system or the quota is full, or would be.
    #[error("no space: {needed} more bytes are needed, {available} are free")]
    NoSpace {
        /// Bytes that are still to be written.
        needed: u64,
        /// Bytes that are free for this user.
        available: u64,
    },
    /// A write found the disk full, whatever was free before, or the file longer than a
    /// file may be here.
    #[error("no space")]
    DiskFull(#[source] io::Error),
    /// Something of that name exists, and it must not be replaced.
    #[error("a file of that name exists")]
    Exists,
    /// The name stands for something that must not be replaced by a file.
    #[error("{0}, and not replaced by a file")]
    NotReplaceable(&'static str),
    /// The partial file is no longer there: somebody else removed it.
    #[error("partial file was removed by someone else")]
    Vanished,
    /// The folder that files go into cannot be used.
    #[error("cannot {doing} {}", .folder.display())]
    Folder {
        /// What was tried.
        doing: &'static str,
        /// The folder.
        folder: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// On the way to where a file goes, a name is taken by something that is no folder. No
    /// link is followed there.
    #[error("{} is {what}, not a folder", .path.display())]
    NotAFolder {
        /// The name, with the path of the destination before it.
        path: PathBuf,
        /// What it is, with an article.
        what: &'static str,
    },
    /// The file system cannot have this name.
    #[error("file system here does not take the name {}", .name.escape_ascii())]
    NameRefused {
        /// Of the file, the link or the directory.
        name: Vec<u8>,
        /// What the file system said.
        source: io::Error,
    },
    /// A part of the path is no name that a file or folder may get here.
    #[error(transparent)]
    Name(#[from] FileNameError),
    /// Anything else that the file system said.
    #[error("cannot {doing}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What the file system said.
        source: io::Error,
    },
}

/// Of [`StageError::NotReplaceable`]: the name is that of a device, a FIFO, a socket.
pub const NOT_REGULAR: &str = "that name is not a regular file";
/// Why a file that this process itself writes is not replaced.
pub const WRITTEN_HERE: &str = "that name is a file that this program itself writes";

/// Of the same: a folder.
const OCCUPIED_BY_FOLDER: &str = "that name is a directory";

impl StageError {
    /// Sorts what a file system call said.
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

    /// Whether this process, or all together, have as many descriptors as they may have.
    pub(crate) fn is_want_of_descriptors(&self) -> bool {
        use rustix::io::Errno;
        matches!(
            self,
            StageError::Folder { source, .. } | StageError::Io { source, .. }
                if matches!(Errno::from_io_error(source), Some(Errno::MFILE | Errno::NFILE))
        )
    }

    /// The same, for what is about the folder itself.
    pub(crate) fn of_folder(
        doing: &'static str,
        folder: &Path,
        errno: rustix::io::Errno,
    ) -> StageError {
        match StageError::sort(doing, errno) {
            StageError::Io { doing, source } => StageError::Folder {
                doing,
                folder: folder.to_owned(),
                source,
            },
            full => full,
        }
    }
}

#[cfg(test)]
mod tests;

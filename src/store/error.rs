//! Why a store does not give an object.

use std::io;

use crate::wire::{PATH_BYTES_MAX, PATH_PARTS_MAX};

/// Why a store does not give an object.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is nothing of that name, or it is hidden, or it is outside the root.
    #[error("no such file")]
    NotFound,
    /// The root itself leads to nothing that can be served, for now.
    #[error("served directory is not there now")]
    Away,
    /// It is not on the mount of the root, and only that was looked at.
    #[error("no such file on the mount of the root")]
    OffRoot,
    /// The file system does not answer.
    #[error("file system does not answer")]
    Stalled,
    /// A file was asked for and this is a directory.
    #[error("name stands for a directory")]
    IsDirectory,
    /// A part in the middle of the path is not a directory.
    #[error("part of the path is not a directory")]
    NotADirectory,
    /// Neither a file nor a directory: a FIFO, a socket, a device.
    #[error("name stands for something that is not a regular file")]
    NotAFile,
    /// A folder of a file system whose files are no bytes at rest, such as /proc.
    #[error("folder holds no files at rest")]
    NotAtRest,
    /// A folder with a name in it whose path nobody can ask for, over [`PATH_BYTES_MAX`] or
    /// [`PATH_PARTS_MAX`].
    #[error(
        "folder holds names too deep to ask for: over {PATH_PARTS_MAX} parts or {PATH_BYTES_MAX} bytes"
    )]
    TooDeep,
    /// The server's user may not read it.
    #[error("server may not read this")]
    Forbidden,
    /// The tree changed under the look-up too often, or descriptors ran out.
    #[error("file system is busy")]
    Busy(#[source] io::Error),
    /// Anything else that the file system said.
    #[error("file system failed")]
    Io(#[source] io::Error),
}

//! Why a store cannot return an object.

use std::io;

use crate::wire::{PATH_BYTES_MAX, PATH_PARTS_MAX};

/// Why a store cannot return an object.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing has this name, or it is hidden or outside the root.
    #[error("no such file")]
    NotFound,
    /// The path of the root leads to nothing that can be served, for now.
    #[error("served directory is missing now")]
    Away,
    /// The path leads off the mount of the root, and only that mount was searched.
    #[error("no such file on the mount of the root")]
    OffRoot,
    /// The file system does not answer in time.
    #[error("file system does not answer")]
    Stalled,
    /// The path stands for a directory, not a file.
    #[error("name stands for a directory")]
    IsDirectory,
    /// A part in the middle of the path is not a directory.
    #[error("part of the path is not a directory")]
    NotADirectory,
    /// The path stands for a FIFO, a socket or a device.
    #[error("name stands for something that is not a regular file")]
    NotAFile,
    /// A directory of a file system without stored files, such as /proc.
    #[error("directory is on a file system without stored files")]
    NotAtRest,
    /// A directory that contains a path over [`PATH_BYTES_MAX`] or [`PATH_PARTS_MAX`], which cannot
    /// be requested.
    #[error(
        "directory contains paths over the limit of {PATH_PARTS_MAX} parts or {PATH_BYTES_MAX} bytes"
    )]
    TooDeep,
    /// The server's user has no permission.
    #[error("server has no permission to read this")]
    Forbidden,
    /// The tree changed too often during the lookup, or descriptors ran out.
    #[error("file system is busy")]
    Busy(#[source] io::Error),
    /// Any other error of the file system.
    #[error("file system failed")]
    Io(#[source] io::Error),
}

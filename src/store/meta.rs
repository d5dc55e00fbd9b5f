//! What is known of an object without reading it.

use crate::wire::{ObjectKind, Timestamp};

/// What an object is: its kind, size, times, permissions, and its stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// What it is.
    pub kind: ObjectKind,
    /// Permission bits, at most `0o777`.
    pub mode: u32,
    /// Identity, size and times, to compare with a later look.
    pub stamp: Stamp,
}

impl ObjectMeta {
    /// Size in bytes; 0 for everything but files.
    pub fn size(&self) -> u64 {
        match self.kind {
            ObjectKind::File => self.stamp.size,
            ObjectKind::Directory | ObjectKind::Symlink | ObjectKind::Other => 0,
        }
    }
}

/// Which bytes an open file held when it was looked at, as far as a file system says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Device.
    pub device: u64,
    /// Inode.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Last written.
    pub mtime: Timestamp,
    /// Last changed in any way, names and permissions included.
    pub ctime: Timestamp,
}

impl Stamp {
    /// Whether a digest made under `self` answers a request that finds `now`: everything but
    /// ctime, since a new name, link or mode changes no byte.
    pub fn same_content(&self, now: &Stamp) -> bool {
        let _ = now;
        todo!()
    }

    /// Whether a digest made under this stamp may be kept: the times must be old enough at
    /// `looked_at` that a later write must move them.
    pub fn settled(&self, looked_at: Timestamp) -> bool {
        let _ = looked_at;
        todo!()
    }
}

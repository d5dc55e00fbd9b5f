//! Sorted listings of directories.

use crate::store::{ObjectMeta, StoreError};
use crate::wire::{ObjectKind, ResourcePath};

/// A listing in progress. Paths ascend, compared part by part as bytes, so a directory comes right
/// before its contents. An entry that exists the whole time appears exactly once.
pub trait Listing: Send {
    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// A directory cannot be read any further; the rest is unknown.
    fn next(&mut self) -> Result<Option<Listed>, StoreError>;

    /// The number of entries left out since the last call. Partial files do not count.
    fn take_hidden(&mut self) -> u64;

    /// Whether names that begin with a dot are left out.
    fn hides_names(&self) -> bool {
        false
    }

    /// The number of the root that is listed (see [`crate::store::Store::root_number`]).
    fn root(&self) -> u32 {
        0
    }

    /// The memory that the listing holds, in bytes, approximately.
    fn held_bytes(&self) -> usize;

    /// The number of open directories that the listing holds.
    fn held_descriptors(&self) -> usize;
}

/// One entry of a listing.
#[derive(Debug)]
pub struct Listed {
    /// The path from the root.
    pub path: ResourcePath,
    /// The kind of the entry; a link is not followed.
    pub kind: ObjectKind,
    /// The metadata; `None` if the entry could not be looked at.
    pub meta: Option<ObjectMeta>,
    /// The target of a link, if it is relative and stays inside.
    pub target: Option<Vec<u8>>,
    /// Why the entry could not be looked at or entered.
    pub error: Option<StoreError>,
}

impl Listed {
    /// The mode of a directory that denies its owner reading, writing or entering.
    pub fn locked_mode(&self) -> Option<u32> {
        let meta = self.meta?;
        let is_locked = self.kind == ObjectKind::Directory && meta.mode & 0o700 != 0o700;
        is_locked.then_some(meta.mode)
    }

    /// An entry with its metadata.
    pub fn of(path: ResourcePath, meta: ObjectMeta) -> Listed {
        Listed {
            path,
            kind: meta.kind,
            meta: Some(meta),
            target: None,
            error: None,
        }
    }

    /// An entry that could not be looked at.
    pub fn failed(path: ResourcePath, kind: ObjectKind, error: StoreError) -> Listed {
        Listed {
            path,
            kind,
            meta: None,
            target: None,
            error: Some(error),
        }
    }
}

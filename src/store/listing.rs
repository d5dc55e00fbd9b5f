//! What is in a folder, in order.

use crate::store::{ObjectMeta, StoreError};
use crate::wire::{ObjectKind, ResourcePath};

/// A listing that is under way: paths ascend, compared part by part, each part as bytes, so that
/// a folder comes right before its contents. What exists all the while appears once.
pub trait Listing: Send {
    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// A folder cannot be read any further: what follows is not known.
    fn next(&mut self) -> Result<Option<Listed>, StoreError>;

    /// How many entries were come upon that are not shown, since the last call. Partial files
    /// do not count.
    fn take_hidden(&mut self) -> u64;

    /// Whether names that begin with a dot are not shown.
    fn hides_names(&self) -> bool {
        false
    }

    /// The number of the root that it lists (see [`crate::store::Store::root_number`]).
    fn root(&self) -> u32 {
        0
    }

    /// Bytes of memory it holds, about.
    fn held_bytes(&self) -> usize;

    /// Open folders it holds.
    fn held_descriptors(&self) -> usize;
}

/// One entry of a listing.
#[derive(Debug)]
pub struct Listed {
    /// From the root.
    pub path: ResourcePath,
    /// What it is; a link is not followed.
    pub kind: ObjectKind,
    /// What it was found to be; `None` if it could not be looked at.
    pub meta: Option<ObjectMeta>,
    /// Where a link leads, if that is relative and inside.
    pub target: Option<Vec<u8>>,
    /// Why it could not be looked at or entered.
    pub error: Option<StoreError>,
}

impl Listed {
    /// The permissions of a folder in which its owner cannot do everything.
    pub fn locked_mode(&self) -> Option<u32> {
        let meta = self.meta?;
        let is_locked = self.kind == ObjectKind::Directory && meta.mode & 0o700 != 0o700;
        is_locked.then_some(meta.mode)
    }

    /// What was looked at.
    pub fn of(path: ResourcePath, meta: ObjectMeta) -> Listed {
        Listed {
            path,
            kind: meta.kind,
            meta: Some(meta),
            target: None,
            error: None,
        }
    }

    /// What could not be looked at.
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

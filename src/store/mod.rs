//! Where files live: a trait, a directory, a memory; what is known about their
//! digests; and placement that shows only what was verified.

mod beneath;
mod boot;
mod calls;
mod catalog;
mod coarse;
mod error;
mod flight;
mod hash;
mod identity;
mod index;
mod indexing;
mod lease;
mod links;
mod listing;
mod local;
mod local_digests;
mod memory;
mod meta;
mod mounts;
mod names;
mod passing;
mod staged;
mod walk;
mod watching;

use std::io;
use std::sync::Arc;

pub use boot::BootId;
pub use catalog::{Asker, Catalog, CatalogLimits, DigestState, WakeFn};
pub use error::StoreError;
pub use flight::Ticket;
pub use identity::Identity;
pub use index::{
    DigestIndex, FileIndex, InUse, IndexError, IndexEvent, KnownDigest, MEMORY_INDEX_ROWS_MAX,
    MemoryIndex, NoIndex,
};
pub use indexing::{FilesAndBytes, Indexing, IndexingError, IndexingProgress, Priority};
pub use links::leads_inside;
pub use listing::{Listed, Listing};
pub use local::{DirectoryOptions, DirectoryStore, OpenFile, RootChange};
pub use local_digests::{LocalDigest, LocalDigestError, LocalDigests};
pub use memory::{Hold, MemoryFile, MemoryStore};
pub use meta::{ObjectMeta, Stamp};
pub use staged::{
    Attributes, DestinationTree, FileName, FileNameError, Ground, NOT_REGULAR, NewModes, Occupant,
    Orphans, PlacedLink, Placement, Space, StageError, StagedFile, StagingFolder, Unkept,
    WRITTEN_HERE, is_held_up_by_others,
};
#[cfg(test)]
pub(crate) use staged::{Synced, synced_below};
pub use watching::{InotifyLimit, Watching};

use crate::wire::ResourcePath;

/// A tree of files that can be looked at and opened by checked paths.
pub trait Store: Send + Sync + 'static {
    /// An open file.
    type Object: Object;

    /// Opens a regular file for reading, without ever blocking.
    ///
    /// # Errors
    /// [`StoreError`]: what is outside, hidden and missing is `NotFound` alike.
    fn open(&self, path: &ResourcePath) -> Result<(Self::Object, ObjectMeta), StoreError>;

    /// Looks at a name: a file, a folder (the root too), or something else.
    ///
    /// # Errors
    /// As for [`Store::open`], but every kind of object is an answer.
    fn stat(&self, path: &ResourcePath) -> Result<ObjectMeta, StoreError>;

    /// Lists a folder, with `recursive` also what is below it, from behind `after` on, which
    /// lies below it; it need not be there any more.
    ///
    /// # Errors
    /// As for [`Store::open`]; `NotADirectory` for everything but a folder.
    fn list(
        &self,
        path: &ResourcePath,
        recursive: bool,
        after: Option<&ResourcePath>,
    ) -> Result<Box<dyn Listing>, StoreError>;

    /// The number of the root that is served now, for stores whose root may be replaced: another
    /// one after each change.
    fn root_number(&self) -> u32 {
        0
    }
}

impl<S: Store> Store for Arc<S> {
    type Object = S::Object;

    fn open(&self, path: &ResourcePath) -> Result<(S::Object, ObjectMeta), StoreError> {
        (**self).open(path)
    }

    fn stat(&self, path: &ResourcePath) -> Result<ObjectMeta, StoreError> {
        (**self).stat(path)
    }

    fn list(
        &self,
        path: &ResourcePath,
        recursive: bool,
        after: Option<&ResourcePath>,
    ) -> Result<Box<dyn Listing>, StoreError> {
        (**self).list(path, recursive, after)
    }

    fn root_number(&self) -> u32 {
        (**self).root_number()
    }
}

/// An open file: bytes at offsets, and what it is now.
pub trait Object: Send + Sync + 'static {
    /// Reads at most `buffer.len()` bytes from `offset`; 0 at the end.
    ///
    /// # Errors
    /// What the file system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// What the open file is at this moment.
    ///
    /// # Errors
    /// What the file system says.
    fn meta(&self) -> io::Result<ObjectMeta>;

    /// The same file, to be read once and only to be hashed.
    fn in_passing(self: Arc<Self>) -> Arc<dyn Object>
    where
        Self: Sized,
    {
        self
    }
}

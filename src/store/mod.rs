//! Where files are stored, in a directory or in memory; the digests that are known of them; and
//! verified placement of new files.

mod beneath;
mod boot;
mod calls;
mod catalog;
mod coarse;
mod error;
mod flight;
mod hash;
mod hash_reader;
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
mod sorted_names;
mod staged;
mod walk;
mod watching;

use std::io;
use std::sync::Arc;

pub use boot::BootId;
pub use catalog::{Catalog, CatalogLimits, DigestRequest, DigestState, WakeFn};
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
    Attributes, DestinationTree, EntryKind, FileName, FileNameError, NOT_REGULAR, NewModes,
    Orphans, PlacedLink, Placement, Space, StageError, StagedFile, StagingDirectory, TargetInfo,
    Unkept, WRITTEN_HERE, others_delay_sync,
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
    /// [`StoreError`]: a path that is outside, hidden or missing is always `NotFound`.
    fn open(&self, path: &ResourcePath) -> Result<(Self::Object, ObjectMeta), StoreError>;

    /// Looks at a path: a file, a directory (the root too), or something else.
    ///
    /// # Errors
    /// As for [`Store::open`], but every kind of object is a result.
    fn stat(&self, path: &ResourcePath) -> Result<ObjectMeta, StoreError>;

    /// Lists a directory, with `recursive` also everything below it. Starts after the path `after`,
    /// which is below the directory and may be missing by now.
    ///
    /// # Errors
    /// As for [`Store::open`]; `NotADirectory` for everything but a directory.
    fn list(
        &self,
        path: &ResourcePath,
        recursive: bool,
        after: Option<&ResourcePath>,
    ) -> Result<Box<dyn Listing>, StoreError>;

    /// The number of the root that is served now. A store whose root can be replaced returns
    /// another number after each change.
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

/// An open file: its bytes and its present metadata.
pub trait Object: Send + Sync + 'static {
    /// Reads at most `buffer.len()` bytes from `offset`; 0 at the end.
    ///
    /// # Errors
    /// The error of the file system.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The metadata of the open file at this moment.
    ///
    /// # Errors
    /// The error of the file system.
    fn meta(&self) -> io::Result<ObjectMeta>;

    /// The same file, for one pass of hashing that leaves the page cache as it is.
    fn for_hashing(self: Arc<Self>) -> Arc<dyn Object>
    where
        Self: Sized,
    {
        self
    }
}

//! Store, index and flights together: what everyone asks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::digest::Pools;
use crate::store::{DigestIndex, ObjectMeta, Stamp, Store, StoreError};
use crate::wire::{Md5Digest, Refusal, ResourcePath};

/// Called, from any thread and any number of times, when a [`Ticket`] has news.
pub type WakeFn = Arc<dyn Fn() + Send + Sync>;

/// Bounds of hashing (`PROTOCOL.md`, "Limits").
#[derive(Clone, Debug)]
pub struct CatalogLimits {
    /// Hashes of files over `queued_hash_bytes_min` that run at once.
    pub hashes_max: usize,
    /// The same for one address.
    pub hashes_per_address_max: usize,
    /// Files of at most this size never stand in line.
    pub queued_hash_bytes_min: u64,
    /// The longest stay in line, while no hash of anybody's advances past it.
    pub hash_queue_timeout: Duration,
    /// With `fresh`: a digest this young is fresh.
    pub fresh_for: Duration,
    /// So many digests of one file that changed meanwhile are `changed`.
    pub changed_hashes_max: u32,
}

/// A store with what is known about the digests of its files.
pub struct Catalog<S: Store> {
    store: S,
    index: Arc<dyn DigestIndex>,
    pools: Arc<Pools>,
    limits: CatalogLimits,
}

/// How far a digest is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DigestState {
    /// Made, of the bytes under this stamp.
    Ready(Md5Digest, Stamp),
    /// Being made, or in line: bytes hashed so far.
    Waiting {
        /// Bytes hashed so far; 0 in line.
        done: u64,
    },
    /// Not to be had: `busy`, `changed`, `shutting_down` or `internal`.
    Failed(Refusal),
}

/// One asker's place at one hash. Dropping it gives the place up; a hash that nobody waits
/// for stops.
pub struct Ticket {}

impl Ticket {
    /// Looks how far the hash is; also notices that the stay in line was too long.
    pub fn state(&self, now: Instant) -> DigestState {
        let _ = now;
        todo!()
    }
}

impl<S: Store> Catalog<S> {
    /// Puts the parts together.
    pub fn new(
        store: S,
        index: Arc<dyn DigestIndex>,
        pools: Arc<Pools>,
        limits: CatalogLimits,
    ) -> Catalog<S> {
        Catalog {
            store,
            index,
            pools,
            limits,
        }
    }

    /// Opens a file.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open(&self, path: &ResourcePath) -> Result<(S::Object, ObjectMeta), StoreError> {
        self.store.open(path)
    }

    /// Looks at a name.
    ///
    /// # Errors
    /// As [`Store::stat`].
    pub fn stat(&self, path: &ResourcePath) -> Result<ObjectMeta, StoreError> {
        self.store.stat(path)
    }

    /// The digest under this stamp, if it is known without reading the file. With `fresh`
    /// only one made within `fresh_for`.
    pub fn known(&self, stamp: &Stamp, fresh: bool) -> Option<Md5Digest> {
        let _ = (&self.index, stamp, fresh);
        todo!()
    }

    /// Keeps a digest that the caller made from bytes it read itself, if the stamp has settled.
    pub fn remember(&self, stamp: &Stamp, md5: Md5Digest) {
        let _ = (stamp, md5);
        todo!()
    }

    /// Joins the hash of this open file, or starts it. Askers of the same stamp share one
    /// hash (with `fresh`: only one begun after they asked). The digest is right for the object as it was
    /// opened (`Stamp::same_content` before and after). `address`: whom the hash counts for.
    pub fn digest(
        &self,
        object: Arc<S::Object>,
        meta: &ObjectMeta,
        fresh: bool,
        address: u128,
        wake: WakeFn,
    ) -> Ticket {
        let _ = (
            object,
            meta,
            fresh,
            address,
            wake,
            &self.pools,
            &self.limits,
        );
        todo!()
    }

    /// Stops every hash: the server drains.
    pub fn stop_hashing(&self) {
        todo!()
    }
}

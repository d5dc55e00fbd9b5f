//! The store, its index and the running hashes, together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::digest::Pools;
use crate::store::flight::Flights;
use crate::store::hash::{Hashing, STEP_BYTES, Turn};
use crate::store::index::keep;
use crate::store::meta::is_within;
use crate::store::{DigestIndex, Listing, Object, ObjectMeta, Stamp, Store, StoreError, Ticket};
use crate::wire::{ErrorCode, Md5Digest, Refusal, ResourcePath};

/// Called from any thread when a [`Ticket`] is ready or failed. That may be before the caller has
/// the ticket, or after it was dropped. It must not panic or block.
pub type WakeFn = Arc<dyn Fn() + Send + Sync>;

/// The limits of hashing (`PROTOCOL.md`, "Limits").
#[derive(Clone, Debug)]
pub struct CatalogLimits {
    /// Hashes of files over `queued_hash_bytes_min` that run at once.
    pub hashes_max: usize,
    /// Those hashes that run at once for one client address.
    pub hashes_per_address_max: usize,
    /// Files up to this size, in bytes, are never queued.
    pub queued_hash_bytes_min: u64,
    /// Turns of 4 MiB after which a hash gives its place to the next in the queue.
    pub hash_turns_in_place_max: u32,
    /// The longest time in the queue; a hash that has begun is never stopped by it.
    pub hash_queue_timeout: Duration,
    /// With `fresh`: a digest is fresh up to this age.
    pub fresh_for: Duration,
    /// Hashing fails with `changed` after this many attempts in which the file changed.
    pub changed_hashes_max: u32,
}

impl CatalogLimits {
    /// The limits of `PROTOCOL.md` for a machine with this many cores, at least 1.
    pub fn for_cores(cores: usize) -> CatalogLimits {
        CatalogLimits {
            hashes_max: cores.max(1),
            hashes_per_address_max: 2,
            queued_hash_bytes_min: 1024 * 1024,
            // 64 MiB: short compared with 60 s in the queue, and long compared with a disk seek.
            hash_turns_in_place_max: 16,
            hash_queue_timeout: Duration::from_secs(60),
            fresh_for: Duration::from_secs(10),
            changed_hashes_max: 3,
        }
    }
}

/// A request for a digest.
pub struct DigestRequest {
    /// The address that a newly started hash counts for. Joining a hash counts for no address.
    pub address: u128,
    /// Join a hash only if none of its bytes are read yet.
    pub fresh: bool,
    /// The bytes will be read again at once, to be sent.
    pub is_for_sending: bool,
    /// The time of the request, from which the time in the queue counts.
    pub asked_at: Instant,
    /// Called when the digest is made or failed.
    pub wake: WakeFn,
}

/// The state of a requested digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DigestState {
    /// The digest of the first `size` bytes under this stamp. The stamp is newer than that of the
    /// request if the file changed while it was hashed.
    Ready(Md5Digest, Stamp),
    /// The hash is running or queued.
    Waiting {
        /// Bytes hashed so far; 0 in the queue.
        done: u64,
    },
    /// The digest cannot be made: `busy`, `changed`, `shutting_down` or `internal`.
    Failed(Refusal),
}

/// A store, and the digests that are known of its files.
pub struct Catalog<S: Store> {
    store: S,
    index: Arc<dyn DigestIndex>,
    pools: Arc<Pools>,
    limits: CatalogLimits,
    pub(super) flights: Arc<Flights>,
}

impl<S: Store> Catalog<S> {
    /// Combines a store, an index, thread pools and limits.
    pub fn new(
        store: S,
        index: Arc<dyn DigestIndex>,
        pools: Arc<Pools>,
        limits: CatalogLimits,
    ) -> Catalog<S> {
        let flights = Flights::new(Arc::clone(&index), Arc::clone(&pools), limits.clone());
        Catalog {
            store,
            index,
            pools,
            limits,
            flights: Arc::new(flights),
        }
    }

    /// Opens a file.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open(&self, path: &ResourcePath) -> Result<(S::Object, ObjectMeta), StoreError> {
        self.store.open(path)
    }

    /// Looks at a path.
    ///
    /// # Errors
    /// As [`Store::stat`].
    pub fn stat(&self, path: &ResourcePath) -> Result<ObjectMeta, StoreError> {
        self.store.stat(path)
    }

    /// The digest of a file with this metadata, if the index has it. With `fresh`, only if it was
    /// made at most `fresh_for` before the metadata.
    pub fn known(&self, meta: &ObjectMeta, fresh: bool) -> Option<Md5Digest> {
        let known = self.index.look_up(&meta.stamp)?;
        let is_due = !fresh || is_within(self.limits.fresh_for, known.made, meta.looked_at);
        is_due.then_some(known.md5)
    }

    /// Keeps a digest that the caller made from bytes that it read after this look, if the stamp
    /// was the same afterwards. Does nothing if the stamp had not settled at the look.
    pub fn remember(&self, meta: &ObjectMeta, md5: Md5Digest) {
        keep(&*self.index, meta, md5);
    }

    /// Joins the running hash of this open file, or starts one.
    ///
    /// Requests with the same device, inode, size and mtime share one hash. It reads the bytes that
    /// the file had at the look and compares the stamp at the end. If the content changed, it
    /// starts again with new metadata. Growth is no change (see [`Stamp::still_begins`]).
    pub fn digest(
        &self,
        object: Arc<S::Object>,
        meta: &ObjectMeta,
        request: DigestRequest,
    ) -> Ticket {
        let object: Arc<dyn Object> = match request.is_for_sending {
            true => object,
            false => object.for_hashing(),
        };
        self.flights.join(object, meta, request)
    }

    /// The thread pools for hashing, and for other work that takes as long.
    pub fn pools(&self) -> &Arc<Pools> {
        &self.pools
    }

    /// Lists a directory.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn list(
        &self,
        path: &ResourcePath,
        recursive: bool,
        after: Option<&ResourcePath>,
    ) -> Result<Box<dyn Listing>, StoreError> {
        self.store.list(path, recursive, after)
    }

    /// The number of the root that is served now.
    pub fn root_number(&self) -> u32 {
        self.store.root_number()
    }

    /// Whether a file of this size is hashed at once by the thread that needs it, without a queue.
    pub fn is_short(&self, size: u64) -> bool {
        size <= self.limits.queued_hash_bytes_min
    }

    /// Hashes an open file in the calling thread, if [`Catalog::is_short`]. Returns the digest and
    /// the metadata that it is for.
    ///
    /// # Errors
    /// `changed`, or `internal` if the file cannot be read.
    pub fn digest_now(
        &self,
        object: S::Object,
        meta: ObjectMeta,
    ) -> Result<(Md5Digest, ObjectMeta), Refusal> {
        let mut hashing = Hashing::begin(Arc::new(object).for_hashing(), meta);
        let room = usize::try_from(meta.size()).map_or(STEP_BYTES, |size| size.min(STEP_BYTES));
        let mut buffer = vec![0; room.max(1)];
        loop {
            match hashing.turn(&mut buffer, self.limits.changed_hashes_max, |_| true) {
                Turn::Unfinished => {}
                Turn::Restarted if self.is_short(hashing.meta().size()) => {}
                // A long file must not block the calling thread.
                Turn::Restarted => {
                    let message =
                        "file changed while it was hashed and is now too long to hash at once";
                    return Err(Refusal::new(ErrorCode::Changed, message));
                }
                Turn::Failed(error) => return Err(error.into()),
                Turn::Made { md5, is_untouched } => {
                    let meta = *hashing.meta();
                    if is_untouched {
                        self.remember(&meta, md5);
                    }
                    return Ok((md5, meta));
                }
            }
        }
    }

    /// Ends every hash, now and later, with `shutting_down`, because the server drains.
    pub fn stop_hashing(&self) {
        self.flights.stop();
    }
}

#[cfg(test)]
impl Catalog<crate::store::DirectoryStore> {
    /// Checks where the path of the root leads.
    pub(crate) fn check_root(&self) {
        self.store.check_root();
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::store::{Identity, NoIndex};
    use crate::wire::{ErrorCode, ObjectKind, Timestamp};

    /// A file of a few bytes that turns out to be empty, and then grows to a terabyte.
    #[derive(Default)]
    struct Swelling {
        reads: AtomicU64,
    }

    impl Object for Swelling {
        fn read_at(&self, buffer: &mut [u8], _offset: u64) -> io::Result<usize> {
            match self.reads.fetch_add(1, Ordering::Relaxed) {
                0 => Ok(0),
                read => {
                    assert!(read < 100, "all of it is read");
                    Ok(buffer.len())
                }
            }
        }

        fn meta(&self) -> io::Result<ObjectMeta> {
            Ok(look(1 << 40))
        }
    }

    impl Store for Swelling {
        type Object = Swelling;

        fn open(&self, _path: &ResourcePath) -> Result<(Swelling, ObjectMeta), StoreError> {
            Ok((Swelling::default(), look(5)))
        }

        fn stat(&self, _path: &ResourcePath) -> Result<ObjectMeta, StoreError> {
            Ok(look(5))
        }

        fn list(
            &self,
            _path: &ResourcePath,
            _recursive: bool,
            _after: Option<&ResourcePath>,
        ) -> Result<Box<dyn Listing>, StoreError> {
            Err(StoreError::NotADirectory)
        }
    }

    fn look(size: u64) -> ObjectMeta {
        let time = Timestamp {
            seconds: 1,
            nanoseconds: 0,
        };
        ObjectMeta {
            kind: ObjectKind::File,
            mode: 0o644,
            stamp: Stamp {
                device: 1,
                inode: 2,
                identity: Identity::Lasting,
                size,
                mtime: time,
                ctime: time,
            },
            looked_at: time,
        }
    }

    #[test]
    fn a_short_file_that_becomes_long_is_not_hashed_at_once() {
        let pools = Arc::new(Pools::start(1).unwrap());
        let limits = CatalogLimits::for_cores(1);
        let catalog = Catalog::new(Swelling::default(), Arc::new(NoIndex), pools, limits);
        let (object, meta) = catalog.open(&ResourcePath::root()).unwrap();
        let refusal = catalog.digest_now(object, meta).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::Changed);
    }
}

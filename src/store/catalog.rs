//! Store, index and flights together: what everyone asks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::digest::Pools;
use crate::store::flight::Flights;
use crate::store::hash::{Hashing, STEP_BYTES, Turn};
use crate::store::index::keep;
use crate::store::meta::is_within;
use crate::store::{DigestIndex, Listing, Object, ObjectMeta, Stamp, Store, StoreError, Ticket};
use crate::wire::{ErrorCode, Md5Digest, Refusal, ResourcePath};

/// Called, from any thread, when a [`Ticket`] is ready or failed: perhaps before the asker
/// has it, perhaps after it was dropped. It must not panic or block.
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
    /// Turns of 4 MiB that a hash takes before the next in line has its place, if there is one.
    pub hash_turns_in_place_max: u32,
    /// The longest stay in line; a hash that has begun is never cut short.
    pub hash_queue_timeout: Duration,
    /// With `fresh`: a digest this young is fresh.
    pub fresh_for: Duration,
    /// So many digests of one file that changed meanwhile are `changed`.
    pub changed_hashes_max: u32,
}

impl CatalogLimits {
    /// The limits of `PROTOCOL.md` for a machine of so many cores, at least 1.
    pub fn for_cores(cores: usize) -> CatalogLimits {
        CatalogLimits {
            hashes_max: cores.max(1),
            hashes_per_address_max: 2,
            queued_hash_bytes_min: 1024 * 1024,
            // 64 MiB: short beside the 60 s in line, and long beside a disk's seek.
            hash_turns_in_place_max: 16,
            hash_queue_timeout: Duration::from_secs(60),
            fresh_for: Duration::from_secs(10),
            changed_hashes_max: 3,
        }
    }
}

/// Who asks for a digest.
pub struct Asker {
    /// Whom a hash that is started for this counts for; joining one counts for nobody.
    pub address: u128,
    /// Join only a hash none of whose bytes were read yet.
    pub fresh: bool,
    /// The bytes will be read again at once, to be sent.
    pub is_for_sending: bool,
    /// Now, from where the stay in line is counted.
    pub asked_at: Instant,
    /// Called when the digest is made or failed.
    pub wake: WakeFn,
}

/// How far a digest is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DigestState {
    /// Made, of the first `size` bytes under this stamp, which is later than the asker's own
    /// if the file changed while it was hashed.
    Ready(Md5Digest, Stamp),
    /// Being made, or in line.
    Waiting {
        /// Bytes hashed so far; 0 in line.
        done: u64,
    },
    /// Not to be had: `busy`, `changed`, `shutting_down` or `internal`.
    Failed(Refusal),
}

/// A store with what is known about the digests of its files.
pub struct Catalog<S: Store> {
    store: S,
    index: Arc<dyn DigestIndex>,
    pools: Arc<Pools>,
    limits: CatalogLimits,
    pub(super) flights: Arc<Flights>,
}

impl<S: Store> Catalog<S> {
    /// Puts the parts together.
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

    /// Looks at a name.
    ///
    /// # Errors
    /// As [`Store::stat`].
    pub fn stat(&self, path: &ResourcePath) -> Result<ObjectMeta, StoreError> {
        self.store.stat(path)
    }

    /// The digest of the file as it was looked at, if it is known without reading it. With
    /// `fresh` only one made at most `fresh_for` before that look.
    pub fn known(&self, meta: &ObjectMeta, fresh: bool) -> Option<Md5Digest> {
        let known = self.index.look_up(&meta.stamp)?;
        let is_due = !fresh || is_within(self.limits.fresh_for, known.made, meta.looked_at);
        is_due.then_some(known.md5)
    }

    /// Keeps a digest that the caller made itself, from bytes it read after this look and with
    /// the stamp found the same after them. Does nothing if the stamp had not settled at the
    /// look.
    pub fn remember(&self, meta: &ObjectMeta, md5: Md5Digest) {
        keep(&*self.index, meta, md5);
    }

    /// Joins the hash of this open file, or starts it.
    ///
    /// Askers of the same device, inode, size and mtime share one hash. It reads the bytes the
    /// file had at the look, compares the stamp after the last one, and begins anew with a new
    /// look if they changed; that the file grew is no change (see [`Stamp::still_begins`]).
    pub fn digest(&self, object: Arc<S::Object>, meta: &ObjectMeta, asker: Asker) -> Ticket {
        let object: Arc<dyn Object> = match asker.is_for_sending {
            true => object,
            false => object.in_passing(),
        };
        self.flights.join(object, meta, asker)
    }

    /// The pools that hashing is done on, for what takes as long.
    pub fn pools(&self) -> &Arc<Pools> {
        &self.pools
    }

    /// Lists a folder.
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

    /// Whether a file of this size is hashed at once by whoever wants its digest, and stands in
    /// no line.
    pub fn is_short(&self, size: u64) -> bool {
        size <= self.limits.queued_hash_bytes_min
    }

    /// Hashes this open file in the calling thread, for a file that [`Catalog::is_short`]. Gives
    /// the look at the file that the digest is for.
    ///
    /// # Errors
    /// `changed`, or `internal` if it cannot be read.
    pub fn digest_now(
        &self,
        object: S::Object,
        meta: ObjectMeta,
    ) -> Result<(Md5Digest, ObjectMeta), Refusal> {
        let mut hashing = Hashing::begin(Arc::new(object).in_passing(), meta);
        let room = usize::try_from(meta.size()).map_or(STEP_BYTES, |size| size.min(STEP_BYTES));
        let mut buffer = vec![0; room.max(1)];
        loop {
            match hashing.turn(&mut buffer, self.limits.changed_hashes_max, |_| true) {
                Turn::Unfinished => {}
                Turn::BegunAnew if self.is_short(hashing.meta().size()) => {}
                // Whoever asks here has no time for more.
                Turn::BegunAnew => {
                    let message = "file changed while it was hashed, and is long now";
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

    /// Ends every hash, now and later, with `shutting_down`: the server drains.
    pub fn stop_hashing(&self) {
        self.flights.stop();
    }
}

#[cfg(test)]
impl Catalog<crate::store::DirectoryStore> {
    /// Looks where the name of the root leads.
    pub(crate) fn look_again(&self) {
        self.store.look_again();
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::store::{Identity, NoIndex};
    use crate::wire::{ErrorCode, ObjectKind, Timestamp};

    /// A file of a few bytes that turns out to be empty, and is a terabyte then.
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

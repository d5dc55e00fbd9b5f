//! Bounds what listings hold between two pages.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::server::descriptors;
use crate::server::transfer::outbox::{KeptBytes, Share};
use crate::server::transfer::page::PendingEntry;
use crate::store::Listing;
use crate::wire::{ListRequest, ResourcePath};

/// The space that the pages and listings of all connections share.
#[derive(Clone)]
pub(super) struct ListingCache {
    /// Bytes of names and of unfinished pages.
    bytes: Arc<AtomicUsize>,
    bytes_max: usize,
    descriptors: Arc<AtomicUsize>,
    descriptors_max: usize,
    /// Bytes of answers.
    kept: Arc<AtomicUsize>,
    kept_max: usize,
}

/// A reserved part of the space.
pub(super) struct CacheShare {
    _bytes: Share,
    _descriptors: Share,
}

impl ListingCache {
    /// An empty cache. `kept` counts the bytes of answers.
    pub(super) fn new(kept: &Arc<AtomicUsize>) -> ListingCache {
        ListingCache {
            bytes: Arc::default(),
            bytes_max: BYTES_MAX,
            descriptors: Arc::default(),
            descriptors_max: descriptors::for_listings(),
            kept: Arc::clone(kept),
            kept_max: 0,
        }
    }

    /// A handle to this cache, with this limit for the bytes of answers.
    pub(super) fn with_kept_max(&self, kept_max: usize) -> ListingCache {
        ListingCache {
            kept_max,
            ..self.clone()
        }
    }

    /// Reserves space; `None` if too little is free.
    pub(super) fn take(&self, bytes: usize, descriptors: usize) -> Option<CacheShare> {
        if descriptors > DESCRIPTORS_EACH_MAX {
            return None;
        }
        Some(CacheShare {
            _bytes: Share::within(bytes, &self.bytes, self.bytes_max)?,
            _descriptors: Share::within(descriptors, &self.descriptors, self.descriptors_max)?,
        })
    }

    /// Keeps the bytes of an answer; `None` if too little space is free.
    pub(super) fn keep(&self, bytes: Vec<u8>) -> Option<KeptBytes> {
        KeptBytes::within(bytes, &self.kept, self.kept_max)
    }
}

#[cfg(test)]
impl ListingCache {
    /// A cache with space for so many bytes of names.
    pub(super) fn with_bytes_max(bytes_max: usize) -> ListingCache {
        ListingCache {
            bytes_max,
            kept_max: usize::MAX,
            ..ListingCache::new(&Arc::default())
        }
    }

    /// Reserved bytes of names, and descriptors.
    pub(super) fn taken(&self) -> (usize, usize) {
        use std::sync::atomic::Ordering;
        let [bytes, descriptors] =
            [&self.bytes, &self.descriptors].map(|taken| taken.load(Ordering::Relaxed));
        (bytes, descriptors)
    }

    /// Whether nothing is reserved.
    pub(super) fn is_empty(&self) -> bool {
        use std::sync::atomic::Ordering;
        [&self.bytes, &self.descriptors, &self.kept]
            .iter()
            .all(|taken| taken.load(Ordering::Relaxed) == 0)
    }
}

/// A listing that a connection keeps open between two pages.
pub(super) struct OpenListing {
    pub(super) path: ResourcePath,
    pub(super) recursive: bool,
    pub(super) digest: bool,
    pub(super) after: ResourcePath,
    pub(super) listing: Box<dyn Listing>,
    pub(super) pending: VecDeque<PendingEntry>,
    pub(super) cache_share: CacheShare,
}

impl OpenListing {
    /// Whether `request` continues this listing.
    pub(super) fn continues(&self, request: &ListRequest, after: Option<&ResourcePath>) -> bool {
        Some(&self.after) == after
            && (&self.path, self.recursive, self.digest)
                == (&request.path, request.recursive, request.digest)
    }
}

/// Above this limit, directories are read again for the next page.
const BYTES_MAX: usize = 64 << 20;
/// Open directories that one listing may keep.
const DESCRIPTORS_EACH_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_descriptors_bytes_and_kept_answers() {
        let cache = ListingCache::with_bytes_max(0);
        assert!(cache.take(0, 16).is_some());
        assert!(cache.take(0, 17).is_none());
        assert!(cache.take(1, 0).is_none());
        assert!(
            ListingCache::new(&Arc::default())
                .keep(vec![b'x'])
                .is_none()
        );
    }
}

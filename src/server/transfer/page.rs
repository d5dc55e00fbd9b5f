//! Builds one page of a listing.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::digest::Md5Stream;
use crate::server::transfer::listing_cache::{CacheShare, ListingCache, OpenListing};
use crate::server::transfer::outbox::KeptBytes;
use crate::server::transfer::reply::{
    error_reply, not_listed, root_replaced, store_refusal, too_many_unread, unreadable,
};
use crate::store::{Catalog, Listed, Listing, ObjectMeta, Store, StoreError};
use crate::wire::{
    ErrorCode, LIST_PAGE_BYTES_MAX, ListEntry, ListRequest, Md5Digest, ObjectKind, Refusal,
    ResourcePath,
};

/// A page that is being built.
pub(super) struct Page {
    pub(super) request: ListRequest,
    /// The page starts after this entry.
    after: Option<ResourcePath>,
    /// The number of the listed root, once known. A listing never mixes two roots.
    pub(super) root: Option<u32>,
    listing: Option<Box<dyn Listing>>,
    /// Entries that were read from the listing and are not on the page yet.
    pending: VecDeque<PendingEntry>,
    bytes: Vec<u8>,
    entries: usize,
    /// The last entry on the page.
    pub(super) last: Option<ResourcePath>,
    hidden: u64,
    /// Whether the store hides names that begin with a dot.
    hides_names: bool,
    /// When the work on this page began.
    started: Option<Instant>,
    /// What the page has reserved in the cache while no thread works on it.
    cache_share: Option<CacheShare>,
}

/// An entry that is not on the page yet.
pub(super) struct PendingEntry {
    listed: Listed,
    /// Names that were hidden between the previous entry and this one.
    hidden: u64,
    md5: Option<Md5Digest>,
    refusal: Option<Refusal>,
}

/// The state of a page after some work.
pub(super) enum PageState<O> {
    /// The page is complete. `has_more` tells whether entries follow on a further page.
    Made {
        body: KeptBytes,
        md5: Md5Digest,
        has_more: bool,
    },
    /// The next entry needs the digest of this file.
    Awaits(Arc<O>, ObjectMeta),
    /// The page failed.
    Failed(Refusal),
}

/// Why the work on a page stops.
enum Pause<O> {
    /// No space or time is left for more entries.
    Full,
    /// The listing has ended.
    Last,
    Awaits(Arc<O>, ObjectMeta),
    Failed(Refusal),
}

impl Page {
    pub(super) fn new(
        request: ListRequest,
        after: Option<(ResourcePath, u32)>,
        open: Option<OpenListing>,
    ) -> Page {
        let (after, root) = after.unzip();
        let open = open.filter(|open| open.continues(&request, after.as_ref()));
        let (listing, pending, cache_share) = match open {
            None => (None, VecDeque::new(), None),
            Some(open) => (Some(open.listing), open.pending, Some(open.cache_share)),
        };
        Page {
            request,
            after,
            root,
            listing,
            pending,
            bytes: Vec::new(),
            entries: 0,
            last: None,
            hidden: 0,
            hides_names: false,
            started: None,
            cache_share,
        }
    }

    /// Continues the page, in a thread of the foreground pool. Polls `continues` to learn whether
    /// the client still waits. Reserves space in `cache` for what the page holds afterwards.
    pub(super) fn advance<S: Store>(
        &mut self,
        catalog: &Arc<Catalog<S>>,
        cache: &ListingCache,
        continues: impl Fn() -> bool,
    ) -> PageState<S::Object> {
        self.cache_share = None;
        let pause = self.work(catalog, continues);
        let has_more = match pause {
            Pause::Failed(refusal) => return PageState::Failed(refusal),
            Pause::Awaits(object, meta) => {
                if self.take_cache_share(cache) {
                    return PageState::Awaits(object, meta);
                }
                // The cache has no space, so the page ends here and the next one waits for the
                // digest.
                true
            }
            Pause::Full => true,
            Pause::Last => false,
        };
        let bytes = mem::take(&mut self.bytes);
        let md5 = Md5Stream::digest(&bytes);
        let Some(body) = cache.keep(bytes) else {
            return PageState::Failed(too_many_unread());
        };
        if has_more {
            self.take_cache_share(cache);
        } else {
            self.listing = None;
        }
        PageState::Made {
            body,
            md5,
            has_more,
        }
    }

    fn work<S: Store>(
        &mut self,
        catalog: &Arc<Catalog<S>>,
        continues: impl Fn() -> bool,
    ) -> Pause<S::Object> {
        let started = *self.started.get_or_insert_with(Instant::now);
        let ListRequest {
            path, recursive, ..
        } = &self.request;
        let listing = match self.listing.take() {
            Some(listing) => Ok(listing),
            None => catalog.list(path, *recursive, self.behind()),
        };
        let mut listing = match listing {
            Ok(listing) => listing,
            Err(error) => return Pause::Failed(not_listed(&error, || catalog.stat(path))),
        };
        self.hides_names = listing.hides_names();
        let root = *self.root.get_or_insert_with(|| listing.root());
        if root != listing.root() {
            return Pause::Failed(root_replaced());
        }
        let pause = loop {
            if !continues() {
                break Pause::Failed(Refusal::new(ErrorCode::Internal, "client no longer waits"));
            }
            if let Some(pause) = self.write(catalog) {
                break pause;
            }
            if self.entries > 0 && started.elapsed() >= self.time_max() {
                break Pause::Full;
            }
            match self.gather(&mut *listing, catalog) {
                Ok(true) => {}
                Ok(false) => {
                    self.hidden += listing.take_hidden();
                    break Pause::Last;
                }
                Err(error) => break Pause::Failed(store_refusal(&error)),
            }
        };
        // Digests come from files that were opened by name below the current root.
        if self.request.digest && catalog.root_number() != root {
            return Pause::Failed(root_replaced());
        }
        self.listing = Some(listing);
        pause
    }

    /// The last entry that was read from the listing.
    fn behind(&self) -> Option<&ResourcePath> {
        let pending = self.pending.back().map(|pending| &pending.listed.path);
        pending.or(self.last.as_ref()).or(self.after.as_ref())
    }

    /// Reserves space for what the page holds. Without space it drops what can be read again.
    /// `false` means that there is no space even for the entries written so far.
    fn take_cache_share(&mut self, cache: &ListingCache) -> bool {
        if let Some(listing) = &self.listing {
            let pending = self.pending.iter().map(PendingEntry::held_bytes);
            let bytes = listing.held_bytes() + pending.sum::<usize>() + self.bytes.capacity();
            self.cache_share = cache.take(bytes, listing.held_descriptors());
        }
        if self.cache_share.is_some() {
            return true;
        }
        self.listing = None;
        self.pending.truncate(1);
        self.bytes.shrink_to_fit();
        self.cache_share = cache.take(self.bytes.capacity(), 0);
        self.cache_share.is_some() || self.bytes.is_empty()
    }

    /// Sets the digest that the next entry needed.
    pub(super) fn set_digest(&mut self, md5: Md5Digest, meta: &ObjectMeta) {
        if let Some(next) = self.pending.front_mut() {
            next.md5 = Some(md5);
            next.listed.meta = Some(*meta);
        }
    }

    /// Sets the error of the next entry, whose digest failed.
    ///
    /// # Errors
    /// The refusal itself, if it concerns the whole page.
    pub(super) fn set_failure(mut self: Box<Self>, refusal: Refusal) -> Result<Box<Page>, Refusal> {
        match self.pending.front_mut() {
            Some(next) if !matches!(refusal.code, ErrorCode::Busy | ErrorCode::ShuttingDown) => {
                next.refusal = Some(refusal);
                Ok(self)
            }
            _ => Err(refusal),
        }
    }

    /// The number of hidden names; `None` if the store hides none.
    pub(super) fn hidden(&self) -> Option<u64> {
        (self.hides_names || self.hidden > 0).then_some(self.hidden)
    }

    /// What the connection keeps for the next page; `None` if the cache had no space for it.
    pub(super) fn into_open(self) -> Option<OpenListing> {
        let (listing, after) = (self.listing?, self.last?);
        Some(OpenListing {
            path: self.request.path,
            recursive: self.request.recursive,
            digest: self.request.digest,
            after,
            listing,
            pending: self.pending,
            cache_share: self.cache_share?,
        })
    }

    /// Moves pending entries to the page. `None` means that none are left and the page has space.
    fn write<S: Store>(&mut self, catalog: &Catalog<S>) -> Option<Pause<S::Object>> {
        while let Some(next) = self.pending.front_mut() {
            if self.entries >= self.request.limit {
                return Some(Pause::Full);
            }
            if self.request.digest && next.awaits_digest().is_some() {
                match catalog.open(&next.listed.path) {
                    Ok((object, meta)) => return Some(Pause::Awaits(Arc::new(object), meta)),
                    Err(StoreError::NotFound) => {
                        self.hidden += next.hidden;
                        self.pending.pop_front();
                        continue;
                    }
                    Err(error) => next.refusal = Some(store_refusal(&error)),
                }
            }
            let start = self.bytes.len();
            next.encode(&mut self.bytes);
            if self.bytes.len() > LIST_PAGE_BYTES_MAX && self.entries > 0 {
                self.bytes.truncate(start);
                return Some(Pause::Full);
            }
            self.entries += 1;
            self.hidden += next.hidden;
            self.last = self.pending.pop_front().map(|next| next.listed.path);
        }
        None
    }

    /// Reads more entries. `false` means that the listing has ended.
    fn gather<S: Store>(
        &mut self,
        listing: &mut dyn Listing,
        catalog: &Arc<Catalog<S>>,
    ) -> Result<bool, StoreError> {
        while self.pending.len() < GATHERED_MAX {
            let Some(listed) = listing.next()? else { break };
            let known = listed.meta.filter(|meta| meta.kind == ObjectKind::File);
            let md5 = known.and_then(|meta| catalog.known(&meta, false));
            self.pending.push_back(PendingEntry {
                listed,
                hidden: listing.take_hidden(),
                md5,
                refusal: None,
            });
        }
        if self.request.digest {
            let is_short = |next: &&mut PendingEntry| {
                let meta = next.awaits_digest();
                meta.is_some_and(|meta| catalog.is_short(meta.size()))
            };
            let unknown: Vec<&mut PendingEntry> =
                self.pending.iter_mut().filter(is_short).collect();
            let paths = unknown.iter().map(|next| next.listed.path.clone());
            let hashing = Arc::clone(catalog);
            let hashed = catalog
                .pools()
                .map(paths.collect(), move |path| hash(&hashing, &path));
            for (next, hashed) in unknown.into_iter().zip(hashed) {
                next.take(hashed.unwrap_or_else(|| Err(unreadable())));
            }
        }
        Ok(!self.pending.is_empty())
    }

    fn time_max(&self) -> Duration {
        if self.request.digest {
            DIGESTS_TIME_MAX
        } else {
            TIME_MAX
        }
    }
}

impl PendingEntry {
    /// The metadata of a file whose digest is missing and not refused.
    fn awaits_digest(&self) -> Option<ObjectMeta> {
        let meta = self.listed.meta?;
        let awaits = meta.kind == ObjectKind::File && self.md5.is_none() && self.refusal.is_none();
        awaits.then_some(meta)
    }

    fn take(&mut self, hashed: Result<Option<(Md5Digest, ObjectMeta)>, Refusal>) {
        match hashed {
            Ok(Some((md5, meta))) => {
                self.md5 = Some(md5);
                self.listed.meta = Some(meta);
            }
            Ok(None) => {}
            Err(refusal) => self.refusal = Some(refusal),
        }
    }

    fn held_bytes(&self) -> usize {
        let target = self.listed.target.as_ref().map_or(0, Vec::len);
        size_of::<PendingEntry>() + self.listed.path.as_bytes().len() + target
    }

    fn encode(&self, page: &mut Vec<u8>) {
        let Listed {
            path,
            kind,
            meta,
            target,
            error,
        } = &self.listed;
        let refusal = error.as_ref().map(store_refusal);
        let refusal = refusal.as_ref().or(self.refusal.as_ref());
        let entry = ListEntry {
            path: path.clone(),
            kind: *kind,
            total_size: meta.map_or(0, |meta| meta.size()),
            md5: self.md5,
            mtime: meta.map(|meta| meta.stamp.mtime),
            mode: meta.map(|meta| meta.mode),
            target: target.as_deref().map(Into::into),
            error: refusal.map(error_reply),
        };
        entry.encode(page);
    }
}

/// The digest of a short file. `None` if it has grown: then it waits in the queue of long hashes.
fn hash<S: Store>(
    catalog: &Catalog<S>,
    path: &ResourcePath,
) -> Result<Option<(Md5Digest, ObjectMeta)>, Refusal> {
    let (object, meta) = catalog.open(path).map_err(|error| store_refusal(&error))?;
    if !catalog.is_short(meta.size()) {
        return Ok(None);
    }
    catalog.digest_now(object, meta).map(Some)
}

/// Entries that are read before the first of them is written.
const GATHERED_MAX: usize = 256;
/// Time limit of a page. A page that reaches it is short.
const TIME_MAX: Duration = Duration::from_secs(1);
/// The limit if the page needs digests.
const DIGESTS_TIME_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    mod room;

    use std::fs;

    use super::*;
    use crate::digest::Pools;
    use crate::store::{CatalogLimits, DirectoryOptions, DirectoryStore, MemoryIndex};

    fn catalog(root: &std::path::Path) -> Arc<Catalog<DirectoryStore>> {
        let options = DirectoryOptions {
            show_hidden: false,
            follow_links_inside: true,
        };
        let store = DirectoryStore::open_root(root, options).unwrap();
        let pools = Arc::new(Pools::start(2).unwrap());
        let limits = CatalogLimits {
            queued_hash_bytes_min: 1,
            ..CatalogLimits::for_cores(2)
        };
        let index = Arc::new(MemoryIndex::new());
        Arc::new(Catalog::new(store, index, pools, limits))
    }

    /// All entries, page by page, the number of digests that were waited for, and of hidden
    /// names.
    fn listed(
        catalog: &Arc<Catalog<DirectoryStore>>,
        cache: &ListingCache,
        limit: usize,
    ) -> (Vec<String>, u32, u64) {
        let (mut entries, mut waits, mut hidden) = (Vec::new(), 0, 0);
        let (mut after, mut open) = (None, None);
        loop {
            let request = ListRequest {
                recursive: true,
                digest: true,
                limit,
                ..ListRequest::first(ResourcePath::parse(b"").unwrap())
            };
            let mut page = Page::new(request, after.take(), open.take());
            let (body, has_more) = loop {
                match page.advance(catalog, cache, || true) {
                    PageState::Made { body, has_more, .. } => break (body, has_more),
                    PageState::Failed(refusal) => panic!("{refusal:?}"),
                    PageState::Awaits(object, meta) => {
                        let object = Arc::into_inner(object).unwrap();
                        let (md5, meta) = catalog.digest_now(object, meta).unwrap();
                        page.set_digest(md5, &meta);
                        waits += 1;
                    }
                }
            };
            for line in body.bytes().split_inclusive(|byte| *byte == b'\n') {
                let entry = ListEntry::parse(line.strip_suffix(b"\n").unwrap()).unwrap();
                let name = String::from_utf8_lossy(entry.path.as_bytes()).into_owned();
                assert_eq!(
                    entry.md5.is_some(),
                    entry.kind == ObjectKind::File,
                    "{name}"
                );
                entries.push(name);
            }
            hidden += page.hidden;
            if !has_more {
                return (entries, waits, hidden);
            }
            after = page.last.clone().zip(page.root);
            open = page.into_open();
        }
    }

    #[test]
    fn pages_without_cache_space_join_to_the_same_listing() {
        let directory = tempfile::tempdir().unwrap();
        let mut expected = Vec::new();
        for part in ["a", "b", "c", "d"] {
            let inner = directory.path().join(part).join("in");
            fs::create_dir_all(&inner).unwrap();
            fs::write(inner.join(".hidden"), "").unwrap();
            expected.extend([part.to_owned(), format!("{part}/in")]);
            for name in ["empty", "long", "other"] {
                let text = if name == "empty" {
                    ""
                } else {
                    "more than one byte"
                };
                fs::write(inner.join(name), text).unwrap();
                expected.push(format!("{part}/in/{name}"));
            }
        }
        fs::write(directory.path().join(".hidden"), "").unwrap();
        let catalog = catalog(directory.path());
        // No cache at all; the names of one page; everything.
        for bytes_max in [0, 600, 1 << 30] {
            let cache = ListingCache::with_bytes_max(bytes_max);
            for limit in [1, 2, 3, 7, 100] {
                let (entries, waits, hidden) = listed(&catalog, &cache, limit);
                assert_eq!(entries, expected, "{bytes_max} bytes, {limit} entries");
                assert_eq!(hidden, 5, "{bytes_max} bytes, {limit} entries");
                assert!(waits >= 8, "{waits}");
                assert!(cache.is_empty());
            }
        }
    }

    #[test]
    fn a_listing_never_continues_in_another_root() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        let make = |text: &str| {
            fs::create_dir(&root).unwrap();
            for name in ["a", "b", "c"] {
                fs::write(root.join(name), text).unwrap();
            }
        };
        make("first");
        let catalog = catalog(&root);
        let cache = ListingCache::with_bytes_max(1 << 20);
        let begin = |digest, after, open| {
            let request = ListRequest {
                digest,
                limit: 1,
                ..ListRequest::first(ResourcePath::root())
            };
            let mut page = Page::new(request, after, open);
            let state = page.advance(&catalog, &cache, || true);
            (page, state)
        };
        let (page, state) = begin(false, None, None);
        assert!(matches!(state, PageState::Made { has_more: true, .. }));
        let after = page.last.clone().zip(page.root);
        let open = page.into_open();
        let (waiting, state) = begin(true, None, None);
        assert!(matches!(state, PageState::Awaits(..)));

        fs::rename(&root, directory.path().join("moved")).unwrap();
        make("second");
        catalog.check_root();
        let (page, state) = begin(false, after.clone(), open);
        assert!(matches!(state, PageState::Made { has_more: true, .. }));
        assert_eq!(page.root, Some(0), "an open listing continues");
        let mut waiting = waiting;
        for state in [
            begin(false, after, None).1,
            waiting.advance(&catalog, &cache, || true),
        ] {
            let PageState::Failed(refusal) = state else {
                panic!("two roots in one listing");
            };
            assert_eq!(refusal.code, ErrorCode::Changed);
        }
    }
}

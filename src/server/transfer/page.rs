//! One page of a listing in the making.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::server::transfer::outbox::Share;
use crate::server::transfer::reply::{said_of, store_refusal};
use crate::store::{Catalog, Listed, Listing, ObjectMeta, Store, StoreError};
use crate::wire::{
    ErrorCode, LIST_PAGE_BYTES_MAX, ListEntry, ListRequest, Md5Digest, ObjectKind, Refusal,
    ResourcePath,
};

/// A page, as far as it is made.
pub(super) struct Page {
    pub(super) request: ListRequest,
    /// The entry behind which the page begins.
    after: Option<ResourcePath>,
    listing: Option<Box<dyn Listing>>,
    /// Entries that were come upon, and are not on the page yet.
    pending: VecDeque<Pending>,
    pub(super) bytes: Vec<u8>,
    entries: usize,
    /// The last entry on the page.
    pub(super) last: Option<ResourcePath>,
    pub(super) hidden: u64,
    begun: Instant,
}

struct Pending {
    listed: Listed,
    md5: Option<Md5Digest>,
    refusal: Option<Refusal>,
}

/// How far a page is.
pub(super) enum PageState<O> {
    /// There are more entries behind it.
    Full,
    /// The listing ends with it.
    Last,
    /// The next entry waits for the digest of this file.
    Awaits(Arc<O>, ObjectMeta),
    /// There will be none.
    Failed(Refusal),
}

/// A listing that a connection keeps between two pages.
pub(super) struct OpenListing {
    path: ResourcePath,
    recursive: bool,
    digest: bool,
    after: ResourcePath,
    listing: Box<dyn Listing>,
    pending: VecDeque<Pending>,
    _share: Share,
}

impl OpenListing {
    /// Whether this is the listing whose next page is asked for.
    fn continues(&self, request: &ListRequest, after: Option<&ResourcePath>) -> bool {
        Some(&self.after) == after
            && (&self.path, self.recursive, self.digest)
                == (&request.path, request.recursive, request.digest)
    }
}

impl Page {
    pub(super) fn new(
        request: ListRequest,
        after: Option<ResourcePath>,
        open: Option<OpenListing>,
    ) -> Page {
        let open = open.filter(|open| open.continues(&request, after.as_ref()));
        let (listing, pending) = open.map_or((None, VecDeque::new()), |open| {
            (Some(open.listing), open.pending)
        });
        Page {
            request,
            after,
            listing,
            pending,
            bytes: Vec::new(),
            entries: 0,
            last: None,
            hidden: 0,
            begun: Instant::now(),
        }
    }

    /// Goes on with the page, in a thread of the foreground pool. `goes_on` is asked now and
    /// then whether anybody waits for it.
    pub(super) fn advance<S: Store>(
        &mut self,
        catalog: &Catalog<S>,
        goes_on: impl Fn() -> bool,
    ) -> PageState<S::Object> {
        let ListRequest {
            path, recursive, ..
        } = &self.request;
        let listing = match self.listing.take() {
            Some(listing) => Ok(listing),
            None => catalog.list(path, *recursive, self.after.as_ref()),
        };
        let mut listing = match listing {
            Ok(listing) => listing,
            Err(error) => return PageState::Failed(not_listed(&error, catalog.stat(path))),
        };
        let state = loop {
            if !goes_on() {
                break PageState::Failed(Refusal::new(ErrorCode::Internal, "nobody waits"));
            }
            if let Some(state) = self.write(catalog) {
                break state;
            }
            let is_late = self.begun.elapsed() >= self.time_max();
            if self.entries > 0 && is_late {
                break PageState::Full;
            }
            match self.gather(&mut *listing, catalog) {
                Ok(true) => {}
                Ok(false) => break PageState::Last,
                Err(error) => break PageState::Failed(store_refusal(&error)),
            }
        };
        self.hidden += listing.take_hidden();
        self.listing = Some(listing);
        state
    }

    /// The digest that the next entry waited for.
    pub(super) fn take_digest(&mut self, md5: Md5Digest, meta: &ObjectMeta) {
        if let Some(next) = self.pending.front_mut() {
            next.md5 = Some(md5);
            next.listed.meta = Some(*meta);
        }
    }

    /// There is no digest for the next entry.
    ///
    /// # Errors
    /// The refusal, where it is one of the whole page.
    pub(super) fn take_failure(
        mut self: Box<Self>,
        refusal: Refusal,
    ) -> Result<Box<Page>, Refusal> {
        match self.pending.front_mut() {
            Some(next) if !matches!(refusal.code, ErrorCode::Busy | ErrorCode::ShuttingDown) => {
                next.refusal = Some(refusal);
                Ok(self)
            }
            _ => Err(refusal),
        }
    }

    /// What the connection keeps for the next page, unless that is too much.
    pub(super) fn into_open(
        self,
        share: impl FnOnce(usize) -> Option<Share>,
    ) -> Option<OpenListing> {
        let (listing, after) = (self.listing?, self.last?);
        if listing.held_descriptors() > KEPT_DESCRIPTORS_MAX {
            return None;
        }
        let held = listing.held_bytes() + self.pending.len() * size_of::<Pending>();
        Some(OpenListing {
            path: self.request.path,
            recursive: self.request.recursive,
            digest: self.request.digest,
            after,
            listing,
            pending: self.pending,
            _share: share(held)?,
        })
    }

    /// Moves pending entries to the page. `None`: there are none left, and room for more.
    fn write<S: Store>(&mut self, catalog: &Catalog<S>) -> Option<PageState<S::Object>> {
        while let Some(next) = self.pending.front_mut() {
            if self.entries >= self.request.limit {
                return Some(PageState::Full);
            }
            if self.request.digest && next.awaits_digest().is_some() {
                match catalog.open(&next.listed.path) {
                    Ok((object, meta)) => return Some(PageState::Awaits(Arc::new(object), meta)),
                    Err(StoreError::NotFound) => {
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
                return Some(PageState::Full);
            }
            self.entries += 1;
            self.last = self.pending.pop_front().map(|next| next.listed.path);
        }
        None
    }

    /// Comes upon some more entries. `false`: there are none.
    fn gather<S: Store>(
        &mut self,
        listing: &mut dyn Listing,
        catalog: &Catalog<S>,
    ) -> Result<bool, StoreError> {
        while self.pending.len() < GATHERED_MAX {
            let Some(listed) = listing.next()? else { break };
            let known = listed.meta.filter(|meta| meta.kind == ObjectKind::File);
            let md5 = known.and_then(|meta| catalog.known(&meta, false));
            self.pending.push_back(Pending {
                listed,
                md5,
                refusal: None,
            });
        }
        if self.request.digest {
            let mut unknown: Vec<&mut Pending> = self
                .pending
                .iter_mut()
                .filter(|next| {
                    next.awaits_digest()
                        .is_some_and(|meta| catalog.is_short(meta.size()))
                })
                .collect();
            catalog
                .pools()
                .for_each(&mut unknown, |next| next.hash(catalog));
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

impl Pending {
    /// The look at a file whose digest is not known and may be had.
    fn awaits_digest(&self) -> Option<ObjectMeta> {
        let meta = self.listed.meta?;
        let awaits = meta.kind == ObjectKind::File && self.md5.is_none() && self.refusal.is_none();
        awaits.then_some(meta)
    }

    fn hash<S: Store>(&mut self, catalog: &Catalog<S>) {
        let (object, meta) = match catalog.open(&self.listed.path) {
            Ok(opened) => opened,
            Err(error) => {
                self.refusal = Some(store_refusal(&error));
                return;
            }
        };
        if !catalog.is_short(meta.size()) {
            // It has grown: it stands in line like others.
            return;
        }
        match catalog.digest_now(object, meta) {
            Ok((md5, meta)) => {
                self.md5 = Some(md5);
                self.listed.meta = Some(meta);
            }
            Err(refusal) => self.refusal = Some(refusal),
        }
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
            error: refusal.map(said_of),
        };
        entry.encode(page);
    }
}

/// Why there is no listing of a name at which this was found.
fn not_listed(error: &StoreError, found: Result<ObjectMeta, StoreError>) -> Refusal {
    let refusal = store_refusal(error);
    match found.map(|meta| meta.kind) {
        // No part of the path is at fault, the whole of it is no folder's.
        Ok(ObjectKind::File | ObjectKind::Symlink | ObjectKind::Other)
            if refusal.code == ErrorCode::NotADirectory =>
        {
            Refusal::new(
                refusal.code,
                "name stands for something that is no directory",
            )
        }
        _ => refusal,
    }
}

/// Entries looked at before any of them is written.
const GATHERED_MAX: usize = 256;
/// How long a page may take; it is short then.
const TIME_MAX: Duration = Duration::from_secs(1);
/// The same where the digests of all files are waited for.
const DIGESTS_TIME_MAX: Duration = Duration::from_secs(5);
/// Open folders that a connection may keep between two pages.
const KEPT_DESCRIPTORS_MAX: usize = 16;

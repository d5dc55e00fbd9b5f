//! `list`: what is in a folder, page by page.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::digest::Md5Stream;
use crate::server::transfer::body::{Body, Source};
use crate::server::transfer::conversation::{Asked, Purpose, Reply};
use crate::server::transfer::exchange::Exchange;
use crate::server::transfer::making::{Making, Product, Work};
use crate::server::transfer::outbox::{Kept, Share};
use crate::server::transfer::page::{Page, PageState};
use crate::server::transfer::reply::busy;
use crate::store::Store;
use crate::wire::{ErrorCode, ListRequest, Refusal, ResponseHeader, cursor_behind, read_cursor};

impl<S: Store> Exchange<'_, S> {
    pub(super) fn list(&mut self, request: ListRequest) -> Result<Reply<S::Object>, Refusal> {
        let after = match &request.after {
            None => None,
            Some(cursor) => {
                let after = read_cursor(cursor).filter(|after| after.is_below(&request.path));
                let no_cursor =
                    || Refusal::new(ErrorCode::BadRequest, "after is no next of this folder");
                Some(after.ok_or_else(no_cursor)?)
            }
        };
        if self.handler.kept_bytes.load(Ordering::Relaxed) >= self.limits.kept_bytes_max {
            return Err(busy("too many answers wait to be read"));
        }
        let page = Page::new(request, after, self.state.listing.take());
        Ok(self.make_page(Box::new(page)))
    }

    /// Lets the foreground pool go on with a page.
    pub(super) fn make_page(&mut self, mut page: Box<Page>) -> Reply<S::Object> {
        let (making, maker) = Making::begin(Work::Page, page.request.progress, self.turn.waker());
        let catalog = Arc::clone(&self.handler.catalog);
        self.handler.catalog.pools().foreground(move || {
            let state = page.advance(&catalog, || !maker.is_unwanted());
            maker.deliver(Product::Page(page, state));
        });
        Reply::Make(Box::new(making))
    }

    /// Answers with a page, or waits for what it waits for.
    pub(super) fn take_page(
        &mut self,
        asked: &Asked,
        mut page: Box<Page>,
        state: PageState<S::Object>,
    ) -> Result<Reply<S::Object>, Refusal> {
        let has_more = match state {
            PageState::Failed(refusal) => return Err(refusal),
            PageState::Awaits(object, meta) => {
                let progress = page.request.progress;
                return Ok(self.await_digest(object, meta, false, progress, Purpose::Page(page)));
            }
            PageState::Full => true,
            PageState::Last => false,
        };
        let bytes = std::mem::take(&mut page.bytes);
        let md5 = Md5Stream::digest(&bytes);
        let next = page.last.as_ref().filter(|_| has_more).map(cursor_behind);
        let header = ResponseHeader {
            name: (&asked.name).into(),
            total_size: bytes.len() as u64,
            md5: Some(md5),
            id: asked.id.clone(),
            next: next.map(Into::into),
            hidden: page.hidden,
            ..ResponseHeader::default()
        };
        header.encode(self.desk.output.append());
        if has_more {
            self.state.listing = page.into_open(|held| self.share_of_listings(held));
        }
        let end = bytes.len() as u64;
        if end == 0 {
            let (body_bytes, md5) = (0, Some(md5));
            return Ok(Reply::Said { body_bytes, md5 });
        }
        let body = Body {
            source: Source::Memory(Kept::new(bytes, &self.handler.kept_bytes)),
            position: 0,
            end,
        };
        Ok(Reply::Send { body, md5 })
    }

    /// A share of what all connections keep for their listings; `None` if there is none left.
    fn share_of_listings(&self, bytes: usize) -> Option<Share> {
        let total = &self.handler.listing_bytes;
        (total.load(Ordering::Relaxed) + bytes <= LISTING_BYTES_MAX)
            .then(|| Share::of(bytes, total))
    }
}

/// Bytes of names that all connections keep between pages. Beyond it, folders are read again
/// for the next page.
const LISTING_BYTES_MAX: usize = 64 << 20;

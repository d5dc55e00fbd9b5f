//! `list`: the entries of a directory, page by page.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::server::transfer::body::{Body, Source};
use crate::server::transfer::connection_state::{Purpose, Reply, RequestInfo};
use crate::server::transfer::connection_turn::ConnectionTurn;
use crate::server::transfer::cursor::{cursor_behind, read_cursor};
use crate::server::transfer::page::{Page, PageState};
use crate::server::transfer::pending_body::{PendingBody, Product, Work};
use crate::server::transfer::reply::too_many_unread;
use crate::store::Store;
use crate::wire::{ErrorCode, ListRequest, Refusal, ResponseHeader};

impl<S: Store> ConnectionTurn<'_, S> {
    pub(super) fn list(&mut self, request: ListRequest) -> Result<Reply<S::Object>, Refusal> {
        let after = match &request.after {
            None => None,
            Some(cursor) => {
                let after = read_cursor(cursor, request.recursive)
                    .filter(|(after, _)| after.is_below(&request.path));
                let no_cursor = || {
                    Refusal::new(
                        ErrorCode::BadRequest,
                        "after is not a cursor of this directory",
                    )
                };
                Some(after.ok_or_else(no_cursor)?)
            }
        };
        if self.handler.kept_bytes.load(Ordering::Relaxed) >= self.limits.kept_bytes_max {
            return Err(too_many_unread());
        }
        let page = Page::new(request, after, self.state.listing.take());
        Ok(self.make_page(Box::new(page)))
    }

    /// Queues a page for the foreground pool.
    pub(super) fn make_page(&mut self, mut page: Box<Page>) -> Reply<S::Object> {
        let (mut pending, producer) =
            PendingBody::begin(Work::Page, page.request.progress, self.turn.waker());
        let catalog = Arc::clone(&self.handler.catalog);
        let listing_cache = self
            .handler
            .listing_cache
            .with_kept_max(self.limits.kept_bytes_max);
        let address = self.state.peer.address_key();
        pending.set_ticket(self.handler.page_queue.push(address, move || {
            let state = page.advance(&catalog, &listing_cache, || !producer.is_cancelled());
            producer.deliver(Product::Page(page, state));
        }));
        Reply::Make(Box::new(pending))
    }

    /// Answers with a page, or waits for the digest that it needs.
    pub(super) fn answer_page(
        &mut self,
        info: &RequestInfo,
        page: Box<Page>,
        state: PageState<S::Object>,
    ) -> Result<Reply<S::Object>, Refusal> {
        let (body, md5, has_more) = match state {
            PageState::Failed(refusal) => return Err(refusal),
            PageState::Awaits(object, meta) => {
                let progress = page.request.progress;
                return Ok(self.await_digest(object, meta, false, progress, Purpose::Page(page)));
            }
            PageState::Made {
                body,
                md5,
                has_more,
            } => (body, md5, has_more),
        };
        let end = body.bytes().len() as u64;
        let recursive = page.request.recursive;
        let behind = page.last.as_ref().filter(|_| has_more);
        let root = page.root.unwrap_or_default();
        let next = behind.map(|path| cursor_behind(path, recursive, root));
        let header = ResponseHeader {
            name: (&info.name).into(),
            total_size: end,
            md5: Some(md5),
            id: info.id.clone(),
            next: next.map(Into::into),
            last: !has_more,
            recursive,
            hidden: page.hidden(),
            ..ResponseHeader::default()
        };
        header.encode(self.buffers.output.append());
        if has_more {
            self.state.listing = page.into_open();
        }
        if end == 0 {
            let (body_bytes, md5) = (0, Some(md5));
            return Ok(Reply::Done { body_bytes, md5 });
        }
        let body = Body {
            source: Source::Memory(body),
            position: 0,
            end,
        };
        Ok(Reply::Send { body, md5 })
    }
}

//! `list`: what is in a folder, page by page.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::server::transfer::body::{Body, Source};
use crate::server::transfer::conversation::{Asked, Purpose, Reply};
use crate::server::transfer::cursor::{cursor_behind, read_cursor};
use crate::server::transfer::exchange::Exchange;
use crate::server::transfer::making::{Making, Product, Work};
use crate::server::transfer::page::{Page, PageState};
use crate::server::transfer::reply::too_many_unread;
use crate::store::Store;
use crate::wire::{ErrorCode, ListRequest, Refusal, ResponseHeader};

impl<S: Store> Exchange<'_, S> {
    pub(super) fn list(&mut self, request: ListRequest) -> Result<Reply<S::Object>, Refusal> {
        let after = match &request.after {
            None => None,
            Some(cursor) => {
                let after = read_cursor(cursor, request.recursive)
                    .filter(|(after, _)| after.is_below(&request.path));
                let no_cursor =
                    || Refusal::new(ErrorCode::BadRequest, "after is no next of this folder");
                Some(after.ok_or_else(no_cursor)?)
            }
        };
        if self.handler.kept_bytes.load(Ordering::Relaxed) >= self.limits.kept_bytes_max {
            return Err(too_many_unread());
        }
        let page = Page::new(request, after, self.state.listing.take());
        Ok(self.make_page(Box::new(page)))
    }

    /// Lets the foreground pool go on with a page.
    pub(super) fn make_page(&mut self, mut page: Box<Page>) -> Reply<S::Object> {
        let (mut making, maker) =
            Making::begin(Work::Page, page.request.progress, self.turn.waker());
        let catalog = Arc::clone(&self.handler.catalog);
        let shelf = self.handler.shelf.with_kept_max(self.limits.kept_bytes_max);
        let address = self.state.peer.address_key();
        making.stand(self.handler.line.enter(address, move || {
            let state = page.advance(&catalog, &shelf, || !maker.is_unwanted());
            maker.deliver(Product::Page(page, state));
        }));
        Reply::Make(Box::new(making))
    }

    /// Answers with a page, or waits for what it waits for.
    pub(super) fn take_page(
        &mut self,
        asked: &Asked,
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
            name: (&asked.name).into(),
            total_size: end,
            md5: Some(md5),
            id: asked.id.clone(),
            next: next.map(Into::into),
            last: !has_more,
            recursive,
            hidden: page.hidden(),
            ..ResponseHeader::default()
        };
        header.encode(self.desk.output.append());
        if has_more {
            self.state.listing = page.into_open();
        }
        if end == 0 {
            let (body_bytes, md5) = (0, Some(md5));
            return Ok(Reply::Said { body_bytes, md5 });
        }
        let body = Body {
            source: Source::Memory(body),
            position: 0,
            end,
        };
        Ok(Reply::Send { body, md5 })
    }
}

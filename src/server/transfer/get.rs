//! `get`: a file or a range of it, with its digest before its first byte.

use std::ops::Range;
use std::sync::Arc;

use crate::digest::Md5Stream;
use crate::server::transfer::body::{Body, Source};
use crate::server::transfer::connection_state::{BODY_STEP_BYTES, Purpose, Reply, RequestInfo};
use crate::server::transfer::connection_turn::ConnectionTurn;
use crate::server::transfer::reply::{read_refusal, store_refusal};
use crate::store::{Object, ObjectMeta, Store, StoreError};
use crate::wire::{ErrorCode, GetRequest, Md5Digest, Refusal, ResponseHeader};

impl<S: Store> ConnectionTurn<'_, S> {
    pub(super) fn get(
        &mut self,
        info: &RequestInfo,
        request: GetRequest,
    ) -> Result<Reply<S::Object>, Refusal> {
        for _ in 0..READ_TRIES_MAX {
            let catalog = &self.handler.catalog;
            let (object, meta) = catalog
                .open(&request.path)
                .map_err(|error| store_refusal(&error))?;
            if meta.size() > BODY_STEP_BYTES as u64 {
                return self.get_long(info, request, Arc::new(object), meta);
            }
            if let Some(reply) = self.get_short(info, &request, object, &meta)? {
                return Ok(reply);
            }
        }
        Err(Refusal::new(
            ErrorCode::Changed,
            "file changed each time it was read",
        ))
    }

    /// Reads the file at once and appends the whole answer. `None` if the file changed meanwhile.
    fn get_short(
        &mut self,
        info: &RequestInfo,
        request: &GetRequest,
        object: S::Object,
        meta: &ObjectMeta,
    ) -> Result<Option<Reply<S::Object>>, Refusal> {
        let catalog = &self.handler.catalog;
        let size = meta.size();
        // Hashing so few bytes costs less than a lookup, and its result is never stale.
        let looked_up = size > ALWAYS_HASHED_BYTES_MAX;
        let known = if looked_up {
            catalog.known(meta, request.fresh)
        } else {
            None
        };
        let read = match known {
            Some(md5) => part_of(request, md5, size)?.unwrap_or(0..0),
            None => 0..size,
        };
        let bytes = &mut self.buffers.body[..(read.end - read.start) as usize];
        if !read_exactly(&object, bytes, read.start).map_err(|error| read_refusal(&error))? {
            return Ok(None);
        }
        if size == 0
            && object
                .read_at(&mut [0], 0)
                .map_err(|error| read_refusal(&error))?
                > 0
        {
            // Files of /proc have size 0 and bytes all the same. Without bytes now, the file has
            // just grown.
            if object.meta().map_err(|error| read_refusal(&error))?.size() == 0 {
                return Err(store_refusal(&StoreError::NotAFile));
            }
        }
        let now = object.meta().map_err(|error| read_refusal(&error))?.stamp;
        if !meta.stamp.still_begins(&now) {
            return Ok(None);
        }
        let md5 = known.unwrap_or_else(|| Md5Stream::digest(bytes));
        if known.is_none() && looked_up && meta.stamp.same_content(&now) {
            catalog.remember(meta, md5);
        }

        let Some(part) = part_of(request, md5, size)? else {
            return Ok(Some(self.append_match(info, meta, md5)));
        };
        let output = self.buffers.output.append();
        body_header(info, request, meta, md5, &part).encode(output);
        let start = output.len();
        let within = (part.start - read.start) as usize..(part.end - read.start) as usize;
        output.extend_from_slice(&self.buffers.body[within]);
        let body_bytes = part.end - part.start;
        if body_bytes > ALWAYS_HASHED_BYTES_MAX {
            let body = Body {
                source: Source::File {
                    object: Arc::new(object),
                    stamp: meta.stamp,
                },
                position: part.start,
                end: part.end,
            };
            self.buffers.output.set_tail(start, body);
        }
        let md5 = Some(md5);
        Ok(Some(Reply::Done { body_bytes, md5 }))
    }

    fn get_long(
        &mut self,
        info: &RequestInfo,
        request: GetRequest,
        object: Arc<S::Object>,
        meta: ObjectMeta,
    ) -> Result<Reply<S::Object>, Refusal> {
        match self.handler.catalog.known(&meta, request.fresh) {
            Some(md5) => self.begin_body(info, &request, object, &meta, md5),
            None => {
                let (fresh, progress) = (request.fresh, request.progress);
                Ok(self.await_digest(object, meta, fresh, progress, Purpose::Get(request)))
            }
        }
    }

    /// Appends the header of a body that is sent in steps.
    pub(super) fn begin_body(
        &mut self,
        info: &RequestInfo,
        request: &GetRequest,
        object: Arc<S::Object>,
        meta: &ObjectMeta,
        md5: Md5Digest,
    ) -> Result<Reply<S::Object>, Refusal> {
        let Some(part) = part_of(request, md5, meta.size())? else {
            return Ok(self.append_match(info, meta, md5));
        };
        body_header(info, request, meta, md5, &part).encode(self.buffers.output.append());
        if part.is_empty() {
            let (body_bytes, md5) = (0, Some(md5));
            return Ok(Reply::Done { body_bytes, md5 });
        }
        let body = Body {
            source: Source::File {
                object,
                stamp: meta.stamp,
            },
            position: part.start,
            end: part.end,
        };
        Ok(Reply::Send { body, md5 })
    }

    /// Appends the answer for a client that already has this content.
    fn append_match(
        &mut self,
        info: &RequestInfo,
        meta: &ObjectMeta,
        md5: Md5Digest,
    ) -> Reply<S::Object> {
        let header = ResponseHeader {
            total_size: meta.size(),
            md5: Some(md5),
            body_size: Some(0),
            matched: true,
            ..describe(info, meta)
        };
        header.encode(self.buffers.output.append());
        Reply::Done {
            body_bytes: 0,
            md5: Some(md5),
        }
    }
}

/// The keys common to all answers about a file, besides its size and digest.
pub(super) fn describe<'a>(info: &'a RequestInfo, meta: &ObjectMeta) -> ResponseHeader<'a> {
    ResponseHeader {
        name: (&info.name).into(),
        mtime: Some(meta.stamp.mtime),
        mode: Some(meta.mode),
        id: info.id.clone(),
        ..ResponseHeader::default()
    }
}

fn body_header<'a>(
    info: &'a RequestInfo,
    request: &GetRequest,
    meta: &ObjectMeta,
    md5: Md5Digest,
    part: &Range<u64>,
) -> ResponseHeader<'a> {
    let ranged = request.range.is_some();
    ResponseHeader {
        total_size: meta.size(),
        md5: Some(md5),
        body_size: ranged.then_some(part.end - part.start),
        offset: ranged.then_some(part.start),
        ..describe(info, meta)
    }
}

/// The range to send of a file with this digest and size; `None` if the client has the content.
fn part_of(request: &GetRequest, md5: Md5Digest, size: u64) -> Result<Option<Range<u64>>, Refusal> {
    if request.want_md5.is_some_and(|wanted| wanted != md5) {
        return Err(Refusal::new(
            ErrorCode::Changed,
            format!("file's md5 is {md5} now"),
        ));
    }
    if request.have_md5 == Some(md5) {
        return Ok(None);
    }
    let range = request.range.unwrap_or_default();
    let end = range.end(size)?;
    Ok(Some(range.offset..end))
}

/// Fills `buffer` from `offset` on. `false` if the object ends before.
fn read_exactly(object: &impl Object, buffer: &mut [u8], offset: u64) -> std::io::Result<bool> {
    let mut filled = 0;
    while filled < buffer.len() {
        match object.read_at(&mut buffer[filled..], offset + filled as u64)? {
            0 => return Ok(false),
            count => filled += count,
        }
    }
    Ok(true)
}

const ALWAYS_HASHED_BYTES_MAX: u64 = 4 << 10;
const READ_TRIES_MAX: u32 = 3;

//! `stat`: the metadata of one name.

use std::sync::Arc;

use crate::server::transfer::connection_state::{Purpose, Reply, RequestInfo};
use crate::server::transfer::connection_turn::ConnectionTurn;
use crate::server::transfer::get::describe;
use crate::server::transfer::reply::store_refusal;
use crate::store::{ObjectMeta, Store};
use crate::wire::{Md5Digest, ObjectKind, Refusal, ResponseHeader, StatRequest};

impl<S: Store> ConnectionTurn<'_, S> {
    pub(super) fn stat(
        &mut self,
        info: &RequestInfo,
        request: StatRequest,
    ) -> Result<Reply<S::Object>, Refusal> {
        let catalog = &self.handler.catalog;
        let meta = catalog
            .stat(&request.path)
            .map_err(|error| store_refusal(&error))?;
        if meta.kind != ObjectKind::File {
            return Ok(self.append_stat(info, &meta, None));
        }
        let known = catalog.known(&meta, request.fresh);
        if known.is_some() || !request.digest {
            return Ok(self.append_stat(info, &meta, known));
        }
        let (object, meta) = catalog
            .open(&request.path)
            .map_err(|error| store_refusal(&error))?;
        let (fresh, progress) = (request.fresh, request.progress);
        Ok(self.await_digest(Arc::new(object), meta, fresh, progress, Purpose::Stat))
    }

    /// Appends the answer to `stat`.
    pub(super) fn append_stat(
        &mut self,
        info: &RequestInfo,
        meta: &ObjectMeta,
        md5: Option<Md5Digest>,
    ) -> Reply<S::Object> {
        let header = ResponseHeader {
            total_size: meta.size(),
            md5,
            body_size: Some(0),
            kind: Some(meta.kind),
            ..describe(info, meta)
        };
        header.encode(self.buffers.output.append());
        Reply::Done { body_bytes: 0, md5 }
    }
}

//! `run`: the output of a published command.

use std::thread;

use crate::digest::Md5Stream;
use crate::server::published::{CommandOutput, with_errors};
use crate::server::transfer::body::{Body, Source};
use crate::server::transfer::connection_state::{Reply, RequestInfo};
use crate::server::transfer::connection_turn::ConnectionTurn;
use crate::server::transfer::pending_body::{PendingBody, Product, Work};
use crate::server::transfer::reply::{too_many_unread, too_many_wait};
use crate::store::Store;
use crate::wire::{ErrorCode, Refusal, ResponseHeader, RunRequest};

impl<S: Store> ConnectionTurn<'_, S> {
    /// Starts a published command in a thread of its own. The number of such threads is limited.
    pub(super) fn run_command(
        &mut self,
        info: &mut RequestInfo,
        request: RunRequest,
    ) -> Result<Reply<S::Object>, Refusal> {
        if request.name.is_empty() && !self.handler.published.is_empty() {
            return self.published_names(info);
        }
        if !self.may_wait() {
            return Err(too_many_wait());
        }
        let address = self.state.peer.address_key();
        // Without a free place the request is refused before a thread starts.
        let permit = self.handler.published.reserve(&request.name, address)?;
        let (mut pending, producer) =
            PendingBody::begin(Work::Output, request.progress, self.turn.waker());
        pending.follow_run(permit.signals());
        let run = move || {
            let output = permit.run(|| producer.is_cancelled());
            producer.deliver(Product::Output(output));
        };
        thread::Builder::new()
            .name("ft-run".to_owned())
            .spawn(run)
            .map_err(|error| {
                let message = format!("command cannot be started: {error}");
                Refusal::new(ErrorCode::Internal, message)
            })?;
        Ok(Reply::Make(Box::new(pending)))
    }

    /// Answers with the names of the published commands, one per line.
    fn published_names(&mut self, info: &mut RequestInfo) -> Result<Reply<S::Object>, Refusal> {
        info.exit_status = Some(0);
        let names = self.handler.published.names();
        let md5 = Md5Stream::digest(&names);
        let end = names.len() as u64;
        let body = self
            .handler
            .listing_cache
            .with_kept_max(self.limits.kept_bytes_max);
        let body = body.keep(names).ok_or_else(too_many_unread)?;
        let header = ResponseHeader {
            name: (&info.name).into(),
            total_size: end,
            md5: Some(md5),
            id: info.id.clone(),
            exit_status: Some(0),
            ..ResponseHeader::default()
        };
        header.encode(self.buffers.output.append());
        let body = Body {
            source: Source::Memory(body),
            position: 0,
            end,
        };
        Ok(Reply::Send { body, md5 })
    }

    /// Answers with a command's output. A command that failed without output is answered with an
    /// error.
    pub(super) fn answer_output(
        &mut self,
        info: &mut RequestInfo,
        output: CommandOutput,
    ) -> Result<Reply<S::Object>, Refusal> {
        let (bytes, md5, exit_status) = (output.bytes, output.md5, output.exit_status);
        let last_errors = output.last_errors;
        info.exit_status = Some(exit_status);
        if bytes == 0 && exit_status != 0 {
            let sentence = format!("command ended with {exit_status}");
            let message = with_errors(&sentence, &last_errors);
            return Err(Refusal::new(ErrorCode::Internal, message));
        }
        let header = ResponseHeader {
            name: (&info.name).into(),
            total_size: bytes,
            md5: Some(md5),
            id: info.id.clone(),
            exit_status: Some(exit_status),
            error_output: (exit_status != 0 && !last_errors.is_empty()).then(|| last_errors.into()),
            ..ResponseHeader::default()
        };
        header.encode(self.buffers.output.append());
        if bytes == 0 {
            let (body_bytes, md5) = (0, Some(md5));
            return Ok(Reply::Done { body_bytes, md5 });
        }
        let body = Body {
            source: Source::Output {
                file: output.file,
                _space: output.space,
            },
            position: 0,
            end: bytes,
        };
        Ok(Reply::Send { body, md5 })
    }
}

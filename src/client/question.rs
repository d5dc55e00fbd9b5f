//! One question about one file, and whether an answer answers it.

use std::ops::Range;
use std::time::Instant;

use crate::client::agreement::{HASHING, Request, check, check_beginnings};
use crate::client::{ClientError, CommandEnd, ProtocolError, ReceivingHalf, ServerRefusal};
use crate::net::{Deadline, Wait};
use crate::wire::{
    Action, ByteRange, Call, ErrorCode, ErrorReply, GetRequest, Md5Digest, ResourcePath,
    ResponseHeader, RunRequest, Timestamp,
};

/// One question about one file.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) path: ResourcePath,
    /// It is a published command, to be run.
    pub(super) is_command: bool,
    /// Where to continue the content `want_md5`; 0 asks for the whole file.
    pub(super) offset: u64,
    /// How much to send; `None` asks for everything behind the offset.
    pub(super) length: Option<u64>,
    /// The digest and the size of the file that is here.
    pub(super) have: Option<(Md5Digest, u64)>,
    pub(super) want_md5: Option<Md5Digest>,
    pub(super) fresh: bool,
}

/// What a server said, checked against the question.
#[derive(Debug)]
pub(super) enum Answer {
    Refused(ServerRefusal),
    /// The server has what `have_md5` says; nothing of it follows.
    Match(Content),
    Content(Content),
    /// The same, of a command that was run.
    Output(Content, CommandEnd),
}

/// A file of which `body_bytes` from `offset` on follow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Content {
    pub(super) offset: u64,
    pub(super) body_bytes: u64,
    pub(super) total_size: u64,
    pub(super) md5: Md5Digest,
    pub(super) mtime: Option<Timestamp>,
    pub(super) mode: Option<u32>,
}

impl Content {
    /// Whether everything behind the offset follows.
    pub(super) fn is_to_the_end(&self) -> bool {
        self.offset + self.body_bytes == self.total_size
    }

    /// Whether bytes of this digest are the content.
    pub(super) fn check(&self, found: Md5Digest) -> Result<(), ClientError> {
        if found != self.md5 {
            return Err(ClientError::DigestMismatch {
                announced: self.md5,
                found,
            });
        }
        Ok(())
    }
}

impl Question {
    /// The bytes it asks for, if it says how many.
    pub(super) fn block(&self) -> Range<u64> {
        self.offset..self.offset + self.length.unwrap_or(0)
    }

    pub(super) fn call(&self) -> Call {
        if self.is_command {
            let run = RunRequest {
                name: self.path.as_bytes().to_vec(),
                progress: true,
            };
            return Call {
                action: Action::Run(run),
                id: None,
            };
        }
        let range = (self.offset > 0 || self.length.is_some()).then_some(ByteRange {
            offset: self.offset,
            length: self.length,
        });
        Call {
            action: Action::Get(GetRequest {
                range,
                have_md5: self.have_sent().map(|(md5, _)| md5),
                want_md5: self.want_md5,
                fresh: self.fresh,
                progress: true,
                ..GetRequest::whole(self.path.clone())
            }),
            id: None,
        }
    }

    /// The file that is here, if it may be the one that is asked for: another content than
    /// `want_md5` is no answer to the question.
    fn have_that_fits(&self) -> Option<(Md5Digest, u64)> {
        let fits = |md5| self.want_md5.is_none_or(|want_md5| want_md5 == md5);
        self.have.filter(|(md5, _)| fits(*md5))
    }

    /// What `have_md5` says, which no request for a range can have.
    pub(super) fn have_sent(&self) -> Option<(Md5Digest, u64)> {
        let is_range = self.offset > 0 || self.length.is_some();
        self.have_that_fits().filter(|_| !is_range)
    }

    /// Reads headers until one answers the question. `on_hashing` hears how far the server's
    /// digest is, and how large the file.
    pub(super) fn await_answer(
        &self,
        receiving: &mut ReceivingHalf,
        on_hashing: impl FnMut(u64, u64),
    ) -> Result<Answer, ClientError> {
        let request = Request::Content(self);
        let header = if self.is_command {
            await_output(request, receiving)?
        } else {
            await_header(request, receiving, on_hashing)?
        };
        Ok(self.understand(&header)?)
    }

    /// What an answer means that agrees with the question.
    fn understand(&self, header: &ResponseHeader<'_>) -> Result<Answer, ProtocolError> {
        if let Some(error) = &header.error {
            return Ok(Answer::Refused(refusal(error)));
        }
        let md5 = header.md5.ok_or(ProtocolError::NoDigest)?;
        if header.matched {
            return Ok(Answer::Match(content(header, md5, 0)));
        }
        let body_bytes = header.bytes_that_follow();
        let is_here = || self.have_that_fits().is_some_and(|(have, _)| have == md5);
        if body_bytes == 0 && self.length == Some(0) && is_here() {
            return Ok(Answer::Match(content(header, md5, 0)));
        }
        let content = Content {
            // A server that knows the three keys only sends the whole file whatever was asked.
            offset: header.offset.unwrap_or(0),
            ..content(header, md5, body_bytes)
        };
        Ok(match header.exit_status.filter(|_| self.is_command) {
            None => Answer::Content(content),
            Some(exit_status) => {
                let error_output = header.error_output.as_deref().map(str::to_owned);
                let end = CommandEnd {
                    exit_status,
                    error_output,
                };
                Answer::Output(content, end)
            }
        })
    }
}

/// What a header says of a file whose first bytes follow.
fn content(header: &ResponseHeader<'_>, md5: Md5Digest, body_bytes: u64) -> Content {
    Content {
        offset: 0,
        body_bytes,
        total_size: header.total_size,
        md5,
        mtime: header.mtime,
        mode: header.mode,
    }
}

/// Reads headers until one is no interim one; all agree with the request. An interim one counts as
/// progress only if the digest has advanced.
pub(super) fn await_header(
    request: Request<'_>,
    receiving: &mut ReceivingHalf,
    on_hashing: impl FnMut(u64, u64),
) -> Result<ResponseHeader<'static>, ClientError> {
    await_digests(request, 1, receiving, on_hashing)
}

/// The same, where digests of up to so many files may be made before the answer.
pub(super) fn await_digests(
    request: Request<'_>,
    files_max: usize,
    receiving: &mut ReceivingHalf,
    mut on_hashing: impl FnMut(u64, u64),
) -> Result<ResponseHeader<'static>, ClientError> {
    let limit = receiving.progress_timeout();
    let mut deadline = Deadline::after(Instant::now(), Wait::Hashing, limit);
    let (mut of, mut furthest, mut counted, mut beginnings) = (None, 0, 0, 0);
    loop {
        let header = receiving.header()?;
        check(request, &header)?;
        let Some(interim) = &header.interim else {
            return Ok(header);
        };
        let (done, total_size) = (interim.done, header.total_size);
        let now = Instant::now();
        let is_known = interim.status == HASHING;
        // Another file, or one that has changed meanwhile.
        let is_begun = is_known && (of != Some(total_size) || done < furthest);
        if is_begun {
            beginnings += 1;
            check_beginnings(beginnings, files_max)?;
            (of, furthest, counted) = (Some(total_size), done, done);
            on_hashing(done, total_size);
        }
        // Fewer bytes at a time are no progress: they would keep a client waiting for ever.
        let step = (total_size / HASHING_STEPS).clamp(1, HASHED_BYTES_MIN);
        let counts_from = total_size.min(counted.saturating_add(step));
        let is_progress = is_known && done > counted && done >= counts_from && total_size > 0;
        if is_begun || is_progress {
            counted = done;
            deadline = Deadline::after(now, Wait::Hashing, limit);
        } else if deadline.is_over(now) {
            return Err(receiving.timed_out(Wait::Hashing));
        }
        if is_known && done > furthest {
            furthest = done;
            on_hashing(done, total_size);
        }
    }
}

/// Reads headers until one is no interim one. Each is a sign that the command runs, which has no
/// progress to show; how long it may run is for the server and the limit of the whole job to say.
fn await_output(
    request: Request<'_>,
    receiving: &mut ReceivingHalf,
) -> Result<ResponseHeader<'static>, ClientError> {
    loop {
        let header = receiving.header()?;
        check(request, &header)?;
        if header.interim.is_none() {
            return Ok(header);
        }
    }
}

pub(super) fn refusal(error: &ErrorReply<'_>) -> ServerRefusal {
    ServerRefusal {
        code: ErrorCode::parse(&error.code),
        spelling: error.code.to_string(),
        message: error.message.to_string(),
        retry_after: error.retry_after_ms.map(std::time::Duration::from_millis),
    }
}

/// A digest that advances by less within the longest time without progress stands still, unless
/// that is a good part of a small file.
const HASHED_BYTES_MIN: u64 = 1024 * 1024;
const HASHING_STEPS: u64 = 256;

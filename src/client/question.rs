//! One question about one file, and whether an answer answers it.

use std::ops::Range;
use std::time::Instant;

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
    pub(super) have_md5: Option<Md5Digest>,
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

impl Content {
    /// Whether it is this block of that content, and nothing else.
    pub(super) fn continues(
        &self,
        whole: &Content,
        block: &Range<u64>,
    ) -> Result<(), ProtocolError> {
        let bytes = block.end - block.start;
        for (key, found, expected) in [
            ("offset", self.offset, block.start),
            ("body_size", self.body_bytes, bytes),
            ("total_size", self.total_size, whole.total_size),
        ] {
            if found != expected {
                return Err(contradiction(key, found, expected));
            }
        }
        if self.md5 != whole.md5 {
            return Err(ProtocolError::OtherContent {
                expected: whole.md5,
                found: self.md5,
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
                // The two cannot be asked together.
                have_md5: self.have_md5.filter(|_| range.is_none()),
                want_md5: self.want_md5,
                fresh: self.fresh,
                progress: true,
                ..GetRequest::whole(self.path.clone())
            }),
            id: None,
        }
    }

    /// Reads headers until one answers the question. `on_hashing` hears how far the server's
    /// digest is, and how large the file.
    pub(super) fn await_answer(
        &self,
        receiving: &mut ReceivingHalf,
        on_hashing: impl FnMut(u64, u64),
    ) -> Result<Answer, ClientError> {
        let header = if self.is_command {
            await_output(&self.path, receiving)?
        } else {
            await_header(&self.path, receiving, on_hashing)?
        };
        Ok(self.check(&header)?)
    }

    fn check(&self, header: &ResponseHeader<'_>) -> Result<Answer, ProtocolError> {
        if let Some(error) = &header.error {
            nothing_follows(header)?;
            return Ok(Answer::Refused(refusal(error)));
        }
        let md5 = header.md5.ok_or(ProtocolError::NoDigest)?;
        if header.matched {
            nothing_follows(header)?;
            if self.have_md5 != Some(md5) {
                return Err(ProtocolError::UnexpectedMatch);
            }
            return Ok(Answer::Match(content(header, md5, 0)));
        }
        // A server that knows the three keys only sends the whole file whatever was asked.
        let offset = header.offset.unwrap_or(0);
        if offset != 0 && offset != self.offset {
            return Err(contradiction("offset", offset, self.offset));
        }
        let Some(to_the_end) = header.total_size.checked_sub(offset) else {
            return Err(contradiction("total_size", header.total_size, offset));
        };
        let asked = self.length.map_or(to_the_end, |most| most.min(to_the_end));
        let body_bytes = header.bytes_that_follow();
        if body_bytes != to_the_end && body_bytes != asked {
            return Err(contradiction("body_size", body_bytes, asked));
        }
        if body_bytes == 0 && self.length == Some(0) && self.have_md5 == Some(md5) {
            return Ok(Answer::Match(content(header, md5, 0)));
        }
        if let Some(expected) = self.want_md5
            && offset > 0
            && expected != md5
        {
            return Err(ProtocolError::OtherContent {
                expected,
                found: md5,
            });
        }
        let content = Content {
            offset,
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

/// Reads headers until one is no interim one. Such a one counts as progress only if the digest
/// has advanced.
pub(super) fn await_header(
    path: &ResourcePath,
    receiving: &mut ReceivingHalf,
    on_hashing: impl FnMut(u64, u64),
) -> Result<ResponseHeader<'static>, ClientError> {
    await_digests(path, 1, receiving, on_hashing)
}

/// The same, where digests of up to so many files may be made before the answer.
pub(super) fn await_digests(
    path: &ResourcePath,
    files_max: usize,
    receiving: &mut ReceivingHalf,
    mut on_hashing: impl FnMut(u64, u64),
) -> Result<ResponseHeader<'static>, ClientError> {
    let limit = receiving.progress_timeout();
    let mut deadline = Deadline::after(Instant::now(), Wait::Hashing, limit);
    let (mut furthest, mut of, mut files) = (None, None, 0);
    loop {
        let header = receiving.header()?;
        check_name(path, &header)?;
        let Some(interim) = &header.interim else {
            return Ok(header);
        };
        let now = Instant::now();
        let is_another = of != Some(header.total_size) || Some(interim.done) < furthest;
        if is_another && files < files_max {
            // The next file.
            (furthest, of, files) = (None, Some(header.total_size), files + 1);
        }
        if Some(interim.done) > furthest {
            furthest = Some(interim.done);
            deadline = Deadline::after(now, Wait::Hashing, limit);
            on_hashing(interim.done, header.total_size);
        } else if deadline.is_over(now) {
            return Err(receiving.timed_out(Wait::Hashing));
        }
    }
}

/// Reads headers until one is no interim one. Each is a sign that the command runs, which has no
/// progress to show; how long it may run is for the server and the limit of the whole job to say.
fn await_output(
    path: &ResourcePath,
    receiving: &mut ReceivingHalf,
) -> Result<ResponseHeader<'static>, ClientError> {
    loop {
        let header = receiving.header()?;
        check_name(path, &header)?;
        if header.interim.is_none() {
            return Ok(header);
        }
    }
}

/// Whether an answer is about what was asked for.
fn check_name(path: &ResourcePath, header: &ResponseHeader<'_>) -> Result<(), ProtocolError> {
    if *header.name != *path.as_bytes() {
        return Err(ProtocolError::OtherName {
            asked: path.as_bytes().to_vec(),
            answered: header.name.to_vec(),
        });
    }
    Ok(())
}

fn nothing_follows(header: &ResponseHeader<'_>) -> Result<(), ProtocolError> {
    // A match announces the size of the file; `body_size` says that it does not come.
    match header.bytes_that_follow() {
        0 => Ok(()),
        bytes => Err(ProtocolError::UnexpectedBody(bytes)),
    }
}

fn contradiction(key: &'static str, found: u64, expected: u64) -> ProtocolError {
    ProtocolError::Contradiction {
        key,
        found,
        expected,
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

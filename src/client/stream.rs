//! One file into a pipe: the bytes go on before they can be verified, so the end tells whether
//! they may be used.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};

use crate::client::agreement::check_continued;
use crate::client::config::RETRY_PROGRESS_BYTES_MIN;
use crate::client::event::PROGRESS_INTERVAL;
use crate::client::question::{Answer, Content, Question};
use crate::client::receive::{SMALL_FILE_BYTES_MAX, read_small};
use crate::client::retry::{Attempts, Verdict, judge};
use crate::client::spool::Spool;
use crate::client::{
    Action, ClientConfig, ClientError, CommandEnd, DownloadResult, Downloaded, Event, Item,
    ProtocolError, ReceivingHalf, Session,
};
use crate::digest::Md5Stream;
use crate::net::Address;
use crate::wire::{Md5Digest, ResourcePath};

/// One file or command whose bytes go to a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamDownload {
    /// The server.
    pub address: Address,
    /// The file's path there, or the name that a command is published under.
    pub path: ResourcePath,
    /// It is a published command: its output is wanted. It is run once, whatever happens.
    pub is_command: bool,
    /// Only this content will do.
    pub want_md5: Option<Md5Digest>,
    /// Keep everything in a file without a name in this folder until it is verified.
    pub spool: Option<PathBuf>,
}

/// Downloads one file into `output`. Up to 256 KiB it is verified before a byte goes out;
/// a larger one goes out as it comes, unless it is spooled, and **only a success says that it
/// was right**. A
/// retry goes on behind what is out, in the same content or not at all. In the events it
/// is download 0.
///
/// # Errors
/// [`ClientError`]. What went out must not be used.
pub fn stream_to(
    download: &StreamDownload,
    config: &ClientConfig,
    output: &mut dyn Write,
    on_event: &mut dyn FnMut(Event<'_>),
) -> DownloadResult {
    let begun = Instant::now();
    let mut active = ActiveStream {
        download,
        config,
        attempts: Attempts::begin(config, begun),
        content: None,
        sent: 0,
        hasher: None,
        spool: None,
        fresh: false,
        questions: 0,
        command: None,
    };
    let result = active.run(output, on_event).map(|content| Downloaded {
        name: None,
        total_size: content.total_size,
        md5: Some(content.md5),
        action: Action::Fetched,
        elapsed: begun.elapsed(),
        attempts: active.questions,
        command: active.command.take(),
    });
    on_event(match &result {
        Ok(downloaded) => Event::Done {
            item: download.item(),
            download: None,
            downloaded,
        },
        Err(error) => Event::Failed {
            item: download.item(),
            error,
        },
    });
    result
}

impl StreamDownload {
    fn item(&self) -> Item<'_> {
        Item {
            index: 0,
            address: &self.address,
            path: &self.path,
            here: None,
        }
    }
}

/// How far it is.
struct ActiveStream<'p> {
    download: &'p StreamDownload,
    config: &'p ClientConfig,
    attempts: Attempts<'p>,
    /// The content being sent; it may not change once the first byte is out.
    content: Option<Content>,
    sent: u64,
    hasher: Option<Hasher>,
    spool: Option<Spool>,
    fresh: bool,
    questions: u32,
    /// How the command ended, if it is one.
    command: Option<CommandEnd>,
}

impl ActiveStream<'_> {
    fn run(
        &mut self,
        output: &mut dyn Write,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Content, ClientError> {
        loop {
            let sent_before = self.sent;
            let attempt =
                Session::connect(&self.download.address, self.config, self.attempts.whole)
                    .inspect(|_| self.attempts.reach())
                    .and_then(|session| self.attempt(session, output, on_event));
            let error = match attempt {
                Ok(content) => return Ok(content),
                Err(error) => error,
            };
            let retry_after = match judge(&error, false, self.fresh) {
                // What is out cannot be taken back.
                Verdict::AskFresh if self.sent == 0 || self.spool.is_some() => {
                    (self.sent, self.content, self.hasher, self.spool) = (0, None, None, None);
                    self.fresh = true;
                    continue;
                }
                // A command that may have been run is not run again.
                Verdict::MayPass(_) if self.download.is_command && self.questions > 0 => {
                    return Err(error);
                }
                Verdict::MayPass(retry_after) => retry_after,
                _ => return Err(error),
            };
            let progress = self.sent - sent_before >= RETRY_PROGRESS_BYTES_MIN;
            self.attempts
                .pause_after(error, retry_after, progress, on_event)?;
        }
    }

    /// One connection and one question.
    fn attempt(
        &mut self,
        mut session: Session,
        output: &mut dyn Write,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Content, ClientError> {
        self.questions += 1;
        let question = Question {
            length: None,
            path: self.download.path.clone(),
            is_command: self.download.is_command,
            offset: self.sent,
            have: None,
            want_md5: self
                .content
                .filter(|_| self.sent > 0)
                .map(|content| content.md5)
                .or(self.download.want_md5),
            fresh: self.fresh,
        };
        session.sending.send(&question.call())?;
        session.sending.flush()?;
        let receiving = &mut session.receiving;
        let on_hashing = |done, total_size| {
            on_event(Event::ServerHashing {
                item: self.download.item(),
                done,
                total_size,
            })
        };
        let content = match question.await_answer(receiving, on_hashing)? {
            Answer::Content(content) => content,
            Answer::Output(content, end) => {
                self.command = Some(end);
                content
            }
            Answer::Refused(refusal) => return Err(refusal.into()),
            Answer::Match(_) => return Err(ProtocolError::UnexpectedMatch.into()),
        };
        if let Some(wanted) = question.want_md5
            && wanted != content.md5
        {
            return Err(ClientError::OtherContent {
                wanted,
                offered: content.md5,
            });
        }
        if let Some(before) = self.content.filter(|_| self.sent > 0) {
            check_continued(&content, &before)?;
        }
        if self.sent == 0 && content.total_size <= SMALL_FILE_BYTES_MAX {
            let body = read_small(receiving, content.total_size)?;
            check(&content, Md5Stream::digest(&body))?;
            output
                .write_all(&body)
                .and_then(|()| output.flush())
                .map_err(output_error)?;
            return Ok(content);
        }
        self.content = Some(content);
        if let Some(folder) = &self.download.spool
            && self.spool.is_none()
        {
            self.spool = Some(Spool::with_room(folder, content.total_size)?);
        }
        match self.spool.take() {
            Some(mut spool) => {
                let mut take = |bytes: &[u8]| Ok(spool.append(bytes)?);
                let taken = self.stream_body(receiving, &content, &mut take, on_event);
                self.spool = Some(spool);
                taken?;
            }
            None => {
                let mut take = |bytes: &[u8]| output.write_all(bytes).map_err(output_error);
                self.stream_body(receiving, &content, &mut take, on_event)?;
                output.flush().map_err(output_error)?;
            }
        }
        let found = self
            .hasher
            .take()
            .map_or_else(|| Md5Stream::new().finish(), Hasher::finish);
        check(&content, found)?;
        if let Some(spool) = &mut self.spool {
            spool.write_to(output)?;
        }
        Ok(content)
    }

    fn stream_body(
        &mut self,
        receiving: &mut ReceivingHalf,
        content: &Content,
        take: &mut dyn FnMut(&[u8]) -> Result<(), ClientError>,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), ClientError> {
        let (total_size, resumed_from) = (content.total_size, self.sent);
        on_event(Event::Began {
            item: self.download.item(),
            total_size,
            resumed_from,
        });
        let mut reported = Instant::now();
        let mut at = content.offset;
        while at < total_size {
            let bytes = receiving.body(total_size - at)?;
            at += bytes.len() as u64;
            // A server that sends the whole file again sends what is out already, too.
            let new = usize::try_from(at.saturating_sub(self.sent))
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            let new = &bytes[bytes.len() - new..];
            if new.is_empty() {
                continue;
            }
            self.hasher.get_or_insert_with(Hasher::start).update(new);
            take(new)?;
            self.sent = at;
            if reported.elapsed() >= PROGRESS_INTERVAL {
                reported = Instant::now();
                on_event(Event::Received {
                    item: self.download.item(),
                    bytes: at,
                });
            }
        }
        Ok(())
    }
}

fn check(content: &Content, found: Md5Digest) -> Result<(), ClientError> {
    if found != content.md5 {
        return Err(ClientError::DigestMismatch {
            announced: content.md5,
            found,
        });
    }
    Ok(())
}

fn output_error(error: io::Error) -> ClientError {
    ClientError::Output(Arc::new(error))
}

/// Hashes what goes out.
enum Hasher {
    /// In a thread that gets copies, so that the pipe does not wait for it.
    Beside {
        chunks: Sender<Vec<u8>>,
        used: Receiver<Vec<u8>>,
        thread: JoinHandle<Md5Digest>,
    },
    /// Here, where no thread can be started.
    Here(Box<Md5Stream>),
}

impl Hasher {
    fn start() -> Hasher {
        let (chunks, chunks_out) = crossbeam_channel::bounded::<Vec<u8>>(CHUNKS_MAX);
        let (used_in, used) = crossbeam_channel::bounded(CHUNKS_MAX);
        let named = Builder::new().name("ft-hash".to_owned());
        let started = named.spawn(move || {
            let mut md5 = Md5Stream::new();
            for chunk in chunks_out {
                md5.update(&chunk);
                // For its memory; there may be enough of it.
                let _ = used_in.try_send(chunk);
            }
            md5.finish()
        });
        match started {
            Ok(thread) => Hasher::Beside {
                chunks,
                used,
                thread,
            },
            Err(_) => Hasher::Here(Box::default()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Beside { chunks, used, .. } => {
                let mut chunk = used.try_recv().unwrap_or_default();
                chunk.clear();
                chunk.extend_from_slice(bytes);
                // It listens until this end is dropped.
                let _ = chunks.send(chunk);
            }
            Hasher::Here(md5) => md5.update(bytes),
        }
    }

    fn finish(self) -> Md5Digest {
        match self {
            Hasher::Beside { chunks, thread, .. } => {
                drop(chunks);
                thread.join().expect("hashing does not panic")
            }
            Hasher::Here(md5) => md5.finish(),
        }
    }
}

/// Chunks on their way to the hasher, each at most as large as a read.
const CHUNKS_MAX: usize = 8;

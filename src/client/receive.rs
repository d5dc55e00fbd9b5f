//! The receiving thread of a connection: takes the answers in the order of the questions,
//! writes long bodies as they come, and hands everything on to be verified by others.

use std::fs::File;
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TryRecvError};

use crate::client::batch::budget::Share;
use crate::client::batch::copying::ToCopy;
use crate::client::batch::group::Group;
#[cfg(test)]
use crate::client::batch::hands::trip;
use crate::client::batch::hands::{Body, guarded};
use crate::client::batch::jobs::{JobId, ToAsk};
use crate::client::batch::lane::{Ask, LaneId, LaneWork};
use crate::client::batch::report::{LaneEnd, Report};
use crate::client::event::PROGRESS_INTERVAL;
use crate::client::follow::{Track, Writing};
use crate::client::question::{Answer, Content};
use crate::client::{ClientError, Download, IfExists, ReceivingHalf};
use crate::store::{StageError, StagedFile};

/// The receiving thread's belongings.
pub(super) struct Receive<'w, 's> {
    pub(super) lane: LaneId,
    pub(super) receiving: ReceivingHalf,
    /// Questions as they were sent; a failure behind those that still could be.
    pub(super) asked: Receiver<Result<Ask, ClientError>>,
    pub(super) following: &'w Sender<Following>,
    pub(super) work: &'w LaneWork<'s>,
    /// Questions that were answered since that was reported.
    pub(super) answered: usize,
    pub(super) group: Group,
}

/// A large file on its way, for the thread that hashes it.
pub(super) struct Following {
    pub(super) id: JobId,
    pub(super) download: Arc<Download>,
    pub(super) content: Content,
    pub(super) file: Arc<File>,
    pub(super) track: Arc<Track<(StagedFile, Share)>>,
}

impl Receive<'_, '_> {
    /// Takes answers until there are no more questions or the connection is of no use.
    pub(super) fn run(mut self) -> LaneEnd {
        let taken = guarded(|| Ok(self.take_answers()));
        let end = taken.unwrap_or_else(|error| LaneEnd::Lost { error, bytes: 0 });
        self.hand_over();
        // Ends the sending thread too, if it waits for the server to read.
        self.receiving.end();
        self.report_answered();
        end
    }

    fn take_answers(&mut self) -> LaneEnd {
        loop {
            let ask = match self.asked.try_recv() {
                Ok(ask) => ask,
                Err(TryRecvError::Disconnected) => return LaneEnd::Left,
                Err(TryRecvError::Empty) => {
                    self.hand_over();
                    self.report_answered();
                    match self.asked.recv() {
                        Ok(ask) => ask,
                        Err(_) => return LaneEnd::Left,
                    }
                }
            };
            let ask = match ask {
                Ok(ask) => ask,
                Err(error) => return LaneEnd::Lost { error, bytes: 0 },
            };
            let is_part = ask.to_ask.question.length.is_some();
            let taken = match &ask.block {
                Some(assembly) => self.take_block(&ask, assembly),
                None => self.take_answer(ask),
            };
            if let Err(end) = taken {
                return end;
            }
            self.answered += 1;
            // The next block is handed out when it is known that this one is there.
            if is_part || self.answered >= ANSWERED_TOGETHER {
                self.report_answered();
            }
        }
    }

    fn take_answer(&mut self, ask: Ask) -> Result<(), LaneEnd> {
        while !self.receiving.has_header() {
            self.hand_over_before_waiting();
            if let Err(error) = self.receiving.receive_header() {
                return Err(LaneEnd::Lost { error, bytes: 0 });
            }
        }
        let (work, id) = (self.work, ask.id);
        let group = &mut self.group;
        let on_hashing = |done, total_size| {
            // It may take long until the answer comes.
            group.hand_over(work);
            work.reports.send(Report::Hashing {
                id,
                done,
                total_size,
            });
        };
        let answer = ask
            .to_ask
            .question
            .await_answer(&mut self.receiving, on_hashing);
        match answer {
            Err(error) => Err(LaneEnd::Lost { error, bytes: 0 }),
            Ok(Answer::Refused(refusal)) => {
                self.fail(id, refusal.into());
                Ok(())
            }
            Ok(Answer::Match(content)) => {
                self.take_match(ask, content);
                Ok(())
            }
            Ok(Answer::Content(content) | Answer::Output(content, _)) => {
                self.take_content(ask, content)
            }
        }
    }

    fn take_content(&mut self, ask: Ask, content: Content) -> Result<(), LaneEnd> {
        #[cfg(test)]
        trip(&ask.download, "trips receiving");
        if let Some(wanted) = ask.download.want_md5
            && wanted != content.md5
        {
            let error = ClientError::OtherContent {
                wanted,
                offered: content.md5,
            };
            self.fail(ask.id, error);
            return self.skip(content.body_bytes);
        }
        let is_small = content.offset == 0 && content.total_size <= SMALL_FILE_BYTES_MAX;
        if !(is_small && content.is_to_the_end()) {
            self.hand_over();
        }
        if !content.is_to_the_end() {
            return self.take_first_block(ask, content);
        }
        if is_small {
            return self.take_small(ask, content);
        }
        let share = self.work.open_files.take(1);
        match stage(&ask, &content, self.work) {
            Ok(staged) => self.take_large(ask, content, staged, share),
            Err(error) => {
                self.fail(ask.id, error);
                self.skip(content.body_bytes)
            }
        }
    }

    /// The server has what is here, under this name or another.
    fn take_match(&self, ask: Ask, content: Content) {
        let ToAsk { folder, twin, .. } = *ask.to_ask;
        match twin {
            None => {
                let work = self.work;
                let folder = work
                    .destinations
                    .folder(&ask.download, &folder, work.config);
                // What is left is of no use, and what is wanted is here.
                folder
                    .iter()
                    .for_each(|folder| folder.remove_leftovers(&ask.download.name));
                self.work.reports.send(Report::Matched {
                    id: ask.id,
                    mode: content.mode,
                    mtime: content.mtime,
                });
            }
            Some(twin) => {
                // Whoever copies outlives this thread.
                let _ = self.work.copies.send(ToCopy {
                    id: ask.id,
                    download: ask.download,
                    folder,
                    content,
                    twin,
                });
            }
        }
    }

    /// A file that is verified in memory before anything is created.
    fn take_small(&mut self, ask: Ask, content: Content) -> Result<(), LaneEnd> {
        // The files of this group may have all the memory that there is.
        let share = self.work.memory.try_take(content.total_size);
        let share = share.unwrap_or_else(|| {
            self.hand_over();
            self.work.memory.take(content.total_size)
        });
        let mut bytes = Vec::with_capacity(content.total_size as usize);
        while (bytes.len() as u64) < content.total_size {
            if !self.receiving.has_bytes() {
                self.hand_over_before_waiting();
            }
            let left = content.total_size - bytes.len() as u64;
            match self.receiving.body(left) {
                Ok(received) => bytes.extend_from_slice(received),
                Err(error) => return Err(LaneEnd::Lost { error, bytes: 0 }),
            }
        }
        self.group.push(Body {
            id: ask.id,
            download: ask.download,
            folder: ask.to_ask.folder,
            content,
            bytes,
            share,
        });
        if self.group.is_full() {
            self.hand_over();
        }
        Ok(())
    }

    /// Has the files of the group verified, if the server has sent no more for now: no file waits
    /// for a slow connection.
    fn hand_over_before_waiting(&mut self) {
        if !self.group.is_empty() && !self.receiving.is_readable() {
            self.hand_over();
        }
    }

    pub(super) fn hand_over(&mut self) {
        self.group.hand_over(self.work);
    }

    /// A file that is written as it comes, while another thread hashes what was written.
    fn take_large(
        &mut self,
        ask: Ask,
        content: Content,
        mut staged: StagedFile,
        share: Share,
    ) -> Result<(), LaneEnd> {
        let reports = &self.work.reports;
        let id = ask.id;
        reports.send(Report::Began {
            id,
            total_size: content.total_size,
            resumed_from: staged.bytes(),
        });
        let writing = Writing::begin(staged.bytes());
        let _ = self.following.send(Following {
            id,
            download: ask.download,
            content,
            file: staged.file(),
            track: writing.track(),
        });
        let mut reported = Instant::now();
        while staged.bytes() < content.total_size {
            let bytes = match self.receiving.body(content.total_size - staged.bytes()) {
                Ok(bytes) => bytes,
                Err(error) => {
                    let bytes = staged.bytes();
                    return Err(LaneEnd::Lost { error, bytes });
                }
            };
            if let Err(error) = staged.append(bytes) {
                self.fail(id, error.into());
                return Err(self.leave());
            }
            writing.advance(staged.bytes());
            if reported.elapsed() >= PROGRESS_INTERVAL {
                reported = Instant::now();
                reports.send(received(id, &staged, &content));
            }
        }
        reports.send(received(id, &staged, &content));
        writing.complete((staged, share));
        Ok(())
    }

    /// Drops a body that nobody wants; one that is too long to be read for nothing ends the
    /// connection.
    pub(super) fn skip(&mut self, bytes: u64) -> Result<(), LaneEnd> {
        self.hand_over();
        if bytes > SKIPPED_BODY_BYTES_MAX {
            return Err(self.leave());
        }
        let mut left = bytes;
        while left > 0 {
            match self.receiving.body(left) {
                Ok(dropped) => left -= dropped.len() as u64,
                Err(_) => return Err(self.leave()),
            }
        }
        Ok(())
    }

    /// Ends the connection for the sake of a job that was reported.
    fn leave(&mut self) -> LaneEnd {
        self.answered += 1;
        LaneEnd::Left
    }

    pub(super) fn fail(&self, id: JobId, error: ClientError) {
        self.work.reports.finished(id, Err(error));
    }

    fn report_answered(&mut self) {
        let count = mem::take(&mut self.answered);
        if count > 0 {
            let lane = self.lane;
            self.work.reports.send(Report::Answered { lane, count });
        }
    }
}

fn received(id: JobId, staged: &StagedFile, content: &Content) -> Report {
    let bytes = staged.bytes();
    Report::Received {
        id,
        bytes,
        left: content.total_size - bytes,
    }
}

/// A body of at most [`SMALL_FILE_BYTES_MAX`].
pub(super) fn read_small(
    receiving: &mut ReceivingHalf,
    bytes: u64,
) -> Result<Vec<u8>, ClientError> {
    let mut body = Vec::with_capacity(bytes as usize);
    while (body.len() as u64) < bytes {
        let left = bytes - body.len() as u64;
        body.extend_from_slice(receiving.body(left)?);
    }
    Ok(body)
}

/// The partial file that a body is appended to, with room for all of it.
pub(super) fn stage(
    ask: &Ask,
    content: &Content,
    work: &LaneWork<'_>,
) -> Result<StagedFile, ClientError> {
    let name = &ask.download.name;
    let looked = &ask.to_ask.folder;
    let folder = work
        .destinations
        .folder(&ask.download, looked, work.config)?;
    if work.config.if_exists != IfExists::Rename {
        folder.check_replacing(name)?;
    }
    let question = &ask.to_ask.question;
    if question.offset == 0 || question.want_md5 != Some(content.md5) {
        // Else a source that changes with every attempt would leave one for each.
        folder.remove_leftovers(name);
    }
    let mut staged = folder.stage(name, content.md5)?;
    if staged.bytes() != content.offset {
        if content.offset > 0 {
            // Somebody else has it by now, or has removed it.
            return Err(StageError::Vanished.into());
        }
        // The server sends the whole file.
        staged.restart()?;
    }
    staged.reserve(content.total_size)?;
    Ok(staged)
}

/// Files up to this size are verified in memory before anything is created.
pub(super) const SMALL_FILE_BYTES_MAX: u64 = 256 * 1024;
/// Up to this many unwanted bytes are read to keep the session.
const SKIPPED_BODY_BYTES_MAX: u64 = 1024 * 1024;
/// Answers that are reported together.
const ANSWERED_TOGETHER: usize = 32;

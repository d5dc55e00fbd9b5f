//! The receiving thread: takes the answers in the order of the questions, writes long bodies
//! as they come, and hands everything on to be verified by others.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};

use crate::client::event::PROGRESS_INTERVAL;
use crate::client::follow::Track;
use crate::client::job::Job;
use crate::client::question::{Answer, Content, Question};
use crate::client::round::Report;
use crate::client::verify::Unverified;
use crate::client::{ClientError, ReceivingHalf};
use crate::store::StagedFile;

/// A job whose question was sent, or is about to be.
pub(super) struct Asked<'a> {
    pub(super) job: Job<'a>,
    pub(super) question: Question,
    pub(super) partial: Option<StagedFile>,
}

/// The receiving thread's belongings.
pub(super) struct Receive<'a, 's> {
    pub(super) receiving: &'s mut ReceivingHalf,
    pub(super) asked: Receiver<Asked<'a>>,
    pub(super) unverified: Sender<Unverified<'a>>,
    pub(super) reports: Sender<Report<'a>>,
}

/// The rest of a session is of no use; why, was reported.
struct SessionOver;

impl<'a> Receive<'a, '_> {
    /// Takes answers until every question has one or the session is of no use.
    pub(super) fn run(mut self) {
        while let Ok(asked) = self.asked.recv() {
            let Err(SessionOver) = self.take_answer(asked) else {
                continue;
            };
            // Ends the sending thread too, if it waits for the server to read.
            self.receiving.end();
            while let Ok(asked) = self.asked.recv() {
                self.report(Report::Unanswered(asked.job));
            }
        }
    }

    fn take_answer(&mut self, asked: Asked<'a>) -> Result<(), SessionOver> {
        let Asked {
            job,
            question,
            partial,
        } = asked;
        let reports = &self.reports;
        let on_hashing = |done, total_size| {
            let _ = reports.send(Report::ServerHashing {
                index: job.index,
                done,
                total_size,
            });
        };
        match question.await_answer(self.receiving, on_hashing) {
            Err(error) => Err(self.lost(job, error)),
            Ok(Answer::Refused(refusal)) => {
                drop(partial);
                self.report(Report::Failed(job, refusal.into()));
                Ok(())
            }
            Ok(Answer::Match) => {
                let identical = job.identical();
                self.report(Report::Finished(job, identical));
                Ok(())
            }
            Ok(Answer::Content(content)) => self.take_content(job, content, partial),
        }
    }

    fn take_content(
        &mut self,
        mut job: Job<'a>,
        content: Content,
        partial: Option<StagedFile>,
    ) -> Result<(), SessionOver> {
        if let Some(wanted) = job.download.want_md5
            && wanted != content.md5
        {
            let error = ClientError::OtherContent {
                wanted,
                offered: content.md5,
            };
            self.report(Report::Failed(job, error));
            return self.skip(content.body_bytes());
        }
        if content.offset == 0 && content.total_size <= SMALL_FILE_BYTES_MAX {
            return self.take_small(job, content);
        }
        match stage(&mut job, &content, partial) {
            Ok(staged) => self.take_large(job, content, staged),
            Err(error) => {
                self.report(Report::Failed(job, error));
                self.skip(content.body_bytes())
            }
        }
    }

    /// A file that is verified in memory before anything is created.
    fn take_small(&mut self, job: Job<'a>, content: Content) -> Result<(), SessionOver> {
        let body = match read_small(self.receiving, content.total_size) {
            Ok(body) => body,
            Err(error) => return Err(self.lost(job, error)),
        };
        // Whoever verifies outlives this thread.
        let _ = self
            .unverified
            .send(Unverified::Small { job, content, body });
        Ok(())
    }

    /// A file that is written as it comes, while another thread hashes what was written.
    fn take_large(
        &mut self,
        mut job: Job<'a>,
        content: Content,
        mut staged: StagedFile,
    ) -> Result<(), SessionOver> {
        let index = job.index;
        self.report(Report::Began {
            index,
            total_size: content.total_size,
            resumed_from: staged.bytes(),
        });
        let track = Arc::new(Track::new(staged.bytes()));
        let following = Unverified::Large {
            content,
            file: staged.file(),
            track: track.clone(),
        };
        let _ = self.unverified.send(following);
        let mut reported = Instant::now();
        while staged.bytes() < content.total_size {
            let bytes = match self.receiving.body(content.total_size - staged.bytes()) {
                Ok(bytes) => bytes,
                Err(error) => {
                    track.abandon();
                    job.note_bytes(staged.bytes());
                    return Err(self.lost(job, error));
                }
            };
            if let Err(error) = staged.append(bytes) {
                track.abandon();
                self.report(Report::Failed(job, error.into()));
                return Err(self.not_worth_reading());
            }
            track.advance(staged.bytes());
            if reported.elapsed() >= PROGRESS_INTERVAL {
                reported = Instant::now();
                self.report(Report::Received {
                    index,
                    bytes: staged.bytes(),
                });
            }
        }
        self.report(Report::Received {
            index,
            bytes: staged.bytes(),
        });
        track.complete((job, staged));
        Ok(())
    }

    /// Drops a body that nobody wants.
    fn skip(&mut self, bytes: u64) -> Result<(), SessionOver> {
        if bytes > SKIPPED_BODY_BYTES_MAX {
            return Err(self.not_worth_reading());
        }
        let mut left = bytes;
        while left > 0 {
            match self.receiving.body(left) {
                Ok(dropped) => left -= dropped.len() as u64,
                Err(_) => return Err(self.not_worth_reading()),
            }
        }
        Ok(())
    }

    /// The session failed while the answer for this job was read.
    fn lost(&self, job: Job<'a>, error: ClientError) -> SessionOver {
        self.report(Report::Lost(job, error));
        SessionOver
    }

    /// The body that comes is not wanted, and too long to be read for nothing.
    fn not_worth_reading(&self) -> SessionOver {
        self.report(Report::Ended);
        SessionOver
    }

    fn report(&self, report: Report<'a>) {
        // The thread that listens ends last.
        let _ = self.reports.send(report);
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
fn stage(
    job: &mut Job<'_>,
    content: &Content,
    partial: Option<StagedFile>,
) -> Result<StagedFile, ClientError> {
    let mut staged = match partial.filter(|partial| partial.content() == Some(content.md5)) {
        Some(partial) => partial,
        None => {
            // Else a source that changes with every attempt would leave one for each.
            job.folder.remove_leftovers(&job.download.name);
            job.folder.stage(&job.download.name, content.md5)?
        }
    };
    // What is there from now on is of the content that the server has.
    job.whole = false;
    if staged.bytes() != content.offset {
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

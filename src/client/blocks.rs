//! Receiving files that come in blocks, over several connections.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::client::ProtocolError;
use crate::client::agreement::check_block;
use crate::client::assembly::{Assembly, Part};
use crate::client::batch::jobs::JobId;
use crate::client::batch::lane::Ask;
use crate::client::batch::report::{LaneEnd, Report};
use crate::client::event::PROGRESS_INTERVAL;
use crate::client::follow::Writing;
use crate::client::question::{Answer, Content};
use crate::client::receive::{Following, Receive, stage};
use crate::store::StageError;

impl Receive<'_, '_> {
    /// A file that is too large to come at once, and the first block of it.
    pub(super) fn take_first_block(&mut self, ask: Ask, content: Content) -> Result<(), LaneEnd> {
        let share = self.work.open_files.take(1);
        let staged = match stage(&ask, &content, self.work) {
            Ok(staged) => staged,
            Err(error) => {
                self.fail(ask.id, error);
                return self.skip(content.body_bytes);
            }
        };
        let reports = &self.work.reports;
        let id = ask.id;
        reports.send(Report::Began {
            id,
            total_size: content.total_size,
            resumed_from: content.offset,
        });
        let writing = Writing::begin(content.offset);
        let following = Box::new(Following {
            id,
            download: ask.download,
            content,
            file: staged.file(),
            track: writing.track(),
        });
        let assembly = Arc::new(Assembly::begin(content, staged, share, writing));
        reports.send(Report::Split {
            id,
            assembly: Arc::clone(&assembly),
            following,
        });
        let end = content.offset + content.body_bytes;
        self.take_body_of_block(id, &assembly, content.offset..end)
    }

    /// A further block.
    pub(super) fn take_block(
        &mut self,
        ask: &Ask,
        assembly: &Arc<Assembly>,
    ) -> Result<(), LaneEnd> {
        self.hand_over();
        let (id, question) = (ask.id, &ask.to_ask.question);
        let block = question.block();
        let reports = &self.work.reports;
        let on_hashing = |done, total_size| {
            reports.send(Report::Hashing {
                id,
                done,
                total_size,
            });
        };
        let answer = question.await_answer(&mut self.receiving, on_hashing);
        let lost = |error| LaneEnd::Lost {
            error,
            bytes: block.start,
        };
        match answer.map_err(lost)? {
            Answer::Refused(refusal) => {
                self.work.reports.send(Report::BlockFailed {
                    lane: self.lane,
                    id,
                    assembly: Arc::clone(assembly),
                    block,
                    error: refusal.into(),
                });
                Ok(())
            }
            Answer::Match(_) => Err(lost(ProtocolError::UnexpectedMatch.into())),
            Answer::Content(content) | Answer::Output(content, _) => {
                let whole = &assembly.content;
                check_block(&content, whole, &block).map_err(|error| lost(error.into()))?;
                self.work.reports.send(Report::Serves(self.lane));
                self.take_body_of_block(id, assembly, block)
            }
        }
    }

    fn take_body_of_block(
        &mut self,
        id: JobId,
        assembly: &Arc<Assembly>,
        block: Range<u64>,
    ) -> Result<(), LaneEnd> {
        let failed = |part: &Part<'_>, error: StageError| Report::BlockFailed {
            lane: self.lane,
            id,
            assembly: Arc::clone(assembly),
            block: part.at()..block.end,
            error: error.into(),
        };
        let received = || Report::Assembled {
            id,
            assembly: Arc::clone(assembly),
        };
        let reports = &self.work.reports;
        let mut part = assembly.part(block.start);
        let mut reported = Instant::now();
        let mut lost = None;
        while part.at() < block.end {
            // It may be all the rest of a large file.
            if assembly.is_over() {
                return self.skip(block.end - part.at());
            }
            match self.receiving.body(block.end - part.at()) {
                Ok(bytes) => {
                    if let Err(error) = part.take(bytes) {
                        reports.send(failed(&part, error));
                    }
                }
                Err(error) => {
                    lost = Some(error);
                    break;
                }
            }
            if reported.elapsed() >= PROGRESS_INTERVAL {
                reported = Instant::now();
                reports.send(received());
            }
        }
        let bytes = part.at();
        if let Err(error) = part.end() {
            reports.send(failed(&assembly.part(bytes), error));
        }
        reports.send(received());
        match lost {
            Some(error) => Err(LaneEnd::Lost { error, bytes }),
            None => Ok(()),
        }
    }
}

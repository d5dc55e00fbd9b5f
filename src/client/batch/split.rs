//! Large files that come in blocks over several connections, as the thread that has the jobs
//! sees them.

use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Instant;

use crate::client::assembly::Assembly;
use crate::client::batch::crew::verify;
use crate::client::batch::desk::Desk;
use crate::client::batch::jobs::{JobId, State, ToAsk};
use crate::client::batch::lane::{Ask, LaneId};
use crate::client::config::RETRY_PROGRESS_BYTES_MIN;
use crate::client::question::Question;
use crate::client::receive::Following;
use crate::client::retry::{Verdict, judge};
use crate::client::threads::start;
use crate::client::{ClientError, Event};

impl Desk<'_, '_, '_, '_> {
    /// Whether a server is to be asked for something.
    pub(super) fn has_to_ask(&self, server: usize) -> bool {
        !self.servers[server].is_idle() || self.splits.has_block(server)
    }

    /// Gives a server's connections the blocks that are to be asked for.
    pub(super) fn ask_for_blocks(&mut self, server: usize) {
        while let Some((lane, id, block)) = self.next_block(server) {
            let (Some(job), Some(assembly)) = (self.jobs.get(id), self.splits.take(id, &block))
            else {
                return;
            };
            let bytes = block.end - block.start;
            let question = Question {
                path: job.download.path.clone(),
                is_command: false,
                offset: block.start,
                length: Some(bytes),
                have: None,
                want_md5: Some(assembly.content.md5),
                fresh: false,
            };
            let ask = Ask {
                id,
                download: job.download.clone(),
                to_ask: Box::new(ToAsk {
                    question,
                    // Its partial file is open.
                    folder: Weak::new(),
                    twin: None,
                }),
                block: Some(assembly),
            };
            self.lanes[lane].give(ask, bytes);
        }
    }

    /// A block, and which of the connections is to ask for it.
    fn next_block(&self, server: usize) -> Option<(usize, JobId, Range<u64>)> {
        let of_server = |id| {
            let lanes = self.lanes.iter().enumerate();
            let lanes = lanes.filter(move |(_, lane)| lane.server == server);
            lanes.map(move |(at, lane)| (at, lane, lane.has_block_of(id)))
        };
        self.splits
            .next_blocks(server)
            .into_iter()
            .find_map(|(id, block)| {
                let used = of_server(id).filter(|&(.., is_used)| is_used).count();
                let (at, ..) = of_server(id)
                    .filter(|(_, lane, is_used)| {
                        lane.has_room_for_block() && (*is_used || used < self.splits.width)
                    })
                    .min_by_key(|(_, lane, _)| lane.expected)?;
                Some((at, id, block))
            })
    }

    /// The first answer has told that a file comes in blocks.
    pub(super) fn split_begun(
        &mut self,
        id: JobId,
        assembly: &Arc<Assembly>,
        following: Following,
    ) {
        let Some(job) = self.jobs.get(id) else {
            return assembly.give_up();
        };
        job.state = State::Split;
        job.continued = true;
        self.splits.begin(id, assembly);
        let content = &assembly.content;
        for lane in &mut self.lanes {
            let first = content.offset..content.offset + content.body_bytes;
            lane.split(id, assembly, first);
        }
        let work = self.work.clone();
        let verifying = start(self.scope, "ft-follow", move || {
            verify(following, &work);
        });
        if verifying.is_err() {
            // A file that comes in one piece needs none more.
            self.splits.width = 1;
            self.look(id);
        }
    }

    /// More of it has arrived.
    pub(super) fn assembled(&mut self, id: JobId, assembly: &Arc<Assembly>) {
        if !self.splits.is_current(id, assembly) {
            return;
        }
        let Some(job) = self.jobs.get(id) else {
            return;
        };
        let bytes = assembly.front();
        if bytes >= job.furthest + RETRY_PROGRESS_BYTES_MIN {
            job.note_bytes(bytes);
            self.servers[job.server].has_progress = true;
        }
        if bytes == assembly.content.total_size {
            job.state = State::Asked;
        }
        let item = job.item();
        (self.on_event)(Event::Received { item, bytes });
    }

    /// A block was refused, or cannot be written.
    pub(super) fn block_failed(
        &mut self,
        lane: LaneId,
        id: JobId,
        assembly: &Arc<Assembly>,
        block: Range<u64>,
        error: ClientError,
    ) {
        if !self.splits.is_current(id, assembly) {
            return;
        }
        let Some(job) = self.jobs.get(id) else {
            return;
        };
        let server = job.server;
        match judge(&error, true, false) {
            Verdict::MayPass(retry_after) => {
                let of_server = |other: &&super::lane::Lane| {
                    other.server == server && other.id != lane && !other.is_dismissed
                };
                let others = self.lanes.iter().filter(of_server).count();
                if others == 0 {
                    return self.take_failure(id, error);
                }
                // It has enough to do with those.
                let allowance = &mut self.servers[server].allowance;
                allowance.refused(others, retry_after, Instant::now());
                let refused = self.lanes.iter_mut().find(|open| open.id == lane);
                refused
                    .into_iter()
                    .for_each(|lane| lane.is_dismissed = true);
                self.splits.give_back(id, assembly, block);
            }
            // As a file that comes in one piece: once in any case.
            Verdict::AskWhole if job.failures < self.config.retry.retries_max.max(1) => {
                // A file that changes all the time must have an end, too.
                job.failures += 1;
                self.take_failure(id, error);
            }
            Verdict::AskWhole | Verdict::AskFresh | Verdict::Final => self.end(id, Err(error)),
        }
    }

    /// The connection failed while a block was received; this is what is missing of it.
    pub(super) fn block_lost(
        &mut self,
        id: JobId,
        assembly: &Arc<Assembly>,
        missing: Range<u64>,
        error: &ClientError,
    ) {
        if !self.splits.is_current(id, assembly) {
            return;
        }
        if judge(error, true, false) == Verdict::Final {
            return self.end_without_progress(id, Err(error.clone()));
        }
        self.splits.give_back(id, assembly, missing);
    }
}

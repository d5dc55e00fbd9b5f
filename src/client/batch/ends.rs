//! How attempts, connections and jobs end, and what follows from that.

use crate::client::batch::desk::Desk;
use std::cmp::Reverse;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::client::batch::jobs::{Job, JobId, State, Task};
use crate::client::batch::lane::{Asked, Lane, LaneId};
use crate::client::batch::placing::Placed;
use crate::client::batch::report::LaneEnd;
use crate::client::config::RETRY_PROGRESS_BYTES_MIN;
use crate::client::retry::{Verdict, judge, pause};
use crate::client::{ClientError, Downloaded, Event, ProtocolError};
use crate::wire::{ObjectKind, Timestamp};

impl Desk<'_, '_, '_, '_> {
    /// The end of a job, or of an attempt.
    pub(super) fn take_end(&mut self, id: JobId, outcome: Result<Placed, ClientError>) {
        match outcome {
            Ok(placed) => self.end(id, Ok(placed)),
            Err(ClientError::OutOfTime) if self.is_over => self.end_unsynced(id),
            Err(error) if self.is_of_lane(id, &error) => self.look(id),
            Err(error) => self.take_failure(id, error),
        }
    }

    /// A failure of one job alone.
    pub(super) fn take_failure(&mut self, id: JobId, error: ClientError) {
        self.splits.end(id);
        let Some(job) = self.jobs.get(id) else {
            return;
        };
        if job.download.or_folder && error.is_of_folder() {
            job.task = Task::MakeFolder;
            self.found.forget_one();
            return self.look(id);
        }
        match judge(&error, job.continued, job.was_fresh) {
            Verdict::AskFresh => {
                // What was received is thrown away.
                job.furthest = 0;
                job.wish.fresh = true;
                self.look(id);
            }
            Verdict::AskWhole => {
                job.wish.whole = true;
                self.look(id);
            }
            Verdict::MayPass(retry_after) if job.failures < self.config.retry.retries_max => {
                job.failures += 1;
                let pause = pause(&self.config.retry, job.failures, retry_after);
                if self.is_too_late(pause) {
                    return self.end(id, Err(error));
                }
                if let Some(job) = self.jobs.get(id) {
                    job.state = State::Waiting;
                    // Else each would wait for the pauses of all before it.
                    let held = self.twins.ended(id, &job.download, None);
                    self.go_on_with(held);
                }
                self.waiting.push(Reverse((Instant::now() + pause, id)));
                self.last_failure = Some(error);
            }
            Verdict::MayPass(_) | Verdict::Final => self.end(id, Err(error)),
        }
    }

    /// Whether this refusal, of a server that is busy, is one of a whole connection: nothing has
    /// come over it yet, and there are others. It is asked no more then.
    pub(super) fn is_of_lane(&mut self, id: JobId, error: &ClientError) -> bool {
        let (ClientError::Refused(_), Verdict::MayPass(retry_after)) =
            (error, judge(error, false, false))
        else {
            return false;
        };
        let is_asked = |lane: &Lane| lane.asked.iter().any(|asked| asked.id == id);
        let Some(at) = self.lanes.iter().position(is_asked) else {
            return false;
        };
        let (lane, number) = (self.lanes[at].id, self.lanes[at].server);
        let is_other =
            |other: &&Lane| other.server == number && other.id != lane && !other.is_dismissed;
        let others = self.lanes.iter().filter(is_other).count();
        let lane = &mut self.lanes[at];
        let is_one_of_many = others > 0 || lane.is_on_trial();
        if !is_one_of_many || (lane.has_answered && !lane.is_dismissed) {
            return false;
        }
        if !std::mem::replace(&mut lane.is_dismissed, true) {
            let allowance = &mut self.servers[number].allowance;
            allowance.refused(others, retry_after, Instant::now());
        }
        true
    }

    /// The server has what is here, which is why it was asked.
    pub(super) fn matched(&mut self, id: JobId, mode: Option<u32>, mtime: Option<Timestamp>) {
        let Some(job) = self.jobs.get(id) else {
            return;
        };
        let Some(have) = &mut job.have else {
            return self.end(id, Err(ProtocolError::UnexpectedMatch.into()));
        };
        have.lacks(mode, mtime, self.config);
        match have.lacking {
            None => {
                let placed = have.identical(&job.download);
                self.end(id, Ok(placed));
            }
            // A hand gives it that.
            Some(_) => {
                self.servers[job.server].has_progress = true;
                self.look(id);
            }
        }
    }

    pub(super) fn lane_ended(&mut self, id: LaneId, end: LaneEnd) {
        let Some(at) = self.lanes.iter().position(|lane| lane.id == id) else {
            return;
        };
        let lane = self.lanes.remove(at);
        let is_on_trial = lane.is_on_trial();
        self.spare.get_or_insert(lane.crew);
        let others = self
            .lanes
            .iter()
            .filter(|other| other.server == lane.server && !other.is_dismissed);
        let others = others.count();
        let mut unanswered = lane.asked;
        let mut lost = None;
        match end {
            LaneEnd::Left => {}
            LaneEnd::Unconnected(error) => {
                let server = &mut self.servers[lane.server];
                if others > 0 || is_on_trial {
                    // Such as a server that takes only so many from one address.
                    server.allowance.refused(others, None, Instant::now());
                } else if server.is_reached {
                    self.server_failed((lane.server, id), error, 0);
                } else {
                    server.given_up = Some(error);
                }
            }
            // The same, of a server that accepts and closes, or has said that it is busy.
            LaneEnd::Lost { bytes, ref error }
                if (others > 0 || is_on_trial)
                    && (!lane.has_answered || lane.is_dismissed)
                    && !matches!(error, ClientError::Internal(_)) =>
            {
                if let Some(Asked {
                    block: Some((_, block)),
                    ..
                }) = unanswered.front_mut()
                {
                    // What came before that is in the file, or waits for its turn there.
                    block.start = bytes;
                }
                if !lane.is_dismissed {
                    let allowance = &mut self.servers[lane.server].allowance;
                    allowance.refused(others, None, Instant::now());
                }
            }
            LaneEnd::Lost { error, bytes } => {
                // Those that bring other blocks make up for it.
                let mut substitutes = 0;
                if let Some(Asked { id, block, .. }) = unanswered.pop_front() {
                    match block {
                        Some((assembly, block)) => {
                            substitutes = others;
                            self.block_lost(id, &assembly, bytes..block.end, &error);
                        }
                        None => lost = self.lost(id, &error, bytes),
                    }
                }
                let server = &mut self.servers[lane.server];
                match error {
                    // No fault of the server: it has cost the one job that it came up with.
                    ClientError::Internal(_) => {}
                    ClientError::Protocol(_) if server.has_progress => {
                        (server.has_progress, server.violations) = (false, 1);
                    }
                    ClientError::Protocol(_) => {
                        server.violations += 1;
                        if server.violations >= VIOLATIONS_MAX {
                            // Such as one of another protocol.
                            server.given_up = Some(error);
                        }
                    }
                    _ => self.server_failed((lane.server, id), error, substitutes),
                }
            }
        }
        // For no fault of their own, and so before the one that may be at fault.
        for asked in unanswered {
            match asked.block {
                Some((assembly, block)) => self.splits.give_back(asked.id, &assembly, block),
                None => self.look(asked.id),
            }
        }
        if let Some(id) = lost {
            self.look(id);
        }
    }

    /// So much of a file that is here is read.
    pub(super) fn tell_reading(&mut self, id: JobId, done: u64, total_size: u64) {
        if let Some(job) = self.jobs.get(id) {
            (self.on_event)(Event::Reading {
                item: job.item(),
                done,
                total_size,
            });
        }
    }

    /// The connection failed while the answer for this job was read. Returns it if it is to be
    /// asked again.
    fn lost(&mut self, id: JobId, error: &ClientError, bytes: u64) -> Option<JobId> {
        let job = self.jobs.get(id)?;
        let has_gained = job.note_bytes(bytes) >= RETRY_PROGRESS_BYTES_MIN;
        // It may be this one that ends connections.
        job.failures = if has_gained { 1 } else { job.failures + 1 };
        let is_given_up = job.failures > self.config.retry.retries_max
            || judge(error, job.continued, job.was_fresh) == Verdict::Final;
        self.servers[job.server].has_progress |= has_gained;
        if is_given_up {
            self.end_without_progress(id, Err(error.clone()));
            return None;
        }
        Some(id)
    }

    /// A connection failed in a way that may pass. `substitutes`: others that do its work.
    fn server_failed(
        &mut self,
        (number, lane): (usize, LaneId),
        error: ClientError,
        substitutes: usize,
    ) {
        let server = &mut self.servers[number];
        if lane <= server.failed_with {
            // A server that is restarted breaks all connections, and has failed once.
            return;
        }
        server.failed_with = self.lanes_opened;
        // After progress this failure is the first again, and not none at all: whoever wants
        // no retries gets none.
        server.failures = if server.has_progress {
            1
        } else {
            server.failures + 1
        };
        server.has_progress = false;
        let (failures, policy) = (server.failures, &self.config.retry);
        let pause = pause(policy, failures, None);
        if failures > policy.retries_max || self.is_too_late(pause) {
            let server = &mut self.servers[number];
            match substitutes {
                0 => server.given_up = Some(error),
                others => server.allowance.refused(others, None, Instant::now()),
            }
            return;
        }
        self.servers[number].not_before = Some(Instant::now() + pause);
        self.last_failure = Some(error);
    }

    fn is_too_late(&self, pause: Duration) -> bool {
        let time_max = self.config.retry.time_max;
        time_max.is_some_and(|max| self.started.elapsed().saturating_add(pause) > max)
    }

    pub(super) fn end_all(&mut self, error: &ClientError, fits: impl Fn(&Job) -> bool) {
        for id in self.jobs.select(fits) {
            self.end_without_progress(id, Err(error.clone()));
        }
    }

    /// A job turns out to be one of what is not transferred.
    pub(super) fn pass_over(&mut self, id: JobId, kind: ObjectKind) {
        let Some(job) = self.jobs.remove(id) else {
            return;
        };
        (self.on_event)(Event::PassedOver {
            item: job.item(),
            kind,
        });
        self.release(job.holds);
    }

    /// A job has its end, by an answer of its server or without any.
    pub(super) fn end(&mut self, id: JobId, outcome: Result<Placed, ClientError>) {
        if let Some(job) = self.jobs.get(id) {
            self.servers[job.server].has_progress = true;
        }
        self.end_without_progress(id, outcome);
    }

    /// Time is over: everything ends that has no name here.
    pub(super) fn end_in_time(&mut self) {
        self.is_over = true;
        self.work.is_stopped.store(true, Ordering::SeqCst);
        let in_place = self.in_place.end();
        // What was told as done is made to last all the same.
        for id in self.jobs.select(|job| !matches!(job.task, Task::Sync)) {
            if !in_place.contains(&id) {
                self.end_without_progress(id, Err(ClientError::OutOfTime));
            }
        }
    }

    /// Time was over before a job's file, or all folders, were made to last. They are here, so that
    /// nothing has failed; the whole is not complete.
    pub(super) fn end_unsynced(&mut self, id: JobId) {
        if let Some(job) = self.jobs.remove(id) {
            self.is_complete = false;
            let held = self.twins.ended(id, &job.download, None);
            self.release(job.holds);
            self.go_on_with(held);
        }
    }

    pub(super) fn end_without_progress(&mut self, id: JobId, outcome: Result<Placed, ClientError>) {
        self.splits.end(id);
        let Some(job) = self.jobs.remove(id) else {
            return;
        };
        let held = self.twins.ended(id, &job.download, outcome.as_ref().ok());
        match outcome {
            Ok(placed) => {
                let downloaded = Downloaded {
                    name: Some(placed.name),
                    total_size: placed.total_size,
                    md5: placed.md5,
                    action: placed.action,
                    elapsed: job.begun.elapsed(),
                    attempts: job.attempts,
                    command: None,
                };
                let is_told = matches!(job.task, Task::Fetch | Task::Link(..));
                let is_alone = matches!(job.task, Task::MakeFolder) && job.download.or_folder;
                if is_alone {
                    self.to_finish
                        .add_listed(job.index, &job.download, self.config);
                }
                let has_folders = is_alone || (is_told && !job.download.below.is_root());
                if has_folders && self.unsynced.is_none() {
                    self.unsynced = Some((*job.download).clone());
                }
                if is_told {
                    (self.on_event)(Event::Done {
                        item: job.item(),
                        download: Some(&job.download),
                        downloaded: &downloaded,
                    });
                }
            }
            Err(error) => {
                (self.on_event)(Event::Failed {
                    item: job.item(),
                    error: &job.download.explain(error),
                });
                self.forget_unmade(&job.task, job.holds);
            }
        }
        self.release(job.holds);
        self.go_on_with(held);
    }
}

/// Files that a server may spoil, one after the other, before nothing is asked of it any more.
const VIOLATIONS_MAX: u32 = 4;

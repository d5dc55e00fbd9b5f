//! The thread that has all jobs: it decides, and waits for nothing but reports.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::thread::Scope;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, never, select};

use crate::client::batch::crew::Crew;
use crate::client::batch::hands::ToLook;
use crate::client::batch::in_place::InPlace;
use crate::client::batch::intake::{FolderState, Found, Unfinished};
use crate::client::batch::jobs::{JobId, Jobs, State, Wish};
use crate::client::batch::lane::{Lane, LaneId, LaneWork};
use crate::client::batch::look::Decision;
use crate::client::batch::names::Names;
use crate::client::batch::plan::Splits;
use crate::client::batch::report::Report;
use crate::client::batch::server::Server;
use crate::client::batch::twins::Twins;
use crate::client::config::RETRY_PROGRESS_BYTES_MIN;
use crate::client::wanted::{FolderId, Wanted};
use crate::client::{ClientConfig, ClientError, Download, Event};

/// The thread that has all jobs, and what it knows.
pub(super) struct Desk<'d, 'e, 'scope, 'env> {
    pub(super) config: &'env ClientConfig,
    pub(super) on_event: &'d mut (dyn FnMut(Event<'_>) + 'e),
    pub(super) scope: &'scope Scope<'scope, 'env>,
    pub(super) work: LaneWork<'env>,
    pub(super) looks: Sender<Vec<ToLook>>,
    /// For those for which a large file may have to be read.
    pub(super) long_looks: Sender<Vec<ToLook>>,
    /// To be looked at, and not yet handed out.
    pub(super) to_look: Vec<ToLook>,
    pub(super) jobs: Jobs,
    pub(super) servers: Vec<Server>,
    pub(super) splits: Splits,
    pub(super) twins: Twins,
    pub(super) lanes: Vec<Lane>,
    /// Connections to all servers.
    pub(super) lanes_max: usize,
    pub(super) lanes_opened: LaneId,
    /// For the next connection: where there is none, this is there.
    pub(super) spare: Option<Crew>,
    /// Jobs that failed, by the moment they come again.
    pub(super) waiting: BinaryHeap<Reverse<(Instant, JobId)>>,
    /// None if everything comes out of one listing, in which nothing comes twice.
    pub(super) names: Option<Names>,
    pub(super) found: Found,
    /// Of the next thing that is wanted.
    pub(super) count: usize,
    /// Folders that are not finished.
    pub(super) folders: HashMap<FolderId, FolderState>,
    /// Those that another source may still have something for.
    pub(super) to_finish: Unfinished,
    /// Something that folders may have been made for, or one that was finished.
    pub(super) unsynced: Option<Download>,
    pub(super) started: Instant,
    pub(super) last_failure: Option<ClientError>,
    /// The end of the pause that was told last.
    pub(super) announced: Option<Instant>,
    /// What has its name and was not reported yet.
    pub(super) in_place: &'env InPlace,
    /// Time is over.
    pub(super) is_over: bool,
    /// Everything that was wanted was taken up.
    pub(super) is_complete: bool,
}

impl<'d, 'e, 'scope, 'env> Desk<'d, 'e, 'scope, 'env> {
    pub(super) fn new(
        config: &'env ClientConfig,
        on_event: &'d mut (dyn FnMut(Event<'_>) + 'e),
        scope: &'scope Scope<'scope, 'env>,
        (work, crew): (LaneWork<'env>, Crew),
        [looks, long_looks]: [Sender<Vec<ToLook>>; 2],
        (names, first_index): (Option<Names>, usize),
        in_place: &'env InPlace,
    ) -> Self {
        Desk {
            config,
            on_event,
            scope,
            work,
            looks,
            long_looks,
            to_look: Vec::new(),
            jobs: Jobs::default(),
            servers: Vec::new(),
            splits: Splits::new(config.split_max()),
            twins: Twins::default(),
            lanes: Vec::new(),
            lanes_max: LANES_MAX,
            lanes_opened: 0,
            spare: Some(crew),
            waiting: BinaryHeap::new(),
            names,
            found: Found::default(),
            count: first_index,
            folders: HashMap::new(),
            to_finish: Unfinished::default(),
            unsynced: None,
            started: Instant::now(),
            last_failure: None,
            announced: None,
            in_place,
            is_over: false,
            is_complete: true,
        }
    }

    pub(super) fn work(&mut self, reports: Receiver<Report>, to_do: Receiver<Wanted>) {
        let mut to_do = Some(to_do);
        loop {
            let now = Instant::now();
            if self.work.whole.is_some_and(|whole| whole.is_over(now)) {
                self.end_in_time();
                // Where more would come from may never say so.
                self.is_complete &= to_do.take().is_none();
            }
            self.assign(now);
            if to_do.is_none() && self.jobs.len() == 0 {
                if self.finish_all() {
                    return;
                }
                continue;
            }
            let has_room = self.jobs.len() < JOBS_MAX;
            let more = to_do.as_ref().filter(|_| has_room);
            let nothing = never();
            select! {
                recv(more.unwrap_or(&nothing)) -> wanted => match wanted {
                    Ok(wanted) => {
                        self.take(wanted);
                        let more = more.into_iter().flat_map(Receiver::try_iter);
                        for wanted in more.take(TAKEN_TOGETHER) {
                            self.take(wanted);
                        }
                        self.found.tell(false, self.on_event);
                    }
                    Err(_) => {
                        to_do = None;
                        self.found.tell(true, self.on_event);
                    }
                },
                recv(reports) -> report => {
                    let more = reports.try_iter().take(TAKEN_TOGETHER);
                    for report in report.into_iter().chain(more) {
                        self.hear(report);
                    }
                }
                default(self.pause(now)) => {}
            }
        }
    }

    /// How long there is nothing to do but listen. Tells of a pause in which nothing goes on.
    fn pause(&mut self, now: Instant) -> Duration {
        let comes_again = self.waiting.peek().map(|Reverse((moment, _))| *moment);
        let asked_again = (0..self.servers.len()).filter(|&number| self.has_to_ask(number));
        let tried_again = asked_again
            .clone()
            .filter_map(|number| self.servers[number].allowance.again_at())
            .filter(|&moment| moment > now)
            .min();
        let next = asked_again
            .filter_map(|number| self.servers[number].not_before)
            .chain(comes_again)
            .filter(|&moment| moment > now)
            .min();
        let whole = self.work.whole.filter(|_| !self.is_over);
        let left = whole.map(|whole| whole.remaining(now));
        if let Some(until) = next
            && self.lanes.iter().all(|lane| lane.is_idle())
            && self
                .jobs
                .select(|job| matches!(job.state, State::Looking | State::Asked))
                .is_empty()
            && self.announced.replace(until) != Some(until)
            && let Some(error) = &self.last_failure
        {
            (self.on_event)(Event::Retrying {
                unfinished: self.jobs.len(),
                error,
                pause: until - now,
            });
        }
        let pause = next
            .into_iter()
            .chain(tried_again)
            .min()
            .map_or(LONGEST_PAUSE, |until| until - now);
        pause.min(left.unwrap_or(LONGEST_PAUSE))
    }

    /// Has a hand look at a job's folder.
    pub(super) fn look(&mut self, id: JobId) {
        self.splits.end(id);
        let Some(job) = self.jobs.get(id) else {
            return;
        };
        job.state = State::Looking;
        let to_look = ToLook {
            id,
            download: job.download.clone(),
            task: job.task.clone(),
            wish: job.wish,
            known: job.have,
            is_long: job.is_long_look,
        };
        if job.is_long_look {
            // The hands are there as long as this is.
            let _ = self.long_looks.send(vec![to_look]);
            return;
        }
        self.to_look.push(to_look);
        if self.to_look.len() >= LOOKED_AT_TOGETHER {
            self.hand_out();
        }
    }

    fn hand_out(&mut self) {
        if !self.to_look.is_empty() {
            // The hands are there as long as this is.
            let _ = self.looks.send(std::mem::take(&mut self.to_look));
        }
    }

    /// Gives everybody as much to do as there is.
    fn assign(&mut self, now: Instant) {
        while let Some(&Reverse((moment, id))) = self.waiting.peek()
            && moment <= now
        {
            self.waiting.pop();
            self.look(id);
        }
        while let Some(stale) = self.lanes.iter().position(|lane| lane.is_stale(now)) {
            self.close_lane(stale);
        }
        for number in 0..self.servers.len() {
            if let Some(error) = self.servers[number].given_up.clone() {
                self.servers[number].forget_all();
                self.end_all(&error, |job| {
                    let is_to_ask = matches!(
                        job.state,
                        State::Held(_) | State::Ready(_) | State::Waiting | State::Split
                    );
                    job.server == number && is_to_ask
                });
                continue;
            }
            self.ask(number);
            self.open_lane(number, now);
        }
        self.lanes.iter_mut().for_each(Lane::send);
        // Last: what has ended may have been all that a folder waited for.
        self.hand_out();
    }

    fn hear(&mut self, report: Report) {
        match report {
            Report::Looked(looked) => {
                for (id, decision) in looked {
                    self.take_decision(id, decision);
                }
            }
            Report::Relisting { error, pause } => (self.on_event)(Event::Relisting {
                error: &error,
                pause,
            }),
            Report::Connected { lane, connection } => {
                if let Some(lane) = self.lanes.iter_mut().find(|open| open.id == lane) {
                    lane.connection = Some(connection);
                    self.servers[lane.server].is_reached = true;
                }
            }
            Report::Answered { lane, count } => {
                if let Some(lane) = self.lanes.iter_mut().find(|open| open.id == lane) {
                    for _ in 0..count {
                        lane.answered();
                    }
                }
            }
            Report::Reading(id, done, size) => self.tell_reading(id, done, size),
            Report::Hashing {
                id,
                done,
                total_size,
            } => {
                self.splits.note_hashing(id);
                if let Some(job) = self.jobs.get(id) {
                    (self.on_event)(Event::ServerHashing {
                        item: job.item(),
                        done,
                        total_size,
                    });
                }
            }
            Report::Began {
                id,
                total_size,
                resumed_from,
            } => {
                if let Some(job) = self.jobs.get(id) {
                    // What is there from now on is of the content that the server has.
                    job.wish = Wish::default();
                    (self.on_event)(Event::Began {
                        item: job.item(),
                        total_size,
                        resumed_from,
                    });
                    self.expect(id, total_size - resumed_from);
                }
            }
            Report::Received { id, bytes, left } => {
                if let Some(job) = self.jobs.get(id) {
                    let gained = bytes.saturating_sub(job.furthest);
                    self.servers[job.server].has_progress |= gained >= RETRY_PROGRESS_BYTES_MIN;
                    let item = job.item();
                    (self.on_event)(Event::Received { item, bytes });
                    self.expect(id, left);
                }
            }
            Report::Split {
                id,
                assembly,
                following,
            } => self.split_begun(id, &assembly, *following),
            Report::Serves(lane) => {
                if let Some(lane) = self.lanes.iter_mut().find(|open| open.id == lane) {
                    lane.has_answered = true;
                }
            }
            Report::Assembled { id, assembly } => self.assembled(id, &assembly),
            Report::BlockFailed {
                lane,
                id,
                assembly,
                block,
                error,
            } => self.block_failed(lane, id, &assembly, block, error),
            Report::Matched { id, mode, mtime } => self.matched(id, mode, mtime),
            Report::NotCopied(id) => self.not_copied(id),
            Report::Finished(ended) => {
                for (id, outcome) in ended {
                    self.take_end(id, outcome);
                }
            }
            Report::Ended { lane, end } => self.lane_ended(lane, end),
        }
    }

    fn expect(&mut self, id: JobId, bytes: u64) {
        for lane in &mut self.lanes {
            lane.expect(id, bytes);
        }
    }

    fn take_decision(&mut self, id: JobId, decision: Result<Decision, ClientError>) {
        let Some(job) = self.jobs.get(id) else {
            return;
        };
        match decision {
            Err(ClientError::OutOfTime) if self.is_over => self.end_unsynced(id),
            Ok(Decision::Finished(placed)) => self.end_without_progress(id, Ok(placed)),
            Ok(Decision::Identical(existing)) => {
                let placed = existing.identical(&job.download);
                self.end_without_progress(id, Ok(placed));
            }
            Ok(Decision::PassedOver(kind)) => self.pass_over(id, kind),
            Ok(Decision::ReadsMuch) => {
                job.is_long_look = true;
                self.look(id);
            }
            Ok(Decision::Ask {
                to_ask, existing, ..
            }) => {
                job.have = existing;
                self.make_ready(id, to_ask);
            }
            Err(ClientError::Stage(error)) if error.lacks_descriptors() => {
                self.take_failure(id, ClientError::Stage(error));
            }
            Err(error) => self.end_without_progress(id, Err(error)),
        }
    }
}

/// Jobs at once; what is wanted beyond that waits where it comes from.
pub(super) const JOBS_MAX: usize = 4_096;
const LANES_MAX: usize = 16;
const TAKEN_TOGETHER: usize = 256;
const LOOKED_AT_TOGETHER: usize = 32;
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

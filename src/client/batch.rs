//! Downloads, one or a million: what is wanted comes in, connections ask for it, and each
//! file has its end told.
//!
//! One thread, the caller's, has all jobs and decides; it waits for nothing but reports. Others
//! look at folders, talk to servers, hash and place, and know jobs by their number only.

pub(super) mod budget;
pub(super) mod hands;
pub(super) mod jobs;
pub(super) mod lane;
pub(super) mod look;
pub(super) mod placing;
pub(super) mod report;
mod server;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::num::NonZero;
use std::thread::{Builder, Scope};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, never, select, unbounded};

use crate::client::batch::budget::Budget;
use crate::client::batch::hands::{Hand, ToLook};
use crate::client::batch::jobs::{Job, JobId, Jobs, State};
use crate::client::batch::lane::{Ask, Lane, LaneId, LaneWork};
use crate::client::batch::look::{Decision, Folders};
use crate::client::batch::placing::Placed;
use crate::client::batch::report::{LaneEnd, Report, Reports};
use crate::client::batch::server::Server;
use crate::client::config::RETRY_PROGRESS_BYTES_MIN;
use crate::client::retry::{Verdict, judge, pause};
use crate::client::{ClientConfig, ClientError, Download, Downloaded, Event};
use crate::net::{Deadline, Wait};

/// How one download ended.
pub type DownloadResult = Result<Downloaded, ClientError>;

/// Downloads files: several servers and connections at once. Returns one result for each, in
/// the order of `downloads`, after all have an end; `on_event` hears of them as they come, in
/// this thread.
///
/// Of two downloads with the same folder and name the later one fails.
pub fn download(
    downloads: &[Download],
    config: &ClientConfig,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Vec<DownloadResult> {
    let mut results: Vec<Option<DownloadResult>> = downloads.iter().map(|_| None).collect();
    run(downloads.iter().cloned(), config, &mut |event| {
        match &event {
            Event::Done { index, downloaded } => results[*index] = Some(Ok((*downloaded).clone())),
            Event::Failed { index, error } => results[*index] = Some(Err((*error).clone())),
            _ => {}
        }
        on_event(event);
    });
    // Every job has its end; one that had not would be our mistake, not a success.
    results
        .into_iter()
        .map(|result| result.unwrap_or(Err(ClientError::OutOfTime)))
        .collect()
}

/// Downloads what `wanted` yields, which is asked for more as there is room for it.
fn run(
    wanted: impl Iterator<Item = Download> + Send,
    config: &ClientConfig,
    on_event: &mut dyn FnMut(Event<'_>),
) {
    let now = Instant::now();
    let whole = config
        .whole_timeout
        .map(|limit| Deadline::after(now, Wait::Whole, limit));
    let folders = Folders::default();
    let open_files = Budget::new(OPEN_FILES_MAX);
    let (reports_in, reports) = bounded(REPORTS_MAX);
    let reports_in = Reports(reports_in);
    let (wanted_in, to_do) = bounded(WANTED_AHEAD_MAX);
    let (looks_in, looks) = unbounded();
    let (bodies_in, bodies) = unbounded();
    let (verified_in, verified) = unbounded();
    std::thread::scope(|scope| {
        let hand = Hand {
            looks,
            bodies,
            verified: verified_in.clone(),
            reports: reports_in.clone(),
            folders: &folders,
            open_files: open_files.clone(),
            config,
        };
        let placing = reports_in.clone();
        let named = |name: &str| Builder::new().name(name.to_owned());
        let started = named("ft-source")
            .spawn_scoped(scope, move || feed(wanted, &wanted_in))
            .and_then(|_| {
                named("ft-place").spawn_scoped(scope, move || {
                    placing::run(&verified, &placing, config);
                })
            })
            .and_then(|_| {
                for _ in 0..hands() {
                    let hand = hand.clone();
                    named("ft-hand").spawn_scoped(scope, move || hand.run())?;
                }
                Ok(())
            });
        drop(hand);
        let work = LaneWork {
            config,
            whole,
            bodies: bodies_in,
            verified: verified_in,
            reports: reports_in,
            memory: Budget::new(BODIES_BYTES_MAX),
            open_files,
        };
        let mut desk = Desk {
            config,
            on_event,
            scope,
            work,
            looks: looks_in,
            to_look: Vec::new(),
            jobs: Jobs::default(),
            servers: Vec::new(),
            lanes: Vec::new(),
            lanes_opened: 0,
            waiting: BinaryHeap::new(),
            names: HashSet::new(),
            hasher: RandomState::new(),
            count: 0,
            started: now,
            last_failure: None,
            announced: None,
            failed: started
                .err()
                .map(|error| ClientError::Internal(error.into())),
        };
        desk.work(reports, to_do);
    });
}

/// The thread that finds out what is wanted.
fn feed(wanted: impl Iterator<Item = Download>, to_do: &Sender<Download>) {
    for download in wanted {
        if to_do.send(download).is_err() {
            return;
        }
    }
}

/// The thread that has all jobs, and what it knows.
struct Desk<'d, 'e, 'scope, 'env> {
    config: &'env ClientConfig,
    on_event: &'d mut (dyn FnMut(Event<'_>) + 'e),
    scope: &'scope Scope<'scope, 'env>,
    work: LaneWork<'env>,
    looks: Sender<Vec<ToLook>>,
    /// To be looked at, and not yet handed out.
    to_look: Vec<ToLook>,
    jobs: Jobs,
    servers: Vec<Server>,
    lanes: Vec<Lane>,
    lanes_opened: LaneId,
    /// Jobs that failed, by the moment they come again.
    waiting: BinaryHeap<Reverse<(Instant, JobId)>>,
    /// Hashes of the folders and names that are taken; by its key, nobody can make two the same.
    names: HashSet<u64>,
    hasher: RandomState,
    /// Downloads that were wanted so far.
    count: usize,
    started: Instant,
    last_failure: Option<ClientError>,
    /// The end of the pause that was told last.
    announced: Option<Instant>,
    /// Nothing can be done, for this reason.
    failed: Option<ClientError>,
}

impl<'env> Desk<'_, '_, '_, 'env> {
    fn work(&mut self, reports: Receiver<Report>, to_do: Receiver<Download>) {
        let mut to_do = Some(to_do);
        loop {
            let now = Instant::now();
            if self.work.whole.is_some_and(|whole| whole.is_over(now)) {
                self.failed.get_or_insert(ClientError::OutOfTime);
            }
            if let Some(error) = self.failed.clone() {
                self.end_all(&error, |_| true);
            }
            self.assign(now);
            if to_do.is_none() && self.jobs.len() == 0 {
                return;
            }
            let has_room = self.jobs.len() < JOBS_MAX;
            let more = to_do.as_ref().filter(|_| has_room);
            let nothing = never();
            select! {
                recv(more.unwrap_or(&nothing)) -> download => match download {
                    Ok(download) => {
                        self.take(download);
                        let more = more.into_iter().flat_map(Receiver::try_iter);
                        for download in more.take(TAKEN_TOGETHER) {
                            self.take(download);
                        }
                    }
                    Err(_) => to_do = None,
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
        let asked_again = self.servers.iter().filter(|server| !server.is_idle());
        let next = asked_again
            .filter_map(|server| server.not_before)
            .chain(comes_again)
            .filter(|&moment| moment > now)
            .min();
        let left = self.work.whole.map(|whole| whole.remaining(now));
        if let Some(until) = next
            && self
                .lanes
                .iter()
                .all(|lane| lane.is_connected && lane.asked.is_empty())
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
        let pause = next.map_or(LONGEST_PAUSE, |until| until - now);
        pause.min(left.unwrap_or(LONGEST_PAUSE))
    }

    /// A further download is wanted.
    fn take(&mut self, download: Download) {
        let index = self.count;
        self.count += 1;
        let place = (&download.folder, download.name.as_bytes());
        if !self.names.insert(self.hasher.hash_one(place)) {
            let error = ClientError::SameName(download.name);
            return (self.on_event)(Event::Failed {
                index,
                error: &error,
            });
        }
        let known = self
            .servers
            .iter()
            .position(|server| server.address == download.address);
        let server = known.unwrap_or_else(|| {
            let is_reached = self.config.retry.before_contact;
            let server = Server::new(download.address.clone(), is_reached, LANES_MAX);
            self.servers.push(server);
            self.servers.len() - 1
        });
        let id = self.jobs.add(Job::new(index, download, server));
        self.look(id);
    }

    /// Has a hand look at a job's folder.
    fn look(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(id) else {
            return;
        };
        job.state = State::Looking;
        self.to_look.push(ToLook {
            id,
            download: job.download.clone(),
            wish: job.wish,
            known: job.have,
        });
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
        self.hand_out();
        for number in 0..self.servers.len() {
            if let Some(error) = self.servers[number].given_up.clone() {
                self.end_all(&error, |job| {
                    job.server == number && matches!(job.state, State::Ready(_) | State::Waiting)
                });
            }
            self.ask(number);
            self.open_lane(number, now);
        }
        self.lanes.iter_mut().for_each(Lane::send);
    }

    /// Gives a server's connections what is to be asked.
    fn ask(&mut self, number: usize) {
        loop {
            let with_room = self
                .lanes
                .iter_mut()
                .filter(|lane| lane.server == number && lane.has_room());
            let Some(lane) = with_room.min_by_key(|lane| (lane.expected, lane.asked.len())) else {
                return;
            };
            let Some((id, expected)) = self.servers[number].next() else {
                return;
            };
            let Some(job) = self.jobs.get(id) else {
                continue;
            };
            if let State::Ready(to_ask) = std::mem::replace(&mut job.state, State::Asked) {
                job.attempts += 1;
                job.continued = to_ask.question.offset > 0;
                job.was_fresh |= to_ask.question.fresh;
                let download = job.download.clone();
                let ask = Ask {
                    id,
                    download,
                    to_ask,
                };
                lane.give(ask, expected);
            }
        }
    }

    fn open_lane(&mut self, number: usize, now: Instant) {
        let of_server = || self.lanes.iter().filter(|lane| lane.server == number);
        let (open, is_connecting) = (
            of_server().count(),
            of_server().any(|lane| !lane.is_connected),
        );
        let has_room = of_server().any(Lane::has_room);
        let server = &self.servers[number];
        if is_connecting
            || has_room
            || self.lanes.len() >= ALL_LANES_MAX
            || !server.wants_lane(open, now)
        {
            return;
        }
        self.lanes_opened += 1;
        let id = self.lanes_opened;
        let address = server.address.clone();
        match Lane::open(id, number, address, self.work.clone(), self.scope) {
            Ok(lane) => self.lanes.push(lane),
            Err(error) if open == 0 => self.servers[number].given_up = Some(error),
            Err(_) => self.servers[number].lanes_max = open,
        }
    }

    fn hear(&mut self, report: Report) {
        match report {
            Report::Looked(looked) => {
                for (id, decision) in looked {
                    self.take_decision(id, decision);
                }
            }
            Report::Connected(lane) => {
                if let Some(lane) = self.lanes.iter_mut().find(|open| open.id == lane) {
                    lane.is_connected = true;
                    self.servers[lane.server].is_reached = true;
                }
            }
            Report::Answered { lane, count } => {
                if let Some(lane) = self.lanes.iter_mut().find(|open| open.id == lane) {
                    for _ in 0..count {
                        lane.answered();
                    }
                    self.servers[lane.server].has_answered = true;
                }
            }
            Report::Hashing {
                id,
                done,
                total_size,
            } => {
                if let Some(Job { index, .. }) = self.jobs.get(id) {
                    (self.on_event)(Event::ServerHashing {
                        index: *index,
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
                    job.wish = jobs::Wish::default();
                    let index = job.index;
                    self.expect(id, total_size - resumed_from);
                    (self.on_event)(Event::Began {
                        index,
                        total_size,
                        resumed_from,
                    });
                }
            }
            Report::Received { id, bytes, left } => {
                if let Some(job) = self.jobs.get(id) {
                    let index = job.index;
                    self.expect(id, left);
                    (self.on_event)(Event::Received { index, bytes });
                }
            }
            Report::Matched(id) => {
                let Some(job) = self.jobs.get(id) else {
                    return;
                };
                // It was asked because of what is here.
                if let Some(have) = job.have {
                    let placed = have.identical(&job.download);
                    self.end(id, Ok(placed));
                }
            }
            Report::Finished { id, outcome } => match outcome {
                Ok(placed) => self.end(id, Ok(placed)),
                Err(error) => self.take_failure(id, error),
            },
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
            Ok(Decision::Finished(placed)) => self.end(id, Ok(placed)),
            Ok(Decision::Ask {
                to_ask, existing, ..
            }) => {
                job.have = existing;
                job.state = State::Ready(to_ask);
                let (index, server) = (job.index, job.server);
                self.servers[server].add(id, index, EXPECTED_BYTES_UNKNOWN);
            }
            Err(error) => self.end(id, Err(error)),
        }
    }

    /// A failure of one job alone.
    fn take_failure(&mut self, id: JobId, error: ClientError) {
        let Some(job) = self.jobs.get(id) else {
            return;
        };
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
                }
                self.waiting.push(Reverse((Instant::now() + pause, id)));
                self.last_failure = Some(error);
            }
            Verdict::MayPass(_) | Verdict::Final => self.end(id, Err(error)),
        }
    }

    fn lane_ended(&mut self, id: LaneId, end: LaneEnd) {
        let Some(at) = self.lanes.iter().position(|lane| lane.id == id) else {
            return;
        };
        let lane = self.lanes.remove(at);
        let others = self
            .lanes
            .iter()
            .filter(|other| other.server == lane.server);
        let others = others.count();
        let mut unanswered = lane.asked;
        match end {
            LaneEnd::Left => {}
            LaneEnd::Unconnected(error) => {
                let server = &mut self.servers[lane.server];
                if others > 0 {
                    // Such as a server that takes only so many from one address.
                    server.lanes_max = others;
                } else if server.is_reached {
                    self.server_failed(lane.server, error);
                } else {
                    server.given_up = Some(error);
                }
            }
            LaneEnd::Lost { error, bytes } => {
                if let Some((lost, _)) = unanswered.pop_front() {
                    self.lost(lost, &error, bytes);
                }
                let server = &mut self.servers[lane.server];
                if matches!(error, ClientError::Protocol(_)) && !server.has_answered {
                    server.given_up = Some(error);
                } else {
                    self.server_failed(lane.server, error);
                }
            }
        }
        // For no fault of their own.
        for (id, _) in unanswered {
            self.look(id);
        }
    }

    /// The connection failed while the answer for this job was read.
    fn lost(&mut self, id: JobId, error: &ClientError, bytes: u64) {
        let Some(job) = self.jobs.get(id) else {
            return;
        };
        let gained = job.note_bytes(bytes);
        let server = &mut self.servers[job.server];
        server.has_progress |= gained >= RETRY_PROGRESS_BYTES_MIN;
        if judge(error, job.continued, job.was_fresh) == Verdict::Final {
            return self.end_without_progress(id, Err(error.clone()));
        }
        self.look(id);
    }

    /// A connection failed in a way that may pass.
    fn server_failed(&mut self, number: usize, error: ClientError) {
        let server = &mut self.servers[number];
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
            self.servers[number].given_up = Some(error);
            return;
        }
        self.servers[number].not_before = Some(Instant::now() + pause);
        self.last_failure = Some(error);
    }

    fn is_too_late(&self, pause: Duration) -> bool {
        let time_max = self.config.retry.time_max;
        time_max.is_some_and(|max| self.started.elapsed().saturating_add(pause) > max)
    }

    fn end_all(&mut self, error: &ClientError, fits: impl Fn(&Job) -> bool) {
        for id in self.jobs.select(fits) {
            self.end_without_progress(id, Err(error.clone()));
        }
    }

    /// A job has its end, by an answer of its server or without any.
    fn end(&mut self, id: JobId, outcome: Result<Placed, ClientError>) {
        if let Some(job) = self.jobs.get(id) {
            self.servers[job.server].has_progress = true;
        }
        self.end_without_progress(id, outcome);
    }

    fn end_without_progress(&mut self, id: JobId, outcome: Result<Placed, ClientError>) {
        let Some(job) = self.jobs.remove(id) else {
            return;
        };
        let index = job.index;
        match outcome {
            Ok(placed) => {
                let downloaded = Downloaded {
                    name: Some(placed.name),
                    total_size: placed.total_size,
                    md5: placed.md5,
                    action: placed.action,
                    elapsed: job.begun.elapsed(),
                    attempts: job.attempts,
                    exit_status: None,
                };
                (self.on_event)(Event::Done {
                    index,
                    downloaded: &downloaded,
                });
            }
            Err(error) => (self.on_event)(Event::Failed {
                index,
                error: &error,
            }),
        }
    }
}

/// Hashing scales with cores; creating files in one folder does not go beyond a few.
fn hands() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    cores.min(HANDS_MAX)
}

/// Jobs at once; what is wanted beyond that waits where it comes from.
const JOBS_MAX: usize = 4_096;
const WANTED_AHEAD_MAX: usize = 256;
const TAKEN_TOGETHER: usize = 256;
const LOOKED_AT_TOGETHER: usize = 32;
const REPORTS_MAX: usize = 1_024;
const HANDS_MAX: usize = 4;
/// Connections to one server, and to all.
const LANES_MAX: usize = 4;
const ALL_LANES_MAX: usize = 16;
/// Memory for small files on their way to be verified.
const BODIES_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Half of the descriptors that a process has by default.
const OPEN_FILES_MAX: u64 = 512;
/// What is expected of a file whose size nobody has told.
const EXPECTED_BYTES_UNKNOWN: u64 = 64 * 1024;
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

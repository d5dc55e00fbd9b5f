//! Who is asked for what: questions are given to connections, and connections opened for them.

use std::time::Instant;

use crate::client::ListedFile;
use crate::client::batch::crew::Crew;
use crate::client::batch::desk::Desk;
use crate::client::batch::jobs::{JobId, State, ToAsk};
use crate::client::batch::lane::{Ask, Lane};
use crate::client::batch::twins::Way;

impl Desk<'_, '_, '_, '_> {
    /// Has a job asked for, unless another gets the same.
    pub(super) fn make_ready(&mut self, id: JobId, mut to_ask: Box<ToAsk>) {
        let Some(job) = self.jobs.get(id) else {
            return;
        };
        let size = job.download.listed.map(|listed| listed.total_size);
        let mut expected = size.map_or(EXPECTED_BYTES_UNKNOWN, |size| {
            // Whatever a listing claims, sums of it must stay numbers.
            size.saturating_sub(to_ask.question.offset)
                .min(EXPECTED_BYTES_MAX)
        });
        if !job.is_fetched && !job.wish.fresh {
            match self.twins.way(id, &job.download) {
                Way::Ask => {}
                Way::Copy(twin) => {
                    to_ask.copy_if_same(&job.download, twin);
                    expected = 0;
                }
                Way::Hold => {
                    job.state = State::Held(to_ask);
                    return;
                }
            }
        }
        job.state = State::Ready(to_ask);
        let (index, server) = (job.index, job.server);
        if job.failures > 0 {
            self.servers[server].add_last(id, expected);
        } else {
            self.servers[server].add(id, index, expected);
        }
    }

    /// Has what was held asked for.
    pub(super) fn go_on_with(&mut self, held: Vec<JobId>) {
        for id in held {
            if let Some(job) = self.jobs.get(id)
                && let State::Held(to_ask) = std::mem::replace(&mut job.state, State::Looking)
            {
                self.make_ready(id, to_ask);
            }
        }
    }

    /// What was to be copied is fetched: the file that had the same bytes is not what it was.
    pub(super) fn not_copied(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get(id) {
            job.is_fetched = true;
            if let Some(md5) = job.download.wanted_md5() {
                self.twins.forget(md5);
            }
            self.look(id);
        }
    }

    /// Gives a server's connections what is to be asked.
    pub(super) fn ask(&mut self, number: usize) {
        self.ask_for_blocks(number);
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
            if let State::Ready(mut to_ask) = std::mem::replace(&mut job.state, State::Asked) {
                job.attempts += 1;
                job.continued = to_ask.question.offset > 0;
                job.was_fresh |= to_ask.question.fresh;
                let download = job.download.clone();
                let is_hashed = |listed: &ListedFile| listed.md5.is_some();
                if expected >= HASHED_ALONE_BYTES_MIN
                    && !download.listed.as_ref().is_some_and(is_hashed)
                {
                    lane.hashing = Some(id);
                }
                let size = download.listed.map(|listed| listed.total_size);
                self.splits.consider(id, number, &mut to_ask.question, size);
                let ask = Ask {
                    id,
                    download,
                    to_ask,
                    block: None,
                };
                lane.give(ask, expected);
            }
        }
    }

    pub(super) fn open_lane(&mut self, number: usize, now: Instant) {
        let of_server = || self.lanes.iter().filter(|lane| lane.server == number);
        // Whoever waits for a large digest holds nobody else up.
        let is_asked = |lane: &&Lane| lane.hashing.is_none();
        let hashing = of_server().filter(|lane| lane.hashing.is_some()).count();
        let extra = match self.config.connections_max {
            // Not one more than was said.
            Some(_) => 0,
            None => HASHING_LANES_MAX,
        };
        let open = of_server().filter(is_asked).count() + hashing.saturating_sub(extra);
        let is_connecting = of_server().any(|lane| !lane.is_connected());
        let for_blocks = self.splits.want_lane(number, open);
        let all = of_server().count();
        let is_served = |lane: &&Lane| lane.has_answered && !lane.is_dismissed;
        let served = of_server().filter(is_served).count();
        let has_room = of_server().any(match for_blocks {
            true => Lane::has_room_for_block,
            false => Lane::has_room,
        });
        let server = &mut self.servers[number];
        server.allowance.served(served, now);
        if is_connecting || has_room || !server.wants_lane((open, all), for_blocks, now) {
            return;
        }
        if self.lanes.len() >= self.lanes_max {
            let is_spare = |lane: &Lane| lane.is_idle() && self.servers[lane.server].is_idle();
            let Some(spare) = self.lanes.iter().position(is_spare) else {
                return;
            };
            self.close_lane(spare);
        }
        let start = || Crew::start(&self.work, self.scope);
        let Ok(crew) = self.spare.take().map_or_else(start, Ok) else {
            // With those that there are threads for everything is done, too.
            self.lanes_max = self.lanes.len();
            return self.open_lane(number, now);
        };
        self.lanes_opened += 1;
        let address = self.servers[number].address.clone();
        let mut lane = Lane::open(self.lanes_opened, number, address, crew);
        if self.servers[number].allowance.is_trial(all) {
            lane.window = WINDOW_ON_TRIAL;
        }
        self.lanes.push(lane);
    }

    pub(super) fn close_lane(&mut self, at: usize) {
        let Lane { crew, .. } = self.lanes.remove(at);
        self.spare.get_or_insert(crew);
    }
}

impl Lane {
    /// Nothing was to be hoped of it, and nothing has come.
    pub(super) fn is_on_trial(&self) -> bool {
        self.window == WINDOW_ON_TRIAL && !self.has_answered
    }
}

/// Questions without an answer where nobody knows whether there will be any. Each answer lets
/// one more be asked.
const WINDOW_ON_TRIAL: usize = 1;
/// Connections more that may wait for a server to hash a large file.
const HASHING_LANES_MAX: usize = 4;
/// From here on that takes a while.
const HASHED_ALONE_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// What is expected of a file whose size nobody has told.
const EXPECTED_BYTES_UNKNOWN: u64 = 64 * 1024;
/// More is never expected of one file.
const EXPECTED_BYTES_MAX: u64 = 1 << 40;

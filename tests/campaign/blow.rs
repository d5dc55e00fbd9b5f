//! The moment at which somebody is killed, and who it is.

use std::fs::{self, DirEntry};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::{Random, Running};
use crate::stage::CLIENT_DEADLINE;

/// When the blow falls.
pub(crate) enum Moment {
    /// So long after the start.
    After(Duration),
    /// As soon as the longest partial file holds so many bytes.
    Partial(u64),
}

/// Who is hit, and what follows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    Client,
    /// The server, which is back at once: the client goes on by itself.
    ServerThatReturns,
    /// The server, which stays away until the client has given up.
    Server,
    Both,
}

impl Victim {
    /// The client as often as all others.
    pub(crate) fn any(random: &mut Random) -> Victim {
        random.pick(&[
            Victim::Client,
            Victim::Client,
            Victim::ServerThatReturns,
            Victim::Server,
            Victim::Both,
        ])
    }

    /// For a report.
    pub(crate) fn tally(self) -> &'static str {
        match self {
            Victim::Client => "clients killed",
            Victim::ServerThatReturns | Victim::Server => "servers killed",
            Victim::Both => "times both killed",
        }
    }
}

impl Moment {
    /// Any, in a download whose largest file has so many bytes.
    pub(crate) fn any(bytes_max: usize, random: &mut Random) -> Moment {
        if random.percent(50) {
            return Moment::After(random.wait(Duration::from_millis(300)));
        }
        Moment::Partial(random.within(0..=bytes_max) as u64)
    }

    /// Returns at the moment, or when the client ends.
    pub(crate) fn wait(&self, client: &Running, destination: &Path) {
        match *self {
            Moment::After(delay) => {
                client.ends_within(delay);
            }
            Moment::Partial(bytes) => {
                let limit = Instant::now() + CLIENT_DEADLINE;
                while partial_bytes(destination) < bytes
                    && !client.ends_within(LOOK_AGAIN)
                    && Instant::now() < limit
                {}
            }
        }
    }
}

/// The length of the longest partial file in the folder and below it.
pub(crate) fn partial_bytes(folder: &Path) -> u64 {
    // What is here may be gone in the next moment.
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let length = |entry: DirEntry| {
        let facts = entry.metadata().ok()?;
        if facts.is_dir() {
            return Some(partial_bytes(&entry.path()));
        }
        is_partial(&entry).then_some(facts.len())
    };
    entries.filter_map(length).max().unwrap_or(0)
}

/// Whether it is a partial file, by its name.
pub(crate) fn is_partial(entry: &DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with(".ft-")
}

const LOOK_AGAIN: Duration = Duration::from_micros(100);

//! Downloads, one or a million: what is wanted comes in, connections ask for it, and each
//! file has its end told.
//!
//! One thread, the caller's, has all jobs and decides; it waits for nothing but reports. Others
//! look at folders, talk to servers, hash and place, and know jobs by their number only.

pub(super) mod budget;
mod desk;
mod ends;
pub(super) mod hands;
pub(super) mod jobs;
pub(super) mod lane;
pub(super) mod look;
pub(super) mod placing;
pub(super) mod report;
mod server;

use std::num::NonZero;
use std::thread::Builder;
use std::time::Instant;

use crossbeam_channel::{Sender, bounded, unbounded};

use crate::client::batch::budget::Budget;
use crate::client::batch::desk::Desk;
use crate::client::batch::hands::Hand;
use crate::client::batch::lane::LaneWork;
use crate::client::batch::look::Folders;
use crate::client::batch::report::Reports;
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
        let mut desk = Desk::new(config, on_event, scope, work, looks_in);
        if let Err(error) = started {
            desk.give_up(ClientError::Internal(error.into()));
        }
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

/// Hashing scales with cores; creating files in one folder does not go beyond a few.
fn hands() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    cores.min(HANDS_MAX)
}

const WANTED_AHEAD_MAX: usize = 256;
const REPORTS_MAX: usize = 1_024;
const HANDS_MAX: usize = 4;
/// Memory for small files on their way to be verified.
const BODIES_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Half of the descriptors that a process has by default.
const OPEN_FILES_MAX: u64 = 512;

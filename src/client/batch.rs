//! Downloads, one or a million: what is wanted comes in, connections ask for it, and each
//! file has its end told.
//!
//! One thread, the caller's, has all jobs and decides; it waits for nothing but reports. Others
//! look at folders, talk to servers, hash and place, and know jobs by their number only.

mod allowance;
pub(super) mod budget;
pub(super) mod copying;
mod crew;
mod desk;
pub(super) mod destinations;
mod ends;
pub(super) mod folding;
pub(super) mod group;
pub(super) mod hands;
mod in_place;
mod intake;
pub(super) mod jobs;
pub(super) mod keeper;
pub(super) mod lane;
mod lanes;
mod limits;
pub(super) mod look;
pub(super) mod names;
pub(super) mod placing;
pub(super) mod plan;
pub(super) mod report;
mod server;
mod split;
mod syncing;
pub(super) mod twins;

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::client::batch::budget::Budget;
use crate::client::batch::crew::Crew;
use crate::client::batch::desk::Desk;
use crate::client::batch::destinations::Destinations;
use crate::client::batch::folding::Folds;
use crate::client::batch::hands::{Hand, guarded};
use crate::client::batch::in_place::InPlace;
use crate::client::batch::keeper::Keeper;
use crate::client::batch::lane::LaneWork;
pub(super) use crate::client::batch::limits::Limits;
use crate::client::batch::limits::{OnReading, OnRetry};
use crate::client::batch::names::Names;
use crate::client::batch::report::{Report, Reports};
use crate::client::follow::SharedHasher;
use crate::client::threads::start;
use crate::client::tree::{Tree, TreeSource};
use crate::client::wanted::Wanted;
use crate::client::{ClientConfig, ClientError, Download, Downloaded, Entry, Event};

/// Files and trees to download together.
///
/// Several servers and connections are used at once, and what is wanted is read as it is asked
/// for: neither a long list nor a large tree is ever in memory as a whole. What fails is told
/// and costs nothing else.
#[derive(Default)]
pub struct Batch<'a> {
    sources: Vec<Source<'a>>,
    /// The place of the first thing, if this is what an earlier batch has left.
    pub(super) rest_from: Option<usize>,
    pub(super) on_retry: Option<OnRetry>,
    pub(super) on_reading: Option<OnReading>,
}

pub(super) enum Source<'a> {
    Files(Box<dyn Iterator<Item = Entry> + Send + 'a>),
    Tree(Tree),
}

/// How a batch ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Files and links that are present; each was told by [`Event::Done`].
    pub done: u64,
    /// What failed; each was told by [`Event::Failed`].
    pub failed: u64,
    /// What cannot be transferred; each was told by [`Event::PassedOver`].
    pub passed_over: u64,
    /// Bytes of files that were transferred.
    pub bytes: u64,
    /// Everything that was wanted was taken up: there was time for it.
    pub is_complete: bool,
}

impl<'a> Batch<'a> {
    /// Nothing.
    pub fn new() -> Batch<'a> {
        Batch::default()
    }

    /// The rest of another batch, whose things come behind so many others. The whole is not told
    /// again, and a preview takes what is in the way for gone.
    pub(super) fn rest(first_index: usize) -> Batch<'a> {
        Batch {
            rest_from: Some(first_index),
            ..Batch::default()
        }
    }

    /// Adds a file.
    #[must_use]
    pub fn file(self, download: Download) -> Batch<'a> {
        self.files(std::iter::once(download))
    }

    /// Adds files: [`Download`]s, or [`Entry`]s of a list that may name none. They are taken in a
    /// thread of their own when there is room for more, so that a list of any length costs the
    /// memory of a few hundred.
    #[must_use]
    pub fn files(
        mut self,
        entries: impl IntoIterator<Item: Into<Entry> + 'a, IntoIter: Send + 'a>,
    ) -> Batch<'a> {
        let entries = entries.into_iter().map(Into::into);
        self.sources.push(Source::Files(Box::new(entries)));
        self
    }

    /// Adds a tree.
    #[must_use]
    pub fn tree(mut self, tree: Tree) -> Batch<'a> {
        self.sources.push(Source::Tree(tree));
        self
    }

    /// Downloads everything. `on_event` hears of it as it comes, in this thread. Of two files
    /// with the same place the later one fails, unless it is the same file of the same server:
    /// it is downloaded once, and told once.
    ///
    /// # Errors
    /// [`ClientError::NoThread`]: nothing was done, and nothing was told. It takes seven threads
    /// besides this one; with more it is faster.
    pub fn run(
        self,
        config: &ClientConfig,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Summary, ClientError> {
        let mut summary = Summary::default();
        let names = self.names();
        let rest_from = self.rest_from;
        let is_tree = |source: &Source<'_>| matches!(source, Source::Tree(_));
        let finishes_folders = self.sources.iter().any(is_tree);
        let (reports_in, reports) = bounded(REPORTS_MAX);
        let reports_in = Reports(reports_in);
        let retries = reports_in.clone();
        let limits = Limits::new(config).telling(Some(Arc::new(move |error, pause| {
            let error = error.clone();
            retries.send(Report::Relisting { error, pause });
        })));
        let wanted = self.wanted(true, config, &limits);
        let limits = limits.telling(None);
        let reports = (reports_in, reports);
        let first_index = rest_from.unwrap_or_default();
        let on_event = &mut |event: Event<'_>| {
            let is_of_whole = matches!(event, Event::Found { .. } | Event::Hidden { .. });
            if rest_from.is_none() || !is_of_whole {
                summary.count(&event);
                on_event(event);
            }
        };
        let names = (names, first_index, finishes_folders);
        let is_complete = run(wanted, names, reports, limits, config, on_event)?;
        summary.is_complete = is_complete;
        Ok(summary)
    }

    /// Where each place is noted, if one may be wanted twice: in a listing nothing is.
    pub(super) fn names(&self) -> Option<Names> {
        match &self.sources[..] {
            [Source::Tree(_)] => None,
            _ => Some(Names::default()),
        }
    }

    /// What was added, in its order.
    pub(super) fn into_sources(self) -> Vec<Source<'a>> {
        self.sources
    }

    /// What is wanted, in its order. What would replace an earlier thing of this is a failure: one
    /// whose name is the same but for upper and lower case, in a folder that takes these for one.
    /// `may_write`: a file may be made for a moment to find that out.
    pub(super) fn wanted<'c>(
        self,
        may_write: bool,
        config: &'c ClientConfig,
        limits: &Limits,
    ) -> impl Iterator<Item = Wanted> + Send + use<'a, 'c>
    where
        'a: 'c,
    {
        let limits = limits.clone();
        let sources = self.sources.into_iter().enumerate();
        let wanted = sources.flat_map(
            move |(number, source)| -> Box<dyn Iterator<Item = Wanted> + Send> {
                match source {
                    Source::Files(entries) => Box::new(entries.map(Wanted::from)),
                    Source::Tree(tree) => {
                        let first_id = (number as u64) << FOLDER_ID_BITS;
                        Box::new(TreeSource::new(tree, first_id, &limits, config))
                    }
                }
            },
        );
        let mut folds = Folds::new(may_write);
        folding::apart(wanted, move |download, asked| folds.ask(download, asked))
    }
}

impl Summary {
    fn count(&mut self, event: &Event<'_>) {
        match event {
            Event::Done { downloaded, .. } => {
                self.done += 1;
                self.bytes += downloaded.transferred();
            }
            Event::Failed { .. } => self.failed += 1,
            Event::PassedOver { .. } => self.passed_over += 1,
            _ => {}
        }
    }
}

/// How one download ended.
pub type DownloadResult = Result<Downloaded, ClientError>;

/// Downloads a handful of files. Returns one result for each, in the order of `downloads`;
/// otherwise as [`Batch::run`].
pub fn download(
    downloads: &[Download],
    config: &ClientConfig,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Vec<DownloadResult> {
    let mut results: Vec<Option<DownloadResult>> = downloads.iter().map(|_| None).collect();
    let batch = Batch::new().files(downloads.iter().cloned());
    let ran = batch.run(config, &mut |event| {
        match &event {
            Event::Done {
                item, downloaded, ..
            } => results[item.index] = Some(Ok((*downloaded).clone())),
            Event::Failed { item, error } => match results.get_mut(item.index) {
                Some(result) => *result = Some(Err((*error).clone())),
                // It is about the folders of all.
                None => {
                    let is_done = |result: &&mut _| matches!(result, Some(Ok(_)));
                    let done = results.iter_mut().filter(is_done);
                    done.for_each(|result| *result = Some(Err((*error).clone())));
                }
            },
            _ => {}
        }
        on_event(event);
    });
    if let Err(error) = ran {
        return vec![Err(error); downloads.len()];
    }
    // Every job has its end, or is the same as an earlier one; what had neither would be our
    // mistake, not a success.
    let ended = |at: usize| {
        let first = downloads.iter().position(|first| *first == downloads[at]);
        let result = results[at].as_ref().or(results[first?].as_ref());
        result.cloned()
    };
    (0..downloads.len())
        .map(|at| ended(at).unwrap_or(Err(ClientError::OutOfTime)))
        .collect()
}

/// Downloads what `wanted` yields, which is asked for more as there is room for it.
/// `names`: those that are taken, if any may be wanted twice. `first_index`: of the first thing.
/// `finishes_folders`: those of trees get permissions at the end.
/// Returns whether there was time for all.
fn run(
    wanted: impl Iterator<Item = Wanted> + Send,
    (names, first_index, finishes_folders): (Option<Names>, usize, bool),
    (reports_in, reports): (Reports, Receiver<Report>),
    limits: Limits,
    config: &ClientConfig,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<bool, ClientError> {
    let Limits { whole, rate, .. } = limits;
    let is_stopped = Arc::new(AtomicBool::new(false));
    let destinations = Destinations::new(finishes_folders);
    let in_place = InPlace::default();
    let open_files = Budget::new(config.open_files_max.max(plan::OPEN_FILES_MIN));
    let (keeper, noted) = Keeper::new(config);
    let (wanted_in, to_do) = bounded(WANTED_AHEAD_MAX);
    let (looks_in, looks) = unbounded();
    let (long_looks_in, long_looks) = unbounded();
    let (bodies_in, bodies) = unbounded();
    let (copies_in, copies) = unbounded();
    let (to_place_in, to_place) = unbounded();
    std::thread::scope(|scope| {
        let hand = Hand {
            looks,
            long_looks,
            bodies,
            copies,
            to_place: to_place_in.clone(),
            reports: reports_in.clone(),
            destinations: &destinations,
            open_files: open_files.clone(),
            is_stopped: Arc::clone(&is_stopped),
            whole,
            in_place: &in_place,
            keeper: keeper.clone(),
            config,
        };
        let placing = reports_in.clone();
        let (placed, kept_in) = (keeper.clone(), &destinations);
        let in_time = (whole, &in_place);
        let work = LaneWork {
            config,
            whole,
            is_stopped,
            shared_hasher: Arc::new(SharedHasher::new()),
            rate,
            bodies: bodies_in,
            copies: copies_in,
            to_place: to_place_in,
            reports: reports_in,
            destinations: &destinations,
            memory: Budget::new(BODIES_BYTES_MAX),
            open_files,
            keeper,
        };
        start(scope, "ft-place", move || {
            placing::run(&to_place, &placing, config, &placed, in_time);
        })?;
        let first = hand.clone();
        start(scope, "ft-hand", move || first.run())?;
        let crew = Crew::start(&work, scope)?;
        start(scope, "ft-source", move || feed(wanted, &wanted_in))?;
        // What is not kept is read again by a later run.
        let _ = start(scope, "ft-keep", move || {
            let _ = guarded(|| {
                keeper::run(&noted, kept_in, config);
                Ok(())
            });
        });
        for number in 1..hands() {
            let mut hand = hand.clone();
            if number == 1 {
                // It is told at once that there are none.
                hand.long_looks = unbounded().1;
            }
            // The first does it all.
            let _ = start(scope, "ft-hand", move || hand.run());
        }
        drop(hand);
        let mut desk = Desk::new(
            config,
            on_event,
            scope,
            (work, crew),
            [looks_in, long_looks_in],
            (names, first_index),
            &in_place,
        );
        desk.work(reports, to_do);
        let unkept = destinations.unkept();
        if !unkept.is_empty() {
            (desk.on_event)(Event::Unkept(unkept));
        }
        Ok(desk.is_complete)
    })
}

/// The thread that finds out what is wanted.
fn feed(mut wanted: impl Iterator<Item = Wanted>, to_do: &Sender<Wanted>) {
    // Refused when nothing more is.
    let _ = wanted.try_for_each(|wanted| to_do.send(wanted).map_err(drop));
}

/// Hashing scales with cores; creating files in one folder does not go beyond a few.
fn hands() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    cores.clamp(HANDS_MIN, HANDS_MAX)
}

/// Folders of one tree have numbers of so many bits.
const FOLDER_ID_BITS: u32 = 40;
const WANTED_AHEAD_MAX: usize = 256;
const REPORTS_MAX: usize = 1_024;
const HANDS_MAX: usize = 4;
/// One of several reads no large files.
const HANDS_MIN: usize = 2;
/// Memory for small files on their way to be verified.
const BODIES_BYTES_MAX: u64 = 32 * 1024 * 1024;

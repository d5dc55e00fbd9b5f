//! Progress on standard error: bars, a line each second, or nothing.

mod bars;
mod totals;

use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::bars::Bars;
use self::totals::{Totals, percent};
use super::args::ProgressStyle;
use super::command::OutputStyle;
use crate::cli::activity::{Activity, can_show_bars};
use crate::cli::terminal::print_line;
use crate::cli::visible;
use crate::client::{Event, Item};
use crate::wire::ResourcePath;

/// Shows progress, and prints lines above it.
pub(super) struct Progress {
    shown: Shown,
    /// The run has exactly one file.
    is_one_file: bool,
    totals: Totals,
    begun: Instant,
    /// Until there is something to show.
    activity: Option<Activity>,
}

enum Shown {
    Nothing,
    Bars(Bars),
    Lines { next: Instant },
}

impl Progress {
    /// `files`: the number of files, if it is known.
    pub(super) fn new(style: ProgressStyle, quiet: bool, files: Option<usize>) -> Progress {
        let is_one_file = files == Some(1);
        let shown = match style {
            _ if quiet => Shown::Nothing,
            ProgressStyle::None => Shown::Nothing,
            ProgressStyle::Auto if !io::stderr().is_terminal() => Shown::Nothing,
            ProgressStyle::Auto | ProgressStyle::Bar if can_show_bars() => {
                Shown::Bars(Bars::new(is_one_file))
            }
            ProgressStyle::Plain | ProgressStyle::Auto | ProgressStyle::Bar => Shown::Lines {
                next: Instant::now() + PLAIN_INTERVAL,
            },
        };
        let activity = match &shown {
            Shown::Nothing => None,
            Shown::Bars(bars) => Some(bars.activity()),
            Shown::Lines { .. } => Some(Activity::in_lines(WAITING)),
        };
        Progress {
            shown,
            is_one_file,
            totals: Totals::default(),
            begun: Instant::now(),
            activity,
        }
    }

    /// Whether a person watches the progress on a terminal.
    pub(super) fn is_watched(&self) -> bool {
        !matches!(self.shown, Shown::Nothing) && io::stderr().is_terminal()
    }

    /// Sets the totals of the run; nothing else will be found.
    pub(super) fn expect(&mut self, entries: u64, bytes: u64) {
        self.totals.expect(entries, bytes);
    }

    /// The progress of a comparison or preview: shows how far local files are read (see
    /// [`crate::client::Batch::on_reading`]). Lines go above it.
    pub(super) fn of_reading(style: &OutputStyle) -> Arc<Mutex<Progress>> {
        let progress = Progress::new(style.progress, style.quiet, None);
        Arc::new(Mutex::new(progress))
    }

    /// Updates the progress from one event. `name` returns the name of a download, escaped for a
    /// terminal.
    pub(super) fn take(&mut self, event: &Event<'_>, name: impl Fn(Item<'_>) -> String) {
        let bars = match &mut self.shown {
            Shown::Nothing => return,
            Shown::Bars(bars) => Some(bars),
            Shown::Lines { .. } => None,
        };
        match *event {
            Event::Found {
                entries,
                bytes,
                is_all,
            } => {
                self.totals.find(entries, bytes, is_all);
                if let Some(bars) = bars {
                    bars.update(&self.totals);
                }
            }
            Event::ServerHashing {
                item,
                done,
                total_size,
            } => self.hash(&name(item), "hashed on the server:", done, total_size),
            Event::Reading {
                item,
                done,
                total_size,
            } => self.read(&name(item), done, total_size),
            Event::Began {
                item,
                total_size,
                resumed_from,
            } => {
                let name = name(item);
                if let Some(bars) = bars {
                    self.activity = None;
                    bars.show();
                    bars.begin(item.index, &name, total_size, resumed_from);
                }
                self.totals
                    .begin(item.index, name, total_size, resumed_from);
            }
            Event::Received { item, bytes } => {
                let large = self.totals.receive(item.index, bytes);
                if let Some(bars) = bars {
                    self.activity = None;
                    bars.show();
                    bars.receive(item.index, bytes);
                    bars.update(&self.totals);
                } else if let Some(large) = large.filter(|_| self.is_one_file) {
                    let line = large.line();
                    self.show_text(&line);
                } else {
                    self.print_totals();
                }
            }
            Event::Done {
                item, downloaded, ..
            } => self.end(item.index, downloaded.total_size, true),
            Event::PassedOver { item, .. } => self.end(item.index, 0, true),
            // A failure does not show the bar: an empty bar around an error is only noise.
            Event::Failed { item, .. } => self.end(item.index, 0, false),
            Event::Deleted { .. } | Event::Hidden { .. } | Event::Unkept(_) => {}
            Event::Retrying { pause, .. } | Event::Relisting { pause, .. } => {
                self.show_text(&format!(
                    "interrupted, retrying in {:.1} s",
                    pause.as_secs_f64()
                ));
            }
        }
    }

    /// Shows how far a local file is read.
    pub(super) fn read(&mut self, name: &str, done: u64, total_size: u64) {
        self.hash(name, "hashed locally:", done, total_size);
    }

    fn hash(&mut self, name: &str, what: &str, done: u64, total_size: u64) {
        if let Shown::Bars(bars) = &self.shown {
            self.activity = None;
            bars.show();
        }
        let percent = percent(done, total_size);
        self.show_text(&format!("{percent}% {what} {name}"));
    }

    /// Runs `act` while the bars are hidden.
    pub(super) fn above(&self, act: impl FnOnce()) {
        match &self.shown {
            Shown::Bars(bars) => bars.suspend(act),
            Shown::Nothing | Shown::Lines { .. } => act(),
        }
    }

    /// Prints a line, above the bars if there are any.
    pub(super) fn line(&self, text: &str) {
        self.above(|| print_line(text));
    }

    /// Removes the bars.
    pub(super) fn finish(&mut self) {
        self.activity = None;
        if let Shown::Bars(bars) = &mut self.shown {
            bars.finish();
        }
    }

    fn end(&mut self, index: usize, total_size: u64, is_progress: bool) {
        self.totals.end(index, total_size);
        if let Shown::Bars(bars) = &mut self.shown {
            if is_progress {
                self.activity = None;
                bars.show();
            }
            bars.end(index);
            bars.update(&self.totals);
        } else if !self.is_one_file {
            self.print_totals();
        }
    }

    /// Shows a text in the bar. Without a bar, prints it if the last line was long enough ago.
    fn show_text(&mut self, text: &str) {
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Bars(bars) => bars.show_text(text),
            Shown::Lines { next } => {
                if is_due(next) {
                    self.activity = None;
                    print_line(text);
                }
            }
        }
    }

    /// Prints the totals, if the last line was long enough ago.
    fn print_totals(&mut self) {
        if let Shown::Lines { next } = &mut self.shown
            && is_due(next)
        {
            self.activity = None;
            print_line(&self.totals.line(self.begun.elapsed().as_secs_f64()));
        }
    }
}

/// Shows how far local files are read.
pub(super) fn on_reading(
    progress: &Arc<Mutex<Progress>>,
) -> impl Fn(&ResourcePath, u64, u64) + Send + Sync + use<> {
    let progress = Arc::clone(progress);
    move |path, done, total_size| {
        let name = visible(path.as_bytes());
        locked(&progress).read(&name, done, total_size);
    }
}

pub(super) fn locked(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_due(next: &mut Instant) -> bool {
    let now = Instant::now();
    let is_due = now >= *next;
    if is_due {
        *next = now + PLAIN_INTERVAL;
    }
    is_due
}

const WAITING: &str = "waiting for the server";
const PLAIN_INTERVAL: Duration = Duration::from_secs(1);

//! Progress on standard error: bars, a line each second, or nothing.

mod bars;
mod totals;

use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::bars::Bars;
use self::totals::{Totals, percent};
use super::arguments::ProgressStyle;
use super::meaning::Manner;
use crate::cli::terminal::tell;
use crate::cli::visible;
use crate::client::{Event, Item};
use crate::wire::ResourcePath;

/// Shows progress, and keeps it out of the way of lines.
pub(super) struct Progress {
    shown: Shown,
    /// There is one file, and nothing else will come.
    is_one_file: bool,
    totals: Totals,
    begun: Instant,
}

enum Shown {
    Nothing,
    Bars(Bars),
    Lines { next: Instant },
}

impl Progress {
    /// `files`: how many there are, if that is known.
    pub(super) fn new(style: ProgressStyle, quiet: bool, files: Option<usize>) -> Progress {
        let is_one_file = files == Some(1);
        let shown = match style {
            _ if quiet => Shown::Nothing,
            ProgressStyle::None => Shown::Nothing,
            ProgressStyle::Auto if !io::stderr().is_terminal() => Shown::Nothing,
            ProgressStyle::Auto | ProgressStyle::Bar if can_move_its_cursor() => {
                Shown::Bars(Bars::new(is_one_file))
            }
            ProgressStyle::Plain | ProgressStyle::Auto | ProgressStyle::Bar => Shown::Lines {
                next: Instant::now() + PLAIN_INTERVAL,
            },
        };
        Progress {
            shown,
            is_one_file,
            totals: Totals::default(),
            begun: Instant::now(),
        }
    }

    /// Whether a person watches it on a terminal.
    pub(super) fn is_watched(&self) -> bool {
        !matches!(self.shown, Shown::Nothing) && io::stderr().is_terminal()
    }

    /// So much is wanted, and nothing else.
    pub(super) fn expect(&mut self, entries: u64, bytes: u64) {
        self.totals.expect(entries, bytes);
    }

    /// For a batch that is only looked at: how far files here are read, for
    /// [`crate::client::Batch::on_reading`]; and the bars, which what is told goes above.
    pub(super) fn of_reading(manner: &Manner) -> Arc<Mutex<Progress>> {
        let progress = Progress::new(manner.progress, manner.quiet, Some(1));
        Arc::new(Mutex::new(progress))
    }

    /// Takes one event. `name` gives the name of a download, safe to show.
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
            } => self.hash(&name(item), "server is hashing", done, total_size),
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
                    bars.show();
                    bars.begin(item.index, &name, total_size, resumed_from);
                }
                self.totals
                    .begin(item.index, name, total_size, resumed_from);
            }
            Event::Received { item, bytes } => {
                let large = self.totals.receive(item.index, bytes);
                if let Some(bars) = bars {
                    bars.show();
                    bars.receive(item.index, bytes);
                    bars.update(&self.totals);
                } else if let Some(large) = large.filter(|_| self.is_one_file) {
                    let line = large.line();
                    self.say(&line);
                } else {
                    self.say_all();
                }
            }
            Event::Done {
                item, downloaded, ..
            } => self.end(item.index, downloaded.total_size, true),
            Event::PassedOver { item, .. } => self.end(item.index, 0, true),
            // Not before there is progress: a bar of nothing around an error helps nobody.
            Event::Failed { item, .. } => self.end(item.index, 0, false),
            Event::Deleted { .. } | Event::Hidden { .. } | Event::Unkept(_) => {}
            Event::Retrying { pause, .. } | Event::Relisting { pause, .. } => {
                self.say(&format!(
                    "interrupted, again in {:.1} s",
                    pause.as_secs_f64()
                ));
            }
        }
    }

    /// Shows how far a file here is read.
    pub(super) fn read(&mut self, name: &str, done: u64, total_size: u64) {
        self.hash(name, "hashing the local file", done, total_size);
    }

    fn hash(&mut self, name: &str, what: &str, done: u64, total_size: u64) {
        if let Shown::Bars(bars) = &self.shown {
            bars.show();
            bars.hash(done, total_size);
            // The bar has the percentage.
            if self.is_one_file {
                return bars.say(&format!("{name}: {what}"));
            }
        }
        let percent = percent(done, total_size);
        self.say(&format!("{name}: {what} {percent}%"));
    }

    /// Does something while no bar is in the way.
    pub(super) fn above(&self, act: impl FnOnce()) {
        match &self.shown {
            Shown::Bars(bars) => bars.suspend(act),
            Shown::Nothing | Shown::Lines { .. } => act(),
        }
    }

    /// Shows a line, above the bars if there are some.
    pub(super) fn line(&self, text: &str) {
        self.above(|| tell(text));
    }

    /// Takes the bars away.
    pub(super) fn finish(&mut self) {
        if let Shown::Bars(bars) = &mut self.shown {
            bars.finish();
        }
    }

    fn end(&mut self, index: usize, total_size: u64, is_progress: bool) {
        self.totals.end(index, total_size);
        if let Shown::Bars(bars) = &mut self.shown {
            if is_progress {
                bars.show();
            }
            bars.end(index);
            bars.update(&self.totals);
        } else if !self.is_one_file {
            self.say_all();
        }
    }

    /// In the bar, or as a line if the last one was long enough ago.
    fn say(&mut self, text: &str) {
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Bars(bars) => bars.say(text),
            Shown::Lines { next } => {
                if is_due(next) {
                    tell(text);
                }
            }
        }
    }

    /// All of it as a line, if the last one was long enough ago.
    fn say_all(&mut self) {
        if let Shown::Lines { next } = &mut self.shown
            && is_due(next)
        {
            tell(&self.totals.line(self.begun.elapsed().as_secs_f64()));
        }
    }
}

/// Has reading shown.
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

/// Whether standard error is a terminal that can show a bar.
fn can_move_its_cursor() -> bool {
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stderr().is_terminal() && !is_dumb
}

fn is_due(next: &mut Instant) -> bool {
    let now = Instant::now();
    let is_due = now >= *next;
    if is_due {
        *next = now + PLAIN_INTERVAL;
    }
    is_due
}

const PLAIN_INTERVAL: Duration = Duration::from_secs(1);

//! Progress on standard error: bars, a line each second, or nothing.

mod bars;
mod totals;

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use self::bars::Bars;
use self::totals::{Totals, percent};
use super::arguments::ProgressStyle;
use crate::cli::terminal::tell;
use crate::client::{Event, Item};

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
            ProgressStyle::Plain => Shown::Lines {
                next: Instant::now() + PLAIN_INTERVAL,
            },
            ProgressStyle::Auto | ProgressStyle::Bar => Shown::Bars(Bars::new(is_one_file)),
        };
        Progress {
            shown,
            is_one_file,
            totals: Totals::default(),
            begun: Instant::now(),
        }
    }

    /// So much is wanted, and nothing else.
    pub(super) fn expect(&mut self, entries: u64, bytes: u64) {
        self.totals.expect(entries, bytes);
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
            } => {
                if let Some(bars) = bars {
                    bars.show();
                    bars.hash(done, total_size);
                }
                let percent = percent(done, total_size);
                self.say(&format!("{}: server is hashing {percent}%", name(item)));
            }
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

    /// Shows a line, above the bars if there are some.
    pub(super) fn line(&self, text: &str) {
        let write = || tell(text);
        match &self.shown {
            Shown::Bars(bars) => bars.suspend(write),
            Shown::Nothing | Shown::Lines { .. } => write(),
        }
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

fn is_due(next: &mut Instant) -> bool {
    let now = Instant::now();
    let is_due = now >= *next;
    if is_due {
        *next = now + PLAIN_INTERVAL;
    }
    is_due
}

const PLAIN_INTERVAL: Duration = Duration::from_secs(1);

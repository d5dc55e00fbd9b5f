//! Progress on standard error: a bar, a line now and then, or nothing.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle as BarStyle};

use super::arguments::ProgressStyle;
use crate::cli::terminal::tell;
use crate::client::{Event, Item};

/// Shows progress, and keeps it out of the way of lines.
pub(super) struct Progress {
    shown: Shown,
    /// If that is known.
    files: Option<usize>,
    files_done: usize,
    large: Option<Large>,
}

enum Shown {
    Nothing,
    Bar(ProgressBar),
    Lines { next: Instant },
}

/// The large file that is being received.
struct Large {
    index: usize,
    name: String,
    total_size: u64,
    begun: Instant,
    resumed_from: u64,
}

impl Progress {
    pub(super) fn new(style: ProgressStyle, quiet: bool, files: Option<usize>) -> Progress {
        let shown = match style {
            _ if quiet => Shown::Nothing,
            ProgressStyle::None => Shown::Nothing,
            ProgressStyle::Auto if !io::stderr().is_terminal() => Shown::Nothing,
            ProgressStyle::Plain => Shown::Lines {
                next: Instant::now() + PLAIN_INTERVAL,
            },
            ProgressStyle::Auto | ProgressStyle::Bar => Shown::Bar(bar(files)),
        };
        Progress {
            shown,
            files,
            files_done: 0,
            large: None,
        }
    }

    /// Takes one event. `name` gives the name of a download, safe to show.
    pub(super) fn take(&mut self, event: &Event<'_>, name: impl Fn(Item<'_>) -> String) {
        if matches!(self.shown, Shown::Nothing) {
            return;
        }
        if let Shown::Bar(bar) = &self.shown
            && bar.is_hidden()
            && !matches!(event, Event::Failed { .. } | Event::Retrying { .. })
        {
            // Not before there is progress: a bar of nothing around an error helps nobody.
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        match *event {
            Event::ServerHashing {
                item,
                done,
                total_size,
            } => {
                if let Shown::Bar(bar) = &self.shown
                    && self.files == Some(1)
                {
                    bar.set_length(total_size);
                    bar.set_position(done);
                }
                let percent = percent(done, total_size);
                self.say(&format!("{}: server is hashing {percent}%", name(item)));
            }
            Event::Began {
                item,
                total_size,
                resumed_from,
            } => {
                let large = Large {
                    index: item.index,
                    name: name(item),
                    total_size,
                    begun: Instant::now(),
                    resumed_from,
                };
                if let Shown::Bar(bar) = &self.shown
                    && self.files == Some(1)
                {
                    bar.set_length(total_size);
                    bar.set_position(resumed_from);
                    bar.reset_eta();
                    bar.set_message(large.name.clone());
                }
                self.large = Some(large);
            }
            Event::Received { item, bytes } => self.received(item.index, bytes),
            Event::Deleted { .. } | Event::Hidden { .. } => {}
            Event::Done { .. } | Event::Failed { .. } | Event::PassedOver { .. } => {
                self.files_done += 1;
                if let Shown::Bar(bar) = &self.shown
                    && self.files != Some(1)
                {
                    bar.set_position(self.files_done as u64);
                }
            }
            Event::Retrying { pause, .. } => {
                self.say(&format!(
                    "interrupted, again in {:.1} s",
                    pause.as_secs_f64()
                ));
            }
        }
    }

    /// Shows a line, above the bar if there is one.
    pub(super) fn line(&self, text: &str) {
        let write = || tell(text);
        match &self.shown {
            Shown::Bar(bar) => bar.suspend(write),
            Shown::Nothing | Shown::Lines { .. } => write(),
        }
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }

    fn received(&mut self, index: usize, bytes: u64) {
        let Some(large) = self.large.as_ref().filter(|large| large.index == index) else {
            return;
        };
        let percent = percent(bytes, large.total_size);
        match &self.shown {
            Shown::Bar(bar) if self.files == Some(1) => bar.set_position(bytes),
            Shown::Bar(bar) => bar.set_message(format!("{} {percent}%", large.name)),
            Shown::Nothing => {}
            Shown::Lines { .. } => {
                let seconds = large.begun.elapsed().as_secs_f64().max(0.001);
                let rate = (bytes.saturating_sub(large.resumed_from)) as f64 / seconds;
                let left = (large.total_size.saturating_sub(bytes)) as f64 / rate.max(1.0);
                let text = format!(
                    "{} {percent}% of {}, {}/s, {left:.0} s left",
                    large.name,
                    HumanBytes(large.total_size),
                    HumanBytes(rate as u64)
                );
                self.say(&text);
            }
        }
    }

    /// In the bar, or as a line if the last one was long enough ago.
    fn say(&mut self, text: &str) {
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => bar.set_message(text.to_owned()),
            Shown::Lines { next } if Instant::now() < *next => {}
            Shown::Lines { next } => {
                *next = Instant::now() + PLAIN_INTERVAL;
                tell(text);
            }
        }
    }
}

fn percent(part: u64, whole: u64) -> u64 {
    match whole {
        0 => 0,
        whole => (u128::from(part) * 100 / u128::from(whole)) as u64,
    }
}

fn bar(files: Option<usize>) -> ProgressBar {
    let (length, template) = match files {
        Some(1) => (Some(0), ONE_FILE),
        Some(files) => (Some(files as u64), MANY_FILES),
        None => (None, SOME_FILES),
    };
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden());
    // The templates are constants that a test reads.
    bar.with_style(BarStyle::with_template(template).unwrap_or_else(|_| BarStyle::default_bar()))
}

const ONE_FILE: &str = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} ETA {eta}";
const MANY_FILES: &str = "{pos}/{len} files {wide_bar} {per_sec} ETA {eta} {msg}";
/// Nobody knows how many there are.
const SOME_FILES: &str = "{spinner} {pos} files {per_sec} {elapsed} {wide_msg}";
const PLAIN_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_of_the_bars_can_be_read() {
        for template in [ONE_FILE, MANY_FILES, SOME_FILES] {
            assert!(BarStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn percents_do_not_overflow() {
        assert_eq!(percent(0, 0), 0);
        assert_eq!(percent(1, 3), 33);
        assert_eq!(percent(u64::MAX, u64::MAX), 100);
    }
}

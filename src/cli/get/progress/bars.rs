//! Bars on a terminal: one for the run, and above it one for each large file that is being
//! received.

use std::io;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle as BarStyle};

use super::WAITING;
use super::totals::Totals;
use crate::cli::activity::{Activity, TEXT_TEMPLATE};

pub(super) struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    large: Vec<(usize, ProgressBar)>,
    is_one_file: bool,
    template: &'static str,
    columns: usize,
}

impl Bars {
    /// Hidden bars.
    pub(super) fn new(is_one_file: bool) -> Bars {
        let size = rustix::termios::tcgetwinsize(io::stderr());
        let columns = size.map_or(0, |size| usize::from(size.ws_col));
        // Some terminals do not know their size.
        let columns = if columns == 0 {
            COLUMNS_DEFAULT
        } else {
            columns
        };
        let template = TEXT_TEMPLATE;
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        let total = all.add(bar(0, template)).with_message(WAITING);
        Bars {
            all,
            total,
            large: Vec::new(),
            is_one_file,
            template,
            columns,
        }
    }

    /// Shows and moves the bars if nothing else does.
    pub(super) fn activity(&self) -> Activity {
        Activity::of(&self.total, &self.all)
    }

    /// Shows the bars from now on.
    pub(super) fn show(&self) {
        if self.all.is_hidden() {
            self.all.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    pub(super) fn update(&mut self, totals: &Totals) {
        if self.is_one_file {
            return;
        }
        let template = match (totals.counts_bytes(), totals.knows_all_bytes()) {
            (true, true) => ALL_BYTES,
            (true, false) => BYTES_SO_FAR,
            (false, true) => ALL_FILES,
            (false, false) => FILES_SO_FAR,
        };
        self.set_template(template);
        let (length, position) = if totals.counts_bytes() {
            (totals.bytes_known(), totals.bytes_here())
        } else {
            (totals.files, totals.files_done)
        };
        self.total.set_length(length);
        self.total.set_position(position);
        let files = totals.files();
        let files = match self.columns {
            ..WIDE_COLUMNS => files.trim_end_matches(" files"),
            _ => &files,
        };
        let fits = files.len() <= self.room();
        self.total.set_message(if fits {
            files.to_owned()
        } else {
            String::new()
        });
    }

    /// A large file begins, or begins again.
    pub(super) fn begin(&mut self, index: usize, name: &str, total_size: u64, bytes: u64) {
        if self.is_one_file {
            self.set_template(ONE_FILE);
            self.total.set_length(total_size);
            start_at(&self.total, bytes);
            return self.total.set_message(self.shortened(name));
        }
        self.end(index);
        if total_size >= OWN_BAR_BYTES_MIN && self.large.len() < OWN_BARS_MAX {
            let template = fitting(LARGE_FILE, self.columns);
            let bar = self
                .all
                .insert_before(&self.total, bar(total_size, template));
            start_at(&bar, bytes);
            bar.set_message(self.shortened(name));
            self.large.push((index, bar));
        }
    }

    pub(super) fn receive(&self, index: usize, bytes: u64) {
        if self.is_one_file {
            return self.total.set_position(bytes);
        }
        if let Some((_, bar)) = self.large.iter().find(|(large, _)| *large == index) {
            bar.set_position(bytes);
        }
    }

    pub(super) fn end(&mut self, index: usize) {
        if let Some(at) = self.large.iter().position(|(large, _)| *large == index) {
            let (_, bar) = self.large.swap_remove(at);
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
    }

    /// Shows a text instead of numbers, until there are new ones.
    pub(super) fn show_text(&mut self, text: &str) {
        self.set_template(TEXT_TEMPLATE);
        // The bar cuts it to its width.
        self.total.set_message(text.to_owned());
    }

    fn set_template(&mut self, template: &'static str) {
        let template = fitting(template, self.columns);
        if template != self.template {
            self.template = template;
            self.total.set_style(style(template));
        }
    }

    /// Cuts a text at its beginning, to leave space for the numbers after it.
    fn shortened(&self, text: &str) -> String {
        let room = self.room();
        if text.chars().count() <= room {
            return text.to_owned();
        }
        let end: Vec<char> = text.chars().rev().take(room - 1).collect();
        std::iter::once('…').chain(end.into_iter().rev()).collect()
    }

    fn room(&self) -> usize {
        let numbers = match self.columns {
            ..WIDE_COLUMNS => MEDIUM_NUMBERS_COLUMNS,
            _ => NUMBERS_COLUMNS,
        };
        self.columns.saturating_sub(numbers).max(ROOM_MIN)
    }

    /// Runs `act` while the bars are hidden.
    pub(super) fn suspend(&self, act: impl FnOnce()) {
        self.all.suspend(act);
    }

    /// Removes all bars.
    pub(super) fn finish(&mut self) {
        for (_, bar) in self.large.drain(..) {
            bar.finish_and_clear();
        }
        self.total.finish_and_clear();
    }
}

fn bar(length: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::hidden());
    bar.with_style(style(template))
}

/// Continues at so many bytes, which say nothing about the rate.
fn start_at(bar: &ProgressBar, bytes: u64) {
    bar.set_position(bytes);
    // The rate counts from the position that was drawn last.
    bar.tick();
    bar.reset_eta();
}

/// The template, or a shorter one that fits into this many columns.
fn fitting(template: &'static str, columns: usize) -> &'static str {
    let counts_files = [ALL_FILES, FILES_SO_FAR].contains(&template);
    match columns {
        _ if template == TEXT_TEMPLATE => TEXT_TEMPLATE,
        ..NARROW_COLUMNS if counts_files => NARROW_FILES,
        ..NARROW_COLUMNS if template == BYTES_SO_FAR => NARROW_SO_FAR,
        ..NARROW_COLUMNS => NARROW,
        NARROW_COLUMNS..WIDE_COLUMNS if counts_files => MEDIUM_FILES,
        NARROW_COLUMNS..WIDE_COLUMNS if template == BYTES_SO_FAR => MEDIUM_SO_FAR,
        NARROW_COLUMNS..WIDE_COLUMNS => MEDIUM,
        _ => template,
    }
}

fn style(template: &str) -> BarStyle {
    // A test checks these constants.
    BarStyle::with_template(template).unwrap_or_else(|_| BarStyle::default_bar())
}

const ONE_FILE: &str =
    "{msg} {percent}% {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} ETA {eta}";
const LARGE_FILE: &str = "  {msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}";
const ALL_BYTES: &str =
    "{msg} {percent}% {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} ETA {eta}";
/// More files may be found, so the time left is a minimum.
const BYTES_SO_FAR: &str = "{msg} {wide_bar} {bytes}/{total_bytes}+ {bytes_per_sec} ETA {eta}+";
const ALL_FILES: &str = "{msg} {percent}% {wide_bar} {per_sec} ETA {eta}";
const FILES_SO_FAR: &str = "{spinner} {wide_msg} {per_sec} {elapsed}";
const MEDIUM: &str = "{msg} {percent}% {bytes} {bytes_per_sec}";
const MEDIUM_FILES: &str = "{msg} {elapsed}";
const MEDIUM_SO_FAR: &str = "{msg} {bytes} {bytes_per_sec}";
const NARROW_SO_FAR: &str = "{bytes}";
const NARROW: &str = "{percent}% {bytes}";
const NARROW_FILES: &str = "{pos} files";
const WIDE_COLUMNS: usize = 70;
const NARROW_COLUMNS: usize = 34;
const COLUMNS_DEFAULT: usize = 80;
/// The columns of the bytes, the total, the rate, the time left and a part of the bar.
const NUMBERS_COLUMNS: usize = 62;
/// Columns for the percentage, the bytes and the rate.
const MEDIUM_NUMBERS_COLUMNS: usize = 31;
const ROOM_MIN: usize = 8;
/// A smaller file ends before anybody can read its name.
const OWN_BAR_BYTES_MIN: u64 = 8 * 1024 * 1024;
const OWN_BARS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_of_the_bars_are_valid() {
        let templates = [
            ONE_FILE,
            LARGE_FILE,
            ALL_BYTES,
            BYTES_SO_FAR,
            ALL_FILES,
            FILES_SO_FAR,
            MEDIUM,
            MEDIUM_FILES,
            MEDIUM_SO_FAR,
            NARROW,
            NARROW_SO_FAR,
            NARROW_FILES,
        ];
        for template in templates {
            assert!(BarStyle::with_template(template).is_ok(), "{template}");
        }
    }
}

//! The progress of the whole run, and of each large file.

use std::time::Instant;

use indicatif::HumanBytes;

/// The progress of the run.
#[derive(Default)]
pub(super) struct Totals {
    /// The files and bytes that were found so far.
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// All files were found.
    pub(super) is_all: bool,
    is_foreseen: bool,
    pub(super) files_done: u64,
    /// The bytes of finished files.
    bytes_done: u64,
    /// The bytes of files that have begun, for runs that do not know the sizes in advance.
    bytes_begun: u64,
    /// The large files that are being received.
    large: Vec<Large>,
}

/// A large file that is being received.
pub(super) struct Large {
    index: usize,
    pub(super) name: String,
    pub(super) total_size: u64,
    pub(super) bytes: u64,
    begun: Instant,
    resumed_from: u64,
}

impl Totals {
    /// Sets the totals of the run in advance.
    pub(super) fn expect(&mut self, files: u64, bytes: u64) {
        (self.files, self.bytes) = (files, bytes);
        (self.is_all, self.is_foreseen) = (true, true);
    }

    /// Updates the totals that were found so far.
    pub(super) fn find(&mut self, files: u64, bytes: u64, is_all: bool) {
        if !self.is_foreseen {
            (self.files, self.bytes, self.is_all) = (files, bytes, is_all);
        }
    }

    /// A large file begins, or begins again.
    pub(super) fn begin(&mut self, index: usize, name: String, total_size: u64, bytes: u64) {
        if self.take_out(index).is_none() {
            self.bytes_begun = self.bytes_begun.saturating_add(total_size);
        }
        self.large.push(Large {
            index,
            name,
            total_size,
            bytes,
            begun: Instant::now(),
            resumed_from: bytes,
        });
    }

    /// Updates the received bytes of a large file.
    pub(super) fn receive(&mut self, index: usize, bytes: u64) -> Option<&Large> {
        let large = self.large.iter_mut().find(|large| large.index == index)?;
        large.bytes = bytes;
        Some(large)
    }

    /// A file is finished or has failed.
    pub(super) fn end(&mut self, index: usize, total_size: u64) {
        if self.take_out(index).is_none() {
            self.bytes_begun = self.bytes_begun.saturating_add(total_size);
        }
        self.files_done += 1;
        self.bytes_done = self.bytes_done.saturating_add(total_size);
    }

    /// The bytes of all files that are here.
    pub(super) fn bytes_here(&self) -> u64 {
        let under_way = self.large.iter().map(|large| large.bytes);
        under_way.fold(self.bytes_done, u64::saturating_add)
    }

    /// Whether progress is measured in bytes, and not in files.
    pub(super) fn counts_bytes(&self) -> bool {
        self.bytes_known() > 0
    }

    /// The bytes of all files, as far as they are known.
    pub(super) fn bytes_known(&self) -> u64 {
        self.bytes.max(self.bytes_begun)
    }

    /// Whether the bytes of all files are known.
    pub(super) fn knows_all_bytes(&self) -> bool {
        self.is_all && self.bytes >= self.bytes_begun
    }

    /// `2/10 files`, and `2/10+ files` while more may be found.
    pub(super) fn files(&self) -> String {
        let more = if self.is_all { "" } else { "+" };
        format!(
            "{}/{}{more} files",
            self.files_done,
            self.files.max(self.files_done)
        )
    }

    /// One line about the run.
    pub(super) fn line(&self, seconds: f64) -> String {
        let here = self.bytes_here();
        let rate = here as f64 / seconds.max(0.001);
        let mut line = format!("{}, {}", self.files(), HumanBytes(here));
        if self.counts_bytes() {
            line += &format!(" of {}", HumanBytes(self.bytes_known()));
        }
        line += &format!(", {}/s", HumanBytes(rate as u64));
        if self.knows_all_bytes() && self.counts_bytes() {
            let left = self.bytes.saturating_sub(here) as f64 / rate.max(1.0);
            line += &format!(", {left:.0} s left");
        }
        for large in &self.large {
            line += &format!(
                "; {} {}%",
                large.name,
                percent(large.bytes, large.total_size)
            );
        }
        line
    }

    fn take_out(&mut self, index: usize) -> Option<Large> {
        let at = self.large.iter().position(|large| large.index == index)?;
        Some(self.large.swap_remove(at))
    }
}

impl Large {
    /// One line about the file.
    pub(super) fn line(&self) -> String {
        let seconds = self.begun.elapsed().as_secs_f64().max(0.001);
        let rate = self.bytes.saturating_sub(self.resumed_from) as f64 / seconds;
        let left = self.total_size.saturating_sub(self.bytes) as f64 / rate.max(1.0);
        format!(
            "{} {}% of {}, {}/s, {left:.0} s left",
            self.name,
            percent(self.bytes, self.total_size),
            HumanBytes(self.total_size),
            HumanBytes(rate as u64)
        )
    }
}

pub(super) fn percent(part: u64, whole: u64) -> u64 {
    match whole {
        0 => 0,
        whole => (u128::from(part) * 100 / u128::from(whole)) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_do_not_overflow() {
        assert_eq!(percent(0, 0), 0);
        assert_eq!(percent(1, 3), 33);
        assert_eq!(percent(u64::MAX, u64::MAX), 100);
    }

    #[test]
    fn large_files_count_with_their_received_bytes() {
        let mut totals = Totals {
            files: 3,
            bytes: 4096,
            ..Totals::default()
        };
        totals.begin(0, "a".to_owned(), 2048, 0);
        totals.begin(1, "b".to_owned(), 1024, 512);
        assert!(totals.receive(0, 1024).is_some() && totals.receive(2, 1).is_none());
        let line = "0/3+ files, 1.50 KiB of 4.00 KiB, 1.50 KiB/s; a 50%; b 50%";
        assert_eq!(totals.line(1.0), line);
        // A file that begins again is still one file.
        totals.begin(0, "a".to_owned(), 2048, 512);
        totals.end(1, 1024);
        totals.is_all = true;
        let line = "1/3 files, 1.50 KiB of 4.00 KiB, 1.50 KiB/s, 2 s left; a 25%";
        assert_eq!(totals.line(1.0), line);
        totals.end(0, 2048);
        totals.end(2, 1024);
        assert_eq!(
            (totals.bytes_here(), totals.files()),
            (4096, "3/3 files".to_owned())
        );
    }

    #[test]
    fn expected_totals_outlive_partial_findings() {
        let mut totals = Totals::default();
        totals.find(1, 10, false);
        assert_eq!(
            (totals.files(), totals.bytes),
            ("0/1+ files".to_owned(), 10)
        );
        totals.expect(3, 30);
        totals.find(2, 20, false);
        totals.end(0, 10);
        assert_eq!((totals.files(), totals.bytes), ("1/3 files".to_owned(), 30));
        assert_eq!(
            totals.line(1.0),
            "1/3 files, 10 B of 30 B, 10 B/s, 2 s left"
        );
    }
}

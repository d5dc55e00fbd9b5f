//! What is told and done when a file is present, and when everything is.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::SystemTime;

use super::{Reporter, source};
use crate::cli::failure::code_of;
use crate::cli::get::exec::{self, Ended, Run};
use crate::cli::get::json_event::Done;
use crate::cli::get::receipts::Receipt;
use crate::cli::get::wording::{self, filename_b64};
use crate::cli::terminal::size;
use crate::cli::{ExitCode, visible};
use crate::client::{Action, Download, Downloaded, Item};
use crate::wire::Md5Digest;

impl Reporter<'_> {
    /// Tells of a file that is present; says whether a command is to be run on it.
    pub(super) fn tell_done(
        &mut self,
        item: Item<'_>,
        download: Option<&Download>,
        downloaded: &Downloaded,
    ) -> Option<Run> {
        self.summary.done += 1;
        self.summary.bytes += downloaded.transferred();
        self.summary.actions.add(downloaded.action);
        let is_unchanged = matches!(downloaded.action, Action::Identical | Action::Skipped);
        if self.manner.verbose && (!is_unchanged || self.manner.names_unchanged) {
            let source = source(item, self.poured.as_ref()).name();
            let placed = placed(download, downloaded);
            let name = visible(placed.as_deref().unwrap_or(b"-"));
            let (action, _) = wording::action(downloaded.action);
            let secs = downloaded.elapsed.as_secs_f64();
            let size = size(downloaded.total_size);
            self.line(&format!(
                "{source}: {action}, {size} in {secs:.2} s, as {name}"
            ));
        }
        self.write_receipt(item, download, downloaded);
        let command = downloaded.command.as_ref();
        if let Some(end) = command.filter(|end| end.exit_status != 0) {
            let name = source(item, self.poured.as_ref()).name().to_owned();
            let mut line = format!("{name}: command ended with {}", end.exit_status);
            if let Some(errors) = &end.error_output {
                line = format!("{line}: {}", visible(errors.as_bytes()));
            }
            self.failure(&line);
            self.failures.add(ExitCode::Unclassified);
        }
        let file = download.and_then(|download| Some((download, file(download, downloaded)?)));
        if let (Some(_), Some((download, file))) = (&self.manner.exec, file) {
            return Some(Run {
                index: item.index,
                address: item.address.clone(),
                path: item.path.clone(),
                download: download.clone(),
                downloaded: downloaded.clone(),
                file,
            });
        }
        self.json_done(item, download, downloaded, None);
        None
    }

    /// Tells how a command of `--exec` ended.
    pub(in crate::cli::get) fn tell_run(&mut self, run: &Run, ended: Ended) {
        let name = placed(Some(&run.download), &run.downloaded).unwrap_or_default();
        let name = visible(&name).into_owned();
        let status = self.judge(&format!("{name}: --exec"), &ended);
        self.json_done(
            run.item(),
            Some(&run.download),
            &run.downloaded,
            Some(status),
        );
    }

    /// Runs the command of `--on-complete`.
    pub(super) fn complete(&mut self, words: &[String]) {
        let to_stderr = self.manner.json || self.poured.is_some();
        let time_max = self.manner.complete_time_max;
        let ended = exec::complete(words, to_stderr, self.summary.variables(), time_max);
        self.summary.complete_status = Some(self.judge("--on-complete", &ended));
    }

    /// Anything but 0 is a failure; what cannot be run ends with 127, as in a shell, and what has
    /// no time left with 124, as with timeout(1).
    fn judge(&mut self, what: &str, ended: &Ended) -> i32 {
        let (status, code) = match ended {
            Ended::Status(0) => return 0,
            Ended::Status(status) => {
                self.failure(&format!("{what} ended with {status}"));
                (*status, ExitCode::Unclassified)
            }
            Ended::OutOfTime => {
                self.failure(&format!("{what} has no time left (--max-time)"));
                (124, ExitCode::TimedOut)
            }
            Ended::NotRun(error) => {
                self.failure(&format!("{what} cannot be run: {error}"));
                (127, ExitCode::Unclassified)
            }
        };
        self.failures.add(code);
        status
    }

    fn json_done(
        &mut self,
        item: Item<'_>,
        download: Option<&Download>,
        downloaded: &Downloaded,
        exec_status: Option<i32>,
    ) {
        if !self.manner.json {
            return;
        }
        let (action, resumed_from) = wording::action(downloaded.action);
        let placed = placed(download, downloaded);
        self.json(&Done {
            v: 1,
            event: "done",
            n: item.index,
            filename: String::from_utf8_lossy(item.path.as_bytes()),
            filename_b64: filename_b64(item.path.as_bytes()),
            total_size: downloaded.total_size,
            md5: downloaded.md5.as_ref().map(Md5Digest::to_string),
            action,
            resumed_from,
            name: placed
                .as_ref()
                .map(|placed| String::from_utf8_lossy(placed)),
            secs: downloaded.elapsed.as_secs_f64(),
            attempts: downloaded.attempts,
            exit_status: downloaded.command.as_ref().map(|end| end.exit_status),
            error_output: downloaded
                .command
                .as_ref()
                .and_then(|end| end.error_output.as_deref()),
            exec_status,
        });
    }

    /// Appends a receipt, if there are to be any and the file was verified.
    fn write_receipt(
        &mut self,
        item: Item<'_>,
        download: Option<&Download>,
        downloaded: &Downloaded,
    ) {
        let file = download.and_then(|download| file(download, downloaded));
        let (Some(receipts), Some(file), Some(md5)) = (&mut self.receipts, file, downloaded.md5)
        else {
            return;
        };
        let receipt = Receipt {
            server: item.address,
            path: item.path,
            file,
            total_size: downloaded.total_size,
            md5,
        };
        if let Err(error) = receipts.append(&receipt, SystemTime::now()) {
            self.failure(&format!("cannot write receipts: {error}"));
            self.failures.add(code_of(&error));
            // Said once; a list with a hole in it helps nobody.
            self.receipts = None;
        }
    }
}

/// The name it has below the folder, which may not be the one that was asked for.
fn placed(download: Option<&Download>, downloaded: &Downloaded) -> Option<Vec<u8>> {
    let name = downloaded.name.as_ref()?;
    Some(match download {
        Some(download) => download.beside(name),
        None => name.as_bytes().to_vec(),
    })
}

/// Where a file is that was verified; `None` if it was skipped, or poured out.
fn file(download: &Download, downloaded: &Downloaded) -> Option<PathBuf> {
    let below = download.beside(downloaded.name.as_ref()?);
    let is_there = !matches!(downloaded.action, Action::Skipped | Action::Link);
    is_there.then(|| download.folder.join(OsStr::from_bytes(&below)))
}

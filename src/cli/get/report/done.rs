//! Reports about finished files, and about the commands that run on them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::SystemTime;

use super::{Reporter, source};
use crate::cli::failure::write_error_code;
use crate::cli::get::exec::{self, CommandOutcome, Run};
use crate::cli::get::json_event::DoneEvent;
use crate::cli::get::receipts::Receipt;
use crate::cli::get::wording::{self, filename_b64};
use crate::cli::terminal::size;
use crate::cli::{ExitCode, visible};
use crate::client::{Action, Download, Downloaded, Item};
use crate::wire::Md5Digest;

impl Reporter<'_> {
    /// Reports a file that is present. Returns the command to run on it, if there is one.
    pub(super) fn report_done(
        &mut self,
        item: Item<'_>,
        download: Option<&Download>,
        downloaded: &Downloaded,
    ) -> Option<Run> {
        self.summary.done += 1;
        self.summary.bytes += downloaded.transferred();
        self.summary.actions.add(downloaded.action);
        let is_unchanged = matches!(downloaded.action, Action::Identical | Action::Skipped);
        if self.style.verbose && (!is_unchanged || self.style.names_unchanged) {
            let source = source(item, self.streamed.as_ref()).name();
            let placed = placed(download, downloaded);
            let has_other_name = |name: &&[u8]| !item.path.as_bytes().ends_with(name);
            let name = placed.as_deref().filter(has_other_name);
            let name = name.map_or_else(String::new, |name| format!(", as {}", visible(name)));
            let (action, _) = wording::action(downloaded.action);
            let secs = downloaded.elapsed.as_secs_f64();
            let size = size(downloaded.total_size);
            self.line(&format!("{source}: {action}, {size} in {secs:.2} s{name}"));
        }
        self.write_receipt(item, download, downloaded);
        let command = downloaded.command.as_ref();
        if let Some(end) = command.filter(|end| end.exit_status != 0) {
            let name = source(item, self.streamed.as_ref()).name().to_owned();
            let mut line = format!("{name}: command ended with {}", end.exit_status);
            if let Some(errors) = &end.error_output {
                line = format!("{line}: {}", visible(errors.as_bytes()));
            }
            self.failure(&line);
            self.failures.add(ExitCode::Unclassified);
        }
        let file = download.and_then(|download| Some((download, file(download, downloaded)?)));
        if let (Some(_), Some((download, file))) = (&self.style.exec, file) {
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

    /// Reports how a command of `--exec` ended.
    pub(in crate::cli::get) fn report_command(&mut self, run: &Run, ended: CommandOutcome) {
        let name = placed(Some(&run.download), &run.downloaded).unwrap_or_default();
        let name = visible(&name).into_owned();
        let status = self.record_outcome(&format!("{name}: --exec"), &ended);
        self.json_done(
            run.item(),
            Some(&run.download),
            &run.downloaded,
            Some(status),
        );
    }

    /// Runs the command of `--on-complete`.
    pub(super) fn complete(&mut self, words: &[String]) {
        let to_stderr = self.style.json || self.streamed.is_some();
        let time_max = self.style.complete_time_max;
        let ended = exec::complete(words, to_stderr, self.summary.variables(), time_max);
        self.summary.complete_status = Some(self.record_outcome("--on-complete", &ended));
    }

    /// Counts any status but 0 as a failure. A command that cannot run has 127, as in a shell. A
    /// command without time left has 124, as with timeout(1).
    fn record_outcome(&mut self, what: &str, ended: &CommandOutcome) -> i32 {
        let (status, code) = match ended {
            CommandOutcome::Status(0) => return 0,
            CommandOutcome::Status(status) => {
                self.failure(&format!("{what} ended with {status}"));
                (*status, ExitCode::Unclassified)
            }
            CommandOutcome::OutOfTime => {
                self.failure(&format!("{what} has no time left (--max-time)"));
                (124, ExitCode::TimedOut)
            }
            CommandOutcome::NotRun(error) => {
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
        if !self.style.json {
            return;
        }
        let (action, resumed_from) = wording::action(downloaded.action);
        let placed = placed(download, downloaded);
        self.json(&DoneEvent {
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

    /// Appends a receipt, if `--receipts` is used and the file was verified.
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
            self.failures.add(write_error_code(&error));
            // Stop after the first error: a list with gaps is of no use.
            self.receipts = None;
        }
    }
}

/// The path below the target directory. With `rename` its name is not the requested one.
fn placed(download: Option<&Download>, downloaded: &Downloaded) -> Option<Vec<u8>> {
    let name = downloaded.name.as_ref()?;
    Some(match download {
        Some(download) => download.beside(name),
        None => name.as_bytes().to_vec(),
    })
}

/// The path of a verified file; `None` if it was skipped or is a link.
fn file(download: &Download, downloaded: &Downloaded) -> Option<PathBuf> {
    let below = download.beside(downloaded.name.as_ref()?);
    let is_there = !matches!(downloaded.action, Action::Skipped | Action::Link);
    is_there.then(|| download.folder.join(OsStr::from_bytes(&below)))
}

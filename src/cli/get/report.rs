//! What `ftget` tells: lines for people on standard error, JSON Lines for programs, and in the
//! end one exit code for all.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use serde::Serialize;

use super::exec;
use super::failure::{Failures, classify, sentence};
use super::listed;
use super::meaning::{Destination, Order};
use super::progress::Progress;
use super::receipts::{Receipt, Receipts};
use super::wording::{self, Message, Source, filename_b64};
use crate::cli::terminal::{counted, visible_json};
use crate::cli::{ExitCode, visible};
use crate::client::{Action, ClientError, DownloadResult, Downloaded, Event};
use crate::store::FileName;
use crate::wire::Md5Digest;

/// Hears of everything and tells those who want to know.
pub(super) struct Reporter<'a> {
    order: &'a Order,
    progress: Progress,
    started: Instant,
    bytes: u64,
    // Many files fail alike if there is no connection: it is said once.
    last_message: Option<Message>,
    /// Bytes that are not verified may have gone out.
    is_pouring: bool,
    json_failed: Option<io::Error>,
    receipts: Option<Receipts>,
    /// Of commands that were run, of lists and receipts: not the downloads'.
    own_failures: Failures,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(order: &'a Order, receipts: Option<Receipts>) -> Reporter<'a> {
        Reporter {
            order,
            progress: Progress::new(order.progress, order.quiet, order.len()),
            started: Instant::now(),
            bytes: 0,
            last_message: None,
            is_pouring: false,
            json_failed: None,
            receipts,
            own_failures: Failures::default(),
        }
    }

    /// Tells what of a list cannot be.
    pub(super) fn complain(&mut self) {
        for sentence in listed::sentences(&self.order.complaints) {
            self.line(&sentence);
        }
        for complaint in &self.order.complaints {
            self.own_failures.add(complaint.code);
            self.json(&Failed {
                v: 1,
                event: "error",
                filename: Cow::Borrowed(""),
                filename_b64: None,
                code: complaint.code as u8,
                reason: complaint.reason,
                message: &complaint.sentence,
            });
        }
    }

    /// Takes one event.
    pub(super) fn take(&mut self, event: Event<'_>) {
        self.progress
            .take(&event, |index| source(self.order, index).name());
        match event {
            Event::Done { index, downloaded } => self.tell_done(index, downloaded),
            Event::Failed { index, error } => self.tell_failed(index, error),
            Event::Retrying {
                error,
                pause,
                unfinished,
            } if self.order.verbose => {
                let files = if unfinished == 1 { "file" } else { "files" };
                let seconds = pause.as_secs_f64();
                self.line(&format!(
                    "{}; {unfinished} {files} again in {seconds:.1} s",
                    sentence(error)
                ));
            }
            Event::Began { .. } => {
                self.is_pouring = matches!(
                    &self.order.destination,
                    Destination::StandardOutput(pour) if pour.spool.is_none()
                );
            }
            Event::ServerHashing { .. } | Event::Received { .. } | Event::Retrying { .. } => {}
        }
    }

    /// Ends the report and says how it all ended.
    pub(super) fn end(mut self, results: &[DownloadResult]) -> ExitCode {
        self.progress.end();
        let (mut done, mut failed) = (0_u64, self.order.complaints.len() as u64);
        let mut failures = std::mem::take(&mut self.own_failures);
        for result in results {
            match result {
                Ok(_) => done += 1,
                Err(error) => {
                    failed += 1;
                    failures.add(classify(error).0);
                }
            }
        }
        let code = failures.code();
        self.json(&Summary {
            v: 1,
            event: "summary",
            done,
            failed,
            bytes: self.bytes,
            secs: self.started.elapsed().as_secs_f64(),
            code: code as u8,
        });
        if let Some(error) = self.json_failed.take() {
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.line(&format!("cannot write to standard output: {error}"));
            }
            if code == ExitCode::Success {
                return ExitCode::LocalFile;
            }
        }
        code
    }

    fn tell_done(&mut self, index: usize, downloaded: &Downloaded) {
        let path = self.order.source(index).1;
        let Downloaded {
            name,
            total_size,
            md5,
            action,
            elapsed,
            attempts,
            exit_status,
        } = downloaded;
        let (action, resumed_from) = wording::action(*action);
        if matches!(downloaded.action, Action::Fetched | Action::Resumed { .. }) {
            self.bytes += total_size - resumed_from.unwrap_or(0);
        }
        if self.order.verbose {
            let name = name.as_ref().map_or(&b"-"[..], FileName::as_bytes);
            let (source, name) = (source(self.order, index).name(), visible(name));
            let secs = elapsed.as_secs_f64();
            let size = counted(*total_size, "byte");
            self.line(&format!(
                "{source}: {action}, {size} in {secs:.2} s, as {name}"
            ));
        }
        self.write_receipt(index, downloaded);
        let exec_status = self.run_on(index, downloaded);
        if let Some(status) = exit_status.filter(|status| *status != 0) {
            self.line(&format!(
                "{}: command ended with {status}",
                source(self.order, index).name()
            ));
            self.own_failures.add(ExitCode::Unclassified);
        }
        self.json(&Done {
            v: 1,
            event: "done",
            filename: String::from_utf8_lossy(path.as_bytes()),
            filename_b64: filename_b64(path.as_bytes()),
            total_size: *total_size,
            md5: md5.as_ref().map(Md5Digest::to_string),
            action,
            resumed_from,
            name: name
                .as_ref()
                .map(|name| String::from_utf8_lossy(name.as_bytes())),
            secs: elapsed.as_secs_f64(),
            attempts: *attempts,
            exit_status: *exit_status,
            exec_status,
        });
    }

    /// Appends a receipt, if there are to be any and the file was verified.
    fn write_receipt(&mut self, index: usize, downloaded: &Downloaded) {
        let (Some(receipts), Some(file)) =
            (&mut self.receipts, file(self.order, index, downloaded))
        else {
            return;
        };
        let Some(md5) = downloaded.md5 else {
            return;
        };
        let (server, path) = self.order.source(index);
        let receipt = Receipt {
            server,
            path,
            file,
            total_size: downloaded.total_size,
            md5,
        };
        if let Err(error) = receipts.append(&receipt, SystemTime::now()) {
            self.line(&format!("cannot write receipts: {error}"));
            self.own_failures.add(ExitCode::LocalFile);
            // Said once; a list with a hole in it helps nobody.
            self.receipts = None;
        }
    }

    /// Runs the command of `--exec`; says how it ended, if there is one to run.
    fn run_on(&mut self, index: usize, downloaded: &Downloaded) -> Option<i32> {
        let words = self.order.exec.as_ref()?;
        let file = file(self.order, index, downloaded)?;
        let name = downloaded.name.as_ref()?;
        let ended = exec::run(words, &file, self.order.json);
        let shown = visible(name.as_bytes()).into_owned();
        match &ended {
            Ok(0) => {}
            Ok(code) => self.line(&format!("{shown}: --exec ended with {code}")),
            Err(error) => self.line(&format!("{shown}: --exec cannot be run: {error}")),
        }
        if !matches!(ended, Ok(0)) {
            self.own_failures.add(ExitCode::Unclassified);
        }
        Some(ended.unwrap_or(127))
    }

    fn tell_failed(&mut self, index: usize, error: &ClientError) {
        let path = self.order.source(index).1;
        let (code, reason) = classify(error);
        let message = sentence(error);
        // The reader of our output has seen enough: that is its right, and no news.
        let closed = matches!(error, ClientError::Output(source) if source.kind() == io::ErrorKind::BrokenPipe);
        let told = self.message(index, error);
        if !closed && !self.json_on_stderr() && self.last_message.as_ref() != Some(&told) {
            self.progress.line(&told.text(self.order.is_coloured));
            self.last_message = Some(told);
        }
        self.json(&Failed {
            v: 1,
            event: "error",
            filename: String::from_utf8_lossy(path.as_bytes()),
            filename_b64: filename_b64(path.as_bytes()),
            code: code as u8,
            reason,
            message: &message,
        });
    }

    fn message(&self, index: usize, error: &ClientError) -> Message {
        let mut message = Message::of(source(self.order, index), error);
        if let Destination::StandardOutput(_) = self.order.destination {
            if self.is_pouring {
                message.line += "; the output must not be used";
            }
            if let ClientError::Stage(_) = error {
                message.hint = Some(SPOOL_HINT.into());
            }
        }
        message
    }

    fn line(&self, text: &str) {
        self.progress
            .line(&wording::line(text, self.order.is_coloured));
    }

    fn json_on_stderr(&self) -> bool {
        self.order.json && matches!(self.order.destination, Destination::StandardOutput(_))
    }

    fn json(&mut self, event: &impl Serialize) {
        if !self.order.json {
            return;
        }
        // These are structs of strings and numbers, which cannot fail.
        let Ok(line) = serde_json::to_string(event) else {
            return;
        };
        let line = visible_json(&line);
        let written = if self.json_on_stderr() {
            io::stderr().write_all(format!("{line}\n").as_bytes())
        } else {
            io::stdout().write_all(format!("{line}\n").as_bytes())
        };
        self.json_failed = self.json_failed.take().or(written.err());
    }
}

fn source(order: &Order, index: usize) -> Source<'_> {
    let (address, path) = order.source(index);
    Source {
        address,
        path,
        is_command: matches!(&order.destination, Destination::StandardOutput(pour) if pour.is_command),
    }
}

/// Where a file is that was verified; `None` if it was skipped, or poured out.
fn file(order: &Order, index: usize, downloaded: &Downloaded) -> Option<PathBuf> {
    let Destination::Files(downloads) = &order.destination else {
        return None;
    };
    let name = downloaded.name.as_ref()?;
    let folder = &downloads[index].folder;
    (downloaded.action != Action::Skipped).then(|| folder.join(OsStr::from_bytes(name.as_bytes())))
}

#[derive(Serialize)]
struct Done<'a> {
    v: u8,
    event: &'static str,
    filename: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filename_b64: Option<String>,
    total_size: u64,
    md5: Option<String>,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resumed_from: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'a, str>>,
    secs: f64,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_status: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exec_status: Option<i32>,
}

#[derive(Serialize)]
struct Failed<'a> {
    v: u8,
    event: &'static str,
    filename: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filename_b64: Option<String>,
    code: u8,
    reason: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
struct Summary {
    v: u8,
    event: &'static str,
    done: u64,
    failed: u64,
    bytes: u64,
    secs: f64,
    code: u8,
}

/// What is poured out goes by way of a folder of this machine.
const SPOOL_HINT: &str = "it is kept until verified in the folder that TMPDIR names; name another";

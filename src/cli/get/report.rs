//! The output of a transfer: lines for people on standard error, JSON Lines for programs, and the
//! exit code of the run.

mod done;
mod trees;

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{self, Write};
use std::mem;
use std::time::Duration;
use std::time::Instant;

use serde::Serialize;

use super::command::OutputStyle;
use super::destination::Destination;
use super::exec::Run;
use super::failure::{Failures, classify, sentence};
use super::json_event::FailedEvent;
use super::mirror;
use super::progress::Progress;
use super::receipts::Receipts;
use super::repeats::Repeats;
use super::summary::Summary;
use super::wording::{self, Message, Source, filename_b64};
use crate::cli::ExitCode;
use crate::cli::failure::write_error_code;
use crate::cli::terminal::{counted, standard_error, standard_output, visible_json};
use crate::client::{ClientError, Event, Item, MirrorNotes, StreamDownload};

/// Takes the events of a transfer, prints them, and derives the exit code.
pub(super) struct Reporter<'a> {
    style: &'a OutputStyle,
    /// Set if one source is streamed.
    streamed: Option<StreamedOutput>,
    progress: Progress,
    started: Instant,
    summary: Summary,
    // If there is no connection, many files fail with one message: it is printed once.
    last_message: Option<Message>,
    /// Each hint is printed once.
    hints: HashSet<Cow<'static, str>>,
    /// The output may have received bytes that are not verified.
    sends_unverified: bool,
    json_failed: Option<io::Error>,
    receipts: Option<Receipts>,
    failures: Failures,
    repeats: Repeats,
    /// Type conflicts of a mirror, until it deletes.
    notes: Option<MirrorNotes>,
}

/// The source that is streamed.
struct StreamedOutput {
    /// The output is standard output.
    is_standard: bool,
    is_command: bool,
    is_spooled: bool,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(destination: &Destination, style: &'a OutputStyle) -> Reporter<'a> {
        Reporter {
            style,
            streamed: match destination {
                Destination::Stream(download, output) => Some(StreamedOutput {
                    is_standard: output.is_standard(),
                    is_command: download.is_command,
                    is_spooled: download.spool.is_some(),
                }),
                Destination::Files(_) => None,
            },
            progress: Progress::new(style.progress, style.quiet, destination.len()),
            started: Instant::now(),
            summary: Summary {
                v: 1,
                event: "summary",
                ..Summary::default()
            },
            last_message: None,
            hints: HashSet::new(),
            sends_unverified: false,
            json_failed: None,
            receipts: None,
            failures: Failures::default(),
            repeats: Repeats::new(style.verbose),
            notes: None,
        }
    }

    /// Writes receipts from now on.
    pub(super) fn write_receipts_to(&mut self, receipts: Option<Receipts>) {
        self.receipts = receipts;
    }

    /// Reports a pattern that nothing matches.
    pub(super) fn report_unmatched(&mut self, source: &str) {
        let sentence = format!("{source}: nothing matches; ft:// takes a name as it is");
        self.failure(&sentence);
        self.fail(ExitCode::NotFound, "not_found", &sentence);
    }

    /// Reports a list without lines. That is not a failure.
    pub(super) fn report_empty_list(&mut self, list: &str) {
        if !self.style.quiet {
            self.note(&format!("{list} names no files"));
        }
    }

    /// Reports a failure of the whole run, such as the time limit.
    pub(super) fn report_whole(&mut self, error: &ClientError) {
        let (code, reason) = classify(error);
        let sentence = sentence(error);
        self.failure(&sentence);
        self.fail(code, reason, &sentence);
    }

    /// Reports that the output cannot be opened.
    pub(super) fn report_unopened(&mut self, download: &StreamDownload, error: &ClientError) {
        let item = Item {
            index: 0,
            address: &download.address,
            path: &download.path,
            here: None,
        };
        self.report_failed(item, error);
    }

    /// Counts a failure that is not about one file, and that was printed.
    fn fail(&mut self, code: ExitCode, reason: &str, sentence: &str) {
        self.summary.failed += 1;
        self.failures.add(code);
        self.json(&FailedEvent {
            v: 1,
            event: "error",
            n: None,
            filename: Cow::Borrowed(""),
            filename_b64: None,
            file: None,
            file_b64: None,
            code: code as u8,
            reason,
            message: sentence,
        });
    }

    /// Takes one event. Returns the command to run for it, if there is one.
    pub(super) fn take(&mut self, event: Event<'_>) -> Option<Run> {
        if let Some(notes) = &mut self.notes
            && notes.holds_back(&event)
        {
            return None;
        }
        let streamed = &self.streamed;
        self.progress
            .take(&event, |item| source(item, streamed.as_ref()).name());
        match event {
            Event::Done {
                item,
                download,
                downloaded,
            } => return self.report_done(item, download, downloaded),
            Event::Failed { item, error } => self.report_failed(item, error),
            Event::PassedOver { item, kind } => self.report_passed_over(item, kind),
            Event::Hidden { entries } => {
                self.summary.hidden = self.summary.hidden.saturating_add(entries);
            }
            Event::Unkept(unkept) => self.summary.unkept.add(unkept),
            Event::Deleted { item, kind } => self.report_deleted(item, kind),
            Event::Retrying {
                error,
                pause,
                unfinished,
            } if self.reports_pause(pause) => {
                let files = if unfinished == 1 { "file" } else { "files" };
                let seconds = pause.as_secs_f64();
                self.note(&format!(
                    "{}; retrying {unfinished} {files} in {seconds:.1} s",
                    sentence(error)
                ));
            }
            Event::Relisting { error, pause } if self.reports_pause(pause) => {
                let seconds = pause.as_secs_f64();
                self.note(&format!(
                    "{}; retrying the listing in {seconds:.1} s",
                    sentence(error)
                ));
            }
            Event::Began { .. } => {
                self.sends_unverified = self
                    .streamed
                    .as_ref()
                    .is_some_and(|streamed| !streamed.is_spooled);
            }
            Event::Found { .. }
            | Event::ServerHashing { .. }
            | Event::Reading { .. }
            | Event::Received { .. }
            | Event::Retrying { .. }
            | Event::Relisting { .. } => {}
        }
        None
    }

    pub(super) fn style(&self) -> &'a OutputStyle {
        self.style
    }

    /// Prints the summary, and returns the exit code.
    pub(super) fn end(mut self) -> ExitCode {
        self.progress.finish();
        if self.summary.passed_over > 0 && !self.style.quiet {
            let entries = counted(self.summary.passed_over, "entry");
            let entries = entries.replace("entrys", "entries");
            let names = if self.style.verbose {
                ""
            } else {
                " (-v names them)"
            };
            self.note(&format!(
                "{entries} left out: special files, or links that cannot be made{names}"
            ));
        }
        for sentence in self.repeats.omitted() {
            self.failure(&sentence);
        }
        if self.summary.hidden > 0 && !self.style.quiet {
            self.note(&wording::hidden(self.summary.hidden));
        }
        if let Some(sentence) = self.summary.unkept.sentence().filter(|_| !self.style.quiet) {
            self.show(&wording::warning(&sentence, self.style.is_coloured));
        }
        self.sum_up();
        if self.progress.is_watched() && !self.style.json {
            self.line(&self.summary.finished());
        }
        if let Some(words) = &self.style.on_complete {
            self.complete(words);
            self.sum_up();
        }
        let code = self.failures.code();
        let summary = mem::take(&mut self.summary);
        self.json(&summary);
        if let Some(error) = self.json_failed.take() {
            self.failure(&match error.kind() {
                io::ErrorKind::BrokenPipe => CLOSED.to_owned(),
                _ => format!("cannot write to standard output: {error}"),
            });
            if code == ExitCode::Success {
                return write_error_code(&error);
            }
        }
        code
    }

    fn sum_up(&mut self) {
        self.summary.secs = self.started.elapsed().as_secs_f64();
        self.summary.causes = self.failures.causes().clone();
        self.summary.code = self.failures.code() as u8;
    }

    fn report_failed(&mut self, item: Item<'_>, error: &ClientError) {
        let path = item.path;
        let (code, reason) = classify(error);
        self.summary.failed += 1;
        self.failures.add(code);
        let message = sentence(error);
        let printed = self.message(item, error);
        if self.repeats.is_printed(item.address, error)
            && !self.json_on_stderr()
            && self.last_message.as_ref() != Some(&printed)
        {
            let mut text = printed.clone();
            text.hint = text.hint.filter(|hint| self.hints.insert(hint.clone()));
            self.progress.line(&text.text(self.style.is_coloured));
            self.last_message = Some(printed);
        }
        let (file, file_b64) = wording::file_here(item);
        self.json(&FailedEvent {
            v: 1,
            event: "error",
            n: Some(item.index),
            filename: String::from_utf8_lossy(path.as_bytes()),
            filename_b64: filename_b64(path.as_bytes()),
            file,
            file_b64,
            code: code as u8,
            reason,
            message: &message,
        });
    }

    fn message(&self, item: Item<'_>, error: &ClientError) -> Message {
        let is_command = self
            .streamed
            .as_ref()
            .is_some_and(|streamed| streamed.is_command);
        let mut message = Message::of_item(item, is_command, error);
        if let ClientError::Output(source) = error
            && source.kind() == io::ErrorKind::BrokenPipe
        {
            // The reader ended early, and may use what it has.
            message.line = match &self.streamed {
                Some(streamed) if !streamed.is_standard => "the output was closed".to_owned(),
                _ => CLOSED.to_owned(),
            };
            return message;
        }
        if self.style.may_delete {
            message.hint = mirror::hint(error).map(Cow::Borrowed).or(message.hint);
        }
        if self.streamed.is_some() {
            if self.sends_unverified {
                message.line += "; the output must not be used";
            }
            if let ClientError::Stage(_) = error {
                message.hint = Some(SPOOL_HINT.into());
            }
        }
        message
    }

    fn reports_pause(&self, pause: Duration) -> bool {
        self.style.verbose || pause >= wording::REPORTED_PAUSE_MIN && !self.style.quiet
    }

    /// Prints a line about something that was done.
    fn line(&self, text: &str) {
        self.show(&wording::line(text, self.style.is_coloured));
    }

    fn note(&self, text: &str) {
        self.show(&wording::note(text, self.style.is_coloured));
    }

    fn failure(&self, text: &str) {
        self.show(&wording::failure(text, self.style.is_coloured));
    }

    fn show(&self, line: &str) {
        self.progress.line(line);
    }

    fn json_on_stderr(&self) -> bool {
        let is_standard = self
            .streamed
            .as_ref()
            .is_some_and(|streamed| streamed.is_standard);
        self.style.json && is_standard
    }

    fn json(&mut self, event: &impl Serialize) {
        if !self.style.json {
            return;
        }
        // Structs of strings and numbers always serialize.
        let Ok(line) = serde_json::to_string(event) else {
            return;
        };
        let line = visible_json(&line);
        let written = if self.json_on_stderr() {
            standard_error().write_all(format!("{line}\n").as_bytes())
        } else {
            standard_output().write_all(format!("{line}\n").as_bytes())
        };
        self.json_failed = self.json_failed.take().or(written.err());
    }
}

fn source<'i>(item: Item<'i>, streamed: Option<&StreamedOutput>) -> Source<'i> {
    Source {
        address: item.address,
        path: item.path,
        is_command: streamed.is_some_and(|streamed| streamed.is_command),
    }
}

/// The reader of standard output is gone.
const CLOSED: &str = "standard output was closed";
/// A streamed download that is verified first is kept in TMPDIR.
const SPOOL_HINT: &str =
    "the output is kept in TMPDIR until it is verified; set TMPDIR to another directory";

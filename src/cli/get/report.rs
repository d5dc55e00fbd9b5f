//! What `ftget` tells: lines for people on standard error, JSON Lines for programs, and in the
//! end one exit code for all.

mod done;
mod trees;

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{self, Write};
use std::mem;
use std::time::Duration;
use std::time::Instant;

use serde::Serialize;

use super::destination::Destination;
use super::exec::Run;
use super::failure::{Failures, classify, sentence};
use super::json_event::Failed;
use super::meaning::Manner;
use super::mirror;
use super::progress::Progress;
use super::receipts::Receipts;
use super::repeats::Repeats;
use super::summary::Summary;
use super::wording::{self, Message, Source, filename_b64};
use crate::cli::ExitCode;
use crate::cli::failure::code_of;
use crate::cli::terminal::{counted, standard_error, standard_output, visible_json};
use crate::client::{ClientError, Event, Item, MirrorNotes, Pour};

/// Hears of everything and tells those who want to know.
pub(super) struct Reporter<'a> {
    manner: &'a Manner,
    /// What goes on as it comes, if that is it.
    poured: Option<Poured>,
    progress: Progress,
    started: Instant,
    summary: Summary,
    // Many files fail alike if there is no connection: it is said once.
    last_message: Option<Message>,
    /// What may help is said once.
    hints: HashSet<Cow<'static, str>>,
    /// Bytes that are not verified may have gone out.
    is_pouring: bool,
    json_failed: Option<io::Error>,
    receipts: Option<Receipts>,
    failures: Failures,
    repeats: Repeats,
    /// Of a mirror, until it is made.
    notes: Option<MirrorNotes>,
}

/// What goes on as it comes.
struct Poured {
    /// To standard output.
    is_standard: bool,
    is_command: bool,
    is_spooled: bool,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(destination: &Destination, manner: &'a Manner) -> Reporter<'a> {
        Reporter {
            manner,
            poured: match destination {
                Destination::Stream(pour, output) => Some(Poured {
                    is_standard: output.is_standard(),
                    is_command: pour.is_command,
                    is_spooled: pour.spool.is_some(),
                }),
                Destination::Files(_) => None,
            },
            progress: Progress::new(manner.progress, manner.quiet, destination.len()),
            started: Instant::now(),
            summary: Summary {
                v: 1,
                event: "summary",
                ..Summary::default()
            },
            last_message: None,
            hints: HashSet::new(),
            is_pouring: false,
            json_failed: None,
            receipts: None,
            failures: Failures::default(),
            repeats: Repeats::new(manner.verbose),
            notes: None,
        }
    }

    /// Writes receipts from now on.
    pub(super) fn keep(&mut self, receipts: Option<Receipts>) {
        self.receipts = receipts;
    }

    /// Tells that there is nothing where something was meant to be.
    pub(super) fn tell_nothing(&mut self, source: &str) {
        let sentence = format!("{source}: nothing matches; ft:// takes a name as it is");
        self.failure(&sentence);
        self.fail(ExitCode::NotFound, "not_found", &sentence);
    }

    /// Tells that a list has no lines: no failure, and perhaps no wish.
    pub(super) fn tell_empty(&mut self, list: &str) {
        if !self.manner.quiet {
            self.note(&format!("{list} names nothing"));
        }
    }

    /// Tells a failure that is about everything, such as that time was over before everything was
    /// taken up.
    pub(super) fn tell_whole(&mut self, error: &ClientError) {
        let (code, reason) = classify(error);
        let sentence = sentence(error);
        self.failure(&sentence);
        self.fail(code, reason, &sentence);
    }

    /// Tells why nothing can be poured out.
    pub(super) fn tell_unpoured(&mut self, pour: &Pour, error: &ClientError) {
        let item = Item {
            index: 0,
            address: &pour.address,
            path: &pour.path,
            here: None,
        };
        self.tell_failed(item, error);
    }

    /// A failure that is about no file, and was said.
    fn fail(&mut self, code: ExitCode, reason: &str, sentence: &str) {
        self.summary.failed += 1;
        self.failures.add(code);
        self.json(&Failed {
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

    /// Takes one event; says whether a command is to be run for it.
    pub(super) fn take(&mut self, event: Event<'_>) -> Option<Run> {
        if let Some(notes) = &mut self.notes
            && notes.holds_back(&event)
        {
            return None;
        }
        let poured = &self.poured;
        self.progress
            .take(&event, |item| source(item, poured.as_ref()).name());
        match event {
            Event::Done {
                item,
                download,
                downloaded,
            } => return self.tell_done(item, download, downloaded),
            Event::Failed { item, error } => self.tell_failed(item, error),
            Event::PassedOver { item, kind } => self.tell_passed_over(item, kind),
            Event::Hidden { entries } => {
                self.summary.hidden = self.summary.hidden.saturating_add(entries);
            }
            Event::Unkept(unkept) => self.summary.unkept.add(unkept),
            Event::Deleted { item, kind } => self.tell_deleted(item, kind),
            Event::Retrying {
                error,
                pause,
                unfinished,
            } if self.tells_pause(pause) => {
                let files = if unfinished == 1 { "file" } else { "files" };
                let seconds = pause.as_secs_f64();
                self.note(&format!(
                    "{}; retrying {unfinished} {files} in {seconds:.1} s",
                    sentence(error)
                ));
            }
            Event::Relisting { error, pause } if self.tells_pause(pause) => {
                let seconds = pause.as_secs_f64();
                self.note(&format!(
                    "{}; retrying the listing in {seconds:.1} s",
                    sentence(error)
                ));
            }
            Event::Began { .. } => {
                self.is_pouring = self
                    .poured
                    .as_ref()
                    .is_some_and(|poured| !poured.is_spooled);
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

    /// How everything is told.
    pub(super) fn manner(&self) -> &'a Manner {
        self.manner
    }

    /// Ends the report and says how it all ended.
    pub(super) fn end(mut self) -> ExitCode {
        self.progress.finish();
        if self.summary.passed_over > 0 && !self.manner.quiet {
            let entries = counted(self.summary.passed_over, "entry");
            let entries = entries.replace("entrys", "entries");
            let names = if self.manner.verbose {
                ""
            } else {
                " (-v names them)"
            };
            self.note(&format!(
                "{entries} left out: special files, or links that cannot be made{names}"
            ));
        }
        for sentence in self.repeats.others() {
            self.failure(&sentence);
        }
        if self.summary.hidden > 0 && !self.manner.quiet {
            self.note(&wording::hidden(self.summary.hidden));
        }
        if let Some(sentence) = self
            .summary
            .unkept
            .sentence()
            .filter(|_| !self.manner.quiet)
        {
            self.show(&wording::warning(&sentence, self.manner.is_coloured));
        }
        self.sum_up();
        if self.progress.is_watched() && !self.manner.json {
            self.line(&self.summary.finished());
        }
        if let Some(words) = &self.manner.on_complete {
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
                return code_of(&error);
            }
        }
        code
    }

    fn sum_up(&mut self) {
        self.summary.secs = self.started.elapsed().as_secs_f64();
        self.summary.causes = self.failures.causes().clone();
        self.summary.code = self.failures.code() as u8;
    }

    fn tell_failed(&mut self, item: Item<'_>, error: &ClientError) {
        let path = item.path;
        let (code, reason) = classify(error);
        self.summary.failed += 1;
        self.failures.add(code);
        let message = sentence(error);
        let told = self.message(item, error);
        if self.repeats.is_told(item.address, error)
            && !self.json_on_stderr()
            && self.last_message.as_ref() != Some(&told)
        {
            let mut text = told.clone();
            text.hint = text.hint.filter(|hint| self.hints.insert(hint.clone()));
            self.progress.line(&text.text(self.manner.is_coloured));
            self.last_message = Some(told);
        }
        let (file, file_b64) = wording::file_here(item);
        self.json(&Failed {
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
        let is_command = self.poured.as_ref().is_some_and(|poured| poured.is_command);
        let mut message = Message::of_item(item, is_command, error);
        if let ClientError::Output(source) = error
            && source.kind() == io::ErrorKind::BrokenPipe
        {
            // Its reader has seen enough, and uses what it has.
            message.line = match &self.poured {
                Some(poured) if !poured.is_standard => "the output was closed".to_owned(),
                _ => CLOSED.to_owned(),
            };
            return message;
        }
        if self.manner.may_delete {
            message.hint = mirror::hint(error).map(Cow::Borrowed).or(message.hint);
        }
        if self.poured.is_some() {
            if self.is_pouring {
                message.line += "; the output must not be used";
            }
            if let ClientError::Stage(_) = error {
                message.hint = Some(SPOOL_HINT.into());
            }
        }
        message
    }

    fn tells_pause(&self, pause: Duration) -> bool {
        self.manner.verbose || pause >= wording::TOLD_PAUSE_MIN && !self.manner.quiet
    }

    /// What was done.
    fn line(&self, text: &str) {
        self.show(&wording::line(text, self.manner.is_coloured));
    }

    fn note(&self, text: &str) {
        self.show(&wording::note(text, self.manner.is_coloured));
    }

    fn failure(&self, text: &str) {
        self.show(&wording::failure(text, self.manner.is_coloured));
    }

    fn show(&self, line: &str) {
        self.progress.line(line);
    }

    fn json_on_stderr(&self) -> bool {
        let is_standard = self
            .poured
            .as_ref()
            .is_some_and(|poured| poured.is_standard);
        self.manner.json && is_standard
    }

    fn json(&mut self, event: &impl Serialize) {
        if !self.manner.json {
            return;
        }
        // These are structs of strings and numbers, which cannot fail.
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

fn source<'i>(item: Item<'i>, poured: Option<&Poured>) -> Source<'i> {
    Source {
        address: item.address,
        path: item.path,
        is_command: poured.is_some_and(|poured| poured.is_command),
    }
}

/// What is written goes nowhere.
const CLOSED: &str = "standard output was closed";
/// What is poured out goes by way of a folder of this machine.
const SPOOL_HINT: &str = "it is kept until verified in the folder that TMPDIR names; name another";

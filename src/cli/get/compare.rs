//! `ftget --check`: reports what differs from the servers.

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::Instant;

use serde::Serialize;

use super::command::Transfer;
use super::destination::Destination;
use super::failure::{Failures, classify, sentence};
use super::json_event::FailedEvent;
use super::progress::{Progress, locked, on_reading};
use super::repeats::Repeats;
use super::room;
use super::target::batch;
use super::wording::{self, Message, filename_b64};
use crate::cli::failure::report_unwritable;
use crate::cli::terminal::{counted, print_line, standard_output, visible_json};
use crate::cli::{ExitCode, visible};
use crate::client::{self, ClientError, Comparison, Difference, Item};
use crate::wire::ObjectKind;

/// Compares the targets and reports the differences. Returns 1 if there are any. `reports_extras`:
/// a local entry that the server lacks is a difference.
pub(super) fn show(transfer: Transfer, reports_extras: bool) -> ExitCode {
    let Destination::Files(targets) = transfer.destination else {
        return ExitCode::Usage;
    };
    let (batch, sources) = batch(targets);
    let reading = Progress::of_reading(&transfer.style);
    let batch = batch.on_retry(wording::on_retry(&transfer.style));
    let batch = batch.on_reading(on_reading(&reading));
    let mut report = CompareReport {
        json: transfer.style.json,
        verbose: transfer.style.verbose,
        is_coloured: transfer.style.is_coloured,
        failures: Failures::default(),
        repeats: Repeats::new(transfer.style.verbose),
        summary: CompareSummary {
            v: 1,
            event: "summary",
            same: 0,
            differs: 0,
            failed: 0,
            passed_over: 0,
            hidden: 0,
            secs: 0.0,
            code: 0,
        },
        started: Instant::now(),
        unwritable: None,
    };
    let outlook = client::compare(
        batch,
        &transfer.config,
        &mut |item, outcome| match outcome {
            Ok(Comparison::Differs(Difference::Extra)) if !reports_extras => {}
            Ok(comparison) => locked(&reading).above(|| report.take(item, comparison)),
            Err(error) => locked(&reading).above(|| report.take_failure(item, &error)),
        },
    );
    locked(&reading).finish();
    let outlook = match outlook {
        Ok(outlook) => outlook,
        Err(error) => {
            report.fail_whole(classify(&error), &sentence(&error));
            return report.end(transfer.style.quiet);
        }
    };
    report.summary.hidden = outlook.hidden;
    for shortage in outlook.rooms.iter().filter_map(room::shortage) {
        if shortage.is_certain {
            let sentence = format!("differing files would not fit: {}", shortage.sentence);
            report.fail_whole((ExitCode::NoSpace, "no_space"), &sentence);
        }
    }
    for source in sources.iter().filter(|source| source.is_unmatched()) {
        let sentence = format!("{}: nothing matches", source.source);
        report.fail_whole((ExitCode::NotFound, "not_found"), &sentence);
    }
    report.end(transfer.style.quiet)
}

/// Prints and counts the results.
struct CompareReport {
    json: bool,
    verbose: bool,
    is_coloured: bool,
    failures: Failures,
    repeats: Repeats,
    summary: CompareSummary,
    started: Instant,
    unwritable: Option<io::Error>,
}

impl CompareReport {
    fn take(&mut self, item: Item<'_>, comparison: Comparison) {
        let (event, reason, words) = match comparison {
            Comparison::Same => {
                self.summary.same += 1;
                ("same", None, "same".to_owned())
            }
            Comparison::PassedOver(_) => {
                self.summary.passed_over += 1;
                let words = "cannot be transferred, left out".to_owned();
                ("passed_over", None, words)
            }
            Comparison::Differs(difference) => {
                self.summary.differs += 1;
                let (reason, words) = describe(difference);
                ("differs", Some(reason), words)
            }
        };
        let name = item.path.as_bytes();
        if self.json {
            let (file, file_b64) = wording::file_here(item);
            self.write_json(&ComparedEvent {
                v: 1,
                event,
                n: item.index,
                filename: String::from_utf8_lossy(name),
                filename_b64: filename_b64(name),
                file,
                file_b64,
                reason,
            });
        } else if reason.is_some() || self.verbose {
            let name = wording::name_here(item);
            self.write(&format!("{}: {words}", visible(&name)));
        }
    }

    fn take_failure(&mut self, item: Item<'_>, error: &ClientError) {
        let cause = classify(error);
        if self.repeats.is_printed(item.address, error) {
            let message = Message::of_item(item, false, error);
            print_line(&message.text(self.is_coloured));
        }
        self.fail(Some(item), cause, &sentence(error));
    }

    /// Reports a failure that is not about one file.
    fn fail_whole(&mut self, cause: (ExitCode, &str), sentence: &str) {
        print_line(&wording::line(sentence, self.is_coloured));
        self.fail(None, cause, sentence);
    }

    fn fail(&mut self, item: Option<Item<'_>>, (code, reason): (ExitCode, &str), message: &str) {
        self.summary.failed += 1;
        self.failures.add(code);
        let name = item.map_or(&b""[..], |item| item.path.as_bytes());
        let (file, file_b64) = item.map(wording::file_here).unwrap_or_default();
        self.write_json(&FailedEvent {
            v: 1,
            event: "error",
            n: item.map(|item| item.index),
            filename: String::from_utf8_lossy(name),
            filename_b64: filename_b64(name),
            file,
            file_b64,
            code: code as u8,
            reason,
            message,
        });
    }

    fn end(mut self, is_quiet: bool) -> ExitCode {
        for sentence in self.repeats.omitted() {
            print_line(&wording::failure(&sentence, self.is_coloured));
        }
        if self.summary.hidden > 0 && !is_quiet {
            let entries = counted(self.summary.hidden, "name");
            let sentence = format!("{entries} hidden by the server, and not compared");
            print_line(&wording::note(&sentence, self.is_coloured));
        }
        // An incomplete comparison keeps the code of its failures, even if something differs.
        let code = match self.failures.code() {
            ExitCode::Success if self.summary.differs > 0 => ExitCode::Unclassified,
            code => code,
        };
        let summary = CompareSummary {
            secs: self.started.elapsed().as_secs_f64(),
            code: code as u8,
            ..self.summary
        };
        self.write_json(&summary);
        match &self.unwritable {
            Some(error) => match report_unwritable("ftget", error) {
                ExitCode::Success => code,
                unwritten => unwritten,
            },
            None => code,
        }
    }

    fn write_json(&mut self, event: &impl Serialize) {
        // Structs of strings and numbers always serialize.
        if self.json
            && let Ok(line) = serde_json::to_string(event)
        {
            self.write(&visible_json(&line));
        }
    }

    fn write(&mut self, line: &str) {
        if self.unwritable.is_none() {
            let written = standard_output().write_all(format!("{line}\n").as_bytes());
            self.unwritable = written.err();
        }
    }
}

/// The word for programs and the words for people.
fn describe(difference: Difference) -> (&'static str, String) {
    match difference {
        Difference::Missing => ("missing", "missing here".to_owned()),
        Difference::Extra => ("extra", "only here".to_owned()),
        Difference::Kind { here, there } => {
            let (here, there) = (kind(here), kind(there));
            ("kind", format!("{here} here, {there} there"))
        }
        Difference::Size { here, there } => {
            let here = counted(here, "byte");
            ("size", format!("{here} here, {there} there"))
        }
        Difference::Content => ("content", "other content of the same size".to_owned()),
        Difference::Target => ("target", "a link to another target".to_owned()),
        Difference::Mode => ("mode", "other permissions".to_owned()),
        Difference::Mtime => ("mtime", "other time".to_owned()),
        Difference::ModeAndMtime => ("mode,mtime", "other permissions, other time".to_owned()),
    }
}

fn kind(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::File => "a file",
        ObjectKind::Directory => "a directory",
        ObjectKind::Symlink => "a link",
        ObjectKind::Other => "a special file",
    }
}

/// The result for one entry.
#[derive(Serialize)]
struct ComparedEvent<'a> {
    v: u8,
    event: &'static str,
    n: usize,
    filename: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filename_b64: Option<String>,
    /// The local path.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_b64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// The last line of `--json`.
#[derive(Serialize)]
struct CompareSummary {
    v: u8,
    event: &'static str,
    same: u64,
    differs: u64,
    failed: u64,
    passed_over: u64,
    hidden: u64,
    secs: f64,
    code: u8,
}

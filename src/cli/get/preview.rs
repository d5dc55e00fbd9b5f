//! `ftget --dry-run`: reports what a transfer would do.

use std::borrow::Cow;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::time::Instant;

use serde::Serialize;

use super::command::{OutputStyle, Transfer};
use super::destination::Destination;
use super::failure::{Failures, classify, sentence};
use super::json_event::{FailedEvent, PassedOverEvent};
use super::mirror;
use super::progress::{Progress, locked, on_reading};
use super::repeats::Repeats;
use super::room;
use super::summary::Summary;
use super::target::batch;
use super::wording::{self, Message, filename_b64, special};
use crate::cli::blocking::BlockingStream;
use crate::cli::failure::report_unwritable;
use crate::cli::terminal::{print_line, size, standard_output, visible_json};
use crate::cli::{ExitCode, visible};
use crate::client::{self, Action, ClientError, Event, Item, MirrorNotes, Prospect};

/// Reports what each download would do. Returns the exit code of the downloads, as far as it is
/// known.
pub(super) fn show(transfer: Transfer) -> ExitCode {
    let Transfer {
        destination,
        deletion,
        config,
        style,
        ..
    } = transfer;
    let Destination::Files(targets) = destination else {
        return ExitCode::Usage;
    };
    let started = Instant::now();
    let trees = deletion.map(|_| mirror::trees(&targets, &style.own_files));
    let (batch, sources) = batch(targets);
    let reading = Progress::of_reading(&style);
    let batch = batch.on_retry(wording::on_retry(&style));
    let batch = batch.on_reading(on_reading(&reading));
    let mut report = PreviewReport::new(&style);
    let mut notes = MirrorNotes::new(&config);
    let is_mirror = deletion.is_some();
    let looked = client::preview(batch, &config, &mut |item, prospect| {
        notes.pass(item);
        match prospect {
            Ok(prospect) => locked(&reading).above(|| report.take(item, prospect)),
            Err(error) if is_mirror && notes.note(item, &error) => {}
            Err(error) => locked(&reading).above(|| report.take_failure(item, &error)),
        }
    });
    locked(&reading).finish();
    let mut outlook = match looked {
        Ok(outlook) => outlook,
        Err(error) => {
            report.fail_whole(classify(&error), &sentence(&error));
            return report.end(Vec::new(), started);
        }
    };
    report.summary.hidden = outlook.hidden;
    for source in sources.iter().filter(|source| source.is_unmatched()) {
        let source = &source.source;
        let sentence = format!("{source}: nothing matches; ft:// takes a name as it is");
        report.fail_whole((ExitCode::NotFound, "not_found"), &sentence);
    }
    let mut lines = Vec::new();
    if let (Some(trees), Some(limit)) = (trees, deletion) {
        let spent = started.elapsed();
        let on_event = &mut |event: Event<'_>| match event {
            Event::Deleted { item, .. } => report.take_deleted(item),
            Event::Failed { item, error } => report.take_failure(item, error),
            Event::Retrying { error, pause, .. } | Event::Relisting { error, pause } => {
                wording::on_retry(&style)(error, pause);
            }
            _ => {}
        };
        let mut mirrored = mirror::delete(&trees, limit, &mut notes, &config, spent, on_event);
        report.summary.deleted = Some(mirrored.total.deleted);
        if mirrored.total.reached_limit {
            report.failures.add(ExitCode::DeleteLimit);
        }
        outlook.locked.append(&mut mirrored.total.locked);
        lines.extend(mirrored.sentences(style.quiet));
    }
    if let Some(rest) = notes.into_batch() {
        let config = mirror::after(started.elapsed(), &config);
        let rest = rest.on_retry(wording::on_retry(&style));
        let rest = client::preview(rest, &config, &mut |item, prospect| match prospect {
            Ok(prospect) => report.take(item, prospect),
            Err(error) => report.take_failure(item, &error),
        });
        match rest {
            Ok(rest) => outlook.add_rest(rest),
            Err(error) => report.fail_whole(classify(&error), &sentence(&error)),
        }
    }
    report.summary.dry_run = Some(true);
    if let Some(room) = outlook.rooms.first() {
        report.summary.needed_bytes = Some(room.needed_bytes);
        report.summary.free_bytes = room.free_bytes;
    }
    for shortage in outlook.rooms.iter().filter_map(room::shortage) {
        match shortage.is_certain {
            true => report.fail_whole((ExitCode::NoSpace, "no_space"), &shortage.sentence),
            false if style.quiet => {}
            false => lines.push(wording::warning(&shortage.sentence, style.is_coloured)),
        }
    }
    if style.verbose {
        let needs = outlook.rooms.iter().map(room::needs);
        lines.extend(needs.map(|needs| wording::note(&needs, style.is_coloured)));
    }
    if outlook.hidden > 0 && !style.quiet {
        lines.push(wording::note(
            &wording::hidden(outlook.hidden),
            style.is_coloured,
        ));
    }
    if let Some(sentence) = wording::locked(&outlook.locked) {
        report.summary.locked = Some(outlook.locked.len() as u64);
        if !style.quiet {
            lines.push(wording::note(&sentence, style.is_coloured));
        }
    }
    report.end(lines, started)
}

type BufferedOutput = BufWriter<BlockingStream<StdoutLock<'static>>>;

/// Prints and counts the results.
struct PreviewReport<'a> {
    style: &'a OutputStyle,
    output: BufferedOutput,
    failures: Failures,
    repeats: Repeats,
    summary: Summary,
    deleted: u64,
    unwritable: Option<io::Error>,
}

impl PreviewReport<'_> {
    fn new(style: &OutputStyle) -> PreviewReport<'_> {
        PreviewReport {
            style,
            output: BufWriter::new(standard_output()),
            failures: Failures::default(),
            repeats: Repeats::new(style.verbose),
            summary: Summary {
                v: 1,
                event: "summary",
                ..Summary::default()
            },
            deleted: 0,
            unwritable: None,
        }
    }

    fn take(&mut self, item: Item<'_>, prospect: Prospect) {
        let path = item.path.as_bytes();
        let name = wording::name_here(item);
        match prospect {
            Prospect::Present {
                action,
                replaces,
                total_size,
            } => {
                self.summary.done += 1;
                self.summary.bytes += action.transferred(total_size);
                self.summary.actions.add(action);
                let (action_name, resumed_from) = wording::action(action);
                self.write_json(&WouldEvent {
                    n: Some(item.index),
                    total_size,
                    resumed_from,
                    replaces,
                    ..WouldEvent::of(item, action_name)
                });
                let size = size(total_size);
                self.write(&name, &format!("{}, {size}", word(action, replaces)));
            }
            Prospect::Folder => {
                self.write_json(&WouldEvent {
                    n: Some(item.index),
                    ..WouldEvent::of(item, "folder")
                });
                self.write(&name, "would be created, a directory");
            }
            Prospect::PassedOver(kind) => {
                self.summary.passed_over += 1;
                let reason = special(kind);
                self.write_json(&PassedOverEvent {
                    v: 1,
                    event: "passed_over",
                    n: item.index,
                    filename: String::from_utf8_lossy(path),
                    filename_b64: filename_b64(path),
                    reason,
                });
                self.write(&name, &format!("would be left out, {reason}"));
            }
        }
    }

    fn take_deleted(&mut self, item: Item<'_>) {
        self.write_json(&WouldEvent::of(item, "deleted"));
        self.deleted += 1;
        self.write(&wording::name_here(item), "would be deleted");
    }

    fn take_failure(&mut self, item: Item<'_>, error: &ClientError) {
        if self.repeats.is_printed(item.address, error) {
            let mut message = Message::of_item(item, false, error);
            if self.style.may_delete {
                message.hint = mirror::hint(error).map(Cow::Borrowed).or(message.hint);
            }
            self.print_line(&message.text(self.style.is_coloured));
        }
        self.fail(Some(item), classify(error), &sentence(error));
    }

    /// Reports a failure that is not about one file.
    fn fail_whole(&mut self, cause: (ExitCode, &str), sentence: &str) {
        self.print_line(&wording::failure(sentence, self.style.is_coloured));
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

    fn end(mut self, lines: Vec<String>, started: Instant) -> ExitCode {
        let is_coloured = self.style.is_coloured;
        let others = self
            .repeats
            .omitted()
            .map(|sentence| wording::failure(&sentence, is_coloured));
        for line in others.chain(lines).collect::<Vec<_>>() {
            self.print_line(&line);
        }
        self.summary.secs = started.elapsed().as_secs_f64();
        self.summary.causes = self.failures.causes().clone();
        self.summary.code = self.failures.code() as u8;
        let summary = std::mem::take(&mut self.summary);
        self.write_json(&summary);
        let planned = summary.planned(self.deleted);
        let flushed = self.output.flush();
        if let Some(error) = self.unwritable.take().or(flushed.err()) {
            self.failures.add(report_unwritable("ftget", &error));
        } else if !self.style.quiet && !self.style.json {
            print_line(&wording::note(&planned, is_coloured));
        }
        self.failures.code()
    }

    /// Prints a line on standard error, after everything so far on standard output.
    fn print_line(&mut self, text: &str) {
        self.note(|output| output.flush());
        print_line(text);
    }

    /// Prints a line about a local path, for people.
    fn write(&mut self, name: &[u8], words: &str) {
        if !self.style.json {
            let name = visible(name);
            self.note(|output| writeln!(output, "{name}: {words}"));
        }
    }

    fn write_json(&mut self, event: &impl Serialize) {
        // Structs of strings and numbers always serialize.
        if self.style.json
            && let Ok(line) = serde_json::to_string(event)
        {
            self.note(|output| writeln!(output, "{}", visible_json(&line)));
        }
    }

    /// After a failed write nothing else is written.
    fn note(&mut self, write: impl FnOnce(&mut BufferedOutput) -> io::Result<()>) {
        if self.unwritable.is_none() {
            self.unwritable = write(&mut self.output).err();
        }
    }
}

fn word(action: Action, replaces: bool) -> &'static str {
    match (action, replaces) {
        (Action::Skipped, _) => "would be skipped",
        (Action::Identical, _) => "is there already",
        (Action::Resumed { .. }, _) => "would be resumed",
        (Action::Linked, false) => "would be copied from another file here",
        (Action::Link, false) => "would be created, a link",
        (Action::Fetched | Action::Linked | Action::Link, true) => "would be replaced",
        (Action::Fetched, false) => "would be fetched",
    }
}

/// The planned action for one entry.
#[derive(Serialize)]
struct WouldEvent<'a> {
    v: u8,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<usize>,
    filename: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filename_b64: Option<String>,
    /// The local path.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_b64: Option<String>,
    total_size: u64,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resumed_from: Option<u64>,
    replaces: bool,
}

impl WouldEvent<'_> {
    /// An event without size and source.
    fn of<'a>(item: Item<'a>, action: &'static str) -> WouldEvent<'a> {
        let name = item.path.as_bytes();
        let (file, file_b64) = wording::file_here(item);
        WouldEvent {
            v: 1,
            event: "would",
            n: None,
            filename: String::from_utf8_lossy(name),
            filename_b64: filename_b64(name),
            file,
            file_b64,
            total_size: 0,
            action,
            resumed_from: None,
            replaces: false,
        }
    }
}

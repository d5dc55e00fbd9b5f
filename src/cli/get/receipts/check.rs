//! `ftget --check --receipts FILE`: checks that local files still have the received content.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use crossbeam_channel::bounded;
use serde::Serialize;

use super::line::Received;
use super::state::{FileState, look};
use crate::cli::activity::Activity;
use crate::cli::failure::report_unwritable;
use crate::cli::get::failure::{Failures, classify, sentence};
use crate::cli::get::input::{Lines, ListReadError};
use crate::cli::get::json_event::FailedEvent;
use crate::cli::get::listed::ListError;
use crate::cli::get::repeats::Repeats;
use crate::cli::get::usage_error::UsageError;
use crate::cli::get::wording::{self, filename_b64};
use crate::cli::terminal::{counted, print_line, shown, standard_output, visible_json};
use crate::cli::{ExitCode, visible};
use crate::client::ClientError;
use crate::digest::Md5Stream;
use crate::wire::Md5Digest;

/// The options of the check.
pub(in crate::cli::get) struct CheckOptions {
    pub(in crate::cli::get) receipts: PathBuf,
    /// Files that are read at the same time; by default one for each core.
    pub(in crate::cli::get) jobs: Option<usize>,
    pub(in crate::cli::get) json: bool,
    pub(in crate::cli::get) is_coloured: bool,
    pub(in crate::cli::get) verbose: bool,
    pub(in crate::cli::get) quiet: bool,
}

/// Reads each file that has a receipt, and reports those that changed. The last of several receipts
/// for one file counts. Returns 1 if a file differs.
pub(in crate::cli::get) fn check(options: &CheckOptions) -> ExitCode {
    let opened =
        newest(&options.receipts).and_then(|newest| Ok((newest, open(&options.receipts)?)));
    let (newest, lines) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let receipts = shown(options.receipts.as_os_str());
            let sentence = format!("cannot read the receipts {receipts}: {error}");
            return UsageError::UnusableFile(sentence).show();
        }
    };
    let receipts = receipts(lines).filter(|(number, receipt)| match receipt {
        Ok(receipt) => newest.get(&key(&receipt.file)) == Some(number),
        Err(_) => true,
    });
    let receipts = &Mutex::new(receipts);
    let next = || receipts.lock().ok()?.next();
    let mut report = CheckReport::new(options);
    let (found_in, found) = bounded(FOUND_AHEAD_MAX);
    thread::scope(|scope| {
        let start = || {
            let found_in = found_in.clone();
            let named = thread::Builder::new().name("ft-read".to_owned());
            named.spawn_scoped(scope, move || {
                let mut buffer = vec![0; BUFFER_BYTES];
                for (number, receipt) in std::iter::from_fn(next) {
                    let looked = receipt.map(|receipt| (look(&receipt, &mut buffer), receipt));
                    if found_in.send((number, looked)).is_err() {
                        // The receiver stopped: the output cannot be written.
                        return;
                    }
                }
            })
        };
        if let Err(error) = start() {
            let error = ClientError::NoThread(error.into());
            return report.fail_whole(&error);
        }
        let cores = || thread::available_parallelism().map_or(1, NonZero::get);
        // If no other thread starts, the first reads all files.
        let _ = (1..options.jobs.unwrap_or_else(cores)).try_for_each(|_| start().map(drop));
        drop(found_in);
        let activity = Activity::alone("hashing local files", options.quiet);
        for (number, looked) in found {
            Activity::above(activity.as_ref(), || match looked {
                Ok((found, receipt)) => report.take(number, &receipt, &found),
                Err(error) => report.report_bad_line(number, error),
            });
            if report.unwritable.is_some() {
                return;
            }
        }
    });
    report.end()
}

/// The line of the last receipt for each file. The keys are digests of the paths.
fn newest(path: &Path) -> io::Result<HashMap<Md5Digest, u64>> {
    let mut newest = HashMap::new();
    for (number, receipt) in receipts(open(path)?) {
        if let Ok(receipt) = receipt {
            newest.insert(key(&receipt.file), number);
        }
    }
    Ok(newest)
}

/// Digests of paths need less memory than a million paths.
fn key(file: &Path) -> Md5Digest {
    Md5Stream::digest(file.as_os_str().as_bytes())
}

fn open(path: &Path) -> io::Result<Lines<BufReader<File>>> {
    // The file is read twice.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok(Lines::new(BufReader::new(File::open(path)?), b'\n'))
}

/// The receipts with their line numbers.
fn receipts<R: BufRead>(
    lines: Lines<R>,
) -> impl Iterator<Item = (u64, Result<Received, ListReadError>)> {
    let mut last = 0;
    lines.map(move |line| {
        let receipt = line.and_then(|line| {
            last = line.number;
            Received::parse(&line.bytes).map_err(|problem| ListReadError::Line {
                number: line.number,
                problem,
            })
        });
        if let Err(ListReadError::Line { number, .. }) = &receipt {
            last = *number;
        }
        (last, receipt)
    })
}

/// Prints and counts the results.
struct CheckReport<'o> {
    options: &'o CheckOptions,
    failures: Failures,
    repeats: Repeats,
    summary: CheckSummary,
    started: Instant,
    unwritable: Option<io::Error>,
}

impl<'o> CheckReport<'o> {
    fn new(options: &'o CheckOptions) -> CheckReport<'o> {
        CheckReport {
            options,
            failures: Failures::default(),
            repeats: Repeats::default(),
            summary: CheckSummary {
                v: 1,
                event: "summary",
                same: 0,
                differs: 0,
                failed: 0,
                bytes: 0,
                secs: 0.0,
                code: 0,
            },
            started: Instant::now(),
            unwritable: None,
        }
    }

    fn take(&mut self, number: u64, receipt: &Received, found: &FileState) {
        let file = visible(receipt.file.as_os_str().as_bytes());
        if let FileState::Same | FileState::OtherContent(_) = found {
            self.summary.bytes += receipt.total_size;
        }
        let (mut found_size, mut found_md5) = (None, None);
        let (reason, words) = match found {
            FileState::Same => {
                self.summary.same += 1;
                (None, "same".to_owned())
            }
            FileState::Unreadable(error) => {
                let message = format!("{file}: cannot be read: {error}");
                let cause = (ExitCode::LocalFile, "local_file");
                self.fail(Some(number), &receipt.filename, cause, &message);
                return print_line(&wording::failure(&message, self.options.is_coloured));
            }
            FileState::Missing => (Some("missing"), "missing".to_owned()),
            FileState::NotAFile => (Some("not_a_file"), "not a regular file any more".to_owned()),
            FileState::OtherSize(size) => {
                found_size = Some(*size);
                let (is, was) = (counted(*size, "byte"), receipt.total_size);
                (Some("size"), format!("{is}, not {was}"))
            }
            FileState::OtherContent(md5) => {
                found_md5 = Some(md5.to_string());
                (Some("content"), format!("md5 {md5}, not {}", receipt.md5))
            }
        };
        if reason.is_some() {
            self.summary.differs += 1;
        }
        if self.options.json {
            self.json(&CheckedEvent {
                v: 1,
                event: if reason.is_some() { "differs" } else { "same" },
                n: number - 1,
                filename: String::from_utf8_lossy(&receipt.filename),
                filename_b64: filename_b64(&receipt.filename),
                file: receipt.file.to_string_lossy(),
                file_b64: filename_b64(receipt.file.as_os_str().as_bytes()),
                total_size: receipt.total_size,
                md5: receipt.md5.to_string(),
                reason,
                found_size,
                found_md5,
            });
        } else if reason.is_some() || self.options.verbose {
            self.line(&format!("{file}: {words}"));
        }
    }

    fn report_bad_line(&mut self, number: u64, error: ListReadError) {
        let list = shown(&self.options.receipts);
        let error = ClientError::from(ListError { list, error });
        let (code, reason) = classify(&error);
        let message = sentence(&error);
        let is_printed = self.repeats.is_line_printed();
        self.fail(Some(number), b"", (code, reason), &message);
        if is_printed {
            print_line(&wording::failure(&message, self.options.is_coloured));
        }
    }

    /// Reports a failure that is not about one file.
    fn fail_whole(&mut self, error: &ClientError) {
        let message = sentence(error);
        self.fail(None, b"", classify(error), &message);
        print_line(&wording::failure(&message, self.options.is_coloured));
    }

    fn fail(
        &mut self,
        number: Option<u64>,
        filename: &[u8],
        (code, reason): (ExitCode, &str),
        message: &str,
    ) {
        self.summary.failed += 1;
        self.failures.add(code);
        self.json(&FailedEvent {
            v: 1,
            event: "error",
            // A file has no more lines than bytes, so the number fits.
            n: number.and_then(|number| usize::try_from(number.saturating_sub(1)).ok()),
            filename: String::from_utf8_lossy(filename),
            filename_b64: filename_b64(filename),
            file: None,
            file_b64: None,
            code: code as u8,
            reason,
            message,
        });
    }

    fn end(mut self) -> ExitCode {
        for sentence in self.repeats.omitted() {
            print_line(&wording::failure(&sentence, self.options.is_coloured));
        }
        // Unreadable files keep their exit code, even if others differ.
        if self.summary.differs > 0 && self.failures.code() != ExitCode::LocalFile {
            self.failures.add(ExitCode::Unclassified);
        }
        let code = self.failures.code();
        let summary = CheckSummary {
            secs: self.started.elapsed().as_secs_f64(),
            code: code as u8,
            ..self.summary
        };
        self.json(&summary);
        let unwritable = self.unwritable.as_ref();
        match unwritable.map(|error| report_unwritable("ftget", error)) {
            None | Some(ExitCode::Success) => code,
            Some(_) => ExitCode::LocalFile,
        }
    }

    fn json(&mut self, event: &impl Serialize) {
        // Structs of strings and numbers always serialize.
        if self.options.json
            && let Ok(line) = serde_json::to_string(event)
        {
            self.line(&visible_json(&line));
        }
    }

    fn line(&mut self, line: &str) {
        if self.unwritable.is_none() {
            let written = standard_output().write_all(format!("{line}\n").as_bytes());
            self.unwritable = written.err();
        }
    }
}

/// The result for one file.
#[derive(Serialize)]
struct CheckedEvent<'a> {
    v: u8,
    event: &'static str,
    n: u64,
    filename: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filename_b64: Option<String>,
    file: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_b64: Option<String>,
    total_size: u64,
    md5: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found_md5: Option<String>,
}

/// The last line of `--json`.
#[derive(Serialize)]
struct CheckSummary {
    v: u8,
    event: &'static str,
    same: u64,
    differs: u64,
    failed: u64,
    bytes: u64,
    secs: f64,
    code: u8,
}

/// The most results that wait to be printed.
const FOUND_AHEAD_MAX: usize = 256;
const BUFFER_BYTES: usize = 256 * 1024;

//! `ftget --check --receipts FILE`: whether the files here are still what was received.

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
use rustix::fs::{Advice, Mode, OFlags, fadvise};
use rustix::io::Errno;
use serde::Serialize;

use super::line::Received;
use crate::cli::failure::unwritten;
use crate::cli::get::failure::{Failures, classify, sentence};
use crate::cli::get::input::{InputError, Lines};
use crate::cli::get::json_event::Failed;
use crate::cli::get::listed::ListError;
use crate::cli::get::no_order::NoOrder;
use crate::cli::get::repeats::Repeats;
use crate::cli::get::wording::{self, filename_b64};
use crate::cli::terminal::{counted, shown, standard_output, tell, visible_json};
use crate::cli::{ExitCode, visible};
use crate::client::ClientError;
use crate::digest::Md5Stream;
use crate::wire::Md5Digest;

/// What is to be checked, and how it is told.
pub(in crate::cli::get) struct CheckOrder {
    pub(in crate::cli::get) receipts: PathBuf,
    /// Files at once; otherwise one for each core.
    pub(in crate::cli::get) jobs: Option<usize>,
    pub(in crate::cli::get) json: bool,
    pub(in crate::cli::get) is_coloured: bool,
    pub(in crate::cli::get) verbose: bool,
}

/// Reads every file that there is a receipt for, tells which are not what they were, and says
/// so with the exit code. Of several receipts for one file the last counts.
pub(in crate::cli::get) fn check(order: &CheckOrder) -> ExitCode {
    let opened = newest(&order.receipts).and_then(|newest| Ok((newest, open(&order.receipts)?)));
    let (newest, lines) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let receipts = shown(order.receipts.as_os_str());
            let sentence = format!("cannot read the receipts {receipts}: {error}");
            return NoOrder::Unusable(sentence).show();
        }
    };
    let receipts = receipts(lines).filter(|(number, receipt)| match receipt {
        Ok(receipt) => newest.get(&key(&receipt.file)) == Some(number),
        Err(_) => true,
    });
    let receipts = &Mutex::new(receipts);
    let next = || receipts.lock().ok()?.next();
    let mut report = Report::new(order);
    let (found_in, found) = bounded(FOUND_AHEAD_MAX);
    thread::scope(|scope| {
        let start = || {
            let found_in = found_in.clone();
            let named = thread::Builder::new().name("ft-read".to_owned());
            named.spawn_scoped(scope, move || {
                let mut buffer = vec![0; BUFFER_BYTES];
                for (number, receipt) in std::iter::from_fn(next) {
                    let looked = receipt.map(|receipt| {
                        let found = look(&receipt, &mut buffer);
                        (receipt, found)
                    });
                    if found_in.send((number, looked)).is_err() {
                        // Nobody wants to hear of the others.
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
        // The first reads everything if it is the only one.
        let _ = (1..order.jobs.unwrap_or_else(cores)).try_for_each(|_| start().map(drop));
        drop(found_in);
        for (number, looked) in found {
            match looked {
                Ok((receipt, found)) => report.tell(number, &receipt, &found),
                Err(error) => report.tell_bad(number, error),
            }
            if report.unwritable.is_some() {
                return;
            }
        }
    });
    report.end()
}

/// What a receipt's file is now.
enum Found {
    Same,
    Missing,
    /// Something else has its name.
    NotAFile,
    OtherSize(u64),
    OtherContent(Md5Digest),
    Unreadable(io::Error),
}

/// Reads the file, unless its size tells enough.
fn look(receipt: &Received, buffer: &mut [u8]) -> Found {
    let flags =
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match rustix::fs::open(&receipt.file, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::NOTDIR) => return Found::Missing,
        // A link; a socket or a device without a driver.
        Err(Errno::LOOP | Errno::NXIO | Errno::NODEV) => return Found::NotAFile,
        Err(error) => return Found::Unreadable(error.into()),
    };
    match file.metadata() {
        Ok(facts) if !facts.is_file() => return Found::NotAFile,
        Ok(facts) if facts.len() != receipt.total_size => return Found::OtherSize(facts.len()),
        Ok(_) => {}
        Err(error) => return Found::Unreadable(error),
    }
    for advice in [Advice::Sequential, Advice::NoReuse] {
        // Read once and not again: what others have in the cache is to stay there.
        let _ = fadvise(&file, 0, None, advice);
    }
    match digest(file, buffer) {
        Ok(md5) if md5 == receipt.md5 => Found::Same,
        Ok(md5) => Found::OtherContent(md5),
        Err(error) => Found::Unreadable(error),
    }
}

fn digest(mut file: File, buffer: &mut [u8]) -> io::Result<Md5Digest> {
    let mut md5 = Md5Stream::new();
    loop {
        match io::Read::read(&mut file, buffer) {
            Ok(0) => return Ok(md5.finish()),
            Ok(read) => md5.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The line of the last receipt for each file; the files by what stands for their names.
fn newest(path: &Path) -> io::Result<HashMap<Md5Digest, u64>> {
    let mut newest = HashMap::new();
    for (number, receipt) in receipts(open(path)?) {
        if let Ok(receipt) = receipt {
            newest.insert(key(&receipt.file), number);
        }
    }
    Ok(newest)
}

/// A million names would be much to remember.
fn key(file: &Path) -> Md5Digest {
    Md5Stream::digest(file.as_os_str().as_bytes())
}

fn open(path: &Path) -> io::Result<Lines<BufReader<File>>> {
    // It is read twice.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok(Lines::new(BufReader::new(File::open(path)?), b'\n'))
}

/// Each line's number and what it says.
fn receipts<R: BufRead>(
    lines: Lines<R>,
) -> impl Iterator<Item = (u64, Result<Received, InputError>)> {
    let mut last = 0;
    lines.map(move |line| {
        let receipt = line.and_then(|line| {
            last = line.number;
            Received::parse(&line.bytes).map_err(|problem| InputError::Line {
                number: line.number,
                problem,
            })
        });
        if let Err(InputError::Line { number, .. }) = &receipt {
            last = *number;
        }
        (last, receipt)
    })
}

/// Tells what was found, and counts.
struct Report<'o> {
    order: &'o CheckOrder,
    failures: Failures,
    repeats: Repeats,
    summary: Summary,
    started: Instant,
    unwritable: Option<io::Error>,
}

impl<'o> Report<'o> {
    fn new(order: &'o CheckOrder) -> Report<'o> {
        Report {
            order,
            failures: Failures::default(),
            repeats: Repeats::default(),
            summary: Summary {
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

    fn tell(&mut self, number: u64, receipt: &Received, found: &Found) {
        let file = visible(receipt.file.as_os_str().as_bytes());
        if let Found::Same | Found::OtherContent(_) = found {
            self.summary.bytes += receipt.total_size;
        }
        let (mut found_size, mut found_md5) = (None, None);
        let (reason, words) = match found {
            Found::Same => {
                self.summary.same += 1;
                (None, "same".to_owned())
            }
            Found::Unreadable(error) => {
                let message = format!("{file}: cannot be read: {error}");
                let cause = (ExitCode::LocalFile, "local_file");
                self.fail(Some(number), &receipt.filename, cause, &message);
                return tell(&wording::failure(&message, self.order.is_coloured));
            }
            Found::Missing => (Some("missing"), "missing".to_owned()),
            Found::NotAFile => (Some("not_a_file"), "not a regular file any more".to_owned()),
            Found::OtherSize(size) => {
                found_size = Some(*size);
                let (is, was) = (counted(*size, "byte"), receipt.total_size);
                (Some("size"), format!("{is}, not {was}"))
            }
            Found::OtherContent(md5) => {
                found_md5 = Some(md5.to_string());
                (Some("content"), format!("md5 {md5}, not {}", receipt.md5))
            }
        };
        if reason.is_some() {
            self.summary.differs += 1;
        }
        if self.order.json {
            self.json(&Looked {
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
        } else if reason.is_some() || self.order.verbose {
            self.line(&format!("{file}: {words}"));
        }
    }

    fn tell_bad(&mut self, number: u64, error: InputError) {
        let list = shown(&self.order.receipts);
        let error = ClientError::from(ListError { list, error });
        let (code, reason) = classify(&error);
        let message = sentence(&error);
        let is_told = self.repeats.is_line_told();
        self.fail(Some(number), b"", (code, reason), &message);
        if is_told {
            tell(&wording::failure(&message, self.order.is_coloured));
        }
    }

    /// A failure that is about no file.
    fn fail_whole(&mut self, error: &ClientError) {
        let message = sentence(error);
        self.fail(None, b"", classify(error), &message);
        tell(&wording::failure(&message, self.order.is_coloured));
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
        self.json(&Failed {
            v: 1,
            event: "error",
            // Lines are at most as many as bytes in a file that was read.
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
        for sentence in self.repeats.others() {
            tell(&wording::failure(&sentence, self.order.is_coloured));
        }
        // What could not be read may be the same or not: that leads, whatever else differs.
        if self.summary.differs > 0 && self.failures.code() != ExitCode::LocalFile {
            self.failures.add(ExitCode::Unclassified);
        }
        let code = self.failures.code();
        let summary = Summary {
            secs: self.started.elapsed().as_secs_f64(),
            code: code as u8,
            ..self.summary
        };
        self.json(&summary);
        match &self.unwritable {
            Some(error) if unwritten("ftget", error) != ExitCode::Success => ExitCode::LocalFile,
            _ => code,
        }
    }

    fn json(&mut self, event: &impl Serialize) {
        // These are structs of strings and numbers, which cannot fail.
        if self.order.json
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

/// A file was looked at.
#[derive(Serialize)]
struct Looked<'a> {
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

/// How it all ended.
#[derive(Serialize)]
struct Summary {
    v: u8,
    event: &'static str,
    same: u64,
    differs: u64,
    failed: u64,
    bytes: u64,
    secs: f64,
    code: u8,
}

/// What was found and is not yet told.
const FOUND_AHEAD_MAX: usize = 256;
const BUFFER_BYTES: usize = 256 * 1024;

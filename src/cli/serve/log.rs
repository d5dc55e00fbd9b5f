//! The access log: a line for each request, written by a thread of its own, for which no
//! transfer ever waits.

mod line;
mod output;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use self::line::Entry;
use self::output::Output;
use crate::cli::terminal::{shown, tell};
use crate::server::Observer;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum LogFormat {
    /// Fields with spaces between them, and the quoted name at the end
    Text,
    /// One JSON object a line
    Json,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LogPlace {
    File(PathBuf),
    StandardOutput,
    StandardError,
}

impl LogPlace {
    /// Says what is wrong with it as a place for lines, if that can be known without making it.
    ///
    /// # Errors
    /// [`LogError`]
    pub(super) fn check(&self) -> Result<(), LogError> {
        Output::check(self).map_err(|error| LogError::of(self, error))
    }

    /// Whether it is a file, which can be renamed.
    pub(super) fn is_file(&self) -> bool {
        matches!(self, LogPlace::File(_))
    }
}

impl fmt::Display for LogPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogPlace::File(path) => f.write_str(&shown(path)),
            LogPlace::StandardOutput => f.write_str("standard output"),
            LogPlace::StandardError => f.write_str("standard error"),
        }
    }
}

/// Why lines cannot go to a place.
#[derive(Debug, thiserror::Error)]
#[error("access log {place} cannot be opened")]
pub(super) struct LogError {
    place: LogPlace,
    source: io::Error,
}

impl LogError {
    fn of(place: &LogPlace, source: io::Error) -> LogError {
        let place = place.clone();
        LogError { place, source }
    }
}

/// A log that is being written.
pub(super) struct AccessLog {
    entries: Sender<Message>,
    lost: Arc<AtomicU64>,
    writer: JoinHandle<()>,
    place: LogPlace,
    format: LogFormat,
}

enum Message {
    Entry(Box<Entry>),
    /// Go on in a place, opened anew; and tell how that went whoever still waits for it.
    GoOn(LogPlace, LogFormat, Sender<io::Result<()>>),
    End,
}

impl AccessLog {
    /// Opens the place and starts the thread.
    ///
    /// # Errors
    /// The file cannot be opened; later trouble is said on standard error, once each time.
    pub(super) fn start(place: LogPlace, format: LogFormat) -> Result<AccessLog, LogError> {
        let wrong = |error| LogError::of(&place, error);
        let output = Output::open(&place).map_err(wrong)?;
        let lost = Arc::new(AtomicU64::new(0));
        let mut writer = Writer {
            place: place.clone(),
            format,
            output: Some(output),
            lost: Arc::clone(&lost),
            is_torn: false,
            retry_at: Instant::now(),
            has_warned: false,
        };
        let (entries, received) = bounded(ENTRIES_MAX);
        let writer = thread::Builder::new()
            .name("ft-log".to_owned())
            .spawn(move || writer.run(&received))
            .map_err(wrong)?;
        Ok(AccessLog {
            entries,
            lost,
            writer,
            place,
            format,
        })
    }

    /// What gives the log a line for each request, and never waits: lines that it is too slow
    /// for are counted.
    pub(super) fn observer(&self) -> Observer {
        let (entries, lost) = (self.entries.clone(), Arc::clone(&self.lost));
        Box::new(move |report| {
            let entry = Message::Entry(Box::new(Entry::of(report)));
            if entries.try_send(entry).is_err() {
                lost.fetch_add(1, Ordering::Relaxed);
            }
        })
    }

    /// Whether it is a file, which can be renamed.
    pub(super) fn is_file(&self) -> bool {
        self.place.is_file()
    }

    /// Opens the place anew: a file was renamed perhaps.
    ///
    /// # Errors
    /// It cannot be opened; lines go on where they went.
    pub(super) fn reopen(&mut self) -> Result<(), LogError> {
        self.go_on(self.place.clone(), self.format)
    }

    /// Goes on in a place, opened anew, in this format.
    ///
    /// # Errors
    /// It cannot be opened; lines go on where they went.
    pub(super) fn go_on(&mut self, place: LogPlace, format: LogFormat) -> Result<(), LogError> {
        let wrong = |error| LogError::of(&place, error);
        // Without room, so that it is told exactly if it is heard.
        let (told, heard) = bounded(0);
        let message = Message::GoOn(place.clone(), format, told);
        let stuck = || io::Error::other("the one that is open takes no line");
        self.entries
            .send_timeout(message, END_TIMEOUT)
            .map_err(|_| wrong(stuck()))?;
        heard
            .recv_timeout(END_TIMEOUT)
            .map_err(|_| wrong(stuck()))?
            .map_err(wrong)?;
        (self.place, self.format) = (place, format);
        Ok(())
    }

    /// Writes what was reported before and ends, unless the disk hangs.
    pub(super) fn end(self) {
        let deadline = Instant::now() + END_TIMEOUT;
        if self.entries.send_deadline(Message::End, deadline).is_ok() {
            while !self.writer.is_finished() && Instant::now() < deadline {
                thread::park_timeout(Duration::from_millis(5));
            }
        }
    }
}

/// The thread's belongings.
struct Writer {
    place: LogPlace,
    format: LogFormat,
    /// `None` after a failure, until it is tried again.
    output: Option<Output>,
    lost: Arc<AtomicU64>,
    /// The last line was written in part.
    is_torn: bool,
    retry_at: Instant,
    /// Trouble was said, and has not ended since.
    has_warned: bool,
}

impl Writer {
    fn run(&mut self, messages: &Receiver<Message>) {
        let mut lines = Vec::new();
        let mut count = 0;
        loop {
            // What has come together goes out with one write, as soon as nothing more is there.
            let next = messages.recv_timeout(match count {
                0 => IDLE,
                _ => Duration::ZERO,
            });
            match next {
                Ok(Message::Entry(entry)) => {
                    entry.write(self.format, &mut lines);
                    count += 1;
                    if lines.len() < BATCH_BYTES {
                        continue;
                    }
                    self.write(&mut lines, &mut count);
                }
                Ok(Message::GoOn(place, format, told)) => {
                    self.write(&mut lines, &mut count);
                    self.go_on(place, format, &told);
                }
                Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => {
                    self.write(&mut lines, &mut count);
                    return;
                }
                Err(RecvTimeoutError::Timeout) => self.write(&mut lines, &mut count),
            }
        }
    }

    /// Writes these lines, or counts them as lost.
    fn write(&mut self, lines: &mut Vec<u8>, count: &mut u64) {
        if self.output.is_none() && Instant::now() >= self.retry_at {
            self.output = Output::open(&self.place).ok();
            self.retry_at = Instant::now() + RETRY_INTERVAL;
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let mut bytes = Vec::new();
        if self.is_torn {
            bytes.push(b'\n');
        }
        if lost > 0 {
            line::lost(lost, self.format, &mut bytes);
        }
        bytes.append(lines);
        let lines_lost = lost + std::mem::take(count);
        let Some(output) = &mut self.output else {
            self.lost.fetch_add(lines_lost, Ordering::Relaxed);
            return;
        };
        let (mut written, mut failure) = (0, None);
        while written < bytes.len() {
            match output.write(&bytes[written..]) {
                Ok(0) => break,
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        if let Some(error) = failure {
            self.warn(&error);
        }
        if written > 0 {
            self.is_torn = bytes[written - 1] != b'\n';
        }
        if written < bytes.len() {
            let left = bytes[written..]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count();
            self.lost.fetch_add(left as u64, Ordering::Relaxed);
            self.output = None;
            self.retry_at = Instant::now() + RETRY_INTERVAL;
        } else if written > 0 {
            self.has_warned = false;
        }
    }

    fn go_on(&mut self, place: LogPlace, format: LogFormat, told: &Sender<io::Result<()>>) {
        let (output, result) = match Output::open(&place) {
            Ok(output) => (Some(output), Ok(())),
            Err(error) => (None, Err(error)),
        };
        if told.send(result).is_ok() && output.is_some() {
            (self.output, self.is_torn, self.has_warned) = (output, false, false);
            (self.place, self.format) = (place, format);
        }
    }

    fn warn(&mut self, error: &io::Error) {
        if std::mem::replace(&mut self.has_warned, true) {
            return;
        }
        let place = &self.place;
        if *place == LogPlace::StandardError {
            // There is nobody to tell.
            return;
        }
        tell(&format!(
            "ftserve: access log {place} cannot be written: {error}; transfers go on, lines are lost"
        ));
    }
}

const ENTRIES_MAX: usize = 8_192;
const BATCH_BYTES: usize = 64 * 1024;
/// How soon a log that failed is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(3600);
const END_TIMEOUT: Duration = Duration::from_secs(1);

//! The access log: a line for each request. A thread writes them, so no transfer waits for the log.

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

use self::line::LogEntry;
use self::output::LogOutput;
use crate::cli::terminal::{print_line, shown};
use crate::server::Observer;

/// The format of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum LogFormat {
    /// Fields with spaces between them, and the quoted name at the end
    Text,
    /// One JSON object a line
    Json,
}

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LogDestination {
    File(PathBuf),
    StandardOutput,
    StandardError,
}

impl LogDestination {
    /// Checks the destination without creating it.
    ///
    /// # Errors
    /// [`LogError`]
    pub(super) fn check(&self) -> Result<(), LogError> {
        LogOutput::check(self).map_err(|error| LogError::of(self, error))
    }

    /// Whether it is a file, which can be renamed.
    pub(super) fn is_file(&self) -> bool {
        matches!(self, LogDestination::File(_))
    }
}

impl fmt::Display for LogDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogDestination::File(path) => f.write_str(&shown(path)),
            LogDestination::StandardOutput => f.write_str("standard output"),
            LogDestination::StandardError => f.write_str("standard error"),
        }
    }
}

/// Why a destination cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("access log {destination} cannot be opened")]
pub(super) struct LogError {
    destination: LogDestination,
    source: io::Error,
}

impl LogError {
    fn of(destination: &LogDestination, source: io::Error) -> LogError {
        let destination = destination.clone();
        LogError {
            destination,
            source,
        }
    }
}

/// An open access log.
pub(super) struct AccessLog {
    entries: Sender<LogMessage>,
    lost: Arc<AtomicU64>,
    writer: JoinHandle<()>,
    destination: LogDestination,
    format: LogFormat,
}

enum LogMessage {
    LogEntry(Box<LogEntry>),
    /// Open this destination and continue there. The result goes to the sender, if it still waits.
    SwitchTo(LogDestination, LogFormat, Sender<io::Result<()>>),
    End,
}

impl AccessLog {
    /// Opens the destination and starts the thread.
    ///
    /// # Errors
    /// The destination cannot be opened. Later errors are printed on standard error, once each
    /// time.
    pub(super) fn start(
        destination: LogDestination,
        format: LogFormat,
    ) -> Result<AccessLog, LogError> {
        let wrong = |error| LogError::of(&destination, error);
        let output = LogOutput::open(&destination).map_err(wrong)?;
        let lost = Arc::new(AtomicU64::new(0));
        let mut writer = Writer {
            destination: destination.clone(),
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
            destination,
            format,
        })
    }

    /// The callback that logs a request. It never waits: if the queue is full, the line is counted
    /// as lost.
    pub(super) fn observer(&self) -> Observer {
        let (entries, lost) = (self.entries.clone(), Arc::clone(&self.lost));
        Box::new(move |report| {
            let entry = LogMessage::LogEntry(Box::new(LogEntry::of(report)));
            if entries.try_send(entry).is_err() {
                lost.fetch_add(1, Ordering::Relaxed);
            }
        })
    }

    /// Whether it is a file, which can be renamed.
    pub(super) fn is_file(&self) -> bool {
        self.destination.is_file()
    }

    /// Opens the destination again, because the file may have been renamed.
    ///
    /// # Errors
    /// It cannot be opened. Lines continue to go to the open file.
    pub(super) fn reopen(&mut self) -> Result<(), LogError> {
        self.switch_to(self.destination.clone(), self.format)
    }

    /// Opens a destination and continues there, in this format.
    ///
    /// # Errors
    /// It cannot be opened. Lines continue to go to the open destination.
    pub(super) fn switch_to(
        &mut self,
        destination: LogDestination,
        format: LogFormat,
    ) -> Result<(), LogError> {
        let wrong = |error| LogError::of(&destination, error);
        // Without a buffer the reply succeeds only if this thread still waits for it.
        let (reply_in, reply) = bounded(0);
        let message = LogMessage::SwitchTo(destination.clone(), format, reply_in);
        let stuck = || io::Error::other("the open log is blocked");
        self.entries
            .send_timeout(message, END_TIMEOUT)
            .map_err(|_| wrong(stuck()))?;
        reply
            .recv_timeout(END_TIMEOUT)
            .map_err(|_| wrong(stuck()))?
            .map_err(wrong)?;
        (self.destination, self.format) = (destination, format);
        Ok(())
    }

    /// Writes all queued lines and ends, unless the disk hangs.
    pub(super) fn end(self) {
        let deadline = Instant::now() + END_TIMEOUT;
        if self
            .entries
            .send_deadline(LogMessage::End, deadline)
            .is_ok()
        {
            while !self.writer.is_finished() && Instant::now() < deadline {
                thread::park_timeout(Duration::from_millis(5));
            }
        }
    }
}

/// The state of the writing thread.
struct Writer {
    destination: LogDestination,
    format: LogFormat,
    /// `None` after a failure, until the next try.
    output: Option<LogOutput>,
    lost: Arc<AtomicU64>,
    /// The last line was written in part.
    is_torn: bool,
    retry_at: Instant,
    /// A warning was printed, and no write succeeded since.
    has_warned: bool,
}

impl Writer {
    fn run(&mut self, messages: &Receiver<LogMessage>) {
        let mut lines = Vec::new();
        let mut count = 0;
        loop {
            // All queued lines go out in one write, as soon as the queue is empty.
            let next = messages.recv_timeout(match count {
                0 => IDLE,
                _ => Duration::ZERO,
            });
            match next {
                Ok(LogMessage::LogEntry(entry)) => {
                    entry.write(self.format, &mut lines);
                    count += 1;
                    if lines.len() < BATCH_BYTES {
                        continue;
                    }
                    self.write(&mut lines, &mut count);
                }
                Ok(LogMessage::SwitchTo(destination, format, reply_in)) => {
                    self.write(&mut lines, &mut count);
                    self.switch_to(destination, format, &reply_in);
                }
                Ok(LogMessage::End) | Err(RecvTimeoutError::Disconnected) => {
                    self.write(&mut lines, &mut count);
                    return;
                }
                Err(RecvTimeoutError::Timeout) => self.write(&mut lines, &mut count),
            }
        }
    }

    /// Writes the lines, or counts them as lost.
    fn write(&mut self, lines: &mut Vec<u8>, count: &mut u64) {
        if self.output.is_none() && Instant::now() >= self.retry_at {
            self.output = LogOutput::open(&self.destination).ok();
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

    fn switch_to(
        &mut self,
        destination: LogDestination,
        format: LogFormat,
        reply_in: &Sender<io::Result<()>>,
    ) {
        let (output, result) = match LogOutput::open(&destination) {
            Ok(output) => (Some(output), Ok(())),
            Err(error) => (None, Err(error)),
        };
        if reply_in.send(result).is_ok() && output.is_some() {
            (self.output, self.is_torn, self.has_warned) = (output, false, false);
            (self.destination, self.format) = (destination, format);
        }
    }

    fn warn(&mut self, error: &io::Error) {
        if std::mem::replace(&mut self.has_warned, true) {
            return;
        }
        let destination = &self.destination;
        if *destination == LogDestination::StandardError {
            // There is no other place for the warning.
            return;
        }
        print_line(&format!(
            "ftserve: access log {destination} cannot be written: {error}; transfers continue, lines are lost"
        ));
    }
}

const ENTRIES_MAX: usize = 8_192;
const BATCH_BYTES: usize = 64 * 1024;
/// How soon a failed log is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(3600);
const END_TIMEOUT: Duration = Duration::from_secs(1);

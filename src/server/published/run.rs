//! One run of a command: its processes and its outputs.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{self, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FallocateFlags, MemfdFlags, OFlags};

use crate::digest::Md5Stream;
use crate::process::Child;
use crate::wire::Md5Digest;

/// A running command. Dropping it kills all its processes.
pub(super) struct Run {
    child: Child,
    /// The environment entry that finds processes which left the process group.
    mark: String,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    /// The command has ended and is not reaped yet, so its process id cannot be reused.
    is_over: bool,
    is_reaped: bool,
}

/// The result of one read of the outputs.
pub(super) enum ReadStatus {
    Some,
    /// Nothing for now.
    Empty,
    /// Both outputs have ended.
    Ended,
    OverLimit,
}

impl Run {
    pub(super) fn start(words: &[OsString]) -> io::Result<Run> {
        let number = RUNS.fetch_add(1, Ordering::Relaxed);
        let run_id = format!("{}-{number}", process::id());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env(RUN_ID, &run_id)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = Child::start(&mut command)?;
        let streams = child.streams();
        let (stdout, stderr) = (streams.stdout.take(), streams.stderr.take());
        let run = Run {
            child,
            mark: format!("{RUN_ID}={run_id}"),
            stdout,
            stderr,
            is_over: false,
            is_reaped: false,
        };
        for pipe in [
            run.stdout.as_ref().map(AsFd::as_fd),
            run.stderr.as_ref().map(AsFd::as_fd),
        ]
        .into_iter()
        .flatten()
        {
            let flags = rustix::fs::fcntl_getfl(pipe)?;
            rustix::fs::fcntl_setfl(pipe, flags | OFlags::NONBLOCK)?;
        }
        Ok(run)
    }

    pub(super) fn has_ended(&mut self) -> bool {
        self.is_over = self.is_over || self.child.has_ended();
        self.is_over
    }

    /// Kills what the command left running. Returns its exit status.
    pub(super) fn end(&mut self) -> io::Result<ExitStatus> {
        self.child.kill(Some(&self.mark));
        self.is_reaped = true;
        self.child.wait()
    }

    /// Reads what is available, or waits a moment for more.
    pub(super) fn read(&mut self, output: &mut CapturedOutput) -> io::Result<ReadStatus> {
        if self.stdout.is_none() && self.stderr.is_none() {
            return Ok(ReadStatus::Ended);
        }
        let open = [
            self.stdout.as_ref().map(AsFd::as_fd),
            self.stderr.as_ref().map(AsFd::as_fd),
        ];
        let mut polled: Vec<PollFd<'_>> = open
            .into_iter()
            .flatten()
            .map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::IN))
            .collect();
        let interval = if self.is_over {
            Duration::ZERO
        } else {
            POLL_INTERVAL
        };
        let interval = Timespec::try_from(interval).ok();
        match poll(&mut polled, interval.as_ref()) {
            Ok(0) => return Ok(ReadStatus::Empty),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let out = read_some(&mut self.stdout, |bytes| output.take(bytes))?;
        let err = read_some(&mut self.stderr, |bytes| output.take_error(bytes))?;
        if output.exceeds_limit() {
            return Ok(ReadStatus::OverLimit);
        }
        Ok(if out || err {
            ReadStatus::Some
        } else {
            ReadStatus::Empty
        })
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.is_reaped {
            let _ = self.end();
        }
    }
}

/// Reads once and drops the pipe at its end. Returns whether bytes were read.
fn read_some<P: Read>(
    pipe: &mut Option<P>,
    take: impl FnOnce(&[u8]) -> io::Result<()>,
) -> io::Result<bool> {
    let Some(open) = pipe else { return Ok(false) };
    let mut buffer = [0; 64 * 1024];
    match open.read(&mut buffer) {
        Ok(0) => *pipe = None,
        Ok(count) => {
            take(&buffer[..count])?;
            return Ok(true);
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        Err(error) => return Err(error),
    }
    Ok(false)
}

/// The outputs so far.
pub(super) struct CapturedOutput {
    file: File,
    md5: Md5Stream,
    bytes: u64,
    errors: Errors,
    bytes_max: u64,
}

/// Where the error output goes.
enum Errors {
    /// Its end is kept for the log.
    Apart(ErrorOutput),
    /// It becomes part of the content, after the output.
    Served { file: Option<File>, bytes: u64 },
}

/// The end of a command's error output, at most [`ERROR_TAIL_BYTES_MAX`] bytes.
#[derive(Default)]
pub(in crate::server) struct ErrorOutput {
    tail: Vec<u8>,
}

impl ErrorOutput {
    fn take(&mut self, bytes: &[u8]) {
        let new = &bytes[bytes.len().saturating_sub(ERROR_TAIL_BYTES_MAX)..];
        let spare = (self.tail.len() + new.len()).saturating_sub(ERROR_TAIL_BYTES_MAX);
        self.tail.drain(..spare);
        self.tail.extend_from_slice(new);
    }

    /// The non-empty lines, without line ends.
    pub(in crate::server) fn lines(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        let lines = self.tail.split(|byte| *byte == b'\n');
        lines
            .map(<[u8]>::trim_ascii_end)
            .filter(|line| !line.is_empty())
    }

    /// The last lines, joined, as many as fit into `bytes_max`. A single longer line is cut.
    pub(in crate::server) fn last_lines(&self, bytes_max: usize) -> String {
        let mut last = String::new();
        for line in self.lines().rev() {
            let line = String::from_utf8_lossy(line);
            if last.is_empty() {
                let fits = (0..=bytes_max).rev().find(|at| line.is_char_boundary(*at));
                last.push_str(&line[..fits.unwrap_or(0)]);
            } else if line.len() + 2 + last.len() <= bytes_max {
                last = format!("{line}; {last}");
            } else {
                break;
            }
        }
        last
    }
}

impl CapturedOutput {
    pub(super) fn new(bytes_max: u64, serves_errors: bool) -> io::Result<CapturedOutput> {
        Ok(CapturedOutput {
            file: memory_file()?,
            md5: Md5Stream::new(),
            bytes: 0,
            errors: if serves_errors {
                Errors::Served {
                    file: None,
                    bytes: 0,
                }
            } else {
                Errors::Apart(ErrorOutput::default())
            },
            bytes_max,
        })
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.md5.update(bytes);
        self.file.write_all(bytes)
    }

    fn take_error(&mut self, new: &[u8]) -> io::Result<()> {
        match &mut self.errors {
            Errors::Apart(errors) => {
                errors.take(new);
                Ok(())
            }
            Errors::Served { file, bytes } => {
                *bytes += new.len() as u64;
                let file = match file {
                    Some(file) => file,
                    none => none.insert(memory_file()?),
                };
                file.write_all(new)
            }
        }
    }

    fn exceeds_limit(&self) -> bool {
        let of_errors = match self.errors {
            Errors::Apart(_) => 0,
            Errors::Served { bytes, .. } => bytes,
        };
        self.bytes + of_errors > self.bytes_max
    }

    /// The error output, unless it is part of the content.
    pub(super) fn take_errors(&mut self) -> ErrorOutput {
        match &mut self.errors {
            Errors::Apart(errors) => std::mem::take(errors),
            Errors::Served { .. } => ErrorOutput::default(),
        }
    }

    /// The content: its file, its length in bytes and its digest.
    pub(super) fn finish(mut self) -> io::Result<(File, u64, Md5Digest)> {
        if let Errors::Served { file, .. } = &mut self.errors
            && let Some(error) = file.take()
        {
            let mut chunk = vec![0; CHUNK_BYTES];
            let mut at = 0;
            while let count @ 1.. = FileExt::read_at(&error, &mut chunk, at)? {
                self.take(&chunk[..count])?;
                // Free the copied bytes at once, so that no output is in memory twice.
                let gone = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                let _ = rustix::fs::fallocate(&error, gone, at, count as u64);
                at += count as u64;
            }
        }
        Ok((self.file, self.bytes, self.md5.finish()))
    }
}

/// A file in memory.
fn memory_file() -> io::Result<File> {
    let memory = rustix::fs::memfd_create("ft-output", MemfdFlags::CLOEXEC)?;
    Ok(File::from(memory))
}

/// How often a run without output is polled for its end and for cancellation.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(20);
const CHUNK_BYTES: usize = 1 << 20;
const ERROR_TAIL_BYTES_MAX: usize = 16 << 10;
/// An environment variable with a different value for each run.
const RUN_ID: &str = "FTSERVE_RUN_ID";
static RUNS: AtomicU64 = AtomicU64::new(0);

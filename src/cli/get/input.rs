//! `ftget -i`: reads the lines of a list of any length.
//!
//! A list has names, JSON Lines, or lines of md5sum(1) and its kin. The first line decides the
//! format, and all lines must have it: a damaged line of a checksum list must not pass for a name.

mod checksum;
mod line;
mod lines;
mod rereadable;
mod signed;

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use self::checksum::crc32_of;
pub(super) use self::line::LineError;
use self::line::{Format, PLAIN_NAME};
pub(super) use self::lines::Lines;
use self::lines::{ENDLESS_BYTES_MIN, LINE_BYTES_MAX, NumberedLine};
pub(super) use self::rereadable::RereadableList;
use self::signed::Signed;
use crate::cli::blocking::{self, is_ready};
use crate::cli::streams;
use crate::client::ListedFolder;
use crate::wire::{Md5Digest, ObjectKind, ResourcePath};

/// The entry that one line of a list names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListItem {
    /// The whole path on the server.
    pub(super) path: ResourcePath,
    /// The type in the list; a file if the list has none.
    pub(super) kind: ObjectKind,
    /// The content must have this md5.
    pub(super) md5: Option<Md5Digest>,
    /// The size in the list, in bytes.
    pub(super) total_size: Option<u64>,
    /// Mode and time in the list, if the entry is a directory.
    pub(super) directory: Option<ListedFolder>,
}

/// Why a line, or the rest of a list, is not used. The message follows the name of the list and a
/// colon.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListReadError {
    /// A bad line. Reading continues with the next one.
    #[error("{number}: {problem}")]
    Line {
        /// Counted from 1.
        number: u64,
        /// The error in the line.
        problem: LineError,
    },
    /// The list cannot be read any further.
    #[error(" cannot be read: {0}")]
    Read(io::Error),
    /// A line has no end within [`ENDLESS_BYTES_MIN`].
    #[error("{0}: line is over {ENDLESS_BYTES_MIN} bytes; nothing after it is read")]
    Endless(u64),
    /// The text is UTF-16, which has no bytes for names.
    #[error("1: text is UTF-16, a list must be UTF-8 or the plain bytes of names")]
    Utf16,
    /// The first line has a NUL: this is not text, or its names end with a NUL.
    #[error("1: line has a NUL byte; -0 reads names that end with one")]
    Nul,
    /// The list has digests of another algorithm.
    #[error(
        "{number}: list has digests of {algorithm}, only those of MD5 can be verified; {PLAIN_NAME}"
    )]
    OtherAlgorithm {
        /// The number of its first line.
        number: u64,
        /// The name of the algorithm, escaped for a terminal.
        algorithm: String,
    },
    /// The list is PGP armour around something other than clear text.
    #[error("{0}: list is PGP data, only clear-signed text can be read")]
    NotClear(u64),
}

/// An iterator over the entries of a list. It holds one line, or at most [`HELD_LINES_MAX`] until
/// the format is known.
pub(super) struct ListReader<R> {
    lines: Lines<R>,
    directory: ResourcePath,
    /// Names end with a NUL.
    ends_with_nul: bool,
    /// Unknown until a line decides it.
    format: Option<Format>,
    signed: Signed,
    /// Set while all lines so far may be SFV lines.
    sfv: Option<Sfv>,
    /// Lines that were read to find the format.
    held: VecDeque<Result<NumberedLine, ListReadError>>,
}

/// Lines with a name and eight hexadecimal digits. They count as names if all digits could be
/// dates, or if there is only one such line and no SFV comment.
struct Sfv {
    first_number: u64,
    lines: usize,
    has_letters: bool,
}

impl ListReader<Box<dyn BufRead + Send>> {
    /// Opens the list of this name, `-` for standard input.
    ///
    /// # Errors
    /// Those of opening the file.
    pub(super) fn open(
        list: &OsStr,
        directory: ResourcePath,
        ends_with_nul: bool,
        time_max: Option<Duration>,
    ) -> io::Result<ListReader<Box<dyn BufRead + Send>>> {
        let reader = TimedReader::new(open(list)?, time_max);
        Ok(ListReader::of(reader, directory, ends_with_nul))
    }

    /// Reads a rereadable list from its beginning.
    pub(super) fn reread(
        held: &RereadableList,
        directory: ResourcePath,
        ends_with_nul: bool,
    ) -> Self {
        ListReader::of(held.reader(), directory, ends_with_nul)
    }

    fn of(
        reader: impl Read + Send + 'static,
        directory: ResourcePath,
        ends_with_nul: bool,
    ) -> Self {
        let reader = BufReader::with_capacity(BUFFER_BYTES, reader);
        ListReader::new(Box::new(reader), directory, ends_with_nul)
    }
}

/// Opens the list of this name, `-` for standard input, to read it more than once. Reads a pipe to
/// its end.
///
/// # Errors
/// Those of opening the file, and of copying a pipe.
pub(super) fn open_rereadable(
    list: &OsStr,
    time_max: Option<Duration>,
) -> io::Result<RereadableList> {
    RereadableList::of(open(list)?, |file| {
        Box::new(TimedReader::new(file, time_max))
    })
}

fn open(list: &OsStr) -> io::Result<File> {
    if list == "-" {
        // Not `io::stdin()`: its lock cannot move to another thread.
        return blocking::copy_descriptor(0);
    }
    match streams::descriptor(Path::new(list)) {
        Some(stream) => Ok(stream),
        None => blocking::run(UNWRITTEN, || File::open(list)),
    }
}

/// A file, pipe or terminal that is read until the time limit.
struct TimedReader {
    file: File,
    until: Option<Instant>,
}

impl TimedReader {
    fn new(file: File, time_max: Option<Duration>) -> TimedReader {
        // Leaves the client time to report the time limit first.
        let until = time_max.and_then(|time| Instant::now().checked_add(time + GRACE));
        TimedReader { file, until }
    }
}

impl Read for TimedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.until.is_some() && !is_ready(self.file.as_fd(), PollFlags::IN, self.until)? {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match self.file.read(buffer) {
                // Another program made the stream non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    is_ready(self.file.as_fd(), PollFlags::IN, self.until)?;
                }
                read => return read,
            }
        }
    }
}

impl<R: BufRead> ListReader<R> {
    /// Reads names below `directory`; the first line decides the format. With `ends_with_nul`,
    /// lines end with a NUL, and are names unless they have the form of md5sum(1).
    pub(super) fn new(reader: R, directory: ResourcePath, ends_with_nul: bool) -> ListReader<R> {
        ListReader {
            lines: Lines::new(reader, if ends_with_nul { 0 } else { b'\n' }),
            directory,
            ends_with_nul,
            format: None,
            signed: Signed::default(),
            sfv: None,
            held: VecDeque::new(),
        }
    }

    fn next_line(&mut self) -> Option<Result<NumberedLine, ListReadError>> {
        while self.format.is_none() {
            let line = self.next_read();
            let is_sfv_comment = |line: &NumberedLine| line.bytes.starts_with(b";");
            let may_wait = self.held.len() < HELD_LINES_MAX && !self.ends_with_nul;
            let may_be_comment = |line: &[u8]| line.starts_with(b"#") || line.starts_with(b";");
            self.format = match &line {
                // A comment of a checksum list, or a name: the next lines decide.
                Some(Ok(line)) if may_be_comment(&line.bytes) && may_wait => None,
                Some(Ok(line)) => match Format::of(&line.bytes, self.ends_with_nul) {
                    Ok(Format::Names) if self.may_be_sfv(line) => {
                        (!may_wait).then_some(Format::Names)
                    }
                    Ok(format) => Some(self.sfv.take().map_or(format, |_| Format::Names)),
                    Err(algorithm) => return Some(Err(self.refuse(line.number, algorithm))),
                },
                Some(Err(ListReadError::Line { .. })) if may_wait => None,
                Some(Err(_)) | None => Some(Format::Names),
            };
            if self.format.is_some()
                && let Some(sfv) = self.sfv.take()
                && sfv.has_letters
                && (sfv.lines > 1 || self.held.iter().flatten().any(is_sfv_comment))
            {
                return Some(Err(self.refuse(sfv.first_number, "CRC-32".to_owned())));
            }
            self.held.extend(line);
        }
        self.held.pop_front().or_else(|| self.next_read())
    }

    /// Whether a line may be an SFV line; counts it if so.
    fn may_be_sfv(&mut self, line: &NumberedLine) -> bool {
        let Some(digits) = crc32_of(&line.bytes) else {
            return false;
        };
        let sfv = self.sfv.get_or_insert(Sfv {
            first_number: line.number,
            lines: 0,
            has_letters: false,
        });
        sfv.lines += 1;
        sfv.has_letters |= digits.iter().any(u8::is_ascii_alphabetic);
        true
    }

    fn refuse(&mut self, number: u64, algorithm: String) -> ListReadError {
        self.end(ListReadError::OtherAlgorithm { number, algorithm })
    }

    /// The next line, without the armour of a signature.
    fn next_read(&mut self) -> Option<Result<NumberedLine, ListReadError>> {
        loop {
            let line = match self.lines.next() {
                Some(Ok(line)) if !self.ends_with_nul => line,
                None => return self.signed.end(self.lines.number()).err().map(Err),
                other => return other,
            };
            match self.signed.strip(line) {
                Ok(None) => {}
                Ok(Some(line)) => return Some(Ok(line)),
                Err(error) => return Some(Err(self.end(error))),
            }
        }
    }

    /// Stops reading for this reason.
    fn end(&mut self, reason: ListReadError) -> ListReadError {
        self.held.clear();
        self.lines.stop();
        self.format = Some(Format::Names);
        self.signed = Signed::default();
        reason
    }
}

impl<R: BufRead> Iterator for ListReader<R> {
    type Item = Result<ListItem, ListReadError>;

    fn next(&mut self) -> Option<Result<ListItem, ListReadError>> {
        loop {
            let line = match self.next_line()? {
                Ok(line) => line,
                Err(error) => return Some(Err(error)),
            };
            // The first line sets it.
            let format = self.format.unwrap_or(Format::Names);
            let read = match format {
                Format::ExactMd5sum if !line.is_ended => Err(LineError::NoNul),
                _ => format.read(&line.bytes, &self.directory),
            };
            match read {
                Ok(None) => {}
                Ok(Some(item)) => return Some(Ok(item)),
                Err(problem) => {
                    let number = line.number;
                    return Some(Err(ListReadError::Line { number, problem }));
                }
            }
        }
    }
}

/// Why reading a list from a pipe does not return.
pub(super) const UNWRITTEN: &str = "a list is not written";
/// The most lines that may begin with `#` before one decides the format.
const HELD_LINES_MAX: usize = 100;
const GRACE: Duration = Duration::from_millis(200);
const BUFFER_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests;

//! `ftget -i`: the lines of a list, one after the other, whatever its length.
//!
//! A list is names, JSON Lines or what md5sum(1) and its kin write. Its first line tells which, and
//! the others must be alike: a damaged line of a list of checksums is never taken for a name.

mod checksum;
mod held;
mod line;
mod lines;
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
pub(super) use self::held::Held;
pub(super) use self::line::LineError;
use self::line::{Format, PLAIN_NAME};
pub(super) use self::lines::Lines;
use self::lines::{ENDLESS_BYTES_MIN, LINE_BYTES_MAX, NumberedLine};
use self::signed::Signed;
use crate::cli::outside::{self, is_ready};
use crate::cli::streams;
use crate::client::ListedFolder;
use crate::wire::{Md5Digest, ObjectKind, ResourcePath};

/// What one line of a list names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The whole path on the server.
    pub(super) path: ResourcePath,
    /// What it is said to be; a file where nothing is said.
    pub(super) kind: ObjectKind,
    /// Only this content will do.
    pub(super) md5: Option<Md5Digest>,
    /// Bytes it is said to have.
    pub(super) total_size: Option<u64>,
    /// Mode and time from the list, used if it is a directory.
    pub(super) folder: Option<ListedFolder>,
}

/// Why a line, or all that is left of a list, names nothing; to be said right behind the list's
/// name and a colon.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    /// One line; the next ones are read all the same.
    #[error("{number}: {problem}")]
    Line {
        /// Counted from 1.
        number: u64,
        /// What is wrong with it.
        problem: LineError,
    },
    /// The list cannot be read any further.
    #[error(" cannot be read: {0}")]
    Read(io::Error),
    /// A line of it goes on and on.
    #[error("{0}: line is over {ENDLESS_BYTES_MIN} bytes; nothing behind it is read")]
    Endless(u64),
    /// It is not in an encoding that has bytes for names.
    #[error("1: text is UTF-16, a list must be UTF-8 or the plain bytes of names")]
    Utf16,
    /// Its first line has a NUL: it is no text, or its names end with one.
    #[error("1: line has a NUL byte; names that end with one go with -0")]
    Nul,
    /// It is a list of digests of another algorithm.
    #[error(
        "{number}: list has digests of {algorithm}, only those of MD5 can be verified; {PLAIN_NAME}"
    )]
    OtherAlgorithm {
        /// Of its first line.
        number: u64,
        /// Safe to show.
        algorithm: String,
    },
    /// It is armoured, and its text is not in the clear.
    #[error("{0}: list is PGP data, of which only text signed in the clear can be read")]
    NotClear(u64),
}

/// A list that is being read: an iterator over what its lines name. It holds one line, or before
/// it knows the format at most [`HELD_LINES_MAX`].
pub(super) struct Input<R> {
    lines: Lines<R>,
    folder: ResourcePath,
    /// Names end with a NUL.
    ends_with_nul: bool,
    /// Not known before a line tells.
    format: Option<Format>,
    signed: Signed,
    /// All lines so far may be SFV's.
    sfv: Option<Sfv>,
    /// Lines that were read to find out the format.
    held: VecDeque<Result<NumberedLine, InputError>>,
}

/// Lines of a name and eight hexadecimal digits. They are names if all of these could be dates, or
/// there is only one and no comment of SFV.
struct Sfv {
    first_number: u64,
    lines: usize,
    has_letters: bool,
}

impl Input<Box<dyn BufRead + Send>> {
    /// Opens the list of this name, `-` for standard input.
    ///
    /// # Errors
    /// Those of opening the file.
    pub(super) fn open(
        list: &OsStr,
        folder: ResourcePath,
        ends_with_nul: bool,
        time_max: Option<Duration>,
    ) -> io::Result<Input<Box<dyn BufRead + Send>>> {
        let reader = InTime::new(open(list)?, time_max);
        Ok(Input::of(reader, folder, ends_with_nul))
    }

    /// Reads a list that is held, from its beginning.
    pub(super) fn again(held: &Held, folder: ResourcePath, ends_with_nul: bool) -> Self {
        Input::of(held.reader(), folder, ends_with_nul)
    }

    fn of(reader: impl Read + Send + 'static, folder: ResourcePath, ends_with_nul: bool) -> Self {
        let reader = BufReader::with_capacity(BUFFER_BYTES, reader);
        Input::new(Box::new(reader), folder, ends_with_nul)
    }
}

/// Opens the list of this name, `-` for standard input, to be read more than once. Waits for the
/// end of what is no file.
///
/// # Errors
/// Those of opening the file, and of copying what is none.
pub(super) fn hold(list: &OsStr, time_max: Option<Duration>) -> io::Result<Held> {
    Held::of(open(list)?, |file| Box::new(InTime::new(file, time_max)))
}

fn open(list: &OsStr) -> io::Result<File> {
    if list == "-" {
        // The standard library's has a lock that cannot go to another thread.
        return outside::copy(0);
    }
    match streams::descriptor(Path::new(list)) {
        Some(stream) => Ok(stream),
        None => outside::wait(UNWRITTEN, || File::open(list)),
    }
}

/// A file, a pipe or a terminal that is waited for until the time for everything is over.
struct InTime {
    file: File,
    until: Option<Instant>,
}

impl InTime {
    fn new(file: File, time_max: Option<Duration>) -> InTime {
        // Whoever keeps the time is the first to say that it is over.
        let until = time_max.and_then(|time| Instant::now().checked_add(time + GRACE));
        InTime { file, until }
    }
}

impl Read for InTime {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.until.is_some() && !is_ready(self.file.as_fd(), PollFlags::IN, self.until)? {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match self.file.read(buffer) {
                // Another program has made it non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    is_ready(self.file.as_fd(), PollFlags::IN, self.until)?;
                }
                read => return read,
            }
        }
    }
}

impl<R: BufRead> Input<R> {
    /// Reads names below `folder`: lines, of which the first one tells the format. With
    /// `ends_with_nul` they end with a NUL, and are names unless md5sum(1) writes them so.
    pub(super) fn new(reader: R, folder: ResourcePath, ends_with_nul: bool) -> Input<R> {
        Input {
            lines: Lines::new(reader, if ends_with_nul { 0 } else { b'\n' }),
            folder,
            ends_with_nul,
            format: None,
            signed: Signed::default(),
            sfv: None,
            held: VecDeque::new(),
        }
    }

    fn next_line(&mut self) -> Option<Result<NumberedLine, InputError>> {
        while self.format.is_none() {
            let line = self.next_read();
            let is_sfv_comment = |line: &NumberedLine| line.bytes.starts_with(b";");
            let may_wait = self.held.len() < HELD_LINES_MAX && !self.ends_with_nul;
            let may_be_comment = |line: &[u8]| line.starts_with(b"#") || line.starts_with(b";");
            self.format = match &line {
                // A comment of a list of checksums, or a name: what follows tells.
                Some(Ok(line)) if may_be_comment(&line.bytes) && may_wait => None,
                Some(Ok(line)) => match Format::of(&line.bytes, self.ends_with_nul) {
                    Ok(Format::Names) if self.may_be_sfv(line) => {
                        (!may_wait).then_some(Format::Names)
                    }
                    Ok(format) => Some(self.sfv.take().map_or(format, |_| Format::Names)),
                    Err(algorithm) => return Some(Err(self.refuse(line.number, algorithm))),
                },
                Some(Err(InputError::Line { .. })) if may_wait => None,
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

    /// Whether a line may be one of SFV, which is noted.
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

    fn refuse(&mut self, number: u64, algorithm: String) -> InputError {
        self.end(InputError::OtherAlgorithm { number, algorithm })
    }

    /// The next line without what a signature has around it.
    fn next_read(&mut self) -> Option<Result<NumberedLine, InputError>> {
        loop {
            let line = match self.lines.next() {
                Some(Ok(line)) if !self.ends_with_nul => line,
                None => return self.signed.end(self.lines.number()).err().map(Err),
                other => return other,
            };
            match self.signed.take_off(line) {
                Ok(None) => {}
                Ok(Some(line)) => return Some(Ok(line)),
                Err(error) => return Some(Err(self.end(error))),
            }
        }
    }

    /// Nothing else is read, for this reason.
    fn end(&mut self, reason: InputError) -> InputError {
        self.held.clear();
        self.lines.stop();
        self.format = Some(Format::Names);
        self.signed = Signed::default();
        reason
    }
}

impl<R: BufRead> Iterator for Input<R> {
    type Item = Result<Wanted, InputError>;

    fn next(&mut self) -> Option<Result<Wanted, InputError>> {
        loop {
            let line = match self.next_line()? {
                Ok(line) => line,
                Err(error) => return Some(Err(error)),
            };
            // It is known once there is a line.
            let format = self.format.unwrap_or(Format::Names);
            let read = match format {
                Format::ExactMd5sum if !line.is_ended => Err(LineError::NoNul),
                _ => format.read(&line.bytes, &self.folder),
            };
            match read {
                Ok(None) => {}
                Ok(Some(wanted)) => return Some(Ok(wanted)),
                Err(problem) => {
                    let number = line.number;
                    return Some(Err(InputError::Line { number, problem }));
                }
            }
        }
    }
}

/// Why a list that is no file does not go on.
pub(super) const UNWRITTEN: &str = "a list is not written";
/// Lines that may begin with `#` before one tells the format.
const HELD_LINES_MAX: usize = 100;
const GRACE: Duration = Duration::from_millis(200);
const BUFFER_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests;

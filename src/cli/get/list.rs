//! `ftget --list`: prints the entries of directories instead of downloading them.

use std::cell::Cell;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::time::Instant;

use super::args::ListStyle;
use super::command::ListOptions;
use super::failure::{Failures, classify, sentence};
use super::filter::{Filter, Selection};
use super::mirror;
use super::wording::{self, Message, Source};
use crate::cli::activity::Activity;
use crate::cli::failure::report_unwritable;
use crate::cli::terminal::{print_line, standard_output, visible_json};
use crate::cli::{ExitCode, visible};
use crate::client::{
    ClientConfig, ClientError, Event, Folder, Listing, ServerRefusal, StreamDownload, stream_to,
};
use crate::wire::{ErrorCode, ErrorReply, ListEntry, ObjectKind, ResourcePath, Timestamp};

/// Prints the listings one after the other. Returns the exit code of all.
pub(super) fn list(options: &ListOptions) -> ExitCode {
    let mut lister = Lister {
        style: options.style,
        is_terminal: io::stdout().is_terminal(),
        output: BufWriter::with_capacity(OUTPUT_BYTES, standard_output()),
        verbose: options.verbose,
        quiet: options.quiet,
        filter: &options.filter,
        failures: Failures::default(),
    };
    for (directory, selection) in &options.directories {
        match lister.show(directory, selection, &options.config) {
            Ok(()) => {}
            Err(ClientError::Output(error)) => {
                // Standard output is gone, so the other listings cannot be printed either.
                lister.failures.add(report_unwritable("ftget", &error));
                break;
            }
            Err(error) => lister.fail(directory, &directory.path, &error),
        }
    }
    lister.failures.code()
}

struct Lister<'a, W: Write> {
    style: ListStyle,
    /// Names are escaped: no byte of a peer may control the terminal.
    is_terminal: bool,
    output: W,
    verbose: bool,
    quiet: bool,
    filter: &'a Filter,
    failures: Failures,
}

impl<W: Write> Lister<'_, W> {
    fn show(
        &mut self,
        directory: &Folder,
        selection: &Selection,
        config: &ClientConfig,
    ) -> Result<(), ClientError> {
        let started = Instant::now();
        let mut listing = Listing::new(directory.clone(), config);
        let (verbose, quiet) = (self.verbose, self.quiet);
        let activity = Cell::new(Activity::alone("waiting for the server", quiet));
        let mut on_event = |event: Event<'_>| {
            activity.take();
            if let Event::Retrying { error, pause, .. } = event
                && (verbose || pause >= wording::REPORTED_PAUSE_MIN && !quiet)
            {
                let seconds = pause.as_secs_f64();
                print_line(&format!(
                    "ftget: note: {}; retrying in {seconds:.1} s",
                    sentence(error)
                ));
            }
        };
        let (mut hidden, mut is_found) = (0_u64, false);
        while let Some(page) = listing.next_page(&mut on_event)? {
            activity.take();
            hidden = hidden.saturating_add(page.hidden);
            for entry in &page.entries {
                let name = name_below(&directory.path, &entry.path);
                let is_directory = entry.kind == ObjectKind::Directory;
                if !selection.admits(name, is_directory) {
                    continue;
                }
                is_found = true;
                if !self.filter.admits(name, is_directory) {
                    continue;
                }
                self.write(directory, entry).map_err(output_error)?;
                if let Some(error) = &entry.error {
                    self.take_failure(directory, entry, error);
                }
            }
            // A reader of the pipe gets each page as soon as it arrives.
            self.output.flush().map_err(output_error)?;
        }
        if let Some(pattern) = selection.written().filter(|_| !is_found) {
            let (source, pattern) = (source(directory, &directory.path), visible(pattern));
            let sentence = format!("{source}: nothing matches {pattern}");
            print_line(&wording::failure(&sentence, false));
            self.failures.add(ExitCode::NotFound);
        }
        let is_root = directory.path.as_bytes().is_empty() && !directory.recursive;
        if is_root && selection.written().is_none() && self.style != ListStyle::Md5sum {
            drop(listing);
            self.show_commands(directory, &mirror::after(started.elapsed(), config))?;
        }
        if hidden > 0 && !self.quiet {
            print_line(&wording::note(&wording::hidden(hidden), false));
        }
        Ok(())
    }

    /// Prints the names of the published commands. A server without commands, or without a list of
    /// them, refuses the request. No error is a failure of the listing.
    fn show_commands(
        &mut self,
        directory: &Folder,
        config: &ClientConfig,
    ) -> Result<(), ClientError> {
        let names = StreamDownload {
            address: directory.address.clone(),
            path: directory.path.clone(),
            is_command: true,
            want_md5: None,
            spool: None,
        };
        let mut lines = NameLines(Vec::new());
        if let Err(error) = stream_to(&names, config, &mut lines, &mut |_| {}) {
            let is_none = |refusal: &ServerRefusal| {
                let codes = [
                    ErrorCode::NotFound,
                    ErrorCode::Unsupported,
                    ErrorCode::BadRequest,
                ];
                refusal.code.is_some_and(|code| codes.contains(&code))
            };
            if !matches!(&error, ClientError::Refused(refusal) if is_none(refusal)) && !self.quiet {
                let note = format!("names of commands are not known: {}", sentence(&error));
                print_line(&wording::note(&note, false));
            }
            return Ok(());
        }
        for name in lines.0.split(|&byte| byte == b'\n') {
            let is_end = name.is_empty();
            let name = [b"@", name].concat();
            if !is_end && self.filter.admits(&name, false) {
                self.write_command(&name).map_err(output_error)?;
            }
        }
        self.output.flush().map_err(output_error)
    }

    fn write_command(&mut self, name: &[u8]) -> io::Result<()> {
        match self.style {
            ListStyle::Json => {
                let filename = String::from_utf8_lossy(name);
                let line = serde_json::json!({ "filename": filename, "type": "command" });
                self.output
                    .write_all(visible_json(&line.to_string()).as_bytes())?;
            }
            ListStyle::Long => {
                write!(self.output, "{:<10} {:>12} {:<19} ", "command", "-", "-")?;
                self.write_name(name, "")?;
            }
            ListStyle::Short | ListStyle::Md5sum => self.write_name(name, "")?,
        }
        self.output.write_all(b"\n")
    }

    fn write(&mut self, directory: &Folder, entry: &ListEntry<'_>) -> io::Result<()> {
        let name = name_below(&directory.path, &entry.path);
        match self.style {
            ListStyle::Json => {
                let mut line = Vec::new();
                entry.encode(&mut line);
                let line = String::from_utf8_lossy(&line);
                self.output
                    .write_all(visible_json(line.trim_end()).as_bytes())?;
            }
            ListStyle::Md5sum => match entry.md5 {
                Some(md5) if entry.kind == ObjectKind::File => {
                    let (mark, name) = escaped(name);
                    write!(self.output, "{mark}{md5}  ")?;
                    self.write_safe(&name)?;
                }
                _ => return Ok(()),
            },
            ListStyle::Short => self.write_name(name, mark(entry.kind))?,
            ListStyle::Long => {
                let mtime = entry.mtime.and_then(Timestamp::to_text);
                let mtime = mtime.as_ref().map_or("-", |text| seconds_of(text));
                let (letters, size) = (letters(entry), entry.total_size);
                write!(self.output, "{letters} {size:>12} {mtime:<19} ")?;
                self.write_name(name, mark(entry.kind))?;
                if let Some(target) = &entry.target {
                    self.output.write_all(b" -> ")?;
                    self.write_name(target, "")?;
                }
            }
        }
        self.output.write_all(b"\n")
    }

    /// Writes each name in one line, and different names differently. The mark of an escaped name
    /// is for programs, so a terminal does not get it.
    fn write_name(&mut self, name: &[u8], ending: &str) -> io::Result<()> {
        let (mark, name) = escaped(name);
        if !self.is_terminal {
            self.output.write_all(mark.as_bytes())?;
        }
        self.write_safe(&name)?;
        self.output.write_all(ending.as_bytes())
    }

    fn write_safe(&mut self, escaped: &[u8]) -> io::Result<()> {
        if self.is_terminal {
            return self.output.write_all(visible(escaped).as_bytes());
        }
        self.output.write_all(escaped)
    }

    fn take_failure(&mut self, directory: &Folder, entry: &ListEntry<'_>, error: &ErrorReply<'_>) {
        let refusal = ServerRefusal {
            code: ErrorCode::parse(&error.code),
            spelling: error.code.to_string(),
            message: error.message.to_string(),
            retry_after: None,
        };
        let error = ClientError::from(refusal);
        // Part of a page may be in the buffer: print it before the error, to keep their order.
        let _ = self.output.flush();
        self.fail(directory, &entry.path, &error);
    }

    fn fail(&mut self, directory: &Folder, path: &ResourcePath, error: &ClientError) {
        self.failures.add(classify(error).0);
        print_line(&Message::of(source(directory, path), error).text(false));
    }
}

fn source<'a>(directory: &'a Folder, path: &'a ResourcePath) -> Source<'a> {
    Source {
        address: &directory.address,
        path,
        is_command: false,
    }
}

/// The path of an entry below the listed directory. If the source is a file, its last part.
pub(super) fn name_below<'a>(directory: &ResourcePath, path: &'a ResourcePath) -> &'a [u8] {
    let bytes = path.as_bytes();
    if path == directory {
        return path.file_name().unwrap_or(bytes);
    }
    let below = bytes.strip_prefix(directory.as_bytes()).unwrap_or(bytes);
    below.strip_prefix(b"/").unwrap_or(below)
}

/// The mark and the name as md5sum(1) writes them. A line feed, a carriage return or a backslash
/// becomes two characters, and then the mark is a backslash before the line.
fn escaped(name: &[u8]) -> (&'static str, Vec<u8>) {
    let mut written = Vec::with_capacity(name.len());
    for &byte in name {
        match byte {
            b'\n' => written.extend_from_slice(b"\\n"),
            b'\r' => written.extend_from_slice(b"\\r"),
            b'\\' => written.extend_from_slice(b"\\\\"),
            byte => written.push(byte),
        }
    }
    let mark = if written.len() > name.len() { "\\" } else { "" };
    (mark, written)
}

/// The names of commands, as far as they are few.
struct NameLines(Vec<u8>);

impl Write for NameLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > COMMANDS_BYTES_MAX {
            return Err(io::Error::other("server sends too many names of commands"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Kind and permissions, as at the start of a line of `ls -l`.
fn letters(entry: &ListEntry<'_>) -> String {
    let kind = match entry.kind {
        ObjectKind::File => '-',
        ObjectKind::Directory => 'd',
        ObjectKind::Symlink => 'l',
        ObjectKind::Other => '?',
    };
    let bit = |at: u32| match entry.mode {
        None => '?',
        Some(mode) if mode >> at & 1 == 1 => ['x', 'w', 'r'][at as usize % 3],
        Some(_) => '-',
    };
    std::iter::once(kind).chain((0..9).rev().map(bit)).collect()
}

fn mark(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Directory => "/",
        ObjectKind::File | ObjectKind::Symlink | ObjectKind::Other => "",
    }
}

/// The date and the time, without fraction and zone.
fn seconds_of(text: &[u8; 30]) -> &str {
    std::str::from_utf8(&text[..19]).unwrap_or("-")
}

fn output_error(error: io::Error) -> ClientError {
    ClientError::Output(error.into())
}

const OUTPUT_BYTES: usize = 64 * 1024;
const COMMANDS_BYTES_MAX: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &[u8]) -> ResourcePath {
        ResourcePath::parse(name).unwrap()
    }

    #[test]
    fn names_are_relative_to_the_listed_directory() {
        for (directory, name, below) in [
            (&b""[..], &b"a/b"[..], &b"a/b"[..]),
            (b"a", b"a/b", b"b"),
            (b"a/b", b"a/b/c/d", b"c/d"),
            (b"a/b.txt", b"a/b.txt", b"b.txt"),
        ] {
            assert_eq!(name_below(&path(directory), &path(name)), below);
        }
    }

    #[test]
    fn names_that_would_break_a_line_are_marked() {
        assert_eq!(escaped(b"plain \xff"), ("", b"plain \xff".to_vec()));
        assert_eq!(escaped(b"a\nb\\c\rd"), ("\\", b"a\\nb\\\\c\\rd".to_vec()));
    }
}

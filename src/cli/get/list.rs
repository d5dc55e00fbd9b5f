//! `ftget --list`: what is there, shown instead of fetched.

use std::io::{self, BufWriter, IsTerminal, Write};

use super::arguments::ListStyle;
use super::failure::{Failures, classify, sentence};
use super::filter::{Filter, Selection};
use super::meaning::ListOrder;
use super::wording::{self, Message, Source};
use crate::cli::failure::unwritten;
use crate::cli::terminal::{standard_output, tell, visible_json};
use crate::cli::{ExitCode, visible};
use crate::client::{ClientConfig, ClientError, Event, Folder, Listing, Pour, ServerRefusal, pour};
use crate::wire::{ErrorCode, ErrorReply, ListEntry, ObjectKind, ResourcePath, Timestamp};

/// Shows every listing, one after the other, and says how it all ended.
pub(super) fn list(order: &ListOrder) -> ExitCode {
    let mut lister = Lister {
        style: order.style,
        is_terminal: io::stdout().is_terminal(),
        output: BufWriter::with_capacity(OUTPUT_BYTES, standard_output()),
        verbose: order.verbose,
        quiet: order.quiet,
        filter: &order.filter,
        failures: Failures::default(),
    };
    for (folder, selection) in &order.folders {
        match lister.show(folder, selection, &order.config) {
            Ok(()) => {}
            Err(ClientError::Output(error)) => {
                // What comes next could not be shown either.
                lister.failures.add(unwritten("ftget", &error));
                break;
            }
            Err(error) => lister.fail(folder, &folder.path, &error),
        }
    }
    lister.failures.code()
}

struct Lister<'a, W: Write> {
    style: ListStyle,
    /// A person reads it, and nothing may act on what shows it.
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
        folder: &Folder,
        selection: &Selection,
        config: &ClientConfig,
    ) -> Result<(), ClientError> {
        let mut listing = Listing::new(folder.clone(), config);
        let (verbose, quiet) = (self.verbose, self.quiet);
        let mut on_event = |event: Event<'_>| {
            if let Event::Retrying { error, pause, .. } = event
                && (verbose || pause >= wording::TOLD_PAUSE_MIN && !quiet)
            {
                let seconds = pause.as_secs_f64();
                tell(&format!(
                    "ftget: note: {}; retrying in {seconds:.1} s",
                    sentence(error)
                ));
            }
        };
        let (mut hidden, mut is_found) = (0_u64, false);
        while let Some(page) = listing.next_page(&mut on_event)? {
            hidden = hidden.saturating_add(page.hidden);
            for entry in &page.entries {
                let name = name_below(&folder.path, &entry.path);
                let is_folder = entry.kind == ObjectKind::Directory;
                if !selection.admits(name, is_folder) {
                    continue;
                }
                is_found = true;
                if !self.filter.admits(name, is_folder) {
                    continue;
                }
                self.write(folder, entry).map_err(output_error)?;
                if let Some(error) = &entry.error {
                    self.take_failure(folder, entry, error);
                }
            }
            // Whoever reads along sees a page when it is there.
            self.output.flush().map_err(output_error)?;
        }
        if let Some(pattern) = selection.written().filter(|_| !is_found) {
            let (source, pattern) = (source(folder, &folder.path), visible(pattern));
            let sentence = format!("{source}: nothing matches {pattern}");
            tell(&wording::failure(&sentence, false));
            self.failures.add(ExitCode::NotFound);
        }
        let is_root = folder.path.as_bytes().is_empty() && !folder.recursive;
        if is_root && selection.written().is_none() && self.style != ListStyle::Md5sum {
            self.show_commands(folder, config)?;
        }
        if hidden > 0 && !self.quiet {
            tell(&wording::note(&wording::hidden(hidden), false));
        }
        Ok(())
    }

    /// Prints the names of the published commands. A server that publishes none, or that knows
    /// no list of them, refuses the request, and that is no failure of the listing.
    fn show_commands(&mut self, folder: &Folder, config: &ClientConfig) -> Result<(), ClientError> {
        let names = Pour {
            address: folder.address.clone(),
            path: folder.path.clone(),
            is_command: true,
            want_md5: None,
            spool: None,
        };
        let mut lines = Vec::new();
        if let Err(error) = pour(&names, config, &mut lines, &mut |_| {}) {
            return match error {
                ClientError::Refused(_) => Ok(()),
                error => Err(error),
            };
        }
        for name in lines.split(|&byte| byte == b'\n') {
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

    fn write(&mut self, folder: &Folder, entry: &ListEntry<'_>) -> io::Result<()> {
        let name = name_below(&folder.path, &entry.path);
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

    /// Different names are written differently, and each in one line. On a terminal none needs
    /// the mark that tells programs that it is escaped.
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

    fn take_failure(&mut self, folder: &Folder, entry: &ListEntry<'_>, error: &ErrorReply<'_>) {
        let refusal = ServerRefusal {
            code: ErrorCode::parse(&error.code),
            spelling: error.code.to_string(),
            message: error.message.to_string(),
            retry_after: None,
        };
        let error = ClientError::from(refusal);
        // A page may be waiting in the buffer: lines and complaints come in their order.
        let _ = self.output.flush();
        self.fail(folder, &entry.path, &error);
    }

    fn fail(&mut self, folder: &Folder, path: &ResourcePath, error: &ClientError) {
        self.failures.add(classify(error).0);
        tell(&Message::of(source(folder, path), error).text(false));
    }
}

fn source<'a>(folder: &'a Folder, path: &'a ResourcePath) -> Source<'a> {
    Source {
        address: &folder.address,
        path,
        is_command: false,
    }
}

/// The name as a program in the folder would use it; the last part for a file by itself.
pub(super) fn name_below<'a>(folder: &ResourcePath, path: &'a ResourcePath) -> &'a [u8] {
    let bytes = path.as_bytes();
    if path == folder {
        return path.file_name().unwrap_or(bytes);
    }
    let below = bytes.strip_prefix(folder.as_bytes()).unwrap_or(bytes);
    below.strip_prefix(b"/").unwrap_or(below)
}

/// A name in a line, as md5sum(1) writes and reads it: with a mark before the line if it
/// holds a line feed, a carriage return or a backslash, which are written as two characters.
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

/// As `ls -l` begins a line.
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

/// A time without its fraction.
fn seconds_of(text: &[u8; 30]) -> &str {
    std::str::from_utf8(&text[..19]).unwrap_or("-")
}

fn output_error(error: io::Error) -> ClientError {
    ClientError::Output(error.into())
}

const OUTPUT_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &[u8]) -> ResourcePath {
        ResourcePath::parse(name).unwrap()
    }

    #[test]
    fn names_are_those_below_the_folder() {
        for (folder, name, below) in [
            (&b""[..], &b"a/b"[..], &b"a/b"[..]),
            (b"a", b"a/b", b"b"),
            (b"a/b", b"a/b/c/d", b"c/d"),
            (b"a/b.txt", b"a/b.txt", b"b.txt"),
        ] {
            assert_eq!(name_below(&path(folder), &path(name)), below);
        }
    }

    #[test]
    fn names_that_would_break_a_line_are_marked() {
        assert_eq!(escaped(b"plain \xff"), ("", b"plain \xff".to_vec()));
        assert_eq!(escaped(b"a\nb\\c\rd"), ("\\", b"a\\nb\\\\c\\rd".to_vec()));
    }
}

//! A configuration file: TOML with the names of options as keys.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{ArgAction, Command};
use rustix::event::PollFlags;
use rustix::fs::OFlags;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{is_setting, name_of};
use crate::cli::blocking::is_ready;
use crate::cli::streams::descriptor;
use crate::cli::terminal::shown;
use crate::cli::visible;

/// The content of a configuration file.
pub(in crate::cli) struct ConfigFile {
    entries: BTreeMap<String, ConfigEntry>,
}

/// The value of one key.
pub(super) struct ConfigEntry {
    pub(super) words: Vec<String>,
    /// `FILE:LINE`.
    pub(super) place: String,
}

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum ConfigError {
    /// The file cannot be read.
    #[error("configuration {} cannot be read", shown(.path))]
    Unreadable { path: PathBuf, source: io::Error },
    /// The file has an error in this line.
    #[error("{place}: {reason}")]
    Wrong { place: String, reason: String },
}

impl ConfigFile {
    /// Reads a file whose keys are options of this command.
    pub(in crate::cli) fn read(path: &Path, command: &Command) -> Result<ConfigFile, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let bytes = read_all(path).map_err(unreadable)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| unreadable(io::Error::other("it is not UTF-8")))?;
        ConfigFile::parse(&text, path, command)
    }

    fn parse(text: &str, path: &Path, command: &Command) -> Result<ConfigFile, ConfigError> {
        let wrong = |at: usize, reason: String| {
            let line = text.as_bytes()[..at.min(text.len())]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count()
                + 1;
            let place = format!("{}:{line}", shown(path));
            ConfigError::Wrong { place, reason }
        };
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            wrong(at, error.message().trim().to_owned())
        })?;
        let mut entries = BTreeMap::new();
        for (key, value) in table.into_inner() {
            let (at, key) = (key.span().start, key.into_inner().into_owned());
            let place = wrong(at, String::new());
            let arg = command
                .get_arguments()
                .find(|arg| is_setting(arg) && name_of(arg) == key && key != "config");
            let Some(arg) = arg else {
                return Err(wrong(at, unknown(&key, command)));
            };
            let is_switch = matches!(arg.get_action(), ArgAction::SetTrue);
            let is_list = matches!(arg.get_action(), ArgAction::Append);
            let words = words_of(&value, is_switch, is_list).ok_or_else(|| {
                wrong(
                    at,
                    format!("{key} must be {}", expected(is_switch, is_list)),
                )
            })?;
            if words.is_empty() {
                return Err(wrong(at, format!("{key} is an empty array; leave it out")));
            }
            let ConfigError::Wrong { place, .. } = place else {
                continue;
            };
            entries.insert(key, ConfigEntry { words, place });
        }
        Ok(ConfigFile { entries })
    }

    /// The value of an option, by its name.
    pub(super) fn find(&self, name: &str) -> Option<&ConfigEntry> {
        self.entries.get(name)
    }
}

/// Reads a file, or a pipe to its end.
fn read_all(path: &Path) -> io::Result<Vec<u8>> {
    let mut options = OpenOptions::new();
    // To open a FIFO without a writer would block for ever.
    options
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let mut file = match descriptor(path) {
        Some(stream) => stream,
        None => options.open(path)?,
    };
    let deadline = Instant::now() + READ_TIMEOUT;
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        wait_for(&file, deadline)?;
        match file.read(&mut piece) {
            Ok(0) => return Ok(bytes),
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if bytes.len() > FILE_BYTES_MAX {
            let reason = format!("file is longer than {FILE_BYTES_MAX} bytes");
            return Err(io::Error::other(reason));
        }
    }
}

/// Waits until the file has bytes or is at its end.
fn wait_for(file: &File, deadline: Instant) -> io::Result<()> {
    if is_ready(file.as_fd(), PollFlags::IN, Some(deadline))? {
        return Ok(());
    }
    let reason = format!("no data for {READ_TIMEOUT:?}");
    Err(io::Error::new(io::ErrorKind::TimedOut, reason))
}

/// The words of a value, or `None` if its type is wrong.
fn words_of(value: &Spanned<DeValue<'_>>, is_switch: bool, is_list: bool) -> Option<Vec<String>> {
    let word = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().replace('_', "")),
        DeValue::Float(number) => Some(number.as_str().replace('_', "")),
        _ => None,
    };
    match value.get_ref() {
        DeValue::Boolean(flag) if is_switch => Some(vec![flag.to_string()]),
        _ if is_switch => None,
        DeValue::Array(items) if is_list => items.iter().map(|item| word(item.get_ref())).collect(),
        value => word(value).map(|word| vec![word]),
    }
}

fn expected(is_switch: bool, is_list: bool) -> &'static str {
    match (is_switch, is_list) {
        (true, _) => "true or false",
        (false, true) => "a string, a number, or an array of these",
        (false, false) => "a string or a number",
    }
}

fn unknown(key: &str, command: &Command) -> String {
    if key == "config" {
        return "config names this file, and cannot be set in it".to_owned();
    }
    let names = command
        .get_arguments()
        .filter(|arg| is_setting(arg))
        .map(name_of)
        .filter(|name| name != "config");
    let close = names
        .map(|name| (distance(key, &name), name))
        .min()
        .filter(|(distance, _)| *distance <= 3);
    let key = visible(key.as_bytes());
    match close {
        Some((_, name)) => format!("{key} is not an option; is it {name}?"),
        None => format!("{key} is not an option; see ftserve --help"),
    }
}

/// The edit distance of two words, in letters.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, letter) in one.chars().take(64).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], above + 1);
        for at in 0..other.len() {
            let changed = diagonal + usize::from(letter != other[at]);
            diagonal = row[at + 1];
            row[at + 1] = changed.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

const FILE_BYTES_MAX: usize = 1 << 20;
/// For the whole content of a pipe.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

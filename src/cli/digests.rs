//! Where digests are remembered: what `--index` means, and what is said about the file.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::failure::sentence;
use crate::cli::terminal::{shown, tell};
use crate::store::{DigestIndex, FileIndex, IndexEvent, MemoryIndex, NoIndex};

/// What `--index` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum IndexChoice {
    /// In this file.
    File(PathBuf),
    /// As long as the program runs.
    Memory,
    /// Not at all.
    Off,
}

impl IndexChoice {
    /// What was typed; if nothing was, a file in the user's cache folder. Without a home
    /// there is no such folder, and memory does.
    pub(super) fn from_typed(typed: Option<OsString>) -> IndexChoice {
        match typed {
            Some(word) if word == "memory" => IndexChoice::Memory,
            Some(word) if word == "off" => IndexChoice::Off,
            Some(path) => IndexChoice::File(path.into()),
            None => {
                let folder = cache_folder(env::var_os("XDG_CACHE_HOME"), env::var_os("HOME"));
                folder.map_or(IndexChoice::Memory, |folder| {
                    IndexChoice::File(folder.join(FILE_BELOW_CACHE))
                })
            }
        }
    }

    /// The files that there are of it while it is open.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        match self {
            IndexChoice::File(path) => FileIndex::files(path).into(),
            IndexChoice::Memory | IndexChoice::Off => Vec::new(),
        }
    }

    /// Opens what was chosen. A file that cannot be used is said so, in the name of `program`,
    /// and memory does instead.
    pub(super) fn open(&self, program: &'static str) -> Opened {
        let path = match self {
            IndexChoice::File(path) => path,
            IndexChoice::Memory => return Opened::Other(Arc::new(MemoryIndex::new())),
            IndexChoice::Off => return Opened::Other(Arc::new(NoIndex)),
        };
        let reported = path.clone();
        match FileIndex::open(path, move |event| warn(program, &told(&reported, &event))) {
            Ok(index) => Opened::File(Arc::new(index)),
            Err(error) => {
                let index = shown(path);
                let reason = sentence(&error);
                warn(
                    program,
                    &format!("index {index} cannot be used: {reason}; {IN_MEMORY}"),
                );
                Opened::Other(Arc::new(MemoryIndex::new()))
            }
        }
    }
}

impl fmt::Display for IndexChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IndexChoice::File(path) => f.write_str(&shown(path)),
            IndexChoice::Memory => f.write_str("memory"),
            IndexChoice::Off => f.write_str("off"),
        }
    }
}

/// An index, and whether it outlives the program.
pub(super) enum Opened {
    /// It does.
    File(Arc<FileIndex>),
    /// It does not.
    Other(Arc<dyn DigestIndex>),
}

impl Opened {
    /// As those see it who look up and remember.
    pub(super) fn index(&self) -> Arc<dyn DigestIndex> {
        match self {
            Opened::File(index) => Arc::clone(index) as Arc<dyn DigestIndex>,
            Opened::Other(index) => Arc::clone(index),
        }
    }
}

/// What happened to the file of an index, in one line.
pub(super) fn told(path: &Path, event: &IndexEvent) -> String {
    let index = shown(path);
    match event {
        IndexEvent::SetAside { reason, to } => format!(
            "index {index} was {}; it is {} now, and a new one is begun",
            sentence(reason),
            shown(to)
        ),
        IndexEvent::NotWritten(error) => {
            format!(
                "index {index} cannot be written: {}; {IN_MEMORY}",
                sentence(error)
            )
        }
        IndexEvent::GivenUp(error) => {
            format!(
                "index {index} is of no use any more: {}; {IN_MEMORY}",
                sentence(error)
            )
        }
    }
}

fn warn(program: &str, text: &str) {
    tell(&format!("{program}: warning: {text}"));
}

/// The XDG base directory specification: the variable counts if it is an absolute path.
fn cache_folder(cache: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    cache
        .and_then(absolute)
        .or_else(|| Some(home.and_then(absolute)?.join(OsStr::new(".cache"))))
}

const FILE_BELOW_CACHE: &str = "ftserve/index.sqlite3";
const IN_MEMORY: &str = "digests are kept in memory";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_files_are_told_apart() {
        let typed = |word: &str| IndexChoice::from_typed(Some(word.into()));
        assert_eq!(typed("memory"), IndexChoice::Memory);
        assert_eq!(typed("off"), IndexChoice::Off);
        assert_eq!(typed("./off"), IndexChoice::File("./off".into()));
    }

    #[test]
    fn the_cache_folder_is_where_the_specification_says() {
        let folder = |cache: Option<&str>, home: Option<&str>| {
            cache_folder(cache.map(OsString::from), home.map(OsString::from))
        };
        let below_home = Some(PathBuf::from("/home/u/.cache"));
        assert_eq!(folder(Some("/c"), Some("/home/u")), Some("/c".into()));
        assert_eq!(folder(None, Some("/home/u")), below_home);
        assert_eq!(folder(Some(""), Some("/home/u")), below_home);
        assert_eq!(folder(Some("relative"), Some("/home/u")), below_home);
        assert_eq!(folder(None, Some("")), None);
        assert_eq!(folder(None, None), None);
    }
}

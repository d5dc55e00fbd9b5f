//! Where digests are kept: the values of `--index`, and the messages about the file.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::failure::sentence;
use crate::cli::terminal::{print_line, shown};
use crate::store::{DigestIndex, FileIndex, IndexEvent, MemoryIndex, NoIndex};

/// The value of `--index`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum IndexChoice {
    /// In this file.
    File(PathBuf),
    /// In this file of the user's cache directory, the default.
    Default(PathBuf),
    /// In memory, until the program ends.
    Memory,
    /// In memory, because the cache directory may belong to other users. Holds the reason.
    MemoryInstead(String),
    /// Nowhere.
    Off,
}

impl IndexChoice {
    /// Reads the option; the default is a file in the user's cache directory. Without a home
    /// directory, or in that of another user (as under sudo), digests stay in memory: nothing is
    /// created there.
    pub(super) fn from_arg(choice: Option<OsString>) -> IndexChoice {
        match choice {
            Some(word) if word == "memory" => IndexChoice::Memory,
            Some(word) if word == "off" => IndexChoice::Off,
            Some(path) => IndexChoice::File(path.into()),
            None => {
                let (cache, home) = (env::var_os("XDG_CACHE_HOME"), env::var_os("HOME"));
                match default_file(cache, home) {
                    Ok(None) => IndexChoice::Memory,
                    Ok(Some(path)) => IndexChoice::Default(path),
                    Err(reason) => IndexChoice::MemoryInstead(reason),
                }
            }
        }
    }

    /// The index file, if there is one.
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            IndexChoice::File(path) | IndexChoice::Default(path) => Some(path),
            IndexChoice::Memory | IndexChoice::MemoryInstead(_) | IndexChoice::Off => None,
        }
    }

    /// All files that SQLite has beside the index while it is open, and the index itself.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let files = self.file().map(FileIndex::files);
        files.map_or_else(Vec::new, Vec::from)
    }

    /// Opens the index. If the file cannot be used, digests stay in memory, with a warning that
    /// begins with `program`. `quiet` suppresses the warning unless the file was set by the option.
    pub(super) fn open(&self, program: &'static str, quiet: bool) -> OpenedIndex {
        let in_memory = || OpenedIndex::Other(Arc::new(MemoryIndex::new()));
        let (path, is_told) = match self {
            IndexChoice::File(path) => (path, true),
            IndexChoice::Default(path) => (path, !quiet),
            IndexChoice::Memory | IndexChoice::MemoryInstead(_) => return in_memory(),
            IndexChoice::Off => return OpenedIndex::Other(Arc::new(NoIndex)),
        };
        let warn = move |text: &str| {
            if is_told {
                print_line(&format!("{program}: warning: {text}"));
            }
        };
        let reported = path.clone();
        match FileIndex::open(path, move |event| warn(&describe(&reported, &event))) {
            Ok(index) => OpenedIndex::File(Arc::new(index)),
            Err(error) => {
                let index = shown(path);
                let reason = sentence(&error);
                warn(&format!(
                    "index {index} cannot be used: {reason}; {IN_MEMORY}"
                ));
                in_memory()
            }
        }
    }
}

impl fmt::Display for IndexChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IndexChoice::File(path) | IndexChoice::Default(path) => f.write_str(&shown(path)),
            IndexChoice::Memory => f.write_str("memory"),
            IndexChoice::MemoryInstead(reason) => write!(f, "memory, since {reason}"),
            IndexChoice::Off => f.write_str("off"),
        }
    }
}

/// An open index.
pub(super) enum OpenedIndex {
    /// Outlives the program.
    File(Arc<FileIndex>),
    /// Lives in memory, or nowhere.
    Other(Arc<dyn DigestIndex>),
}

impl OpenedIndex {
    pub(super) fn index(&self) -> Arc<dyn DigestIndex> {
        match self {
            OpenedIndex::File(index) => Arc::clone(index) as Arc<dyn DigestIndex>,
            OpenedIndex::Other(index) => Arc::clone(index),
        }
    }
}

/// One line about an event of the index file.
pub(super) fn describe(path: &Path, event: &IndexEvent) -> String {
    let index = shown(path);
    match event {
        IndexEvent::SetAside { reason, to } => format!(
            "index {index} was {}; it is {} now, and a new one is created",
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
            format!("index {index} failed: {}; {IN_MEMORY}", sentence(error))
        }
    }
}

/// The index file in the user's cache directory, `None` without a home directory.
///
/// # Errors
/// The reason why that directory must not be used.
fn default_file(
    cache: Option<OsString>,
    home: Option<OsString>,
) -> Result<Option<PathBuf>, String> {
    let Some((top, cache)) = cache_directory(cache, home) else {
        return Ok(None);
    };
    if top != cache && fs::metadata(&top).is_err() {
        // A missing home directory is never created.
        return Err(format!("home directory {} cannot be used", shown(&top)));
    }
    let path = cache.join(FILE_BELOW_CACHE);
    for at in path.ancestors() {
        let Ok(facts) = fs::metadata(at) else {
            continue;
        };
        check_owner(at, &facts)?;
        if top.starts_with(at) {
            break;
        }
    }
    Ok(Some(path))
}

/// Refuses a directory that belongs to another user, or in which others can replace the index.
fn check_owner(at: &Path, facts: &Metadata) -> Result<(), String> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    if facts.uid() != uid.as_raw() {
        return Err(format!("{} belongs to another user", shown(at)));
    }
    // In a sticky directory such as /tmp only the owner can replace a file. A group with the
    // program's own number is usually the user's private group.
    let writers = match facts.gid() == gid.as_raw() {
        true => WRITABLE_BY_OTHERS,
        false => WRITABLE_BY_OTHERS | WRITABLE_BY_GROUP,
    };
    if facts.mode() & writers != 0 && facts.mode() & STICKY == 0 {
        return Err(format!("other users can write {}", shown(at)));
    }
    Ok(())
}

/// The directory that must exist (`XDG_CACHE_HOME` may also be created), and the cache directory.
/// The XDG base directory specification ignores a variable that is not an absolute path.
fn cache_directory(cache: Option<OsString>, home: Option<OsString>) -> Option<(PathBuf, PathBuf)> {
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    if let Some(cache) = cache.and_then(absolute) {
        return Some((cache.clone(), cache));
    }
    let home = home.and_then(absolute)?;
    Some((home.clone(), home.join(OsStr::new(".cache"))))
}

const FILE_BELOW_CACHE: &str = "ftserve/index.sqlite3";
const IN_MEMORY: &str = "digests are kept in memory";
const WRITABLE_BY_OTHERS: u32 = 0o002;
const WRITABLE_BY_GROUP: u32 = 0o020;
const STICKY: u32 = 0o1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_files_are_distinguished() {
        let parsed = |word: &str| IndexChoice::from_arg(Some(word.into()));
        assert_eq!(parsed("memory"), IndexChoice::Memory);
        assert_eq!(parsed("off"), IndexChoice::Off);
        assert_eq!(parsed("./off"), IndexChoice::File("./off".into()));
    }

    #[test]
    fn the_cache_directory_follows_the_xdg_specification() {
        let directory = |cache: Option<&str>, home: Option<&str>| {
            let found = cache_directory(cache.map(OsString::from), home.map(OsString::from));
            found.map(|(_, cache)| cache)
        };
        let below_home = Some(PathBuf::from("/home/u/.cache"));
        assert_eq!(directory(Some("/c"), Some("/home/u")), Some("/c".into()));
        assert_eq!(directory(None, Some("/home/u")), below_home);
        assert_eq!(directory(Some(""), Some("/home/u")), below_home);
        assert_eq!(directory(Some("relative"), Some("/home/u")), below_home);
        assert_eq!(directory(None, Some("")), None);
        assert_eq!(directory(None, None), None);
    }
}

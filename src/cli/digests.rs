//! Where digests are remembered: what `--index` means, and what is said about the file.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
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
    /// In this file of the user's cache directory, since nothing was typed.
    Default(PathBuf),
    /// As long as the program runs.
    Memory,
    /// In memory, since the cache directory is not this user's alone; the reason.
    NoPlace(String),
    /// Not at all.
    Off,
}

impl IndexChoice {
    /// The typed choice; by default a file in the user's cache directory. Without a home, or in
    /// one of another user, as sudo leaves it, memory serves: nothing is made there.
    pub(super) fn from_typed(typed: Option<OsString>) -> IndexChoice {
        match typed {
            Some(word) if word == "memory" => IndexChoice::Memory,
            Some(word) if word == "off" => IndexChoice::Off,
            Some(path) => IndexChoice::File(path.into()),
            None => {
                let (cache, home) = (env::var_os("XDG_CACHE_HOME"), env::var_os("HOME"));
                match default_file(cache, home) {
                    Ok(None) => IndexChoice::Memory,
                    Ok(Some(path)) => IndexChoice::Default(path),
                    Err(reason) => IndexChoice::NoPlace(reason),
                }
            }
        }
    }

    /// The file that digests are kept in.
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            IndexChoice::File(path) | IndexChoice::Default(path) => Some(path),
            IndexChoice::Memory | IndexChoice::NoPlace(_) | IndexChoice::Off => None,
        }
    }

    /// The files that there are of it while it is open.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let files = self.file().map(FileIndex::files);
        files.map_or_else(Vec::new, Vec::from)
    }

    /// Opens what was chosen. Memory does instead of a file that cannot be used, and a warning in
    /// the name of `program` says so; if it is `quiet`, only of a file that was typed.
    pub(super) fn open(&self, program: &'static str, quiet: bool) -> Opened {
        let in_memory = || Opened::Other(Arc::new(MemoryIndex::new()));
        let (path, is_told) = match self {
            IndexChoice::File(path) => (path, true),
            IndexChoice::Default(path) => (path, !quiet),
            IndexChoice::Memory | IndexChoice::NoPlace(_) => return in_memory(),
            IndexChoice::Off => return Opened::Other(Arc::new(NoIndex)),
        };
        let warn = move |text: &str| {
            if is_told {
                tell(&format!("{program}: warning: {text}"));
            }
        };
        let reported = path.clone();
        match FileIndex::open(path, move |event| warn(&told(&reported, &event))) {
            Ok(index) => Opened::File(Arc::new(index)),
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
            IndexChoice::NoPlace(reason) => write!(f, "memory, since {reason}"),
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

/// The index in the user's cache directory if there is a home, or why it is not used.
fn default_file(
    cache: Option<OsString>,
    home: Option<OsString>,
) -> Result<Option<PathBuf>, String> {
    let Some((top, cache)) = cache_directory(cache, home) else {
        return Ok(None);
    };
    if top != cache && fs::metadata(&top).is_err() {
        // No program makes a home.
        return Err(format!("the home {} cannot be used", shown(&top)));
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

/// Nothing is made in directories of others, or where others could replace it.
fn check_owner(at: &Path, facts: &Metadata) -> Result<(), String> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    if facts.uid() != uid.as_raw() {
        return Err(format!("{} belongs to another user", shown(at)));
    }
    // In a sticky directory, such as /tmp, only owners replace what is theirs. A group of the
    // same number as the program's is mostly the user's own.
    let writers = match facts.gid() == gid.as_raw() {
        true => WRITABLE_BY_OTHERS,
        false => WRITABLE_BY_OTHERS | WRITABLE_BY_GROUP,
    };
    if facts.mode() & writers != 0 && facts.mode() & STICKY == 0 {
        return Err(format!("other users can write {}", shown(at)));
    }
    Ok(())
}

/// The directory that must be there or, for `XDG_CACHE_HOME`, may be made; and the one for caches.
/// The XDG base directory specification: a variable counts if it is an absolute path.
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
    fn words_and_files_are_told_apart() {
        let typed = |word: &str| IndexChoice::from_typed(Some(word.into()));
        assert_eq!(typed("memory"), IndexChoice::Memory);
        assert_eq!(typed("off"), IndexChoice::Off);
        assert_eq!(typed("./off"), IndexChoice::File("./off".into()));
    }

    #[test]
    fn the_cache_folder_is_where_the_specification_says() {
        let folder = |cache: Option<&str>, home: Option<&str>| {
            let found = cache_directory(cache.map(OsString::from), home.map(OsString::from));
            found.map(|(_, cache)| cache)
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

//! The location of an index: its directory, the lock for opening it and setting it aside, and the
//! three files of SQLite.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use super::IndexError;
use super::database::APPLICATION_ID;
use super::locks::{Inode, identity};
use super::owner::{check_directory, check_file, check_open};

/// The location of an index.
pub(super) struct IndexLocation {
    file: PathBuf,
}

impl IndexLocation {
    /// Makes the directory if it is missing, for its owner alone, and checks the file if there is
    /// one. Opens nothing.
    pub(super) fn make(path: &Path) -> Result<IndexLocation, IndexError> {
        let path = match path.canonicalize() {
            Ok(path) => path,
            Err(_) => in_its_directory(path)?,
        };
        match fs::metadata(&path) {
            Ok(found) if !found.is_file() => return Err(IndexError::NotAFile),
            // A dangling link: its target cannot be created under its name.
            Err(_) if path.is_symlink() => return Err(IndexError::NotAFile),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(IndexError::Directory(error));
            }
            Ok(_) | Err(_) => {}
        }
        let location = IndexLocation { file: path };
        let directory = location.file.parent().unwrap_or(Path::new("/"));
        check_directory(directory)?;
        for file in location.open_files() {
            check_file(&file)?;
        }
        // A damaged index is set aside, but never a file of other origin that was named by mistake.
        // Every index of this program has a lock file beside it.
        if !location.is_known()? && !location.may_be_an_index()? {
            return Err(IndexError::Foreign);
        }
        let system =
            rustix::fs::statfs(directory).map_err(|error| IndexError::Directory(error.into()))?;
        // The field is of different width and sign on different architectures.
        #[allow(clippy::unnecessary_cast)]
        let magic = system.f_type as u32;
        match NETWORK_FILE_SYSTEMS
            .iter()
            .find(|(known, _)| *known == magic)
        {
            Some((_, name)) => Err(IndexError::NetworkFileSystem(name)),
            None => Ok(location),
        }
    }

    /// The file of the index.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// The file, and the log and shared-memory file that SQLite makes beside it.
    pub(super) fn files(&self) -> [PathBuf; 3] {
        SET_ASIDE.map(|suffix| beside(&self.file, suffix))
    }

    /// All files that are named after the index and open with it.
    pub(super) fn open_files(&self) -> [PathBuf; 5] {
        open_files(&self.file)
    }

    /// The files of this index that were set aside, now or earlier.
    pub(super) fn set_aside_files(&self) -> Vec<PathBuf> {
        let index = self.file.file_name().unwrap_or_default().as_bytes();
        let directory = self.file.parent().unwrap_or(Path::new("/"));
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries
            .filter(|entry| set_aside_of(entry.file_name().as_bytes()) == Some(index))
            .map(|entry| entry.path())
            .collect()
    }

    /// Whether this name had an index of this program: its empty lock file exists.
    fn is_known(&self) -> Result<bool, IndexError> {
        let lock = check_file(&self.beside(LOCK_SUFFIX))?;
        Ok(lock.is_some_and(|lock| lock.len() == 0))
    }

    /// Whether the file is a database of this program, empty or missing, and the files beside it
    /// are those of SQLite.
    fn may_be_an_index(&self) -> Result<bool, IndexError> {
        let is_log = |beginning: &[u8]| beginning.starts_with(WAL_MAGIC);
        let is_table = |beginning: &[u8]| beginning.starts_with(&SHM_VERSION.to_ne_bytes());
        let is_journal = |beginning: &[u8]| {
            beginning.starts_with(JOURNAL_MAGIC) || beginning.iter().all(|&byte| byte == 0)
        };
        let files: [(&str, IsOurs); 4] = [
            ("", begins_index),
            ("-wal", is_log),
            ("-shm", is_table),
            (JOURNAL_SUFFIX, is_journal),
        ];
        for (suffix, is_ours) in files {
            let beginning = beginning_of(&self.beside(suffix))?;
            if !beginning.is_empty() && !is_ours(&beginning) {
                return Ok(false);
            }
        }
        Ok(!self.beside(LOCK_SUFFIX).exists())
    }

    /// Keeps other programs from opening the index or setting it aside until the guard is dropped.
    /// Waits up to a second for another program.
    pub(super) fn lock(&self) -> Result<LocationLock, IndexError> {
        let path = self.beside(LOCK_SUFFIX);
        // A link here could create or lock another file.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(flags.bits().cast_signed())
            .mode(OWNER_ONLY);
        let lock = match options.open(&path) {
            Ok(lock) => lock,
            Err(error) => {
                check_file(&path)?;
                return Err(of_directory(error));
            }
        };
        check_open(&lock, &path)?;
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(LocationLock { _lock: lock }),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if Instant::now() < deadline => thread::sleep(LOCK_INTERVAL),
                Err(Errno::AGAIN) => return Err(IndexError::Locked),
                Err(error) => return Err(of_directory(error.into())),
            }
        }
    }

    /// Creates an empty file if there is none.
    pub(super) fn begin(&self, _locked: &LocationLock) -> Result<(), IndexError> {
        let mut options = OpenOptions::new();
        match options
            .write(true)
            .create_new(true)
            .mode(OWNER_ONLY)
            .open(&self.file)
        {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let found = fs::metadata(&self.file).map_err(of_directory)?;
                if found.len() > 0 {
                    return Ok(());
                }
            }
            Err(error) => return Err(of_directory(error)),
        }
        // They belong to an index that was deleted. A process that still has it open has them open,
        // too.
        for suffix in ["-wal", "-shm", JOURNAL_SUFFIX] {
            let left_over = self.beside(suffix);
            if let Ok(Some(_)) = check_file(&left_over) {
                let _ = fs::remove_file(left_over);
            }
        }
        Ok(())
    }

    /// Renames the three files, so that no process opens them as an index, and deletes those that
    /// were set aside earlier. Returns the new name of the first.
    pub(super) fn set_aside(&self, _locked: &LocationLock, seconds: u64) -> io::Result<PathBuf> {
        for earlier in self.set_aside_files() {
            let own = check_file(&earlier).ok().flatten();
            // Files of an index are private to their owner.
            if own.is_some_and(|file| file.permissions().mode() & 0o077 == 0) {
                let _ = fs::remove_file(earlier);
            }
        }
        let to = |seconds: u64, suffix| {
            self.beside(&format!(
                "{DAMAGED_INFIX}{seconds:0width$}{suffix}",
                width = SECONDS_DIGITS
            ))
        };
        let is_free = |seconds: &u64| {
            let taken = |suffix| to(*seconds, suffix).symlink_metadata().is_ok();
            !SET_ASIDE.into_iter().any(taken)
        };
        let seconds = (seconds..).find(is_free).unwrap_or(seconds);
        // Rename the log first: an index without its log is only older, but a log without its index
        // would be used with the next one.
        for (suffix, from) in SET_ASIDE.into_iter().zip(self.files()).rev() {
            match fs::rename(from, to(seconds, suffix)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(to(seconds, ""))
    }

    /// The device and inode of the file that has the name now.
    pub(super) fn inode(&self) -> Option<Inode> {
        identity(&self.file).ok()
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        beside(&self.file, suffix)
    }
}

/// Whether a file of this program may begin with these bytes.
type IsOurs = fn(&[u8]) -> bool;

/// All files that are named after an index of this name and open with it.
pub(super) fn open_files(index: &Path) -> [PathBuf; 5] {
    ["", "-wal", "-shm", JOURNAL_SUFFIX, LOCK_SUFFIX].map(|suffix| beside(index, suffix))
}

/// The name of the index, if `name` is that of a file beside one.
pub(in crate::store) fn index_beside(name: &[u8]) -> Option<&[u8]> {
    let suffixes = [LOG_SUFFIX, "-shm", JOURNAL_SUFFIX, LOCK_SUFFIX];
    let stripped = |suffix: &str| name.strip_suffix(suffix.as_bytes());
    let index = suffixes.into_iter().find_map(stripped);
    index.filter(|index| !index.is_empty() && !index.ends_with(b"/"))
}

/// Whether an open file is an index of this program, or the log of one that is empty so far.
pub(in crate::store) fn is_index(file: &File) -> io::Result<bool> {
    let mut beginning = [0; WAL_FIRST_PAGE + SQLITE_APPLICATION.end];
    let count = file.read_at(&mut beginning, 0)?;
    let beginning = &beginning[..count];
    let first_page = beginning.get(WAL_FIRST_PAGE..).unwrap_or_default();
    Ok(begins_index(beginning) || (beginning.starts_with(WAL_MAGIC) && begins_index(first_page)))
}

fn begins_index(beginning: &[u8]) -> bool {
    let application = (APPLICATION_ID as u32).to_be_bytes();
    beginning.starts_with(SQLITE_MAGIC)
        && beginning.get(SQLITE_APPLICATION) == Some(&application[..])
}

/// Whether a file of this name, in any directory, was set aside from an index.
pub(in crate::store) fn is_set_aside(name: &[u8]) -> bool {
    set_aside_of(name).is_some()
}

/// The name of the index that a file of this name was set aside from.
fn set_aside_of(name: &[u8]) -> Option<&[u8]> {
    let suffixes = SET_ASIDE.iter().rev();
    let name = suffixes
        .filter_map(|suffix| name.strip_suffix(suffix.as_bytes()))
        .next()?;
    let (before, seconds) = name.split_at_checked(name.len().checked_sub(SECONDS_DIGITS)?)?;
    let index = before.strip_suffix(DAMAGED_INFIX.as_bytes())?;
    let is_it = !index.is_empty() && seconds.iter().all(u8::is_ascii_digit);
    is_it.then_some(index)
}

fn beside(index: &Path, suffix: &str) -> PathBuf {
    let mut path = OsString::from(index);
    path.push(suffix);
    path.into()
}

/// While this exists, no other program opens the index or sets it aside.
pub(super) struct LocationLock {
    _lock: File,
}

/// The canonical path of a file that does not exist yet.
fn in_its_directory(path: &Path) -> Result<PathBuf, IndexError> {
    let name = path.file_name().ok_or(IndexError::NotAFile)?;
    let directory = match path.parent() {
        Some(directory) if directory != OsStr::new("") => directory,
        Some(_) | None => Path::new("."),
    };
    make_directories(directory)
        .and_then(|()| directory.canonicalize())
        .map(|directory| directory.join(name))
        .map_err(of_directory)
}

/// Makes the missing directories of this path, each for its owner alone regardless of the umask.
fn make_directories(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|at| *at != OsStr::new("") && !at.exists())
        .collect();
    for directory in missing.into_iter().rev() {
        match DirBuilder::new().mode(OWNERS_DIRECTORY).create(directory) {
            Ok(()) => {
                let mode = Permissions::from_mode(OWNERS_DIRECTORY);
                // Where modes cannot be changed, the mount sets them.
                let _ = fs::set_permissions(directory, mode);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The first bytes of a file; none if it is missing or empty.
fn beginning_of(path: &Path) -> Result<Vec<u8>, IndexError> {
    let mut beginning = vec![0; SQLITE_APPLICATION.end];
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened.map_err(of_directory)?,
    };
    let count = file.read_at(&mut beginning, 0).map_err(of_directory)?;
    beginning.truncate(count);
    Ok(beginning)
}

fn of_directory(error: io::Error) -> IndexError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => IndexError::Full,
        io::ErrorKind::ReadOnlyFilesystem => IndexError::ReadOnly,
        _ => IndexError::Directory(error),
    }
}

/// statfs(2). Locks on these work only between some machines, kernels and options. SQLite's log
/// also needs shared memory, which different machines do not have.
const NETWORK_FILE_SYSTEMS: [(u32, &str); 11] = [
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x517b, "SMB"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "FUSE"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x7375_7245, "Coda"),
    (0x0bd0_0bd0, "Lustre"),
    (0x4750_4653, "GPFS"),
];
/// SQLite's "Database File Format", section 1.3.
const SQLITE_MAGIC: &[u8; 16] = b"SQLite format 3\0";
const SQLITE_APPLICATION: Range<usize> = 68..72;
/// "Database File Format", sections 4.1 and 3.
const WAL_MAGIC: &[u8] = &[0x37, 0x7f, 0x06];
/// "Database File Format", section 4.1: after the headers of the log and of its first frame.
const WAL_FIRST_PAGE: usize = 32 + 24;
const JOURNAL_MAGIC: &[u8] = &[0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
/// SQLite's "WAL-mode File Format", section 2.
const SHM_VERSION: u32 = 3_007_000;
/// The files that are set aside: the index, its log, and its shared-memory file.
const SET_ASIDE: [&str; 3] = ["", "-wal", "-shm"];
pub(in crate::store) const LOG_SUFFIX: &str = "-wal";
const JOURNAL_SUFFIX: &str = "-journal";
const LOCK_SUFFIX: &str = "-lock";
const DAMAGED_INFIX: &str = ".damaged-";
/// The seconds since 1970 have 10 digits until 2286.
const SECONDS_DIGITS: usize = 10;
const OWNER_ONLY: u32 = 0o600;
const OWNERS_DIRECTORY: u32 = 0o700;
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
const LOCK_INTERVAL: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    /// Writes a file with the mode of SQLite's and this program's files.
    fn write_own(path: &Path, bytes: &[u8]) {
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(OWNER_ONLY)).unwrap();
    }

    fn names(directory: &Path) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let names = fs::read_dir(directory).unwrap().map(name);
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_directory_and_the_files_are_private() {
        let directory = tempfile::tempdir().unwrap();
        let location = IndexLocation::make(&directory.path().join("a/b/index")).unwrap();
        location.begin(&location.lock().unwrap()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory.path().join("a/b")), 0o700);
        assert_eq!(mode(location.file()), 0o600);
    }

    #[test]
    fn only_one_process_holds_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let location = IndexLocation::make(&directory.path().join("index")).unwrap();
        let held = location.lock().unwrap();
        assert!(matches!(location.lock(), Err(IndexError::Locked)));
        drop(held);
        location.lock().unwrap();
    }

    #[test]
    fn sets_three_files_aside_and_keeps_one_generation() {
        let directory = tempfile::tempdir().unwrap();
        let location = IndexLocation::make(&directory.path().join("index")).unwrap();
        let locked = location.lock().unwrap();
        for seconds in [7, 8, 8] {
            for file in location.files() {
                write_own(&file, b"x");
            }
            location.set_aside(&locked, seconds).unwrap();
        }
        let expected = ["-lock", "8", "8-shm", "8-wal"].map(|end| match end {
            "-lock" => "index-lock".to_owned(),
            end => format!("index.damaged-000000000{end}"),
        });
        let mut expected = expected.to_vec();
        expected.sort();
        assert_eq!(names(directory.path()), expected);
        assert_eq!(location.set_aside_files().len(), 3);
    }

    #[test]
    fn a_file_that_only_looks_set_aside_stays() {
        let directory = tempfile::tempdir().unwrap();
        let location = IndexLocation::make(&directory.path().join("i")).unwrap();
        let locked = location.lock().unwrap();
        let others = [
            "i.damaged-",
            "i.damaged-notes.txt",
            "i.damaged-2024",
            "i.damaged-20240102030405",
            "i.damaged-1700000000-notes",
            "i.damaged-1700000000-journal",
            "i.damaged-1700000000.txt",
            "i.damaged--700000000",
            "i.damaged-wal",
            "j.damaged-1700000000",
            ".damaged-1700000000",
            "ii.damaged-1700000000",
        ];
        for name in others {
            write_own(&directory.path().join(name), b"precious");
        }
        // The name is right, but the content is foreign.
        fs::write(directory.path().join("i.damaged-1700000001"), "x").unwrap();
        fs::create_dir(directory.path().join("i.damaged-1700000002")).unwrap();
        symlink("i.damaged-", directory.path().join("i.damaged-1700000003")).unwrap();
        let before = names(directory.path());
        write_own(&directory.path().join("i.damaged-1600000000"), b"x");
        write_own(&directory.path().join("i.damaged-1600000000-wal"), b"x");
        write_own(location.file(), b"x");
        let to = location.set_aside(&locked, 1_700_000_001).unwrap();
        assert!(to.ends_with("i.damaged-1700000004"), "{}", to.display());
        fs::remove_file(to).unwrap();
        assert_eq!(names(directory.path()), before);
    }

    #[test]
    fn a_new_file_has_no_log_of_a_deleted_one() {
        let directory = tempfile::tempdir().unwrap();
        let location = IndexLocation::make(&directory.path().join("index")).unwrap();
        let [_, log, locks] = location.files();
        write_own(&log, b"x");
        write_own(&locks, b"x");
        location.begin(&location.lock().unwrap()).unwrap();
        assert!(location.file().exists() && !log.exists() && !locks.exists());
    }

    #[test]
    fn foreign_files_beside_a_new_index_are_not_its_log() {
        for (suffix, ours) in [
            ("-wal", &b"\x37\x7f\x06\x82...."[..]),
            ("-shm", &SHM_VERSION.to_ne_bytes()),
            ("-journal", JOURNAL_MAGIC),
            ("-journal", &[0; 512]),
            ("-lock", b""),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("index");
            let other = directory.path().join(format!("index{suffix}"));
            write_own(&other, b"of somebody else");
            assert!(
                matches!(IndexLocation::make(&path).err(), Some(IndexError::Foreign)),
                "{suffix}"
            );
            assert_eq!(fs::read(&other).unwrap(), b"of somebody else");
            write_own(&other, ours);
            let location = IndexLocation::make(&path).unwrap();
            location.begin(&location.lock().unwrap()).unwrap();
            assert!(location.file().exists());
        }
    }

    #[test]
    fn refuses_a_lock_that_is_a_link_or_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let lock = directory.path().join("i-lock");
        let refused = |location: Result<IndexLocation, IndexError>| {
            let error = location.and_then(|location| location.lock()).err();
            let Some(IndexError::NotOurs { what, .. }) = error else {
                panic!("{error:?}");
            };
            assert_eq!(what, "i-lock");
        };
        let location = IndexLocation::make(&directory.path().join("i")).unwrap();
        // At the last moment, and before.
        for _ in 0..2 {
            symlink("elsewhere", &lock).unwrap();
            refused(Ok(IndexLocation {
                file: location.file.clone(),
            }));
            refused(IndexLocation::make(&location.file));
            assert!(!directory.path().join("elsewhere").exists());
            fs::remove_file(&lock).unwrap();
        }
        rustix::fs::mkfifoat(rustix::fs::CWD, &lock, rustix::fs::Mode::RUSR).unwrap();
        refused(IndexLocation::make(&location.file));
        fs::remove_file(&lock).unwrap();
        fs::create_dir(&lock).unwrap();
        refused(IndexLocation::make(&location.file));
    }

    #[test]
    fn refuses_files_that_others_own_or_can_write() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("own/i");
        let made = IndexLocation::make(&path).unwrap();
        made.begin(&made.lock().unwrap()).unwrap();
        let why = || match IndexLocation::make(&path).err() {
            Some(IndexError::NotOurs { what, why }) => format!("{what} {why}"),
            other => format!("{other:?}"),
        };
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let own = path.parent().unwrap();
        assert_eq!(why(), "None");
        for (mode, reason) in [
            (0o600, "None"),
            (0o644, "None"),
            (0o666, "i can be written by other users"),
            (0o602, "i can be written by other users"),
            (0o660, "i can be written by other users"),
        ] {
            set(&path, mode);
            assert_eq!(why(), reason, "{mode:o}");
        }
        set(&path, 0o600);
        for (mode, reason) in [
            (0o755, "None"),
            (0o1777, "None"),
            (0o777, "its directory can be written by other users"),
            (0o702, "its directory can be written by other users"),
        ] {
            set(own, mode);
            assert_eq!(why(), reason, "{mode:o}");
        }
        set(own, 0o700);
        if !rustix::process::geteuid().is_root() {
            return;
        }
        for other in ["i", "i-lock"] {
            chown(own.join(other), Some(4711), None).unwrap();
            assert_eq!(why(), format!("{other} belongs to another user"));
            chown(own.join(other), Some(0), None).unwrap();
        }
        chown(own, Some(4711), None).unwrap();
        assert_eq!(why(), "its directory belongs to another user");
        chown(own, Some(0), Some(4711)).unwrap();
        set(own, 0o770);
        assert_eq!(why(), "its directory can be written by other users");
        // The group of this user alone, which some systems make for each user.
        chown(own, Some(0), Some(rustix::process::getegid().as_raw())).unwrap();
        assert_eq!(why(), "None");
    }

    #[test]
    fn refuses_a_directory_or_a_device() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(
            IndexLocation::make(directory.path()),
            Err(IndexError::NotAFile)
        ));
        assert!(matches!(
            IndexLocation::make(Path::new("/dev/null")),
            Err(IndexError::NotAFile)
        ));
    }

    #[test]
    fn a_refused_file_gets_no_files_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        symlink("nothing", &link).unwrap();
        assert!(matches!(
            IndexLocation::make(&link),
            Err(IndexError::NotAFile)
        ));
        let other = directory.path().join("other");
        let database = rusqlite::Connection::open(&other).unwrap();
        database
            .execute_batch("CREATE TABLE photos (name); PRAGMA application_id = 7;")
            .unwrap();
        drop(database);
        let refused = crate::store::FileIndex::open(&other, |_| {});
        assert!(matches!(refused.err(), Some(IndexError::Foreign)));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn reports_a_directory_that_cannot_be_made() {
        let error = IndexLocation::make(Path::new("/dev/null/sub/index"))
            .err()
            .unwrap();
        assert!(matches!(error, IndexError::Directory(_)), "{error}");
    }
}

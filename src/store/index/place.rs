//! Where the file of an index is: its folder, the lock under which it is opened and set
//! aside, and the three files that SQLite makes of it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::IndexError;
use super::database::APPLICATION_ID;
use super::locks::{Inode, identity};

/// The place of an index.
pub(super) struct Place {
    file: PathBuf,
}

impl Place {
    /// Makes the folder if it is missing, for its owner alone, and looks at the file if there
    /// is one. Nothing is opened.
    pub(super) fn make(path: &Path) -> Result<Place, IndexError> {
        let path = match path.canonicalize() {
            Ok(path) => path,
            Err(_) => in_its_folder(path)?,
        };
        match fs::metadata(&path) {
            Ok(found) if !found.is_file() => return Err(IndexError::NotAFile),
            // A link to nothing: what it leads to cannot be made by its name.
            Err(_) if path.is_symlink() => return Err(IndexError::NotAFile),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(IndexError::Folder(error));
            }
            Ok(_) | Err(_) => {}
        }
        let place = Place { file: path };
        // What is damaged is set aside, but never what somebody else wrote: a letter, say, named
        // by mistake. The file of locks is what every index of ours has beside it.
        if !place.beside(LOCK_SUFFIX).exists() && !may_be_an_index(&place.file)? {
            return Err(IndexError::Foreign);
        }
        let folder = place.file.parent().unwrap_or(Path::new("/"));
        let system =
            rustix::fs::statfs(folder).map_err(|error| IndexError::Folder(error.into()))?;
        // The field is of different width and sign on different architectures.
        #[allow(clippy::unnecessary_cast)]
        let magic = system.f_type as u32;
        match NETWORK_FILE_SYSTEMS
            .iter()
            .find(|(known, _)| *known == magic)
        {
            Some((_, name)) => Err(IndexError::NetworkFileSystem(name)),
            None => Ok(place),
        }
    }

    /// The file of the index.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// The file, and the log and table of locks that SQLite makes beside it.
    pub(super) fn files(&self) -> [PathBuf; 3] {
        ["", "-wal", "-shm"].map(|suffix| beside(&self.file, suffix))
    }

    /// All that is named after the index and open while it is.
    pub(super) fn open_files(&self) -> [PathBuf; 4] {
        open_files(&self.file)
    }

    /// Keeps other programs from opening the index or setting it aside until the guard is
    /// dropped. Waits a second for the one that does.
    pub(super) fn lock(&self) -> Result<Locked, IndexError> {
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(OWNER_ONLY);
        let lock = options.open(self.beside(LOCK_SUFFIX)).map_err(of_folder)?;
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Locked { _lock: lock }),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if Instant::now() < deadline => thread::sleep(LOCK_INTERVAL),
                Err(Errno::AGAIN) => return Err(IndexError::Locked),
                Err(error) => return Err(of_folder(error.into())),
            }
        }
    }

    /// Makes an empty file if there is none.
    pub(super) fn begin(&self, _locked: &Locked) -> Result<(), IndexError> {
        let mut options = OpenOptions::new();
        match options
            .write(true)
            .create_new(true)
            .mode(OWNER_ONLY)
            .open(&self.file)
        {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let found = fs::metadata(&self.file).map_err(of_folder)?;
                if found.len() > 0 {
                    return Ok(());
                }
            }
            Err(error) => return Err(of_folder(error)),
        }
        // Of an index that was deleted; whoever still has it open has them open too.
        for left_over in &self.files()[1..] {
            let _ = fs::remove_file(left_over);
        }
        Ok(())
    }

    /// Renames the three files, so that nobody opens them as an index, and forgets those that
    /// were set aside earlier. Returns the new name of the first.
    pub(super) fn set_aside(&self, _locked: &Locked, seconds: u64) -> io::Result<PathBuf> {
        let mut prefix = self.file.file_name().unwrap_or_default().to_owned();
        prefix.push(DAMAGED_INFIX);
        let folder = self.file.parent().unwrap_or(Path::new("/"));
        for entry in fs::read_dir(folder)?.flatten() {
            if entry.file_name().as_bytes().starts_with(prefix.as_bytes()) {
                let _ = fs::remove_file(entry.path());
            }
        }
        let infix = format!("{DAMAGED_INFIX}{seconds}");
        let to = self.beside(&infix);
        // The log first: an index without its log is merely older, a log without its index
        // would become another's.
        for (suffix, from) in ["", "-wal", "-shm"].iter().zip(self.files()).rev() {
            match fs::rename(from, self.beside(&format!("{infix}{suffix}"))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(to)
    }

    /// The file that has the name now.
    pub(super) fn inode(&self) -> Option<Inode> {
        identity(&self.file).ok()
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        beside(&self.file, suffix)
    }
}

/// All that is named after the index of this name and open while it is.
pub(super) fn open_files(index: &Path) -> [PathBuf; 4] {
    ["", "-wal", "-shm", LOCK_SUFFIX].map(|suffix| beside(index, suffix))
}

fn beside(index: &Path, suffix: &str) -> PathBuf {
    let mut path = OsString::from(index);
    path.push(suffix);
    path.into()
}

/// Nobody else opens the index or sets it aside while this is there.
pub(super) struct Locked {
    _lock: File,
}

/// The path by which a file that does not exist yet will be known.
fn in_its_folder(path: &Path) -> Result<PathBuf, IndexError> {
    let name = path.file_name().ok_or(IndexError::NotAFile)?;
    let folder = match path.parent() {
        Some(folder) if folder != OsStr::new("") => folder,
        Some(_) | None => Path::new("."),
    };
    make_directories(folder)
        .and_then(|()| folder.canonicalize())
        .map(|folder| folder.join(name))
        .map_err(of_folder)
}

/// Makes the directories of this path that are missing, each for its owner alone, whatever the umask
/// takes from that.
fn make_directories(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|at| *at != OsStr::new("") && !at.exists())
        .collect();
    for directory in missing.into_iter().rev() {
        match DirBuilder::new().mode(OWNERS_DIRECTORY).create(directory) {
            Ok(()) => {
                let mode = Permissions::from_mode(OWNERS_DIRECTORY);
                // Where modes cannot be changed the directory has one that the mount gives it.
                let _ = fs::set_permissions(directory, mode);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether a file is a database of this program, or there is nothing in it.
fn may_be_an_index(path: &Path) -> Result<bool, IndexError> {
    let mut beginning = [0; SQLITE_APPLICATION.end];
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(of_folder(error)),
        Ok(file) => match file.read_at(&mut beginning, 0) {
            Ok(count) => Ok(count == 0
                || beginning.starts_with(SQLITE_MAGIC)
                    && beginning[SQLITE_APPLICATION] == (APPLICATION_ID as u32).to_be_bytes()),
            Err(error) => Err(of_folder(error)),
        },
    }
}

fn of_folder(error: io::Error) -> IndexError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => IndexError::Full,
        io::ErrorKind::ReadOnlyFilesystem => IndexError::ReadOnly,
        _ => IndexError::Folder(error),
    }
}

/// statfs(2). Their locks hold between some machines, kernels and options and not between
/// others, and memory shared between machines is what SQLite's log needs.
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
const LOCK_SUFFIX: &str = "-lock";
const DAMAGED_INFIX: &str = ".damaged-";
const OWNER_ONLY: u32 = 0o600;
const OWNERS_DIRECTORY: u32 = 0o700;
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
const LOCK_INTERVAL: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_and_the_files_are_the_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::make(&folder.path().join("a/b/index")).unwrap();
        place.begin(&place.lock().unwrap()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder.path().join("a/b")), 0o700);
        assert_eq!(mode(place.file()), 0o600);
    }

    #[test]
    fn only_one_holds_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::make(&folder.path().join("index")).unwrap();
        let held = place.lock().unwrap();
        assert!(matches!(place.lock(), Err(IndexError::Locked)));
        drop(held);
        place.lock().unwrap();
    }

    #[test]
    fn sets_three_files_aside_and_keeps_one_generation() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::make(&folder.path().join("index")).unwrap();
        let locked = place.lock().unwrap();
        for seconds in [7, 8] {
            for file in place.files() {
                fs::write(file, "x").unwrap();
            }
            place.set_aside(&locked, seconds).unwrap();
        }
        let mut names: Vec<OsString> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        let expected = ["-lock", ".damaged-8", ".damaged-8-shm", ".damaged-8-wal"];
        assert_eq!(
            names,
            expected.map(|suffix| OsString::from(format!("index{suffix}")))
        );
    }

    #[test]
    fn a_new_file_has_no_log_of_a_deleted_one() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::make(&folder.path().join("index")).unwrap();
        let [_, log, locks] = place.files();
        fs::write(&log, "x").unwrap();
        fs::write(&locks, "x").unwrap();
        place.begin(&place.lock().unwrap()).unwrap();
        assert!(place.file().exists() && !log.exists() && !locks.exists());
    }

    #[test]
    fn a_folder_or_a_device_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            Place::make(folder.path()),
            Err(IndexError::NotAFile)
        ));
        assert!(matches!(
            Place::make(Path::new("/dev/null")),
            Err(IndexError::NotAFile)
        ));
    }

    #[test]
    fn what_is_refused_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("nothing", &link).unwrap();
        assert!(matches!(Place::make(&link), Err(IndexError::NotAFile)));
        let other = folder.path().join("other");
        let database = rusqlite::Connection::open(&other).unwrap();
        database
            .execute_batch("CREATE TABLE photos (name); PRAGMA application_id = 7;")
            .unwrap();
        drop(database);
        let refused = crate::store::FileIndex::open(&other, |_| {});
        assert!(matches!(refused.err(), Some(IndexError::Foreign)));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_folder_that_cannot_be_is_said_so() {
        let error = Place::make(Path::new("/dev/null/sub/index")).err().unwrap();
        assert!(matches!(error, IndexError::Folder(_)), "{error}");
    }
}

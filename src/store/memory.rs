//! Files in memory, for tests and for planted failures.

mod listing;

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::listing::MemoryListing;
use crate::store::{Identity, Listing, Object, ObjectMeta, Stamp, Store, StoreError};
use crate::wire::{ObjectKind, PathError, ResourcePath, Timestamp};

/// A tree of byte strings with a clock that moves only on request. Clones share one tree. A
/// directory exists while it contains something.
///
/// ```
/// use std::time::Duration;
/// use ftserve::store::{MemoryStore, Object, Store};
/// use ftserve::wire::ResourcePath;
///
/// let store = MemoryStore::new();
/// let file = store.insert("notes/today", "hello")?;
/// let (open, meta) = store.open(&ResourcePath::parse(b"notes/today")?)?;
/// assert_eq!(meta.size(), 5);
///
/// store.advance(Duration::from_secs(60));
/// file.rewrite("other");
/// assert!(!meta.stamp.same_content(&open.meta()?.stamp));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct MemoryStore {
    tree: Arc<Mutex<Tree>>,
    clock: Arc<Clock>,
}

#[derive(Default)]
struct Tree {
    files: BTreeMap<Vec<u8>, MemoryFile>,
    inodes: u64,
}

impl MemoryStore {
    /// An empty tree.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// Adds a new file under this name with its own inode, like a rename. An old file stays
    /// readable for those that have it open.
    ///
    /// # Errors
    /// The name is no valid path.
    pub fn insert(&self, name: &str, bytes: impl Into<Vec<u8>>) -> Result<MemoryFile, PathError> {
        let path = ResourcePath::parse(name.as_bytes())?;
        let mut tree = locked(&self.tree);
        tree.inodes += 1;
        let now = self.clock.tick();
        let bytes = bytes.into();
        let state = FileState {
            stamp: Stamp {
                device: 1,
                inode: tree.inodes,
                identity: Identity::Lasting,
                size: bytes.len() as u64,
                mtime: now,
                ctime: now,
            },
            mode: 0o644,
            bytes,
            bytes_read: 0,
            faults: Vec::new(),
        };
        let file = MemoryFile {
            state: Arc::new(Mutex::new(state)),
            clock: Arc::clone(&self.clock),
        };
        tree.files.insert(path.as_bytes().to_vec(), file.clone());
        Ok(file)
    }

    /// Removes a name. Returns whether it existed. The file stays readable for those that have it
    /// open.
    pub fn remove(&self, name: &str) -> bool {
        locked(&self.tree).files.remove(name.as_bytes()).is_some()
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    fn find(&self, path: &ResourcePath) -> Result<Found, StoreError> {
        let tree = locked(&self.tree);
        let name = path.as_bytes();
        if let Some(file) = tree.files.get(name) {
            return Ok(Found::File(file.clone()));
        }
        let is_above = |file: &[u8]| is_inside(file, name);
        let after = (Bound::Excluded(name), Bound::Unbounded);
        // Contents of `a` follow `a`, except for names like `a-b`, which sort before `a/b`.
        if path.is_root()
            || tree
                .files
                .range::<[u8], _>(after)
                .any(|(file, _)| is_above(file))
        {
            return Ok(Found::Directory);
        }
        if tree.files.keys().any(|file| is_inside(name, file)) {
            return Err(StoreError::NotADirectory);
        }
        Err(StoreError::NotFound)
    }
}

enum Found {
    File(MemoryFile),
    Directory,
}

/// Whether `name` is somewhere below `directory`.
fn is_inside(name: &[u8], directory: &[u8]) -> bool {
    name.strip_prefix(directory)
        .is_some_and(|rest| rest.starts_with(b"/"))
}

impl Store for MemoryStore {
    type Object = MemoryFile;

    fn open(&self, path: &ResourcePath) -> Result<(MemoryFile, ObjectMeta), StoreError> {
        match self.find(path)? {
            Found::File(file) => {
                let meta = file.look();
                Ok((file, meta))
            }
            Found::Directory => Err(StoreError::IsDirectory),
        }
    }

    fn stat(&self, path: &ResourcePath) -> Result<ObjectMeta, StoreError> {
        match self.find(path)? {
            Found::File(file) => Ok(file.look()),
            Found::Directory => {
                let now = self.clock.now();
                let stamp = Stamp {
                    device: 1,
                    inode: 0,
                    identity: Identity::Lasting,
                    size: 0,
                    mtime: now,
                    ctime: now,
                };
                let kind = ObjectKind::Directory;
                Ok(ObjectMeta {
                    kind,
                    mode: 0o755,
                    stamp,
                    looked_at: now,
                })
            }
        }
    }

    fn list(
        &self,
        path: &ResourcePath,
        recursive: bool,
        after: Option<&ResourcePath>,
    ) -> Result<Box<dyn Listing>, StoreError> {
        if self.stat(path)?.kind != ObjectKind::Directory {
            return Err(StoreError::NotADirectory);
        }
        let names = locked(&self.tree).files.keys().cloned().collect();
        Ok(Box::new(MemoryListing::of(
            self, names, path, recursive, after,
        )))
    }
}

/// One file of a [`MemoryStore`], like an inode: clones and open objects are the same file. Every
/// change moves its times and the store's clock by a millisecond.
#[derive(Clone)]
pub struct MemoryFile {
    state: Arc<Mutex<FileState>>,
    clock: Arc<Clock>,
}

struct FileState {
    stamp: Stamp,
    mode: u32,
    bytes: Vec<u8>,
    bytes_read: u64,
    faults: Vec<(u64, Fault)>,
}

/// What happens to a read that reaches an offset.
#[derive(Clone)]
enum Fault {
    Fail,
    Panic,
    Hold(Arc<Gate>),
}

impl MemoryFile {
    /// Replaces the bytes in place.
    pub fn rewrite(&self, bytes: impl Into<Vec<u8>>) {
        self.write(|kept| *kept = bytes.into());
    }

    /// Adds bytes at the end.
    pub fn append(&self, bytes: &[u8]) {
        self.write(|kept| kept.extend_from_slice(bytes));
    }

    /// Replaces the bytes without moving a time, as a write through a shared mapping may.
    pub fn rewrite_unnoticed(&self, bytes: impl Into<Vec<u8>>) {
        let mut state = locked(&self.state);
        state.bytes = bytes.into();
        state.stamp.size = state.bytes.len() as u64;
    }

    /// Sets the permission bits, which moves only ctime.
    pub fn set_mode(&self, mode: u32) {
        let mut state = locked(&self.state);
        state.mode = mode & 0o777;
        state.stamp.ctime = self.clock.tick();
    }

    /// Makes every read of the byte at `offset`, or of a later one, fail.
    pub fn fail_reads_from(&self, offset: u64) {
        locked(&self.state).faults.push((offset, Fault::Fail));
    }

    /// Makes every read of the byte at `offset`, or of a later one, panic.
    pub fn panic_reads_from(&self, offset: u64) {
        locked(&self.state).faults.push((offset, Fault::Panic));
    }

    /// Holds every read that reaches the byte at `offset` until the hold is released. A read that
    /// begins before it ends there. A read that begins after it is not held.
    pub fn hold_reads_at(&self, offset: u64) -> Hold {
        let gate = Arc::new(Gate::default());
        locked(&self.state)
            .faults
            .push((offset, Fault::Hold(Arc::clone(&gate))));
        Hold(gate)
    }

    /// The number of bytes read from this file so far, by all readers.
    pub fn bytes_read(&self) -> u64 {
        locked(&self.state).bytes_read
    }

    fn write(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = locked(&self.state);
        change(&mut state.bytes);
        let now = self.clock.tick();
        let size = state.bytes.len() as u64;
        state.stamp = Stamp {
            size,
            mtime: now,
            ctime: now,
            ..state.stamp
        };
    }

    fn look(&self) -> ObjectMeta {
        let state = locked(&self.state);
        ObjectMeta {
            kind: ObjectKind::File,
            mode: state.mode,
            stamp: state.stamp,
            looked_at: self.clock.now(),
        }
    }
}

impl Object for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = locked(&self.state);
        let end = offset.saturating_add(buffer.len() as u64);
        let mut readable = state.bytes.len() as u64;
        for (at, fault) in state.faults.clone() {
            // Bytes before the fault are read; the next read meets the fault.
            if offset < at {
                readable = readable.min(at);
                continue;
            }
            let is_there = offset == at;
            drop(state);
            match fault {
                Fault::Hold(_) if !is_there => {}
                Fault::Fail => return Err(io::Error::other("planted failure")),
                Fault::Panic => panic!("planted panic"),
                Fault::Hold(gate) => gate.pass(),
            }
            state = locked(&self.state);
            readable = readable.min(state.bytes.len() as u64);
        }
        let range = offset.min(readable) as usize..end.min(readable) as usize;
        buffer[..range.len()].copy_from_slice(&state.bytes[range.clone()]);
        state.bytes_read += range.len() as u64;
        Ok(range.len())
    }

    fn meta(&self) -> io::Result<ObjectMeta> {
        Ok(self.look())
    }
}

/// Holds reads of one file until it is released or dropped.
pub struct Hold(Arc<Gate>);

impl Hold {
    /// Waits until a read is held. Returns `false` if none comes within ten seconds.
    #[must_use]
    pub fn wait_until_reached(&self) -> bool {
        let not_reached = |state: &mut GateState| !state.reached;
        let waited =
            self.0
                .moved
                .wait_timeout_while(locked(&self.0.state), HOLD_WAIT_MAX, not_reached);
        waited.unwrap_or_else(PoisonError::into_inner).0.reached
    }

    /// Releases the held reads and all later ones.
    pub fn release(self) {}
}

impl Drop for Hold {
    fn drop(&mut self) {
        locked(&self.0.state).open = true;
        self.0.moved.notify_all();
    }
}

#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    moved: Condvar,
}

#[derive(Default)]
struct GateState {
    reached: bool,
    open: bool,
}

impl Gate {
    fn pass(&self) {
        let mut state = locked(&self.state);
        state.reached = true;
        self.moved.notify_all();
        drop(self.moved.wait_while(state, |state| !state.open));
    }
}

/// Time since the start of the year 2020, so that no test depends on the day it runs.
#[derive(Default)]
struct Clock(Mutex<Duration>);

impl Clock {
    fn now(&self) -> Timestamp {
        let since = *locked(&self.0);
        let seconds = CLOCK_START_SECONDS + since.as_secs().cast_signed();
        Timestamp {
            seconds,
            nanoseconds: since.subsec_nanos(),
        }
    }

    fn advance(&self, by: Duration) {
        let mut since = locked(&self.0);
        *since = since.saturating_add(by);
    }

    fn tick(&self) -> Timestamp {
        self.advance(Duration::from_millis(1));
        self.now()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const CLOCK_START_SECONDS: i64 = 1_577_836_800;
const HOLD_WAIT_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn path(name: &str) -> ResourcePath {
        ResourcePath::parse(name.as_bytes()).unwrap()
    }

    #[test]
    fn behaves_like_a_tree() {
        let store = MemoryStore::new();
        store.insert("a/b", "bytes").unwrap();
        store.insert("a-c", "").unwrap();
        assert_eq!(store.stat(&path("")).unwrap().kind, ObjectKind::Directory);
        assert_eq!(store.stat(&path("a")).unwrap().kind, ObjectKind::Directory);
        assert_eq!(store.stat(&path("a/b")).unwrap().size(), 5);
        assert!(matches!(
            store.open(&path("a")),
            Err(StoreError::IsDirectory)
        ));
        assert!(matches!(
            store.open(&path("a/b/c")),
            Err(StoreError::NotADirectory)
        ));
        assert!(matches!(
            store.open(&path("a/c")),
            Err(StoreError::NotFound)
        ));
        assert!(matches!(store.open(&path("a-")), Err(StoreError::NotFound)));
        assert!(store.remove("a/b"));
        assert!(!store.remove("a/b"));
        assert!(matches!(store.stat(&path("a")), Err(StoreError::NotFound)));
    }

    #[test]
    fn refuses_invalid_paths() {
        let store = MemoryStore::new();
        for name in ["/a", "a//b", "..", "a/", "\0"] {
            assert!(store.insert(name, "").is_err(), "{name:?}");
            assert!(!store.remove(name), "{name:?}");
        }
    }

    #[test]
    fn changes_move_times_as_in_a_file_system() {
        let store = MemoryStore::new();
        let file = store.insert("f", "12345").unwrap();
        let first = file.look().stamp;
        file.set_mode(0o600);
        assert!(first.same_content(&file.look().stamp));
        assert_ne!(first, file.look().stamp);
        file.append(b"6");
        assert!(first.still_begins(&file.look().stamp));
        file.rewrite("54321");
        assert!(!first.still_begins(&file.look().stamp));
        let before = file.look().stamp;
        file.rewrite_unnoticed("abcde");
        assert_eq!(before, file.look().stamp);
        let replaced = store.insert("f", "abcde").unwrap();
        assert_ne!(before.inode, replaced.look().stamp.inode);
    }

    #[test]
    fn faults_occur_at_their_offset() {
        let store = MemoryStore::new();
        let file = store.insert("f", "0123456789").unwrap();
        let mut buffer = [0; 16];
        file.fail_reads_from(7);
        assert_eq!(file.read_at(&mut buffer, 3).unwrap(), 4);
        assert_eq!(&buffer[..4], b"3456");
        assert!(file.read_at(&mut buffer, 7).is_err());
        assert_eq!(file.bytes_read(), 4);

        let hold = file.hold_reads_at(5);
        let reader = thread::spawn({
            let file = file.clone();
            move || file.read_at(&mut [0; 1], 5).unwrap()
        });
        assert!(hold.wait_until_reached());
        hold.release();
        assert_eq!(reader.join().unwrap(), 1);
        assert_eq!(file.read_at(&mut buffer, 100).ok(), None);
    }

    #[test]
    fn reads_beyond_the_end_are_empty() {
        let store = MemoryStore::new();
        let file = store.insert("f", "0123").unwrap();
        assert_eq!(file.read_at(&mut [0; 4], 4).unwrap(), 0);
        assert_eq!(file.read_at(&mut [0; 4], u64::MAX).unwrap(), 0);
        assert_eq!(file.read_at(&mut [], 0).unwrap(), 0);
    }
}

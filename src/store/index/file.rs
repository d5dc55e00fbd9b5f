//! An index in a file, with a cache in memory.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::database::{Database, Day, Key};
use super::forgotten::Forgotten;
use super::location::{IndexLocation, open_files};
use super::memory::MemoryIndex;
use super::table::InodeTable;
use super::writer::{Op, Writer};
use crate::store::{DigestIndex, IndexError, IndexEvent, KnownDigest, Stamp};

/// An index that outlives the process, in a file that any number of processes share.
///
/// A look-up uses a table in memory. If that has no row, it reads the file once, in microseconds.
/// So a start costs nothing, and rows of other processes are found. One thread writes, in batches.
/// No caller waits for it; if it cannot keep up, rows are dropped. Losing the file at any moment
/// costs only time.
///
/// A digest is found only under the stamp that it was made for, including ctime. Some systems
/// number devices anew at each boot. There, old rows are not found, or another device has their
/// number. Then a wrong file would need the same inode, size and both times to the nanosecond.
/// Where not even that is a proof ([`crate::store::Identity`]), digests are kept as in a
/// [`MemoryIndex`], and not in the file.
pub struct FileIndex {
    mounted: OnceLock<MemoryIndex>,
    shared: Arc<IndexState>,
    ops: Sender<Op>,
    writer: Option<JoinHandle<()>>,
}

/// The state that callers and the writer share.
pub(super) struct IndexState {
    cache: InodeTable<CachedRow>,
    readers: [Mutex<Option<Database>>; READERS],
    has_file: AtomicBool,
    today: AtomicU32,
    pub(super) forgotten: Forgotten,
}

/// A row of the table in memory.
#[derive(Clone, Copy)]
struct CachedRow {
    /// `None`: the digest was found wrong, and a row in the file is ignored.
    known: Option<KnownDigest>,
    used: Day,
}

impl FileIndex {
    /// Opens or creates the index, and makes its directory if it is missing. A file that is
    /// damaged, or of a later version, is renamed and reported, and a new one is created.
    ///
    /// `report` is called for events of the file, now and later, from any thread.
    ///
    /// # Errors
    /// The file cannot be used, for a reason that a new file would not cure.
    pub fn open(
        path: &Path,
        report: impl Fn(IndexEvent) + Send + 'static,
    ) -> Result<FileIndex, IndexError> {
        FileIndex::open_on(path, report, today)
    }

    /// The files that exist for an index of this name while it is open.
    pub fn files(path: &Path) -> [PathBuf; 5] {
        open_files(path)
    }

    pub(super) fn open_on(
        path: &Path,
        report: impl Fn(IndexEvent) + Send + 'static,
        today: impl Fn() -> Day + Send + 'static,
    ) -> Result<FileIndex, IndexError> {
        let shared = Arc::new(IndexState {
            cache: InodeTable::new(),
            readers: Default::default(),
            has_file: AtomicBool::new(false),
            today: AtomicU32::new(today()),
            forgotten: Forgotten::default(),
        });
        let location = IndexLocation::make(path)?;
        let writer = Writer::open(location, Arc::clone(&shared), report, today)?;
        let (ops, received) = bounded(QUEUED_OPS_MAX);
        let writer = thread::Builder::new()
            .name("ft-index".to_owned())
            .spawn(move || writer.run(&received))
            .map_err(IndexError::NoThread)?;
        Ok(FileIndex {
            mounted: OnceLock::new(),
            shared,
            ops,
            writer: Some(writer),
        })
    }

    /// Waits until everything remembered so far is in the file, or dropped for good. Returns
    /// whether that took at most `within`.
    pub fn flush(&self, within: Duration) -> bool {
        let (done, is_done) = bounded(1);
        self.ops.send_timeout(Op::Flush(done), within).is_ok()
            && is_done.recv_timeout(within).is_ok()
    }

    /// Writes everything remembered so far and closes the file. From then on the index is only in
    /// memory. Returns whether that took at most `within`.
    pub fn close(&self, within: Duration) -> bool {
        let (closing, closed) = bounded(0);
        self.ops.send_timeout(Op::End(closing), within).is_ok()
            && closed.recv_timeout(within) == Err(RecvTimeoutError::Disconnected)
    }

    /// Looks up the table in memory. An inner `None` is a row that was forgotten.
    fn in_cache(&self, stamp: &Stamp) -> Option<Option<KnownDigest>> {
        let today = self.shared.today.load(Ordering::Relaxed);
        let look = |row: &mut CachedRow| {
            let is_due = row.used.saturating_add(USE_NOTED_DAYS) <= today;
            if is_due {
                row.used = today;
            }
            (row.known, is_due)
        };
        let (known, is_due) = self.shared.cache.update(stamp, look)?;
        if let (Some(known), true) = (known, is_due) {
            let _ = self.ops.try_send(Op::Put(*stamp, known));
        }
        Some(known)
    }

    fn in_file(&self, stamp: &Stamp) -> Option<(KnownDigest, Day)> {
        let is_usable = self.shared.has_file.load(Ordering::Acquire)
            && !self.shared.forgotten.has(Key::of(stamp));
        if !is_usable {
            return None;
        }
        match self.shared.reader().as_ref()?.look_up(stamp) {
            Ok(found) => found,
            Err(error) if error.needs_new_file() => {
                // Only the first to notice reports it; the writer begins a new file.
                if self.shared.has_file.swap(false, Ordering::AcqRel) {
                    let _ = self.ops.try_send(Op::Damaged(error));
                }
                None
            }
            // The file is locked, or the disk fails: make a new digest.
            Err(_) => None,
        }
    }
}

impl DigestIndex for FileIndex {
    fn look_up(&self, stamp: &Stamp) -> Option<KnownDigest> {
        if !stamp.identity.is_lasting() {
            return self.mounted.get()?.look_up(stamp);
        }
        if let Some(known) = self.in_cache(stamp) {
            return known;
        }
        let (known, used) = self.in_file(stamp)?;
        // Keep a row that was put there meanwhile: it may say that this digest is wrong.
        let known = Some(known);
        self.shared
            .cache
            .put_if_new(stamp, CachedRow { known, used });
        self.in_cache(stamp).flatten()
    }

    fn remember(&self, stamp: &Stamp, known: KnownDigest) {
        if !stamp.identity.is_lasting() {
            let mounted = self.mounted.get_or_init(MemoryIndex::new);
            return mounted.remember(stamp, known);
        }
        let used = self.shared.today.load(Ordering::Relaxed);
        let row = CachedRow {
            known: Some(known),
            used,
        };
        self.shared.cache.put(stamp, row);
        let _ = self.ops.try_send(Op::Put(*stamp, known));
    }

    fn forget(&self, stamp: &Stamp) {
        if !stamp.identity.is_lasting() {
            let mounted = self.mounted.get();
            return mounted.map_or((), |mounted| mounted.forget(stamp));
        }
        let used = self.shared.today.load(Ordering::Relaxed);
        // Do this before the table, whose row may be displaced at once.
        let mark = self.shared.forgotten.add(Key::of(stamp));
        self.shared
            .cache
            .put(stamp, CachedRow { known: None, used });
        if self.ops.try_send(Op::Remove(*stamp, mark)).is_err() {
            self.shared.forgotten.postpone(Key::of(stamp), mark);
        }
    }

    fn catch_up(&self) {
        if self.ops.len() > QUEUED_OPS_MAX / 2 {
            self.flush(CATCH_UP_TIMEOUT);
        }
    }
}

impl Drop for FileIndex {
    fn drop(&mut self) {
        let _ = self.ops.send(Op::End(bounded(0).0));
        if let Some(writer) = self.writer.take() {
            // A panic was reported when it happened.
            let _ = writer.join();
        }
    }
}

impl IndexState {
    /// Sets the connections for look-ups. Without any, only the table in memory is used.
    pub(super) fn set_readers(&self, databases: Vec<Database>) {
        let has_file = !databases.is_empty();
        self.has_file.store(false, Ordering::Release);
        let mut databases = databases.into_iter();
        for reader in &self.readers {
            *locked(reader) = databases.next();
        }
        self.has_file.store(has_file, Ordering::Release);
    }

    pub(super) fn set_today(&self, today: Day) {
        self.today.store(today, Ordering::Relaxed);
    }

    /// A free connection, or the first one if all are in use.
    fn reader(&self) -> MutexGuard<'_, Option<Database>> {
        for reader in &self.readers {
            match reader.try_lock() {
                Ok(guard) => return guard,
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        locked(&self.readers[0])
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn today() -> Day {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let days = since.map_or(0, |since| since.as_secs() / 86_400);
    Day::try_from(days).unwrap_or(Day::MAX)
}

/// Connections for look-ups; each look-up takes some 5 µs.
pub(super) const READERS: usize = 4;
/// Rows queued for the writer, about 2 MiB.
const QUEUED_OPS_MAX: usize = 16_384;
/// Refresh a row's last-used day only if it is older than this.
const USE_NOTED_DAYS: Day = 30;
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::os::unix::fs::{FileExt, symlink};
    use std::path::PathBuf;
    use std::sync::mpsc::{self, Receiver};

    use super::*;
    use crate::store::index::tests::{known, stamp, time};
    use crate::store::{DirectoryOptions, DirectoryStore, Identity, Store, StoreError};
    use crate::wire::ResourcePath;

    /// A directory with an index in it, and the events of the indexes there.
    struct IndexFixture {
        directory: tempfile::TempDir,
        send: mpsc::Sender<IndexEvent>,
        events: Receiver<IndexEvent>,
    }

    impl IndexFixture {
        fn new() -> IndexFixture {
            let (send, events) = mpsc::channel();
            IndexFixture {
                directory: tempfile::tempdir().unwrap(),
                send,
                events,
            }
        }

        fn path(&self) -> PathBuf {
            self.directory.path().join("own/index")
        }

        fn open(&self) -> FileIndex {
            self.open_on_day(100)
        }

        fn open_on_day(&self, day: Day) -> FileIndex {
            let send = self.send.clone();
            let report = move |event| send.send(event).unwrap();
            FileIndex::open_on(&self.path(), report, move || day).unwrap()
        }

        /// Opens the index, keeps rows 0 to `count` and closes it.
        fn fill(&self, count: u64) {
            let index = self.open();
            for inode in 0..count {
                index.remember(&stamp(inode), known(1));
                index.catch_up();
            }
        }

        fn assert_quiet(&self) {
            if let Ok(event) = self.events.try_recv() {
                panic!("{event:?}");
            }
        }

        fn assert_set_aside(&self) {
            let event = self.events.try_recv().unwrap();
            let IndexEvent::SetAside { to, .. } = event else {
                panic!("{event:?}");
            };
            assert!(to.exists());
            self.assert_quiet();
        }
    }

    fn written(index: &FileIndex) {
        assert!(index.flush(Duration::from_secs(60)));
    }

    #[test]
    fn a_digest_outlives_the_process_under_exactly_its_stamp() {
        let place = IndexFixture::new();
        place.fill(3);
        let index = place.open();
        assert_eq!(index.look_up(&stamp(2)), Some(known(1)));
        assert_eq!(index.look_up(&stamp(3)), None);
        let touched = Stamp {
            ctime: time(9, 9),
            ..stamp(1)
        };
        assert_eq!(index.look_up(&touched), None);
        assert_eq!(index.look_up(&stamp(1)), Some(known(1)));
        place.assert_quiet();
    }

    #[test]
    fn uncertain_stamps_do_not_use_the_file() {
        let place = IndexFixture::new();
        place.fill(1);
        let index = place.open();
        let mounted = |inode| Stamp {
            identity: Identity::Mounted(0),
            ..stamp(inode)
        };
        assert_eq!(index.look_up(&mounted(0)), None);
        index.remember(&mounted(1), known(1));
        assert_eq!(index.look_up(&mounted(1)), Some(known(1)));
        assert_eq!(index.look_up(&stamp(1)), None);
        drop(index);
        let index = place.open();
        assert_eq!(index.look_up(&mounted(1)), None);
        assert_eq!(index.look_up(&stamp(1)), None);
        assert_eq!(index.look_up(&stamp(0)), Some(known(1)));
        index.remember(&mounted(1), known(1));
        index.forget(&mounted(1));
        assert_eq!(index.look_up(&mounted(1)), None);
        place.assert_quiet();
    }

    #[test]
    fn several_processes_share_digests() {
        let place = IndexFixture::new();
        let (one, other) = (place.open(), place.open());
        assert_eq!(other.look_up(&stamp(1)), None);
        one.remember(&stamp(1), known(1));
        written(&one);
        assert_eq!(other.look_up(&stamp(1)), Some(known(1)));
        drop(one);
        other.remember(&stamp(2), known(2));
        written(&other);
        assert_eq!(place.open().look_up(&stamp(2)), Some(known(2)));
        place.assert_quiet();
    }

    #[test]
    fn a_forgotten_row_is_not_found_though_still_in_the_file() {
        let place = IndexFixture::new();
        place.fill(1);
        let index = place.open();
        assert_eq!(index.look_up(&stamp(0)), Some(known(1)));
        index.forget(&stamp(0));
        assert_eq!(index.look_up(&stamp(0)), None);
        written(&index);
        assert_eq!(place.open().look_up(&stamp(0)), None);
        index.remember(&stamp(0), known(2));
        assert_eq!(index.look_up(&stamp(0)), Some(known(2)));
    }

    #[test]
    fn a_forgotten_row_stays_forgotten_if_the_writer_is_busy() {
        let place = IndexFixture::new();
        place.fill(1);
        let held = Arc::new(Mutex::new(()));
        let today = {
            let held = Arc::clone(&held);
            move || {
                drop(locked(&held));
                100
            }
        };
        let index = FileIndex::open_on(&place.path(), |_| {}, today).unwrap();
        assert_eq!(index.look_up(&stamp(0)), Some(known(1)));
        let writer_is_held = locked(&held);
        let mut others = 1..;
        while !index.ops.is_full() {
            index.remember(&stamp(others.next().unwrap()), known(1));
        }
        index.forget(&stamp(0));
        // Other rows displace its row in memory.
        while index.in_cache(&stamp(0)).is_some() {
            index.remember(&stamp(others.next().unwrap()), known(1));
        }
        assert_eq!(index.look_up(&stamp(0)), None);
        drop(writer_is_held);
        written(&index);
        assert_eq!(place.open().look_up(&stamp(0)), None, "and in the file");
        index.remember(&stamp(0), known(2));
        written(&index);
        assert_eq!(place.open().look_up(&stamp(0)), Some(known(2)));
        assert_eq!(index.in_file(&stamp(0)), Some((known(2), 100)));
    }

    #[test]
    fn rows_used_each_quarter_stay_and_others_go() {
        let place = IndexFixture::new();
        place.fill(2);
        for day in [190, 280, 370] {
            let index = place.open_on_day(day);
            assert_eq!(index.look_up(&stamp(0)), Some(known(1)), "day {day}");
            written(&index);
        }
        let index = place.open_on_day(370);
        // The sweep has ended once the writer only waits.
        while index.in_file(&stamp(1)).is_some() {
            thread::yield_now();
        }
        assert_eq!(index.look_up(&stamp(0)), Some(known(1)));
    }

    #[test]
    fn every_kind_of_damage_is_set_aside_and_reported_once() {
        let zeros = |path: &Path| fs::write(path, vec![0; 40_000]).unwrap();
        let noise = |path: &Path| fs::write(path, "no database ".repeat(4_000)).unwrap();
        let cut = |path: &Path| {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        };
        let sorts: [&dyn Fn(&Path); 3] = [&zeros, &noise, &cut];
        for damage in sorts {
            let place = IndexFixture::new();
            place.fill(5_000);
            damage(&place.path());
            let index = place.open();
            assert_eq!(index.look_up(&stamp(1)), None);
            index.remember(&stamp(1), known(2));
            drop(index);
            place.assert_set_aside();
            assert_eq!(place.open().look_up(&stamp(1)), Some(known(2)));
            place.assert_quiet();
        }
    }

    #[test]
    fn a_file_of_another_program_is_left_alone() {
        for letter in ["Dear all,\n".repeat(1_000), "x".to_owned()] {
            let place = IndexFixture::new();
            fs::create_dir_all(place.path().parent().unwrap()).unwrap();
            fs::write(place.path(), &letter).unwrap();
            let opened = FileIndex::open(&place.path(), |_| {});
            assert!(matches!(opened.err(), Some(IndexError::Foreign)));
            assert_eq!(fs::read_to_string(place.path()).unwrap(), letter);
            let directory = place.path().parent().unwrap().to_owned();
            assert_eq!(fs::read_dir(directory).unwrap().count(), 1);
        }
    }

    #[test]
    fn an_empty_file_becomes_a_new_index() {
        let place = IndexFixture::new();
        place.fill(100);
        fs::write(place.path(), "").unwrap();
        let index = place.open();
        assert_eq!(index.look_up(&stamp(1)), None);
        place.assert_quiet();
    }

    #[test]
    fn a_file_found_damaged_later_is_replaced_during_use() {
        let place = IndexFixture::new();
        place.fill(20_000);
        // Everything except the first page, which looks intact.
        let file = OpenOptions::new().write(true).open(place.path()).unwrap();
        let length = file.metadata().unwrap().len() as usize;
        file.write_all_at(&vec![0x55; length - 4096], 4096).unwrap();
        let index = place.open();
        assert_eq!(index.look_up(&stamp(1)), None);
        index.remember(&stamp(1), known(2));
        written(&index);
        drop(index);
        place.assert_set_aside();
        assert_eq!(place.open().look_up(&stamp(1)), Some(known(2)));
    }

    #[test]
    fn deleting_the_directory_costs_only_the_digests() {
        let place = IndexFixture::new();
        let index = place.open();
        index.remember(&stamp(1), known(1));
        written(&index);
        fs::remove_dir_all(place.path().parent().unwrap()).unwrap();
        index.remember(&stamp(2), known(2));
        written(&index);
        assert_eq!(index.look_up(&stamp(1)), Some(known(1)));
        assert_eq!(index.in_file(&stamp(2)), Some((known(2), 100)));
        let other = place.open();
        assert_eq!(other.look_up(&stamp(1)), None);
        other.remember(&stamp(3), known(3));
        drop((index, other));
        assert_eq!(place.open().look_up(&stamp(3)), Some(known(3)));
        place.assert_quiet();
    }

    #[test]
    fn its_open_files_are_refused_under_every_name() {
        let place = IndexFixture::new();
        let root = place.directory.path();
        let options = DirectoryOptions {
            show_hidden: true,
            follow_links_inside: true,
        };
        let store = DirectoryStore::open_root(root, options).unwrap();
        place.fill(1);
        symlink("own/index", root.join("link")).unwrap();
        fs::hard_link(place.path(), root.join("hard")).unwrap();
        let path = |name: &str| ResourcePath::parse(name.as_bytes()).unwrap();
        let names = [
            "own/index",
            "own/index-wal",
            "own/index-shm",
            "link",
            "hard",
        ];
        let index = place.open();
        for name in names {
            let opened = store.open(&path(name));
            assert!(matches!(opened, Err(StoreError::NotFound)), "{name}");
            let looked = store.stat(&path(name));
            assert!(matches!(looked, Err(StoreError::NotFound)), "{name}");
        }
        drop(index);
        for name in names {
            // Another process may have it open.
            let is_beside = name.contains('-');
            assert_eq!(store.open(&path(name)).is_err(), is_beside, "{name}");
        }
    }
}

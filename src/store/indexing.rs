//! Hashing a tree of files into an index before requests come.

mod group;
mod progress;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use std::{io, mem};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::digest::Pools;
use crate::store::hash::Hashing;
use crate::store::index::keep;
use crate::store::meta::SETTLING_TIME;
use crate::store::{
    DigestIndex, DirectoryStore, Listed, Listing, Object, ObjectMeta, Store, StoreError,
};
use crate::wire::{Md5Digest, ObjectKind, ResourcePath};

use group::Group;
use progress::Counter;
pub use progress::{FilesAndBytes, IndexingProgress};

/// The indexing of a tree: one thread finds the files, and the threads of a pool take them, look
/// them up, and hash the unknown ones, several at once.
///
/// Files that changed in the last seconds cannot be kept yet (see
/// [`crate::store::Stamp::settled`]). They come last, when they have settled. Dropping this value
/// does not stop the indexing.
pub struct Indexing {
    work: Arc<IndexingState>,
    finder: Thread,
    /// Disconnected once everything is done.
    working: Receiver<()>,
}

/// How urgent an indexing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// A person waits for it: it uses all cores.
    Foreground,
    /// It uses half of the cores, and only while no request waits for a digest.
    Background,
}

/// Why a file or directory is not indexed.
#[derive(Debug, thiserror::Error)]
pub enum IndexingError {
    /// It could not be opened or looked at.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It could not be read to its end, or changed each time it was read.
    #[error("{0}")]
    Hash(String),
}

impl Indexing {
    /// Starts the indexing. `on_failure` is called, from any thread, for each file or directory
    /// that cannot be read.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(
        tree: Arc<DirectoryStore>,
        index: Arc<dyn DigestIndex>,
        pools: Arc<Pools>,
        priority: Priority,
        on_failure: impl Fn(&ResourcePath, &IndexingError) + Send + Sync + 'static,
    ) -> io::Result<Indexing> {
        let whole = |tree: &DirectoryStore| tree.list(&ResourcePath::root(), true, None);
        Indexing::start_with(tree, index, pools, priority, whole, on_failure)
    }

    /// Starts with the listing that `list` returns, of which only files count.
    pub(super) fn start_with(
        tree: Arc<DirectoryStore>,
        index: Arc<dyn DigestIndex>,
        pools: Arc<Pools>,
        priority: Priority,
        list: impl FnOnce(&DirectoryStore) -> Result<Box<dyn Listing>, StoreError> + Send + 'static,
        on_failure: impl Fn(&ResourcePath, &IndexingError) + Send + Sync + 'static,
    ) -> io::Result<Indexing> {
        let work = Arc::new(IndexingState {
            tree,
            index,
            pools,
            priority,
            on_failure: Box::new(on_failure),
            is_stopped: AtomicBool::new(false),
            is_all_found: AtomicBool::new(false),
            found: Counter::default(),
            hashed: Counter::default(),
            known: Counter::default(),
            unsettled: Counter::default(),
            unkept: Counter::default(),
            settling: AtomicU64::new(0),
            failed: Counter::default(),
            bytes_done: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
        });
        let (still_working, working) = bounded(0);
        let (files, to_hash) = bounded(FILES_AHEAD_MAX);
        let finding = Arc::clone(&work);
        let finder = thread::Builder::new().name("ft-find".to_owned()).spawn({
            let still_working = still_working.clone();
            move || {
                finding.find(list, &files);
                drop(still_working);
            }
        })?;
        work.start_workers(&to_hash, &still_working);
        Ok(Indexing {
            work,
            finder: finder.thread().clone(),
            working,
        })
    }

    /// The progress so far.
    pub fn progress(&self) -> IndexingProgress {
        let work = &self.work;
        IndexingProgress {
            // In this order, done never exceeds found.
            bytes_done: work.bytes_done.load(Ordering::SeqCst),
            hashed: work.hashed.get(),
            known: work.known.get(),
            unsettled: work.unsettled.get(),
            unkept: work.unkept.get(),
            settling: work.settling.load(Ordering::SeqCst),
            failed: work.failed.get(),
            is_all_found: work.is_all_found.load(Ordering::SeqCst),
            found: work.found.get(),
        }
    }

    /// Stops soon: within a round of a few MiB, or once a background job that gave way may continue.
    /// Finished digests are kept.
    pub fn stop(&self) {
        self.work.is_stopped.store(true, Ordering::SeqCst);
        self.finder.unpark();
    }

    /// Waits for the end, at most this long. Returns whether it has ended.
    pub fn wait(&self, at_most: Duration) -> bool {
        self.working.recv_timeout(at_most) == Err(RecvTimeoutError::Disconnected)
    }
}

/// Called, from any thread, for each file or directory that cannot be read.
type OnFailure = Box<dyn Fn(&ResourcePath, &IndexingError) + Send + Sync>;

/// The state that the threads share.
struct IndexingState {
    tree: Arc<DirectoryStore>,
    index: Arc<dyn DigestIndex>,
    pools: Arc<Pools>,
    priority: Priority,
    on_failure: OnFailure,
    is_stopped: AtomicBool,
    is_all_found: AtomicBool,
    found: Counter,
    hashed: Counter,
    known: Counter,
    unsettled: Counter,
    unkept: Counter,
    settling: AtomicU64,
    failed: Counter,
    bytes_done: AtomicU64,
    /// Threads that wait for a file.
    waiting: AtomicUsize,
}

/// A file and its metadata when it was found.
type FoundFile = (ResourcePath, ObjectMeta);

/// The result for one file.
enum FileResult {
    Hashed,
    Known,
    Unsettled,
    /// Its file system does not guarantee that it stays the same file.
    Unkept,
    Gone,
}

impl IndexingState {
    /// Finds the files; those that cannot be kept yet come last.
    fn find(
        &self,
        list: impl FnOnce(&DirectoryStore) -> Result<Box<dyn Listing>, StoreError>,
        files: &Sender<FoundFile>,
    ) {
        let mut unsettled = Vec::new();
        let root = ResourcePath::root();
        let mut listing = match list(&self.tree) {
            Ok(listing) => listing,
            Err(error) => return self.fail(&root, 0, &error.into()),
        };
        loop {
            if !self.may_continue() {
                return;
            }
            let Listed {
                path, meta, error, ..
            } = match listing.next() {
                Ok(Some(listed)) => listed,
                Ok(None) => break,
                Err(error) => {
                    self.fail(&root, 0, &error.into());
                    break;
                }
            };
            match (meta, error) {
                (_, Some(StoreError::NotAtRest)) => {}
                (_, Some(error)) => self.fail(&path, 0, &error.into()),
                (Some(meta), None) if meta.kind == ObjectKind::File => {
                    self.found.add(meta.size());
                    let is_settled = meta.stamp.settled(meta.looked_at);
                    if !is_settled && unsettled.len() < UNSETTLED_FILES_MAX {
                        unsettled.push((path, meta));
                    } else if files.send((path, meta)).is_err() {
                        return;
                    }
                }
                (_, None) => {}
            }
        }
        self.is_all_found.store(true, Ordering::SeqCst);
        if !unsettled.is_empty() {
            self.settling
                .store(unsettled.len() as u64, Ordering::SeqCst);
            self.wait_for_settling();
            self.settling.store(0, Ordering::SeqCst);
        }
        for (path, meta) in unsettled {
            if !self.may_continue() || files.send((path, meta)).is_err() {
                return;
            }
        }
    }

    fn wait_for_settling(&self) {
        let until = Instant::now() + SETTLING_TIME + CLOCK_TICK_MAX;
        while !self.is_stopped() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }

    /// Makes each thread of the pool take files until there are no more.
    fn start_workers(self: &Arc<Self>, files: &Receiver<FoundFile>, still_working: &Sender<()>) {
        let (workers, open_files) = match self.priority {
            Priority::Foreground => (self.pools.foreground_threads(), OPEN_FILES_MAX),
            Priority::Background => (self.pools.background_threads(), BACKGROUND_OPEN_FILES_MAX),
        };
        let open_limit = (open_files / workers).clamp(1, WORKER_OPEN_FILES_MAX);
        for _ in 0..workers {
            let (work, files) = (Arc::clone(self), files.clone());
            let still_working = still_working.clone();
            let job = move || {
                Group::new(&work, &files, open_limit).run();
                drop(still_working);
            };
            match self.priority {
                Priority::Foreground => self.pools.foreground(job),
                Priority::Background => self.pools.background(job),
            }
        }
    }

    /// Opens a file that has to be hashed; `Err` if it need not be.
    fn begin(
        &self,
        path: &ResourcePath,
        found: &ObjectMeta,
    ) -> Result<Result<Hashing, FileResult>, IndexingError> {
        if !found.stamp.identity.is_lasting() {
            // Its digest would be forgotten before any request.
            return Ok(Err(FileResult::Unkept));
        }
        if self.index.look_up(&found.stamp).is_some() {
            return Ok(Err(FileResult::Known));
        }
        let (file, meta) = match self.tree.open(path) {
            Ok(opened) => opened,
            Err(StoreError::NotFound | StoreError::Away | StoreError::NotADirectory) => {
                return Ok(Err(FileResult::Gone));
            }
            Err(error) => return Err(error.into()),
        };
        if !meta.stamp.settled(meta.looked_at) {
            return Ok(Err(FileResult::Unsettled));
        }
        let file = Arc::new(file).for_hashing();
        Ok(Ok(Hashing::begin(file, meta)))
    }

    /// Keeps the digest of a file, unless the file changed or may still change.
    fn keep(&self, meta: &ObjectMeta, md5: Md5Digest, is_untouched: bool) -> FileResult {
        if !is_untouched || !meta.stamp.settled(meta.looked_at) {
            return FileResult::Unsettled;
        }
        keep(&*self.index, meta, md5);
        self.index.catch_up();
        FileResult::Hashed
    }

    /// Counts the result for a file of which `counted` bytes are counted as done.
    fn count(
        &self,
        (path, found): &FoundFile,
        mut counted: u64,
        result: Result<FileResult, IndexingError>,
    ) {
        let size = found.size();
        self.count_done(&mut counted, size);
        match result {
            Ok(FileResult::Hashed) => self.hashed.add(size),
            Ok(FileResult::Known) => self.known.add(size),
            Ok(FileResult::Unsettled) => self.unsettled.add(size),
            Ok(FileResult::Unkept) => self.unkept.add(size),
            Ok(FileResult::Gone) => {}
            Err(error) => self.fail(path, size, &error),
        }
    }

    /// Sets the bytes counted as done for a file.
    fn count_done(&self, counted: &mut u64, done: u64) {
        // The sum wraps, which subtracts if the file is started again.
        let more = done.wrapping_sub(mem::replace(counted, done));
        self.bytes_done.fetch_add(more, Ordering::SeqCst);
    }

    fn fail(&self, path: &ResourcePath, bytes: u64, error: &IndexingError) {
        self.failed.add(bytes);
        (self.on_failure)(path, error);
    }

    /// Gives way if necessary. Returns `false` if the indexing was stopped.
    fn may_continue(&self) -> bool {
        if self.priority == Priority::Background && !self.is_stopped() {
            self.pools.give_way();
        }
        !self.is_stopped()
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::SeqCst)
    }
}

/// Files found and not yet taken.
const FILES_AHEAD_MAX: usize = 1_024;
/// Files to return to, at some 200 bytes each.
const UNSETTLED_FILES_MAX: usize = 100_000;
/// Files that the workers together keep open at most.
const OPEN_FILES_MAX: usize = 256;
/// The same beside requests, which need descriptors and memory too.
const BACKGROUND_OPEN_FILES_MAX: usize = 32;
/// Files that one worker keeps open at most: the lanes of one register.
const WORKER_OPEN_FILES_MAX: usize = 16;
/// Attempts before a file that changes all the time is given up.
const CHANGED_HASHES_MAX: u32 = 3;
/// The clock of file times may be behind by this much.
const CLOCK_TICK_MAX: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::mpsc;

    use super::*;
    use crate::digest::Md5Stream;
    use crate::store::hash::STEP_BYTES;
    use crate::store::{DirectoryOptions, KnownDigest, MemoryIndex, Stamp};

    fn tree(root: &Path) -> Arc<DirectoryStore> {
        let options = DirectoryOptions {
            show_hidden: false,
            follow_links_inside: true,
        };
        Arc::new(DirectoryStore::open_root(root, options).unwrap())
    }

    fn begin(
        tree: &Arc<DirectoryStore>,
        index: &Arc<MemoryIndex>,
        pools: &Arc<Pools>,
        priority: Priority,
    ) -> Indexing {
        let index = Arc::clone(index) as Arc<dyn DigestIndex>;
        let on_failure = |path: &ResourcePath, error: &IndexingError| panic!("{path:?}: {error}");
        let (tree, pools) = (Arc::clone(tree), Arc::clone(pools));
        Indexing::start(tree, index, pools, priority, on_failure).unwrap()
    }

    fn finish(indexing: &Indexing) -> IndexingProgress {
        assert!(
            indexing.wait(Duration::from_secs(60)),
            "{:?}",
            indexing.progress()
        );
        indexing.progress()
    }

    #[test]
    fn hashes_a_tree_once_after_its_files_have_settled() {
        let directory = tempfile::tempdir().unwrap();
        let contents = [0, 1, 4_096, STEP_BYTES, 5 * 1024 * 1024 + 1].map(|size| vec![7; size]);
        fs::create_dir(directory.path().join("below")).unwrap();
        for content in &contents {
            fs::write(
                directory.path().join(format!("below/{}", content.len())),
                content,
            )
            .unwrap();
        }
        let bytes = contents.iter().map(|content| content.len() as u64).sum();
        let all = FilesAndBytes {
            files: contents.len() as u64,
            bytes,
        };
        let (tree, index) = (tree(directory.path()), Arc::new(MemoryIndex::new()));
        let pools = Arc::new(Pools::start(2).unwrap());
        let first = finish(&begin(&tree, &index, &pools, Priority::Foreground));
        let expected = IndexingProgress {
            found: all,
            is_all_found: true,
            hashed: all,
            bytes_done: bytes,
            ..IndexingProgress::default()
        };
        assert_eq!(first, expected);
        for content in &contents {
            let path = ResourcePath::parse(format!("below/{}", content.len()).as_bytes()).unwrap();
            let known = index.look_up(&tree.stat(&path).unwrap().stamp).unwrap();
            assert_eq!(known.md5, Md5Stream::digest(content));
        }
        let second = finish(&begin(&tree, &index, &pools, Priority::Background));
        let (hashed, known) = (FilesAndBytes::default(), all);
        let expected = IndexingProgress {
            hashed,
            known,
            ..expected
        };
        assert_eq!(second, expected);
    }

    #[test]
    fn hashes_long_and_short_files_side_by_side() {
        let folder = tempfile::tempdir().unwrap();
        let contents: Vec<Vec<u8>> = (0..150_usize)
            .map(|at| {
                // No byte, less than a step, and several steps.
                let length = (at % 10).pow(3) * 1_024 + at * at % 4_096;
                (0..length).map(|byte| (byte * 31 + at) as u8).collect()
            })
            .collect();
        for (at, content) in contents.iter().enumerate() {
            fs::write(folder.path().join(at.to_string()), content).unwrap();
        }
        let (tree, index) = (tree(folder.path()), Arc::new(MemoryIndex::new()));
        // One thread takes all files.
        let pools = Arc::new(Pools::start(1).unwrap());
        let progress = finish(&begin(&tree, &index, &pools, Priority::Foreground));
        let bytes: usize = contents.iter().map(Vec::len).sum();
        assert_eq!(progress.hashed.files, 150, "{progress:?}");
        assert_eq!(progress.bytes_done, bytes as u64);
        for (at, content) in contents.iter().enumerate() {
            let path = ResourcePath::parse(at.to_string().as_bytes()).unwrap();
            let known = index.look_up(&tree.stat(&path).unwrap().stamp).unwrap();
            assert_eq!(known.md5, Md5Stream::digest(content), "{at}");
        }
    }

    /// Panics for files of 13 bytes.
    struct PanickingIndex(MemoryIndex);

    impl DigestIndex for PanickingIndex {
        fn look_up(&self, stamp: &Stamp) -> Option<KnownDigest> {
            assert!(stamp.size != 13, "planted");
            self.0.look_up(stamp)
        }

        fn remember(&self, stamp: &Stamp, known: KnownDigest) {
            self.0.remember(stamp, known);
        }

        fn forget(&self, stamp: &Stamp) {
            self.0.forget(stamp);
        }
    }

    #[test]
    fn a_panic_fails_one_file_of_a_round() {
        let folder = tempfile::tempdir().unwrap();
        for length in 0..40 {
            fs::write(folder.path().join(length.to_string()), vec![1; length]).unwrap();
        }
        let index = Arc::new(PanickingIndex(MemoryIndex::new()));
        let pools = Arc::new(Pools::start(1).unwrap());
        let tree = tree(folder.path());
        let indexing =
            Indexing::start(tree, index, pools, Priority::Foreground, |_, _| ()).unwrap();
        let progress = finish(&indexing);
        assert_eq!(progress.hashed.files, 39, "{progress:?}");
        assert_eq!(progress.failed.files, 1, "{progress:?}");
        assert_eq!(progress.bytes_done, progress.found.bytes);
    }

    #[test]
    fn background_hashing_gives_way_to_requests() {
        let (tree, index) = (
            tree(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")),
            Arc::new(MemoryIndex::new()),
        );
        let pools = Arc::new(Pools::start(2).unwrap());
        let (release, released) = mpsc::channel::<()>();
        pools.foreground(move || released.recv().unwrap());
        let indexing = begin(&tree, &index, &pools, Priority::Background);
        assert!(!indexing.wait(Duration::from_millis(20)));
        assert_eq!(indexing.progress().hashed, FilesAndBytes::default());
        release.send(()).unwrap();
        let progress = finish(&indexing);
        assert!(progress.hashed.files > 50, "{progress:?}");
    }

    #[test]
    fn stops_while_it_waits_for_files_to_settle() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("young"), "x").unwrap();
        let (tree, index) = (tree(directory.path()), Arc::new(MemoryIndex::new()));
        let pools = Arc::new(Pools::start(1).unwrap());
        let indexing = begin(&tree, &index, &pools, Priority::Foreground);
        indexing.stop();
        let progress = finish(&indexing);
        assert_eq!(progress.hashed.files, 0, "{progress:?}");
    }
}

//! A tree that is kept hashed: files that change are hashed again.

mod directories;
mod limit;
mod watches;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::digest::Pools;
use crate::store::indexing::{Indexing, IndexingError, Priority};
use crate::store::meta::SETTLING_TIME;
use crate::store::{DigestIndex, DirectoryStore, Listing};
use crate::wire::ResourcePath;
use directories::ChangedDirectories;
pub use limit::InotifyLimit;
use watches::{Changed, Watches};

/// Hashes a tree into an index in the background, and hashes files again when they have changed and
/// the changes have settled.
///
/// The kernel reports only changes by this machine, for each directory, when a file was closed
/// after writing, renamed or given other attributes. Writes by other machines to a network file
/// system, and stores into mapped memory, are not reported. Such files are hashed on request. If
/// not all directories can be watched, the whole tree is checked every ten minutes.
pub struct Watching {
    work: Arc<WatchingState>,
    /// Disconnected once it has ended.
    working: Receiver<()>,
}

/// Called, from any thread, if not everything is watched or changes were lost, with the reason.
type OnPartial = Box<dyn Fn(&io::Error) + Send + Sync>;
type SharedOnFailure = Arc<dyn Fn(&ResourcePath, &IndexingError) + Send + Sync>;

struct WatchingState {
    tree: Arc<DirectoryStore>,
    index: Arc<dyn DigestIndex>,
    pools: Arc<Pools>,
    watches: Arc<Watches>,
    on_failure: SharedOnFailure,
    is_stopped: AtomicBool,
}

impl Watching {
    /// Starts with the whole tree. `on_failure` is called for each file or directory that cannot be
    /// read. `on_partial` is called at most once if not everything is watched. It is called at most
    /// once more if changes were lost ([`InotifyLimit::QueuedEvents`]); then the whole tree is
    /// checked. Both are called from any thread.
    ///
    /// # Errors
    /// The kernel provides no inotify instance ([`InotifyLimit::Instances`]), or a thread cannot be
    /// started.
    pub fn start(
        tree: Arc<DirectoryStore>,
        index: Arc<dyn DigestIndex>,
        pools: Arc<Pools>,
        on_failure: impl Fn(&ResourcePath, &IndexingError) + Send + Sync + 'static,
        on_partial: impl Fn(&io::Error) + Send + Sync + 'static,
    ) -> io::Result<Watching> {
        let work = Arc::new(WatchingState {
            watches: Arc::new(Watches::new(Arc::clone(&tree), Box::new(on_partial))?),
            tree,
            index,
            pools,
            on_failure: Arc::new(on_failure),
            is_stopped: AtomicBool::new(false),
        });
        let (still_working, working) = bounded(0);
        let watching = Arc::clone(&work);
        thread::Builder::new()
            .name("ft-watch".to_owned())
            .spawn(move || watching.watch(still_working))?;
        Ok(Watching { work, working })
    }

    /// Continues with another root, if the tree has one by now.
    pub fn check_root(&self) {
        self.work.watches.wake();
    }

    /// Stops soon; finished digests are kept.
    pub fn stop(&self) {
        self.work.is_stopped.store(true, Ordering::SeqCst);
        self.work.watches.wake();
    }

    /// Waits for the end, at most this long. Returns whether it has ended.
    pub fn wait(&self, at_most: Duration) -> bool {
        self.working.recv_timeout(at_most) == Err(RecvTimeoutError::Disconnected)
    }
}

impl WatchingState {
    fn watch(&self, still_working: Sender<()>) {
        let mut changed = Changed::Everything;
        let mut root = self.tree.root_number();
        while !self.is_stopped() {
            let now = self.tree.root_number();
            if now != root {
                root = now;
                self.watches.forget_all();
                changed = Changed::Everything;
            }
            let begun = Instant::now();
            changed = self.hash(changed, root);
            let took = begun.elapsed();
            if self.is_over(root) {
                // The change was signaled during hashing, which cleared the alarm.
                continue;
            }
            if changed.is_nothing() {
                let at_most = self.watches.are_partial().then_some(RECHECK_INTERVAL);
                self.watches.gather(&mut changed, at_most);
                if changed.is_nothing() {
                    if self.tree.root_number() == root && at_most.is_some() {
                        changed = Changed::Everything;
                    }
                    continue;
                }
            }
            // A tree that changes all the time takes a small part of the time, however large it is.
            let until = Instant::now() + PAUSE_MIN + took * PAUSE_PER_PASS;
            while !self.is_over(root)
                && let left = until.saturating_duration_since(Instant::now())
                && !left.is_zero()
            {
                self.watches.gather(&mut changed, Some(left));
            }
        }
        drop(still_working);
    }

    /// Hashes what changed in the root with this number. Returns what changed meanwhile.
    fn hash(&self, changed: Changed, root: u32) -> Changed {
        let directories =
            ChangedDirectories::new(Arc::clone(&self.tree), Arc::clone(&self.watches), changed);
        let on_failure = Arc::clone(&self.on_failure);
        let pass = Indexing::start_with(
            Arc::clone(&self.tree),
            Arc::clone(&self.index),
            Arc::clone(&self.pools),
            Priority::Background,
            move |_| Ok(Box::new(directories) as Box<dyn Listing>),
            move |path, error| on_failure(path, error),
        );
        let mut meanwhile = Changed::nothing();
        match pass {
            Ok(pass) => {
                while !pass.wait(Duration::ZERO) {
                    if self.is_over(root) {
                        pass.stop();
                    }
                    // Read events meanwhile, so that the kernel's queue does not overflow.
                    self.watches.gather(&mut meanwhile, Some(GATHERING_PAUSE));
                }
            }
            // No thread is available now; try later.
            Err(_) => meanwhile = Changed::Everything,
        }
        meanwhile
    }

    /// Whether there is nothing more to do in the root with this number.
    fn is_over(&self, root: u32) -> bool {
        self.is_stopped() || self.tree.root_number() != root
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::SeqCst)
    }
}

/// The interval between checks of the whole tree if not all of it is watched.
const RECHECK_INTERVAL: Duration = Duration::from_secs(600);
/// Changes before the pause have settled after it.
const PAUSE_MIN: Duration = SETTLING_TIME.saturating_add(Duration::from_millis(100));
/// The length of the pause after a pass, as a multiple of the pass.
const PAUSE_PER_PASS: u32 = 8;
/// The interval between reads of events while files are hashed.
const GATHERING_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::sync::mpsc;

    use super::*;
    use crate::digest::Md5Stream;
    use crate::store::{DirectoryOptions, KnownDigest, Stamp};
    use crate::wire::Md5Digest;

    /// Reports every digest that is kept.
    struct ReportingIndex(mpsc::Sender<Md5Digest>);

    impl DigestIndex for ReportingIndex {
        fn look_up(&self, _stamp: &Stamp) -> Option<KnownDigest> {
            None
        }

        fn remember(&self, _stamp: &Stamp, known: KnownDigest) {
            let _ = self.0.send(known.md5);
        }

        fn forget(&self, _stamp: &Stamp) {}
    }

    struct WatchFixture {
        watching: Watching,
        kept: mpsc::Receiver<Md5Digest>,
    }

    impl WatchFixture {
        fn start(root: &Path) -> WatchFixture {
            let (sender, kept) = mpsc::channel();
            let options = DirectoryOptions {
                show_hidden: false,
                follow_links_inside: true,
            };
            let tree = Arc::new(DirectoryStore::open_root(root, options).unwrap());
            let pools = Arc::new(Pools::start(2).unwrap());
            let index = Arc::new(ReportingIndex(sender));
            let on_partial = |error: &io::Error| panic!("{error}");
            let on_failure =
                |path: &ResourcePath, error: &IndexingError| panic!("{path:?}: {error}");
            let watching = Watching::start(tree, index, pools, on_failure, on_partial).unwrap();
            WatchFixture { watching, kept }
        }

        /// Waits until each of these contents was hashed and kept.
        fn expect(&self, contents: &[&str]) {
            let mut missing: Vec<Md5Digest> = contents.iter().map(|text| md5(text)).collect();
            while !missing.is_empty() {
                let md5 = self.kept.recv_timeout(LIMIT).expect("not all are hashed");
                missing.retain(|&missing| missing != md5);
            }
        }
    }

    fn md5(text: &str) -> Md5Digest {
        let mut stream = Md5Stream::new();
        stream.update(text.as_bytes());
        stream.finish()
    }

    impl Drop for WatchFixture {
        fn drop(&mut self) {
            self.watching.stop();
            assert!(self.watching.wait(LIMIT));
        }
    }

    /// Hashing in the background gives way to everything else on the machine.
    const LIMIT: Duration = Duration::from_secs(300);

    #[test]
    fn written_renamed_or_touched_files_are_hashed_again() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/b/first"), "first").unwrap();
        let watched = WatchFixture::start(directory.path());
        watched.expect(&["first"]);
        fs::write(at("a/b/second"), "second").unwrap();
        fs::write(at(".aside"), "renamed").unwrap();
        fs::rename(at(".aside"), at("a/b/second")).unwrap();
        fs::set_permissions(at("a/b/first"), fs::Permissions::from_mode(0o600)).unwrap();
        // Moved in as a whole, so that only its topmost directory is reported.
        fs::create_dir_all(at("new/folder/inside")).unwrap();
        fs::write(at("new/folder/inside/file"), "third").unwrap();
        watched.expect(&["first", "renamed", "third"]);
        // The kernel reports it under its old name, where nothing would be found.
        fs::rename(at("a/b"), at("new/b")).unwrap();
        watched.expect(&["renamed"]);
        fs::write(at("new/b/again"), "by its new name").unwrap();
        watched.expect(&["by its new name"]);
    }

    #[test]
    fn a_single_file_is_watched_too() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "once").unwrap();
        let watched = WatchFixture::start(&file);
        watched.expect(&["once"]);
        fs::write(&file, "twice").unwrap();
        watched.expect(&["twice"]);
    }

    #[test]
    fn continues_in_a_replaced_root() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir_all(root.join("below")).unwrap();
        fs::write(root.join("below/file"), "first").unwrap();
        let watched = WatchFixture::start(&root);
        watched.expect(&["first"]);
        fs::rename(&root, directory.path().join("moved")).unwrap();
        fs::create_dir_all(root.join("below")).unwrap();
        fs::write(root.join("below/file"), "second").unwrap();
        watched.watching.work.tree.check_root();
        watched.watching.check_root();
        watched.expect(&["second"]);
        fs::write(root.join("below/file"), "watched").unwrap();
        watched.expect(&["watched"]);
    }

    #[test]
    fn stops_at_once_while_it_waits() {
        let directory = tempfile::tempdir().unwrap();
        let watched = WatchFixture::start(directory.path());
        drop(watched);
    }
}

//! Changes reported by the kernel: inotify.

use std::collections::{HashMap, HashSet};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::{InotifyLimit, OnPartial};
use crate::store::{DirectoryStore, StoreError};
use crate::wire::ResourcePath;

/// The directories that are watched.
pub(super) struct Watches {
    tree: Arc<DirectoryStore>,
    inotify: OwnedFd,
    /// Readable from [`Watches::wake`] to the end of the next [`Watches::gather`].
    alarm: OwnedFd,
    /// The directory of each watch, at its last known path.
    paths: Mutex<HashMap<i32, ResourcePath>>,
    are_partial: AtomicBool,
    has_overflowed: AtomicBool,
    on_partial: OnPartial,
}

/// Where something changed.
pub(super) enum Changed {
    /// Anywhere below the root.
    Everything,
    /// In these directories, not below them.
    Directories(HashSet<ResourcePath>),
}

impl Changed {
    pub(super) fn nothing() -> Changed {
        Changed::Directories(HashSet::new())
    }

    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Changed::Directories(directories) if directories.is_empty())
    }

    fn add(&mut self, directory: &ResourcePath) {
        if let Changed::Directories(directories) = self
            && !directories.contains(directory)
        {
            if directories.len() == DIRECTORIES_MAX {
                *self = Changed::Everything;
            } else {
                directories.insert(directory.clone());
            }
        }
    }
}

impl Watches {
    pub(super) fn new(tree: Arc<DirectoryStore>, on_partial: OnPartial) -> io::Result<Watches> {
        Ok(Watches {
            tree,
            inotify: new_instance()?,
            alarm: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            paths: Mutex::default(),
            are_partial: AtomicBool::new(false),
            has_overflowed: AtomicBool::new(false),
            on_partial,
        })
    }

    /// Watches a directory. Returns whether it was not watched at this path before.
    pub(super) fn watch(&self, directory: &ResourcePath) -> bool {
        match self.tree.watch(directory, &self.inotify, CHANGES) {
            Ok(watch) => {
                let before = self.paths().insert(watch, directory.clone());
                before.as_ref() != Some(directory)
            }
            // Its files are not hashed at all, or are reported through its parent.
            Err(
                StoreError::NotAtRest
                | StoreError::NotFound
                | StoreError::Away
                | StoreError::NotADirectory
                | StoreError::Forbidden,
            ) => false,
            Err(StoreError::Busy(error) | StoreError::Io(error)) => {
                self.become_partial(error);
                false
            }
            Err(error) => {
                self.become_partial(io::Error::other(error));
                false
            }
        }
    }

    fn become_partial(&self, error: io::Error) {
        if !self.are_partial.swap(true, Ordering::SeqCst) {
            (self.on_partial)(&error);
        }
    }

    fn overflow(&self) {
        if !self.has_overflowed.swap(true, Ordering::SeqCst) {
            (self.on_partial)(&io::Error::other(InotifyLimit::QueuedEvents));
        }
    }

    /// Whether some directories could not be watched.
    pub(super) fn are_partial(&self) -> bool {
        self.are_partial.load(Ordering::SeqCst)
    }

    /// Waits for changes, at most this long, and adds all of them to `changed`.
    pub(super) fn gather(&self, changed: &mut Changed, at_most: Option<Duration>) {
        let at_most = at_most.map(|time| Timespec::try_from(time).unwrap_or(WAIT_MAX));
        let mut waited_for = [
            PollFd::new(&self.inotify, PollFlags::IN),
            PollFd::new(&self.alarm, PollFlags::IN),
        ];
        // If this is interrupted, the caller calls again.
        let _ = poll(&mut waited_for, at_most.as_ref());
        let mut buffer = [MaybeUninit::uninit(); EVENTS_BYTES];
        let _ = rustix::io::read(&self.alarm, &mut [0; 8]);
        let mut events = Reader::new(&self.inotify, &mut buffer);
        let mut paths = self.paths();
        // Until there are no more events.
        while let Ok(event) = events.next() {
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                *changed = Changed::Everything;
                self.overflow();
            } else if event.events().contains(ReadFlags::IGNORED) {
                paths.remove(&event.wd());
            } else if let Some(directory) = paths.get(&event.wd()) {
                changed.add(directory);
            }
        }
    }

    /// Stops watching everything.
    pub(super) fn forget_all(&self) {
        for (watch, _) in self.paths().drain() {
            // The watch may be gone with its directory.
            let _ = inotify::remove_watch(&self.inotify, watch);
        }
    }

    /// Ends the running [`Watches::gather`], or the next one, at once.
    pub(super) fn wake(&self) {
        // If the counter is full, it is readable already.
        let _ = rustix::io::write(&self.alarm, &1_u64.to_ne_bytes());
    }

    fn paths(&self) -> MutexGuard<'_, HashMap<i32, ResourcePath>> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// inotify_init(2) returns one errno for two limits.
fn new_instance() -> io::Result<OwnedFd> {
    inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(|errno| {
        // If another descriptor is available, the descriptor limit of this process is not the
        // cause.
        let has_descriptors = || eventfd(0, EventfdFlags::CLOEXEC).is_ok();
        match errno {
            Errno::MFILE if has_descriptors() => io::Error::other(InotifyLimit::Instances),
            errno => errno.into(),
        }
    })
}

/// A file was closed after writing, was added, or has other attributes (its digest is kept under
/// its ctime).
const CHANGES: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::CREATE)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::ONLYDIR);
/// Some thousand events for one system call.
const EVENTS_BYTES: usize = 32 * 1024;
/// Changed directories; beyond this number, everything is checked.
const DIRECTORIES_MAX: usize = 10_000;
const WAIT_MAX: Timespec = Timespec {
    tv_sec: 3600,
    tv_nsec: 0,
};

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::DirectoryOptions;

    fn watches(root: &std::path::Path) -> Watches {
        watches_that(root, Box::new(|error| panic!("{error}")))
    }

    fn watches_that(root: &std::path::Path, on_partial: OnPartial) -> Watches {
        let options = DirectoryOptions {
            show_hidden: false,
            follow_links_inside: true,
        };
        let tree = Arc::new(DirectoryStore::open_root(root, options).unwrap());
        Watches::new(tree, on_partial).unwrap()
    }

    fn path(name: &str) -> ResourcePath {
        ResourcePath::parse(name.as_bytes()).unwrap()
    }

    fn gathered(watches: &Watches) -> Option<Vec<ResourcePath>> {
        let mut changed = Changed::nothing();
        watches.gather(&mut changed, Some(Duration::ZERO));
        match changed {
            Changed::Everything => None,
            Changed::Directories(directories) => Some(directories.into_iter().collect()),
        }
    }

    #[test]
    fn reports_the_directory_of_a_change() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("a/b")).unwrap();
        fs::write(directory.path().join("a/b/file"), "there").unwrap();
        let watches = watches(directory.path());
        assert!(watches.watch(&path("")) && watches.watch(&path("a/b")));
        assert!(!watches.watch(&path("a/b")) && !watches.watch(&path("gone")));
        assert_eq!(gathered(&watches), Some(vec![]));
        fs::read(directory.path().join("a/b/file")).unwrap();
        assert_eq!(gathered(&watches), Some(vec![]), "to read changes nothing");
        fs::write(directory.path().join("a/b/file"), "changed").unwrap();
        assert_eq!(gathered(&watches), Some(vec![path("a/b")]));
        fs::remove_dir_all(directory.path().join("a")).unwrap();
        gathered(&watches);
        assert_eq!(watches.paths().len(), 1, "what is gone is forgotten");
    }

    #[test]
    fn an_event_overflow_is_reported_once_and_rechecks_all() {
        let directory = tempfile::tempdir().unwrap();
        let (sender, reported) = std::sync::mpsc::channel();
        let on_partial = move |error: &io::Error| sender.send(InotifyLimit::of(error)).unwrap();
        let watches = watches_that(directory.path(), Box::new(on_partial));
        watches.watch(&path(""));
        let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let most: usize = most.trim().parse().unwrap();
        // Two events each: it is created, and closed.
        for _ in 0..2 {
            for number in 0..=most / 2 {
                let file = directory.path().join(number.to_string());
                fs::write(&file, "").unwrap();
                fs::remove_file(&file).unwrap();
            }
            assert_eq!(gathered(&watches), None);
        }
        let reported: Vec<_> = reported.try_iter().collect();
        assert_eq!(reported, [Some(InotifyLimit::QueuedEvents)]);
    }
}

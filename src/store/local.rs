//! A directory of this machine as a store.

mod listing;
mod opened;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, TryLockError};
use std::time::{Duration, Instant};

use rustix::fs::inotify::WatchFlags;
use rustix::io::Errno;

use crate::store::beneath::meta_of;
use crate::store::calls::{CallThreads, Mount};
use crate::store::hash_reader::{DirectFile, HashReader};
use crate::store::index::is_set_aside;
use crate::store::{Listing, Object, ObjectMeta, Store, StoreError};
use crate::wire::ResourcePath;
use listing::MountedWalk;
use opened::{OpenRoot, RootTarget};

/// Which entries of a directory are served.
#[derive(Clone, Debug)]
pub struct DirectoryOptions {
    /// Serve names that begin with a dot. Partial files (`.ft-…`), indexes that were set aside, and
    /// the log, journal and locks beside an index are never served.
    pub show_hidden: bool,
    /// Follow symbolic links that stay inside the root; otherwise they are `NotFound`.
    pub follow_links_inside: bool,
}

/// A directory or a single file of this machine, served read-only.
///
/// - A link is followed if it is relative and every step of it stays inside the root. Every other
///   link is `NotFound`, an absolute one even if it points inside. A visible link to a hidden file
///   serves that file, because the owner made it, as with mounts and hard links.
/// - Without `openat2`, in old kernels and some sandboxes, no link is followed at all.
/// - Only regular files are opened. FIFOs, sockets and devices are not touched. The size of a file
///   is that of `fstat`, so most files of `/proc`, which report 0, are not served.
/// - The root is held open. It is opened again when its path leads elsewhere: to a new directory,
///   to a mount, or through a changed link. Requests check this, at most once a second. Open files
///   and listings stay with the root in which they were opened. While the path leads nowhere,
///   everything is [`StoreError::Away`].
///
/// Files on network and FUSE file systems are accessed by threads that may hang. If the file system
/// does not answer, the result is [`StoreError::Stalled`], in time, and all other files are served
/// as before.
pub struct DirectoryStore {
    shared: Arc<SharedRoot>,
    /// Directories on the path to the root may hang, too.
    path_mount: Arc<Mount>,
}

/// The part of a store that a check of its root needs. The thread that checks may hang.
struct SharedRoot {
    name: PathBuf,
    /// For a `name` relative to a directory that was removed.
    absolute: PathBuf,
    options: DirectoryOptions,
    threads: Arc<CallThreads>,
    current: RwLock<CurrentRoot>,
    /// Held during a check, so that a check that hangs blocks only one thread.
    checking: Mutex<()>,
    started: Instant,
    /// When the next check is due, in milliseconds since `started`.
    next_check_ms: AtomicU64,
    on_change: OnceLock<OnRootChange>,
}

/// A change of the root of a store.
#[derive(Debug)]
pub enum RootChange {
    /// The path leads elsewhere, and that is served now.
    Replaced,
    /// The path leads to nothing that can be served.
    Away(io::Error),
    /// The root is available again.
    Back,
}

/// Called by the thread that noticed a change. It must not block, because that thread has a request
/// to answer.
type OnRootChange = Box<dyn Fn(RootChange) + Send + Sync>;

struct CurrentRoot {
    /// `None` while the path leads nowhere.
    root: Option<Arc<OpenRoot>>,
    /// The number of changes so far.
    changes: u32,
}

impl DirectoryStore {
    /// Opens the root. If `root` is a regular file, the store has only the name of that file, and
    /// `""` stands for it, too.
    ///
    /// # Errors
    /// The root is missing, not readable, or neither a directory nor a regular file.
    pub fn open_root(root: &Path, options: DirectoryOptions) -> io::Result<DirectoryStore> {
        let threads = CallThreads::new();
        let opened = OpenRoot::open(root, &options, 0, &threads)?;
        Ok(DirectoryStore::serving(opened, root, options, threads))
    }

    fn serving(
        opened: OpenRoot,
        name: &Path,
        options: DirectoryOptions,
        threads: Arc<CallThreads>,
    ) -> DirectoryStore {
        let path_mount = Mount::new(&threads);
        let shared = Arc::new(SharedRoot {
            threads,
            absolute: std::path::absolute(name).unwrap_or_else(|_| name.to_owned()),
            name: name.to_owned(),
            options,
            current: RwLock::new(CurrentRoot {
                root: Some(Arc::new(opened)),
                changes: 0,
            }),
            checking: Mutex::default(),
            started: Instant::now(),
            next_check_ms: AtomicU64::new(CHECK_INTERVAL_MS),
            on_change: OnceLock::new(),
        });
        DirectoryStore { shared, path_mount }
    }

    /// Sets the callback for changes of the root. Only the first one counts.
    pub fn on_root_change(&self, on_change: impl Fn(RootChange) + Send + Sync + 'static) {
        let _ = self.shared.on_change.set(Box::new(on_change));
    }

    /// Checks where the path of the root leads, and opens it again if that changed. Returns after a
    /// few seconds at most; the check may go on after that.
    pub fn check_root(&self) {
        // A check that is running already may have looked too early.
        self.shared.next_check_ms.store(0, Ordering::Relaxed);
        self.check_if_due();
    }

    /// The number of the root that is served now, which differs after each change.
    pub(super) fn root_number(&self) -> u32 {
        self.check_if_due();
        self.shared.read(|current| current.changes)
    }

    /// Makes the kernel report changes in a directory, or in the directory of the single file.
    pub(super) fn watch(
        &self,
        path: &ResourcePath,
        inotify: impl AsFd,
        changes: WatchFlags,
    ) -> Result<i32, StoreError> {
        self.root()?.watch(path, inotify, changes)
    }

    fn root(&self) -> Result<Arc<OpenRoot>, StoreError> {
        self.check_if_due();
        let root = self.shared.read(|current| current.root.clone());
        root.ok_or(StoreError::Away)
    }

    fn check_if_due(&self) {
        if self.shared.is_check_due() {
            let shared = Arc::clone(&self.shared);
            // If the check fails, the present root stays.
            let _ = self.path_mount.call(move || shared.look());
        }
    }
}

impl SharedRoot {
    fn read<T>(&self, of: impl FnOnce(&CurrentRoot) -> T) -> T {
        of(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_check_due(&self) -> bool {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let due = self.next_check_ms.load(Ordering::Relaxed);
        let next = now.saturating_add(CHECK_INTERVAL_MS);
        let order = Ordering::Relaxed;
        now >= due
            && self
                .next_check_ms
                .compare_exchange(due, next, order, order)
                .is_ok()
    }

    fn look(&self) {
        let _checking = match self.checking.try_lock() {
            Ok(checking) => checking,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let held = self.read(|current| current.root.clone());
        let found = RootTarget::of(&self.name)
            .map(|destination| (destination, &self.name))
            .or_else(|error| match is_missing(&error) {
                true => Ok((RootTarget::of(&self.absolute)?, &self.absolute)),
                false => Err(error),
            });
        let opened = match found {
            Ok((destination, name)) => {
                if let Some(held) = held.as_ref().filter(|held| held.is_at(&destination)) {
                    held.mounts().refresh();
                    return;
                }
                let number = self.read(|current| current.changes).wrapping_add(1);
                match OpenRoot::open(name, &self.options, number, &self.threads) {
                    Ok(opened) => Ok(opened),
                    Err(error) if is_lasting(&error) => Err(error),
                    Err(_) => return,
                }
            }
            Err(error) if is_missing(&error) => Err(error),
            // Where the path leads is unknown.
            Err(_) => return,
        };
        let (root, change) = match (opened, held.is_some()) {
            (Ok(opened), true) => (Some(Arc::new(opened)), RootChange::Replaced),
            (Ok(opened), false) => (Some(Arc::new(opened)), RootChange::Back),
            (Err(error), true) => (None, RootChange::Away(error)),
            (Err(_), false) => return,
        };
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut current.root, root);
        current.changes = current.changes.wrapping_add(1);
        drop(current);
        // Closing may take long, so release the lock first.
        drop((before, held));
        if let Some(on_change) = self.on_change.get() {
            on_change(change);
        }
    }
}

/// Whether the error shows that a path leads to nothing.
fn is_missing(error: &io::Error) -> bool {
    let is_loop = error.raw_os_error() == Some(Errno::LOOP.raw_os_error());
    is_loop
        || matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidInput
        )
}

/// Whether the object at a path cannot be served. Unlike a lack of descriptors, such an error does
/// not pass by itself.
fn is_lasting(error: &io::Error) -> bool {
    is_missing(error) || error.kind() == io::ErrorKind::PermissionDenied
}

impl Store for DirectoryStore {
    type Object = OpenFile;

    fn open(&self, path: &ResourcePath) -> Result<(OpenFile, ObjectMeta), StoreError> {
        let ((file, meta), mount) = self.root()?.open_file(path)?;
        let file = match mount {
            None => OpenFile(Access::Direct(file)),
            Some(mount) => OpenFile(Access::Through {
                file: Arc::new(file),
                mount,
            }),
        };
        Ok((file, meta))
    }

    fn stat(&self, path: &ResourcePath) -> Result<ObjectMeta, StoreError> {
        self.root()?.stat(path)
    }

    fn list(
        &self,
        path: &ResourcePath,
        recursive: bool,
        after: Option<&ResourcePath>,
    ) -> Result<Box<dyn Listing>, StoreError> {
        let root = self.root()?;
        let walk = root.list(path, recursive, after)?;
        Ok(Box::new(MountedWalk::new(walk, root)))
    }

    fn root_number(&self) -> u32 {
        DirectoryStore::root_number(self)
    }
}

/// An open file of a [`DirectoryStore`]. If its mount does not answer in time, calls fail with
/// [`io::ErrorKind::TimedOut`].
pub struct OpenFile(Access);

enum Access {
    Direct(File),
    /// The mount of the file may not answer.
    Through {
        file: Arc<File>,
        mount: Arc<Mount>,
    },
}

impl DirectFile for OpenFile {
    fn file(&self) -> &File {
        match &self.0 {
            Access::Direct(file) => file,
            Access::Through { file, .. } => file,
        }
    }
}

impl Object for OpenFile {
    fn for_hashing(self: Arc<OpenFile>) -> Arc<dyn Object> {
        match &self.0 {
            Access::Direct(_) => Arc::new(HashReader::new(self)),
            // Any call on this file may have to wait.
            Access::Through { .. } => self,
        }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let (file, mount) = match &self.0 {
            Access::Direct(file) => return Object::read_at(file, buffer, offset),
            Access::Through { file, mount } => (Arc::clone(file), mount),
        };
        let mut bytes = vec![0; buffer.len()];
        let read = move || FileExt::read_at(&*file, &mut bytes, offset).map(|count| (bytes, count));
        let (bytes, count) = mount.call(read).map_err(|_| no_answer())??;
        buffer[..count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn meta(&self) -> io::Result<ObjectMeta> {
        match &self.0 {
            Access::Direct(file) => Object::meta(file),
            Access::Through { file, mount } => {
                let file = Arc::clone(file);
                mount
                    .call(move || Object::meta(&*file))
                    .map_err(|_| no_answer())?
            }
        }
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        // On a FUSE file system, closing is a call that may hang.
        if let Access::Through { file, mount } = &self.0 {
            mount.close(Arc::clone(file));
        }
    }
}

fn no_answer() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, StoreError::Stalled)
}

impl Object for File {
    fn for_hashing(self: Arc<File>) -> Arc<dyn Object> {
        Arc::new(HashReader::new(self))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn meta(&self) -> io::Result<ObjectMeta> {
        Ok(meta_of(self)?)
    }
}

pub(super) fn is_shown(part: &[u8], show_hidden: bool) -> bool {
    (!part.starts_with(b".") || (show_hidden && !is_partial(part))) && !is_set_aside(part)
}

fn is_partial(name: &[u8]) -> bool {
    name.starts_with(PARTIAL_PREFIX)
}

/// The prefix of the names of all partial files.
const PARTIAL_PREFIX: &[u8] = b".ft-";
const CHECK_INTERVAL_MS: u64 = Duration::from_secs(1).as_millis() as u64;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc::{self, Receiver};
    use std::thread;

    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
    use rustix::fs::{CWD, FileType, Mode, RenameFlags};
    use tempfile::TempDir;

    use super::opened::ServedNames;
    use super::*;
    use crate::store::beneath::{Resolver, Root};
    use crate::wire::ObjectKind;

    /// A directory with a root, and beside the root a file that must never be served.
    struct RootFixture {
        directory: TempDir,
    }

    impl RootFixture {
        fn new() -> RootFixture {
            let directory = tempfile::tempdir().unwrap();
            fs::create_dir(directory.path().join("root")).unwrap();
            fs::create_dir(directory.path().join("outside")).unwrap();
            fs::write(directory.path().join("outside/secret"), "secret").unwrap();
            RootFixture { directory }
        }

        fn root(&self) -> PathBuf {
            self.directory.path().join("root")
        }

        fn at(&self, name: &str) -> PathBuf {
            self.root().join(name)
        }

        fn file(&self, name: &str, bytes: &str) {
            let path = self.at(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }

        fn link(&self, name: &str, target: &str) {
            symlink(target, self.at(name)).unwrap();
        }

        fn fifo(&self, name: &str) {
            let mode = Mode::from_raw_mode(0o666);
            rustix::fs::mknodat(CWD, self.at(name), FileType::Fifo, mode, 0).unwrap();
        }

        fn open(&self, options: DirectoryOptions) -> DirectoryStore {
            DirectoryStore::open_root(&self.root(), options).unwrap()
        }

        /// Every resolver, with and without /proc, and whether it follows links.
        fn every_resolver(&self, show_hidden: bool) -> Vec<(String, bool, DirectoryStore)> {
            let resolvers = [
                Resolver::Kernel { follow_links: true },
                Resolver::Kernel {
                    follow_links: false,
                },
                Resolver::Walk,
            ];
            let mut cases = Vec::new();
            for resolver in resolvers {
                for with_proc in [true, false] {
                    let root = Root::with_resolver(&self.root(), resolver).unwrap();
                    let root = if with_proc { root } else { root.without_proc() };
                    let follows = resolver == Resolver::Kernel { follow_links: true };
                    let names = ServedNames::Tree { show_hidden };
                    let case = format!("{resolver:?}, /proc {with_proc}");
                    let threads = CallThreads::new();
                    let opened = OpenRoot::holding(root, names, None, 0, &threads);
                    let options = DirectoryOptions {
                        show_hidden,
                        follow_links_inside: follows,
                    };
                    let store = DirectoryStore::serving(opened, &self.root(), options, threads);
                    // A check would open the root again with the default resolver.
                    store
                        .shared
                        .next_check_ms
                        .store(u64::MAX, Ordering::Relaxed);
                    cases.push((case, follows, store));
                }
            }
            cases
        }
    }

    const ALL: DirectoryOptions = DirectoryOptions {
        show_hidden: true,
        follow_links_inside: true,
    };
    const USUAL: DirectoryOptions = DirectoryOptions {
        show_hidden: false,
        follow_links_inside: true,
    };

    fn path(name: &str) -> ResourcePath {
        ResourcePath::parse(name.as_bytes()).unwrap()
    }

    /// The bytes of the opened file, or the error in a word.
    fn opened(store: &DirectoryStore, name: &str) -> String {
        match store.open(&path(name)) {
            Ok((file, meta)) => {
                let mut bytes = vec![0; 64];
                let count = Object::read_at(&file, &mut bytes, 0).unwrap();
                assert_eq!(count as u64, meta.size(), "{name}");
                String::from_utf8(bytes[..count].to_vec()).unwrap()
            }
            Err(error) => word(&error),
        }
    }

    /// The kind of the object, or the error in a word.
    fn seen(store: &DirectoryStore, name: &str) -> String {
        match store.stat(&path(name)) {
            Ok(meta) => format!("{:?}", meta.kind),
            Err(error) => word(&error),
        }
    }

    fn word(error: &StoreError) -> String {
        let text = format!("{error:?}");
        text.split('(').next().unwrap().to_owned()
    }

    #[test]
    fn opens_only_files_inside_the_root() {
        let place = RootFixture::new();
        place.file("file", "file");
        place.file("folder/inner", "inner");
        place.file("odd\n\u{1b}[31m..\\x", "odd");
        place.fifo("fifo");
        let _listener = UnixListener::bind(place.at("socket")).unwrap();
        let secret = place.directory.path().join("outside/secret");
        place.link("to_file", "file");
        place.link("to_folder", "folder");
        place.link("folder/up", "../file");
        place.link("absolute_inside", place.at("file").to_str().unwrap());
        place.link("absolute_outside", secret.to_str().unwrap());
        place.link("relative_outside", "../outside/secret");
        place.link("folder_outside", "../outside");
        place.link("out_and_back", "../root/file");
        place.link("dangling", "nothing");
        place.link("device", "/dev/null");
        place.link("fifo_link", "fifo");
        place.link("loop_a", "loop_b");
        place.link("loop_b", "loop_a");
        place.link("magic", "/proc/self/fd/0");

        // The name, its content and its kind; then both without following links, where they differ.
        let same = [
            ("file", "file", "File"),
            ("folder/inner", "inner", "File"),
            ("odd\n\u{1b}[31m..\\x", "odd", "File"),
            ("", "IsDirectory", "Directory"),
            ("folder", "IsDirectory", "Directory"),
            ("fifo", "NotAFile", "Other"),
            ("socket", "NotAFile", "Other"),
            ("file/x", "NotADirectory", "NotADirectory"),
            ("fifo/x", "NotADirectory", "NotADirectory"),
            ("nothing", "NotFound", "NotFound"),
            ("nothing/x", "NotFound", "NotFound"),
            ("folder/nothing", "NotFound", "NotFound"),
            ("absolute_inside", "NotFound", "NotFound"),
            ("absolute_outside", "NotFound", "NotFound"),
            ("absolute_outside/x", "NotFound", "NotFound"),
            ("relative_outside", "NotFound", "NotFound"),
            ("relative_outside/x", "NotFound", "NotFound"),
            ("folder_outside", "NotFound", "NotFound"),
            ("folder_outside/secret", "NotFound", "NotFound"),
            ("folder_outside/nothing", "NotFound", "NotFound"),
            ("out_and_back", "NotFound", "NotFound"),
            ("dangling", "NotFound", "NotFound"),
            ("device", "NotFound", "NotFound"),
            ("loop_a", "NotFound", "NotFound"),
            ("loop_a/x", "NotFound", "NotFound"),
            ("magic", "NotFound", "NotFound"),
        ];
        let followed = [
            ("to_file", "file", "File"),
            ("to_file/x", "NotADirectory", "NotADirectory"),
            ("to_folder", "IsDirectory", "Directory"),
            ("to_folder/inner", "inner", "File"),
            ("folder/up", "file", "File"),
            ("to_folder/up", "file", "File"),
            ("fifo_link", "NotAFile", "Other"),
        ];
        for (case, follows, store) in place.every_resolver(false) {
            for (name, bytes, kind) in same {
                assert_eq!(opened(&store, name), bytes, "open {name:?}, {case}");
                assert_eq!(seen(&store, name), kind, "stat {name:?}, {case}");
            }
            for (name, bytes, kind) in followed {
                let (bytes, kind) = if follows {
                    (bytes, kind)
                } else {
                    ("NotFound", "NotFound")
                };
                assert_eq!(opened(&store, name), bytes, "open {name:?}, {case}");
                assert_eq!(seen(&store, name), kind, "stat {name:?}, {case}");
            }
        }
    }

    #[test]
    fn follows_forty_links_and_not_forty_one() {
        let place = RootFixture::new();
        place.file("link_0", "end");
        for number in 1..=41 {
            place.link(&format!("link_{number}"), &format!("link_{}", number - 1));
        }
        let store = place.open(USUAL);
        assert_eq!(opened(&store, "link_40"), "end");
        assert_eq!(opened(&store, "link_41"), "NotFound");
    }

    #[test]
    fn hidden_names_are_missing_before_any_look() {
        let place = RootFixture::new();
        for name in [
            ".git/config",
            "folder/.env",
            ".ft-partial",
            ".ft-folder/file",
            "..x",
            "x.y",
        ] {
            place.file(name, "there");
        }
        place.link("visible", ".git/config");
        for (case, follows, store) in place.every_resolver(false) {
            for name in [
                ".git",
                ".git/config",
                ".git/config/x",
                ".git/none",
                "folder/.env",
                "..x",
                ".ft-partial",
            ] {
                assert_eq!(opened(&store, name), "NotFound", "{name}, {case}");
                assert_eq!(seen(&store, name), "NotFound", "{name}, {case}");
            }
            assert_eq!(opened(&store, "x.y"), "there", "{case}");
            // The owner of the tree made this link.
            let visible = if follows { "there" } else { "NotFound" };
            assert_eq!(opened(&store, "visible"), visible, "{case}");
        }
        for (case, _, store) in place.every_resolver(true) {
            for name in [".git/config", "folder/.env", "..x"] {
                assert_eq!(opened(&store, name), "there", "{name}, {case}");
            }
            for name in [".ft-partial", ".ft-folder/file", ".ft-folder", ".ft-none"] {
                assert_eq!(opened(&store, name), "NotFound", "{name}, {case}");
            }
        }
    }

    #[test]
    fn never_opens_a_fifo_or_a_device_even_for_a_moment() {
        let place = RootFixture::new();
        place.file("file", "file");
        place.fifo("fifo");
        // Tests may not be allowed to make devices; then the FIFO stands for both.
        let null = rustix::fs::makedev(1, 3);
        let mode = Mode::from_raw_mode(0o666);
        let made = rustix::fs::mknodat(
            CWD,
            place.at("device"),
            FileType::CharacterDevice,
            mode,
            null,
        );
        let odd: &[&str] = if made.is_ok() {
            &["fifo", "device"]
        } else {
            &["fifo"]
        };
        for (case, _, store) in place.every_resolver(false) {
            let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
            let events = || rustix::io::read(&watch, &mut [0_u8; 512]);
            for name in odd {
                inotify::add_watch(&watch, place.at(name), WatchFlags::OPEN).unwrap();
                assert_eq!(opened(&store, name), "NotAFile", "{case}");
                assert_eq!(events(), Err(Errno::AGAIN), "{name} was opened, {case}");
            }
            inotify::add_watch(&watch, place.at("file"), WatchFlags::OPEN).unwrap();
            assert_eq!(opened(&store, "file"), "file", "{case}");
            assert!(
                events().is_ok(),
                "the watch does not see what it should, {case}"
            );
        }
    }

    #[test]
    fn a_sparse_terabyte_opens_at_once() {
        let place = RootFixture::new();
        place.file("sparse", "");
        let terabyte = 1 << 40;
        File::options()
            .write(true)
            .open(place.at("sparse"))
            .unwrap()
            .set_len(terabyte)
            .unwrap();
        let (file, meta) = place.open(USUAL).open(&path("sparse")).unwrap();
        assert_eq!(meta.size(), terabyte);
        assert_eq!(
            Object::read_at(&file, &mut [1; 8], terabyte - 8).unwrap(),
            8
        );
        assert_eq!(Object::read_at(&file, &mut [1; 8], terabyte).unwrap(), 0);
    }

    #[test]
    fn a_look_shows_mode_times_and_identity() {
        let place = RootFixture::new();
        place.file("file", "12345");
        rustix::fs::chmod(place.at("file"), Mode::from_raw_mode(0o4640)).unwrap();
        let store = place.open(USUAL);
        let looked = store.stat(&path("file")).unwrap();
        let (file, opened) = store.open(&path("file")).unwrap();
        assert_eq!((looked.mode, looked.size()), (0o640, 5));
        assert_eq!(looked.kind, ObjectKind::File);
        assert_eq!(looked.stamp, opened.stamp);
        assert_eq!(looked.stamp, Object::meta(&file).unwrap().stamp);
        assert!(
            !looked.stamp.settled(looked.looked_at),
            "it was written just now"
        );
    }

    #[test]
    fn an_open_file_stays_when_its_name_is_replaced() {
        let place = RootFixture::new();
        place.file("file", "before");
        let store = place.open(USUAL);
        let (file, meta) = store.open(&path("file")).unwrap();
        place.file("new", "after");
        fs::rename(place.at("new"), place.at("file")).unwrap();
        let now = Object::meta(&file).unwrap();
        assert!(meta.stamp.same_content(&now.stamp), "only its ctime moved");
        assert_eq!(opened(&store, "file"), "after");
        let mut bytes = [0; 6];
        Object::read_at(&file, &mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"before");
    }

    #[test]
    fn a_single_file_has_its_name_and_the_empty_one() {
        let place = RootFixture::new();
        place.file("one", "one");
        place.file("two", "two");
        place.file(".hidden", "named by its owner");
        place.link("other_name", "one");
        let store = DirectoryStore::open_root(&place.at("one"), USUAL).unwrap();
        assert_eq!(opened(&store, ""), "one");
        assert_eq!(opened(&store, "one"), "one");
        assert_eq!(seen(&store, ""), "File");
        for name in ["two", "one/x", "root/one", "other_name"] {
            assert_eq!(opened(&store, name), "NotFound", "{name}");
        }
        let hidden = DirectoryStore::open_root(&place.at(".hidden"), USUAL).unwrap();
        assert_eq!(opened(&hidden, ".hidden"), "named by its owner");

        let linked = DirectoryStore::open_root(&place.at("other_name"), USUAL).unwrap();
        assert_eq!(opened(&linked, "other_name"), "one");
        assert_eq!(opened(&linked, ""), "one");
        assert_eq!(opened(&linked, "one"), "NotFound");
    }

    #[test]
    fn roots_that_cannot_be_served_are_refused() {
        let place = RootFixture::new();
        place.fifo("fifo");
        place.file(".ft-partial", "half");
        let kind = |name: &str| {
            let result = DirectoryStore::open_root(&place.at(name), ALL);
            result.err().map(|error| error.kind())
        };
        assert_eq!(kind("nothing"), Some(io::ErrorKind::NotFound));
        assert_eq!(kind("fifo"), Some(io::ErrorKind::InvalidInput));
        assert_eq!(kind("fifo/x"), Some(io::ErrorKind::NotADirectory));
        assert_eq!(kind(".ft-partial"), Some(io::ErrorKind::InvalidInput));
        assert_eq!(kind("."), None);
    }

    /// A store that checks its root only on request, and the changes that it reports.
    fn watched(root: &Path, options: DirectoryOptions) -> (DirectoryStore, Receiver<String>) {
        let store = DirectoryStore::open_root(root, options).unwrap();
        store
            .shared
            .next_check_ms
            .store(u64::MAX, Ordering::Relaxed);
        let (reports, reported) = mpsc::channel();
        store.on_root_change(move |change| {
            let word = match change {
                RootChange::Replaced => "replaced",
                RootChange::Away(_) => "away",
                RootChange::Back => "back",
            };
            let _ = reports.send(word.to_owned());
        });
        (store, reported)
    }

    #[test]
    fn a_replaced_root_is_opened_again() {
        let place = RootFixture::new();
        place.file("file", "first");
        let (store, reported) = watched(&place.root(), USUAL);
        let (before, _) = store.open(&path("file")).unwrap();
        let listing = store.list(&path(""), false, None).unwrap();
        fs::rename(place.root(), place.directory.path().join("moved")).unwrap();
        place.file("file", "second");
        assert_eq!(opened(&store, "file"), "first", "no look was due");
        let number = store.root_number();
        store.check_root();
        assert_eq!(opened(&store, "file"), "second");
        let after = store.list(&path(""), false, None).unwrap();
        assert_eq!((number, listing.root()), (0, 0));
        assert_eq!((store.root_number(), after.root()), (1, 1));
        let mut bytes = [0; 5];
        assert_eq!(Object::read_at(&before, &mut bytes, 0).unwrap(), 5);
        assert_eq!(&bytes, b"first", "what is open stays what it was");
        store.check_root();
        assert_eq!(reported.try_iter().collect::<Vec<_>>(), ["replaced"]);
    }

    #[test]
    fn a_removed_root_is_away_until_it_is_made_again() {
        let place = RootFixture::new();
        place.file("file", "first");
        let (store, reported) = watched(&place.root(), USUAL);
        fs::remove_dir_all(place.root()).unwrap();
        for _ in 0..2 {
            store.check_root();
            assert_eq!(opened(&store, "file"), "Away");
            assert_eq!(seen(&store, ""), "Away");
        }
        // The kernel is likely to reuse the inode number.
        place.file("file", "second");
        store.check_root();
        assert_eq!(opened(&store, "file"), "second");
        fs::remove_dir_all(place.root()).unwrap();
        symlink("root", place.root()).unwrap();
        store.check_root();
        assert_eq!(opened(&store, "file"), "Away", "a link to itself");
        let reported: Vec<String> = reported.try_iter().collect();
        assert_eq!(reported, ["away", "back", "away"]);
    }

    #[test]
    fn follows_changes_of_links_to_the_root_and_of_its_kind() {
        let place = RootFixture::new();
        place.file("one/file", "one");
        place.file("two/file", "two");
        place.file("three", "three");
        place.link("link", "one");
        let (store, _) = watched(&place.at("link"), USUAL);
        assert_eq!(opened(&store, "file"), "one");
        for (target, name, bytes) in [("two", "file", "two"), ("three", "link", "three")] {
            fs::remove_file(place.at("link")).unwrap();
            place.link("link", target);
            store.check_root();
            assert_eq!(opened(&store, name), bytes);
        }
        // The directory of the file is held open.
        fs::rename(place.root(), place.directory.path().join("moved")).unwrap();
        place.file("link", "made anew");
        store.check_root();
        assert_eq!(opened(&store, "link"), "made anew");
    }

    #[test]
    fn an_error_in_checking_the_root_changes_nothing() {
        let place = RootFixture::new();
        place.file("one/file", "one");
        let (store, reported) = watched(&place.at("one"), USUAL);
        fs::rename(place.root(), place.directory.path().join("moved")).unwrap();
        let mut store = store;
        // A name that is too long for any file system stands for one that fails.
        let shared = Arc::get_mut(&mut store.shared).unwrap();
        shared.name = place.directory.path().join("x".repeat(300));
        store.check_root();
        assert_eq!(opened(&store, "file"), "one");
        assert_eq!(reported.try_iter().count(), 0);
    }

    #[test]
    fn a_directory_swapped_for_a_link_shows_nothing_outside() {
        for number in 0..6 {
            let place = RootFixture::new();
            place.file("folder/secret", "inside");
            place.link("swap", "../outside");
            let (case, _, store) = place.every_resolver(false).swap_remove(number);
            let done = AtomicBool::new(false);
            let (directory, swap) = (place.at("folder"), place.at("swap"));
            let mut met = [0_u32; 2];
            thread::scope(|scope| {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        let exchange = RenameFlags::EXCHANGE;
                        rustix::fs::renameat_with(CWD, &directory, CWD, &swap, exchange).unwrap();
                    }
                });
                // Until both were met often, so that the swap happened during many lookups.
                for _ in 0..1_000_000 {
                    match opened(&store, "folder/secret").as_str() {
                        "inside" => met[0] += 1,
                        "NotFound" | "NotADirectory" | "Busy" => met[1] += 1,
                        other => {
                            done.store(true, Ordering::Relaxed);
                            panic!("met {other:?}, {case}");
                        }
                    }
                    if met.iter().all(|times| *times >= 2_000) {
                        break;
                    }
                }
                done.store(true, Ordering::Relaxed);
            });
            assert!(
                met.iter().all(|times| *times > 0),
                "the race was not run: {met:?}, {case}"
            );
        }
    }
}

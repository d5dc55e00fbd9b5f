//! Watches a destination: whatever becomes visible there must be whole and once published.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, unbounded};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

use crate::harness::{DEADLINE, Scratch};
use crate::published::{Published, Seen};

/// Two threads: one opens every file the moment its name appears, the other compares what
/// was opened, so that comparing 40 MiB does not delay the next look.
pub(crate) struct Watcher {
    folder: PathBuf,
    shared: Arc<(Mutex<Sightings>, Condvar)>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Sightings {
    /// Appearances of a visible name.
    count: u64,
    /// What should not have been seen.
    faults: Vec<String>,
    /// How many times [`Watcher::settle`] has caught up.
    settled: u64,
}

enum Sighting {
    Appeared(OsString, File),
    Fault(String),
    Settle,
}

impl Watcher {
    /// Begins to watch; folders, and names that begin with a dot, are nobody's business.
    pub(crate) fn of(folder: &Path, seen: Seen) -> Watcher {
        let inotify = inotify::init(CreateFlags::CLOEXEC).expect("inotify");
        let flags =
            WatchFlags::MOVED_TO | WatchFlags::CREATE | WatchFlags::MODIFY | WatchFlags::DELETE;
        inotify::add_watch(&inotify, folder, flags).expect("watching a folder");
        let shared: Arc<(Mutex<Sightings>, Condvar)> = Arc::default();
        let (sender, receiver) = unbounded();
        let opener = {
            let (folder, seen) = (folder.to_owned(), seen.clone());
            thread::spawn(move || open_what_appears(&inotify, &folder, &seen, &sender))
        };
        let judge = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || judge(&receiver, &seen, &shared))
        };
        Watcher {
            folder: folder.to_owned(),
            shared,
            threads: vec![opener, judge],
        }
    }

    /// Waits until everything that has happened was looked at. Returns the appearances so far.
    ///
    /// # Errors
    /// What was seen and should not have been, a line each.
    pub(crate) fn settle(&self) -> Result<u64, String> {
        let (sightings, changed) = &*self.shared;
        let before = sightings.lock().expect("sightings").settled;
        // Events come in order: when this name has come through, all before it have.
        self.mark(SETTLE);
        let guard = sightings.lock().expect("sightings");
        let (sightings, timeout) = changed
            .wait_timeout_while(guard, DEADLINE, |s| s.settled == before)
            .expect("sightings");
        assert!(!timeout.timed_out(), "the watcher lags behind");
        if sightings.faults.is_empty() {
            Ok(sightings.count)
        } else {
            Err(sightings.faults.join(
                "
",
            ))
        }
    }

    fn mark(&self, name: &str) {
        let path = self.folder.join(name);
        fs::write(&path, "").expect("a mark in the watched folder");
        fs::remove_file(&path).expect("the mark");
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.mark(END);
        self.threads.drain(..).for_each(|thread| {
            // A panic of either was a fault that settle has reported.
            let _ = thread.join();
        });
    }
}

/// Panics unless a watcher sees what it is there to see.
pub(crate) fn assert_watchful() {
    let mut published = Published::new(0, &[("known", [10, 20])]);
    let (old, new) = (
        published.files()[0].content().to_vec(),
        published.publish(0),
    );
    let plant = |what: &str, plant: &dyn Fn(&Scratch), wanted: Result<u64, &str>| {
        let folder = Scratch::in_memory();
        let watcher = Watcher::of(folder.path(), published.seen());
        plant(&folder);
        let found = watcher.settle();
        let alike = match (&found, wanted) {
            (Ok(found), Ok(wanted)) => *found == wanted,
            (Err(found), Err(wanted)) => found.contains(wanted),
            _ => false,
        };
        assert!(alike, "{what}: {found:?}, not {wanted:?}");
    };
    let place = |folder: &Scratch, name: &str, bytes: &[u8]| {
        let hidden = folder.write(".ft-hidden.part", bytes);
        fs::rename(hidden, folder.join(name)).expect("placed");
    };
    let both = |folder: &Scratch| {
        place(folder, "known", &old);
        place(folder, "known", &new);
    };
    plant("either version", &both, Ok(2));
    let short = |folder: &Scratch| place(folder, "known", &old[..9]);
    plant("a version cut short", &short, Err("nobody published"));
    let other = |folder: &Scratch| place(folder, "unknown", &old);
    plant("another name", &other, Err("nobody published"));
    let create = |folder: &Scratch| drop(folder.write("known", &old));
    plant("written in place", &create, Err("not appear by a rename"));
    let delete = |folder: &Scratch| {
        place(folder, "known", &old);
        fs::remove_file(folder.join("known")).expect("deleted");
    };
    plant("deleted", &delete, Err("DELETE"));
    published
        .seen()
        .add_guest("guest".into(), b"content".to_vec());
    let folder = Scratch::in_memory();
    let watcher = Watcher::of(folder.path(), published.seen());
    place(&folder, "guest", b"content");
    assert_eq!(watcher.settle(), Ok(1), "a guest that comes");
    fs::remove_file(folder.join("guest")).expect("deleted");
    assert_eq!(watcher.settle(), Ok(1), "and goes");
}

fn open_what_appears(inotify: &OwnedFd, folder: &Path, seen: &Seen, sightings: &Sender<Sighting>) {
    let mut buffer = [MaybeUninit::uninit(); 16_384];
    let mut events = Reader::new(inotify, &mut buffer);
    loop {
        let event = events.next().expect("an event");
        let name = event
            .file_name()
            .map(|name| OsStr::from_bytes(name.to_bytes()).to_owned())
            .unwrap_or_default();
        let flags = event.events();
        let sighting = if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            Sighting::Fault("the watcher lost events".to_owned())
        } else if name == END {
            return;
        } else if name == SETTLE && flags.contains(ReadFlags::CREATE) {
            Sighting::Settle
        } else if name.as_bytes().starts_with(b".") || flags.contains(ReadFlags::ISDIR) {
            continue;
        } else if flags.contains(ReadFlags::MOVED_TO) {
            match File::open(folder.join(&name)) {
                // It has become a folder meanwhile.
                Ok(file) if is_folder(&file) && seen.may_go(&name) => continue,
                Ok(file) => Sighting::Appeared(name, file),
                Err(_) if seen.may_go(&name) => continue,
                Err(error) => Sighting::Fault(format!("{name:?} appeared and is gone: {error}")),
            }
        } else if flags.contains(ReadFlags::DELETE) && seen.may_go(&name) {
            continue;
        } else {
            Sighting::Fault(format!("{name:?} did not appear by a rename: {flags:?}"))
        };
        sightings.send(sighting).expect("the judge listens");
    }
}

fn is_folder(file: &File) -> bool {
    file.metadata().is_ok_and(|facts| facts.is_dir())
}

fn judge(receiver: &Receiver<Sighting>, seen: &Seen, shared: &(Mutex<Sightings>, Condvar)) {
    let mut bytes = Vec::new();
    for sighting in receiver {
        let mut fault = None;
        let mut appeared = 0;
        let mut settled = 0;
        match sighting {
            Sighting::Settle => settled = 1,
            Sighting::Fault(text) => fault = Some(text),
            Sighting::Appeared(name, mut file) => {
                appeared = 1;
                bytes.clear();
                file.read_to_end(&mut bytes).expect("reading what appeared");
                if !seen.knows(&name, &bytes) {
                    let size = bytes.len();
                    fault = Some(format!("{name:?} showed {size} bytes nobody published"));
                }
            }
        }
        let mut sightings = shared.0.lock().expect("sightings");
        sightings.count += appeared;
        sightings.settled += settled;
        sightings.faults.extend(fault);
        shared.1.notify_all();
    }
}

const SETTLE: &str = ".watcher-settle";
const END: &str = ".watcher-end";

//! Files that are here already: what is read of them, and what is asked about them.

use std::fs::{self, FileTimes, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::scripted::{
    PATIENCE, Play, ScriptedServer, config, file, frame, md5_hex, md5_of, noise,
};
use crate::client::batch::jobs::Wish;
use crate::client::batch::look::{Decision, LONG_LOOK_BYTES_MIN, look};
use crate::client::{
    Action, Batch, ClientConfig, Download, Downloaded, Event, ListedFile, download,
};
use crate::store::{
    BootId, DestinationTree, DigestIndex, KnownDigest, LocalDigests, MemoryIndex, Stamp,
};
use crate::wire::{ResourcePath, Timestamp};

/// An index that counts the digests that were made and kept.
#[derive(Default)]
struct Counting {
    rows: MemoryIndex,
    kept: AtomicUsize,
}

impl DigestIndex for Counting {
    fn look_up(&self, stamp: &Stamp) -> Option<KnownDigest> {
        self.rows.look_up(stamp)
    }

    fn remember(&self, stamp: &Stamp, known: KnownDigest) {
        self.kept.fetch_add(1, Ordering::SeqCst);
        self.rows.remember(stamp, known);
    }

    fn forget(&self, stamp: &Stamp) {
        self.rows.forget(stamp);
    }
}

struct Place {
    folder: tempfile::TempDir,
    index: Arc<Counting>,
    config: ClientConfig,
}

impl Place {
    fn new() -> Place {
        let index = Arc::new(Counting::default());
        let digests = LocalDigests::new(index.clone(), BootId::current());
        Place {
            folder: tempfile::tempdir().unwrap(),
            index,
            config: ClientConfig {
                local_digests: Arc::new(digests),
                ..config()
            },
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn kept(&self) -> usize {
        self.index.kept.load(Ordering::SeqCst)
    }

    /// How each ended.
    fn run(&self, wanted: &[Download]) -> Vec<(Action, u32)> {
        download(wanted, &self.config, &mut |_| {})
            .into_iter()
            .map(|result| result.map(|done| (done.action, done.attempts)).unwrap())
            .collect()
    }

    /// Runs until so many digests were kept.
    fn run_until_kept(&self, wanted: &[Download], count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.kept() < count {
            assert!(Instant::now() < deadline, "{} of {count}", self.kept());
            let ends = self.run(wanted);
            assert!(
                ends.iter().all(|end| *end == (Action::Identical, 0)),
                "{ends:?}"
            );
        }
    }
}

/// With what a listing tells of it.
fn listed(server: &ScriptedServer, place: &Place, name: &str, content: &[u8]) -> Download {
    Download {
        listed: Some(ListedFile {
            total_size: content.len() as u64,
            md5: Some(md5_of(content)),
            ..ListedFile::default()
        }),
        ..server.download(place.path(), name)
    }
}

#[test]
fn files_that_were_left_alone_are_read_once_and_never_asked_for() {
    let place = Place::new();
    let contents = [noise(0), noise(10), noise(300_000)];
    let named = || (0..).map(|n| format!("f{n}")).zip(&contents);
    let answers = named().map(|(name, content)| Play::Answer(file(&name, content)));
    let server = ScriptedServer::play(answers.collect());
    let wanted: Vec<_> = named()
        .map(|(name, content)| listed(&server, &place, &name, content))
        .collect();
    assert_eq!(place.run(&wanted), [(Action::Fetched, 1); 3]);
    place.run_until_kept(&wanted, 3);
    let kept = place.kept();
    assert_eq!(place.run(&wanted), [(Action::Identical, 0); 3]);
    assert_eq!(place.kept(), kept, "hashed again");
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn what_was_placed_is_known_without_reading_it_while_more_is_fetched() {
    let place = Place::new();
    let server = ScriptedServer::play(vec![
        Play::Answer(file("a", b"first")),
        Play::Answer(file("b", b"second")),
    ]);
    let first = listed(&server, &place, "a", b"first");
    let second = listed(&server, &place, "b", b"second");
    let (path, index) = (place.path().join("a"), place.index.clone());
    // The second is not wanted before the first is known.
    let later = std::iter::once_with(move || {
        let deadline = Instant::now() + PATIENCE;
        while index.kept.load(Ordering::SeqCst) == 0 {
            assert!(Instant::now() < deadline, "{path:?} is not kept");
            std::thread::yield_now();
        }
        second
    });
    let wanted = Batch::new().file(first.clone()).files(later);
    let summary = wanted.run(&place.config, &mut |_: Event<'_>| {}).unwrap();
    let kept = place.kept();
    assert_eq!((summary.done, kept > 0), (2, true));
    assert_eq!(place.run(&[first]), [(Action::Identical, 0)]);
    assert_eq!(place.kept(), kept, "read");
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn what_was_copied_is_known_as_is_what_was_fetched() {
    let place = Place::new();
    let content = noise(300_000);
    let (first, md5) = (content.clone(), md5_hex(&content));
    let matched = move |name: &str| {
        frame(&format!(
            r#"{{"filename":"{name}","total_size":300000,"md5":"{md5}","body_size":0,"match":true}}"#
        ))
    };
    let server = ScriptedServer::play(vec![
        Play::Reply(Box::new(move |name| file(name, &first))),
        Play::Reply(Box::new(matched)),
        Play::Answer(file("c", b"last")),
    ]);
    let wanted = ["a", "b"].map(|name| listed(&server, &place, name, &content));
    let (last, index) = (server.download(place.path(), "c"), place.index.clone());
    // The last is not wanted before the others are known.
    let last = std::iter::once_with(move || {
        let deadline = Instant::now() + PATIENCE;
        while index.kept.load(Ordering::SeqCst) < 2 {
            assert!(Instant::now() < deadline, "they are not kept");
            std::thread::yield_now();
        }
        last
    });
    let mut linked = 0;
    let batch = Batch::new().files(wanted.clone()).files(last);
    batch
        .run(&place.config, &mut |event| {
            let is_linked = |done: &Downloaded| done.action == Action::Linked;
            let found = matches!(event, Event::Done { downloaded, .. } if is_linked(downloaded));
            linked += u32::from(found);
        })
        .unwrap();
    let kept = place.kept();
    assert_eq!((linked, kept > 1), (1, true));
    assert_eq!(place.run(&wanted), [(Action::Identical, 0); 2]);
    assert_eq!(place.kept(), kept, "read");
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn what_gets_other_attributes_is_known_as_it_was_before() {
    let place = Place::new();
    let server = ScriptedServer::play(vec![Play::Answer(file("last", b"last"))]);
    fs::write(place.path().join("f"), b"content").unwrap();
    let wanted = listed(&server, &place, "f", b"content");
    place.run_until_kept(std::slice::from_ref(&wanted), 1);
    let listed = wanted.listed.map(|listed| ListedFile {
        mode: Some(0o4640),
        mtime: Some(A_TIME),
        ..listed
    });
    let wanted = Download { listed, ..wanted };
    let (last, index) = (server.download(place.path(), "last"), place.index.clone());
    // The last is not wanted before the other is known again.
    let last = std::iter::once_with(move || {
        let deadline = Instant::now() + PATIENCE;
        while index.kept.load(Ordering::SeqCst) < 2 {
            assert!(Instant::now() < deadline, "it is not kept");
            std::thread::yield_now();
        }
        last
    });
    let batch = Batch::new().file(wanted.clone()).files(last);
    let summary = batch.run(&place.config, &mut |_: Event<'_>| {}).unwrap();
    let kept = place.kept();
    assert_eq!((summary.done, kept > 1), (2, true));
    assert_dressed(&place.path().join("f"), 0o640);
    assert_eq!(place.run(&[wanted]), [(Action::Identical, 0)]);
    assert_eq!(place.kept(), kept, "read");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn what_a_server_says_with_a_match_is_what_the_file_gets() {
    let place = Place::new();
    let matched = format!(
        r#"{{"filename":"f","total_size":7,"md5":"{}","body_size":0,"match":true,"mode":"0600","mtime":"2001-09-09T01:46:40.000000005Z"}}"#,
        md5_hex(b"content")
    );
    let answers = [&matched; 3].map(|answer| Play::Answer(frame(answer)));
    let server = ScriptedServer::play(answers.into());
    let path = place.path().join("f");
    fs::write(&path, b"content").unwrap();
    let wanted = [server.download(place.path(), "f")];
    assert_eq!(place.run(&wanted), [(Action::Identical, 1)]);
    assert_dressed(&path, 0o600);
    let changed = |path: &Path| fs::metadata(path).map(|meta| (meta.ctime(), meta.ctime_nsec()));
    let before = changed(&path).unwrap();
    assert_eq!(place.run(&wanted), [(Action::Identical, 1)]);
    assert_eq!(changed(&path).unwrap(), before, "touched");
    // What was listed of another content does not count.
    let listed = Some(ListedFile {
        total_size: 7,
        md5: Some(md5_of(b"CONTENT")),
        mode: Some(0o777),
        mtime: None,
    });
    let [wanted] = wanted;
    assert_eq!(
        place.run(&[Download { listed, ..wanted }]),
        [(Action::Identical, 1)]
    );
    assert_eq!(changed(&path).unwrap(), before, "touched");
    assert_eq!(server.requests().len(), 3);
}

#[track_caller]
fn assert_dressed(path: &Path, mode: u32) {
    let meta = fs::metadata(path).unwrap();
    let mtime = (meta.mtime(), meta.mtime_nsec());
    let wanted = (A_TIME.seconds, A_TIME.nanoseconds.into());
    assert_eq!((meta.mode() & 0o7777, mtime), (mode, wanted));
}

const A_TIME: Timestamp = Timestamp {
    seconds: 1_000_000_000,
    nanoseconds: 5,
};

#[test]
fn a_file_changed_behind_its_size_and_its_time_is_replaced() {
    let place = Place::new();
    let server = ScriptedServer::play(vec![
        Play::Answer(file("f", b"content")),
        Play::Answer(file("f", b"content")),
    ]);
    let wanted = [listed(&server, &place, "f", b"content")];
    assert_eq!(place.run(&wanted), [(Action::Fetched, 1)]);
    place.run_until_kept(&wanted, 1);
    let path = place.path().join("f");
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
    std::io::Write::write_all(&mut writer, b"CONTENT").unwrap();
    writer
        .set_times(FileTimes::new().set_modified(before))
        .unwrap();
    drop(writer);
    assert_eq!(place.run(&wanted), [(Action::Fetched, 1)]);
    assert_eq!(fs::read(&path).unwrap(), b"content");
    let requests = server.requests();
    assert_eq!(requests[1]["have_md5"], md5_hex(b"CONTENT"), "{requests:?}");
}

#[test]
fn a_file_that_somebody_may_write_to_is_read_each_time() {
    let place = Place::new();
    let server = ScriptedServer::play(vec![Play::Answer(file("f", b"content"))]);
    let wanted = [listed(&server, &place, "f", b"content")];
    fs::write(place.path().join("f"), b"content").unwrap();
    let writer = OpenOptions::new()
        .write(true)
        .open(place.path().join("f"))
        .unwrap();
    let deadline = Instant::now() + Duration::from_millis(300);
    while Instant::now() < deadline {
        assert_eq!(place.run(&wanted), [(Action::Identical, 0)]);
    }
    assert_eq!(place.kept(), 0);
    drop(writer);
    place.run_until_kept(&wanted, 1);
    // The server is as it was: it would answer.
    fs::remove_file(place.path().join("f")).unwrap();
    assert_eq!(place.run(&wanted), [(Action::Fetched, 1)]);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn what_the_listing_does_not_tell_is_asked_with_the_digest_of_what_is_here() {
    let place = Place::new();
    let matched = format!(
        r#"{{"filename":"f","total_size":7,"md5":"{}","body_size":0,"match":true}}"#,
        md5_hex(b"content")
    );
    let server = ScriptedServer::play(vec![
        Play::Answer(frame(&matched)),
        Play::Answer(file("f", b"longer content")),
    ]);
    fs::write(place.path().join("f"), b"content").unwrap();
    let sized = |total_size| Download {
        listed: Some(ListedFile {
            total_size,
            ..ListedFile::default()
        }),
        ..server.download(place.path(), "f")
    };
    assert_eq!(place.run(&[sized(7)]), [(Action::Identical, 1)]);
    // Of another size it cannot be the same, and is not read.
    assert_eq!(place.run(&[sized(14)]), [(Action::Fetched, 1)]);
    let requests = server.requests();
    assert_eq!(requests[0]["have_md5"], md5_hex(b"content"));
    assert_eq!(requests[1].get("have_md5"), None);
}

#[test]
fn a_large_file_of_which_no_size_is_known_before_is_left_to_those_who_read_for_long() {
    let place = Place::new();
    for (name, bytes) in [
        ("large", LONG_LOOK_BYTES_MIN),
        ("small", LONG_LOOK_BYTES_MIN - 1),
    ] {
        let file = fs::File::create(place.path().join(name)).unwrap();
        file.set_len(bytes).unwrap();
    }
    let folder = DestinationTree::open(place.path(), false).unwrap();
    let folder = folder.directory(&ResourcePath::root()).unwrap();
    let server = ScriptedServer::play(vec![Play::Answer(file("large", b"other"))]);
    let decide = |name, read_below| {
        let download = server.download(place.path(), name);
        let wish = Wish::default();
        look(
            &download,
            &folder,
            wish,
            None,
            read_below,
            &|_, _| true,
            &place.config,
        )
        .unwrap()
    };
    assert!(matches!(
        decide("large", LONG_LOOK_BYTES_MIN),
        Decision::ReadsMuch
    ));
    for (name, read_below) in [("small", LONG_LOOK_BYTES_MIN), ("large", u64::MAX)] {
        let Decision::Ask { existing, .. } = decide(name, read_below) else {
            panic!("{name} is not asked for")
        };
        assert!(existing.is_some(), "{name} was not read");
    }
    // And there it comes to its end.
    let wanted = server.download(place.path(), "large");
    assert_eq!(place.run(&[wanted]), [(Action::Fetched, 1)]);
}

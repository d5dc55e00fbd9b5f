//! `ftget` run again over what it fetched: what is known of the files here, and what is asked.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{DEADLINE, Output, Program, Scratch, TestServer, noise};
use crate::place::event;

/// A server with a log that knows all its digests, an empty folder, and a place for an index.
struct Again {
    root: Scratch,
    server: TestServer,
    here: Scratch,
    own: Scratch,
}

impl Again {
    fn new() -> Again {
        let root = Scratch::with_files([
            ("small", noise(1, 10)),
            ("sub/middling", noise(2, 100_000)),
            ("sub/deep/large", noise(3, 3_000_000)),
            ("empty", Vec::new()),
        ]);
        let own = Scratch::new();
        let sums = own.join("of the server");
        let hash = Program::ftserve().arg("index").arg(root.path());
        hash.arg("--index").arg(&sums).run().expect_code(0);
        let server = TestServer::builder(root.path())
            .args(["--index".as_ref(), sums.as_os_str()])
            .args([
                "--log-format".as_ref(),
                "json".as_ref(),
                "--access-log".as_ref(),
                own.join("log").as_os_str(),
            ])
            .start();
        let again = Again {
            root,
            server,
            here: Scratch::new(),
            own,
        };
        again.wait_until_listed();
        again
    }

    /// Files that changed just now are known a moment later.
    fn wait_until_listed(&self) {
        let deadline = Instant::now() + DEADLINE;
        while !self.is_listed() {
            assert!(Instant::now() < deadline, "not all digests are listed");
        }
    }

    fn is_listed(&self) -> bool {
        let list = Program::ftget().args(["--list=json", "-r"]);
        let listed = list.arg(self.server.source("")).run().expect_code(0);
        let is_known = |entry: &Value| entry["type"] != "file" || entry["md5"] != "";
        listed.json_lines().iter().all(is_known)
    }

    fn index(&self) -> PathBuf {
        self.own.join("own/index")
    }

    fn fetch(&self, args: &[&str]) -> Output {
        self.fetch_with(self.index().as_os_str(), args)
    }

    fn fetch_with(&self, index: &OsStr, args: &[&str]) -> Output {
        let fetch = Program::ftget().in_folder(self.here.path());
        let fetch = fetch.args(["--json", "-r", "-d", "all", "--index"]);
        let fetch = fetch.arg(index).args(args);
        fetch.arg(self.server.source("")).run()
    }

    /// The action of each file, by name.
    fn actions(&self) -> Vec<(String, String)> {
        actions(self.fetch(&[]))
    }

    fn assert_all_identical(&self) {
        assert_all_identical(self.fetch(&[]));
    }

    /// Until a write to a file that was just written could not go unseen.
    fn let_settle(&self) {
        let written = fs::metadata(self.here.join("all/sub/deep/large")).expect("a file");
        let changed = std::os::unix::fs::MetadataExt::ctime(&written);
        let since = SystemTime::UNIX_EPOCH + Duration::from_secs(changed.unsigned_abs() + 1);
        let due = since + Duration::from_millis(200);
        while SystemTime::now() < due {
            std::thread::yield_now();
        }
    }

    /// What `ftserve index` says of the files here, with the same index.
    fn indexed(&self) -> String {
        let program = Program::ftserve().arg("index").arg(self.here.join("all"));
        let ended = program.arg("--index").arg(self.index()).run();
        ended.expect_code(0).stderr
    }

    /// How many requests for files the server had, which ends.
    fn gets(mut self) -> usize {
        self.server.terminate();
        let log = String::from_utf8(self.own.read("log")).expect("text");
        let lines = log
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        lines.filter(|line| line["op"] == "get").count()
    }
}

/// The action of each file, by name.
fn actions(ended: Output) -> Vec<(String, String)> {
    let told = ended.expect_code(0).json_lines();
    let done = told.iter().filter(|event| event["event"] == "done");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let mut actions: Vec<_> = done
        .map(|event| (text(&event["filename"]), text(&event["action"])))
        .collect();
    actions.sort();
    actions
}

#[track_caller]
fn assert_all_identical(ended: Output) {
    let actions = actions(ended);
    assert_eq!(actions.len(), 4, "{actions:?}");
    let is_identical = |(_, action): &(_, String)| action == "identical";
    assert!(actions.iter().all(is_identical), "{actions:?}");
}

#[test]
fn what_was_left_alone_is_neither_read_nor_asked_for() {
    let again = Again::new();
    assert!(
        again
            .actions()
            .iter()
            .all(|(_, action)| action == "fetched")
    );
    again.let_settle();
    again.assert_all_identical();
    let said = again.indexed();
    assert!(
        said.contains(" 0 hashed") && said.contains("4 known"),
        "{said}"
    );
    again.assert_all_identical();
    let told = again.fetch(&["-n"]).expect_code(0).text();
    assert_eq!(told.matches(":\"identical\"").count(), 4, "{told}");
    assert_eq!(again.gets(), 4);
}

#[test]
fn another_mode_that_the_listing_tells_of_costs_no_question() {
    let again = Again::new();
    again.fetch(&[]).expect_code(0);
    again.let_settle();
    again.assert_all_identical();
    let changed = ["small", "sub/deep/large"];
    for name in changed {
        let mode = fs::Permissions::from_mode(0o700);
        fs::set_permissions(again.root.join(name), mode).expect("its mode");
    }
    // The server makes the digests anew for whoever wants all, and keeps them in the end.
    let deadline = Instant::now() + DEADLINE;
    while !again.is_listed() {
        assert!(Instant::now() < deadline, "not all digests are listed");
        again.fetch(&["--check"]).expect_code(0);
    }
    again.assert_all_identical();
    for name in changed {
        let here = fs::metadata(again.here.join("all").join(name)).expect("a file");
        assert_eq!(here.permissions().mode() & 0o7777, 0o700, "{name}");
    }
    again.assert_all_identical();
    assert_eq!(again.gets(), 4);
}

#[test]
fn a_file_that_was_changed_with_its_time_put_back_is_fetched_again() {
    let again = Again::new();
    again.fetch(&[]).expect_code(0);
    again.let_settle();
    again.assert_all_identical();
    let path = again.here.join("all/sub/deep/large");
    let file = File::options().write(true).open(&path).expect("a file");
    let before = file.metadata().and_then(|meta| meta.modified());
    file.write_all_at(b"!", 1_000_000).expect("a write");
    file.set_modified(before.expect("a time")).expect("a time");
    drop(file);
    let actions = again.actions();
    let fetched: Vec<_> = actions
        .iter()
        .filter(|(_, action)| action == "fetched")
        .collect();
    assert_eq!(fetched.len(), 1, "{actions:?}");
    assert!(again.here.read("all/sub/deep/large") == noise(3, 3_000_000));
    assert_eq!(again.gets(), 5);
}

#[test]
fn an_index_that_is_lost_or_damaged_costs_time_only() {
    let again = Again::new();
    again.fetch(&[]).expect_code(0);
    again.let_settle();
    again.assert_all_identical();
    let remove = |path: &Path| fs::remove_dir_all(path).expect("a removal");
    remove(&again.own.join("own"));
    again.assert_all_identical();
    fs::write(again.index(), noise(4, 20_000)).expect("a write");
    let ended = again.fetch(&[]).expect_code(0);
    let said = &ended.stderr;
    assert_eq!(said.matches("ftget: warning: index ").count(), 1, "{said}");
    assert!(said.contains("a new one is created"), "{said}");
    assert_eq!(event(&ended.json_lines(), "summary")["failed"], 0);
    // Where none can be, it says so once and goes on.
    remove(&again.own.join("own"));
    again.own.write("own", "a file where a folder should be");
    let ended = again.fetch(&[]).expect_code(0);
    assert_eq!(
        ended.stderr.matches("warning").count(),
        1,
        "{}",
        ended.stderr
    );
    for word in ["memory", "off"] {
        assert_all_identical(again.fetch_with(OsStr::new(word), &[]));
    }
    assert_eq!(again.gets(), 4);
}

#[test]
fn the_index_is_in_the_cache_folder_once_it_is_of_use() {
    let again = Again::new();
    let cache = Scratch::new();
    let fetch = |args: &[&str], source: &str| {
        let fetch = Program::ftget().env("XDG_CACHE_HOME", cache.path());
        let fetch = fetch.in_folder(again.here.path()).args(args);
        let fetch = fetch.arg(again.server.source(source));
        fetch.run().expect_code(0);
    };
    for _ in 0..2 {
        fetch(&[], "small");
        assert!(cache.names().is_empty(), "a small file needs none");
    }
    for _ in 0..2 {
        fetch(&["-r"], "");
    }
    let mode = |path: PathBuf| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode(cache.join("ftserve")), 0o700);
    assert_eq!(mode(cache.join("ftserve/index.sqlite3")), 0o600);
    drop(again.root);
}

#[test]
fn large_files_that_are_read_to_be_compared_hold_up_no_small_ones() {
    let (root, here) = (Scratch::with_files([("z-small", "x")]), Scratch::new());
    // Nobody hashes one of these while the test runs.
    for number in 0..8 {
        for folder in [&root, &here] {
            let large = File::create(folder.join(format!("large-{number}"))).unwrap();
            large.set_len(1 << 42).unwrap();
        }
    }
    let server = TestServer::start(root.path(), ["--no-prehash", "--index", "off"]);
    let client = Program::ftget().in_folder(here.path());
    let client = client.args(["-r", "--index", "off", "-d", "."]);
    let running = client.arg(server.source("")).start();
    let deadline = Instant::now() + DEADLINE;
    while !here.join("z-small").exists() {
        assert!(Instant::now() < deadline, "it never came");
        assert!(!running.ends_within(Duration::from_millis(1)));
    }
    running.signal(Signal::KILL);
    running.wait();
}

#[test]
fn a_huge_file_that_is_here_is_read_for_no_longer_than_there_is_time() {
    const HUGE_BYTES: u64 = 4 << 40;
    let root = Scratch::new();
    let here = Scratch::new();
    for place in [&root, &here] {
        let file = File::create(place.join("huge")).expect("a file");
        file.set_len(HUGE_BYTES).expect("room in its length");
    }
    let server = TestServer::start(root.path(), ["--no-prehash"]);
    for only_looks in [&["-q"][..], &["-n"], &["--check"]] {
        let output = Program::ftget()
            .args(["--max-time", "0.3", "-d"])
            .arg(here.path())
            .args(only_looks)
            .arg(server.source("huge"))
            .run();
        // Hours before all of it could have been read.
        assert_eq!(output.code, 14, "{only_looks:?}: {}", output.stderr);
    }
}

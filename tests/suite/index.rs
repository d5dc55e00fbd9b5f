//! Digests that outlive the server: `--index`, and `ftserve index`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{
    DEADLINE, Output, Program, RawPeer, Running, Scratch, TestServer, md5_hex, noise,
};

#[test]
fn what_was_indexed_is_known_to_a_server_without_being_read() {
    let (root, place) = (tree(), Scratch::new());
    let index = place.join("own/index");
    let first = index_tree(root.path(), &index).wait().expect_code(0);
    assert!(first.stderr.contains("2 files"), "{}", first.stderr);
    assert!(first.stderr.contains("2 hashed"), "{}", first.stderr);
    let waits = "waiting some seconds for 2 files changed just now";
    assert!(first.stderr.contains(waits), "{}", first.stderr);

    let server = serve(root.path(), &index, &["--no-prehash"]);
    let shown = format!("digests are remembered in {}", index.display());
    server
        .stderr()
        .wait_until("the place of the index", |text| text.contains(&shown));
    let mut peer = server.connect();
    assert_eq!(known_md5(&mut peer, "a.bin"), md5_hex(noise(1, SIZE)));
    assert_eq!(known_md5(&mut peer, "dir/b.bin"), md5_hex(noise(2, SIZE)));

    let second = index_tree(root.path(), &index).wait().expect_code(0);
    assert!(second.stderr.contains(" 0 hashed"), "{}", second.stderr);
    assert!(second.stderr.contains("2 known"), "{}", second.stderr);
}

#[test]
fn a_file_that_was_rewritten_is_not_taken_for_the_one_that_was_indexed() {
    let (root, place) = (tree(), Scratch::new());
    let index = place.join("index");
    index_tree(root.path(), &index).wait().expect_code(0);
    let times = fs::metadata(root.join("a.bin")).unwrap();
    root.write("a.bin", noise(7, SIZE));
    // Even with its old time of writing: the time of the change tells.
    let file = fs::File::options()
        .write(true)
        .open(root.join("a.bin"))
        .unwrap();
    file.set_modified(times.modified().unwrap()).unwrap();

    let server = serve(root.path(), &index, &["--no-prehash"]);
    let mut peer = server.connect();
    assert_eq!(known_md5(&mut peer, "a.bin"), "");
    peer.ask(r#"{"filename":"a.bin"}"#)
        .assert_file("a.bin", &noise(7, SIZE));
}

#[test]
fn a_server_hashes_what_nobody_asked_for_and_remembers_it_when_it_starts_again() {
    let (root, place) = (tree(), Scratch::new());
    let index = place.join("index");
    let mut server = serve(root.path(), &index, &[]);
    let mut peer = server.connect();
    wait_until_known(&mut peer, "dir/b.bin");
    assert_eq!(server.terminate(), 143);
    let server = serve(root.path(), &index, &["--no-prehash"]);
    let mut peer = server.connect();
    assert_eq!(known_md5(&mut peer, "dir/b.bin"), md5_hex(noise(2, SIZE)));
}

#[test]
fn the_default_is_a_file_of_the_owner_alone_in_the_cache_folder() {
    let (root, cache) = (tree(), Scratch::new());
    let output = Program::ftserve()
        .env("XDG_CACHE_HOME", cache.path())
        .arg("index")
        .arg(root.path())
        .run();
    output.expect_code(0);
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(cache.join("ftserve")), 0o700);
    assert_eq!(mode(cache.join("ftserve/index.sqlite3")), 0o600);
}

#[test]
fn memory_and_off_write_nothing() {
    let (root, place) = (tree(), Scratch::new());
    for word in ["memory", "off"] {
        let server = serve(root.path(), Path::new(word), &[]);
        server
            .connect()
            .ask(r#"{"filename":"a.bin"}"#)
            .assert_file("a.bin", &noise(1, SIZE));
        assert!(!server.stderr().text().contains("remembered"), "{word}");
        let output = Program::ftserve()
            .in_folder(place.path())
            .args(["index", "--index", word])
            .arg(root.path())
            .run();
        let output = output.expect_code(2);
        assert!(output.stderr.contains("--index FILE"), "{}", output.stderr);
    }
    assert!(place.names().is_empty(), "{:?}", place.names());
}

#[test]
fn a_file_that_is_no_index_stays_as_it_is() {
    let root = tree();
    let place = Scratch::with_files([("letter", "Dear all")]);
    let server = serve(root.path(), &place.join("letter"), &[]);
    server
        .connect()
        .ask(r#"{"filename":"a.bin"}"#)
        .assert_file("a.bin", &noise(1, SIZE));
    let text = server.stderr().text();
    assert!(
        text.contains("cannot be used: a file of another program"),
        "{text}"
    );
    assert_eq!(place.names(), ["letter"]);
    assert_eq!(place.read("letter"), b"Dear all");
}

#[test]
fn an_index_that_is_damaged_or_newer_is_set_aside_with_one_line() {
    let root = tree();
    let good = Scratch::new();
    index_tree(root.path(), &good.join("index"))
        .wait()
        .expect_code(0);
    let bytes = good.read("index");
    let newer = python(&format!(
        "import sqlite3; c = sqlite3.connect({:?}); c.execute('pragma user_version = 1000'); c.commit()",
        good.join("index")
    ));
    newer.expect_code(0);
    let cases: [(&str, Vec<u8>); 4] = [
        ("zeroed", vec![0; bytes.len()]),
        ("random", noise(3, bytes.len())),
        ("cut in the middle", bytes[..bytes.len() / 2].to_vec()),
        ("newer", good.read("index")),
    ];
    for (case, bytes) in cases {
        let place = Scratch::new();
        // What is beside every index: without it a file is somebody else's.
        place.write("index-lock", "");
        place.write("index", bytes);
        let server = serve(root.path(), &place.join("index"), &[]);
        let mut peer = server.connect();
        peer.ask(r#"{"filename":"a.bin"}"#)
            .assert_file("a.bin", &noise(1, SIZE));
        let text = server.stderr().text();
        assert_eq!(text.matches("warning:").count(), 1, "{case}: {text}");
        assert!(text.contains("a new one is created"), "{case}: {text}");
        let names = place.names();
        let aside = |name: &&std::ffi::OsString| name.to_string_lossy().contains("damaged");
        assert!(names.iter().any(|name| aside(&name)), "{case}: {names:?}");
    }
}

#[test]
fn where_no_index_can_be_it_serves_from_memory_and_says_so_once() {
    let (root, place) = (tree(), Scratch::with_files([("file", "x")]));
    place.make_dir("folder");
    for path in ["file/index", "folder", "/dev/full", "/proc/index"] {
        let server = serve(root.path(), &place.join(path), &[]);
        server
            .connect()
            .ask(r#"{"filename":"a.bin"}"#)
            .assert_file("a.bin", &noise(1, SIZE));
        let text = server.stderr().text();
        assert_eq!(text.matches("warning:").count(), 1, "{path}: {text}");
        assert!(text.contains("kept in memory"), "{path}: {text}");
        // Who wants nothing but the file is told that there is none.
        let output = index_tree(root.path(), &place.join(path)).wait();
        output.expect_code(3);
    }
}

#[test]
fn an_index_inside_the_root_is_not_served() {
    let root = tree();
    let index = root.join("own/index");
    let server = serve(root.path(), &index, &[]);
    fs::hard_link(&index, root.join("link")).unwrap();
    let mut peer = server.connect();
    for name in ["own/index", "own/index-wal", "own/index-shm", "link"] {
        let answer = peer.ask(format!(r#"{{"filename":"{name}"}}"#));
        assert_eq!(answer.code(), Some("not_found"), "{name}");
    }
    // An odd but legal twin: another file of the same folder.
    root.write("own/other", "twin");
    peer.ask(r#"{"filename":"own/other"}"#)
        .assert_file("own/other", b"twin");
}

#[test]
fn files_beside_an_index_of_another_server_are_not_served() {
    let root = tree();
    let index = root.join("dir/i");
    let owner = serve(root.path(), &index, &["--no-prehash"]);
    for name in ["notes", "notes-wal", "alone-lock"] {
        root.write(name, name);
    }
    let server = serve(root.path(), Path::new("memory"), &["--no-prehash"]);
    let list = Program::ftget()
        .args(["-r", "--list"])
        .arg(server.source(""));
    let shown = list.run().expect_code(0).text().to_owned();
    let mut peer = server.connect();
    for name in ["dir/i-wal", "dir/i-shm", "dir/i-lock"] {
        assert!(root.join(name).exists(), "{name}");
        assert!(!shown.lines().any(|line| line == name), "{name} in {shown}");
        for op in ["get", "stat"] {
            let answer = peer.ask(format!(r#"{{"op":"{op}","filename":"{name}"}}"#));
            assert_eq!(answer.code(), Some("not_found"), "{op} {name}");
        }
    }
    for name in ["notes", "notes-wal", "alone-lock"] {
        assert!(
            shown.lines().any(|line| line == name),
            "{name} not in {shown}"
        );
        peer.ask(format!(r#"{{"filename":"{name}"}}"#))
            .assert_file(name, name.as_bytes());
    }
    drop(owner);
}

/// Damages an index as a disk does, and not at its beginning alone.
fn damage(index: &Path) {
    let length = fs::metadata(index).unwrap().len() as usize;
    let file = fs::File::options().write(true).open(index).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &noise(9, length.min(4_000)), 0).unwrap();
}

#[test]
fn what_an_index_sets_aside_is_not_served_and_files_of_others_stay() {
    let root = tree();
    let index = root.join("i");
    index_tree(root.path(), &index).wait().expect_code(0);
    let others = [
        "i.damaged-notes.txt",
        "i.damaged-2024",
        "i.damaged",
        "j-wal",
    ];
    for name in others {
        root.write(name, name);
    }
    let listed = |server: &TestServer| {
        let list = Program::ftget()
            .args(["-r", "--list"])
            .arg(server.source(""));
        list.run().expect_code(0).text().to_owned()
    };
    let mut aside = String::new();
    for round in 1..=2 {
        damage(&index);
        let server = serve(root.path(), &index, &["--no-prehash", "--hidden", "show"]);
        let names = fs::read_dir(root.path()).unwrap();
        let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let is_aside = |name: &String| {
            let end = name.strip_prefix("i.damaged-").unwrap_or_default();
            end.len() == 10 && end.bytes().all(|byte| byte.is_ascii_digit())
        };
        aside = names.find(is_aside).expect("an index that was set aside");
        fs::hard_link(root.join(&aside), root.join(format!("link{round}"))).unwrap();
        let shown = listed(&server);
        let mut peer = server.connect();
        for name in [
            &*aside,
            &format!("link{round}"),
            "i",
            "i-wal",
            "i-shm",
            "i-lock",
        ] {
            assert!(!shown.lines().any(|line| line == name), "{name} in {shown}");
            let answer = peer.ask(format!(r#"{{"filename":"{name}"}}"#));
            assert_eq!(answer.code(), Some("not_found"), "{name}");
        }
        for name in others {
            peer.ask(format!(r#"{{"filename":"{name}"}}"#))
                .assert_file(name, name.as_bytes());
        }
    }
    // Nor by a server that has another index, or none, and not by itself.
    let server = serve(root.path(), Path::new("memory"), &["--no-prehash"]);
    assert!(!listed(&server).contains(&aside), "{aside}");
    let alone = Program::ftserve()
        .args(["--index", "off"])
        .arg(root.join(&aside));
    let alone = alone.run().expect_code(3);
    assert!(
        alone.stderr.contains("an index that was set aside"),
        "{}",
        alone.stderr
    );
}

#[test]
fn an_index_that_is_not_ours_alone_is_not_used_and_nothing_of_it_changes() {
    let (root, place) = (tree(), Scratch::new());
    let made = place.join("good/i");
    index_tree(root.path(), &made).wait().expect_code(0);
    let copy = |name: &str| {
        let to = place.make_dir(name).join("i");
        fs::set_permissions(place.join(name), fs::Permissions::from_mode(0o700)).unwrap();
        fs::copy(&made, &to).unwrap();
        to
    };
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let writable = copy("writable");
    mode(&writable, 0o666);
    let open = copy("open");
    mode(&place.join("open"), 0o777);
    let linked = copy("linked");
    place.write("precious", "precious");
    std::os::unix::fs::symlink("../precious", place.join("linked/i-lock")).unwrap();
    let log = copy("log");
    std::os::unix::fs::symlink("../precious", place.join("log/i-wal")).unwrap();
    for (index, reason) in [
        (&writable, "i can be written by other users"),
        (&open, "its directory can be written by other users"),
        (&linked, "i-lock is a link"),
        (&log, "i-wal is a link"),
    ] {
        let before = fs::read(index).unwrap();
        let told = index_tree(root.path(), index).wait().expect_code(3);
        assert!(told.stderr.contains(reason), "{reason}: {}", told.stderr);
        let server = serve(root.path(), index, &["--no-prehash"]);
        server
            .connect()
            .ask(r#"{"filename":"a.bin"}"#)
            .assert_file("a.bin", &noise(1, SIZE));
        let text = server.stderr().text();
        assert_eq!(text.matches("warning:").count(), 1, "{text}");
        assert!(text.contains(reason), "{text}");
        assert_eq!(fs::read(index).unwrap(), before);
    }
    assert_eq!(place.read("precious"), b"precious");
    // The twin: others may read it.
    mode(&made, 0o644);
    mode(&place.join("good"), 0o755);
    let twin = index_tree(root.path(), &made).wait().expect_code(0);
    assert!(twin.stderr.contains(" 0 hashed"), "{}", twin.stderr);
}

#[test]
fn deleting_the_index_costs_time_only() {
    let (root, place) = (tree(), Scratch::new());
    let index = place.join("own/index");
    let mut server = serve(root.path(), &index, &[]);
    let mut peer = server.connect();
    fs::remove_dir_all(place.join("own")).unwrap();
    for name in ["a.bin", "dir/b.bin"] {
        let seed = if name == "a.bin" { 1 } else { 2 };
        peer.ask(format!(r#"{{"filename":"{name}"}}"#))
            .assert_file(name, &noise(seed, SIZE));
    }
    assert_eq!(server.terminate(), 143);
    let text = server.stderr().text();
    assert!(!text.contains("panicked"), "{text}");
    index_tree(root.path(), &index).wait().expect_code(0);
}

#[test]
fn two_servers_and_three_indexers_share_one_index_though_one_is_killed() {
    let names: Vec<String> = (0..60).map(|n| format!("f{n:02}")).collect();
    let root = Scratch::with_files(names.iter().map(|name| (name, noise(5, 20_000))));
    let place = Scratch::new();
    let index = place.join("index");
    for killed in 0..3 {
        let servers = [
            serve(root.path(), &index, &[]),
            serve(root.path(), &index, &[]),
        ];
        let indexers = [0, 1, 2].map(|_| index_tree(root.path(), &index));
        indexers[killed].signal(Signal::KILL);
        for (number, indexer) in indexers.into_iter().enumerate() {
            let output = indexer.wait();
            if number != killed {
                output.expect_code(0);
            }
        }
        for server in &servers {
            let text = server.stderr().text();
            assert!(!text.contains("warning"), "{text}");
            server.assert_alive();
        }
    }
    let check = python(&format!(
        "import sqlite3; print(sqlite3.connect({index:?}).execute('pragma integrity_check').fetchone()[0])"
    ));
    assert_eq!(check.expect_code(0).text().trim(), "ok");
    let last = index_tree(root.path(), &index).wait().expect_code(0);
    assert!(last.stderr.contains("60 known"), "{}", last.stderr);
}

#[test]
fn a_tree_that_cannot_be_read_is_a_local_failure_and_no_path_is_a_usage_error() {
    let place = Scratch::new();
    let index = place.join("index");
    let missing = index_tree(&place.join("missing"), &index).wait();
    let missing = missing.expect_code(3);
    assert!(missing.stderr.contains("missing"), "{}", missing.stderr);
    Program::ftserve().arg("index").run().expect_code(2);
}

#[test]
fn an_index_that_another_program_keeps_locked_holds_nothing_up() {
    let (root, place) = (tree(), Scratch::new());
    let index = place.join("index");
    index_tree(root.path(), &index).wait().expect_code(0);
    root.write("new.bin", noise(4, SIZE));
    let lock = |how: &str| {
        let other = rusqlite::Connection::open(&index).unwrap();
        other.execute_batch(how).unwrap();
        other
    };
    let before = serve(root.path(), &index, &[]);
    let against_writers = lock("BEGIN EXCLUSIVE");
    let mut servers = [before, serve(root.path(), &index, &[])];
    servers.iter().for_each(assert_serves_all);
    servers.iter_mut().for_each(assert_ends_with_a_line_at_most);
    drop(against_writers);

    let against_all = lock("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
    let mut server = serve(root.path(), &index, &[]);
    assert_serves_all(&server);
    assert_ends_with_a_line_at_most(&mut server);
    drop(against_all);

    let last = index_tree(root.path(), &index).wait().expect_code(0);
    assert!(last.stderr.contains("3 files"), "{}", last.stderr);
    let names = format!("{:?}", place.names());
    assert!(!names.contains("damaged"), "it was set aside: {names}");
}

fn assert_serves_all(server: &TestServer) {
    let mut peer = server.connect();
    for (name, seed) in [("a.bin", 1), ("dir/b.bin", 2), ("new.bin", 4)] {
        peer.ask(format!(r#"{{"filename":"{name}"}}"#))
            .assert_file(name, &noise(seed, SIZE));
    }
}

fn assert_ends_with_a_line_at_most(server: &mut TestServer) {
    assert_eq!(server.terminate(), 143);
    let text = server.stderr().text();
    assert!(text.matches("warning:").count() <= 1, "{text}");
}

#[test]
fn an_index_on_a_full_disk_is_said_once_and_every_digest_is_told_all_the_same() {
    let files = (0..3_000).map(|number| (format!("{number:04}"), number.to_string()));
    let root = Scratch::with_files(files);
    let place = Scratch::with_files([("said", "")]);
    place.make_dir("disk");
    let script =
        r#"mount -t tmpfs -o size=160k tmpfs "$1/disk" && exec 2> "$1/said" && shift && exec "$@""#;
    let ask = concat!(
        env!("CARGO_BIN_EXE_ftget"),
        r#" --list=md5sum "$FTSERVE_ADDR/" && until grep -q warning "$0"; do sleep 0.05; done"#
    );
    let output = Program::system("unshare", "util-linux")
        .args(["--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(place.path())
        .args([env!("CARGO_BIN_EXE_ftserve"), "-b", "127.0.0.1:0"])
        .arg("--index")
        .arg(place.join("disk/index"))
        .arg(root.path())
        .args(["--", "sh", "-c", ask])
        .arg(place.join("said"))
        .run();
    if ["unshare:", "mount:"]
        .iter()
        .any(|who| output.stderr.starts_with(who))
    {
        return note(&format!(
            "no file system may be mounted here: {}",
            output.stderr
        ));
    }
    assert_eq!(output.expect_code(0).text().lines().count(), 3_000);
    let said = String::from_utf8(place.read("said")).unwrap();
    assert_eq!(said.matches("warning:").count(), 1, "{said}");
    assert!(said.contains("kept in memory"), "{said}");
}

#[test]
fn a_server_that_watches_hashes_what_changes_before_it_is_asked() {
    let (root, place) = (tree(), Scratch::new());
    for index in [place.join("index"), "memory".into()] {
        let mut server = serve(root.path(), &index, &["--watch"]);
        let mut peer = server.connect();
        wait_until_known(&mut peer, "a.bin");
        root.write("dir/later.bin", noise(8, SIZE));
        assert_eq!(
            wait_until_known(&mut peer, "dir/later.bin"),
            md5_hex(noise(8, SIZE))
        );
        assert_eq!(server.terminate(), 143);
        fs::remove_file(root.join("dir/later.bin")).unwrap();
    }
}

#[test]
fn where_not_every_folder_can_be_watched_one_line_says_so() {
    let Some(said) = said_with_a_limit("max_inotify_watches", 5) else {
        return;
    };
    assert!(
        said.contains("not every directory can be watched"),
        "{said}"
    );
    assert!(said.contains("(fs.inotify.max_user_watches)"), "{said}");
    assert!(
        said.contains("\nhint: sysctl -w fs.inotify.max_user_watches="),
        "{said}"
    );
}

#[test]
fn where_nothing_can_be_watched_the_limit_is_named() {
    let Some(said) = said_with_a_limit("max_inotify_instances", 0) else {
        return;
    };
    assert!(said.contains("no directory can be watched"), "{said}");
    assert!(said.contains("(fs.inotify.max_user_instances)"), "{said}");
    assert!(
        said.contains("\nhint: sysctl -w fs.inotify.max_user_instances="),
        "{said}"
    );
}

/// The only warning of a server that watches 21 folders where this limit is so low; `None` where
/// it cannot be set.
fn said_with_a_limit(limit: &str, value: u32) -> Option<String> {
    let root = Scratch::with_files((0..20).map(|number| (format!("{number}/file"), "x")));
    let script = format!(r#"echo {value} > /proc/sys/user/{limit} && exec "$@""#);
    let ask = concat!(
        env!("CARGO_BIN_EXE_ftget"),
        r#" -q -o - "$FTSERVE_ADDR/7/file" && until grep -q warning "$0"; do sleep 0.05; done"#
    );
    let said = Scratch::with_files([("said", "")]);
    let output = Program::system("unshare", "util-linux")
        .args(["--map-root-user", "sh", "-c", &script, "sh"])
        .args(["sh", "-c", r#"exec 2> "$0"; exec "$@""#])
        .arg(said.join("said"))
        .args([
            env!("CARGO_BIN_EXE_ftserve"),
            "-b",
            "127.0.0.1:0",
            "--watch",
            "--index",
            "memory",
        ])
        .arg(root.path())
        .args(["--", "sh", "-c", ask])
        .arg(said.join("said"))
        .run();
    if output.stderr.starts_with("unshare:") || output.stderr.contains(limit) {
        note(&format!("{limit} cannot be set here: {}", output.stderr));
        return None;
    }
    assert_eq!(output.expect_code(0).stdout, b"x");
    let said = String::from_utf8(said.read("said")).unwrap();
    assert_eq!(said.matches("warning:").count(), 1, "{said}");
    Some(said)
}

/// Seen with `--nocapture`: what cannot be tested on this machine.
fn note(text: &str) {
    let _ = std::io::stderr().write_all(format!("not tested: {text}\n").as_bytes());
}

fn wait_until_known(peer: &mut RawPeer, name: &str) -> String {
    let begun = Instant::now();
    loop {
        let md5 = known_md5(peer, name);
        if !md5.is_empty() {
            return md5;
        }
        // What hashes in the background steps back for everything else on the machine.
        assert!(begun.elapsed() < 5 * DEADLINE, "{name} was not hashed");
        peer.assert_silence(Duration::from_millis(50));
    }
}

/// A folder with two files that are longer than what is always hashed.
fn tree() -> Scratch {
    Scratch::with_files([("a.bin", noise(1, SIZE)), ("dir/b.bin", noise(2, SIZE))])
}

fn serve(root: &Path, index: &Path, more: &[&str]) -> TestServer {
    let place = ["--index".as_ref(), index.as_os_str()];
    TestServer::builder(root).args(place).args(more).start()
}

fn index_tree(root: &Path, index: &Path) -> Running {
    let program = Program::ftserve().arg("index").arg(root);
    program.arg("--index").arg(index).start()
}

/// The digest that the server knows without hashing; empty if there is none.
fn known_md5(peer: &mut RawPeer, name: &str) -> String {
    let answer = peer.ask(format!(r#"{{"op":"stat","filename":"{name}"}}"#));
    answer.str("md5").to_owned()
}

fn python(program: &str) -> Output {
    Program::system("python3", "python3")
        .args(["-c", program])
        .run()
}

const SIZE: usize = 300_000;

//! What may lie in a served folder: things that are no files, and links.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

use crate::cases::{CONTENT, FILE, PROMPT};
use crate::harness::{Answer, RawPeer, Scratch, TestServer};

fn get(peer: &mut RawPeer, name: &str) -> Answer {
    peer.ask(json!({"filename": name}).to_string())
}

#[track_caller]
fn assert_refused(peer: &mut RawPeer, name: &str, code: &str) {
    let answer = get(peer, name);
    assert_eq!(answer.code(), Some(code), "{name}: {}", answer.text);
    assert!(
        answer.after < PROMPT,
        "{name}: answered after {:?}",
        answer.after
    );
    assert_eq!(answer.str("filename"), name);
    get(peer, FILE).assert_file(FILE, CONTENT);
}

/// What a program is run by to have no power to read what its modes forbid: root may read
/// everything (setpriv is part of Debian's essential package util-linux).
pub(crate) fn unprivileged_reader() -> &'static [&'static str] {
    match rustix::process::geteuid().is_root() {
        true => &[
            "setpriv",
            "--inh-caps=-dac_override,-dac_read_search",
            "--bounding-set=-dac_override,-dac_read_search",
        ],
        false => &[],
    }
}

#[test]
fn what_is_no_file_is_refused_without_blocking() {
    let root = Scratch::with_files([(FILE, CONTENT), ("dir/x", b"x")]);
    mknodat(
        CWD,
        root.join("fifo"),
        FileType::Fifo,
        Mode::from_raw_mode(0o644),
        0,
    )
    .expect("a FIFO");
    let _listener = UnixListener::bind(root.join("socket")).expect("a socket");
    symlink("fifo", root.join("link to fifo")).expect("a link");
    let server = TestServer::plain(root.path());
    let mut peer = server.connect();
    assert_refused(&mut peer, "fifo", "not_a_file");
    assert_refused(&mut peer, "socket", "not_a_file");
    assert_refused(&mut peer, "link to fifo", "not_a_file");
    assert_refused(&mut peer, "dir", "is_directory");
    assert_refused(&mut peer, "", "is_directory");
    assert_refused(&mut peer, "none", "not_found");
    assert_refused(&mut peer, "dir/none", "not_found");
    assert_refused(&mut peer, "a.txt/x", "not_a_directory");
    assert_refused(&mut peer, "fifo/x", "not_a_directory");
    let stat = peer.ask(r#"{"op":"stat","filename":"fifo"}"#);
    assert_eq!(
        (stat.code(), stat.str("type")),
        (None, "other"),
        "{}",
        stat.text
    );
}

#[test]
fn devices_are_refused_and_never_read() {
    let server = TestServer::plain("/dev");
    let mut peer = server.connect();
    for name in ["null", "zero", "random", "tty"] {
        let answer = get(&mut peer, name);
        assert_eq!(answer.code(), Some("not_a_file"), "{name}: {}", answer.text);
        assert!(
            answer.after < PROMPT,
            "{name}: answered after {:?}",
            answer.after
        );
    }
}

#[test]
fn a_proc_file_that_hides_its_size_does_no_harm() {
    let server = TestServer::plain("/proc");
    let mut peer = server.connect();
    for name in ["version", "cpuinfo"] {
        let answer = get(&mut peer, name);
        // The kernel says 0 bytes, and has more to tell.
        assert_eq!(answer.code(), Some("not_a_file"), "{}", answer.text);
        assert!(
            answer.after < PROMPT,
            "{name}: answered after {:?}",
            answer.after
        );
    }
    let answer = get(&mut peer, "self/root/etc/passwd");
    assert_eq!(
        answer.code(),
        Some("not_found"),
        "a magic link was followed: {}",
        answer.text
    );
}

#[test]
fn links_are_followed_inside_the_root_and_nowhere_else() {
    let place = Scratch::with_files([
        ("root/a.txt", CONTENT),
        ("root/dir/b.txt", b"b"),
        ("secret", b"secret"),
    ]);
    let root = place.join("root");
    let links = [
        ("inside", "a.txt".into()),
        ("dir/up", "../a.txt".into()),
        ("to dir", "dir".into()),
        ("chain", "inside".into()),
        ("outside", "../secret".into()),
        ("absolute outside", place.join("secret")),
        ("absolute inside", root.join("a.txt")),
        ("out and in", "../root/a.txt".into()),
        ("dir outside", "..".into()),
        ("loop", "loop".into()),
        ("loop a", "loop b".into()),
        ("loop b", "loop a".into()),
        ("dangling", "none".into()),
        ("magic", "/proc/self/root".into()),
    ];
    for (link, target) in &links {
        symlink(target, root.join(link)).expect("a link");
    }
    let server = TestServer::plain(&root);
    let mut peer = server.connect();
    for name in ["inside", "dir/up", "chain"] {
        get(&mut peer, name).assert_file(name, CONTENT);
    }
    get(&mut peer, "to dir/b.txt").assert_file("to dir/b.txt", b"b");
    for name in [
        "outside",
        "absolute outside",
        "absolute inside",
        "out and in",
        "dir outside/secret",
        "dir outside/root/a.txt",
        "loop",
        "loop a",
        "dangling",
        "magic/etc/passwd",
        "dir outside",
        "a.txt/../../secret",
    ] {
        let answer = get(&mut peer, name);
        let expected = if name.contains("..") {
            "bad_name"
        } else {
            "not_found"
        };
        assert_eq!(answer.code(), Some(expected), "{name}: {}", answer.text);
        let stat = peer.ask(json!({"op": "stat", "filename": name}).to_string());
        assert_eq!(stat.code(), Some(expected), "stat of {name}: {}", stat.text);
    }

    let never = TestServer::start(&root, ["--follow-symlinks", "never"]);
    let mut peer = never.connect();
    get(&mut peer, FILE).assert_file(FILE, CONTENT);
    for name in ["inside", "dir/up", "chain", "to dir/b.txt"] {
        let answer = get(&mut peer, name);
        assert_eq!(answer.code(), Some("not_found"), "{name}: {}", answer.text);
    }
}

#[test]
fn an_unreadable_file_is_forbidden() {
    let root = Scratch::with_files([
        (FILE, CONTENT),
        ("locked", b"secret"),
        ("closed/x", b"secret"),
    ]);
    fs::set_permissions(root.join("locked"), Permissions::from_mode(0o000)).expect("a mode");
    fs::set_permissions(root.join("closed"), Permissions::from_mode(0o000)).expect("a mode");
    let server = TestServer::builder(root.path())
        .through(unprivileged_reader())
        .start();
    let mut peer = server.connect();
    assert_refused(&mut peer, "locked", "forbidden");
    assert_refused(&mut peer, "closed/x", "forbidden");
    fs::set_permissions(root.join("closed"), Permissions::from_mode(0o755)).expect("a mode");
}

#[test]
fn a_single_file_may_be_served() {
    let root = Scratch::with_files([(FILE, CONTENT), ("other", b"other")]);
    let server = TestServer::plain(root.join(FILE));
    let mut peer = server.connect();
    get(&mut peer, FILE).assert_file(FILE, CONTENT);
    let answer = get(&mut peer, "");
    assert_eq!(
        (answer.code(), answer.body.as_slice()),
        (None, CONTENT),
        "{}",
        answer.text
    );
    for name in ["other", "a.txt/x"] {
        let answer = get(&mut peer, name);
        assert_eq!(answer.code(), Some("not_found"), "{name}: {}", answer.text);
    }
}

#[test]
fn messages_never_hold_a_path_of_the_host() {
    let root = Scratch::with_files([(FILE, CONTENT)]);
    fs::create_dir(root.join("dir")).expect("a folder");
    symlink("/etc/passwd", root.join("outside")).expect("a link");
    let server = TestServer::plain(root.path());
    let mut peer = server.connect();
    let path = root.path().to_str().expect("a UTF-8 path").to_owned();
    for name in ["none", "dir", "outside", "a.txt/x", "../x", ""] {
        let answer = get(&mut peer, name);
        assert!(answer.code().is_some(), "{}", answer.text);
        assert!(
            !answer.text.contains(&path) && !answer.text.contains("/etc/"),
            "{}",
            answer.text
        );
    }
}

#[test]
fn hashing_headers_come_only_to_those_who_asked() {
    let root = Scratch::new();
    File::create(root.join("huge"))
        .and_then(|file| file.set_len(1 << 40))
        .expect("a sparse file");
    let server = TestServer::plain(root.path());
    let mut peer = server.connect();
    peer.send_frame(r#"{"filename":"huge"}"#);
    peer.assert_silence(Duration::from_millis(1_200));
}

#[test]
fn hashing_a_terabyte_shows_progress_hurts_nobody_and_stops_when_nobody_waits() {
    let root = Scratch::with_files([(FILE, CONTENT)]);
    File::create(root.join("huge"))
        .and_then(|file| file.set_len(1 << 40))
        .expect("a sparse file");
    let mut server = TestServer::plain(root.path());
    let mut waiting = server.connect();
    waiting.send_frame(r#"{"filename":"huge","progress":true,"id":"h"}"#);
    let mut done_before = 0;
    let mut rounds: u32 = 0;
    // Two at least, and until there is progress, however slow the machine.
    while rounds < 2 || done_before == 0 {
        rounds += 1;
        assert!(rounds < 100, "no progress was made");
        let interim = waiting.read_header();
        assert_eq!(
            (interim.str("status"), interim.size("body_size")),
            ("hashing", 0),
            "{}",
            interim.text
        );
        assert_eq!(interim.size("total_size"), 1 << 40, "{}", interim.text);
        // Half a second between two: a peer is not flooded while it waits.
        let paused = waiting.elapsed();
        assert!(
            paused >= Duration::from_millis(450) * rounds,
            "{rounds} in {paused:?}"
        );
        assert_eq!(
            (interim.str("id"), interim.str("filename")),
            ("h", "huge"),
            "{}",
            interim.text
        );
        assert!(
            interim.size("done") >= done_before && interim.size("done") < 1 << 40,
            "{}",
            interim.text
        );
        done_before = interim.size("done");
        let mut honest = server.connect();
        let answer = get(&mut honest, FILE);
        answer.assert_file(FILE, CONTENT);
        assert!(answer.after < PROMPT, "answered after {:?}", answer.after);
        let stat = honest.ask(r#"{"op":"stat","filename":"huge"}"#);
        assert_eq!(
            (stat.size("total_size"), stat.str("md5")),
            (1 << 40, ""),
            "{}",
            stat.text
        );
    }
    waiting.reset();
    // Nobody waits: within a second of watching, the server uses next to no processor time.
    let idle = (0..10).any(|_| {
        let before = server.facts().cpu_time();
        server.connect().assert_silence(Duration::from_millis(500));
        server.facts().cpu_time() - before < Duration::from_millis(100)
    });
    assert!(idle, "the server went on hashing for nobody");
    server.terminate();
}

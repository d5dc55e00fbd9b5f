//! `list`: what is in a folder, page by page.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::cases::NamedCase;
use crate::files::unprivileged_reader;
use crate::harness::{Answer, RawPeer, Scratch, TestServer, at_some_pace, md5_hex};

/// The entries of a page, after its digest was checked.
#[track_caller]
fn entries(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.code(), None, "{}", answer.text);
    assert_eq!(answer.str("md5"), md5_hex(&answer.body));
    assert!(
        answer.body.iter().all(|byte| *byte != 0x1b),
        "no escape leaves raw"
    );
    let lines = answer.body.split_inclusive(|byte| *byte == b'\n');
    lines
        .map(|line| {
            assert!(line.ends_with(b"\n"), "{}", line.escape_ascii());
            serde_json::from_slice(line).expect("a line of JSON")
        })
        .collect()
}

fn names(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(name).collect()
}

fn name(entry: &Value) -> &str {
    entry["filename"].as_str().expect("a name")
}

/// All pages of a listing, one after the other; how many there were; and what is hidden.
#[track_caller]
fn all_pages(peer: &mut RawPeer, request: Value) -> (Vec<Value>, usize, u64) {
    let (mut all, mut pages, mut hidden) = (Vec::new(), 0, 0);
    let mut request = request;
    loop {
        let answer = peer.ask(request.to_string());
        all.append(&mut entries(&answer));
        pages += 1;
        hidden += answer
            .header
            .get("hidden")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        let header = &answer.header;
        assert_eq!(header.get("recursive"), request.get("recursive"));
        match (header.get("next"), header.get("last")) {
            (None, Some(Value::Bool(true))) => return (all, pages, hidden),
            (Some(next), None) => request["after"] = next.clone(),
            _ => panic!("neither the last page nor one before it: {}", answer.text),
        }
    }
}

fn tree() -> Scratch {
    let root = Scratch::new();
    for name in ["a", "a.b", "a/x", "b/c/d", "b/e", "z"] {
        if name != "a" {
            root.write(name, name);
        }
    }
    root.write(".hidden", "");
    root.write("b/.also", "");
    root.write("b/.ft-0123456789abcdef-0.part", "");
    root
}

/// What `next` says behind this name, in a listing of one folder.
fn next_behind(name: &str) -> Value {
    // Of the first root.
    let place = [&[0; 4], name.as_bytes()].concat();
    let check = md5_hex([&place[..], &[0]].concat());
    let check = u32::from_str_radix(&check[..8], 16).expect("digits");
    let bytes = [&check.to_be_bytes()[..], &place].concat();
    Value::from(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

const TREE: [&str; 8] = ["a", "a/x", "a.b", "b", "b/c", "b/c/d", "b/e", "z"];

#[test]
fn every_page_says_whether_names_that_begin_with_a_dot_are_shown() {
    let root = Scratch::with_files([("a", ""), ("b", "")]);
    root.make_dir("empty");
    for (show, hidden) in [(&[][..], Some(0)), (&["--hidden", "show"], None)] {
        let server = TestServer::start(root.path(), show);
        for folder in ["", "empty"] {
            let request = json!({"op": "list", "filename": folder, "limit": 1});
            let header = server.connect().ask(request.to_string()).header;
            let said = header
                .get("hidden")
                .map(|said| said.as_u64().expect("a number"));
            assert_eq!(said, hidden, "{header:?}");
        }
    }
}

#[test]
fn pages_of_every_size_join_to_the_same_listing() {
    let root = tree();
    let server = TestServer::plain(root.path());
    let mut peer = server.connect();
    for limit in [1, 2, 3, 7, 8, 9, 10_000, 10_001, i64::MAX as u64] {
        let _case = NamedCase(format!("limit {limit}"));
        let request = json!({"op": "list", "filename": "", "recursive": true, "limit": limit});
        // One that takes longer than a second is short.
        at_some_pace(|_| {
            let (all, pages, hidden) = all_pages(&mut server.connect(), request.clone());
            assert_eq!(names(&all), TREE);
            assert_eq!(hidden, 2);
            assert!(pages as u64 <= 8 / limit.min(8) + 1, "{pages} pages");
        });
    }
    let (all, ..) = all_pages(&mut peer, json!({"op": "list", "filename": "b"}));
    assert_eq!(names(&all), ["b/c", "b/e"]);
}

#[test]
fn next_is_good_on_another_connection_and_after_its_entry_is_gone() {
    let root = tree();
    let server = TestServer::plain(root.path());
    let request = json!({"op": "list", "filename": "", "recursive": true, "limit": 3});
    let first = server.connect().ask(request.to_string());
    assert_eq!(names(&entries(&first)), TREE[..3]);
    fs::remove_file(root.join("a.b")).unwrap();
    root.write("aa", "new, before what is to come");
    fs::remove_file(root.join("z")).unwrap();
    let mut request = request;
    request["after"] = first.header["next"].clone();
    let (rest, ..) = all_pages(&mut server.connect(), request);
    assert_eq!(names(&rest), ["aa", "b", "b/c", "b/c/d", "b/e"]);
}

#[test]
fn a_next_that_was_damaged_on_its_way_is_refused_and_skips_nothing() {
    let root = tree();
    let server = TestServer::plain(root.path());
    let mut peer = server.connect();
    let mut request = json!({"op": "list", "filename": "", "recursive": true, "limit": 3});
    let first = peer.ask(request.to_string());
    let next = first.str("next").to_owned();
    for at in 0..next.len() {
        for other in ["", "A", "B", "b", "0", "AA", "."] {
            let damaged = [&next[..at], other, &next[at + 1..]].concat();
            if damaged != next {
                request["after"] = Value::from(damaged);
                let answer = peer.ask(request.to_string());
                assert_eq!(answer.code(), Some("bad_request"), "{request}");
            }
        }
    }
    request["after"] = Value::from(&*next);
    request["recursive"] = Value::from(false);
    assert_eq!(peer.ask(request.to_string()).code(), Some("bad_request"));
    request["recursive"] = Value::from(true);
    assert_eq!(names(&entries(&peer.ask(request.to_string())))[0], TREE[3]);
}

#[test]
fn what_exists_all_the_while_appears_once_while_others_come_and_go() {
    let root = Scratch::new();
    for number in 0..300 {
        root.write(format!("stays-{number:03}"), "");
        root.write(format!("goes-{number:03}"), "");
    }
    let server = TestServer::plain(root.path());
    let mut peer = server.connect();
    let mut request = json!({"op": "list", "filename": "", "limit": 7});
    let mut all: Vec<String> = Vec::new();
    for round in 0.. {
        let answer = peer.ask(request.to_string());
        all.extend(names(&entries(&answer)).into_iter().map(str::to_owned));
        let Some(next) = answer.header.get("next") else {
            break;
        };
        request["after"] = next.clone();
        let _ = fs::remove_file(root.join(format!("goes-{round:03}")));
        root.write(format!("comes-{round:03}"), "");
        if round % 5 == 0 {
            peer = server.connect();
        }
    }
    assert!(all.is_sorted());
    let stayed = all.iter().filter(|name| name.starts_with("stays")).count();
    assert_eq!(stayed, 300);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
}

#[test]
fn entries_say_what_each_thing_is() {
    let root = Scratch::new();
    root.write("folder/file", "content");
    root.write(OsStr::from_bytes(b"latin-\xe9"), "x");
    root.write("line\nfeed\u{1b}[31m\u{202e}", "");
    symlink("folder/file", root.join("link-inside")).unwrap();
    symlink("../outside", root.join("link-outside")).unwrap();
    symlink("/etc/passwd", root.join("link-absolute")).unwrap();
    symlink(OsStr::from_bytes(b"gone-\xff"), root.join("link-odd")).unwrap();
    symlink(".", root.join("loop")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let server = TestServer::plain(root.path());
    let request = json!({"op": "list", "filename": "", "recursive": true, "digests": ["md5"]});
    // `entries` sees that no escape leaves raw.
    let (all, ..) = all_pages(&mut server.connect(), request);
    let kinds: Vec<_> = all
        .iter()
        .map(|entry| {
            (
                entry["filename"].as_str().unwrap(),
                entry["type"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        kinds,
        [
            ("fifo", "other"),
            ("folder", "dir"),
            ("folder/file", "file"),
            ("latin-\u{fffd}", "file"),
            ("line\nfeed\u{1b}[31m\u{202e}", "file"),
            ("link-absolute", "symlink"),
            ("link-inside", "symlink"),
            ("link-odd", "symlink"),
            ("link-outside", "symlink"),
            ("loop", "symlink"),
        ]
    );
    let of = |name: &str| all.iter().find(|entry| entry["filename"] == name).unwrap();
    assert_eq!(of("folder/file")["md5"], md5_hex("content"));
    assert_eq!(of("folder/file")["total_size"], 7);
    assert_eq!(of("latin-\u{fffd}")["filename_b64"], "bGF0aW4t6Q==");
    assert_eq!(of("link-inside")["target"], "folder/file");
    assert_eq!(of("link-odd")["target_b64"], "Z29uZS3/");
    assert_eq!(of("loop")["target"], ".");
    for outside in ["link-outside", "link-absolute", "fifo", "folder"] {
        assert_eq!(of(outside).get("target"), None, "{outside}");
        assert_eq!(of(outside)["md5"], "", "{outside}");
    }
    assert_eq!(of("folder")["mode"], "0755");
    assert!(of("fifo")["mtime"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn what_cannot_be_entered_or_looked_at_is_named_and_the_rest_is_listed() {
    let root = Scratch::new();
    root.write("closed/inside", "");
    root.write("open/inside", "");
    root.write("unreadable", "x");
    // Names can be read there, but nothing behind them looked at.
    root.write("blind/inside", "");
    let mode = |name: &str, mode| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(root.join(name), permissions).unwrap();
    };
    mode("closed", 0);
    mode("unreadable", 0);
    mode("blind", 0o444);
    mode("", 0o755);
    let server = TestServer::builder(root.path())
        .through(unprivileged_reader())
        .start();
    let request = json!({"op": "list", "filename": "", "recursive": true, "digests": ["md5"]});
    let (all, ..) = all_pages(&mut server.connect(), request);
    let told: Vec<_> = all
        .iter()
        .map(|entry| {
            (
                entry["filename"].as_str().unwrap(),
                entry["error"]["code"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("blind", None),
            ("blind/inside", Some("forbidden")),
            ("closed", Some("forbidden")),
            ("open", None),
            ("open/inside", None),
            ("unreadable", Some("forbidden")),
        ]
    );
    mode("closed", 0o755);
    mode("blind", 0o755);
}

#[test]
fn a_listing_of_a_file_says_that_it_is_none_and_blames_no_part_of_its_path() {
    let root = tree();
    let server = TestServer::plain(root.path());
    let mut peer = server.connect();
    let mut message = |name: &str| {
        let request = json!({"op": "list", "filename": name}).to_string();
        peer.ask(request).message().to_owned()
    };
    assert_eq!(message("b/e"), "name is not a directory");
    assert_eq!(message("b/e/x"), "part of the path is not a directory");
}

#[test]
fn listings_that_wait_for_a_digest_hold_little_memory_however_many_there_are() {
    let root = Scratch::new();
    let first = root.write("0", "");
    let first = fs::OpenOptions::new().write(true).open(first).unwrap();
    // Nobody hashes this while the test runs.
    first.set_len(1 << 42).unwrap();
    for number in 0..20_000 {
        root.write(format!("{number:0240}"), "");
    }
    let server = TestServer::start(root.path(), ["--no-prehash", "--index", "off"]);
    let request = r#"{"op":"list","filename":"","digests":["md5"],"progress":true}"#;
    let mut peers: Vec<RawPeer> = (0..24).map(|_| server.connect()).collect();
    for peer in &mut peers {
        peer.send_frame(request);
    }
    for peer in &mut peers {
        // Its page has got as far as the file that is being hashed.
        while peer.read_header().size("total_size") != 1 << 42 {}
    }
    let grown = server.facts().rss_kib();
    // Each holds 5 MB of names.
    assert!(grown < 130 << 10, "{grown} KiB");
    let mut other = RawPeer::connect_from("127.0.1.9", server.addr());
    let page = other.ask(r#"{"op":"list","filename":"","limit":3}"#);
    assert_eq!(entries(&page).len(), 3);
}

#[test]
fn bad_listings_are_refused_and_the_connection_goes_on() {
    let root = tree();
    symlink("b", root.join("link")).unwrap();
    symlink("..", root.join("up")).unwrap();
    let server = TestServer::plain(root.path());
    let mut peer = server.connect();
    for (request, code) in [
        (json!({"filename": "nothing"}), "not_found"),
        (json!({"filename": ".hidden"}), "not_found"),
        (json!({"filename": "up"}), "not_found"),
        (json!({"filename": "z"}), "not_a_directory"),
        (json!({"filename": "z/x"}), "not_a_directory"),
        (json!({"filename": "b/"}), "bad_name"),
        (json!({"filename": ".."}), "bad_name"),
        (json!({}), "bad_request"),
        (json!({"filename": "", "limit": 0}), "bad_request"),
        (json!({"filename": "", "limit": "5"}), "bad_request"),
        (json!({"filename": "", "limit": -1}), "bad_request"),
        (json!({"filename": "", "recursive": 1}), "bad_request"),
        (json!({"filename": "", "after": 1}), "bad_request"),
        (json!({"filename": "", "after": ""}), "bad_request"),
        (json!({"filename": "", "after": "!!"}), "bad_request"),
        (
            json!({"filename": "", "after": "Li4vLi4vZXRj"}),
            "bad_request",
        ),
        (json!({"filename": "", "after": "YmI"}), "bad_request"),
        (
            json!({"filename": "", "after": next_behind("../etc")}),
            "bad_request",
        ),
        (
            json!({"filename": "b", "after": next_behind("a")}),
            "bad_request",
        ),
        (
            json!({"filename": "b", "after": next_behind("b")}),
            "bad_request",
        ),
        (
            json!({"filename": "", "recursive": true, "after": next_behind("a")}),
            "bad_request",
        ),
        (
            json!({"filename": "", "after": "x".repeat(8_193)}),
            "bad_request",
        ),
        (json!({"filename": "", "digests": ["sha1"]}), "unsupported"),
    ] {
        let mut request = request;
        request["op"] = json!("list");
        let answer = peer.ask(request.to_string());
        assert_eq!(answer.code(), Some(code), "{request}: {}", answer.text);
    }
    // Odd, but legal: through a link inside, and a cursor of what was never there.
    let linked = peer.ask(json!({"op": "list", "filename": "link"}).to_string());
    assert_eq!(names(&entries(&linked)), ["link/c", "link/e"]);
    for (after, first) in [("bb", "link"), (".hidden/x", "a")] {
        let request = json!({"op": "list", "filename": "", "after": next_behind(after)});
        assert_eq!(names(&entries(&peer.ask(request.to_string())))[0], first);
    }
}

#[test]
fn a_listing_and_files_are_pipelined_in_the_order_they_were_asked_for() {
    let root = tree();
    let server = TestServer::plain(root.path());
    let mut peer = server.connect();
    for _ in 0..50 {
        peer.send_frame(r#"{"op":"list","filename":"b"}"#);
        peer.send_frame(r#"{"filename":"z"}"#);
        peer.send_frame(r#"{"op":"list","filename":"a","id":7}"#);
    }
    for _ in 0..50 {
        assert_eq!(names(&entries(&peer.read_answer())), ["b/c", "b/e"]);
        peer.read_answer().assert_file("z", b"z");
        let last = peer.read_answer();
        assert_eq!(last.header["id"], 7);
        assert_eq!(names(&entries(&last)), ["a/x"]);
    }
}

#[test]
fn digests_that_are_waited_for_come_for_small_and_large_files() {
    let root = Scratch::new();
    let large = vec![7; 3 << 20];
    for name in ["large-1", "large-2"] {
        root.write(name, &large);
    }
    for number in 0..500 {
        root.write(format!("small-{number:03}"), number.to_string());
    }
    let server = TestServer::builder(root.path())
        .args(["--no-prehash"])
        .start();
    let mut peer = server.connect();
    let known = entries(&peer.ask(json!({"op": "list", "filename": ""}).to_string()));
    assert!(
        known.iter().all(|entry| entry["md5"] == ""),
        "nothing was hashed yet"
    );
    let request = json!({"op": "list", "filename": "", "digests": ["md5"]});
    let (all, ..) = all_pages(&mut peer, request);
    assert_eq!(all.len(), 502);
    for entry in all {
        let name = entry["filename"].as_str().unwrap();
        assert_eq!(entry["md5"], md5_hex(root.read(name)), "{name}");
    }
}

#[test]
fn a_single_file_lists_itself() {
    let root = Scratch::new();
    let file = root.write("only.txt", "x");
    root.write("other", "");
    let server = TestServer::plain(file);
    let mut peer = server.connect();
    let request = json!({"op": "list", "filename": "", "recursive": true});
    let (all, ..) = all_pages(&mut peer, request);
    assert_eq!(names(&all), ["only.txt"]);
    let refused = peer.ask(r#"{"op":"list","filename":"only.txt"}"#);
    assert_eq!(refused.code(), Some("not_a_directory"));
    let refused = peer.ask(r#"{"op":"list","filename":"other"}"#);
    assert_eq!(refused.code(), Some("not_found"));
}

#[test]
fn peers_that_ask_for_pages_and_read_none_cost_a_bounded_amount_of_memory() {
    let root = Scratch::new();
    for number in 0..10_000 {
        root.write(format!("{number:0>100}"), "");
    }
    let server = TestServer::plain(root.path());
    let before = server.facts().rss_kib();
    let mut peers: Vec<RawPeer> = (0..100).map(|_| server.connect()).collect();
    for peer in &mut peers {
        peer.shrink_receive_buffer(4096);
        for _ in 0..100 {
            peer.send_frame(r#"{"op":"list","filename":""}"#);
        }
    }
    for peer in &mut peers {
        // Its first page is made, or refused.
        let header = peer.read_header();
        assert!(
            header.code().is_none() || header.code() == Some("busy"),
            "{}",
            header.text
        );
    }
    // Of another address, so that it is not behind them in the line.
    let mut honest = RawPeer::connect_from("127.0.1.9", server.addr());
    let answer = honest.ask(r#"{"op":"list","filename":"","limit":10}"#);
    assert!(
        answer.code().is_none() || answer.code() == Some("busy"),
        "{}",
        answer.text
    );
    let grown = server.facts().rss_kib().saturating_sub(before);
    assert!(grown < 400 << 10, "{grown} KiB");
    drop(peers);
    server.assert_alive();
}

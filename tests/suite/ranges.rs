//! Whole files of every interesting size, and parts of them.

use serde_json::json;

use crate::cases::NamedCase;
use crate::harness::{Scratch, TestServer, md5_hex, noise};

/// md5's padding and blocks, what is hashed on the spot (4 KiB), what is read whole
/// (256 KiB), a step of sending, a quantum (4 MiB) and beyond: each with its neighbours.
const SIZES: [usize; 23] = [
    0, 1, 55, 56, 63, 64, 65, 4_095, 4_096, 4_097, 65_535, 65_536, 65_537, 262_143, 262_144,
    262_145, 524_288, 1_048_575, 1_048_576, 1_048_577, 4_194_304, 4_194_305, 8_388_608,
];

#[test]
fn files_of_every_size_arrive_whole_twice() {
    let root = Scratch::new();
    for size in SIZES {
        root.write(size.to_string(), noise(size as u64, size));
    }
    let server = TestServer::plain(root.path());
    let mut peer = server.connect();
    for size in SIZES.into_iter().chain(SIZES) {
        let _case = NamedCase(format!("{size} bytes"));
        let answer = peer.ask(json!({"filename": size.to_string()}).to_string());
        answer.assert_file(&size.to_string(), &noise(size as u64, size));
    }
}

#[test]
fn a_range_is_cut_at_the_end_of_the_file_and_carries_the_whole_files_digest() {
    let root = Scratch::new();
    let server = TestServer::plain(root.path());
    let mut peer = server.connect();
    for size in [0, 1, 100, 4_097, 262_144, 262_145, 1_048_577] {
        let content = noise(1, size);
        root.write("file", &content);
        let half = size / 2;
        let ranges = [
            (Some(0), None),
            (None, Some(0)),
            (None, Some(1)),
            (Some(0), Some(0)),
            (Some(half), None),
            (Some(half), Some(1)),
            (Some(half), Some(size)),
            (Some(half), Some(usize::MAX >> 1)),
            (Some(size), None),
            (Some(size), Some(10)),
            (Some(size.saturating_sub(1)), None),
        ];
        for (offset, length) in ranges {
            let _case = NamedCase(format!(
                "offset {offset:?} length {length:?} of {size} bytes"
            ));
            let mut request = json!({"filename": "file", "fresh": true});
            if let Some(offset) = offset {
                request["offset"] = json!(offset);
            }
            if let Some(length) = length {
                request["length"] = json!(length);
            }
            let start = offset.unwrap_or(0);
            let end = start.saturating_add(length.unwrap_or(size)).min(size);
            let answer = peer.ask(request.to_string());
            assert_eq!(answer.code(), None, "{}", answer.text);
            assert_eq!(answer.size("total_size"), size as u64, "{}", answer.text);
            assert_eq!(
                answer.size("body_size"),
                (end - start) as u64,
                "{}",
                answer.text
            );
            assert_eq!(answer.size("offset"), start as u64, "{}", answer.text);
            assert_eq!(answer.str("md5"), md5_hex(&content));
            assert!(answer.body == content[start..end], "the body differs");
        }
        for offset in [size + 1, size + 1_000_000, usize::MAX >> 1] {
            let answer =
                peer.ask(json!({"filename": "file", "offset": offset, "fresh": true}).to_string());
            assert_eq!(
                answer.code(),
                Some("bad_range"),
                "offset {offset} of {size}: {}",
                answer.text
            );
        }
    }
}

#[test]
fn a_plain_get_says_nothing_about_ranges() {
    let root = Scratch::with_files([("a.txt", "verified\n")]);
    let server = TestServer::plain(root.path());
    let answer = server.connect().ask(r#"{"filename":"a.txt"}"#);
    for key in [
        "offset",
        "body_size",
        "match",
        "status",
        "error",
        "need",
        "id",
    ] {
        assert!(
            answer.header.get(key).is_none(),
            "{key} was not asked for: {}",
            answer.text
        );
    }
}

#[test]
fn only_the_wanted_content_is_sent() {
    let content = noise(1, 300_000);
    let root = Scratch::with_files([("file", &content)]);
    let server = TestServer::plain(root.path());
    let mut peer = server.connect();
    let (right, wrong) = (md5_hex(&content), md5_hex(b"something else"));
    let get = |extra: serde_json::Value| {
        let mut request = json!({"filename": "file"});
        request
            .as_object_mut()
            .expect("an object")
            .extend(extra.as_object().expect("an object").clone());
        request.to_string()
    };
    let answer = peer.ask(get(json!({"want_md5": right, "offset": 299_990})));
    assert_eq!(answer.body, content[299_990..], "{}", answer.text);
    let answer = peer.ask(get(json!({"want_md5": wrong, "offset": 10})));
    assert_eq!(answer.code(), Some("changed"), "{}", answer.text);
    let answer = peer.ask(get(json!({"want_md5": wrong})));
    assert_eq!(answer.code(), Some("changed"), "{}", answer.text);
    let answer = peer.ask(get(json!({"have_md5": right})));
    assert_eq!(
        (answer.header["match"].as_bool(), answer.size("body_size")),
        (Some(true), 0),
        "{}",
        answer.text
    );
    assert_eq!(
        (answer.size("total_size"), answer.str("md5")),
        (300_000, right.as_str()),
        "{}",
        answer.text
    );
    let answer = peer.ask(get(json!({"have_md5": wrong})));
    answer.assert_file("file", &content);
    assert!(answer.header.get("match").is_none(), "{}", answer.text);
    for range in [
        json!({"have_md5": right, "offset": 0}),
        json!({"have_md5": right, "length": 5}),
    ] {
        let answer = peer.ask(get(range));
        assert_eq!(
            answer.code(),
            Some("bad_request"),
            "have_md5 with a range: {}",
            answer.text
        );
    }
    // Another file under the name: what was wanted is gone.
    root.write("file", noise(2, 300_000));
    let answer = peer.ask(get(json!({"want_md5": right, "offset": 10, "fresh": true})));
    assert_eq!(answer.code(), Some("changed"), "{}", answer.text);
}

#[test]
fn stat_tells_what_is_there_and_sends_nothing() {
    let content = noise(1, 300_000);
    let root = Scratch::with_files([("dir/file", &content)]);
    let server = TestServer::plain(root.path());
    let mut peer = server.connect();
    let answer = peer.ask(r#"{"op":"stat","filename":"dir/file","digests":["md5"],"id":"s"}"#);
    assert_eq!(answer.code(), None, "{}", answer.text);
    assert_eq!(
        (answer.size("total_size"), answer.size("body_size")),
        (300_000, 0),
        "{}",
        answer.text
    );
    assert_eq!(
        (answer.str("type"), answer.str("md5")),
        ("file", md5_hex(&content).as_str()),
        "{}",
        answer.text
    );
    assert_eq!(answer.str("id"), "s");
    let mtime = answer.str("mtime");
    assert!(
        mtime.len() == 30 && mtime.ends_with('Z') && mtime.as_bytes()[10] == b'T',
        "{mtime}"
    );
    let mode = answer.str("mode");
    assert!(
        mode.len() == 4 && mode.starts_with('0') && mode.bytes().all(|b| matches!(b, b'0'..=b'7')),
        "{mode}"
    );
    for name in ["", "dir"] {
        let answer = peer.ask(json!({"op": "stat", "filename": name}).to_string());
        assert_eq!(
            (
                answer.str("type"),
                answer.size("total_size"),
                answer.str("md5")
            ),
            ("dir", 0, ""),
            "{}",
            answer.text
        );
    }
    let answer = peer.ask(r#"{"op":"stat","filename":"dir/none"}"#);
    assert_eq!(answer.code(), Some("not_found"), "{}", answer.text);
}

#[test]
fn hello_says_what_this_server_can_do() {
    let root = Scratch::new();
    let server = TestServer::plain(root.path());
    let answer = server.connect().ask(r#"{"op":"hello","id":7}"#);
    assert_eq!(answer.size("ft"), 1, "{}", answer.text);
    assert_eq!(
        answer.header["ops"],
        json!(["get", "stat", "list", "hello"]),
        "{}",
        answer.text
    );
    assert_eq!(answer.header["digests"], json!(["md5"]), "{}", answer.text);
    assert_eq!(answer.header["writable"], json!(false), "{}", answer.text);
    assert_eq!(answer.size("id"), 7);
}

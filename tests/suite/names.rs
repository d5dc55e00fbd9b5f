//! Names: which are refused, which are merely odd.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::cases::{NamedCase, PROMPT};
use crate::harness::{Answer, RawPeer, Scratch, TestServer, noise};

/// Asks for a name in base64, which can say any bytes.
fn get_bytes(peer: &mut RawPeer, name: &[u8]) -> Answer {
    peer.ask(json!({"filename_b64": STANDARD.encode(name)}).to_string())
}

#[test]
fn a_name_that_is_not_a_plain_path_downwards_is_a_bad_name() {
    let outside = Scratch::with_files([
        ("x", "outside"),
        ("root/a.txt", "inside"),
        ("root/a/b.txt", "inside"),
    ]);
    let server = TestServer::plain(outside.join("root"));
    let mut peer = server.connect();
    let bad: Vec<Vec<u8>> = [
        ".",
        "..",
        "/",
        "//",
        "../x",
        "a/../../x",
        "a/../a.txt",
        "./a.txt",
        "a/./b.txt",
        "a/.",
        "a/..",
        "/x",
        "/a.txt",
        "//h/s",
        "a//b.txt",
        "a/",
        "a.txt/",
        "a\0b",
        "\0",
        "a.txt\0",
    ]
    .iter()
    .map(|name| name.as_bytes().to_vec())
    .chain([
        vec![b'n'; 256],
        [b"a/".as_slice(), &[b'n'; 256]].concat(),
        vec![b'n'; 4_097],
        b"a/".repeat(1_000),
        many_parts(257),
    ])
    .collect();
    for name in &bad {
        let _case = NamedCase(name[..name.len().min(40)].escape_ascii().to_string());
        let answer = get_bytes(&mut peer, name);
        assert_eq!(answer.code(), Some("bad_name"), "{}", answer.text);
        assert!(answer.after < PROMPT, "answered after {:?}", answer.after);
        let stat =
            peer.ask(json!({"op": "stat", "filename_b64": STANDARD.encode(name)}).to_string());
        assert_eq!(stat.code(), Some("bad_name"), "{}", stat.text);
        if let Ok(text) = std::str::from_utf8(name) {
            let plain = peer.ask(json!({"filename": text}).to_string());
            assert_eq!(plain.code(), Some("bad_name"), "{}", plain.text);
        }
    }
}

/// So many parts of one byte.
fn many_parts(parts: usize) -> Vec<u8> {
    vec!["p"; parts].join("/").into_bytes()
}

#[test]
fn a_name_at_the_limits_is_merely_not_found() {
    let root = Scratch::new();
    let server = TestServer::plain(root.path());
    let mut peer = server.connect();
    let parts = |lengths: &[usize]| {
        lengths
            .iter()
            .map(|&length| "n".repeat(length))
            .collect::<Vec<_>>()
            .join("/")
    };
    let longest = parts(&[&[255; 15][..], &[127, 128]].concat());
    assert_eq!(longest.len(), 4_096);
    for name in [
        "n".repeat(255),
        parts(&[255; 16]),
        longest,
        String::from_utf8(many_parts(256)).expect("ASCII"),
    ] {
        let _case = NamedCase(format!("{} bytes", name.len()));
        let answer = peer.ask(json!({"filename": name}).to_string());
        assert_eq!(answer.code(), Some("not_found"), "{}", answer.text);
        assert_eq!(answer.str("filename"), name);
    }
}

#[test]
fn odd_names_are_served_and_echoed_without_a_byte_that_acts() {
    let names: [&[u8]; 36] = [
        b"line\nfeed",
        b"carriage\rreturn",
        b"tab\there",
        b"\x1b[31mred\x1b[0m",
        b"\x1b]0;title\x07",
        b"bell\x07",
        b"del\x7f",
        "right\u{202e}txt.exe".as_bytes(),
        "\u{2066}isolate".as_bytes(),
        "\u{feff}bom".as_bytes(),
        "line\u{2028}separator".as_bytes(),
        "c1\u{9b}31m".as_bytes(),
        b"..\\x",
        b"C:\\x",
        b"nul.txt",
        b"x:ads",
        b"~",
        b"-rf",
        b"$(id)",
        b"`id`",
        b"%2e%2e%2f",
        b"@x",
        b"...",
        b"..a",
        b"a..",
        b" ",
        b" lead and trail ",
        b"quote\"back\\slash",
        b"a b/c d",
        "größe-测试.txt".as_bytes(),
        // GBK, Latin-1, broken UTF-8, an encoded surrogate.
        b"\xb2\xe2\xca\xd4.txt",
        b"caf\xe9",
        b"\xff\xfe",
        b"a\x80/b\xc3",
        b"\xed\xa0\x80",
        b"\xf0\x9f\x98",
    ];
    let root = Scratch::new();
    for name in names {
        root.write(OsStr::from_bytes(name), name);
    }
    let longest = [b'n'; 255];
    root.write(OsStr::from_bytes(&longest), longest);
    let server = TestServer::start(root.path(), ["-v", "--hidden", "show"]);
    let mut peer = server.connect();
    for name in names.into_iter().chain([&longest[..]]) {
        let _case = NamedCase(name.escape_ascii().to_string());
        let answer = get_bytes(&mut peer, name);
        assert_eq!(answer.code(), None, "{}", answer.text);
        assert_eq!(answer.body, name);
        match std::str::from_utf8(name) {
            Ok(text) => {
                assert_eq!(answer.str("filename"), text);
                assert!(
                    answer.header.get("filename_b64").is_none(),
                    "{}",
                    answer.text
                );
                let plain = peer.ask(json!({"filename": text}).to_string());
                assert_eq!(plain.body, name, "{}", plain.text);
            }
            Err(_) => assert_eq!(answer.str("filename_b64"), STANDARD.encode(name)),
        }
    }
    drop(peer);
    let acts = |c: char| {
        c.is_control() && c != '\n'
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let stderr = server.stderr().text();
    assert!(
        !stderr.contains(acts),
        "the log would act on a terminal: {stderr:?}"
    );
}

#[test]
fn odd_names_that_do_not_exist_are_not_found_and_echoed_as_safely() {
    let root = Scratch::new();
    let server = TestServer::start(root.path(), ["-v"]);
    let mut peer = server.connect();
    for name in [
        &b"\x1b[2J"[..],
        "\u{202e}".as_bytes(),
        b"\xff\xff",
        b"a\nlistening on 10.0.0.1:1\n",
    ] {
        let _case = NamedCase(name.escape_ascii().to_string());
        let answer = get_bytes(&mut peer, name);
        assert_eq!(answer.code(), Some("not_found"), "{}", answer.text);
    }
    assert_eq!(
        server
            .stderr()
            .text()
            .lines()
            .filter(|line| line.starts_with("listening on 10."))
            .count(),
        0
    );
}

#[test]
fn the_servers_own_names_and_hidden_ones_answer_as_missing_ones() {
    let root = Scratch::with_files([
        (".hidden", "secret"),
        (".git/config", "secret"),
        ("a/.hidden", "secret"),
        (
            ".ft-0123456789abcdef-0123456789abcdef0123456789abcdef.part",
            "partial",
        ),
        (
            "a/.ft-0123456789abcdef-0123456789abcdef0123456789abcdef.part",
            "partial",
        ),
    ]);
    let server = TestServer::plain(root.path());
    let shown = TestServer::start(root.path(), ["--hidden", "show"]);
    let names = [
        ".hidden",
        ".git/config",
        ".git",
        "a/.hidden",
        ".ft-0123456789abcdef-0123456789abcdef0123456789abcdef.part",
        "a/.ft-0123456789abcdef-0123456789abcdef0123456789abcdef.part",
    ];
    let mut peer = server.connect();
    let missing = without_name(&peer.ask(r#"{"filename":".missing"}"#).text, ".missing");
    for name in names {
        let _case = NamedCase(name);
        let answer = peer.ask(json!({"filename": name}).to_string());
        assert_eq!(answer.code(), Some("not_found"), "{}", answer.text);
        assert_eq!(
            without_name(&answer.text, name),
            missing,
            "a hidden name can be told from a missing one"
        );
    }
    let mut peer = shown.connect();
    assert_eq!(peer.ask(r#"{"filename":".hidden"}"#).body, b"secret");
    for name in &names[4..] {
        let answer = peer.ask(json!({"filename": name}).to_string());
        assert_eq!(
            answer.code(),
            Some("not_found"),
            "partial files are never shown: {}",
            answer.text
        );
    }
}

fn without_name(text: &str, name: &str) -> String {
    text.replace(name, "NAME")
}

#[test]
fn thousands_of_random_names_get_one_answer_each() {
    let root = Scratch::with_files([("a.txt", "verified\n")]);
    let server = TestServer::plain(root.path());
    let mut peer = server.connect();
    for seed in 0..2_000 {
        let _case = NamedCase(format!("the random name of seed {seed}"));
        let name = noise(seed, usize::try_from(seed % 300).expect("a length"));
        let answer = get_bytes(&mut peer, &name);
        let code = answer.code();
        assert!(
            matches!(code, Some("not_found" | "bad_name" | "is_directory")),
            "{}",
            answer.text
        );
    }
}

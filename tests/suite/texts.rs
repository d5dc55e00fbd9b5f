//! Requests as lines of text: what ends one, what is skipped, what is refused.

use std::time::Duration;

use crate::cases::{CONTENT, FILE, NamedCase, PROMPT};
use crate::harness::{Scratch, TestServer, at_some_pace};

fn server() -> (Scratch, TestServer) {
    let root = Scratch::with_files([(FILE, CONTENT)]);
    let server = TestServer::plain(root.path());
    (root, server)
}

#[test]
fn every_end_mark_ends_a_name() {
    let (_root, server) = server();
    let lines: [(&str, &[u8]); 12] = [
        ("LF", b"a.txt\n"),
        ("CRLF", b"a.txt\r\n"),
        ("CR NUL", b"a.txt\r\0"),
        ("two CRs and LF: only one is dropped", b"\na.txt\r\n"),
        ("silence", b"a.txt"),
        ("CR and silence", b"a.txt\r"),
        ("empty lines before", b"\r\n\n\r\0a.txt\n"),
        ("negotiation before", b"\xff\xfb\x18\xff\xfd\x01a.txt\r\n"),
        ("negotiation inside", b"a.\xff\xfb\x1ftxt\r\n"),
        ("a two-byte command", b"\xff\xf1a.txt\r\n"),
        (
            "a subnegotiation",
            b"\xff\xfa\x18\x00xterm\n\xff\xf0a.txt\r\n",
        ),
        ("negotiation after", b"a.txt\r\n\xff\xfb\x18"),
    ];
    for (name, line) in lines {
        let _case = NamedCase(name);
        let mut peer = server.connect();
        peer.send(line);
        let answer = peer.read_answer();
        answer.assert_file(FILE, CONTENT);
        assert!(answer.after < PROMPT, "answered after {:?}", answer.after);
        // The spelling is fixed: the next line is a request too.
        peer.send("a.txt\n");
        peer.read_answer().assert_file(FILE, CONTENT);
    }
}

#[test]
fn the_end_of_the_stream_ends_a_name_of_any_length() {
    let names = ["a", "ab", "abc", "abcd"];
    let root = Scratch::with_files(names.map(|name| (name, name)));
    let server = TestServer::plain(root.path());
    for name in names {
        let _case = NamedCase(name);
        let mut peer = server.connect();
        peer.send(name);
        peer.end_writing();
        let answer = peer.read_answer();
        answer.assert_file(name, name.as_bytes());
        assert!(answer.after < PROMPT, "answered after {:?}", answer.after);
        peer.expect_eof();
    }
}

#[test]
fn names_of_one_and_two_bytes_end_with_their_line() {
    let names = ["a", "ab"];
    let root = Scratch::with_files(names.map(|name| (name, name)));
    let server = TestServer::plain(root.path());
    for (name, line) in [("a", "a\r\n"), ("ab", "ab\n"), ("ab", "ab\r\n")] {
        let _case = NamedCase(line);
        at_some_pace(|_| {
            let mut peer = server.connect();
            peer.send(line);
            let answer = peer.read_answer();
            answer.assert_file(name, name.as_bytes());
            // Without its line it would be one after 2 s.
            let soon = answer.after < Duration::from_secs(1);
            assert!(soon, "answered after {:?}", answer.after);
        });
    }
}

#[test]
fn two_bytes_and_two_seconds_of_silence_are_a_name() {
    let root = Scratch::with_files([("ab", "short")]);
    let server = TestServer::plain(root.path());
    let mut peer = server.connect();
    peer.send("ab");
    let answer = peer.read_answer();
    answer.assert_file("ab", b"short");
    assert!(
        answer.after >= Duration::from_millis(1_900),
        "two bytes may be a length: {:?}",
        answer.after
    );
    assert!(answer.after < PROMPT, "answered after {:?}", answer.after);
}

#[test]
fn lines_are_answered_in_their_order_on_one_connection() {
    let root = Scratch::with_files((0..50).map(|n| (format!("f{n}"), n.to_string())));
    let server = TestServer::plain(root.path());
    let mut peer = server.connect();
    let lines: String = (0..50).map(|n| format!("f{n}\r\n")).collect();
    peer.send(lines);
    peer.end_writing();
    for n in 0..50 {
        peer.read_answer()
            .assert_file(&format!("f{n}"), n.to_string().as_bytes());
    }
    peer.expect_eof();
}

#[test]
fn somebody_typing_is_given_time() {
    let (_root, server) = server();
    // A server that is kept waiting sees a line where keys were typed.
    at_some_pace(|_| {
        let mut peer = server.connect();
        // Character mode: each key is a segment, with a pause longer than the silence that ends a
        // name.
        for key in FILE.bytes() {
            peer.send([key]);
            peer.assert_silence(Duration::from_millis(300));
        }
        peer.send("\r\n");
        peer.read_answer().assert_file(FILE, CONTENT);
    });
}

#[test]
fn a_name_in_two_sends_is_one_name() {
    let (_root, server) = server();
    // The silence of 200 ms that ends a name must not be that of a machine without time.
    at_some_pace(|_| {
        let mut peer = server.connect();
        for _ in 0..3 {
            peer.send("a.t");
            peer.assert_silence(Duration::from_millis(50));
            peer.send("xt");
            peer.read_answer().assert_file(FILE, CONTENT);
        }
    });
}

#[test]
fn bytes_that_are_not_utf8_name_their_file() {
    use std::os::unix::ffi::OsStrExt;
    let names: [&[u8]; 4] = [
        b"\xb2\xe2\xca\xd4.txt",
        b"caf\xe9",
        b"\xff\x41",
        "größe".as_bytes(),
    ];
    let root = Scratch::new();
    for name in names {
        root.write(std::ffi::OsStr::from_bytes(name), name);
    }
    let server = TestServer::plain(root.path());
    for name in names {
        let _case = NamedCase(name.escape_ascii().to_string());
        for end in [&b"\n"[..], b""] {
            let mut peer = server.connect();
            peer.send([name, end].concat());
            let answer = peer.read_answer();
            assert_eq!(answer.code(), None, "{}", answer.text);
            assert_eq!(answer.body, name);
        }
    }
}

#[test]
fn a_bad_line_gets_an_error_and_the_next_line_is_served() {
    let (_root, server) = server();
    let too_long = "n".repeat(4_097);
    let longest = "n/".repeat(2_047) + "nn";
    assert_eq!(longest.len(), 4_096);
    let lines: [(&str, &str); 9] = [
        ("../x", "bad_name"),
        ("/etc/passwd", "bad_name"),
        ("dir/", "bad_name"),
        ("a\0b", "bad_name"),
        ("no such file", "not_found"),
        ("@x", "not_found"),
        (&too_long, "bad_name"),
        // 2,048 parts, but not too long.
        (&longest, "bad_name"),
        ("{\"filename\":\"a.txt\"}", "not_found"),
    ];
    let mut peer = server.connect();
    for (line, code) in lines {
        let _case = NamedCase(&line[..line.len().min(40)]);
        peer.send(format!("{line}\n"));
        let answer = peer.read_answer();
        assert_eq!(answer.code(), Some(code), "{}", answer.text);
        assert!(answer.after < PROMPT, "answered after {:?}", answer.after);
        peer.send("a.txt\n");
        peer.read_answer().assert_file(FILE, CONTENT);
    }
}

#[test]
fn a_line_without_end_is_dropped_as_it_comes() {
    let (_root, server) = server();
    server.assert_alive();
    let rss_before = server.facts().rss_kib();
    let mut peer = server.connect();
    let mut line = vec![b'n'; 32 << 20];
    line.push(b'\n');
    peer.send(line);
    let answer = peer.read_answer();
    assert_eq!(answer.code(), Some("bad_name"), "{}", answer.text);
    peer.send("a.txt\n");
    peer.read_answer().assert_file(FILE, CONTENT);
    let grown = server.facts().rss_kib().saturating_sub(rss_before);
    assert!(
        grown < 16 * 1024,
        "a line of 32 MiB made the server grow by {grown} KiB"
    );
}

#[test]
fn a_line_that_never_ends_times_out() {
    let root = Scratch::with_files([(FILE, CONTENT)]);
    at_some_pace(|factor| {
        let limit = format!("{}ms", 500 * factor);
        let server = TestServer::start(root.path(), ["--header-timeout", &limit]);
        let mut peer = server.connect();
        // Typed, so that silence does not end it.
        for key in ["a", ".", "t"] {
            peer.send(key);
            peer.assert_silence(Duration::from_millis(60));
        }
        let answer = peer.read_answer();
        assert_eq!(answer.code(), Some("timeout"), "{}", answer.text);
        peer.expect_eof();
    });
}

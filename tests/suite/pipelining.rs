//! Many requests in flight, request bodies that nobody wants, and the end of the stream.

use serde_json::json;

use crate::cases::{CONTENT, FILE, NamedCase};
use crate::harness::{Scratch, TestServer, frame, noise};

#[test]
fn five_hundred_answers_and_then_the_error_arrive() {
    let root = Scratch::with_files((0..500).map(|n| (n.to_string(), noise(n, 1 + 7 * n as usize))));
    let server = TestServer::plain(root.path());
    for (name, bad) in [
        ("length 0", &[0, 0, 0, 0][..]),
        ("not JSON", &frame("{]")),
        ("text", b"0.txt\r\n"),
    ] {
        let _case = NamedCase(name);
        let mut peer = server.connect();
        let mut requests = Vec::new();
        for n in 0..500 {
            requests.extend(frame(
                json!({"filename": n.to_string(), "id": n}).to_string(),
            ));
        }
        requests.extend(bad);
        peer.send(requests);
        for n in 0..500 {
            let answer = peer.read_answer();
            answer.assert_file(&n.to_string(), &noise(n, 1 + 7 * n as usize));
            assert_eq!(answer.size("id"), n, "{}", answer.text);
        }
        let answer = peer.read_answer();
        assert_eq!(answer.code(), Some("bad_frame"), "{}", answer.text);
        peer.expect_eof();
    }
}

#[test]
fn fifty_thousand_requests_are_answered_in_their_order() {
    const REQUESTS: u64 = 50_000;
    let root = Scratch::with_files([(FILE, CONTENT)]);
    let server = TestServer::plain(root.path());
    let mut peer = server.connect();
    let sending = peer.another();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut sending = sending;
            for block in 0..REQUESTS / 1_000 {
                let ids = block * 1_000..(block + 1) * 1_000;
                let requests =
                    ids.flat_map(|id| frame(format!(r#"{{"filename":"a.txt","id":{id}}}"#)));
                sending.send(requests.collect::<Vec<u8>>());
            }
        });
        for id in 0..REQUESTS {
            let answer = peer.read_answer();
            assert_eq!((answer.size("id"), answer.body.as_slice()), (id, CONTENT));
        }
    });
}

#[test]
fn large_answers_in_flight_keep_their_order_and_bytes() {
    let sizes = [300_000, 10, 0, 1_000_000, 262_144, 5_000_000, 1];
    let root = Scratch::with_files(sizes.map(|size| (size.to_string(), noise(size as u64, size))));
    let server = TestServer::plain(root.path());
    let mut peer = server.connect();
    let requests: Vec<u8> = sizes
        .iter()
        .cycle()
        .take(28)
        .flat_map(|size| frame(json!({"filename": size.to_string()}).to_string()))
        .collect();
    peer.send(requests);
    peer.end_writing();
    for size in sizes.iter().cycle().take(28) {
        peer.read_answer()
            .assert_file(&size.to_string(), &noise(*size as u64, *size));
    }
    peer.expect_eof();
}

#[test]
fn errors_among_answers_disturb_nothing() {
    let root = Scratch::with_files([(FILE, CONTENT)]);
    let server = TestServer::plain(root.path());
    let mut peer = server.connect();
    let bad = [
        (r#"{"filename":"../x"}"#, "bad_name"),
        (r#"{"filename":"none"}"#, "not_found"),
        (r#"{"filename":""}"#, "is_directory"),
        (r#"{"op":"fly"}"#, "unsupported"),
        (r#"{"filename":1}"#, "bad_request"),
        (r#"{"filename":"a.txt","offset":99}"#, "bad_range"),
        (r#"{"filename":"a.txt/b"}"#, "not_a_directory"),
    ];
    let mut requests = Vec::new();
    for (text, _) in bad {
        requests.extend(frame(text));
        requests.extend(frame(r#"{"filename":"a.txt"}"#));
    }
    peer.send(requests);
    for (text, code) in bad {
        let _case = NamedCase(text);
        let answer = peer.read_answer();
        assert_eq!(answer.code(), Some(code), "{}", answer.text);
        peer.read_answer().assert_file(FILE, CONTENT);
    }
}

#[test]
fn a_request_body_is_never_parsed_whatever_it_looks_like() {
    let root = Scratch::with_files([(FILE, CONTENT), ("secret", b"secret\n")]);
    let server = TestServer::plain(root.path());
    let ops = [
        (
            "put",
            r#""op":"put","filename":"new","total_size":1,"md5":"0cc175b9c0f1b6a831c399e269772661""#,
        ),
        ("an unknown op", r#""op":"fly","filename":"new""#),
        ("no op at all", r#""op":"""#),
        ("get", r#""filename":"a.txt""#),
        ("stat", r#""op":"stat","filename":"a.txt""#),
        ("hello", r#""op":"hello""#),
        ("a bad name", r#""filename":"../x""#),
        ("a need", r#""filename":"a.txt","need":["telepathy"]"#),
    ];
    for (op, keys) in ops {
        for size in [0, 1, 28, 1_000, 65_536, 65_537, (1 << 20) - 1, 1 << 20] {
            for pieces in [1, 3] {
                let _case = NamedCase(format!(
                    "{op} with a body of {size} bytes in {pieces} sends"
                ));
                let mut peer = server.connect();
                let body: Vec<u8> = frame(r#"{"filename":"secret"}"#)
                    .into_iter()
                    .cycle()
                    .take(size)
                    .collect();
                let mut bytes = frame(format!(r#"{{{keys},"body_size":{size},"id":"first"}}"#));
                bytes.extend(body);
                bytes.extend(frame(r#"{"filename":"a.txt","id":"after"}"#));
                for piece in bytes.chunks(bytes.len().div_ceil(pieces)) {
                    peer.send(piece);
                }
                let first = peer.read_answer();
                assert_eq!(first.str("id"), "first", "{}", first.text);
                if size > 0 {
                    assert!(
                        first.code().is_some(),
                        "a body that is not wanted was accepted: {}",
                        first.text
                    );
                }
                let after = peer.read_answer();
                assert_eq!(after.str("id"), "after", "{}", after.text);
                after.assert_file(FILE, CONTENT);
                peer.end_writing();
                peer.expect_eof();
            }
        }
    }
    assert_eq!(
        root.names().len(),
        2,
        "something was stored: {:?}",
        root.names()
    );
}

#[test]
fn a_body_over_one_mib_ends_the_connection_after_its_answer() {
    let root = Scratch::with_files([(FILE, CONTENT), ("secret", b"secret\n")]);
    let server = TestServer::plain(root.path());
    for op in ["put", "fly", "get"] {
        for (size, sent) in [
            ((1 << 20) + 1, (1 << 20) + 1),
            ((1 << 20) + 1, 0),
            (1_u64 << 40, 200_000),
        ] {
            let _case = NamedCase(format!(
                "{op} with a body of {size} bytes of which {sent} come"
            ));
            let mut peer = server.connect();
            let body: Vec<u8> = frame(r#"{"filename":"secret"}"#)
                .into_iter()
                .cycle()
                .take(sent)
                .collect();
            let mut bytes = frame(format!(
                r#"{{"op":"{op}","filename":"a.txt","body_size":{size},"id":"first"}}"#
            ));
            bytes.extend(body);
            let _ = peer.try_send(bytes);
            let answer = peer.read_answer();
            assert_eq!(answer.str("id"), "first", "{}", answer.text);
            assert!(answer.code().is_some(), "{}", answer.text);
            let (rest, _) = peer.read_to_end();
            assert!(
                rest.is_empty(),
                "a part of the body was answered: {:?}",
                String::from_utf8_lossy(&rest)
            );
        }
    }
}

#[test]
fn a_body_that_ends_early_gets_one_answer() {
    let root = Scratch::with_files([(FILE, CONTENT)]);
    let server = TestServer::plain(root.path());
    let mut peer = server.connect();
    peer.send_frame(r#"{"op":"put","filename":"a.txt","body_size":1000,"id":"first"}"#);
    peer.send(frame(r#"{"filename":"a.txt"}"#));
    peer.end_writing();
    let answer = peer.read_answer();
    assert_eq!(
        (answer.code(), answer.str("id")),
        (Some("unsupported"), "first"),
        "{}",
        answer.text
    );
    peer.expect_eof();
}

#[test]
fn every_complete_request_is_answered_after_the_end_of_the_stream() {
    let root = Scratch::with_files([("big", noise(1, 3_000_000)), (FILE, CONTENT.to_vec())]);
    let server = TestServer::plain(root.path());
    let mut peer = server.connect();
    peer.send(
        [
            frame(r#"{"filename":"big"}"#),
            frame(r#"{"filename":"a.txt"}"#),
        ]
        .concat(),
    );
    peer.end_writing();
    peer.read_answer().assert_file("big", &noise(1, 3_000_000));
    peer.read_answer().assert_file(FILE, CONTENT);
    peer.expect_eof();
}

#[test]
fn a_client_that_never_reads_is_held_back_and_hurts_nobody() {
    let root = Scratch::with_files([("big", noise(1, 2_000_000)), (FILE, CONTENT.to_vec())]);
    let server = TestServer::plain(root.path());
    server.assert_alive();
    let rss_before = server.facts().rss_kib();
    let mut greedy: Vec<_> = (0..20).map(|_| server.connect()).collect();
    let requests: Vec<u8> = std::iter::repeat_with(|| frame(r#"{"filename":"big"}"#))
        .take(2_000)
        .flatten()
        .collect();
    for peer in &mut greedy {
        peer.set_wait(std::time::Duration::from_millis(50))
            .expect("a write timeout");
        let _ = peer.try_send(&requests);
    }
    let mut honest = server.connect();
    for _ in 0..20 {
        let answer = honest.ask(r#"{"filename":"a.txt"}"#);
        answer.assert_file(FILE, CONTENT);
        assert!(
            answer.after < crate::cases::PROMPT,
            "answered after {:?}",
            answer.after
        );
    }
    let grown = server.facts().rss_kib().saturating_sub(rss_before);
    assert!(
        grown < 48 * 1024,
        "20 clients that do not read made the server grow by {grown} KiB"
    );
}

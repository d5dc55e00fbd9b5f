//! Connections that wait for a digest, a page or a command: they are counted, make room when
//! connections run short, and keep nobody else out. Invariant I6.

use std::fs::{self, File};
use std::time::Instant;

use crate::harness::{DEADLINE, Ending, RawPeer, Scratch, TestServer, frame, noise};

const SMALL: &[u8] = b"hello";

/// A directory with a small file, and with one whose hash takes minutes.
fn root() -> Scratch {
    let root = Scratch::with_files([("small", SMALL)]);
    let endless = File::create(root.join("endless")).expect("a file");
    endless.set_len(1 << 40).expect("a sparse file");
    root
}

fn serve(root: &Scratch, connections_max: &str) -> TestServer {
    let args = ["--no-prehash", "--index", "memory"];
    let more = ["--max-connections", connections_max, "--max-per-address"];
    let args = args.into_iter().chain(more).chain([connections_max]);
    TestServer::start(root.path(), args)
}

/// Sends a request and waits until the server has read it.
fn ask_from(source: &str, server: &TestServer, request: &str) -> RawPeer {
    let mut peer = RawPeer::connect_from(source, server.addr());
    peer.send_frame(request);
    peer
}

const ENDLESS: &str = r#"{"filename":"endless"}"#;
const ENDLESS_WITH_PROGRESS: &str = r#"{"filename":"endless","op":"get","progress":true}"#;

/// Asks for the endless file and waits for the server's word that it works on it.
fn wait_from(source: &str, server: &TestServer) -> RawPeer {
    let mut peer = ask_from(source, server, ENDLESS_WITH_PROGRESS);
    let header = peer.read_header();
    assert!(header.text.contains("hashing"), "{}", header.text);
    peer
}

#[test]
fn a_quarter_of_all_places_may_wait_for_one_address() {
    let root = root();
    let server = serve(&root, "8");
    let _waiters = [
        wait_from("127.0.0.2", &server),
        wait_from("127.0.0.2", &server),
    ];
    let mut third = ask_from("127.0.0.2", &server, ENDLESS);
    let answer = third.read_answer();
    assert_eq!(answer.code(), Some("busy"), "{}", answer.text);
    assert!(answer.text.contains("retry_after_ms"), "{}", answer.text);
    third
        .ask(r#"{"filename":"small"}"#)
        .assert_file("small", SMALL);
    // Another address may still wait.
    let _other = wait_from("127.0.0.3", &server);
}

#[test]
fn a_place_among_the_waiters_comes_back_with_its_connection() {
    let root = root();
    let server = serve(&root, "4");
    let waiter = wait_from("127.0.0.2", &server);
    let refused = ask_from("127.0.0.2", &server, ENDLESS).read_answer();
    assert_eq!(refused.code(), Some("busy"), "{}", refused.text);
    waiter.reset();
    let began = Instant::now();
    loop {
        let mut peer = ask_from("127.0.0.2", &server, ENDLESS_WITH_PROGRESS);
        let header = peer.read_header();
        if header.text.contains("hashing") {
            break;
        }
        assert!(began.elapsed() < DEADLINE, "still {}", header.text);
    }
}

#[test]
fn waiters_whose_peers_have_left_make_way_for_others() {
    let root = root();
    let server = serve(&root, "8");
    for source in ["127.0.0.2", "127.0.0.3"] {
        for _ in 0..2 {
            // Closed without a reset, as a program that ends does it.
            let mut peer = ask_from(source, &server, ENDLESS);
            peer.end_writing();
        }
    }
    // Connections that are being served take the other places.
    let mut served: Vec<RawPeer> = (0..4)
        .map(|number| {
            let mut peer = RawPeer::connect_from(&format!("127.0.1.{number}"), server.addr());
            peer.send(&frame(r#"{"filename":"small"}"#)[..10]);
            peer
        })
        .collect();
    let mut late = RawPeer::connect_from("127.0.0.9", server.addr());
    late.ask(r#"{"filename":"small"}"#)
        .assert_file("small", SMALL);
    // Nobody who was there had to go for it but one that had ended its stream.
    served.truncate(1);
    served[0].send(&frame(r#"{"filename":"small"}"#)[10..]);
    served[0].read_answer().assert_file("small", SMALL);
}

#[test]
fn a_peer_that_ends_its_stream_still_gets_its_answer() {
    let content = noise(3, 24 << 20);
    let root = Scratch::with_files([("large", &content)]);
    let server = serve(&root, "8");
    let mut peer = ask_from("127.0.0.2", &server, r#"{"filename":"large"}"#);
    peer.end_writing();
    peer.read_answer().assert_file("large", &content);
    peer.expect_eof();
}

#[test]
fn the_kernel_looks_whether_a_waiting_peer_is_still_there() {
    let root = root();
    let server = serve(&root, "8");
    let _waiter = wait_from("127.0.0.2", &server);
    // proc_net_tcp: local address, remote address, state, queues, and the running timer; 02 is
    // keepalive.
    let table = fs::read_to_string("/proc/net/tcp").expect("the table of connections");
    let local = format!("0100007F:{:04X}", server.port());
    let of_server = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next() == Some(&local)
            && fields
                .next()
                .is_some_and(|peer| peer.starts_with("0200007F"))
    };
    let line = table.lines().find(of_server).expect("the connection");
    let timer = line.split_whitespace().nth(5).expect("a timer");
    assert!(timer.starts_with("02:"), "{line}");
}

#[test]
fn requests_read_ahead_are_bounded_for_all_connections_together() {
    let root = root();
    let server = serve(&root, "4800");
    let before = server.facts().rss_kib();
    let mut requests = frame(ENDLESS);
    while requests.len() < 64 << 10 {
        requests.extend(frame(r#"{"filename":"small"}"#));
    }
    // 75 MiB of requests behind others that take minutes; 64 MiB are kept.
    let peers: Vec<RawPeer> = (0..1200)
        .map(|_| {
            let mut peer = RawPeer::connect_from("127.0.0.2", server.addr());
            peer.send(&requests);
            peer
        })
        .collect();
    let mut large = RawPeer::connect_from("127.0.0.3", server.addr());
    let padded = |bytes: usize| format!(r#"{{"filename":"small"{}}}"#, " ".repeat(bytes));
    let began = Instant::now();
    let refused = loop {
        let answer = large.ask(padded(20_000));
        if answer.code().is_some() {
            break answer;
        }
        answer.assert_file("small", SMALL);
        assert!(began.elapsed() < DEADLINE, "read-ahead has no bound");
    };
    assert_eq!(refused.code(), Some("busy"), "{}", refused.text);
    let (_, ending) = large.read_to_end();
    assert_eq!(ending, Ending::Eof);
    // An ordinary request is answered.
    let mut usual = RawPeer::connect_from("127.0.0.3", server.addr());
    usual.ask(padded(1_000)).assert_file("small", SMALL);
    let grown = server.facts().rss_kib().saturating_sub(before);
    assert!(grown < 200 << 10, "{grown} KiB more than before");
    drop(peers);
}

#[test]
fn commands_whose_askers_have_left_make_way_for_others() {
    let root = root();
    let publish = ["--publish", "ever=sleep 1000", "--publish", "now=echo done"];
    let args = publish.into_iter().chain(["--drain-timeout", "0.1"]);
    let mut server = TestServer::start(root.path(), args);
    let mut left: Vec<RawPeer> = Vec::new();
    for source in ["127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.3"] {
        let mut peer = ask_from(source, &server, r#"{"op":"run","filename":"ever"}"#);
        peer.end_writing();
        left.push(peer);
    }
    let mut other = RawPeer::connect_from("127.0.0.4", server.addr());
    let began = Instant::now();
    loop {
        let answer = other.ask(r#"{"op":"run","filename":"now"}"#);
        if answer.code().is_none() {
            answer.assert_file("now", b"done\n");
            break;
        }
        assert_eq!(answer.code(), Some("busy"), "{}", answer.text);
        assert!(
            began.elapsed() < DEADLINE,
            "four requests keep all others out"
        );
    }
    // It takes its commands along.
    server.terminate();
}

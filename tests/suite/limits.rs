//! Time limits and permits, made short by flags.

use std::time::{Duration, Instant};

use crate::cases::{CONTENT, FILE, NamedCase, PROMPT};
use crate::harness::{Ending, RawPeer, Scratch, TestServer, at_some_pace, frame, noise};

fn root() -> Scratch {
    Scratch::with_files([(FILE, CONTENT.to_vec()), ("big", noise(1, 24 << 20))])
}

/// As an option takes them.
fn seconds(limit: Duration) -> String {
    limit.as_secs_f64().to_string()
}

#[test]
fn an_idle_connection_ends_silently_when_its_time_is_up() {
    let root = root();
    at_some_pace(|factor| {
        let limit = Duration::from_millis(400) * factor;
        let server = TestServer::start(root.path(), ["--idle-timeout", &seconds(limit)]);
        let mut never_asked = server.connect();
        let mut asked = server.connect();
        asked
            .ask(r#"{"filename":"a.txt"}"#)
            .assert_file(FILE, CONTENT);
        for (name, peer) in [
            ("never asked", &mut never_asked),
            ("asked once", &mut asked),
        ] {
            let _case = NamedCase(name);
            peer.expect_eof();
            let idle = peer.elapsed();
            assert!(
                idle >= limit * 7 / 8 && idle < limit * 5,
                "ended after {idle:?}"
            );
        }
    });
}

#[test]
fn each_request_starts_the_idle_time_anew() {
    let root = root();
    at_some_pace(|factor| {
        let limit = Duration::from_millis(600) * factor;
        let server = TestServer::start(root.path(), ["--idle-timeout", &seconds(limit)]);
        let mut peer = server.connect();
        for _ in 0..4 {
            peer.assert_silence(limit / 2);
            peer.ask(r#"{"filename":"a.txt"}"#)
                .assert_file(FILE, CONTENT);
        }
        peer.expect_eof();
    });
}

#[test]
fn a_request_has_its_time_however_its_bytes_trickle() {
    let root = root();
    at_some_pace(|factor| {
        let limit = Duration::from_millis(500) * factor;
        let server = TestServer::start(root.path(), ["--header-timeout", &seconds(limit)]);
        let mut peer = server.connect();
        let request = frame(r#"{"filename":"a.txt"}"#);
        let started = Instant::now();
        // The limit counts from the first byte, not from the last, which comes when most of it
        // is over.
        for byte in &request[..5] {
            peer.send([*byte]);
            peer.assert_silence(limit / 6);
        }
        let answer = peer.read_answer();
        assert_eq!(answer.code(), Some("timeout"), "{}", answer.text);
        assert!(
            started.elapsed() < limit * 8 / 5,
            "the limit is {limit:?}: {:?}",
            started.elapsed()
        );
        peer.expect_eof();
        // In time, and on a connection that was long idle before: served.
        let mut slow = server.connect();
        slow.assert_silence(limit * 3 / 2);
        slow.send(&request[..10]);
        slow.assert_silence(limit / 3);
        slow.send(&request[10..]);
        slow.read_answer().assert_file(FILE, CONTENT);
    });
}

#[test]
fn a_reader_that_stalls_is_given_up_and_a_slow_one_is_not() {
    let root = root();
    at_some_pace(|factor| {
        let limit = Duration::from_millis(500) * factor;
        let server = TestServer::start(root.path(), ["--idle-timeout", &seconds(limit)]);
        let transfer = || {
            let mut peer = server.connect();
            peer.shrink_receive_buffer(262_144);
            peer.send_frame(r#"{"filename":"big"}"#);
            peer.read_header();
            peer
        };
        let (mut stalled, mut slow) = (transfer(), transfer());
        // Reads all the time, for longer than the limit: 48 steps with pauses.
        let mut body = Vec::new();
        for _ in 0..48 {
            body.extend(slow.read_exact(524_288));
            server.connect().assert_silence(limit / 20);
        }
        assert!(body == noise(1, 24 << 20), "the body differs");
        let (rest, ending) = stalled.read_to_end();
        assert!(
            rest.len() < 24 << 20,
            "a whole body for a reader that stalled"
        );
        assert_eq!(
            ending,
            Ending::Reset,
            "a body cut short must not look like an end"
        );
    });
}

#[test]
fn an_unwanted_body_that_is_all_there_leaves_the_connection_its_idle_time() {
    let root = root();
    at_some_pace(|factor| {
        let limit = Duration::from_millis(200) * factor;
        let server = TestServer::start(root.path(), ["--header-timeout", &seconds(limit)]);
        let mut peer = server.connect();
        peer.send_frame(r#"{"filename":"a.txt","body_size":5}"#);
        peer.send("hello");
        assert_eq!(peer.read_answer().code(), Some("bad_request"));
        peer.assert_silence(limit * 3);
        peer.ask(r#"{"filename":"a.txt"}"#)
            .assert_file(FILE, CONTENT);
        // One that is not there has its time.
        peer.send_frame(r#"{"filename":"a.txt","body_size":5}"#);
        assert_eq!(peer.read_answer().code(), Some("bad_request"));
        peer.expect_eof();
    });
}

#[test]
fn the_longest_idle_makes_room_when_connections_run_short() {
    let root = root();
    // A connection is idle when the server has come to rest it, a moment after its answer is here.
    at_some_pace(|_| {
        let server = TestServer::start(
            root.path(),
            ["--max-connections", "4", "--max-per-address", "4"],
        );
        let mut idle: Vec<RawPeer> = (0..4).map(|_| asked_once(&server)).collect();
        // The first has been idle longest until it asks again.
        idle[0]
            .ask(r#"{"filename":"a.txt"}"#)
            .assert_file(FILE, CONTENT);
        let mut fifth = server.connect();
        fifth
            .ask(r#"{"filename":"a.txt"}"#)
            .assert_file(FILE, CONTENT);
        idle[1].expect_eof();
        for survivor in [0, 2, 3] {
            let _case = NamedCase(format!("connection {survivor}"));
            idle[survivor]
                .ask(r#"{"filename":"a.txt"}"#)
                .assert_file(FILE, CONTENT);
        }
        fifth
            .ask(r#"{"filename":"a.txt"}"#)
            .assert_file(FILE, CONTENT);
    });
}

fn asked_once(server: &TestServer) -> RawPeer {
    let mut peer = server.connect();
    peer.ask(r#"{"filename":"a.txt"}"#)
        .assert_file(FILE, CONTENT);
    peer
}

#[test]
fn a_transfer_that_runs_is_never_evicted() {
    let root = root();
    let server = TestServer::start(
        root.path(),
        ["--max-connections", "2", "--max-per-address", "2"],
    );
    let mut busy = server.connect();
    busy.send_frame(r#"{"filename":"big"}"#);
    let header = busy.read_header();
    let mut idle = asked_once(&server);
    let mut next = asked_once(&server);
    idle.expect_eof();
    let body = busy.read_exact(usize::try_from(header.size("total_size")).expect("a size"));
    assert!(body == noise(1, 24 << 20), "the body differs");
    next.ask(r#"{"filename":"a.txt"}"#)
        .assert_file(FILE, CONTENT);
}

#[test]
fn who_finds_no_room_is_served_when_there_is_some() {
    let root = root();
    let server = TestServer::start(
        root.path(),
        ["--max-connections", "2", "--max-per-address", "2"],
    );
    let mut busy: Vec<RawPeer> = (0..2).map(|_| server.connect()).collect();
    for peer in &mut busy {
        peer.shrink_receive_buffer(262_144);
        peer.send_frame(r#"{"filename":"big"}"#);
        peer.read_header();
    }
    let mut waiting = server.connect();
    waiting.send_frame(r#"{"filename":"a.txt"}"#);
    waiting.assert_silence(Duration::from_millis(200));
    drop(busy.pop());
    waiting.read_answer().assert_file(FILE, CONTENT);
}

#[test]
fn one_address_cannot_take_the_permits_of_others() {
    let root = root();
    // A connection is idle when the server has come to rest it, a moment after its answer is here.
    at_some_pace(|_| {
        let server = TestServer::start(
            root.path(),
            ["--max-connections", "16", "--max-per-address", "3"],
        );
        let mut crowd: Vec<RawPeer> = (0..3)
            .map(|_| {
                let mut peer = RawPeer::connect_from("127.0.1.1", server.addr());
                peer.ask(r#"{"filename":"a.txt"}"#)
                    .assert_file(FILE, CONTENT);
                peer
            })
            .collect();
        let mut other = RawPeer::connect_from("127.0.1.2", server.addr());
        other
            .ask(r#"{"filename":"a.txt"}"#)
            .assert_file(FILE, CONTENT);
        let mut fourth = RawPeer::connect_from("127.0.1.1", server.addr());
        fourth
            .ask(r#"{"filename":"a.txt"}"#)
            .assert_file(FILE, CONTENT);
        // Its own longest idle made room, nobody else's.
        crowd[0].expect_eof();
        for survivor in crowd[1..].iter_mut().chain([&mut other, &mut fourth]) {
            survivor
                .ask(r#"{"filename":"a.txt"}"#)
                .assert_file(FILE, CONTENT);
        }
    });
}

#[test]
fn half_sent_requests_do_not_keep_honest_peers_out() {
    let root = root();
    let server = TestServer::start(
        root.path(),
        [
            "--max-connections",
            "8",
            "--max-per-address",
            "8",
            "--header-timeout",
            "1",
        ],
    );
    let mut halves: Vec<RawPeer> = (0..8).map(|_| server.connect()).collect();
    for peer in &mut halves {
        peer.send(&frame(r#"{"filename":"a.txt"}"#)[..9]);
    }
    let mut honest = server.connect();
    let answer = honest.ask(r#"{"filename":"a.txt"}"#);
    answer.assert_file(FILE, CONTENT);
    assert!(answer.after < PROMPT, "served after {:?}", answer.after);
}

#[test]
fn few_descriptors_mean_few_connections_and_no_spinning() {
    let root = root();
    // prlimit is part of Debian's essential package util-linux.
    let server = TestServer::builder(root.path())
        .through(["prlimit", "--nofile=100:100"])
        .args(["--max-per-address", "1000"])
        .start();
    let peers: Vec<RawPeer> = (0..120).map(|_| server.connect()).collect();
    let mut honest = server.connect();
    honest
        .ask(r#"{"filename":"a.txt"}"#)
        .assert_file(FILE, CONTENT);
    assert!(
        server.facts().open_fds() < 100,
        "{} descriptors",
        server.facts().open_fds()
    );
    let before = server.facts().cpu_time();
    honest.assert_silence(Duration::from_millis(600));
    let used = server.facts().cpu_time() - before;
    assert!(
        used < Duration::from_millis(100),
        "{used:?} of processor time while nothing happened"
    );
    honest
        .ask(r#"{"filename":"a.txt"}"#)
        .assert_file(FILE, CONTENT);
    drop(peers);
    server.assert_alive();
}

#[test]
fn many_connections_cost_memory_and_no_threads() {
    let root = root();
    let server = TestServer::start(
        root.path(),
        ["--max-connections", "400", "--max-per-address", "400"],
    );
    server.assert_alive();
    let (threads, rss) = (server.facts().threads(), server.facts().rss_kib());
    let mut peers: Vec<RawPeer> = (0..300).map(|_| asked_once(&server)).collect();
    // What the server does beside may begin or end meanwhile.
    assert!(
        server.facts().threads() < threads + 30,
        "a connection must cost no thread"
    );
    let grown = server.facts().rss_kib().saturating_sub(rss);
    assert!(
        grown < 16 * 1024,
        "300 idle connections made the server grow by {grown} KiB"
    );
    for peer in &mut peers {
        peer.ask(r#"{"filename":"a.txt"}"#)
            .assert_file(FILE, CONTENT);
    }
}

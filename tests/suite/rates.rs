//! Limited rates of the server: kept, and shared.

use std::ffi::OsStr;
use std::time::{Duration, Instant};

use crate::harness::{DEADLINE, Scratch, TestServer, at_some_pace, ftget, md5_hex, noise};

#[test]
fn all_connections_together_keep_to_the_rate() {
    let root = Scratch::new();
    root.write("file", noise(1, 600_000));
    let server = TestServer::builder(root.path())
        .args(["--limit-rate", "1M"])
        .start();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let answer = server.connect().ask(r#"{"filename":"file"}"#);
                assert_eq!(answer.str("md5"), md5_hex(&answer.body));
            });
        }
    });
    // 1.8 MB at 1 MiB/s, but for a burst of a quarter of a second at either end.
    let least = Duration::from_millis(1_200);
    assert!(begun.elapsed() > least, "{:?}", begun.elapsed());
}

#[test]
fn each_connection_keeps_to_its_own_rate_and_small_files_count_too() {
    let root = Scratch::new();
    root.write("small", noise(1, 60_000));
    let server = TestServer::builder(root.path())
        .args(["--limit-rate-per-connection", "1.6mbit"])
        .start();
    let begun = Instant::now();
    let mut peer = server.connect();
    for _ in 0..5 {
        peer.ask(r#"{"filename":"small"}"#)
            .assert_file("small", &noise(1, 60_000));
    }
    // 300 kB at 200 kB/s.
    assert!(
        begun.elapsed() > Duration::from_millis(1_000),
        "{:?}",
        begun.elapsed()
    );
    // Who is told to wait is no slow reader, and holds up nobody else.
    let begun = Instant::now();
    let out = root.join("out");
    ftget(["-o".as_ref(), out.as_os_str(), &server.source("small")]).expect_code(0);
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn the_log_says_of_who_was_cut_off_that_he_was_too_slow() {
    let root = Scratch::new();
    root.write("file", noise(1, 20_000_000));
    let log = root.join("log");
    let mut server = TestServer::builder(root.path())
        .args(["--min-rate", "1M", "--idle-timeout", "200ms"])
        .args([OsStr::new("--access-log"), log.as_os_str()])
        .start();
    let mut peer = server.connect();
    peer.send_frame(r#"{"filename":"file"}"#);
    let deadline = Instant::now() + DEADLINE;
    // Nothing is read: the connection is reset once its buffers are full for too long.
    while !std::fs::read_to_string(&log).is_ok_and(|log| log.contains(" cut_off too_slow ")) {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    server.terminate();
}

#[test]
fn a_rate_below_the_least_a_peer_must_take_cuts_nobody_off() {
    let root = Scratch::new();
    root.write("file", noise(1, 1_500));
    // The limit is also for the first request, of a client that may be late.
    at_some_pace(|factor| {
        let limit = format!("{}ms", 300 * factor);
        let server = TestServer::builder(root.path())
            .args(["--limit-rate", "1000", "--min-rate", "100K"])
            .args(["--idle-timeout", &limit])
            .start();
        let answer = server.connect().ask(r#"{"filename":"file"}"#);
        answer.assert_file("file", &noise(1, 1_500));
    });
}

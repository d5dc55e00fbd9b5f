//! How connections end: nothing that was answered is lost, and nobody is waited for in vain.

use std::time::{Duration, Instant};

use crate::cases::{CONTENT, FILE, NamedCase};
use crate::harness::{DEADLINE, Ending, Scratch, TestServer, at_some_pace, frame, noise};

fn server() -> (Scratch, TestServer) {
    let root = Scratch::with_files([(FILE, CONTENT.to_vec()), ("big", noise(1, 24 << 20))]);
    let server = TestServer::plain(root.path());
    (root, server)
}

#[test]
fn an_error_reaches_a_peer_that_goes_on_sending() {
    let (_root, server) = server();
    for more in [0, 1, 65_536, 900_000] {
        let _case = NamedCase(format!("{more} bytes after the bad frame"));
        // The server drops them for two seconds.
        at_some_pace(|_| {
            let mut peer = server.connect();
            peer.send_frame("[]");
            peer.send(noise(1, more));
            let answer = peer.read_answer();
            assert_eq!(answer.code(), Some("bad_frame"), "{}", answer.text);
            peer.expect_eof();
        });
    }
}

#[test]
fn what_a_peer_sends_after_its_error_is_dropped_and_not_answered_with_a_reset() {
    let (_root, server) = server();
    // It drops for two seconds.
    at_some_pace(|_| {
        let mut peer = server.connect();
        peer.send_frame("[]");
        assert_eq!(peer.read_answer().code(), Some("bad_frame"));
        peer.expect_eof();
        // A server that had closed would reset at the first of these, and the next would fail.
        for piece in noise(1, 800_000).chunks(50_000) {
            peer.send(piece);
            peer.expect_eof();
        }
    });
}

#[test]
fn a_peer_that_neither_reads_nor_closes_is_let_go_of_within_seconds() {
    let (_root, server) = server();
    server.assert_alive();
    let descriptors = server.facts().open_fds();
    let mut peers: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for peer in &mut peers {
        peer.send_frame("[]");
        assert_eq!(peer.read_answer().code(), Some("bad_frame"));
    }
    // The peers stay open here; the server drops their input for 2 s and closes.
    assert_descriptors_return_to(&server, descriptors);
    drop(peers);
}

#[test]
fn a_peer_that_sends_without_end_after_a_bad_frame_is_cut_off() {
    let (_root, server) = server();
    let mut peer = server.connect();
    peer.send_frame("[]");
    let started = Instant::now();
    let noise = noise(1, 1 << 20);
    while peer.try_send(&noise).is_ok() {
        assert!(started.elapsed() < DEADLINE, "the server reads on for ever");
    }
    server.assert_alive();
}

#[test]
fn a_half_closed_peer_gets_all_of_a_large_body() {
    let (_root, server) = server();
    let mut peer = server.connect();
    peer.send_frame(r#"{"filename":"big"}"#);
    peer.end_writing();
    peer.read_answer().assert_file("big", &noise(1, 24 << 20));
    peer.expect_eof();
}

#[test]
fn peers_that_vanish_leave_nothing_behind() {
    let (_root, server) = server();
    server.assert_alive();
    let descriptors = server.facts().open_fds();
    for n in 0..60 {
        let mut peer = server.connect();
        match n % 6 {
            0 => {}
            1 => peer.send_frame(r#"{"filename":"big"}"#),
            2 => {
                peer.send_frame(r#"{"filename":"big"}"#);
                peer.read_header();
            }
            3 => {
                peer.send_frame(r#"{"filename":"big"}"#);
                peer.read_exact(100_000);
            }
            4 => peer.send(&frame(r#"{"filename":"big"}"#)[..7]),
            _ => peer.send("a.txt"),
        }
        if n % 4 < 2 { peer.reset() } else { drop(peer) }
    }
    assert_descriptors_return_to(&server, descriptors);
    assert!(
        !server.stderr().text().contains("panicked"),
        "{}",
        server.stderr().text()
    );
}

#[test]
fn an_abandoned_body_ends_in_a_reset_and_never_in_a_clean_end() {
    let (root, server) = server();
    let mut peer = server.connect();
    peer.shrink_receive_buffer(262_144);
    peer.send_frame(r#"{"filename":"big"}"#);
    let header = peer.read_header();
    std::fs::OpenOptions::new()
        .write(true)
        .open(root.join("big"))
        .and_then(|file| file.set_len(100))
        .expect("truncate");
    let (rest, ending) = peer.read_to_end();
    assert!(
        (rest.len() as u64) < header.size("total_size"),
        "a whole body of a file that shrank"
    );
    assert_eq!(
        ending,
        Ending::Reset,
        "a body cut short must not look like an end"
    );
}

/// Waits until the server holds as many descriptors as before. Its own round trips pace it.
#[track_caller]
fn assert_descriptors_return_to(server: &TestServer, descriptors: usize) {
    let started = Instant::now();
    loop {
        server.connect().assert_silence(Duration::from_millis(50));
        let open = server.facts().open_fds();
        if open <= descriptors + 1 {
            return;
        }
        assert!(
            started.elapsed() < DEADLINE,
            "{open} descriptors are open, there were {descriptors}"
        );
    }
}

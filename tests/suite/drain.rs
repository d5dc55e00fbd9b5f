//! Stopping and starting again: what runs is finished, and the port is free at once.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::cases::{CONTENT, FILE, NamedCase, PROMPT};
use crate::harness::{Program, RawPeer, Scratch, TestServer, frame, noise};

fn root() -> Scratch {
    Scratch::with_files([(FILE, CONTENT.to_vec()), ("big", noise(1, BIG))])
}

const BIG: usize = 24 << 20;

/// A peer whose transfer of `big` the server cannot finish until it reads.
fn in_transfer(server: &TestServer) -> RawPeer {
    let mut peer = server.connect();
    peer.shrink_receive_buffer(262_144);
    peer.send_frame(r#"{"filename":"big"}"#);
    peer.read_header();
    peer
}

/// Waits until the server refuses connections.
#[track_caller]
fn assert_refuses_soon(address: &str) {
    let started = Instant::now();
    while RawPeer::try_connect(address).is_ok() {
        assert!(
            started.elapsed() < PROMPT,
            "new connections are still taken"
        );
    }
}

#[test]
fn a_running_transfer_is_finished_and_nothing_new_is_begun() {
    for signal in [Signal::TERM, Signal::INT] {
        let root = root();
        let mut server = TestServer::plain(root.path());
        let mut idle = server.connect();
        idle.ask(r#"{"filename":"a.txt"}"#)
            .assert_file(FILE, CONTENT);
        let mut busy = in_transfer(&server);
        // A request the server may have read already, behind the one it is answering.
        busy.send_frame(r#"{"filename":"a.txt"}"#);
        server.signal(signal);
        idle.expect_eof();
        assert_refuses_soon(server.addr());
        assert!(busy.read_exact(BIG) == noise(1, BIG), "the body differs");
        let answer = busy.read_answer();
        assert_eq!(answer.code(), Some("shutting_down"), "{}", answer.text);
        assert!(
            answer.header["error"]["retry_after_ms"].is_u64(),
            "{}",
            answer.text
        );
        busy.expect_eof();
        let code = server.wait_code();
        assert_eq!(code, if signal == Signal::TERM { 143 } else { 130 });
    }
}

#[test]
fn a_server_with_nothing_to_finish_ends_at_once() {
    let root = root();
    let mut server = TestServer::plain(root.path());
    let mut idle: Vec<RawPeer> = (0..20).map(|_| server.connect()).collect();
    idle[0]
        .ask(r#"{"filename":"a.txt"}"#)
        .assert_file(FILE, CONTENT);
    let started = Instant::now();
    assert_eq!(server.terminate(), 143);
    assert!(
        started.elapsed() < PROMPT,
        "ended after {:?}",
        started.elapsed()
    );
    for peer in &mut idle {
        let (bytes, _) = peer.read_to_end();
        assert!(bytes.is_empty(), "an idle connection was told something");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let root = root();
    let mut server = TestServer::plain(root.path());
    let mut busy = in_transfer(&server);
    server.signal(Signal::TERM);
    assert_refuses_soon(server.addr());
    assert!(
        !server.ends_within(Duration::from_millis(300)),
        "a transfer runs, and the server ended"
    );
    let started = Instant::now();
    assert_eq!(server.terminate(), 143);
    assert!(
        started.elapsed() < PROMPT,
        "ended after {:?}",
        started.elapsed()
    );
    let (rest, _) = busy.read_to_end();
    assert!(rest.len() < BIG, "a whole body though it was cut");
}

#[test]
fn draining_has_its_time() {
    let root = root();
    let mut server = TestServer::start(root.path(), ["--drain-timeout", "0.5"]);
    let _busy = in_transfer(&server);
    let started = Instant::now();
    server.terminate();
    let took = started.elapsed();
    assert!(
        took >= Duration::from_millis(450) && took < PROMPT,
        "ended after {took:?}"
    );
}

#[test]
fn a_hash_that_would_take_hours_does_not_hold_the_drain() {
    let root = root();
    std::fs::File::create(root.join("huge"))
        .and_then(|file| file.set_len(1 << 40))
        .expect("a sparse file");
    let mut server = TestServer::start(root.path(), ["--drain-timeout", "0.5"]);
    let mut waiting = server.connect();
    waiting.send_frame(r#"{"filename":"huge","progress":true}"#);
    assert_eq!(waiting.read_header().str("status"), "hashing");
    let started = Instant::now();
    assert_eq!(server.terminate(), 143);
    assert!(
        started.elapsed() < PROMPT,
        "ended after {:?}",
        started.elapsed()
    );
    // Interim headers, then perhaps a refusal, and the end: never a body.
    let (bytes, _) = waiting.read_to_end();
    assert!(bytes.len() < 10_000, "{} bytes", bytes.len());
}

/// A server whose command `wait` has begun, and goes on until there is a file `gate`; and who asked.
fn with_a_command(root: &Scratch, drain_timeout: &str) -> (TestServer, RawPeer) {
    let gate = root.join("gate");
    let command = format!(
        "wait=sh -c 'until test -e {}; do sleep 0.01; done; echo done'",
        gate.display()
    );
    let args = ["--publish", &command, "--drain-timeout", drain_timeout];
    let server = TestServer::start(root.path(), args);
    let mut peer = server.connect();
    peer.send_frame(r#"{"op":"run","filename":"wait","progress":true}"#);
    assert_eq!(peer.read_header().str("status"), "running");
    (server, peer)
}

#[test]
fn a_command_that_runs_is_finished_as_a_transfer_is() {
    let root = root();
    let (mut server, mut peer) = with_a_command(&root, "30");
    server.signal(Signal::TERM);
    assert_refuses_soon(server.addr());
    // It works on, and says so.
    assert_eq!(peer.read_header().str("status"), "running");
    root.write("gate", "");
    let answer = std::iter::repeat_with(|| peer.read_answer())
        .find(|answer| answer.header.get("status").is_none())
        .expect("an answer");
    answer.assert_file("wait", b"done\n");
    assert_eq!(answer.size("exit_status"), 0);
    peer.expect_eof();
    assert_eq!(server.wait_code(), 143);
}

#[test]
fn a_command_that_does_not_end_in_time_is_killed_and_its_asker_cut_off() {
    let root = root();
    for ending in ["the time is up", "a second signal"] {
        let _case = NamedCase(ending);
        let is_timed = ending == "the time is up";
        let (mut server, mut peer) = with_a_command(&root, if is_timed { "0.3" } else { "30" });
        let children = server.facts().children();
        assert_eq!(children.len(), 1);
        server.signal(Signal::TERM);
        if !is_timed {
            assert_refuses_soon(server.addr());
            server.signal(Signal::TERM);
        }
        let (bytes, _) = peer.read_to_end();
        let text = String::from_utf8_lossy(&bytes);
        assert!(
            !text.contains("exit_status") && !text.contains("error"),
            "{text}"
        );
        assert_eq!(server.wait_code(), 143);
        let is_gone = !std::path::Path::new(&format!("/proc/{}", children[0])).exists();
        assert!(is_gone, "the command outlives the server");
    }
}

#[test]
fn the_port_is_free_at_once_for_the_next_server() {
    let root = root();
    for ending in ["terminated", "killed"] {
        let _case = NamedCase(ending);
        let mut server = TestServer::plain(root.path());
        let mut peers: Vec<RawPeer> = (0..5).map(|_| server.connect()).collect();
        for peer in &mut peers {
            // The server closes these first, so that its side is in TIME_WAIT.
            peer.send_frame("[]");
            peer.read_answer();
            peer.expect_eof();
        }
        let address = server.addr().to_owned();
        match ending {
            "killed" => server.kill(),
            _ => assert_eq!(server.terminate(), 143),
        }
        let next = TestServer::builder(root.path()).bind(&address).start();
        assert_eq!(next.addr(), address);
        let answer = next.connect().ask(r#"{"filename":"a.txt"}"#);
        answer.assert_file(FILE, CONTENT);
    }
}

#[test]
fn an_occupied_port_is_a_clear_error() {
    let root = root();
    let server = TestServer::plain(root.path());
    let output = Program::ftserve()
        .args(["--bind", server.addr()])
        .arg(root.path())
        .run()
        .expect_code(4);
    assert!(
        output.stderr.contains(server.addr()),
        "the address is not named: {}",
        output.stderr
    );
    assert!(
        output.stderr.contains("hint:"),
        "no hint: {}",
        output.stderr
    );
    assert!(!output.stderr.contains("listening on"), "{}", output.stderr);
    server.assert_alive();
}

#[test]
fn a_request_sent_into_the_drain_is_not_left_without_an_answer_or_an_end() {
    let root = root();
    let mut server = TestServer::plain(root.path());
    let mut peer = server.connect();
    peer.ask(r#"{"filename":"a.txt"}"#)
        .assert_file(FILE, CONTENT);
    server.signal(Signal::TERM);
    let _ = peer.try_send(frame(r#"{"filename":"a.txt"}"#));
    // Answered before the signal was seen, refused, or closed: never silence.
    let (bytes, _) = peer.read_to_end();
    assert!(bytes.is_empty() || bytes.len() > 50, "{bytes:?}");
    server.wait_code();
}

#[test]
fn a_missing_root_or_a_wrong_flag_is_a_clear_error() {
    let scratch = Scratch::new();
    let output = Program::ftserve()
        .args(["--bind", "127.0.0.1:0"])
        .arg(scratch.join("none"))
        .run()
        .expect_code(3);
    assert!(output.stderr.contains("none"), "{}", output.stderr);
    let output = Program::ftserve()
        .arg("--no-such-flag")
        .run()
        .expect_code(2);
    assert!(
        output.stderr.contains("--no-such-flag"),
        "{}",
        output.stderr
    );
    for (flag, value) in [
        ("--bind", "256.0.0.1:x"),
        ("--idle-timeout", "soon"),
        ("--max-connections", "0"),
    ] {
        let _case = NamedCase(flag);
        let output = Program::ftserve()
            .args(["--bind", "127.0.0.1:0", flag, value])
            .arg(scratch.path())
            .run()
            .expect_code(2);
        assert!(output.stderr.contains(value), "{}", output.stderr);
    }
}

#[test]
fn a_server_serves_for_as_long_as_a_command_runs() {
    let root = root();
    let script = r#"exec 3<>"/dev/tcp/${FTSERVE_ADDR%:*}/${FTSERVE_ADDR##*:}"; printf 'a.txt\n' >&3; head -c 4 <&3 | wc -c; exit 7"#;
    let output = Program::ftserve()
        .args(["--bind", "127.0.0.1:0"])
        .arg(root.path())
        .args(["--", "bash", "-c", script])
        .run()
        .expect_code(7);
    assert_eq!(output.text().trim(), "4", "{}", output.stderr);
}

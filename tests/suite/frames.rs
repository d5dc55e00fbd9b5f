//! Frames: the four bytes of length and what they promise.

use rustix::net::sockopt::set_socket_linger;

use crate::cases::{CONTENT, Case, FILE, NamedCase, Outcome, PROMPT, Then, play};
use crate::harness::{Ending, Scratch, TestServer, frame, length_prefix, noise};

use Outcome::{Closes, File, GoesOn, Nothing};
use Then::{Ends, Waits};

fn case(name: &str, bytes: impl Into<Vec<u8>>, then: Then, outcome: Outcome) -> Case {
    (name.to_owned(), bytes.into(), then, outcome)
}

fn get() -> Vec<u8> {
    frame(r#"{"filename":"a.txt"}"#)
}

/// `get()` under another length, then a good request that must not be taken for part of it.
fn with_length(length: u32) -> Vec<u8> {
    [&length_prefix(length)[..], br#"{"filename":"a.txt"}"#].concat()
}

#[test]
fn a_first_frame_that_is_none_gets_a_clear_error() {
    let json_length = u32::try_from(get().len() - 4).expect("a small frame");
    play(&[
        case("end at 0 bytes", [], Ends, Nothing),
        case("end at 3 bytes", &get()[..3], Ends, Closes("bad_frame")),
        case("end at 4 bytes", &get()[..4], Ends, Closes("bad_frame")),
        case(
            "end one byte early",
            &get()[..get().len() - 1],
            Ends,
            Closes("bad_frame"),
        ),
        case("length 0", with_length(0), Waits, Closes("bad_frame")),
        case("length 1", with_length(1), Waits, Closes("bad_frame")),
        case("limit + 1", with_length(65_537), Waits, Closes("bad_frame")),
        case(
            "0x80000000",
            with_length(0x8000_0000),
            Waits,
            Closes("bad_frame"),
        ),
        case(
            "byte-swapped",
            with_length(json_length.swap_bytes()),
            Waits,
            Closes("bad_frame"),
        ),
        case(
            "shorter than the JSON",
            with_length(json_length - 1),
            Waits,
            Closes("bad_frame"),
        ),
        case(
            "longer than the JSON, at its end",
            with_length(json_length + 1),
            Ends,
            Closes("bad_frame"),
        ),
        case(
            "longer than the JSON, then another",
            [with_length(json_length + 1), get()].concat(),
            Waits,
            Closes("bad_frame"),
        ),
        case(
            "1 MiB of zeros",
            vec![0; 1 << 20],
            Waits,
            Closes("bad_frame"),
        ),
    ]);
}

#[test]
fn odd_but_legal_frames_are_served() {
    let padding = " ".repeat(65_536 - r#"{"filename":"a.txt"}"#.len());
    let longest = format!(r#"{{"filename":"a.txt"{padding}}}"#);
    assert_eq!(longest.len(), 65_536);
    let shorter = longest.replacen(' ', "", 1);
    play(&[
        case("a whole frame, then the end", get(), Ends, File),
        case("the limit", frame(longest), Waits, File),
        case("the limit - 1", frame(shorter), Waits, File),
        case(
            "the shortest, which asks for nothing",
            frame("{}"),
            Waits,
            GoesOn("bad_request"),
        ),
        case(
            "spaces between the tokens",
            frame("{ \"filename\" :\t\"a.txt\"\r\n }"),
            Waits,
            File,
        ),
    ]);
}

#[test]
fn a_later_frame_that_is_none_gets_bad_frame_after_the_answers_before_it() {
    let root = Scratch::with_files([(FILE, CONTENT)]);
    let server = TestServer::plain(root.path());
    let hello_banner = b"SSH-2.0-OpenSSH_9.9\r\n".to_vec();
    let cases: [(&str, Vec<u8>); 12] = [
        ("length 0", with_length(0)),
        ("length 1", with_length(1)),
        ("limit + 1", with_length(65_537)),
        ("0x7fffffff", with_length(0x7fff_ffff)),
        ("0x80000000", with_length(0x8000_0000)),
        ("0xffffffff", with_length(0xffff_ffff)),
        ("byte-swapped", with_length(20_u32.swap_bytes())),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        (
            "a ClientHello",
            [&[22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3][..], &[7; 194]].concat(),
        ),
        ("an SSH banner", hello_banner),
        ("a line of text", b"a.txt\n".to_vec()),
        // The first frame's length is odd on purpose: see the seed.
        ("noise", noise(3, 100_000)),
    ];
    for (name, bytes) in cases {
        let _case = NamedCase(name);
        let mut peer = server.connect();
        peer.send([get(), get(), bytes].concat());
        peer.read_answer().assert_file(FILE, CONTENT);
        peer.read_answer().assert_file(FILE, CONTENT);
        let answer = peer.read_answer();
        assert_eq!(answer.code(), Some("bad_frame"), "{}", answer.text);
        assert_eq!(
            answer.str("filename"),
            "",
            "no name could be read: {}",
            answer.text
        );
        assert!(answer.after < PROMPT, "answered after {:?}", answer.after);
        peer.expect_eof();
    }
    server.assert_alive();
}

#[test]
fn one_byte_per_segment_is_legal() {
    let root = Scratch::with_files([(FILE, CONTENT)]);
    let server = TestServer::plain(root.path());
    let mut peer = server.connect();
    for _ in 0..3 {
        peer.send_bytewise(get());
        peer.read_answer().assert_file(FILE, CONTENT);
    }
}

#[test]
fn a_request_and_half_of_the_next_in_one_segment_are_legal() {
    let root = Scratch::with_files([(FILE, CONTENT)]);
    let server = TestServer::plain(root.path());
    for cut in 0..=get().len() {
        let _case = NamedCase(format!("cut after {cut} bytes of the second request"));
        let mut peer = server.connect();
        peer.send([&get(), &get()[..cut]].concat());
        peer.read_answer().assert_file(FILE, CONTENT);
        peer.send(&get()[cut..]);
        peer.read_answer().assert_file(FILE, CONTENT);
    }
}

#[test]
fn a_length_without_its_bytes_times_out_and_reserves_nothing() {
    let root = Scratch::with_files([(FILE, CONTENT)]);
    let server = TestServer::start(root.path(), ["--header-timeout", "300ms"]);
    server.assert_alive();
    let rss_before = server.facts().rss_kib();
    let mut peers: Vec<_> = (0..200).map(|_| server.connect()).collect();
    for peer in &mut peers {
        // The longest legal frame is promised and never comes.
        peer.send([&length_prefix(65_536)[..], b"{"].concat());
    }
    let grown = server.facts().rss_kib().saturating_sub(rss_before);
    for peer in &mut peers {
        let answer = peer.read_answer();
        assert_eq!(answer.code(), Some("timeout"), "{}", answer.text);
        assert!(
            answer.after < PROMPT,
            "the limit is 0.3 s, answered after {:?}",
            answer.after
        );
        peer.expect_eof();
    }
    assert!(
        grown < 8 * 1024,
        "200 lengths of 64 KiB made the server grow by {grown} KiB"
    );
    server.assert_alive();
}

#[test]
fn a_frame_cut_anywhere_and_then_silence_times_out() {
    let root = Scratch::with_files([(FILE, CONTENT)]);
    let server = TestServer::start(root.path(), ["--header-timeout", "300ms"]);
    let mut peers: Vec<_> = (3..get().len())
        .map(|cut| (cut, server.connect()))
        .collect();
    for (cut, peer) in &mut peers {
        peer.send(&get()[..*cut]);
    }
    for (cut, peer) in &mut peers {
        let _case = NamedCase(format!("silence after {cut} bytes"));
        let answer = peer.read_answer();
        assert_eq!(answer.code(), Some("timeout"), "{}", answer.text);
        peer.expect_eof();
    }
    server.assert_alive();
}

#[test]
fn a_reset_anywhere_in_a_frame_costs_nothing() {
    let root = Scratch::with_files([(FILE, CONTENT)]);
    let server = TestServer::plain(root.path());
    server.assert_alive();
    let lines_before = server.stderr().text().lines().count();
    for cut in 0..=get().len() {
        let mut peer = server.connect();
        peer.send(&get()[..cut]);
        set_socket_linger(&peer, Some(std::time::Duration::ZERO)).expect("SO_LINGER");
        drop(peer);
    }
    server.assert_alive();
    let lines = server.stderr().text().lines().count() - lines_before;
    assert!(
        lines <= get().len() + 1,
        "{lines} log lines: {}",
        server.stderr().text()
    );
}

#[test]
fn a_megabyte_of_noise_ends_in_an_error_and_never_in_an_endless_wait() {
    let root = Scratch::with_files([(FILE, CONTENT)]);
    let server = TestServer::start(root.path(), ["--header-timeout", "1"]);
    for seed in 0..8 {
        let _case = NamedCase(format!("noise of seed {seed}"));
        let mut peer = server.connect();
        // More than the server drops before it closes, so the rest may meet a reset.
        let _ = peer.try_send(noise(seed, 1 << 20));
        peer.end_writing();
        let (bytes, ending) = peer.read_to_end();
        assert!(
            ending == Ending::Reset || !bytes.is_empty(),
            "a clean end without an answer"
        );
        server.assert_alive();
    }
    assert!(
        !server.stderr().text().contains("panicked"),
        "{}",
        server.stderr().text()
    );
}

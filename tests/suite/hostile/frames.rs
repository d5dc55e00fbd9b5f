//! Answers that are no frames.

use std::time::Duration;

use super::answers::{CONTENT, answer, file_header, good_answer};
use super::server::{Act, HostileServer};
use super::visit::Expected::{CutOff, Fetched, Refused};
use super::visit::{Case, case, play_small, visit_once};
use crate::harness::{Scratch, frame, length_prefix, noise};

/// The answer that is right, cut after `length` bytes.
fn cut(length: usize) -> Act {
    Act::Send(good_answer(CONTENT)[..length].to_vec())
}

/// Both ends of a stream that stops too early.
fn too_short(name: &str, acts: Vec<Act>) -> [Case; 3] {
    let with = |end: Act| [acts.clone(), vec![end]].concat();
    [
        case(format!("{name}, closed"), with(Act::Close), CutOff(4)),
        case(format!("{name}, reset"), with(Act::Reset), CutOff(4)),
        case(format!("{name}, silent"), with(Act::Stall), CutOff(14)),
    ]
}

#[test]
fn a_frame_that_ends_early_is_cut_off_or_times_out() {
    let header_bytes = frame(file_header(CONTENT, "")).len();
    let mut cases = Vec::new();
    for length in [0, 1, 2, 3, 4, 5, header_bytes / 2, header_bytes - 1] {
        cases.extend(too_short(
            &format!("the first {length} bytes"),
            vec![cut(length)],
        ));
    }
    for length in [2, 1_000, 65_536] {
        let prefix = length_prefix(length).to_vec();
        cases.extend(too_short(
            &format!("a length of {length} alone"),
            vec![Act::Send(prefix)],
        ));
    }
    play_small(cases);
}

#[test]
fn a_length_out_of_bounds_is_refused_at_once() {
    let lengths = [
        0,
        1,
        65_537,
        0x00ff_ffff,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
    ];
    let mut cases: Vec<Case> = lengths
        .into_iter()
        .map(|length| {
            let acts = vec![Act::Send(length_prefix(length).to_vec()), Act::Stall];
            case(format!("a length of {length}"), acts, Refused(7))
        })
        .collect();

    let text = file_header(CONTENT, "");
    let swapped = [&(text.len() as u32).to_be_bytes(), text.as_bytes(), CONTENT].concat();
    cases.push(case(
        "the length swapped",
        vec![Act::Send(swapped), Act::Stall],
        Refused(7),
    ));
    for (name, difference) in [("longer", 1_i32), ("shorter", -1)] {
        let length = (text.len() as u32)
            .checked_add_signed(difference)
            .expect("a length");
        let bytes = [&length_prefix(length), text.as_bytes(), CONTENT].concat();
        cases.push(case(
            format!("a length one {name} than its JSON"),
            vec![Act::Send(bytes), Act::Stall],
            Refused(7),
        ));
    }
    play_small(cases);
}

#[test]
fn other_protocols_and_noise_are_refused_at_once() {
    let client_hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &noise(3, 506)].concat();
    let others: [(&str, &[u8]); 7] = [
        (
            "HTTP",
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        ),
        ("SSH", b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
        ("SMTP", b"220 mail.example ESMTP ready\r\n"),
        ("a TLS alert", &[0x15, 3, 3, 0, 2, 2, 40]),
        ("a TLS hello", &client_hello),
        ("a line of text", b"file not found\n"),
        ("1 MiB of noise", &noise(11, 1 << 20)),
    ];
    let cases = others.into_iter().map(|(name, bytes)| {
        case(
            name,
            vec![Act::Send(bytes.to_vec()), Act::Stall],
            Refused(7),
        )
    });
    play_small(cases.collect());
}

#[test]
fn a_server_that_speaks_first_is_refused_at_once() {
    let banners: [&[u8]; 3] = [
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"220 ready\r\n",
        &noise(12, 4_096),
    ];
    for banner in banners {
        let folder = Scratch::new();
        let server = HostileServer::greeting(vec![Act::Send(banner.to_vec()), Act::Stall]);
        let output = visit_once(&server, folder.path(), Refused(7)).expect_code(7);
        assert_eq!(folder.names(), [""; 0], "{}", output.stderr);
    }
}

#[test]
fn a_server_that_closes_or_resets_every_connection_is_a_network_error() {
    for end in [Act::Close, Act::Reset] {
        let folder = Scratch::new();
        let server = HostileServer::greeting(vec![end]);
        let output = visit_once(&server, folder.path(), Refused(4)).expect_code(4);
        assert_eq!(folder.names(), [""; 0], "{}", output.stderr);
    }
}

#[test]
fn odd_but_legal_frames_are_read() {
    let padded = |bytes: usize| {
        let text = file_header(CONTENT, "");
        let spaces = " ".repeat(bytes - text.len());
        answer(text.replacen('{', &format!("{{{spaces}"), 1), CONTENT)
    };
    let pause = Duration::from_millis(2);
    play_small(vec![
        case(
            "one byte per segment",
            vec![Act::Bytewise(good_answer(CONTENT))],
            Fetched,
        ),
        case(
            "one byte at a time",
            Act::drip(&good_answer(CONTENT), pause),
            Fetched,
        ),
        case(
            "a frame of 65,536 bytes",
            vec![Act::Send(padded(65_536))],
            Fetched,
        ),
        case(
            "a frame of 65,535 bytes",
            vec![Act::Send(padded(65_535))],
            Fetched,
        ),
        case(
            "header and body apart",
            vec![cut(20), Act::Send(good_answer(CONTENT)[20..].to_vec())],
            Fetched,
        ),
    ]);
}

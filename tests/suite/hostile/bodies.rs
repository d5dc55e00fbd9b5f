//! Bodies that are shorter, longer, slower or other than promised.

use std::time::Duration;

use super::answers::{CONTENT, FILE, OLD, answer, file_header, good_answer, header, honest, large};
use super::server::{Act, HostileServer};
use super::visit::Expected::{CutOff, Fetched, Refused};
use super::visit::{
    Case, PROMPT, assert_one_clear_line, assert_only, case, partial_name, play, play_small, visit,
    visit_once, watch,
};
use crate::harness::{Output, Program, Scratch, at_some_pace, md5_hex, noise};

#[test]
fn a_body_that_ends_early_is_cut_off_or_times_out() {
    for content in [CONTENT.to_vec(), large()] {
        let whole = good_answer(&content);
        let header_bytes = whole.len() - content.len();
        let mut cases: Vec<Case> = Vec::new();
        for length in [0, 1, content.len() / 2, content.len() - 1] {
            let sent = Act::Send(whole[..header_bytes + length].to_vec());
            for (end, code) in [(Act::Close, 4), (Act::Reset, 4), (Act::Stall, 14)] {
                let name = format!("{length} of {} bytes, then {end:?}", content.len());
                cases.push(case(name, vec![sent.clone(), end], CutOff(code)));
            }
        }
        play(&content, cases);
    }
}

#[test]
fn what_comes_behind_the_body_does_not_harm_the_file() {
    for content in [CONTENT.to_vec(), large()] {
        let with = |more: Vec<Act>| [vec![Act::Send(good_answer(&content))], more].concat();
        let one = || Act::Send(vec![0]);
        let rows = [
            ("one byte more", with(vec![one()])),
            ("one byte more, then closed", with(vec![one(), Act::Close])),
            ("1 MiB more", with(vec![Act::Send(noise(1, 1 << 20))])),
            ("1 GiB more", with(vec![gibibyte()])),
            ("closed", with(vec![Act::Close])),
        ];
        play(
            &content,
            rows.map(|(name, acts)| case(name, acts, Fetched)).to_vec(),
        );
    }
    // Bytes that have arrived are read before the reset is noticed.
    let acts = vec![Act::Send(good_answer(CONTENT)), Act::Reset];
    play_small(vec![case("reset behind a small body", acts, Fetched)]);
}

fn gibibyte() -> Act {
    Act::Repeat(vec![0; 1 << 20], 1 << 30)
}

#[test]
fn a_client_that_has_its_file_does_not_read_on() {
    let server = HostileServer::repeating(vec![Act::Send(good_answer(CONTENT)), gibibyte()]);
    let folder = Scratch::new();
    visit_once(&server, folder.path(), Fetched).expect_code(0);
    assert_only(&folder, FILE, CONTENT);
    // What the sockets of both sides hold, and one buffer of the client.
    assert!(
        server.sent_bytes() < 32 << 20,
        "the client took {} bytes",
        server.sent_bytes()
    );
}

#[test]
fn bytes_that_are_not_the_promised_ones_are_never_put_in_place() {
    for content in [CONTENT.to_vec(), large()] {
        let mut flipped = content.clone();
        flipped[content.len() / 2] ^= 1;
        let mut last = content.clone();
        *last.last_mut().expect("a byte") ^= 0x80;
        let other = noise(99, content.len());
        let md5 = md5_hex(&content);
        let short = header(FILE, content.len() as u64 - 1, &md5, "");
        let empty = header(FILE, 0, &md5, "");
        let rows = [
            ("one bit", answer(file_header(&content, ""), &flipped)),
            ("the last bit", answer(file_header(&content, ""), &last)),
            ("all of them", answer(file_header(&content, ""), &other)),
            (
                "the right digest of a longer file",
                answer(short, &content[..content.len() - 1]),
            ),
            ("an empty file with a digest", answer(empty, b"")),
        ];
        let rows = rows.map(|(name, bytes)| case(name, vec![Act::Send(bytes)], Refused(10)));
        play(&content, rows.to_vec());
    }
}

#[test]
fn the_right_digest_of_a_shorter_file_waits_in_vain() {
    let longer = header(FILE, CONTENT.len() as u64 + 1, &md5_hex(CONTENT), "");
    let sent = Act::Send(answer(longer, CONTENT));
    play_small(vec![
        case("then closed", vec![sent.clone(), Act::Close], CutOff(4)),
        case("then silent", vec![sent, Act::Stall], CutOff(14)),
    ]);
}

#[test]
fn a_mismatch_is_asked_for_once_more_with_fresh() {
    for content in [CONTENT.to_vec(), large()] {
        let wrong = noise(5, content.len());
        let lie = answer(file_header(&content, ""), &wrong);

        // A stale digest at the server: right once it is made anew.
        let (stale, new) = (lie.clone(), wrong.clone());
        let server = HostileServer::start(move |request| match request.is_fresh() {
            true => honest(&new, request),
            false => vec![Act::Send(stale.clone())],
        });
        let folder = Scratch::with_files([(FILE, OLD)]);
        visit(folder.path(), ["--retry", "0", &server.source(FILE)]).expect_code(0);
        assert_only(&folder, FILE, &wrong);
        let fresh: Vec<bool> = server
            .requests()
            .iter()
            .map(|request| request.is_fresh())
            .collect();
        assert_eq!(fresh, [false, true]);

        // A server that goes on lying is asked once, however many retries there are.
        let server = HostileServer::repeating(vec![Act::Send(lie)]);
        let folder = Scratch::with_files([(FILE, OLD)]);
        visit(
            folder.path(),
            ["--retry", "5", "--retry-delay", "1ms", &server.source(FILE)],
        )
        .expect_code(10);
        assert_only(&folder, FILE, OLD);
        let fresh: Vec<bool> = server
            .requests()
            .iter()
            .map(|request| request.is_fresh())
            .collect();
        assert_eq!(fresh, [false, true]);
    }
}

/// The header at once, and the body byte by byte.
fn dripping(pause: Duration) -> Vec<Act> {
    let header = Act::Send(answer(file_header(CONTENT, ""), b""));
    [vec![header], Act::drip(CONTENT, pause)].concat()
}

#[test]
fn a_body_in_drops_is_read_to_its_end() {
    at_some_pace(|factor| {
        let server = HostileServer::repeating(dripping(Duration::from_millis(60) * factor));
        let (folder, timeout) = (Scratch::new(), factor.to_string());
        let source = server.source(FILE);
        // Each byte is progress: the limit applies to the time between two.
        let args = ["--retry", "0", "--timeout", &timeout, &source];
        let output = visit(folder.path(), args).expect_code(0);
        let least = Duration::from_secs(1) * factor;
        assert!(output.elapsed > least, "took {:?}", output.elapsed);
        assert_only(&folder, FILE, CONTENT);
    });
}

#[test]
fn a_byte_per_half_minute_is_too_slow_for_half_a_second() {
    let server = HostileServer::repeating(dripping(Duration::from_secs(30)));
    let folder = Scratch::with_files([(FILE, OLD)]);
    let source = server.source(FILE);
    let output =
        visit(folder.path(), ["--retry", "0", "--timeout", "0.5", &source]).expect_code(14);
    assert!(output.elapsed < PROMPT, "took {:?}", output.elapsed);
    assert_eq!(folder.read(FILE), OLD);
}

#[test]
fn empty_and_tiny_files_are_files() {
    for content in [
        &b""[..],
        b"\0",
        b"{",
        &noise(2, 55),
        &noise(3, 64),
        &noise(4, 65),
    ] {
        play(
            content,
            vec![
                case(
                    format!("{} bytes", content.len()),
                    vec![Act::Send(good_answer(content))],
                    Fetched,
                ),
                case(
                    format!("{} bytes, then closed", content.len()),
                    vec![Act::Send(good_answer(content)), Act::Close],
                    Fetched,
                ),
            ],
        );
    }
}

#[test]
fn standard_output_gets_a_wrong_body_only_with_an_exit_code() {
    let large = large();
    for (promised, goes_out) in [(CONTENT, false), (&large[..], true)] {
        let wrong = noise(5, promised.len());
        let server =
            HostileServer::repeating(vec![Act::Send(answer(file_header(promised, ""), &wrong))]);
        let output = pour(&server, &["--retry", "0"]).expect_code(10);
        assert_one_clear_line(&output, "-o -");
        assert_eq!(!output.stdout.is_empty(), goes_out);
        assert_eq!(
            output.stderr.contains("must not be used"),
            goes_out,
            "{}",
            output.stderr
        );
    }
}

#[test]
fn what_came_before_a_cut_is_kept_for_a_resume() {
    let content = large();
    let half = content.len() / 2;
    let server = HostileServer::repeating(vec![
        Act::Send(answer(file_header(&content, ""), &content[..half])),
        Act::Close,
    ]);
    let folder = Scratch::new();
    visit_once(&server, folder.path(), CutOff(4)).expect_code(4);
    let partial = partial_name(FILE, &content);
    assert_only(&folder, &partial, &content[..half]);
}

#[test]
fn drops_do_not_hold_a_client_beyond_its_time_for_everything() {
    let server = HostileServer::repeating(dripping(Duration::from_secs(2)));
    let folder = Scratch::with_files([(FILE, OLD)]);
    let args = ["--max-time", "1", "--retry", "9", &server.source(FILE)];
    let output = visit(folder.path(), args).expect_code(14);
    assert!(output.elapsed < PROMPT, "took {:?}", output.elapsed);
    assert_one_clear_line(&output, "--max-time");
    assert_eq!(folder.read(FILE), OLD);
}

/// Runs the client with the file going to standard output.
fn pour(server: &HostileServer, args: &[&str]) -> Output {
    let folder = Scratch::new();
    let program = Program::ftget().in_folder(folder.path()).args(args);
    let output = watch(program.args(["-o", "-", &server.source(FILE)]));
    assert_eq!(folder.names(), [""; 0]);
    output
}

#[test]
fn standard_output_goes_on_behind_a_cut_in_the_same_content_or_not_at_all() {
    let content = large();
    let half = content.len() / 2;
    let other = noise(77, content.len());
    for (name, later, code) in [("the same", content.clone(), 0), ("another", other, 13)] {
        let (first, wanted) = (content.clone(), content.clone());
        let server = HostileServer::start(move |request| match request.number {
            0 => vec![
                Act::Send(answer(file_header(&first, ""), &first[..half])),
                Act::Close,
            ],
            _ => honest(&later, request),
        });
        let output = pour(&server, &["--retry", "2", "--retry-delay", "10ms"]).expect_code(code);
        let out = if code == 0 {
            &wanted[..]
        } else {
            &wanted[..half]
        };
        assert!(output.stdout == out, "{name}: wrong bytes went out");
        let requests = server.requests();
        assert_eq!(requests.len(), 2, "{name}");
        assert_eq!(requests[1].size("offset"), Some(half as u64), "{name}");
        assert_eq!(requests[1].str("want_md5"), md5_hex(&wanted), "{name}");
    }
}

#[test]
fn standard_output_takes_another_content_while_nothing_is_out() {
    let (first, second) = (large(), noise(77, 1_000_000));
    let wanted = second.clone();
    let server = HostileServer::start(move |request| match request.number {
        0 => vec![Act::Send(answer(file_header(&first, ""), b"")), Act::Close],
        _ => honest(&second, request),
    });
    let output = pour(&server, &["--retry", "2", "--retry-delay", "10ms"]).expect_code(0);
    assert!(output.stdout == wanted);
}

#[test]
fn standard_output_without_retries_is_cut_off_once() {
    let content = noise(78, 3 << 20);
    let most = content.len() - 1;
    let server = HostileServer::repeating(vec![
        Act::Send(answer(file_header(&content, ""), &content[..most])),
        Act::Close,
    ]);
    let output = pour(&server, &["--retry", "0"]).expect_code(4);
    assert_one_clear_line(&output, "cut off");
    assert_eq!(server.requests().len(), 1);
}

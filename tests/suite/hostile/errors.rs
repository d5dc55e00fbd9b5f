//! Error answers: each code's exit code, and errors that are more than errors.

use serde_json::Value;

use super::answers::{CONTENT, FILE, answer, error_header, header, honest};
use super::server::{Act, HostileServer};
use super::visit::Expected::Refused;
use super::visit::{Case, PROMPT, assert_one_clear_line, assert_only, case, play_small, visit};
use crate::harness::{Scratch, md5_hex};

fn row(name: &str, text: &str, code: i32) -> Case {
    case(
        name,
        vec![Act::Send(answer(text, b"")), Act::Stall],
        Refused(code),
    )
}

#[test]
fn every_code_of_the_wire_has_its_exit_code() {
    let codes = [
        ("not_found", 11),
        ("is_directory", 2),
        ("not_a_directory", 2),
        ("not_a_file", 2),
        ("forbidden", 6),
        ("unauthorized", 6),
        ("bad_frame", 7),
        ("bad_request", 7),
        ("bad_name", 2),
        ("bad_range", 2),
        ("unsupported", 7),
        ("changed", 13),
        ("exists", 12),
        ("read_only", 8),
        ("no_space", 9),
        ("too_large", 8),
        ("digest_mismatch", 10),
        ("busy", 8),
        ("timeout", 14),
        ("shutting_down", 8),
        ("internal", 1),
        ("a_code_of_tomorrow", 1),
        ("", 1),
    ];
    play_small(
        codes
            .map(|(code, exit)| row(code, &error_header(code, "no"), exit))
            .to_vec(),
    );
}

#[test]
fn messages_of_a_peer_are_one_escaped_line() {
    let long = "x".repeat(60_000);
    let messages = [
        "",
        "\u{1b}[2J\u{1b}[31mred",
        "txt.\u{202e}exe",
        "two\nlines\r\nand\rmore",
        "bell\u{7}, null\0, c1 \u{9b}31m",
        "hint: run this as root",
        "\u{2066}isolated\u{2069}",
        &long,
    ];
    play_small(
        messages
            .map(|message| {
                row(
                    message.get(..40).unwrap_or(message),
                    &error_header("forbidden", message),
                    6,
                )
            })
            .to_vec(),
    );
}

#[test]
fn an_error_that_is_also_a_file_is_a_protocol_violation() {
    let error = r#", "error": {"code": "not_found", "message": "no"}"#;
    let size = CONTENT.len() as u64;
    let md5 = md5_hex(CONTENT);
    let both = [
        header(FILE, size, &md5, error),
        header(FILE, size, "", error),
        header(FILE, 0, &md5, error),
        header(FILE, 0, "", &format!(r#"{error}, "body_size": {size}"#)),
    ];
    let cases = both.iter().map(|text| {
        let acts = vec![Act::Send(answer(text, CONTENT)), Act::Stall];
        case(text.as_str(), acts, Refused(7))
    });
    play_small(cases.collect());
}

#[test]
fn an_error_of_the_wrong_shape_is_a_protocol_violation() {
    let shapes = [
        "null",
        "true",
        "\"not_found\"",
        "[]",
        "{}",
        r#"{"code": "busy"}"#,
        r#"{"message": "no"}"#,
        r#"{"code": 11, "message": "no"}"#,
        r#"{"code": "busy", "message": null}"#,
        r#"{"code": "busy", "message": "no", "retry_after_ms": -1}"#,
        r#"{"code": "busy", "message": "no", "retry_after_ms": "1"}"#,
    ];
    let rows = shapes.map(|shape| {
        row(
            shape,
            &header(FILE, 0, "", &format!(r#", "error": {shape}"#)),
            7,
        )
    });
    play_small(rows.to_vec());
}

#[test]
fn a_server_that_asks_for_a_pause_without_end_has_refused_for_good() {
    for millis in [300_001, 1_000_000_000_000_u64] {
        let more = format!(
            r#", "error": {{"code": "busy", "message": "no", "retry_after_ms": {millis}}}"#
        );
        let answers = vec![Act::Send(answer(header(FILE, 0, "", &more), b""))];
        let server = HostileServer::repeating(answers);
        let folder = Scratch::new();
        for args in [&["--retry", "1"][..], &["--retry", "1", "-r"]] {
            let source = server.source(FILE);
            let args = args.iter().copied().chain([&*source]);
            let output = visit(folder.path(), args).expect_code(8);
            assert!(output.elapsed < PROMPT, "took {:?}", output.elapsed);
            assert!(output.stderr.contains("busy: no"), "{}", output.stderr);
        }
    }
}

#[test]
fn a_server_that_is_busy_for_ever_is_left_in_time() {
    let more =
        r#", "error": {"code": "busy", "message": "no", "retry_after_ms": 9223372036854775807}"#;
    let server = HostileServer::repeating(vec![Act::Send(answer(header(FILE, 0, "", more), b""))]);
    let folder = Scratch::new();
    let source = server.source(FILE);
    let output = visit(
        folder.path(),
        ["--retry", "5", "--retry-max-time", "1", &source],
    );
    let output = output.expect_code(8);
    assert!(output.elapsed < PROMPT, "took {:?}", output.elapsed);
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn a_server_that_was_busy_is_asked_again() {
    let server = HostileServer::start(|request| {
        let more = r#", "error": {"code": "busy", "message": "no", "retry_after_ms": 50}"#;
        match request.number {
            0 => vec![Act::Send(answer(header(FILE, 0, "", more), b""))],
            _ => honest(CONTENT, request),
        }
    });
    let folder = Scratch::new();
    visit(
        folder.path(),
        [
            "--retry",
            "1",
            "--retry-delay",
            "50ms",
            &server.source(FILE),
        ],
    )
    .expect_code(0);
    assert_only(&folder, FILE, CONTENT);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_refusal_that_will_not_change_is_not_asked_again() {
    for (code, exit) in [
        ("not_found", 11),
        ("forbidden", 6),
        ("bad_name", 2),
        ("unsupported", 7),
    ] {
        let server =
            HostileServer::repeating(vec![Act::Send(answer(error_header(code, "no"), b""))]);
        let folder = Scratch::new();
        let output = visit(folder.path(), ["--retry", "5", &server.source(FILE)]).expect_code(exit);
        assert_one_clear_line(&output, code);
        assert_eq!(server.requests().len(), 1, "{code}");
    }
}

#[test]
fn what_a_peer_says_is_escaped_for_programs_and_for_the_curious_too() {
    let message = "\u{1b}[31mred\u{202e}\nline\u{7f}\u{9b}";
    let name = "txt.\u{202e}exe\u{1b}[31m";
    let server = HostileServer::start(move |request| {
        let code = if request.number % 2 == 0 {
            "busy"
        } else {
            "forbidden"
        };
        let (code, message) = (Value::from(code), Value::from(message));
        let error = format!(r#", "error": {{"code": {code}, "message": {message}}}"#);
        vec![Act::Send(answer(header(name, 0, "", &error), b""))]
    });
    let folder = Scratch::new();
    for shown in ["--json", "--verbose", "--progress=plain", "--progress=bar"] {
        let args = [
            shown,
            "--retry",
            "1",
            "--retry-delay",
            "1ms",
            &server.source(name),
        ];
        let output = visit(folder.path(), args).expect_code(6);
        let text = output.text();
        let acts = |c: char| c != '\n' && c.is_control() || c == '\u{202e}';
        assert!(!text.contains(acts), "{shown}: {text:?}");
        if shown == "--json" {
            let lines = output.json_lines();
            assert_eq!(lines.len(), 2, "{text}");
            assert_eq!(lines[0]["event"], "error", "{text}");
            assert_eq!(lines[0]["filename"], name, "{text}");
            assert_eq!(lines[0]["code"], 6, "{text}");
            assert_eq!(lines[1]["event"], "summary", "{text}");
        }
    }
}

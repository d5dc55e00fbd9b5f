//! Headers that are well formed and lie about the body, the range or the request.

use std::time::Duration;

use super::answers::{CONTENT, FILE, OLD, answer, file_header, good_answer, header, honest, large};
use super::server::{Act, HostileServer};
use super::visit::Expected::{Fetched, Refused};
use super::visit::{PROMPT, assert_only, case, partial_name, play_small, visit, visit_once};
use crate::harness::{Scratch, at_some_pace, frame, md5_hex};

fn more(more: &str) -> Vec<u8> {
    answer(file_header(CONTENT, &format!(", {more}")), CONTENT)
}

#[test]
fn an_answer_to_another_request_is_a_protocol_violation() {
    let size = CONTENT.len();
    let rows: [(&str, Vec<u8>); 9] = [
        (
            "body_size below total_size",
            more(&format!(r#""body_size": {}"#, size - 1)),
        ),
        (
            "body_size above total_size",
            more(&format!(r#""body_size": {}"#, size + 1)),
        ),
        ("body_size 0", more(r#""body_size": 0"#)),
        (
            "body_size 2^63-1",
            more(r#""body_size": 9223372036854775807"#),
        ),
        (
            "a range nobody asked for",
            more(&format!(r#""offset": 3, "body_size": {}"#, size - 3)),
        ),
        ("an offset beyond the end", more(r#""offset": 1000"#)),
        (
            "a match with another digest",
            more(r#""match": true, "body_size": 0"#),
        ),
        (
            "a key nobody can know",
            more(r#""need": ["encoding_of_tomorrow"]"#),
        ),
        ("a hello", more(r#""ft": 1, "ops": ["get"]"#)),
    ];
    let rows = rows.map(|(name, bytes)| case(name, vec![Act::Send(bytes), Act::Stall], Refused(7)));
    play_small(rows.to_vec());
}

#[test]
fn a_match_is_believed_only_about_what_is_there() {
    let matched = |content: &[u8]| {
        answer(
            file_header(content, r#", "match": true, "body_size": 0"#),
            b"",
        )
    };

    // Nothing was offered as being here.
    let server = HostileServer::repeating(vec![Act::Send(matched(CONTENT)), Act::Stall]);
    let folder = Scratch::new();
    visit_once(&server, folder.path(), Refused(7)).expect_code(7);
    assert_eq!(folder.names(), [""; 0]);
    assert_eq!(server.requests()[0].str("have_md5"), "");

    // The legal twin.
    let server = HostileServer::repeating(vec![Act::Send(matched(OLD)), Act::Stall]);
    let folder = Scratch::with_files([(FILE, OLD)]);
    visit_once(&server, folder.path(), Fetched).expect_code(0);
    assert_only(&folder, FILE, OLD);
    assert_eq!(server.requests()[0].str("have_md5"), md5_hex(OLD));

    // The same digest with another size is that of no file.
    let lie = header(FILE, 1, &md5_hex(OLD), r#", "match": true, "body_size": 0"#);
    let server = HostileServer::repeating(vec![Act::Send(answer(lie, b"")), Act::Stall]);
    let folder = Scratch::with_files([(FILE, OLD)]);
    let output = visit_once(&server, folder.path(), Refused(7)).expect_code(7);
    assert!(
        output.stderr.contains("total_size is 1, it must be 20"),
        "{}",
        output.stderr
    );
    assert_only(&folder, FILE, OLD);
}

#[test]
fn a_resume_answered_with_another_range_is_never_spliced() {
    let content = large();
    let half = content.len() / 2;
    let rest = content.len() - half;
    let answers = [
        (
            "no offset",
            file_header(&content, &format!(r#", "body_size": {rest}"#)),
        ),
        (
            "offset 0",
            file_header(&content, &format!(r#", "body_size": {rest}, "offset": 0"#)),
        ),
        (
            "an offset too far",
            file_header(
                &content,
                &format!(r#", "body_size": {rest}, "offset": {}"#, half + 1),
            ),
        ),
        (
            "too much",
            file_header(
                &content,
                &format!(r#", "body_size": {}, "offset": {half}"#, rest + 1),
            ),
        ),
        (
            "too little",
            file_header(
                &content,
                &format!(r#", "body_size": {}, "offset": {half}"#, rest - 1),
            ),
        ),
        (
            "another digest",
            header(
                FILE,
                content.len() as u64,
                &md5_hex(OLD),
                &format!(r#", "body_size": {rest}, "offset": {half}"#),
            ),
        ),
        (
            "another size",
            header(
                FILE,
                content.len() as u64 + 1,
                &md5_hex(&content),
                &format!(r#", "body_size": {rest}, "offset": {half}"#),
            ),
        ),
    ];
    for (name, text) in answers {
        let folder = Scratch::with_files([(FILE, OLD)]);
        folder.write(partial_name(FILE, &content), &content[..half]);
        let server =
            HostileServer::repeating(vec![Act::Send(answer(text, &content[half..])), Act::Stall]);
        let output = visit_once(&server, folder.path(), Refused(7));
        assert_eq!(output.code, 7, "{name}: {}", output.stderr);
        assert_eq!(
            server.requests()[0].size("offset"),
            Some(half as u64),
            "{name}"
        );
        assert!(folder.read(FILE) == OLD, "{name}: the old file changed");
    }
}

#[test]
fn interim_headers_are_skipped() {
    let interim = |more: &str| {
        frame(file_header(
            CONTENT,
            &format!(r#", "body_size": 0, {more}"#),
        ))
    };
    let unknown = |more: &str| frame(header(FILE, 0, "", &format!(r#", "body_size": 0, {more}"#)));
    let rows = [
        ("hashing", interim(r#""status": "hashing", "done": 7"#)),
        (
            "hashing without a size yet",
            unknown(r#""status": "hashing", "done": 0"#),
        ),
        (
            "hashing, done of an unknown size",
            unknown(r#""status": "hashing", "done": 9223372036854775807"#),
        ),
        (
            "a status of tomorrow, done beyond the size",
            unknown(r#""status": "polishing", "done": 9223372036854775807"#),
        ),
        (
            "hashing backwards",
            [
                interim(r#""status": "hashing", "done": 9"#),
                interim(r#""status": "hashing", "done": 2"#),
            ]
            .concat(),
        ),
        (
            "a status of tomorrow",
            unknown(r#""status": "warming_up", "x": [1]"#),
        ),
        ("an empty status", unknown(r#""status": """#)),
        (
            "a hundred",
            interim(r#""status": "hashing", "done": 7"#).repeat(100),
        ),
    ];
    let rows = rows.map(|(name, bytes)| {
        case(
            name,
            vec![Act::Send([bytes, good_answer(CONTENT)].concat())],
            Fetched,
        )
    });
    play_small(rows.to_vec());
}

#[test]
fn an_interim_header_with_a_body_is_a_protocol_violation() {
    let rows = [
        (
            "no body_size",
            file_header(CONTENT, r#", "status": "hashing", "done": 7"#),
        ),
        (
            "a body_size",
            file_header(CONTENT, r#", "status": "hashing", "body_size": 23"#),
        ),
        (
            "a negative done",
            file_header(
                CONTENT,
                r#", "status": "hashing", "done": -1, "body_size": 0"#,
            ),
        ),
    ];
    let rows = rows.map(|(name, text)| {
        let bytes = [answer(text, CONTENT), good_answer(CONTENT)].concat();
        case(name, vec![Act::Send(bytes), Act::Stall], Refused(7))
    });
    play_small(rows.to_vec());
}

#[test]
fn interim_headers_without_progress_do_not_hold_a_client_for_ever() {
    let same = frame(file_header(
        CONTENT,
        r#", "body_size": 0, "status": "hashing", "done": 7"#,
    ));
    let unknown = frame(header(FILE, 0, "", r#", "body_size": 0, "status": "soon""#));
    for (name, interim) in [("the same count", same), ("a status of tomorrow", unknown)] {
        let server = HostileServer::repeating(vec![Act::Repeat(interim, u64::MAX)]);
        let folder = Scratch::new();
        let output = visit(
            folder.path(),
            ["--retry", "0", "--timeout", "1", &server.source(FILE)],
        );
        assert_eq!(output.code, 14, "{name}: {}", output.stderr);
        assert!(output.elapsed < PROMPT, "{name}: took {:?}", output.elapsed);
        assert_eq!(folder.names(), [""; 0], "{name}");
    }
}

#[test]
fn a_digest_that_advances_is_waited_for() {
    at_some_pace(|factor| {
        let server = HostileServer::start(move |request| {
            let hashing = |done: u64| {
                let more = format!(r#", "body_size": 0, "status": "hashing", "done": {done}"#);
                let interim = Act::Send(frame(file_header(CONTENT, &more)));
                [interim, Act::Pause(Duration::from_millis(400) * factor)]
            };
            let waits = (0..4).flat_map(hashing);
            waits.chain(honest(CONTENT, request)).collect()
        });
        let (folder, timeout) = (Scratch::new(), factor.to_string());
        let source = server.source(FILE);
        let args = ["--retry", "0", "--timeout", &timeout, &source];
        let output = visit(folder.path(), args).expect_code(0);
        let least = Duration::from_secs(1) * factor;
        assert!(output.elapsed > least, "took {:?}", output.elapsed);
        assert_only(&folder, FILE, CONTENT);
        assert_eq!(server.requests().len(), 1);
    });
}

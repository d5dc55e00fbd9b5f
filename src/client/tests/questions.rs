//! The keys of a question, and the answers that it takes. The headers lie in the socket before they
//! are read, so that no limit of time decides.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::scripted::{config, frame, md5_hex, md5_of};
use crate::client::agreement::Request;
use crate::client::question::{Answer, Question, await_digests, await_header};
use crate::client::{ClientConfig, ClientError, ProtocolError, Session, SessionError};
use crate::net::{Stream, Wait};
use crate::wire::{Action, ByteRange, Call, GetRequest, ResourcePath, RunRequest};

fn path() -> ResourcePath {
    ResourcePath::parse(b"f").unwrap()
}

/// Asks for all of a file.
fn whole() -> Question {
    Question {
        path: path(),
        is_command: false,
        offset: 0,
        length: None,
        have: None,
        want_md5: None,
        fresh: false,
    }
}

/// A session in whose socket these bytes lie, and nothing after them.
fn session(bytes: &[u8], config: &ClientConfig) -> Session {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(bytes).unwrap();
    Session::over(Stream::Unix(ours), config, None)
}

/// The answer that the question reads from this header.
fn answer(question: &Question, keys: &str) -> Result<Answer, ClientError> {
    let header = frame(&format!(r#"{{"filename":"f",{keys}}}"#));
    let mut session = session(&header, &config());
    question.await_answer(&mut session.receiving, |_, _| {})
}

#[test]
fn a_request_has_the_keys_that_its_question_needs() {
    let have = (md5_of(b"have"), 4);
    let other = md5_of(b"other");
    let range = |offset, length| Some(ByteRange { offset, length });
    // Offset, length and want_md5; the range and whether have_md5 is sent.
    for (offset, length, want_md5, expected, sends_have) in [
        (0, None, None, None, true),
        (0, None, Some(have.0), None, true),
        (0, None, Some(other), None, false),
        (1, None, Some(have.0), range(1, None), false),
        (5, Some(7), None, range(5, Some(7)), false),
        (0, Some(0), None, range(0, Some(0)), false),
        (0, Some(1), None, range(0, Some(1)), false),
    ] {
        let question = Question {
            offset,
            length,
            want_md5,
            have: Some(have),
            fresh: true,
            ..whole()
        };
        let request = GetRequest {
            path: path(),
            range: expected,
            have_md5: sends_have.then_some(have.0),
            want_md5,
            fresh: true,
            progress: true,
        };
        let call = Call {
            action: Action::Get(request),
            id: None,
        };
        assert_eq!(question.call(), call, "{offset} {length:?}");
        assert_eq!(question.have_sent(), sends_have.then_some(have));
        let end = offset + length.unwrap_or(0);
        assert_eq!(question.block(), offset..end);
    }
    let command = Question {
        is_command: true,
        ..whole()
    };
    let run = RunRequest {
        name: b"f".to_vec(),
        progress: true,
    };
    let call = Call {
        action: Action::Run(run),
        id: None,
    };
    assert_eq!(command.call(), call);
}

#[test]
fn an_answer_without_bytes_is_a_match_only_for_what_is_here() {
    let (md5, other) = (md5_hex(b"12345"), md5_hex(b"other"));
    let here = Question {
        have: Some((md5_of(b"12345"), 5)),
        ..whole()
    };
    let nothing_of_it = Question {
        length: Some(0),
        ..here.clone()
    };
    let matches = [
        (
            &here,
            format!(r#""total_size":5,"md5":"{md5}","body_size":0,"match":true"#),
        ),
        (
            &nothing_of_it,
            format!(r#""total_size":5,"md5":"{md5}","body_size":0"#),
        ),
    ];
    for (question, keys) in &matches {
        let Ok(Answer::Match(content)) = answer(question, keys) else {
            panic!("no match: {keys}");
        };
        let (offset, body_bytes) = (content.offset, content.body_bytes);
        assert_eq!((offset, body_bytes, content.total_size), (0, 0, 5));
        assert!(!content.is_to_the_end());
    }
    let elsewhere = Question {
        have: None,
        ..nothing_of_it.clone()
    };
    let first_byte = Question {
        length: Some(1),
        ..here.clone()
    };
    let rest = Question {
        offset: 2,
        ..whole()
    };
    // The question, the answer, where the body begins and ends, and whether the file ends there.
    for (question, keys, body, is_to_the_end) in [
        (
            &nothing_of_it,
            format!(r#""total_size":5,"md5":"{other}","body_size":0"#),
            0..0,
            false,
        ),
        (
            &elsewhere,
            format!(r#""total_size":5,"md5":"{md5}","body_size":0"#),
            0..0,
            false,
        ),
        (
            &first_byte,
            format!(r#""total_size":5,"md5":"{md5}","body_size":1"#),
            0..1,
            false,
        ),
        (
            &nothing_of_it,
            format!(r#""total_size":5,"md5":"{md5}""#),
            0..5,
            true,
        ),
        (
            &rest,
            format!(r#""total_size":5,"md5":"{md5}","body_size":3,"offset":2"#),
            2..5,
            true,
        ),
        (
            &rest,
            format!(r#""total_size":5,"md5":"{md5}""#),
            0..5,
            true,
        ),
    ] {
        let content = match answer(question, &keys) {
            Ok(Answer::Content(content)) => content,
            answer => panic!("{keys}: {answer:?}"),
        };
        let end = content.offset + content.body_bytes;
        assert_eq!(content.offset..end, body, "{keys}");
        assert_eq!(content.is_to_the_end(), is_to_the_end, "{keys}");
    }
}

/// An interim header.
fn interim(status: &str, done: u64, total_size: u64) -> Vec<u8> {
    frame(&format!(
        r#"{{"filename":"f","total_size":{total_size},"md5":"","body_size":0,"status":"{status}","done":{done}}}"#
    ))
}

/// Reads these interim headers under a limit that is over at once, so that only progress keeps the
/// client waiting. Returns what was reported, and whether it waited for all of them.
fn waits(headers: &[(&str, u64, u64)], files_max: usize) -> (Vec<(u64, u64)>, bool) {
    let config = ClientConfig {
        progress_timeout: Duration::from_nanos(1),
        ..config()
    };
    let mut bytes: Vec<u8> = headers
        .iter()
        .flat_map(|(status, done, total_size)| interim(status, *done, *total_size))
        .collect();
    bytes.extend(frame(
        r#"{"filename":"f","total_size":0,"md5":"","error":{"code":"busy","message":"m"}}"#,
    ));
    let mut session = session(&bytes, &config);
    let (question, mut reported) = (whole(), Vec::new());
    let request = Request::Content(&question);
    let header = await_digests(request, files_max, &mut session.receiving, |done, of| {
        reported.push((done, of));
    });
    let waited = match header {
        Ok(_) => true,
        Err(ClientError::Session(SessionError::TimedOut {
            wait: Wait::Hashing,
            ..
        })) => false,
        Err(error) => panic!("{error}"),
    };
    (reported, waited)
}

#[test]
fn only_a_good_part_of_a_digest_keeps_a_client_waiting() {
    let first = |done, total_size| ("hashing", done, total_size);
    const MIB: u64 = 1 << 20;
    for (headers, reported, waited) in [
        // A 256th of a small file, and at least one byte.
        (
            vec![first(0, 256_000), first(1_000, 256_000)],
            vec![(0, 256_000), (1_000, 256_000)],
            true,
        ),
        (
            vec![first(0, 256_000), first(999, 256_000)],
            vec![(0, 256_000)],
            false,
        ),
        (
            vec![first(0, 100), first(1, 100), first(2, 100)],
            vec![(0, 100), (1, 100), (2, 100)],
            true,
        ),
        (vec![first(0, 1), first(1, 1)], vec![(0, 1), (1, 1)], true),
        // 1 MiB of a large one.
        (
            vec![first(0, 1 << 40), first(MIB, 1 << 40)],
            vec![(0, 1 << 40), (MIB, 1 << 40)],
            true,
        ),
        (
            vec![first(0, 1 << 40), first(MIB - 1, 1 << 40)],
            vec![(0, 1 << 40)],
            false,
        ),
        // The end is never far.
        (
            vec![first(255_999, 256_000), first(256_000, 256_000)],
            vec![(255_999, 256_000), (256_000, 256_000)],
            true,
        ),
        // The end again is no progress.
        (vec![first(10, 10), first(10, 10)], vec![(10, 10)], false),
        // Nothing is measured.
        (vec![first(0, 0), first(5, 0)], vec![(0, 0)], false),
        // Another file, and the same one begun anew.
        (
            vec![first(7, 10), first(1, 20), first(0, 20)],
            vec![(7, 10), (1, 20), (0, 20)],
            true,
        ),
        // A status of a later version.
        (
            vec![first(0, 10), ("resting", 10, 10)],
            vec![(0, 10)],
            false,
        ),
        (vec![("resting", 10, 10)], vec![], false),
    ] {
        assert_eq!(waits(&headers, 100), (reported, waited), "{headers:?}");
    }
}

#[test]
fn reports_only_progress() {
    let mut bytes = interim("hashing", 1, 10);
    bytes.extend(interim("resting", 5, 10));
    bytes.extend(interim("hashing", 1, 10));
    bytes.extend(interim("hashing", 3, 10));
    bytes.extend(frame(
        r#"{"filename":"f","total_size":0,"md5":"","error":{"code":"busy","message":"m"}}"#,
    ));
    let mut session = session(&bytes, &config());
    let (question, mut reported) = (whole(), Vec::new());
    let answer = question.await_answer(&mut session.receiving, |done, of| {
        reported.push((done, of));
    });
    assert!(matches!(answer, Ok(Answer::Refused(_))), "{answer:?}");
    assert_eq!(reported, [(1, 10), (3, 10)]);
}

#[test]
fn a_digest_may_be_begun_sixteen_times_and_no_more() {
    let begun = |times: u64| {
        let headers = (0..times).flat_map(|time| interim("hashing", 0, time));
        let mut bytes: Vec<u8> = headers.collect();
        bytes.extend(frame(
            r#"{"filename":"f","total_size":0,"md5":"","error":{"code":"busy","message":"m"}}"#,
        ));
        let mut session = session(&bytes, &config());
        await_header(
            Request::Content(&whole()),
            &mut session.receiving,
            |_, _| {},
        )
    };
    assert!(begun(16).is_ok());
    let error = begun(17).unwrap_err();
    let is_too_often = matches!(
        error,
        ClientError::Protocol(ProtocolError::BegunTooOften(17))
    );
    assert!(is_too_often, "{error}");
}

//! Tables of what a peer may send and what the server must make of it.

use std::time::Duration;

use crate::harness::{Scratch, TestServer};

/// What the server must make of one case.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// An error with this code; the connection goes on.
    GoesOn(&'static str),
    /// An error with this code, then the end of the connection.
    Closes(&'static str),
    /// The content of [`FILE`]; the connection goes on.
    File,
    /// An answer that is no error and has no body; the connection goes on.
    Header,
    /// No answer, and the end of the connection.
    Nothing,
}

/// How the peer goes on after the bytes of a case.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    /// It waits for the answer, its write side open.
    Waits,
    /// It ends its write side.
    Ends,
}

/// One case: its name, the bytes, what follows them and the outcome.
pub(crate) type Case = (String, Vec<u8>, Then, Outcome);

/// The file that every table's server has, and its content.
pub(crate) const FILE: &str = "a.txt";
pub(crate) const CONTENT: &[u8] = b"verified\n";

/// How soon what takes no time is answered, by a server that may be kept waiting for a processor:
/// less than the 10 s that one waits for the rest of a request.
pub(crate) const PROMPT: Duration = Duration::from_secs(8);

/// Plays each case on a connection of its own against one server, and then looks whether
/// the server is alive, has not grown and has not written more than a line per case.
#[track_caller]
pub(crate) fn play(cases: &[Case]) {
    let root = Scratch::with_files([(FILE, CONTENT)]);
    let server = TestServer::plain(root.path());
    // A first round trip of each kind, so that what is allocated once is not taken for growth.
    play_one(
        &server,
        "warm up",
        &crate::harness::frame(r#"{"filename":"a.txt"}"#),
        Then::Waits,
        Outcome::File,
    );
    let rss_before = server.facts().rss_kib();
    let lines_before = server.stderr().text().lines().count();

    for (name, bytes, then, outcome) in cases {
        play_one(&server, name, bytes, *then, *outcome);
    }

    server.assert_alive();
    let stderr = server.stderr().text();
    assert!(
        !stderr.contains("panicked"),
        "the server panicked:\n{stderr}"
    );
    let lines = stderr.lines().count() - lines_before;
    assert!(
        lines <= cases.len(),
        "{lines} log lines for {} cases:\n{stderr}",
        cases.len()
    );
    let grown = server.facts().rss_kib().saturating_sub(rss_before);
    assert!(
        grown < GROWTH_KIB_MAX,
        "the server grew by {grown} KiB over {} cases",
        cases.len()
    );
}

fn play_one(server: &TestServer, name: &str, bytes: &[u8], then: Then, outcome: Outcome) {
    // The name of the case reaches the reader whatever panics below.
    let _case = NamedCase(name);
    let mut peer = server.connect();
    // A server that answers before it has read everything may stop reading.
    let _ = peer.try_send(bytes);
    if matches!(then, Then::Ends) {
        peer.end_writing();
    }
    if matches!(outcome, Outcome::Nothing) {
        peer.expect_eof();
        assert!(peer.elapsed() < PROMPT, "closed after {:?}", peer.elapsed());
        return;
    }
    let answer = peer.read_answer();
    assert!(answer.after < PROMPT, "answered after {:?}", answer.after);
    match outcome {
        Outcome::GoesOn(code) | Outcome::Closes(code) => {
            assert_eq!(answer.code(), Some(code), "{}", answer.text);
            assert!(
                answer.body.is_empty(),
                "an error with a body: {}",
                answer.text
            );
        }
        Outcome::File => answer.assert_file(FILE, CONTENT),
        Outcome::Header => {
            assert_eq!(answer.code(), None, "{}", answer.text);
            assert!(answer.body.is_empty(), "{}", answer.text);
        }
        Outcome::Nothing => unreachable!("returned above"),
    }
    match (outcome, then) {
        (Outcome::Closes(_), _) | (_, Then::Ends) => peer.expect_eof(),
        _ => {
            let answer = peer.ask(r#"{"op":"hello","id":"still here"}"#);
            assert_eq!(answer.str("id"), "still here", "{}", answer.text);
        }
    }
}

/// Names the case of a table when a check inside it panics.
pub(crate) struct NamedCase<T: AsRef<str>>(pub(crate) T);

impl<T: AsRef<str>> Drop for NamedCase<T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("in the case: {}\n", self.0.as_ref()),
            );
        }
    }
}

/// Workers keep buffers that they first touch during a table.
const GROWTH_KIB_MAX: u64 = 24 * 1024;

//! The transcripts of the protocol text, replayed byte for byte.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::cases::NamedCase;
use crate::harness::{Scratch, TestServer};

const PROTOCOL: &str = include_str!("../../src/wire/PROTOCOL.md");

/// 2026-11-20T10:11:12.123456789Z, the time of every file in the transcripts.
const MTIME: Duration = Duration::new(1_795_169_472, 123_456_789);

/// What happens next on the connection of a transcript.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    ClientSends(Vec<u8>),
    ServerSends(Vec<u8>),
    ClientEnds,
    ServerEnds,
}

#[test]
fn every_transcript_of_the_protocol_text_is_what_this_server_says() {
    let root = served_folder();
    let server = TestServer::plain(root.path());
    let transcripts = fenced("transcript");
    assert!(
        transcripts.len() >= 8,
        "only {} transcripts were found",
        transcripts.len()
    );
    for transcript in transcripts {
        let _case = NamedCase(transcript);
        replay(&server, &steps(transcript));
    }
}

#[track_caller]
fn replay(server: &TestServer, steps: &[Step]) {
    let mut peer = server.connect();
    for step in steps {
        match step {
            Step::ClientSends(bytes) => peer.send(bytes),
            Step::ServerSends(bytes) => {
                let read = peer.read_exact(bytes.len());
                assert_eq!(
                    read.escape_ascii().to_string(),
                    bytes.escape_ascii().to_string()
                );
            }
            Step::ClientEnds => peer.end_writing(),
            Step::ServerEnds => peer.expect_eof(),
        }
    }
}

/// The folder that the transcripts are about.
fn served_folder() -> Scratch {
    let scratch = Scratch::new();
    let blocks = fenced("transcript-files");
    assert_eq!(blocks.len(), 1, "blocks of files");
    for line in blocks[0].lines() {
        let (name, content) = line.split_once(':').expect("a name, a colon, a content");
        let name = unescape(name);
        scratch.write(
            OsStr::from_bytes(&name),
            unescape(content.strip_prefix(' ').unwrap_or(content)),
        );
    }
    set_modes_and_times(scratch.path());
    scratch
}

fn set_modes_and_times(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            set_modes_and_times(&path);
        } else {
            set_mode_and_time(&path, 0o644);
        }
    }
    set_mode_and_time(folder, 0o755);
}

fn set_mode_and_time(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
    File::open(path)
        .and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH + MTIME))
        .expect("an mtime");
}

/// The contents of the fenced blocks with this label.
fn fenced(label: &str) -> Vec<&'static str> {
    let opening = format!("```{label}\n");
    let after_openings = PROTOCOL.split(&opening).skip(1);
    after_openings
        .map(|rest| rest.split("```").next().expect("the end of a block"))
        .collect()
}

fn steps(transcript: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for line in transcript.lines().filter(|line| !line.starts_with('#')) {
        let step = match line.split_once(": ") {
            _ if line == "C end" => Step::ClientEnds,
            _ if line == "S end" => Step::ServerEnds,
            Some(("C", bytes)) => Step::ClientSends(unescape(bytes)),
            Some(("S", bytes)) => Step::ServerSends(unescape(bytes)),
            _ => panic!("a line of no side: {line:?}"),
        };
        match (steps.last_mut(), step) {
            (Some(Step::ClientSends(run)), Step::ClientSends(bytes)) => run.extend(bytes),
            (Some(Step::ServerSends(run)), Step::ServerSends(bytes)) => run.extend(bytes),
            (_, step) => steps.push(step),
        }
    }
    steps
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        let byte = match char {
            '\\' => match chars.next() {
                Some('n') => b'\n',
                Some('r') => b'\r',
                Some('\\') => b'\\',
                Some('x') => {
                    let digits: String = chars.by_ref().take(2).collect();
                    u8::from_str_radix(&digits, 16)
                        .unwrap_or_else(|_| panic!("an escape \\x{digits}"))
                }
                other => panic!("an escape \\{other:?}"),
            },
            char => u8::try_from(char)
                .ok()
                .filter(u8::is_ascii)
                .unwrap_or_else(|| panic!("{char:?} needs an escape")),
        };
        bytes.push(byte);
    }
    bytes
}

#[test]
fn the_notation_of_the_transcripts_is_read_as_the_text_says() {
    let expected = [
        Step::ClientSends(b"a\n\x00\\b".to_vec()),
        Step::ServerSends(b"c d".to_vec()),
        Step::ClientEnds,
        Step::ServerEnds,
    ];
    assert_eq!(
        steps("# a comment\nC: a\\n\\x00\nC: \\\\b\nS: c d\nC end\nS end\n"),
        expected
    );
}

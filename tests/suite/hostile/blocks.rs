//! Large files in blocks over several connections, from servers that lie about some of them,
//! refuse some, or change their mind in between.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::answers::{
    FILE, OLD, answer, error_header, file_header, good_answer, honest, honest_bytes,
};
use super::server::{Act, HostileServer, Request};
use super::visit::{assert_one_clear_line, assert_only, partial_name, visit};
use crate::cases::NamedCase;
use crate::harness::{Output, Scratch, noise};

/// Many blocks, and some bytes.
fn content() -> Vec<u8> {
    noise(3, 9 * MIB + 12_345)
}

fn fetch(folder: &Scratch, server: &HostileServer) -> Output {
    let source = server.source(FILE);
    let args = ["--split", "3", "--retry-delay", "10ms", &source];
    visit(folder.path(), args)
}

/// Whether this asks for the block that tests are about, which is none of the first.
fn is_fifth(request: &Request) -> bool {
    request.size("offset") == Some(5 * MIB as u64)
}

/// Answers everything honestly but the fifth block.
fn server_with(
    content: &[u8],
    fifth: impl Fn(&Request) -> Vec<Act> + Send + Sync + 'static,
) -> HostileServer {
    let content = content.to_vec();
    HostileServer::start(move |request| match is_fifth(request) {
        true => fifth(request),
        false => honest(&content, request),
    })
}

/// Fails with this code and one clear line, and leaves the old file as it is.
#[track_caller]
fn assert_refused(server: &HostileServer, code: i32, content: &[u8]) {
    let folder = Scratch::with_files([(FILE, OLD)]);
    let output = fetch(&folder, server).expect_code(code);
    assert_one_clear_line(&output, &output.stderr);
    assert_eq!(folder.read(FILE), OLD);
    for name in folder.names() {
        if name == FILE {
            continue;
        }
        assert_eq!(name, *partial_name(FILE, content), "left behind");
        assert!(content.starts_with(&folder.read(&name)), "no prefix");
    }
}

#[test]
fn honest_blocks_make_the_file_and_each_is_asked_for_once_and_of_one_content() {
    let content = content();
    for old in [None, Some(OLD)] {
        let folder = Scratch::with_files(old.map(|old| (FILE, old)));
        let full = content.clone();
        let server = HostileServer::start(move |request| honest(&full, request));
        fetch(&folder, &server).expect_code(0);
        assert_only(&folder, FILE, &content);
        let mut asked: Vec<_> = server.requests();
        let first = asked.remove(0);
        // An old file is compared before anything comes.
        let length = if old.is_some() { 0 } else { MIB as u64 };
        assert_eq!(first.size("length"), Some(length), "{}", first.json);
        let of_content = |request: &Request| request.str("want_md5") == md5(&content);
        assert!(asked.iter().all(of_content), "{asked:?}");
        let mut blocks: Vec<_> = asked
            .iter()
            .map(|request| (request.size("offset"), request.size("length")))
            .collect();
        blocks.sort_unstable();
        let mut next = length;
        for (offset, bytes) in blocks {
            assert_eq!(offset, Some(next));
            next += bytes.expect("a length");
        }
        assert_eq!(next, content.len() as u64);
    }
}

#[test]
fn the_same_content_is_found_to_be_there_without_a_byte_of_it() {
    let content = content();
    let folder = Scratch::with_files([(FILE, &content)]);
    let full = content.clone();
    let server = HostileServer::start(move |request| honest(&full, request));
    let output = fetch(&folder, &server).expect_code(0);
    assert_only(&folder, FILE, &content);
    assert_eq!(server.requests().len(), 1, "{}", output.stderr);
    assert!(server.sent_bytes() < 1_000);
}

#[test]
fn a_server_that_knows_no_ranges_sends_it_whole() {
    let content = content();
    let folder = Scratch::new();
    let server = HostileServer::repeating(vec![Act::Send(good_answer(&content))]);
    fetch(&folder, &server).expect_code(0);
    assert_only(&folder, FILE, &content);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_block_of_other_bytes_is_found_out_and_asked_for_anew_once() {
    let content = content();
    let other = noise(4, content.len());
    let full = content.clone();
    let lie = move |request: &Request| {
        let mut bytes = honest_bytes(&full, request);
        let at = bytes.len() - MIB;
        bytes[at..].copy_from_slice(&other[..MIB]);
        vec![Act::Send(bytes)]
    };
    let server = server_with(&content, lie);
    assert_refused(&server, 10, &content);
    let fresh = server.requests().iter().filter(|r| r.is_fresh()).count();
    assert_eq!(fresh, 1, "asked for with fresh");
}

#[test]
fn a_block_whose_header_says_something_else_breaks_the_protocol() {
    let content = content();
    let (size, other) = (content.len(), noise(4, content.len()));
    let block = |more: &str| answer(file_header(&content, more), &content[..MIB]);
    let at = 5 * MIB;
    for (name, lie) in [
        (
            "another md5",
            answer(
                file_header(&other, &format!(r#", "body_size": {MIB}, "offset": {at}"#)),
                &other[..MIB],
            ),
        ),
        (
            "another size",
            answer(
                file_header(
                    &content,
                    &format!(r#", "body_size": {MIB}, "offset": {at}"#),
                )
                .replace(&size.to_string(), &(size + 1).to_string()),
                &content[..MIB],
            ),
        ),
        (
            "another place",
            block(&format!(r#", "body_size": {MIB}, "offset": {}"#, at + 1)),
        ),
        ("no place", block(&format!(r#", "body_size": {MIB}"#))),
        (
            "fewer bytes",
            block(&format!(r#", "body_size": {}, "offset": {at}"#, MIB - 1)),
        ),
        (
            "more bytes",
            block(&format!(r#", "body_size": {}, "offset": {at}"#, MIB + 1)),
        ),
        (
            "everything to the end",
            block(&format!(r#", "body_size": {}, "offset": {at}"#, size - at)),
        ),
        ("the whole file", good_answer(&content)),
    ] {
        let _case = NamedCase(name.to_owned());
        let server = server_with(&content, move |_| vec![Act::Send(lie.clone())]);
        assert_refused(&server, 7, &content);
    }
}

#[test]
fn a_block_that_is_refused_for_now_comes_over_another_connection_or_later() {
    let content = content();
    for code in ["busy", "shutting_down", "timeout"] {
        let _case = NamedCase(code.to_owned());
        let (full, refusals) = (content.clone(), AtomicUsize::new(0));
        let server = server_with(&content, move |request| {
            match refusals.fetch_add(1, Ordering::SeqCst) {
                0 | 1 => vec![Act::Send(answer(error_header(code, "later"), b""))],
                _ => honest(&full, request),
            }
        });
        let folder = Scratch::new();
        fetch(&folder, &server).expect_code(0);
        assert_only(&folder, FILE, &content);
    }
}

#[test]
fn a_block_that_is_cut_off_again_and_again_ends_with_what_came_before_it() {
    let content = content();
    let cut = content.clone();
    let server = server_with(&content, move |request| {
        let mut bytes = honest_bytes(&cut, request);
        bytes.truncate(bytes.len() - MIB);
        vec![Act::Send(bytes), Act::Close]
    });
    assert_refused(&server, 4, &content);
}

#[test]
fn a_server_that_hashes_for_every_block_is_asked_for_the_rest_at_once() {
    let content = noise(5, 40 * MIB);
    let full = content.clone();
    let server = HostileServer::start(move |request| {
        let hashing = format!(
            r#"{{"filename":"{FILE}","total_size":0,"md5":"","body_size":0,"status":"hashing","done":7}}"#
        );
        [
            vec![Act::Send(answer(hashing, b""))],
            honest(&full, request),
        ]
        .concat()
    });
    let folder = Scratch::new();
    fetch(&folder, &server).expect_code(0);
    assert_only(&folder, FILE, &content);
    let asked = server.requests().len();
    // The first, what three connections were asked for before one answered, and the rest.
    assert!(asked <= 1 + 3 * 4 + 1, "{asked} requests");
}

#[test]
fn a_file_that_vanishes_between_two_blocks_is_not_found() {
    let content = content();
    let gone = Act::Send(answer(error_header("not_found", "gone"), b""));
    let server = server_with(&content, move |_| vec![gone.clone()]);
    assert_refused(&server, 11, &content);
}

#[test]
fn content_that_changes_between_two_blocks_is_begun_again_and_never_joined() {
    let (old, new) = (content(), noise(8, 7 * MIB + 1));
    let changed = AtomicUsize::new(0);
    let (before, after) = (old.clone(), new.clone());
    let server = HostileServer::start(move |request| {
        if is_fifth(request) {
            changed.store(1, Ordering::SeqCst);
        }
        match changed.load(Ordering::SeqCst) {
            0 => honest(&before, request),
            _ => honest(&after, request),
        }
    });
    let folder = Scratch::new();
    fetch(&folder, &server).expect_code(0);
    assert_only(&folder, FILE, &new);
}

#[test]
fn content_that_changes_with_every_block_has_an_end() {
    let content = content();
    let changed = Act::Send(answer(error_header("changed", "again"), b""));
    let server = server_with(&content, move |_| vec![changed.clone()]);
    assert_refused(&server, 13, &content);
    assert!(server.requests().len() < 100, "{}", server.requests().len());
}

fn md5(content: &[u8]) -> String {
    crate::harness::md5_hex(content)
}

/// What is asked for at once.
const MIB: usize = 1 << 20;

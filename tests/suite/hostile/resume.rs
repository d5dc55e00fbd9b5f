//! Resuming: after cuts anywhere, over partial files that an enemy prepared, and when the
//! source changed meanwhile.

use std::sync::{Arc, Barrier};
use std::thread;

use super::answers::{FILE, OLD, answer, file_header, good_answer, honest, honest_bytes, large};
use super::server::{Act, HostileServer, Request};
use super::visit::{assert_only, partial_name, visit};
use crate::harness::{Scratch, md5_hex, noise};

/// The answer to a request, cut so many bytes before its end.
fn cut_before_end(content: &[u8], request: &Request, missing: usize) -> Vec<u8> {
    let mut bytes = honest_bytes(content, request);
    bytes.truncate(bytes.len() - missing);
    bytes
}

#[track_caller]
fn assert_resumed(request: &Request, offset: usize, content: &[u8]) {
    assert_eq!(
        request.size("offset"),
        Some(offset as u64),
        "{}",
        request.json
    );
    assert_eq!(
        request.str("want_md5"),
        md5_hex(content),
        "{}",
        request.json
    );
}

#[test]
fn a_cut_anywhere_is_resumed_by_the_next_run() {
    let content = large();
    let size = content.len();
    for came in [1, 4_096, size / 2, size - 1] {
        let folder = Scratch::with_files([(FILE, OLD)]);
        let full = content.clone();
        let server = HostileServer::start(move |request| match request.number {
            0 => vec![
                Act::Send(cut_before_end(&full, request, size - came)),
                Act::Close,
            ],
            _ => honest(&full, request),
        });
        visit(folder.path(), ["--retry", "0", &server.source(FILE)]).expect_code(4);
        assert_eq!(folder.read(FILE), OLD, "cut after {came}");
        assert_eq!(
            folder.read(partial_name(FILE, &content)).len(),
            came,
            "kept of {came}"
        );

        visit(folder.path(), ["--retry", "0", &server.source(FILE)]).expect_code(0);
        assert_only(&folder, FILE, &content);
        let requests = server.requests();
        assert_eq!(requests.len(), 2, "cut after {came}");
        assert_resumed(&requests[1], came, &content);
    }
}

#[test]
fn a_cut_before_the_first_byte_or_after_the_last_needs_no_resume() {
    let content = large();
    for missing in [content.len(), 0] {
        let folder = Scratch::new();
        let full = content.clone();
        let server = HostileServer::start(move |request| match request.number {
            0 => vec![
                Act::Send(cut_before_end(&full, request, missing)),
                Act::Close,
            ],
            _ => honest(&full, request),
        });
        let output = visit(folder.path(), ["--retry", "0", &server.source(FILE)]);
        assert_eq!(
            output.code,
            if missing == 0 { 0 } else { 4 },
            "{}",
            output.stderr
        );
        visit(folder.path(), ["--retry", "0", &server.source(FILE)]).expect_code(0);
        assert_only(&folder, FILE, &content);
    }
}

#[test]
fn retries_of_one_run_resume_where_the_last_was_cut() {
    let content = large();
    let step = content.len() / 4;
    for end in [Act::Close, Act::Reset] {
        let folder = Scratch::new();
        let full = content.clone();
        let finish = end.clone();
        let server = HostileServer::start(move |request| {
            let rest = full.len() - request.size("offset").unwrap_or(0) as usize;
            match request.number {
                0..3 => vec![
                    Act::Send(cut_before_end(&full, request, rest - step)),
                    finish.clone(),
                ],
                _ => honest(&full, request),
            }
        });
        let source = server.source(FILE);
        visit(
            folder.path(),
            ["--retry", "5", "--retry-delay", "10ms", &source],
        )
        .expect_code(0);
        assert_only(&folder, FILE, &content);
        let requests = server.requests();
        assert_eq!(requests.len(), 4, "{end:?}");
        for (number, request) in requests.iter().enumerate().skip(1) {
            let offset = request.size("offset").unwrap_or(0) as usize;
            // A reset may take bytes with it that had arrived.
            assert!(offset <= number * step, "{end:?}: {}", request.json);
            if matches!(end, Act::Close) {
                assert_resumed(request, number * step, &content);
            }
        }
    }
}

#[test]
fn without_resume_a_rerun_begins_anew() {
    let content = large();
    let folder = Scratch::new();
    folder.write(partial_name(FILE, &content), &content[..1_000]);
    let full = content.clone();
    let server = HostileServer::start(move |request| honest(&full, request));
    visit(folder.path(), ["--no-resume", &server.source(FILE)]).expect_code(0);
    assert_eq!(folder.read(FILE), content);
    assert_eq!(server.requests()[0].size("offset").unwrap_or(0), 0);
}

#[test]
fn a_complete_partial_file_is_verified_and_placed() {
    let content = large();
    let folder = Scratch::with_files([(FILE, OLD)]);
    folder.write(partial_name(FILE, &content), &content);
    let full = content.clone();
    let server = HostileServer::start(move |request| honest(&full, request));
    visit(folder.path(), ["--retry", "0", &server.source(FILE)]).expect_code(0);
    assert_only(&folder, FILE, &content);
    assert_resumed(&server.requests()[0], content.len(), &content);
}

#[test]
fn a_partial_file_that_is_no_prefix_ends_in_a_right_file() {
    let content = large();
    let half = content.len() / 2;
    let mut first_bit = content[..half].to_vec();
    first_bit[0] ^= 1;
    let mut last_bit = content[..half].to_vec();
    last_bit[half - 1] ^= 0x80;
    let longer = [&content[..], b"and more"].concat();
    let planted = [
        ("the first bit flipped", first_bit),
        ("the last bit flipped", last_bit),
        ("noise", noise(1, half)),
        ("noise of the whole size", noise(2, content.len())),
        ("longer than the file", longer),
        ("twice as long", noise(3, 2 * content.len())),
        ("empty", Vec::new()),
    ];
    for (name, bytes) in planted {
        let folder = Scratch::with_files([(FILE, OLD)]);
        folder.write(partial_name(FILE, &content), bytes);
        let full = content.clone();
        let server = HostileServer::start(move |request| honest(&full, request));
        let output = visit(folder.path(), ["--retry", "0", &server.source(FILE)]);
        assert_eq!(output.code, 0, "{name}: {}", output.stderr);
        assert_only(&folder, FILE, &content);
        assert!(
            server.requests().len() <= 3,
            "{name}: asked {} times",
            server.requests().len()
        );
    }
}

#[test]
fn partial_files_of_other_contents_are_cleaned_and_of_other_names_kept() {
    let content = large();
    let folder = Scratch::new();
    folder.write(partial_name(FILE, OLD), &OLD[..5]);
    folder.write(partial_name(FILE, b"even older"), b"even");
    let neighbour = partial_name("neighbour.bin", OLD);
    folder.write(&neighbour, &OLD[..7]);
    let full = content.clone();
    let server = HostileServer::start(move |request| honest(&full, request));
    visit(folder.path(), ["--retry", "0", &server.source(FILE)]).expect_code(0);
    assert_eq!(folder.names(), [neighbour.as_str(), FILE]);
    assert_eq!(folder.read(FILE), content);
}

#[test]
fn a_source_replaced_between_two_halves_is_fetched_whole() {
    let (first, second) = (large(), noise(8, 1_200_000));
    let half = first.len() / 2;
    let folder = Scratch::with_files([(FILE, OLD)]);
    let new = second.clone();
    let server = HostileServer::start(move |request| match request.number {
        0 => vec![
            Act::Send(answer(file_header(&first, ""), &first[..half])),
            Act::Close,
        ],
        _ => honest(&new, request),
    });
    let source = server.source(FILE);
    visit(
        folder.path(),
        ["--retry", "3", "--retry-delay", "10ms", &source],
    )
    .expect_code(0);
    assert_only(&folder, FILE, &second);
}

#[test]
fn a_source_replaced_and_cut_off_again_is_resumed_in_its_new_content() {
    let (first, second) = (large(), noise(8, 1_200_000));
    let (half, third) = (first.len() / 2, second.len() / 3);
    let folder = Scratch::with_files([(FILE, OLD)]);
    let new = second.clone();
    let server = HostileServer::start(move |request| match request.number {
        0 => vec![
            Act::Send(answer(file_header(&first, ""), &first[..half])),
            Act::Close,
        ],
        2 => vec![
            Act::Send(answer(file_header(&new, ""), &new[..third])),
            Act::Close,
        ],
        _ => honest(&new, request),
    });
    let source = server.source(FILE);
    visit(
        folder.path(),
        ["--retry", "3", "--retry-delay", "10ms", &source],
    )
    .expect_code(0);
    assert_only(&folder, FILE, &second);
    let requests = server.requests();
    assert_eq!(requests.len(), 4);
    assert!(requests[2].size("offset").is_none(), "{}", requests[2].json);
    assert_resumed(&requests[3], third, &second);
}

#[test]
fn a_server_that_splices_two_contents_is_found_out() {
    let first = large();
    let half = first.len() / 2;
    let folder = Scratch::with_files([(FILE, OLD)]);
    let content = first.clone();
    let second = noise(9, first.len());
    let server = HostileServer::start(move |request| {
        let Some(offset) = request.size("offset") else {
            return match request.number {
                0 => vec![
                    Act::Send(answer(file_header(&content, ""), &content[..half])),
                    Act::Close,
                ],
                _ => honest(&content, request),
            };
        };
        // The header of the first content over the bytes of the second.
        let rest = &second[offset as usize..];
        let more = format!(r#", "body_size": {}, "offset": {offset}"#, rest.len());
        vec![Act::Send(answer(file_header(&content, &more), rest))]
    });
    let source = server.source(FILE);
    visit(
        folder.path(),
        ["--retry", "3", "--retry-delay", "10ms", &source],
    )
    .expect_code(0);
    assert_only(&folder, FILE, &first);
    let requests = server.requests();
    assert_resumed(&requests[1], half, &first);
    assert!(
        requests[2].is_fresh() && requests[2].size("offset").is_none(),
        "{}",
        requests[2].json
    );
}

#[test]
fn a_source_that_always_changes_ends_in_time() {
    let content = large();
    let half = content.len() / 2;
    let server = HostileServer::start(move |request| {
        if request.size("offset").is_some() {
            let text = super::answers::error_header("changed", "the file has changed");
            return vec![Act::Send(answer(text, b""))];
        }
        let content = noise(request.number as u64, 2 * half);
        vec![
            Act::Send(answer(file_header(&content, ""), &content[..half])),
            Act::Close,
        ]
    });
    let folder = Scratch::with_files([(FILE, OLD)]);
    let source = server.source(FILE);
    let output = visit(
        folder.path(),
        ["--retry", "4", "--retry-delay", "10ms", &source],
    );
    // The last attempt was cut off like all before it.
    assert_eq!(output.code, 4, "{}", output.stderr);
    assert_eq!(folder.read(FILE), OLD);
    assert!(
        server.requests().len() <= 20,
        "asked {} times",
        server.requests().len()
    );
    // One partial file at most: of the last content.
    assert!(folder.names().len() <= 2, "{:?}", folder.names());
}

#[test]
fn two_clients_that_fetch_one_file_at_once_do_not_disturb_each_other() {
    let content = large();
    let half = content.len() / 2;
    let folder = Scratch::with_files([(FILE, OLD)]);
    let both = Arc::new(Barrier::new(2));
    let full = content.clone();
    let server = HostileServer::start(move |_| {
        let both = Arc::clone(&both);
        vec![
            Act::Send(answer(file_header(&full, ""), &full[..half])),
            Act::meanwhile(move || {
                both.wait();
            }),
            Act::Send(full[half..].to_vec()),
        ]
    });
    let run = || visit(folder.path(), ["--retry", "0", &server.source(FILE)]);
    let outputs = thread::scope(|scope| {
        let runs = [scope.spawn(run), scope.spawn(run)];
        runs.map(|run| run.join().expect("a run"))
    });
    for output in outputs {
        output.expect_code(0);
    }
    assert_only(&folder, FILE, &content);
}

#[test]
fn a_wanted_digest_that_the_server_does_not_have_is_refused() {
    let wanted = md5_hex(b"something else");
    let content = large();
    let full = content.clone();
    let honest_server = HostileServer::start(move |request| honest(&full, request));
    let folder = Scratch::new();
    visit(
        folder.path(),
        [
            "--retry",
            "0",
            "--md5",
            &wanted,
            &honest_server.source(FILE),
        ],
    )
    .expect_code(13);
    assert_eq!(folder.names(), [""; 0]);
    assert_eq!(honest_server.requests()[0].str("want_md5"), wanted);

    let liar = HostileServer::repeating(vec![Act::Send(good_answer(&content))]);
    visit(
        folder.path(),
        ["--retry", "0", "--md5", &wanted, &liar.source(FILE)],
    )
    .expect_code(10);
    assert_eq!(folder.names(), [""; 0]);
}

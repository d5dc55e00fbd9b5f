//! The table of PROTOCOL.md, section 7: every key of an answer that contradicts the request, or
//! the rest of the answer, is a protocol violation, and nothing of it is placed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use serde_json::Value;

use super::answers::{CONTENT, FILE, OLD, answer, file_header, header, honest, honest_bytes};
use super::server::{Act, HostileServer, Request};
use super::trees::{file, listing, other, page, serve};
use super::visit::Expected::{Fetched, Refused};
use super::visit::{PROMPT, assert_one_clear_line, assert_only, case, play_small, visit};
use crate::cases::NamedCase;
use crate::harness::{Program, Scratch, frame, md5_hex};

/// The header of a file with further keys, and the file.
fn more(more: &str) -> Vec<u8> {
    answer(file_header(CONTENT, &format!(", {more}")), CONTENT)
}

/// A header after which nothing comes.
fn bare(text: String) -> Vec<u8> {
    answer(text, b"")
}

#[test]
fn an_answer_to_get_with_a_key_of_another_operation_is_refused() {
    let rows = [
        ("an exit status", r#""exit_status": 0"#),
        ("next", r#""next": "x""#),
        ("last", r#""last": true"#),
        ("recursive", r#""recursive": true"#),
        ("hidden", r#""hidden": 3"#),
        ("a directory", r#""type": "dir""#),
        ("a link", r#""type": "symlink""#),
        (
            "hello",
            r#""ft": 1, "ops": ["get"], "digests": ["md5"], "writable": false"#,
        ),
        ("an offset", r#""offset": 1, "body_size": 22"#),
        ("a part", r#""offset": 0, "body_size": 22"#),
        ("no bytes", r#""body_size": 0"#),
    ];
    let rows = rows.map(|(name, keys)| case(name, vec![Act::Send(more(keys))], Refused(7)));
    play_small(rows.to_vec());
}

#[test]
fn odd_keys_that_contradict_nothing_are_accepted() {
    let rows = [
        ("a file that says so", r#""type": "file""#),
        ("offset 0", r#""offset": 0"#),
        ("the size twice", r#""body_size": 23"#),
        (
            "no flag is set",
            r#""match": false, "last": false, "hidden": 0"#,
        ),
        ("an id", r#""id": 1"#),
        ("a key of tomorrow", r#""piece_size": 7, "x": {"y": []}"#),
        (
            "the first instant",
            r#""mtime": "0001-01-01T00:00:00.000000000Z""#,
        ),
    ];
    let rows = rows.map(|(name, keys)| case(name, vec![Act::Send(more(keys))], Fetched));
    play_small(rows.to_vec());
}

#[test]
fn an_error_or_a_status_beside_a_result_is_refused() {
    let error = r#""error": {"code": "not_found", "message": "no"}"#;
    let status = r#""status": "hashing", "done": 0, "body_size": 0"#;
    let rows = [
        ("error and status", format!("{error}, {status}")),
        ("error and match", format!(r#"{error}, "match": true"#)),
        ("error and offset", format!(r#"{error}, "offset": 0"#)),
        ("error and bytes", format!(r#"{error}, "body_size": 3"#)),
        ("status and match", format!(r#"{status}, "match": true"#)),
        ("status and offset", format!(r#"{status}, "offset": 0"#)),
        (
            "a command runs",
            r#""status": "running", "body_size": 0"#.to_owned(),
        ),
    ];
    let rows = rows.map(|(name, keys)| {
        let text = header(FILE, 0, "", &format!(", {keys}"));
        case(
            name,
            vec![Act::Send(answer(text, b"xyz")), Act::Stall],
            Refused(7),
        )
    });
    play_small(rows.to_vec());
}

/// Asks for `CONTENT` by its digest where something else is.
fn ask_by_digest(server: &HostileServer, folder: &Scratch) -> crate::harness::Output {
    let md5 = md5_hex(CONTENT);
    visit(
        folder.path(),
        ["--retry", "0", "--md5", &md5, &server.source(FILE)],
    )
}

#[test]
fn a_match_for_another_content_than_the_one_asked_for_is_refused() {
    let (old, new) = (md5_hex(OLD), md5_hex(CONTENT));
    let matched = |size: usize, md5: &str| {
        let more = r#", "match": true, "body_size": 0"#;
        bare(header(FILE, size as u64, md5, more))
    };
    let rows = [
        ("of the file here", matched(OLD.len(), &old)),
        ("of the content", matched(CONTENT.len(), &new)),
        ("of nothing", matched(0, "")),
    ];
    for (name, bytes) in rows {
        let _case = NamedCase(name.to_owned());
        let server = HostileServer::repeating(vec![Act::Send(bytes)]);
        let folder = Scratch::with_files([(FILE, OLD)]);
        folder.write("list", format!("{new}  {FILE}\n"));
        let output = ask_by_digest(&server, &folder).expect_code(7);
        assert_one_clear_line(&output, &output.stderr);
        // What is here cannot be what is asked for, so that the server is not told of it.
        assert_eq!(server.requests()[0].str("have_md5"), "");
        assert_eq!(folder.read(FILE), OLD);
        let args = ["--retry", "0", "-i"].map(Into::into);
        let list = folder.join("list").into_os_string();
        let source = [server.source("").into()];
        let receipts = [
            "--receipts".into(),
            folder.join("receipts").into_os_string(),
        ];
        let args = args.into_iter().chain([list]).chain(source).chain(receipts);
        visit(folder.path(), args).expect_code(7);
        assert_eq!(folder.read("receipts"), b"", "{name}");
        assert_eq!(folder.read(FILE), OLD);
    }
    // The twin: it is here already, or it comes.
    let server = HostileServer::start(|request| honest(CONTENT, request));
    let folder = Scratch::with_files([(FILE, OLD)]);
    ask_by_digest(&server, &folder).expect_code(0);
    assert_only(&folder, FILE, CONTENT);
    ask_by_digest(&server, &folder).expect_code(0);
}

#[test]
fn another_content_than_the_one_asked_for_is_not_placed() {
    // A server that knows the three keys only cannot refuse it: no protocol is broken.
    let server =
        HostileServer::repeating(vec![Act::Send(answer(file_header(b"evil", ""), b"evil"))]);
    let folder = Scratch::with_files([(FILE, OLD)]);
    let output = ask_by_digest(&server, &folder);
    assert!(![0, 7].contains(&output.code), "{}", output.stderr);
    assert_only(&folder, FILE, OLD);
}

/// Interim headers with this `done` of this `total_size`, one after the other.
fn hashing(steps: impl IntoIterator<Item = (u64, u64)>) -> Vec<u8> {
    let one = |(done, total_size)| {
        let more = format!(r#", "body_size": 0, "status": "hashing", "done": {done}"#);
        frame(header(FILE, total_size, "", &more))
    };
    steps.into_iter().flat_map(one).collect()
}

#[test]
fn a_digest_that_is_further_than_its_file_or_begun_for_ever_is_refused() {
    let rows = [
        ("done beyond the size", hashing([(24, 23)])),
        ("done beyond every size", hashing([(u64::MAX >> 1, 23)])),
        (
            "back and forth",
            hashing((0..200).map(|step| (9 - step % 2, 23))),
        ),
        (
            "a file that only grows",
            hashing((1..200).map(|step| (step, step + 1))),
        ),
        (
            "a file of no known size that is begun for ever",
            hashing((1..200).map(|step| (9 - step % 2, 0))),
        ),
        (
            "a file that only shrinks",
            hashing((1..200).map(|step| (0, 200 - step))),
        ),
    ];
    let rows = rows.map(|(name, bytes)| case(name, vec![Act::Send(bytes), Act::Stall], Refused(7)));
    play_small(rows.to_vec());
}

#[test]
fn a_digest_that_is_begun_anew_as_its_file_changes_is_waited_for() {
    let good = |bytes: Vec<u8>| [bytes, super::answers::good_answer(CONTENT)].concat();
    let rows = [
        ("twice the same", hashing([(9, 23), (9, 23)])),
        ("to the end", hashing([(0, 23), (23, 23)])),
        ("anew twice", hashing([(9, 23), (3, 23), (20, 23), (0, 23)])),
        ("of another size", hashing([(9, 23), (2, 30), (3, 40)])),
    ];
    let rows = rows.map(|(name, bytes)| case(name, vec![Act::Send(good(bytes))], Fetched));
    play_small(rows.to_vec());
}

#[test]
fn a_digest_that_grows_by_a_byte_at_a_time_does_not_keep_a_client_waiting() {
    let pause = Act::Pause(Duration::from_millis(100));
    let steps = (1..900).flat_map(|done| [Act::Send(hashing([(done, 1 << 60)])), pause.clone()]);
    let server = HostileServer::repeating(steps.collect());
    let folder = Scratch::new();
    let args = ["--retry", "0", "--timeout", "1", &server.source(FILE)];
    let output = visit(folder.path(), args).expect_code(14);
    assert!(output.elapsed < PROMPT, "{:?}", output.elapsed);
}

#[test]
fn the_output_of_a_command_must_be_one() {
    let size = CONTENT.len() as u64;
    let answered = |more: &str| header("load", size, &md5_hex(CONTENT), more);
    let rows = [
        ("no exit status", answered("")),
        (
            "a match",
            answered(r#", "exit_status": 0, "match": true, "body_size": 0"#),
        ),
        ("an offset", answered(r#", "exit_status": 0, "offset": 0"#)),
        ("a part", answered(r#", "exit_status": 0, "body_size": 3"#)),
        ("a page", answered(r#", "exit_status": 0, "last": true"#)),
        (
            "a hash",
            header("load", 0, "", r#", "status": "hashing", "body_size": 0"#),
        ),
        (
            "another name",
            header("lord", size, &md5_hex(CONTENT), r#", "exit_status": 0"#),
        ),
    ];
    let run = |text: String| {
        let server = HostileServer::repeating(vec![Act::Send(answer(text, CONTENT))]);
        let run = Program::ftget().args(["--retry", "0", "-o", "-"]);
        run.arg(server.source("@load")).run()
    };
    for (name, text) in rows {
        let output = run(text);
        assert_eq!(output.code, 7, "{name}: {}", output.stderr);
        assert_eq!(output.stdout, b"", "{name}");
    }
    let honest = run(answered(r#", "exit_status": 0"#)).expect_code(0);
    assert_eq!(honest.stdout, CONTENT);
}

/// A server whose listing of `d` has these keys in the header of its only page.
fn listing_with(body: String, keys: &'static str) -> HostileServer {
    HostileServer::start(move |request| {
        let text = header("d", body.len() as u64, &md5_hex(&body), keys);
        match request.str("op") {
            "list" => vec![Act::Send(answer(text, body.as_bytes()))],
            _ => vec![Act::Send(serve(&[], request))],
        }
    })
}

#[test]
fn a_page_with_keys_of_another_answer_is_refused() {
    let keys = [
        r#", "last": true, "exit_status": 0"#,
        r#", "last": true, "match": true"#,
        r#", "last": true, "offset": 0"#,
        r#", "last": true, "type": "file""#,
        r#", "last": true, "recursive": true"#,
        r#", "last": true, "next": "x""#,
        r#", "last": true, "body_size": 0"#,
        r#", "last": true, "status": "hashing", "body_size": 0"#,
        r#", "last": true, "error": {"code": "not_found", "message": "no"}"#,
        "",
    ];
    for keys in keys {
        let _case = NamedCase(keys.to_owned());
        let server = listing_with(format!("{}\n", file("d/a")), keys);
        let list = Program::ftget().args(["--retry", "0", "--list"]);
        let output = list.arg(server.source("d")).run().expect_code(7);
        assert_eq!(output.stdout, b"");
    }
    let keys = r#", "last": true, "type": "dir", "colour": 7"#;
    let server = listing_with(format!("{}\n", file("d/a")), keys);
    let list = Program::ftget().args(["--list"]).arg(server.source("d"));
    assert_eq!(list.run().expect_code(0).text(), "a\n");
}

#[test]
fn entries_that_contradict_themselves_end_the_listing() {
    let md5 = md5_hex("x");
    let error = serde_json::json!({"code": "forbidden", "message": "no"});
    let rows = [
        other("d/z", "dir", serde_json::json!({ "md5": md5 })),
        other("d/z", "symlink", serde_json::json!({ "md5": md5 })),
        other("d/z", "other", serde_json::json!({ "md5": md5 })),
        other("d/z", "file", serde_json::json!({"target": "a"})),
        other("d/z", "dir", serde_json::json!({"target": "a"})),
        other(
            "d/z",
            "file",
            serde_json::json!({"md5": md5, "error": error}),
        ),
        other(
            "d/z",
            "symlink",
            serde_json::json!({"target": "a", "error": error}),
        ),
    ];
    for line in rows {
        let _case = NamedCase(line.clone());
        let server = listing(vec![vec![file("d/a")], vec![line]]);
        let (output, here) = super::trees::fetch(&server, &[]);
        assert_eq!(output.code, 7, "{}", output.stderr);
        assert_eq!(here, ["d/", "d/a = of d/a"]);
    }
}

#[test]
fn pages_whose_next_is_too_long_or_leads_back_end_the_listing() {
    let long = "n".repeat(8 * 1024 + 1);
    let nexts: [&dyn Fn(&str) -> String; 2] = [&|_| long.clone(), &|after| match after {
        "one" => "two".to_owned(),
        _ => "one".to_owned(),
    }];
    for (number, next) in nexts.into_iter().enumerate() {
        let _case = NamedCase(number.to_string());
        let answers =
            ["", "one", "two"].map(|after| (after, page(&[file("d/a")], Some(&next(after)))));
        let server = HostileServer::start(move |request: &Request| match request.str("op") {
            "list" => {
                let after = request.str("after");
                let found = answers.iter().find(|(known, _)| *known == after);
                found.map_or(vec![Act::Close], |(_, page)| vec![Act::Send(page.clone())])
            }
            _ => vec![Act::Send(serve(&[], request))],
        });
        let (output, _) = super::trees::fetch(&server, &[]);
        output.expect_code(7);
    }
}

#[test]
fn a_look_that_is_answered_as_something_else_is_refused() {
    let size = CONTENT.len() as u64;
    let keys = [
        r#""type": "file""#,
        r#""type": "file", "body_size": 0, "match": true"#,
        r#""type": "file", "body_size": 0, "offset": 0"#,
        r#""type": "file", "body_size": 0, "last": true"#,
        r#""type": "file", "body_size": 0, "exit_status": 0"#,
        r#""type": "dir", "body_size": 0"#,
    ];
    for keys in keys {
        let _case = NamedCase(keys.to_owned());
        let text = header(FILE, size, &md5_hex(CONTENT), &format!(", {keys}"));
        let server = HostileServer::repeating(vec![Act::Send(answer(text, CONTENT)), Act::Stall]);
        let folder = Scratch::with_files([(FILE, CONTENT)]);
        let args = ["--retry", "0", "--check", &server.source(FILE)];
        visit(folder.path(), args).expect_code(7);
    }
    let server = HostileServer::start(|request| honest(CONTENT, request));
    let folder = Scratch::with_files([(FILE, CONTENT)]);
    visit(folder.path(), ["--check", &server.source(FILE)]).expect_code(0);
}

#[test]
fn a_content_that_goes_on_must_be_the_one_that_began() {
    let content = super::answers::large();
    let half = content.len() / 2;
    let (size, md5) = (content.len() as u64, md5_hex(&content));
    let rest = |size: u64, md5: &str| {
        let more = format!(r#", "body_size": {}, "offset": {half}"#, size - half as u64);
        answer(header(FILE, size, md5, &more), &content[half..])
    };
    for (name, second) in [
        ("another size", rest(size + 5, &md5)),
        ("another digest", rest(size, &md5_hex(OLD))),
    ] {
        let begun = answer(file_header(&content, ""), &content[..half]);
        let server = HostileServer::start(move |request| match request.size("offset") {
            None => vec![Act::Send(begun.clone()), Act::Reset],
            Some(_) => vec![Act::Send(second.clone()), Act::Stall],
        });
        let args = ["--retry", "1", "--retry-delay", "1ms", "-o", "-"];
        let output = Program::ftget().args(args).arg(server.source(FILE)).run();
        // How much came before the reset is up to the kernel; if it was nothing, it is asked anew.
        if server
            .requests()
            .iter()
            .any(|request| request.size("offset") == Some(half as u64))
        {
            assert_eq!(output.code, 7, "{name}: {}", output.stderr);
        } else {
            assert_ne!(output.code, 0, "{name}: {}", output.stderr);
        }
    }
}

#[test]
fn the_word_of_a_server_changes_no_file_that_has_other_names() {
    let lie = r#", "match": true, "body_size": 0, "mode": "0777", "mtime": "2001-01-01T00:00:00.000000000Z""#;
    let lie = answer(header(FILE, OLD.len() as u64, &md5_hex(OLD), lie), b"");
    let server = HostileServer::repeating(vec![Act::Send(lie)]);
    for is_linked in [true, false] {
        let (here, kept) = (Scratch::with_files([(FILE, OLD)]), Scratch::new());
        let path = here.join(FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
        if is_linked {
            fs::hard_link(&path, kept.join("kept")).expect("another name");
        }
        let facts = || {
            let facts = fs::metadata(&path).expect("a file");
            (facts.mode() & 0o7777, facts.mtime(), facts.ctime_nsec())
        };
        let before = facts();
        let output = visit(here.path(), [&server.source(FILE)]).expect_code(0);
        assert_eq!(output.stderr, "");
        if is_linked {
            assert_eq!(facts(), before);
        } else {
            assert_eq!((facts().0 & 0o700, facts().1), (0o700, 978_307_200));
        }
    }
}

#[test]
fn every_honest_answer_is_accepted_whatever_was_asked() {
    let server = HostileServer::start(|request| {
        let mut acts = honest(CONTENT, request);
        if request.str("op").is_empty() {
            let bytes = honest_bytes(CONTENT, request);
            acts = vec![Act::Bytewise(bytes)];
        }
        acts
    });
    let folder = Scratch::new();
    folder.write(FILE, OLD);
    for args in [&[][..], &["--split", "4"], &["--if-exists", "overwrite"]] {
        let args = args.iter().map(|arg| (*arg).to_owned());
        visit(folder.path(), args.chain([server.source(FILE)])).expect_code(0);
        assert_only(&folder, FILE, CONTENT);
    }
    let asked: Vec<Value> = server
        .requests()
        .into_iter()
        .map(|asked| asked.json)
        .collect();
    assert!(asked.iter().any(|asked| asked["have_md5"] != Value::Null));
}

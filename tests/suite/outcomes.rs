//! What `ftget` says it did: exit codes, JSON Lines, and what becomes of a file that exists.

use std::ffi::OsString;
use std::fs;
use std::net::{SocketAddr, TcpStream};

use rustix::net::{AddressFamily, SocketType, bind, socket};

use crate::cases::{CONTENT, FILE, NamedCase};
use crate::harness::{Program, Scratch, TestServer, md5_hex, noise};
use crate::place::{Place, event};

/// The flags, what lies there before, the exit code, and what lies there afterwards.
type PolicyCase<'a> = (&'a [&'a str], &'a [u8], i32, &'a [(&'a str, &'a [u8])]);

#[test]
fn what_happens_to_an_existing_file_is_chosen() {
    let old = b"old content".as_slice();
    let cases: [PolicyCase<'_>; 9] = [
        (&[], old, 0, &[(FILE, CONTENT)]),
        (&["--if-exists", "update"], old, 0, &[(FILE, CONTENT)]),
        (&["--if-exists", "update"], CONTENT, 0, &[(FILE, CONTENT)]),
        (&["--if-exists", "overwrite"], old, 0, &[(FILE, CONTENT)]),
        (
            &["--if-exists", "overwrite"],
            CONTENT,
            0,
            &[(FILE, CONTENT)],
        ),
        (&["--if-exists", "skip"], old, 0, &[(FILE, old)]),
        (&["--if-exists", "error"], old, 12, &[(FILE, old)]),
        (&["--if-exists", "error"], CONTENT, 12, &[(FILE, CONTENT)]),
        (
            &["--if-exists", "rename"],
            old,
            0,
            &[(FILE, old), ("a.txt.1", CONTENT)],
        ),
    ];
    for (flags, before, code, after) in cases {
        let _case = NamedCase(format!("{flags:?} over {}", before.escape_ascii()));
        let place = Place::with([(FILE, CONTENT)]);
        place.here.write(FILE, before);
        place
            .ftget()
            .args(flags)
            .arg(place.server.source(FILE))
            .run()
            .expect_code(code);
        place.assert_only(after);
    }
}

#[test]
fn a_file_that_is_there_already_is_a_success_and_says_so() {
    let content = noise(1, 500_000);
    let place = Place::with([("big", &content)]);
    let run = || {
        place
            .ftget()
            .arg("--json")
            .arg(place.server.source("big"))
            .run()
            .expect_code(0)
            .json_lines()
    };
    let first = run();
    assert_eq!(event(&first, "done")["action"], "fetched", "{first:?}");
    let modified = fs::metadata(place.here.join("big"))
        .and_then(|meta| meta.modified())
        .expect("an mtime");
    let second = run();
    assert_eq!(event(&second, "done")["action"], "identical", "{second:?}");
    assert_eq!(
        fs::metadata(place.here.join("big"))
            .and_then(|meta| meta.modified())
            .expect("an mtime"),
        modified
    );
}

#[test]
fn json_lines_tell_what_was_done() {
    let place = Place::with([("dir/a.txt", CONTENT)]);
    let sources = [
        place.server.source("dir/a.txt"),
        place.server.source("none"),
    ];
    let output = place
        .ftget()
        .arg("--json")
        .args(sources)
        .run()
        .expect_code(11);
    let events = output.json_lines();
    let done = event(&events, "done");
    assert_eq!(done["v"], 1, "{done}");
    assert!(
        done["filename"]
            .as_str()
            .is_some_and(|name| name.ends_with("a.txt")),
        "{done}"
    );
    assert_eq!(
        (done["total_size"].as_u64(), done["md5"].as_str()),
        (Some(9), Some(md5_hex(CONTENT).as_str())),
        "{done}"
    );
    assert_eq!(
        (done["action"].as_str(), done["attempts"].as_u64()),
        (Some("fetched"), Some(1)),
        "{done}"
    );
    assert!(done["secs"].is_number(), "{done}");
    let error = event(&events, "error");
    assert_eq!(
        (error["code"].as_i64(), error["reason"].as_str()),
        (Some(11), Some("not_found")),
        "{error}"
    );
    assert!(error["message"].is_string(), "{error}");
    assert_eq!(
        events.last().expect("events")["event"],
        "summary",
        "{events:?}"
    );
    place.assert_only(&[(FILE, CONTENT)]);
}

#[test]
fn every_failure_has_its_exit_code_and_one_clear_line() {
    let place = Place::with([(FILE, CONTENT), ("dir/x", b"x")]);
    // Bound, and nobody listens: no other program gets it meanwhile.
    let bound = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&bound, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    let bound = TcpStream::from(bound);
    let unused = bound.local_addr().expect("an address");
    let cases: [(OsString, i32, &str); 6] = [
        (place.server.source("none"), 11, "none"),
        (place.server.source("dir"), 2, "dir"),
        (place.server.source("a.txt/x"), 2, "a.txt/x"),
        (format!("{unused}/a.txt").into(), 4, "refused"),
        // No resolver is asked for a name with an empty label.
        ("no..host:a.txt".into(), 4, "no..host"),
        (place.server.source("../x"), 2, "x"),
    ];
    for (source, code, word) in cases {
        let _case = NamedCase(source.to_string_lossy().into_owned());
        let output = place
            .ftget()
            .args(["--retry", "0"])
            .arg(source)
            .run()
            .expect_code(code);
        assert!(
            output.stderr.contains(word),
            "{word:?} is missing: {}",
            output.stderr
        );
        let lines: Vec<&str> = output
            .stderr
            .lines()
            .filter(|line| !line.trim_start().starts_with("hint:"))
            .collect();
        assert_eq!(lines.len(), 1, "one line, besides hints: {}", output.stderr);
        place.assert_only(&[]);
    }
    for usage in [
        &[][..],
        &["word"],
        &["--no-such-flag"],
        &["-o", "x", "127.0.0.1:9/a", "127.0.0.1:9/b"],
        &["http://127.0.0.1:9/a"],
    ] {
        let _case = NamedCase(usage.join(" "));
        place.ftget().args(usage).run().expect_code(2);
        place.assert_only(&[]);
    }
}

#[test]
fn a_failure_among_successes_is_never_hidden() {
    let place = Place::with([("a", "a"), ("b", "b")]);
    let sources = ["a", "none", "b"].map(|name| place.server.source(name));
    let output = place.ftget().args(&sources).run().expect_code(11);
    assert!(output.stderr.contains("none"), "{}", output.stderr);
    place.assert_only(&[("a", b"a"), ("b", b"b")]);
    // Two causes: 23.
    place.root.make_dir("dir");
    let sources = ["a", "none", "dir", "b"].map(|name| place.server.source(name));
    place.ftget().args(&sources).run().expect_code(23);
}

#[test]
fn two_sources_for_one_local_name_are_refused_before_the_first_byte() {
    let place = Place::with([("a/x", "1"), ("b/x", "2")]);
    place
        .ftget()
        .args([place.server.source("a/x"), place.server.source("b/x")])
        .run()
        .expect_code(2);
    place.assert_only(&[]);
}

#[test]
fn what_is_said_of_a_command_names_it_as_it_was_asked_for() {
    let root = Scratch::with_files([("@sums 1", "a file of that name")]);
    let publish = [
        "--publish",
        "sad=sh -c 'echo x; exit 4'",
        "--publish",
        "gib=head -c 80M /dev/zero",
    ];
    let server = TestServer::builder(root.path()).args(publish).start();
    let run =
        |name: &str, args: &[&str]| Program::ftget().args(args).arg(server.source(name)).run();
    let address = server.source("");
    let address = address.to_string_lossy();

    let missing = run("@sums 1", &[]).expect_code(11);
    let told: Vec<&str> = missing.stderr.lines().collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with(&format!("ftget: {address}@sums 1: server says not_found")),
        "{told:?}"
    );
    let url = format!("ft://{address}@sums%201");
    assert_eq!(
        told[1],
        format!("hint: @NAME runs a command; a file of that name is {url}")
    );
    let file = Program::ftget()
        .args(["-o", "-", &url])
        .run()
        .expect_code(0);
    assert_eq!(file.text(), "a file of that name");
    assert_eq!(run("sums 1", &[]).expect_code(11).stderr.lines().count(), 1);

    let sad = run("@sad", &["-v"]).expect_code(1).stderr;
    assert!(sad.contains("ftget: @sad: fetched, 2 bytes"), "{sad}");
    assert!(sad.contains("ftget: @sad: command ended with 4"), "{sad}");

    // The server's limit, not a full disk.
    let refused = run("@gib", &[]).expect_code(8).stderr;
    assert!(refused.contains("@gib: server says too_large"), "{refused}");
    assert_eq!(refused.lines().count(), 1, "{refused}");
}

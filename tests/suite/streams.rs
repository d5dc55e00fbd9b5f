//! Standard streams as parents leave them: non-blocking, sockets, and read by nobody.

use std::path::Path;

use crate::harness::{Output, Program, noise};
use crate::place::Place;

/// The prefix that runs a program with such a stream (`tests/harness/streams.py`).
fn with(stream: &str, kind: &str, how: &str) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/harness/streams.py");
    let script = script.to_string_lossy().into_owned();
    ["python3", &script, stream, kind, how]
        .map(String::from)
        .into()
}

fn long_names() -> impl Iterator<Item = (String, Vec<u8>)> {
    let long = "n".repeat(200);
    (0..100).map(move |number| (format!("d/{long}{number}"), vec![b'1']))
}

#[test]
fn a_non_blocking_output_is_waited_for() {
    let large = ("large".to_owned(), noise(1, 1_000_000));
    let place = Place::with(long_names().chain([large]));
    let source = |name| place.server.source(name);
    let ftget = |args: &[&str], name| place.ftget().args(args).arg(source(name));
    let cases = || {
        [
            ftget(&["-o", "-"], "large"),
            ftget(&["--spool", "-o", "-"], "large"),
            ftget(&["--list=md5sum", "-r"], "d"),
            ftget(&["--list=long"], "d"),
            ftget(&["-n", "-r"], "d"),
            ftget(&["--check", "-r"], "d"),
            Program::ftget().arg("--help"),
            Program::ftget().arg("--man"),
            Program::ftserve().args(["--completions", "bash"]),
        ]
    };
    let expected: Vec<Output> = cases().into_iter().map(Program::run).collect();
    for kind in ["pipe", "socket"] {
        let running = cases().map(|case| case.through(with("stdout", kind, "slow")).start());
        for (number, running) in running.into_iter().enumerate() {
            let (output, expected) = (running.wait(), &expected[number]);
            assert_eq!(
                output.code, expected.code,
                "{number} {kind}: {}",
                output.stderr
            );
            assert!(
                output.stdout == expected.stdout,
                "{number} {kind}: {}",
                output.text()
            );
        }
    }
    let events = ftget(&["--json", "-r", "-d", "o"], "d");
    let events = events.through(with("stdout", "pipe", "slow")).run();
    assert_eq!(events.expect_code(0).json_lines().len(), 100 + 1);
}

#[test]
fn a_non_blocking_list_is_waited_for() {
    for kind in ["pipe", "socket"] {
        for args in [
            &["-i", "-"][..],
            &["-i", "/dev/stdin"],
            &["-i", "/proc/self/fd/0"],
            &["-i", "-", "--preflight"],
            &["-i", "-", "--max-time", "60"],
        ] {
            let place = Place::with([("a", "1"), ("b", "2")]);
            let ftget = place.ftget().args(args).arg(place.server.source(""));
            let ftget = ftget.through(with("stdin", kind, "slow"));
            ftget.input("a\nb\n").run().expect_code(0);
            place.assert_only(&[("a", b"1"), ("b", b"2")]);
        }
        let place = Place::with([("a", "1"), ("b", "2")]);
        let ftget = place.ftget().args(["-r", "--exclude-from", "-"]);
        let ftget = ftget.arg(place.server.source(""));
        let ftget = ftget.through(with("stdin", kind, "slow"));
        ftget.input("b\n").run().expect_code(0);
        place.assert_only(&[("a", b"1")]);
    }
}

#[test]
fn a_non_blocking_standard_error_is_waited_for_a_moment() {
    let place = Place::with([("a", "1")]);
    for kind in ["pipe", "socket"] {
        let ftget = place.ftget().arg(place.server.source("nothing"));
        let output = ftget.through(with("stderr", kind, "slow")).run();
        assert!(output.text().contains("not_found"), "{}", output.text());
        output.expect_code(11);
    }
}

#[test]
fn a_standard_error_that_nobody_reads_holds_up_no_end() {
    let place = Place::with([("a", "1")]);
    let missing = (0..50).map(|number| place.server.source(format!("nothing-{number}")));
    let ftget = place.ftget().args(missing);
    ftget
        .through(with("stderr", "pipe", "unread"))
        .run()
        .expect_code(11);
    let ftserve = Program::ftserve().args(["--bind", "127.0.0.1:0", "--index", "memory"]);
    let ftserve = ftserve.arg(place.root.path()).args(["--", "true"]);
    ftserve
        .through(with("stderr", "pipe", "unread"))
        .run()
        .expect_code(0);
}

#[test]
fn lines_for_each_file_reach_a_stream_that_is_slow() {
    let place = Place::with(long_names());
    for (kind, name) in [("pipe", "-"), ("socket", "-"), ("socket", "/dev/stdout")] {
        let ftserve = Program::ftserve().args(["--bind", "127.0.0.1:0", "--index", "memory"]);
        let ftserve = ftserve.args(["--access-log", name]).arg(place.root.path());
        let fetch = r#"exec "$0" -q -r -d "$1" "$FTSERVE_ADDR/d""#;
        let ftserve = ftserve.args(["--", "sh", "-c", fetch, env!("CARGO_BIN_EXE_ftget")]);
        let ftserve = ftserve.arg(place.here.join(format!("{kind}{}", name.len())));
        let output = ftserve
            .through(with("stdout", kind, "slow"))
            .run()
            .expect_code(0);
        let files = output.text().matches("/nnn").count();
        assert_eq!(files, 100, "{kind} {name}: {}", output.text());
    }
    for (kind, name) in [("pipe", "/dev/stdout"), ("socket", "/dev/fd/1")] {
        let ftget = place
            .ftget()
            .args(["-q", "-r", "-d", kind, "--receipts", name]);
        let ftget = ftget.arg(place.server.source("d"));
        let output = ftget
            .through(with("stdout", kind, "slow"))
            .run()
            .expect_code(0);
        assert_eq!(output.json_lines().len(), 100, "{kind} {name}");
    }
}

#[test]
fn a_server_whose_standard_error_is_gone_serves_all_the_same() {
    let place = Place::with([("a", "1")]);
    for kind in ["pipe", "socket"] {
        let ftserve = Program::ftserve().args(["--bind", "127.0.0.1:0", "--index", "memory"]);
        let ftserve = ftserve
            .arg(place.root.path())
            .args(["--", "sh", "-c", "exit 7"]);
        ftserve
            .through(with("stderr", kind, "closed"))
            .run()
            .expect_code(7);
    }
}

#[test]
fn a_configuration_comes_from_a_socket_that_is_not_ready() {
    for name in ["/dev/stdin", "/dev/fd/0"] {
        let ftserve = Program::ftserve().args(["--check-config", "--config", name]);
        let ftserve = ftserve.through(with("stdin", "socket", "slow"));
        let checked = ftserve.input("port = 7\n").run().expect_code(0);
        assert_eq!(checked.text(), "the options are right\n");
    }
}

#[test]
fn a_stream_that_was_closed_is_refused_where_it_is_needed() {
    let place = Place::with([("a", "1")]);
    let closing = |how: &str| ["sh", "-c", &format!("exec \"$@\" {how}"), "sh"].map(str::to_owned);
    for args in [&["-i", "-"][..], &["-r", "--exclude-from", "-"]] {
        let client = place.ftget().through(closing("<&-"));
        let client = client.args(args).args(["-d", "o"]);
        let refused = client.arg(place.server.source("")).run();
        assert!(
            refused.code != 0 && refused.stderr.contains("it is closed"),
            "{args:?}: {}",
            refused.stderr
        );
    }
    for more in [&["--check-config"][..], &["--", "true"]] {
        let server = Program::ftserve().through(closing(">&-"));
        let server = server.args(["-q", "-b", "127.0.0.1:0", "--access-log", "-"]);
        let refused = server.arg(place.root.path()).args(more).run();
        let refused = refused.expect_code(3);
        let said = "access log standard output cannot be opened: it is closed";
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
}

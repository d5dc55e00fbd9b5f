//! The access log, and what is said at the start and the end.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{DEADLINE, Program, Scratch, TestServer, ftget, md5_hex};

fn with_log(root: &Scratch, log: &Path, args: &[&str]) -> TestServer {
    let log = log.as_os_str();
    let args = [OsStr::new("--access-log"), log]
        .into_iter()
        .chain(args.iter().map(OsStr::new));
    TestServer::builder(root.path()).args(args).start()
}

/// What is in a file, once it is as it should be.
#[track_caller]
fn read_until(path: &Path, enough: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        if enough(&text) {
            return text;
        }
        assert!(Instant::now() < deadline, "{} has: {text}", path.display());
        std::thread::yield_now();
    }
}

#[test]
fn every_request_has_one_line_whatever_became_of_it() {
    let root = Scratch::with_files([("a.txt", "hello")]);
    let place = Scratch::new();
    let log = place.join("log");
    let mut server = with_log(&root, &log, &["--log-format", "json"]);
    let mut peer = server.connect();
    peer.ask(r#"{"filename":"a.txt"}"#);
    peer.ask(r#"{"op":"stat","filename":"a.txt"}"#);
    peer.ask(r#"{"op":"list","filename":""}"#);
    peer.ask(r#"{"op":"hello"}"#);
    peer.ask(r#"{"filename":"nothing"}"#);
    peer.ask(r#"{"op":"fly","filename":"x"}"#);
    peer.ask(r#"{"op":"run","filename":"x"}"#);
    peer.send_frame(r#"{"op":"run","filename":"x","body_size":3}"#);
    peer.send("abc");
    peer.read_answer();
    peer.ask(r#"{"op":"stat","filename":"/"}"#);
    peer.send(b"\x01\x00\x00\x00");
    assert_eq!(peer.read_answer().code(), Some("bad_frame"));
    server.terminate();
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| ["op", "filename", "result", "reason"].map(|key| line[key].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ["get", "a.txt", "ok", ""],
            ["stat", "a.txt", "ok", ""],
            ["list", "", "ok", ""],
            ["hello", "", "ok", ""],
            ["get", "nothing", "refused", "not_found"],
            ["", "x", "refused", "unsupported"],
            ["run", "x", "refused", "not_found"],
            ["run", "x", "refused", "bad_request"],
            ["stat", "/", "refused", "bad_name"],
            ["", "", "refused", "bad_frame"],
        ]
    );
    assert_eq!(lines[0]["bytes"], 5);
    assert_eq!(lines[0]["md5"], md5_hex("hello"));
    assert!(lines[0]["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    let summary = server.stderr().text();
    assert!(
        summary.contains("served 10 requests on 1 connection in ")
            && summary.contains(" in complete responses, 6 refused, 0 broken off"),
        "{summary}"
    );
}

#[test]
fn how_a_command_ended_stands_in_its_line() {
    let root = Scratch::new();
    let place = Scratch::new();
    for (format, told) in [
        ("text", [" run ok exit=4 2 ", " run refused exit=137 0 "]),
        ("json", ["\"exit_status\":4}", "\"exit_status\":137}"]),
    ] {
        let log = place.join(format);
        let mut args = vec!["--log-format", format];
        args.extend(["--publish", "sad=sh -c 'echo x; exit 4'"]);
        args.extend(["--publish", "dies=sh -c 'kill -9 $$'"]);
        let mut server = with_log(&root, &log, &args);
        let mut peer = server.connect();
        for name in ["sad", "dies", "none"] {
            peer.ask(format!(r#"{{"op":"run","filename":"{name}"}}"#));
        }
        peer.ask(r#"{"op":"hello"}"#);
        server.terminate();
        let text = fs::read_to_string(&log).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].contains(told[0]) && lines[1].contains(told[1]),
            "{text}"
        );
        assert!(!lines[2..].concat().contains("exit"), "{text}");
    }
}

#[test]
fn hostile_names_are_shown_raw_by_od_without_a_byte_that_acts() {
    let names: [&[u8]; 5] = [
        b"line\nfeed",
        b"esc\x1b[2J\x07",
        "right-to-left\u{202e}txt.exe \u{9b}".as_bytes(),
        b"latin-\xe9",
        b"quote\" \\ $(id)",
    ];
    let root = Scratch::new();
    for format in ["text", "json"] {
        let place = Scratch::new();
        let log = place.join("log");
        let mut server = with_log(&root, &log, &["--log-format", format]);
        let mut peer = server.connect();
        for name in names {
            use base64::Engine;
            let name = base64::engine::general_purpose::STANDARD.encode(name);
            peer.ask(format!(r#"{{"filename_b64":"{name}"}}"#));
        }
        server.terminate();
        let raw = Program::system("od", "coreutils")
            .args(["-c", "-A", "n"])
            .arg(&log)
            .run();
        let raw = raw.expect_code(0).text();
        let cells: Vec<&str> = raw.split_whitespace().collect();
        assert_eq!(
            cells.iter().filter(|cell| **cell == "\\n").count(),
            names.len(),
            "{raw}"
        );
        assert!(!cells.contains(&"033") && !cells.contains(&"\\a"), "{raw}");
        let text = fs::read_to_string(&log).unwrap();
        assert!(!text.contains(['\u{202e}', '\u{9b}', '\u{1b}']), "{text}");
        assert!(
            text.contains(r"line\nfeed") && text.contains(r#"quote\" \\ $(id)"#),
            "{text}"
        );
        assert_eq!(text.contains("filename_b64"), format == "json");
    }
}

#[test]
fn a_log_that_is_renamed_goes_on_in_a_new_file_and_no_line_is_lost() {
    let root = Scratch::with_files([("a", "x")]);
    let place = Scratch::new();
    let log = place.join("log");
    let mut server = with_log(&root, &log, &[]);
    let mut peer = server.connect();
    let mut renamed = Vec::new();
    for round in 0..5 {
        for _ in 0..20 {
            peer.ask(r#"{"filename":"a"}"#);
        }
        let old = place.join(format!("log.{round}"));
        fs::rename(&log, &old).unwrap();
        server.signal(Signal::HUP);
        read_until(&log, |_| log.exists());
        renamed.push(old);
    }
    server.terminate();
    renamed.push(log);
    let lines = renamed
        .iter()
        .map(|log| fs::read_to_string(log).unwrap().lines().count());
    assert_eq!(lines.sum::<usize>(), 100);
}

#[test]
fn a_hangup_without_a_log_file_ends_the_server_as_a_closed_terminal_should() {
    let root = Scratch::new();
    let mut server = TestServer::plain(root.path());
    server.signal(Signal::HUP);
    assert_eq!(server.wait_code(), 129);
    assert!(server.stderr().text().contains("stopping\n"));
}

#[test]
fn a_log_that_cannot_be_written_is_said_once_and_transfers_go_on() {
    let root = Scratch::with_files([("a", "content")]);
    let mut server = with_log(&root, Path::new("/dev/full"), &[]);
    let mut peer = server.connect();
    for _ in 0..50 {
        peer.ask(r#"{"filename":"a"}"#).assert_file("a", b"content");
    }
    let said = server
        .stderr()
        .wait_until("a warning", |text| text.contains("cannot be written"));
    assert!(
        said.contains("access log /dev/full cannot be written: No space left"),
        "{said}"
    );
    server.terminate();
    assert_eq!(
        server.stderr().text().matches("cannot be written").count(),
        1
    );

    let mut refused = Program::ftserve();
    refused = refused
        .args(["--access-log", "/nothing/log", "-b", "127.0.0.1:0"])
        .arg(root.path());
    let refused = refused.run().expect_code(3);
    assert!(
        refused
            .stderr
            .contains("access log /nothing/log cannot be opened: No such file"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_log_that_cannot_be_opened_anew_goes_on_where_it_was() {
    let root = Scratch::with_files([("a", "content")]);
    let place = Scratch::new();
    let (log, renamed) = (place.join("log"), place.join("log.1"));
    let mut server = with_log(&root, &log, &[]);
    fs::rename(&log, &renamed).unwrap();
    place.make_dir("log");
    server.signal(Signal::HUP);
    let said = server
        .stderr()
        .wait_until("a warning", |text| text.contains("lines continue"));
    assert!(
        said.contains(
            "log cannot be opened: Is a directory (os error 21); lines continue to go to the open log"
        ) && !said.contains("lost"),
        "{said}"
    );
    server.connect().ask(r#"{"filename":"a"}"#);
    server.terminate();
    assert_eq!(fs::read_to_string(&renamed).unwrap().lines().count(), 1);
}

#[test]
fn a_new_place_for_the_log_is_said_once_lines_go_there() {
    let root = Scratch::with_files([("a", "content")]);
    let place = Scratch::new();
    let (old, new) = (place.join("old"), place.join("new"));
    let write = |log: Option<&Path>| {
        let line = log.map(|log| format!("access-log = {log:?}\n"));
        place.write("ftserve.toml", line.unwrap_or_default())
    };
    let file = write(Some(&old));
    let mut server = TestServer::builder(root.path())
        .args(["-c".as_ref(), file.as_os_str()])
        .start();
    let reload = |log: Option<&Path>, expected: &str| {
        write(log);
        server.signal(Signal::HUP);
        let said = server
            .stderr()
            .wait_until(expected, |text| text.contains(expected));
        server.connect().ask(r#"{"filename":"a"}"#);
        said
    };
    let said = reload(
        Some(Path::new("/nodir/log")),
        "access log /nodir/log cannot be opened: No such file or directory (os error 2); \
         lines continue to go to the open log",
    );
    assert!(!said.contains(" now") && !said.contains("lost"), "{said}");
    read_until(&old, |text| text.lines().count() == 1);
    let said = reload(None, "access-log has changed, which needs a restart");
    assert!(!said.contains("unset"), "{said}");
    read_until(&old, |text| text.lines().count() == 2);
    reload(Some(&new), &format!("access-log is {} now", new.display()));
    read_until(&new, |text| text.lines().count() == 1);
    server.terminate();
    assert_eq!(fs::read_to_string(&old).unwrap().lines().count(), 2);
}

#[test]
fn a_configuration_from_a_pipe_is_not_read_again_as_an_empty_one() {
    let root = Scratch::new();
    let place = Scratch::new();
    let log = place.join("log");
    let mut server = TestServer::builder(root.path())
        .args(["-c", "/dev/stdin", "--access-log"])
        .args([&log])
        .through(["bash", "-c", "exec \"$@\" < <(echo idle-timeout = 7)", "-"])
        .start();
    fs::rename(&log, place.join("log.1")).unwrap();
    server.signal(Signal::HUP);
    read_until(&log, |_| log.exists());
    server.terminate();
    let said = server.stderr().text();
    assert!(!said.contains("idle-timeout"), "{said}");
}

#[test]
fn a_fifo_holds_nobody_up_and_gets_the_lines_if_somebody_reads() {
    let root = Scratch::with_files([("a", "content")]);
    let place = Scratch::new();
    let (log, fifo) = (place.join("log"), place.join("fifo"));
    let mkfifo = Program::system("mkfifo", "coreutils").arg(&fifo).run();
    mkfifo.expect_code(0);
    let refused = Program::ftserve()
        .arg("--access-log")
        .arg(&fifo)
        .args(["-b", "127.0.0.1:0"])
        .arg(root.path())
        .run()
        .expect_code(3);
    assert!(
        refused
            .stderr
            .contains("cannot be opened: nobody reads this FIFO"),
        "{}",
        refused.stderr
    );
    // On SIGHUP too.
    let mut server = with_log(&root, &log, &[]);
    fs::rename(&log, place.join("log.1")).unwrap();
    fs::rename(&fifo, &log).unwrap();
    server.signal(Signal::HUP);
    server.stderr().wait_until("a warning", |text| {
        text.contains("nobody reads this FIFO; lines continue to go to the open log")
    });
    let reader = Program::system("cat", "coreutils").arg(&log).start();
    // Its open returns when the server has opened the other end.
    server.signal(Signal::HUP);
    let mut peer = server.connect();
    let deadline = Instant::now() + DEADLINE;
    while !reader.stdout().text().contains(" get ok ") {
        assert!(Instant::now() < deadline, "{}", server.stderr().text());
        server.signal(Signal::HUP);
        peer.ask(r#"{"filename":"a"}"#);
    }
    server.terminate();
    reader.wait().expect_code(0);
}

#[test]
fn a_disk_that_has_room_again_gets_lines_again_and_the_number_of_those_lost() {
    let root = Scratch::with_files([("a", "content")]);
    let place = Scratch::new();
    let log = place.join("log");
    // As long as the log is a link to a full device, nothing can be written.
    std::os::unix::fs::symlink("/dev/full", &log).unwrap();
    let mut server = with_log(&root, &log, &["--log-format", "json"]);
    let mut peer = server.connect();
    for _ in 0..10 {
        peer.ask(r#"{"filename":"a"}"#);
    }
    server
        .stderr()
        .wait_until("a warning", |text| text.contains("cannot be written"));
    fs::remove_file(&log).unwrap();
    server.signal(Signal::HUP);
    read_until(&log, |_| log.exists());
    peer.ask(r#"{"filename":"a"}"#);
    server.terminate();
    let text = fs::read_to_string(&log).unwrap();
    let mut lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let first = lines.next().unwrap();
    assert_eq!(first["result"], "lost", "{text}");
    // The line of the tenth is written beside its answer, and may be the first of the new file.
    let lost = first["lines"].as_u64().unwrap();
    assert!(lost == 9 || lost == 10, "{text}");
    assert_eq!(lost as usize + lines.count(), 11, "{text}");
}

#[test]
fn a_crowd_at_once_gets_whole_lines() {
    let root = Scratch::with_files([("a", "content")]);
    let place = Scratch::new();
    let log = place.join("log");
    let mut server = with_log(&root, &log, &["--log-format", "json"]);
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let mut peer = server.connect();
                for _ in 0..100 {
                    peer.ask(r#"{"filename":"a"}"#);
                }
            });
        }
    });
    server.terminate();
    let text = fs::read_to_string(&log).unwrap();
    let read = Program::system("python3", "python3")
        .args([
            "-c",
            "import json,sys; print(len([json.loads(l) for l in sys.stdin]))",
        ])
        .input(text)
        .run()
        .expect_code(0);
    assert_eq!(read.text().trim(), "2000");
}

#[test]
fn verbose_shows_lines_on_standard_error_and_quiet_shows_nothing() {
    let root = Scratch::with_files([("a", "content")]);
    let mut server = TestServer::builder(root.path()).args(["-v"]).start();
    ftget([OsStr::new("-o"), OsStr::new("-"), &server.source("a")]).expect_code(0);
    server.terminate();
    assert!(
        server.stderr().text().contains(" get ok - 7 "),
        "{}",
        server.stderr().text()
    );
    let quiet = Program::ftserve()
        .args(["-q", "-b", "127.0.0.1:0", "--access-log", "-"])
        .arg(root.path())
        .args(["--", "sh", "-c"])
        .arg(format!(
            "{} -o /dev/stdout $FTSERVE_ADDR/a",
            env!("CARGO_BIN_EXE_ftget")
        ))
        .run()
        .expect_code(0);
    assert_eq!(quiet.stderr, "");
    let text = quiet.text();
    assert!(
        text.contains("content") && text.contains(" get ok - 7 "),
        "{text}"
    );
}

#[test]
fn a_command_that_cannot_be_run_has_the_exit_code_of_shells() {
    let root = Scratch::with_files([("a", "not a program")]);
    let run = |words: &[&str]| {
        let program = Program::ftserve()
            .args(["-q", "-b", "127.0.0.1:0"])
            .arg(root.path());
        program.arg("--").args(words).run()
    };
    assert_eq!(run(&["/nothing/at/all"]).code, 127);
    assert_eq!(run(&[root.join("a").to_str().unwrap()]).code, 126);
    let nothing = run(&[]).expect_code(2);
    assert!(
        nothing.stderr.contains("there is no COMMAND after --"),
        "{}",
        nothing.stderr
    );
}

#[test]
fn a_log_and_an_index_at_the_limit_for_files_end_no_server() {
    let root = Scratch::with_files([("a.txt", "hello")]);
    let place = Scratch::new();
    let (log, index) = (place.join("log"), place.join("index"));
    // In blocks of 512 bytes, or of 1024.
    let limited = ["sh", "-c", "ulimit -f 6; exec \"$@\"", "sh"];
    let mut server = TestServer::builder(root.path())
        .through(limited)
        .args([OsStr::new("--access-log"), log.as_os_str()])
        .args([OsStr::new("--index"), index.as_os_str()])
        .start();
    let mut peer = server.connect();
    for _ in 0..200 {
        peer.ask(r#"{"filename":"a.txt"}"#);
    }
    let said = format!("access log {} cannot be written", log.display());
    server
        .stderr()
        .wait_until("a warning", |text| text.contains(&said));
    peer.ask(r#"{"filename":"a.txt"}"#)
        .assert_file("a.txt", b"hello");
    server.assert_alive();
    server.terminate();
    assert_eq!(server.terminating_signal(), Some(Signal::TERM));
}

//! Published commands: their output as a transfer, their bounds, and that nothing of a peer
//! reaches them.

use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::json;

use crate::harness::{DEADLINE, Program, RawPeer, Scratch, TestServer, ftget, md5_hex};

fn publishing(root: &Scratch, commands: &[&str], more: &[&str]) -> TestServer {
    let publish = commands.iter().flat_map(|command| ["--publish", command]);
    let args: Vec<&str> = publish.chain(more.iter().copied()).collect();
    TestServer::builder(root.path()).args(args).start()
}

/// Seconds to sleep that no other test, and no other run of this one, sleeps.
fn long(number: u32) -> String {
    format!("9{:07}{number}", std::process::id())
}

/// Waits until no process has this word in its command line.
#[track_caller]
fn wait_until_gone(word: &str) {
    let deadline = Instant::now() + DEADLINE;
    let is_there = || {
        let processes = fs::read_dir("/proc").expect("processes").flatten();
        let lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        lines
            .map(|line| String::from_utf8_lossy(&line).into_owned())
            .any(|line| line.contains(word) && !line.contains("--publish"))
    };
    while is_there() {
        assert!(Instant::now() < deadline, "{word} still runs");
        std::thread::yield_now();
    }
}

#[test]
fn the_published_names_are_listed_below_the_files() {
    let root = Scratch::with_files([("a", "content"), ("d/b", "more")]);
    let server = publishing(&root, &["up=echo up", "df=echo df"], &[]);
    server
        .connect()
        .ask(r#"{"op":"run","filename":""}"#)
        .assert_file("", b"df\nup\n");
    let mut text = server.connect();
    text.send(b"@\n");
    text.read_answer().assert_file("", b"df\nup\n");

    let list = |args: &[&str]| {
        let listed = Program::ftget().args(args).arg(server.source("")).run();
        listed.expect_code(0).text()
    };
    assert_eq!(list(&["--list"]), "a\nd/\n@df\n@up\n");
    assert_eq!(list(&["--list", "--exclude", "@u*"]), "a\nd/\n@df\n");
    let long = list(&["--list=long"]);
    assert!(
        long.ends_with("@df\ncommand               - -                   @up\n"),
        "{long}"
    );
    let json = list(&["--list=json"]);
    let last = json.lines().last().unwrap();
    assert_eq!(last, r#"{"filename":"@up","type":"command"}"#);
    // A tree, and what `md5sum --check` reads, is of files.
    assert_eq!(list(&["--list", "-r"]), "a\nd/\nd/b\n");
    assert!(!list(&["--list=md5sum"]).contains('@'));
    // A list that goes on into another client is of files, too.
    let here = Scratch::new();
    let client = Program::ftget().in_folder(here.path()).input(json.as_str());
    let fetched = client.args(["-i", "-"]).arg(server.source("")).run();
    fetched.expect_code(0);
    assert_eq!(here.names(), ["a", "d"]);
}

#[test]
fn a_server_that_publishes_nothing_has_no_list_of_commands() {
    let root = Scratch::with_files([("a", "content"), ("@", "a file of that name")]);
    let server = publishing(&root, &[], &[]);
    let answer = server.connect().ask(r#"{"op":"run","filename":""}"#);
    assert_eq!(answer.code(), Some("not_found"));
    let mut text = server.connect();
    text.send(b"@\n");
    text.read_answer().assert_file("@", b"a file of that name");
    let listed = Program::ftget().arg("--list").arg(server.source("")).run();
    let listed = listed.expect_code(0);
    assert_eq!(
        (listed.text(), listed.stderr),
        ("@\na\n".into(), String::new())
    );
}

#[test]
fn output_comes_with_its_digest_and_the_status_as_a_frame_and_as_text() {
    let root = Scratch::with_files([("@up", "a file of that name")]);
    let server = publishing(
        &root,
        &["up=printf 'a  b'", "sad=sh -c 'echo o; exit 4'"],
        &[],
    );
    let mut peer = server.connect();
    let answer = peer.ask(r#"{"op":"run","filename":"up","id":1}"#);
    answer.assert_file("up", b"a  b");
    assert_eq!((answer.size("exit_status"), answer.size("id")), (0, 1));
    let sad = peer.ask(r#"{"op":"run","filename":"sad"}"#);
    sad.assert_file("sad", b"o\n");
    assert_eq!(sad.size("exit_status"), 4);
    // Only `run` runs anything.
    peer.ask(r#"{"filename":"@up"}"#)
        .assert_file("@up", b"a file of that name");
    assert_eq!(
        peer.ask(r#"{"op":"stat","filename":"@up"}"#)
            .size("total_size"),
        19
    );
    assert_eq!(peer.ask(r#"{"filename":"up"}"#).code(), Some("not_found"));
    let hello = peer.ask(r#"{"op":"hello"}"#);
    assert_eq!(
        hello.header["ops"],
        json!(["get", "stat", "list", "hello", "run"])
    );

    let mut text = server.connect();
    text.send(b"@up\n@missing\n@up x\n@up;id\n");
    text.read_answer().assert_file("up", b"a  b");
    for _ in 0..3 {
        assert_eq!(text.read_answer().code(), Some("not_found"));
    }
}

#[test]
fn error_output_is_logged_and_its_end_is_in_the_answer_of_what_failed() {
    let root = Scratch::new();
    let commands = [
        "warns=sh -c 'echo beware >&2; echo out'",
        "fails=sh -c 'echo out; echo why >&2; exit 3'",
        "silent=sh -c 'printf \"\\033[2Jfirst\\nlast\\n\" >&2; exit 5'",
    ];
    let mut server = publishing(&root, &commands, &[]);
    let mut peer = server.connect();
    let warns = peer.ask(r#"{"op":"run","filename":"warns"}"#);
    warns.assert_file("warns", b"out\n");
    assert!(!warns.text.contains("beware"), "{}", warns.text);
    let fails = peer.ask(r#"{"op":"run","filename":"fails"}"#);
    fails.assert_file("fails", b"out\n");
    assert_eq!(
        (fails.size("exit_status"), fails.str("error_output")),
        (3, "why")
    );
    // Nothing came of it: no file of no bytes, which could be taken for its output.
    let silent = peer.ask(r#"{"op":"run","filename":"silent"}"#);
    assert_eq!(
        (silent.code(), silent.size("exit_status")),
        (Some("internal"), 5)
    );
    assert_eq!(
        silent.message(),
        "command ended with 5: \u{1b}[2Jfirst; last"
    );

    let told = |name: &str| ftget([format!("{}/@{name}", server.addr())]).expect_code(1);
    let fails = told("fails");
    assert_eq!(fails.text(), "out\n");
    assert_eq!(fails.stderr, "ftget: @fails: command ended with 3: why\n");
    let silent = told("silent");
    assert_eq!(silent.text(), "");
    let expected = "command ended with 5: \\x1b[2Jfirst; last\n";
    assert!(silent.stderr.ends_with(expected), "{}", silent.stderr);
    server.terminate();
    let logged = server.stderr().text();
    for line in [
        "@warns: beware",
        "@fails: why",
        "@silent: \\x1b[2Jfirst",
        "@silent: last",
    ] {
        assert!(
            logged.lines().any(|logged| logged == line),
            "{line}: {logged}"
        );
    }
}

#[test]
fn error_output_is_served_behind_the_output_if_that_is_asked_for() {
    let root = Scratch::new();
    let command = "fails=sh -c 'echo why >&2; echo out; exit 3'";
    let mut server = publishing(&root, &[command], &["--publish-stderr"]);
    let answer = server.connect().ask(r#"{"op":"run","filename":"fails"}"#);
    answer.assert_file("fails", b"out\nwhy\n");
    assert!(!answer.text.contains("error_output"), "{}", answer.text);
    server.terminate();
    let logged = server.stderr().text();
    assert!(!logged.contains("why"), "{logged}");
}

#[test]
fn names_that_are_not_published_run_nothing() {
    let root = Scratch::new();
    let server = publishing(&root, &["up=true"], &[]);
    let mut peer = server.connect();
    for name in ["other", "@up", "up ", "up;id", "../up", "up\n", "sh"] {
        let answer = peer.ask(json!({"op": "run", "filename": name}).to_string());
        assert_eq!(answer.code(), Some("not_found"), "{name:?}");
    }
    assert_eq!(peer.ask(r#"{"op":"run"}"#).code(), Some("bad_request"));
    let none = TestServer::plain(root.path());
    let answer = none.connect().ask(r#"{"op":"run","filename":"up"}"#);
    assert_eq!(answer.code(), Some("not_found"));
}

#[test]
fn a_command_gets_an_empty_input_and_its_words_and_nothing_else() {
    let root = Scratch::new();
    let show =
        "show=sh -c 'cat; printf \"%s|\" \"$0\" \"$@\"; env | grep -c 127.0.0.1' a 'b c' '*'";
    let server = publishing(&root, &[show], &[]);
    let answer = server.connect().ask(r#"{"op":"run","filename":"show"}"#);
    answer.assert_file("show", b"a|b c|*|0\n");
}

#[test]
fn what_writes_too_much_or_never_ends_is_ended_with_all_its_processes() {
    let root = Scratch::new();
    let ever = format!("ever=sh -c 'sleep {} & sleep {}'", long(1), long(2));
    let server = publishing(&root, &[&ever], &["--publish-timeout", "400ms"]);
    let answer = server.connect().ask(r#"{"op":"run","filename":"ever"}"#);
    assert_eq!(answer.code(), Some("internal"));
    wait_until_gone(&long(1));
    wait_until_gone(&long(2));
    let server = publishing(
        &root,
        &[
            &format!("forks=sh -c 'sleep {} & echo done'", long(3)),
            "leaves=sh -c '(setsid sleep 0.01; echo late >&2) & echo now'",
            "dies=sh -c 'kill -SEGV $$'",
        ],
        &[],
    );
    let mut peer = server.connect();
    let mut run = |name: &str| peer.ask(json!({"op": "run", "filename": name}).to_string());
    run("forks").assert_file("forks", b"done\n");
    wait_until_gone(&long(3));
    assert!(run("leaves").body.starts_with(b"now\n"));
    assert_eq!(run("dies").size("exit_status"), 139);
    let begun = server.facts().rss_kib();
    let server = publishing(&root, &["gib=head -c 1073741824 /dev/zero"], &[]);
    let answer = server.connect().ask(r#"{"op":"run","filename":"gib"}"#);
    assert_eq!(answer.code(), Some("too_large"));
    let grown = server.facts().rss_kib().saturating_sub(begun);
    assert!(grown < 100 << 10, "{grown} KiB");
}

#[test]
fn four_run_at_once_two_of_one_address_and_others_are_busy() {
    let root = Scratch::new();
    let gate = root.join("gate");
    let wait = format!(
        "wait=sh -c 'until test -e {}; do sleep 0.01; done'",
        gate.display()
    );
    let server = publishing(&root, &[&wait], &[]);
    let sources = ["127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.3"];
    let mut peers = sources.map(|source| RawPeer::connect_from(source, server.addr()));
    for peer in &mut peers {
        peer.send_frame(r#"{"op":"run","filename":"wait"}"#);
    }
    let mut fifth = server.connect();
    let deadline = Instant::now() + DEADLINE;
    // Until all four have begun, the fifth may be one of the first four itself.
    while server.facts().children().len() < 4 {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    let busy = fifth.ask(r#"{"op":"run","filename":"wait"}"#);
    assert_eq!(busy.code(), Some("busy"), "{}", busy.text);
    assert!(busy.header["error"]["retry_after_ms"].as_u64().is_some());
    fs::write(&gate, "").unwrap();
    for peer in &mut peers {
        assert_eq!(peer.read_answer().size("exit_status"), 0);
    }
    assert_eq!(
        fifth
            .ask(r#"{"op":"run","filename":"wait"}"#)
            .size("exit_status"),
        0
    );
}

#[test]
fn outputs_that_nobody_reads_are_bounded_and_leave_other_addresses_room() {
    let root = Scratch::new();
    let server = publishing(&root, &["big=head -c 60000000 /dev/zero"], &[]);
    let held = || {
        let fds = fs::read_dir(format!("/proc/{}/fd", server.facts().pid()));
        let links = fds.expect("descriptors").flatten();
        let links = links.filter_map(|fd| fs::read_link(fd.path()).ok());
        links
            .filter(|link| link.to_string_lossy().contains("ft-output"))
            .count()
    };
    let mut peers = Vec::new();
    let mut ask = |source: &str| {
        let mut peer = RawPeer::connect_from(source, server.addr());
        peer.shrink_receive_buffer(4096);
        peer.send_frame(r#"{"op":"run","filename":"big"}"#);
        let header = peer.read_header();
        peers.push(peer);
        header.code().map(str::to_owned)
    };
    let answers: Vec<_> = (0..8).map(|_| ask("127.0.1.1")).collect();
    let busy = || Some("busy".to_owned());
    assert_eq!(answers[..4], [None, None, None, None]);
    assert_eq!(answers[4..], [busy(), busy(), busy(), busy()]);
    assert_eq!(ask("127.0.1.2"), None);
    assert_eq!(held(), 5);
    drop(peers);
    let deadline = Instant::now() + DEADLINE;
    while held() > 0 {
        assert!(Instant::now() < deadline, "{} outputs are left", held());
        std::thread::yield_now();
    }
}

#[test]
fn a_large_error_output_is_nowhere_in_the_heap() {
    let root = Scratch::new();
    let command = "err=sh -c 'echo out; head -c 60000000 /dev/zero >&2'";
    let server = publishing(&root, &[command], &["--publish-stderr"]);
    let answer = server.connect().ask(r#"{"op":"run","filename":"err"}"#);
    answer.assert_file("err", &[&b"out\n"[..], &vec![0; 60_000_000]].concat());
    let peak = server.facts().peak_rss_kib();
    assert!(peak < 40 << 10, "{peak} KiB");
}

#[test]
fn a_command_ends_with_who_asked_and_with_the_server() {
    let root = Scratch::new();
    let server = publishing(&root, &[&format!("ever=sleep {}", long(4))], &[]);
    let mut peer = server.connect();
    peer.send_frame(r#"{"op":"run","filename":"ever"}"#);
    let deadline = Instant::now() + DEADLINE;
    while server.facts().children().is_empty() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    peer.reset();
    wait_until_gone(&long(4));

    let ever = format!("ever=sleep {}", long(5));
    let mut server = publishing(&root, &[&ever], &["--drain-timeout", "0.2"]);
    let mut peer = server.connect();
    peer.send_frame(r#"{"op":"run","filename":"ever"}"#);
    while server.facts().children().is_empty() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    let ended = server.terminate();
    assert_eq!(ended, 143);
    assert_eq!(peer.read_to_end().0, b"");
    wait_until_gone(&long(5));
}

#[test]
fn what_cannot_be_published_is_said_before_anything_is_served() {
    let root = Scratch::with_files([("plain", "no program")]);
    let plain = format!("x={}", root.join("plain").display());
    for (commands, code, word) in [
        (
            &["x=/nothing/at/all"][..],
            3,
            "there is no program /nothing/at/all",
        ),
        (&["x=no-such-program-anywhere -x"], 3, "there is no program"),
        (&[&plain], 3, "not executable"),
        (&["x"], 2, "write NAME=PROGRAM"),
        (&["=true"], 2, "there is no NAME"),
        (&["a/b=true"], 2, "a name consists of"),
        (&["x="], 2, "there is no program"),
        (&["x=sh -c 'open"], 2, "a quote does not end"),
        (&["x=true", "x=false"], 2, "published twice"),
    ] {
        let publish = commands.iter().flat_map(|command| ["--publish", command]);
        let program = Program::ftserve().args(["-b", "127.0.0.1:0"]).args(publish);
        let refused = program.arg(root.path()).run().expect_code(code);
        assert!(
            refused.stderr.contains(word),
            "{commands:?}: {}",
            refused.stderr
        );
    }
}

#[test]
fn a_program_that_vanishes_later_is_an_error_without_a_path() {
    let root = Scratch::new();
    let program = root.join("tool");
    // Written by another process: what this one has open for writing might be open for a moment
    // in a child that is just being made, and could not be run.
    Program::system("sh", "dash")
        .args([
            "-c",
            r#"printf '#!/bin/sh\necho it\n' > "$0" && chmod 755 "$0""#,
        ])
        .arg(&program)
        .run()
        .expect_code(0);
    let server = publishing(&root, &[&format!("tool={}", program.display())], &[]);
    let mut peer = server.connect();
    peer.ask(r#"{"op":"run","filename":"tool"}"#)
        .assert_file("tool", b"it\n");
    fs::remove_file(&program).unwrap();
    let answer = peer.ask(r#"{"op":"run","filename":"tool"}"#);
    assert_eq!(answer.code(), Some("internal"));
    assert!(!answer.message().contains("tool"), "{}", answer.message());
}

#[test]
fn ftget_runs_a_command_once_and_lets_out_what_is_verified() {
    let root = Scratch::with_files([("@up", "file")]);
    let count = root.join("count");
    let commands = [
        format!(
            "up=sh -c 'echo x >> {}; head -c 3000000 /dev/zero'",
            count.display()
        ),
        "sad=sh -c 'echo bad news; exit 9'".to_owned(),
    ];
    let server = publishing(&root, &commands.each_ref().map(String::as_str), &[]);
    let here = Scratch::new();
    let at = |path: &str| format!("{}/{path}", server.addr());
    let up = ftget([at("@up")]).expect_code(0);
    assert_eq!(md5_hex(&up.stdout), md5_hex(vec![0; 3_000_000]));
    assert_eq!(fs::read_to_string(&count).unwrap(), "x\n");
    let sad = ftget([at("@sad")]).expect_code(1);
    assert_eq!(sad.text(), "bad news\n");
    assert_eq!(sad.stderr, "ftget: @sad: command ended with 9\n");
    let json = ftget(["--json".to_owned(), at("@sad")]).expect_code(1);
    assert!(json.stderr.contains("\"exit_status\":9"), "{}", json.stderr);
    ftget([at("@none")]).expect_code(11);
    ftget([at("@up"), at("@sad")]).expect_code(2);
    let file = Program::ftget().arg(format!("ft://{}/@up", server.addr()));
    file.in_folder(here.path()).run().expect_code(0);
    assert_eq!(here.read(Path::new("@up")), b"file");
    assert_eq!(fs::read_to_string(&count).unwrap(), "x\n");
}

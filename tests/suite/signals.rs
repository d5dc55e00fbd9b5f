//! Signals: what was ignored stays ignored, and what ends by a signal is seen to do so.

use std::fs;
use std::path::Path;
use std::time::Instant;

use rustix::process::Signal;

use crate::harness::{DEADLINE, Program, Running, Scratch, TestServer, in_own_processes, noise};
use crate::place::Place;

/// Runs a program that ignores these signals from its start, as `nohup` and `&` in scripts do.
fn ignoring(signals: &str) -> [String; 4] {
    let script = format!("trap '' {signals}; exec \"$@\"");
    ["sh", "-c", &script, "sh"].map(str::to_owned)
}

/// The signals in this line of a process's status: `SigIgn`, `SigCgt`.
fn signals(pid: u32, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let found = status.lines().find_map(|found| found.strip_prefix(line));
    let digits = found.expect("such a line").trim_start_matches(':').trim();
    u64::from_str_radix(digits, 16).expect("a mask")
}

fn bit(signal: Signal) -> u64 {
    1 << (signal.as_raw() - 1)
}

/// Waits until a program catches this signal.
#[track_caller]
fn wait_until_caught(pid: u32, signal: Signal) {
    let deadline = Instant::now() + DEADLINE;
    while signals(pid, "SigCgt") & bit(signal) == 0 {
        assert!(Instant::now() < deadline, "{signal:?} is not caught");
        std::thread::yield_now();
    }
}

/// A client that fetches, for as long as it is let.
fn fetching(place: &Place, prefix: &[String], args: &[&str]) -> Running {
    let client = place
        .ftget()
        .through(prefix)
        .args(["--limit-rate", "1000"])
        .args(args);
    client.arg(place.server.source("large")).start()
}

/// A program that hashes a file of a terabyte.
fn indexing(root: &Scratch, prefix: &[String]) -> Running {
    let file = fs::File::create(root.join("large")).expect("a file");
    file.set_len(1 << 40).expect("a sparse file");
    let program = Program::ftserve().through(prefix);
    let program = program.arg("index").arg(root.path());
    program.arg("--index").arg(root.join("index")).start()
}

fn large() -> Place {
    Place::with([("large", noise(1, 1_000_000))])
}

#[test]
fn an_ignored_signal_does_not_end_a_server() {
    let root = Scratch::with_files([("a", "content")]);
    for (name, signal) in [
        ("HUP", Signal::HUP),
        ("INT", Signal::INT),
        ("TERM", Signal::TERM),
    ] {
        let builder = TestServer::builder(root.path()).through(ignoring(name));
        let mut server = builder.start();
        let pid = server.facts().pid();
        assert_eq!(signals(pid, "SigIgn") & bit(signal), bit(signal), "{name}");
        assert_eq!(signals(pid, "SigCgt") & bit(signal), 0, "{name}");
        server.signal(signal);
        server.assert_alive();
        let other = match name {
            "INT" => Signal::TERM,
            _ => Signal::INT,
        };
        server.signal(other);
        assert_eq!(server.terminating_signal(), Some(other));
    }
}

#[test]
fn an_ignored_signal_does_not_end_a_client_or_an_indexer() {
    let place = large();
    for (name, signal) in [("INT", Signal::INT), ("TERM", Signal::TERM)] {
        let other = match name {
            "INT" => Signal::TERM,
            _ => Signal::INT,
        };
        let root = Scratch::new();
        for running in [
            fetching(&place, &ignoring(name), &[]),
            indexing(&root, &ignoring(name)),
        ] {
            wait_until_caught(running.pid(), other);
            running.signal(signal);
            assert_eq!(
                signals(running.pid(), "SigIgn") & bit(signal),
                bit(signal),
                "{name}"
            );
            running.signal(other);
            assert_eq!(running.terminating_signal(), Some(other), "{name}");
        }
    }
}

#[test]
fn an_ignored_hangup_still_opens_the_log_anew() {
    let root = Scratch::with_files([("a", "content")]);
    let place = Scratch::new();
    let (log, renamed) = (place.join("log"), place.join("log.1"));
    let args = ["--access-log".as_ref(), log.as_os_str()];
    let builder = TestServer::builder(root.path()).through(ignoring("HUP"));
    let mut server = builder.args(args).start();
    fs::rename(&log, &renamed).expect("a log");
    server.signal(Signal::HUP);
    let deadline = Instant::now() + DEADLINE;
    while !Path::new(&log).exists() {
        assert!(Instant::now() < deadline, "the log is not opened anew");
        std::thread::yield_now();
    }
    server.assert_alive();
    server.terminate();
}

#[test]
fn a_program_that_a_signal_ends_is_seen_to_die_of_it() {
    let place = large();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut server = TestServer::plain(place.root.path());
        server.signal(signal);
        assert_eq!(server.terminating_signal(), Some(signal), "ftserve");
        for args in [&[][..], &["--quiet"], &["--json"]] {
            let client = fetching(&place, &[], args);
            wait_until_caught(client.pid(), signal);
            client.signal(signal);
            assert_eq!(client.terminating_signal(), Some(signal), "{args:?}");
        }
    }
    for signal in [Signal::INT, Signal::TERM] {
        let root = Scratch::new();
        let indexer = indexing(&root, &[]);
        wait_until_caught(indexer.pid(), signal);
        indexer.signal(signal);
        assert_eq!(indexer.terminating_signal(), Some(signal), "index");
    }
}

#[test]
fn a_server_ends_as_its_command_does() {
    let root = Scratch::new();
    for signal in [Signal::INT, Signal::TERM, Signal::KILL, Signal::SEGV] {
        let script = format!("kill -{} $$", signal.as_raw());
        let server = Program::ftserve().args(["--bind", "127.0.0.1:0"]);
        let server = server.arg(root.path()).args(["--", "sh", "-c", &script]);
        assert_eq!(server.start().terminating_signal(), Some(signal));
    }
}

#[test]
fn process_1_ends_with_the_exit_code_for_its_signal() {
    let place = large();
    // No signal of its own ends process 1. The last one is sent when the program catches it.
    let script = r#"
        ( until grep -q '^SigCgt:.*4...$' /proc/1/status; do :; done; kill -TERM 1 ) &
        exec "$@"
    "#;
    let programs = [
        vec![env!("CARGO_BIN_EXE_ftserve"), "--bind", "127.0.0.1:0"],
        vec![
            env!("CARGO_BIN_EXE_ftget"),
            "--limit-rate",
            "1000",
            "-o",
            "-",
        ],
    ];
    for mut program in programs {
        let source = place.server.source("large");
        let source = source.to_str().expect("an address");
        program.push(match program.len() {
            3 => ".",
            _ => source,
        });
        let Some(output) = in_own_processes(script, program) else {
            return;
        };
        output.expect_code(143);
    }
}

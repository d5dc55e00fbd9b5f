//! The programs that ours start: what they are given, how they end, and who waits for them.

use std::fs;
use std::path::Path;
use std::time::Instant;

use rustix::process::Signal;

use crate::harness::{DEADLINE, Program, Scratch, TestServer, in_own_processes, refusing};
use crate::place::Place;

/// Writes what a program is given by its parent: limits, signals, descriptors.
const FACTS: &str = "ulimit -Sn; grep -E 'SigIgn|SigBlk' /proc/self/status; ls /proc/$$/fd";

/// Runs a program with few descriptors and these signals ignored.
const UNUSUAL: &str = "
import os, resource, signal, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
for name in sys.argv[1].split():
    signal.signal(getattr(signal, name), signal.SIG_IGN)
if 'SIGPIPE' not in sys.argv[1]:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
os.execvp(sys.argv[2], sys.argv[2:])
";

/// Waits until this process is gone, or nobody has waited for it yet.
#[track_caller]
fn wait_until_gone(pid: &str) {
    let deadline = Instant::now() + DEADLINE;
    while runs(pid) {
        assert!(Instant::now() < deadline, "{pid} still runs");
        std::thread::yield_now();
    }
}

fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|stat| !stat.contains(") Z"))
}

/// Waits until a file has a whole line, and gives it.
#[track_caller]
fn line_of(file: &Path) -> String {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let text = fs::read_to_string(file).unwrap_or_default();
        if text.ends_with('\n') {
            return text;
        }
        assert!(Instant::now() < deadline, "no line in {}", file.display());
        std::thread::yield_now();
    }
}

#[test]
fn programs_get_the_limits_and_signals_that_ours_were_started_with() {
    for ignored in ["", "SIGPIPE", "SIGINT SIGHUP SIGCHLD", "SIGXFSZ SIGQUIT"] {
        let root = Scratch::with_files([("a", "content")]);
        let here = Scratch::new();
        let facts = here.write("facts", FACTS);
        let facts = facts.to_str().expect("a path");
        let unusual = ["python3", "-c", UNUSUAL, ignored];
        let plain = Program::system("sh", "dash").arg(facts).through(unusual);
        let expected = plain.run().expect_code(0).text();
        assert!(expected.starts_with("256\n"), "{expected}");
        let server = Program::ftserve()
            .through(unusual)
            .in_folder(here.path())
            .args(["--bind", "127.0.0.1:0", "--publish"])
            .arg(format!("facts=sh {facts}"))
            .arg(root.path())
            .args(["--", "sh", "-c"])
            .arg(
                r#"sh "$0" > command
                python3 -c "$1" "$2" "$3" "$FTSERVE_ADDR/@facts" > publish &&
                python3 -c "$1" "$2" "$3" --exec "sh $0" -d e "$FTSERVE_ADDR/a" > exec &&
                python3 -c "$1" "$2" "$3" --exec "sh $0" -d t --max-time 60 "$FTSERVE_ADDR/a" > timed &&
                python3 -c "$1" "$2" "$3" --on-complete "sh $0" -d c "$FTSERVE_ADDR/a" > complete"#,
            )
            .args([facts, UNUSUAL, ignored, env!("CARGO_BIN_EXE_ftget")]);
        server.run().expect_code(0);
        for given in ["command", "publish", "exec", "timed", "complete"] {
            let found = String::from_utf8(here.read(given)).expect("text");
            assert_eq!(found, expected, "{given}, ignored: {ignored:?}");
        }
    }
}

#[test]
fn a_command_runs_to_its_end_where_nothing_can_wait_for_it() {
    let place = Place::with([("a", "content")]);
    for error in ["EPERM", "ENOSYS", "ENOTSUP", "EMFILE", "waitid"] {
        let rule = match error {
            "waitid" => "pidfd_open,waitid=EPERM".to_owned(),
            error => format!("pidfd_open={error}"),
        };
        let Some(refusing) = refusing(&[&rule]) else {
            return;
        };
        for option in ["--exec", "--on-complete"] {
            let client = place.ftget().through(&refusing);
            let client = client.args(["--max-time", "60", "-d", error, option]);
            let client = client
                .args(["sh -c 'exit 0'"])
                .arg(place.server.source("a"));
            client.run().expect_code(0);
            // Its time is over all the same.
            let client = place.ftget().through(&refusing);
            let client = client.args(["--max-time", "1", "-d", error, option]);
            let client = client.args(["sleep 1000"]).arg(place.server.source("a"));
            assert_ne!(client.run().code, 0, "{option}");
        }
        let root = Scratch::new();
        let server = TestServer::builder(root.path()).through(&refusing);
        let server = server.args(["--publish", "p=sh -c 'echo; exit 3'"]).start();
        let answer = server.connect().ask(r#"{"op":"run","filename":"p"}"#);
        assert_eq!(answer.size("exit_status"), 3, "{rule}");
    }
}

/// A script that writes its number and that of a child, and ends only if it is killed.
const STUBBORN: &str = "trap '' TERM; sleep 1000 & echo $! > child; echo $$ > self; wait; wait";

#[test]
fn a_client_that_ends_ends_its_command_with_all_that_it_started() {
    let place = Place::with([("a", "content")]);
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        for option in ["--exec", "--on-complete"] {
            for more in [&[][..], &["--max-time", "1000"]] {
                let here = Scratch::new();
                let script = here.write("script", STUBBORN);
                let command = format!("sh {}", script.to_str().expect("a path"));
                let client = place.ftget().in_folder(here.path());
                let client = client.args([option, &command]).args(more);
                let client = client.arg(place.server.source("a")).start();
                let child = line_of(&here.join("child"));
                let own = line_of(&here.join("self"));
                client.signal(signal);
                assert_eq!(client.terminating_signal(), Some(signal), "{option}");
                wait_until_gone(&own);
                wait_until_gone(&child);
            }
        }
    }
}

/// A command that leaves a process behind, in a session of its own, and writes its number.
fn leaves_behind(file: &Path) -> String {
    let file = file.to_str().expect("a path");
    // In the background twice: its parent ends at once.
    let orphan = format!("(setsid sh -c \"echo \\$\\$ > {file}; exec sleep 1000\" &) &");
    format!("{orphan} until [ -s {file} ]; do :; done; echo ok")
}

#[test]
fn a_published_command_ends_with_all_that_it_started() {
    let root = Scratch::new();
    let place = Scratch::new();
    let (first, second) = (place.join("first"), place.join("second"));
    let ends = place.write("ends", leaves_behind(&first));
    let goes_on = place.write("goes_on", leaves_behind(&second) + "; sleep 1000");
    let publish = |name: &str, script: &Path| format!("{name}=sh {}", script.display());
    let mut server = TestServer::builder(root.path())
        .args(["--publish", &publish("ends", &ends)])
        .args(["--publish", &publish("goes_on", &goes_on)])
        .start();
    let mut waiting = server.connect();
    waiting.send_frame(r#"{"op":"run","filename":"goes_on"}"#);
    let of_second = line_of(&second);
    let answer = server.connect().ask(r#"{"op":"run","filename":"ends"}"#);
    answer.assert_file("ends", b"ok\n");
    wait_until_gone(&line_of(&first));
    assert!(runs(&of_second), "a command that still runs has lost one");
    // Neither are they left as zombies.
    let deadline = Instant::now() + DEADLINE;
    while server.facts().children().len() > 2 {
        assert!(Instant::now() < deadline, "{:?}", server.facts().children());
    }
    server.signal(Signal::TERM);
    server.signal(Signal::TERM);
    server.wait_code();
    wait_until_gone(&of_second);
}

#[test]
fn process_1_leaves_no_zombies_and_loses_no_exit_code() {
    let root = Scratch::with_files([("a", "content")]);
    let here = Scratch::new();
    let orphan = "(sh -c 'exit 5' &) & exit 3";
    let published = here.write("published", orphan);
    // Some are there already, as an entry point may leave them.
    let script = r#"cd "$1" && shift; for i in 1 2 3; do sh -c 'exit 5' & done; exec "$@""#;
    let command = format!(
        r#"for i in 1 2 3 4 5; do
            (sh -c 'exit 5' &) &
            {} "$FTSERVE_ADDR/@p"; [ $? = 1 ] || exit 71
        done
        tries=0
        while ps -eo ppid=,stat= | grep -q '^ *1 Z'; do
            tries=$((tries + 1)); [ $tries -lt 3000 ] || exit 72
        done
        exit 42"#,
        env!("CARGO_BIN_EXE_ftget")
    );
    let publish = format!("p=sh {}", published.display());
    let args = [
        here.path().as_os_str(),
        env!("CARGO_BIN_EXE_ftserve").as_ref(),
        "--bind".as_ref(),
        "127.0.0.1:0".as_ref(),
        "--publish".as_ref(),
        publish.as_ref(),
        root.path().as_os_str(),
        "--".as_ref(),
        "sh".as_ref(),
        "-c".as_ref(),
        command.as_ref(),
    ];
    if let Some(output) = in_own_processes(script, args) {
        output.expect_code(42);
    }
}

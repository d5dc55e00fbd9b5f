//! Programs whose standard error is a full pipe that nobody reads: they serve, reload and end all
//! the same.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

use rustix::fs::OFlags;
use rustix::process::Signal;

use crate::harness::{DEADLINE, Program, RawPeer, Running, Scratch};
use crate::place::Place;

/// Runs a program whose standard error is a full pipe, which it could read itself, so that it is
/// never closed.
const FULL: &str = r#"
    mkfifo "$0" && exec 3<>"$0" || exit 99
    dd if=/dev/zero of="$0" bs=4096 oflag=nonblock 2>/dev/null
    dd if=/dev/zero of="$0" bs=1 oflag=nonblock 2>/dev/null
    exec "$@" 2>&3 3>&-
"#;

fn full(place: &Scratch) -> Vec<String> {
    let fifo = place.join("full").display().to_string();
    ["sh", "-c", FULL, &fifo].map(str::to_owned).into()
}

/// A server of a unix socket whose standard error is full, and the place of both.
struct Unread {
    place: Scratch,
    server: Running,
}

impl Unread {
    #[track_caller]
    fn start(args: &[&str]) -> Unread {
        let place = Scratch::with_files([("root/a", "content")]);
        place.write("ftserve.toml", "");
        let server = Program::ftserve()
            .through(full(&place))
            .in_folder(place.path())
            .args(["--bind", "unix:socket", "--index", "index"])
            .args(args)
            .arg("root");
        let server = server.start();
        let unread = Unread { place, server };
        unread.assert_serves();
        unread
    }

    #[track_caller]
    fn assert_serves(&self) {
        let mut peer = self.connect();
        peer.ask(r#"{"filename":"a"}"#).assert_file("a", b"content");
    }

    #[track_caller]
    fn connect(&self) -> RawPeer {
        let address = format!("unix:{}", self.place.join("socket").display());
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Ok(peer) = RawPeer::try_connect(&address) {
                return peer;
            }
            assert!(Instant::now() < deadline, "it does not listen");
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_server_that_nobody_reads_serves_and_ends() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let unread = Unread::start(&[]);
        unread.server.signal(signal);
        assert_eq!(unread.server.terminating_signal(), Some(signal));
    }
}

#[test]
fn a_log_that_nobody_reads_holds_up_no_answer_and_no_end() {
    let unread = Unread::start(&["--access-log", "/dev/stderr"]);
    for _ in 0..20 {
        unread.assert_serves();
    }
    // The log cannot be opened anew: that holds up nothing either.
    unread.server.signal(Signal::HUP);
    unread.assert_serves();
    unread.server.signal(Signal::TERM);
    assert_eq!(unread.server.terminating_signal(), Some(Signal::TERM));
}

#[test]
fn a_server_that_nobody_reads_reads_its_options_anew() {
    let unread = Unread::start(&["--config", "ftserve.toml", "--access-log", "log"]);
    let log = unread.place.join("log");
    fs::rename(&log, unread.place.join("log.1")).expect("a log");
    unread.place.write("ftserve.toml", "min-rate = \"2k\"\n");
    unread.server.signal(Signal::HUP);
    let deadline = Instant::now() + DEADLINE;
    while !log.exists() {
        assert!(Instant::now() < deadline, "the log is not opened anew");
        std::thread::yield_now();
    }
    unread.assert_serves();
    unread.server.signal(Signal::TERM);
    assert_eq!(unread.server.terminating_signal(), Some(Signal::TERM));
}

#[test]
fn messages_that_nobody_reads_are_counted() {
    let unread = Unread::start(&["--publish", "p=sh -c 'seq 2000 >&2'"]);
    let mut peer = unread.connect();
    peer.ask(r#"{"op":"run","filename":"p"}"#)
        .assert_file("p", b"");
    let fifo = unread.place.join("full");
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let fifo = OpenOptions::new().read(true).custom_flags(flags).open(fifo);
    let mut fifo = fifo.expect("a FIFO");
    let (mut messages, mut piece) = (String::new(), [0; 4096]);
    let deadline = Instant::now() + DEADLINE;
    while !messages.contains(" messages lost: standard error was not read\n") {
        assert!(Instant::now() < deadline, "{}", messages.trim_matches('\0'));
        match fifo.read(&mut piece) {
            Ok(count) => messages += &String::from_utf8_lossy(&piece[..count]),
            Err(_) => std::thread::yield_now(),
        }
    }
    unread.server.signal(Signal::TERM);
    assert_eq!(unread.server.terminating_signal(), Some(Signal::TERM));
}

#[test]
fn options_that_cannot_be_read_hold_up_no_end() {
    let unread = Unread::start(&["--config", "ftserve.toml"]);
    let file = unread.place.join("ftserve.toml");
    fs::remove_file(&file).expect("a file");
    Program::system("mkfifo", "coreutils")
        .arg(&file)
        .run()
        .expect_code(0);
    unread.server.signal(Signal::HUP);
    unread.assert_serves();
    unread.server.signal(Signal::TERM);
    assert_eq!(unread.server.terminating_signal(), Some(Signal::TERM));
}

#[test]
fn the_command_of_a_server_that_nobody_reads_runs_to_its_end() {
    let place = Scratch::with_files([("root/a", "content")]);
    let served = Program::ftserve()
        .through(full(&place))
        .in_folder(place.path())
        .args(["--bind", "unix:socket", "root", "--"])
        .arg(env!("CARGO_BIN_EXE_ftget"))
        .args(["-o", "-", "unix:socket:a"]);
    assert_eq!(served.run().expect_code(0).text(), "content");
}

#[test]
fn an_indexer_that_nobody_reads_ends() {
    let place = Scratch::new();
    let root = place.make_dir("root");
    let file = fs::File::create(root.join("large")).expect("a file");
    file.set_len(1 << 40).expect("a sparse file");
    let indexer = Program::ftserve()
        .through(full(&place))
        .in_folder(place.path())
        .args(["index", "root", "--index", "index"])
        .start();
    let deadline = Instant::now() + DEADLINE;
    while !Path::new(&place.join("index")).exists() {
        assert!(Instant::now() < deadline, "it does not begin");
        std::thread::yield_now();
    }
    indexer.signal(Signal::TERM);
    assert_eq!(indexer.terminating_signal(), Some(Signal::TERM));
}

#[test]
fn a_client_that_nobody_reads_ends() {
    let place = Place::with([("a", "content")]);
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let here = Scratch::new();
        // It waits for its first message to be read.
        let client = place
            .ftget()
            .through(full(&here))
            .in_folder(here.path())
            .arg(place.server.source("a"))
            .arg(place.server.source("missing"))
            .start();
        let deadline = Instant::now() + DEADLINE;
        while !here.join("a").exists() {
            assert!(Instant::now() < deadline, "it does not begin");
            std::thread::yield_now();
        }
        client.signal(signal);
        assert_eq!(client.terminating_signal(), Some(signal));
    }
}

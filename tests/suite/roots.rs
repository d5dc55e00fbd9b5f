//! A root that is made anew, moved, linked elsewhere or mounted over while it is served.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{DEADLINE, Program, RawPeer, Scratch, TestServer, in_own_mounts};

/// A server of a name in a directory of its own.
struct Served {
    place: Scratch,
    server: TestServer,
}

impl Served {
    /// Serves `name` in a directory that `make` has filled.
    fn new(name: &str, make: impl FnOnce(&Path)) -> Served {
        Served::with(name, make, &["--index", "memory"])
    }

    fn with(name: &str, make: impl FnOnce(&Path), args: &[&str]) -> Served {
        let place = Scratch::new();
        make(place.path());
        let log = place.join("log");
        let server = TestServer::builder(place.join(name))
            .args(["--access-log".as_ref(), log.as_os_str()])
            .args(args)
            .start();
        Served { place, server }
    }

    /// Asks for a file until it has these bytes.
    #[track_caller]
    fn expect(&self, name: &str, bytes: &str) {
        let mut peer = self.server.connect();
        until(|| {
            let answer = peer.ask(format!(r#"{{"op":"get","filename":"{name}"}}"#));
            answer.body == bytes.as_bytes()
        });
    }

    /// Asks for a file until the answer has this code; returns its message.
    #[track_caller]
    fn expect_code(&self, name: &str, code: &str) -> String {
        let mut peer = self.server.connect();
        let mut message = String::new();
        until(|| {
            let answer = peer.ask(format!(r#"{{"op":"get","filename":"{name}"}}"#));
            let is_it = answer.code() == Some(code);
            if is_it {
                message = answer.message().to_owned();
            }
            is_it
        });
        message
    }

    /// Waits until lines with these words, and no others about the root, were written in turn.
    #[track_caller]
    fn expect_said(&self, words: &[&str]) {
        let said = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| line.contains("root "));
            lines.map(str::to_owned).collect()
        };
        let enough = |text: &str| said(text).len() >= words.len();
        let lines = said(
            &self
                .server
                .stderr()
                .wait_until("lines about the root", enough),
        );
        assert_eq!(lines.len(), words.len(), "{lines:?}");
        for (line, word) in lines.iter().zip(words) {
            assert!(line.contains(word), "{line}");
        }
    }
}

#[track_caller]
fn until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it does not come");
        thread::sleep(Duration::from_millis(20));
    }
}

fn directory(path: &Path, text: &str) {
    fs::create_dir(path).expect("a directory");
    fs::write(path.join("f"), text).expect("a file");
}

fn remove(path: &Path) {
    fs::remove_dir_all(path).expect("a directory less");
}

fn rename(from: &Path, to: &Path) {
    fs::rename(from, to).expect("a rename");
}

fn link(target: &str, path: &Path) {
    let new = path.with_extension("new");
    symlink(target, &new).expect("a link");
    rename(&new, path);
}

#[test]
fn a_directory_that_is_made_anew_is_served() {
    let served = Served::new("d", |place| directory(&place.join("d"), "old"));
    served.expect("f", "old");
    remove(&served.place.join("d"));
    directory(&served.place.join("d"), "new");
    served.expect("f", "new");
}

#[test]
fn a_directory_that_takes_the_place_of_another_is_served_and_said_once() {
    let served = Served::new("d", |place| directory(&place.join("d"), "old"));
    for text in ["second", "third"] {
        directory(&served.place.join("aside"), text);
        rename(&served.place.join("d"), &served.place.join(text));
        rename(&served.place.join("aside"), &served.place.join("d"));
        served.expect("f", text);
    }
    served.expect("f", "third");
    served.expect_said(&["was replaced", "was replaced"]);
}

#[test]
fn a_link_to_a_release_is_followed_to_the_next_one() {
    let served = Served::new("current", |place| {
        directory(&place.join("release-1"), "one");
        directory(&place.join("release-2"), "two");
        link("release-1", &place.join("current"));
    });
    let mut early = served.server.connect();
    served.expect("f", "one");
    link("release-2", &served.place.join("current"));
    served.expect("f", "two");
    let answer = early.ask(r#"{"op":"get","filename":"f"}"#);
    assert_eq!(answer.body, b"two", "on a connection that was there before");
    served.expect_said(&["was replaced"]);
}

#[test]
fn a_link_to_a_file_is_followed_to_the_next_one() {
    let served = Served::new("latest", |place| {
        directory(&place.join("1"), "one");
        directory(&place.join("2"), "two");
        link("1/f", &place.join("latest"));
    });
    served.expect("latest", "one");
    link("2/f", &served.place.join("latest"));
    served.expect("latest", "two");
    served.expect("", "two");
    // And a file that is replaced where it is.
    fs::write(served.place.join("2/g"), "three").expect("a file");
    rename(&served.place.join("2/g"), &served.place.join("2/f"));
    served.expect("latest", "three");
}

#[test]
fn a_root_that_is_away_answers_so_until_it_is_back() {
    let served = Served::new("d", |place| directory(&place.join("d"), "old"));
    remove(&served.place.join("d"));
    until(|| served.expect_code("f", "not_found").contains("directory"));
    let mut peer = served.server.connect();
    for request in [
        r#"{"op":"list","filename":""}"#,
        r#"{"op":"stat","filename":""}"#,
        r#"{"op":"get","filename":"f"}"#,
    ] {
        let answer = peer.ask(request);
        assert_eq!(answer.code(), Some("not_found"), "{request}");
        assert_eq!(answer.message(), "served directory is missing now");
    }
    directory(&served.place.join("d"), "new");
    served.expect("f", "new");
    served.expect_said(&["cannot be served", "is back"]);
}

#[test]
fn the_directory_it_was_started_in_may_be_made_anew() {
    let place = Scratch::new();
    directory(&place.join("d"), "old");
    let script = r#"cd "$1" && shift && exec "$@""#;
    let server = TestServer::builder(".")
        .args(["--index", "memory"])
        .through([
            "sh".as_ref(),
            "-c".as_ref(),
            script.as_ref(),
            "sh".as_ref(),
            place.join("d").as_os_str(),
        ])
        .start();
    let served = Served { place, server };
    served.expect("f", "old");
    remove(&served.place.join("d"));
    directory(&served.place.join("d"), "new");
    served.expect("f", "new");
}

#[test]
fn a_hangup_has_the_root_looked_at_though_nobody_asks() {
    let served = Served::with(
        "d",
        |place| directory(&place.join("d"), "old"),
        &["--index", "memory", "--no-prehash"],
    );
    directory(&served.place.join("aside"), "new");
    rename(&served.place.join("d"), &served.place.join("before"));
    rename(&served.place.join("aside"), &served.place.join("d"));
    served.server.signal(Signal::HUP);
    served.expect_said(&["was replaced"]);
    let answer = served
        .server
        .connect()
        .ask(r#"{"op":"get","filename":"f"}"#);
    assert_eq!(answer.body, b"new");
}

#[test]
fn no_listing_goes_on_in_another_root() {
    let fill = |path: &Path, text: &str| {
        directory(path, text);
        fs::write(path.join("g"), text).expect("a file");
    };
    let served = Served::new("current", |place| {
        fill(&place.join("1"), "one");
        fill(&place.join("2"), "two");
        link("1", &place.join("current"));
    });
    let first = r#"{"op":"list","filename":"","limit":1}"#;
    let mut early = served.server.connect();
    let page = early.ask(first);
    assert!(page.str("next").len() > 8, "{}", page.text);
    let rest = format!(
        r#"{{"op":"list","filename":"","after":"{}"}}"#,
        page.str("next")
    );
    link("2", &served.place.join("current"));
    served.expect("f", "two");
    let answer = served.server.connect().ask(&rest);
    assert_eq!(answer.code(), Some("changed"), "{}", answer.text);
    // Where the listing is still open it is whole.
    let answer = early.ask(&rest);
    assert_eq!(
        (answer.code(), answer.header["last"].as_bool()),
        (None, Some(true))
    );
    let page = served.server.connect().ask(first);
    let rest = format!(
        r#"{{"op":"list","filename":"","after":"{}"}}"#,
        page.str("next")
    );
    assert_eq!(served.server.connect().ask(&rest).code(), None);
}

#[test]
fn what_is_hashed_ahead_is_hashed_in_the_next_root_too() {
    let listed = |peer: &mut RawPeer| {
        let page = peer.ask(r#"{"op":"list","filename":""}"#);
        String::from_utf8(page.body).expect("text")
    };
    let is_hashed = |text: &str| text.contains("\"f\"") && !text.contains(r#""md5":"""#);
    let own = Scratch::new();
    let index = own.join("index");
    for watch in [&[][..], &["--watch"]] {
        let args = ["--index", index.to_str().expect("text")];
        let served = Served::with(
            "d",
            |place| directory(&place.join("d"), "old"),
            &[&args[..], watch].concat(),
        );
        let mut peer = served.server.connect();
        until(|| is_hashed(&listed(&mut peer)));
        directory(&served.place.join("aside"), "new");
        rename(&served.place.join("d"), &served.place.join("before"));
        rename(&served.place.join("aside"), &served.place.join("d"));
        served.expect("f", "new");
        until(|| is_hashed(&listed(&mut peer)));
    }
}

#[test]
fn the_index_is_not_served_from_the_next_root_either() {
    let place = Scratch::new();
    directory(&place.join("1"), "one");
    directory(&place.join("2"), "two");
    link("1", &place.join("current"));
    let index = place.join("2/digests");
    let server = TestServer::builder(place.join("current"))
        .args(["--index".as_ref(), index.as_os_str()])
        .start();
    let served = Served { place, server };
    link("2", &served.place.join("current"));
    served.expect("f", "two");
    assert!(index.exists());
    let mut peer = served.server.connect();
    let answer = peer.ask(r#"{"op":"get","filename":"digests"}"#);
    assert_eq!(answer.code(), Some("not_found"));
    let page = peer.ask(r#"{"op":"list","filename":""}"#);
    assert!(!String::from_utf8_lossy(&page.body).contains("digests"));
}

#[test]
fn what_is_mounted_over_the_root_is_served_and_unmounted_again() {
    // The server holds nothing that would keep what is mounted from being unmounted.
    let script = r#"
        set -eu
        cd "$3"; mkdir d; echo under > d/f
        "$1" --quiet --index memory --no-prehash --bind "unix:$3/socket" d 2>err & server=$!
        trap 'kill $server' EXIT
        expect() {
            for _ in $(seq 1200); do
                got=$("$2" --quiet --retry 0 -o - "unix:socket:f" 2>&1) || :
                [ "$got" = "$1" ] && return
                sleep 0.05
            done
            echo "not $1 but: $got" >&2; cat err >&2; exit 1
        }
        expect under "$2"
        mount -t tmpfs none d || exit 99
        echo over > d/f
        expect over "$2"
        umount -l d
        expect under "$2"
    "#;
    let place = Scratch::new();
    let args = [
        env!("CARGO_BIN_EXE_ftserve").as_ref(),
        env!("CARGO_BIN_EXE_ftget").as_ref(),
        place.path().as_os_str(),
    ];
    if let Some(output) = in_own_mounts(script, args) {
        output.expect_code(0);
    }
}

#[test]
fn a_root_that_is_not_there_at_the_start_is_an_error() {
    let place = Scratch::new();
    let serve = Program::ftserve().args(["--bind", "127.0.0.1:0"]);
    let output = serve.arg(place.join("missing")).run().expect_code(3);
    assert!(output.stderr.contains("cannot serve"), "{}", output.stderr);
}

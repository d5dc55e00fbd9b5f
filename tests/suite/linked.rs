//! The same content under several names comes once; its other names are copied here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use serde_json::Value;

use crate::cases::NamedCase;
use crate::harness::{DEADLINE, Output, Program, Proxy, Scratch, md5_hex, noise};
use crate::picture::picture;
use crate::place::{Place, event};

/// A server of a content under three names, two others, and one that is small under two.
fn place() -> Place {
    let content = noise(1, SIZE);
    let place = Place::with([
        ("one", &content[..]),
        ("sub/two", &content),
        ("sub/deep/three", &content),
        ("other", &noise(2, SIZE)),
        ("sub/small", b"small"),
        ("small", b"small"),
    ]);
    let mode = fs::Permissions::from_mode(0o640);
    fs::set_permissions(place.root.join("sub/two"), mode).expect("its permissions");
    place
}

/// The same, whose server knows all digests, and so tells them when it lists.
fn known_place() -> Place {
    let place = place();
    let list = |style| {
        let list = Program::ftget().args(["-r", style]);
        list.arg(place.server.source("")).run().expect_code(0)
    };
    let deadline = Instant::now() + DEADLINE;
    loop {
        // Files that changed just now are remembered a moment later.
        list("--list=md5sum");
        let is_known = |entry: &Value| entry["type"] != "file" || entry["md5"] != "";
        if list("--list=json").json_lines().iter().all(is_known) {
            return place;
        }
        assert!(Instant::now() < deadline, "digests are not remembered");
    }
}

/// The names of each action, sorted.
fn names<'a>(events: &'a [Value], action: &str) -> Vec<&'a str> {
    let done = events.iter().filter(|event| event["action"] == action);
    let mut names: Vec<_> = done
        .map(|event| event["filename"].as_str().expect("a name"))
        .collect();
    names.sort();
    names
}

#[track_caller]
fn assert_comes_once(output: &Output, bytes: usize) {
    let events = output.json_lines();
    let summary = event(&events, "summary");
    assert_eq!(summary["linked"], 2, "{events:?}");
    assert_eq!(summary["bytes"].as_u64(), Some(bytes as u64), "{summary}");
    let linked = events.iter().filter(|event| event["action"] == "linked");
    for event in linked {
        assert_eq!(event["md5"], md5_hex(noise(1, SIZE)), "{event}");
        assert_eq!(event["total_size"].as_u64(), Some(SIZE as u64), "{event}");
    }
}

#[test]
fn a_tree_is_as_at_its_source_and_each_content_came_once() {
    let place = known_place();
    let cases: [&[&str]; 8] = [
        &[],
        &["-j", "1"],
        &["--split", "4"],
        &["--no-resume"],
        &["--sync", "never"],
        &["--sync", "always"],
        &["--if-exists", "skip"],
        &["--index", "off"],
    ];
    for args in cases {
        let _case = NamedCase(format!("{args:?}"));
        let (here, proxy) = (Scratch::new(), Proxy::to(place.server.addr()).start());
        let fetch = Program::ftget()
            .args(["-r", "--json", "-d"])
            .arg(here.path());
        let output = fetch.args(args).arg(format!("{}/", proxy.addr())).run();
        assert_comes_once(&output.expect_code(0), 2 * SIZE + 10);
        assert_eq!(picture(here.path()), picture(place.root.path()));
        let on_the_wire = proxy.tally().bytes();
        assert!(
            on_the_wire < 2 * SIZE as u64 + 100_000,
            "{on_the_wire} bytes"
        );
    }
}

#[test]
fn what_is_in_the_way_of_a_copy_is_treated_as_ever() {
    let place = known_place();
    for (policy, placed, code) in [
        ("update", "sub/two", 0),
        ("overwrite", "sub/two", 0),
        ("rename", "sub/two.1", 0),
        ("error", "", 12),
    ] {
        let _case = NamedCase(policy.to_owned());
        let here = Scratch::with_files([("sub/two", "in the way")]);
        let fetch = Program::ftget()
            .args(["-r", "--json", "-d"])
            .arg(here.path());
        let fetch = fetch.args(["--if-exists", policy]);
        let output = fetch.arg(place.server.source("")).run().expect_code(code);
        let linked = if code == 0 { 2 } else { 1 };
        assert_eq!(event(&output.json_lines(), "summary")["linked"], linked);
        if placed != "sub/two" {
            assert_eq!(here.read("sub/two"), b"in the way");
        }
        if code == 0 {
            assert!(here.read(placed) == noise(1, SIZE));
        }
    }
}

#[test]
fn a_list_with_a_digest_twice_fetches_it_once_and_a_name_that_is_missing_costs_nothing_else() {
    let place = place();
    let md5 = md5_hex(noise(1, SIZE));
    let list = format!("{md5}  gone\n{md5}  one\n{md5}  sub/two\n{md5}  sub/deep/three\n");
    for args in [&[][..], &["-j", "1"], &["--split", "4"]] {
        let _case = NamedCase(format!("{args:?}"));
        let here = Scratch::new();
        let fetch = Program::ftget().args(["-i", "-", "--json", "-d"]);
        let fetch = fetch.arg(here.path()).args(args).input(list.clone());
        let output = fetch.arg(place.server.source("")).run().expect_code(11);
        assert_comes_once(&output, SIZE);
        for name in ["one", "sub/two", "sub/deep/three"] {
            assert!(here.read(name) == noise(1, SIZE), "{name} differs");
        }
    }
}

#[test]
fn what_would_be_copied_is_shown() {
    let place = known_place();
    let fetch = || {
        place
            .ftget()
            .args(["-r", "-n"])
            .arg(place.server.source(""))
    };
    let shown = fetch().run().expect_code(0).text();
    let line = "sub/two: would be copied from another file here, 683.59 KiB\n";
    assert!(shown.contains(line), "{shown}");
    let events = fetch().arg("--json").run().expect_code(0).json_lines();
    assert_eq!(names(&events, "linked"), ["sub/deep/three", "sub/two"]);
    assert!(place.here.names().is_empty());
    // What is here already counts, too, and so does what a list says.
    let content = noise(1, SIZE);
    place.here.write("one", &content);
    let md5 = md5_hex(content);
    let list = format!("{md5}  one\n{md5}  sub/two\n");
    let fetch = place.ftget().args(["-i", "-", "-n", "--json"]).input(list);
    let events = fetch.arg(place.server.source("")).run();
    let events = events.expect_code(0).json_lines();
    assert_eq!(names(&events, "linked"), ["sub/two"]);
    assert_eq!(names(&events, "identical"), ["one"]);
}

#[test]
fn a_copy_is_told_recorded_and_handed_on_as_what_was_fetched() {
    let place = known_place();
    let fetch = place.ftget().args(["-r", "--json", "-v", "-d", "all"]);
    let fetch = fetch.args(["--receipts", "receipts", "--exec", "wc -c"]);
    let report = "sh -c 'echo $FTGET_DONE $FTGET_LINKED $FTGET_BYTES >total'";
    let fetch = fetch.args(["--on-complete", report]);
    let output = fetch.arg(place.server.source("")).run().expect_code(0);
    let events = output.json_lines();
    for event in events.iter().filter(|event| event["event"] == "done") {
        assert_eq!(event["exec_status"], 0, "{event}");
    }
    assert_eq!(names(&events, "linked").len(), 2, "{events:?}");
    let told = ": linked, 683.59 KiB in ";
    assert_eq!(output.stderr.matches(told).count(), 2, "{}", output.stderr);
    let total = format!("6 2 {}\n", 2 * SIZE + 10);
    assert_eq!(place.here.read("total"), total.as_bytes());
    assert_eq!(
        place
            .here
            .read("receipts")
            .split(|byte| *byte == b'\n')
            .count(),
        7
    );
    let check = place.ftget().args(["--check", "--receipts", "receipts"]);
    check.run().expect_code(0);
}

const SIZE: usize = 700_000;

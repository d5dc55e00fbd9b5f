//! Modes and times of files that are here already: a second run makes them those of the source.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use serde_json::Value;

use crate::harness::{Output, noise};
use crate::picture::picture;
use crate::place::Place;
use crate::trees::set_time;

const CHECKED: [&str; 3] = ["--check", "--preserve", "mode,mtime"];

fn place() -> Place {
    let large = noise(1, 300_000);
    let files = [
        ("mode", &b"1"[..]),
        ("time", b"2"),
        ("sub/both", &large),
        ("same", b"4"),
    ];
    let place = Place::with(files);
    fetch(&place, &[]).expect_code(0);
    place
}

fn fetch(place: &Place, args: &[&str]) -> Output {
    let program = place.ftget().args(["-r", "-d", "d"]).args(args);
    program.arg(place.server.source("")).run()
}

fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its permissions");
}

/// At the source the files called so get other attributes.
fn change(place: &Place) {
    set_mode(place.root.join("mode"), 0o4700);
    set_time(&place.root.join("time"), 1_500_000_000);
    set_mode(place.root.join("sub/both"), 0o727);
    set_time(&place.root.join("sub/both"), 1_600_000_000);
}

/// How `--check` says that each file differs.
fn differences(place: &Place) -> Vec<(String, String)> {
    let args = [&CHECKED[..], &["--json"]].concat();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let events = fetch(place, &args).json_lines();
    let differing = events.iter().filter(|event| event["event"] == "differs");
    differing
        .map(|event| (text(&event["filename"]), text(&event["reason"])))
        .collect()
}

/// Nothing about the files here, ctime included.
fn touched(place: &Place) -> Vec<(i64, i64, u32)> {
    let facts = |name: &&str| {
        let meta = fs::metadata(place.here.join("d").join(name)).expect("a file");
        (meta.ctime(), meta.ctime_nsec(), meta.mode())
    };
    ["mode", "time", "sub/both", "same"]
        .iter()
        .map(facts)
        .collect()
}

#[test]
fn a_second_run_makes_modes_and_times_those_of_the_source() {
    let place = place();
    change(&place);
    let named = [
        ("mode", "mode"),
        ("sub/both", "mode,mtime"),
        ("time", "mtime"),
    ];
    let named = named.map(|(name, reason)| (name.to_owned(), reason.to_owned()));
    assert_eq!(differences(&place), named);
    let before = touched(&place);
    let told = fetch(&place, &["--json"]).expect_code(0).json_lines();
    let done: Vec<_> = told
        .iter()
        .filter(|event| event["event"] == "done")
        .collect();
    assert_eq!(done.len(), 4, "{done:?}");
    assert!(
        done.iter().all(|event| event["action"] == "identical"),
        "{done:?}"
    );
    assert_eq!(touched(&place)[3], before[3]);
    fetch(&place, &CHECKED).expect_code(0);
    // What nobody hands out, and what the umask forbids here, is not made.
    set_mode(place.root.join("mode"), 0o700);
    set_mode(place.root.join("sub/both"), place.here_mode("sub/both"));
    assert_eq!(place.here_mode("sub/both"), 0o727 & !umask(&place));
    assert_eq!(picture(&place.here.join("d")), picture(place.root.path()));
    let before = touched(&place);
    fetch(&place, &[]).expect_code(0);
    assert_eq!(touched(&place), before, "touched for nothing");
}

impl Place {
    fn here_mode(&self, name: &str) -> u32 {
        let meta = fs::metadata(self.here.join("d").join(name)).expect("a file");
        meta.mode() & 0o7777
    }
}

fn umask(place: &Place) -> u32 {
    let reference = place.here.join("reference");
    fs::create_dir_all(&reference).expect("a folder");
    let mode = fs::metadata(&reference).expect("a folder").mode();
    !mode & 0o777
}

#[test]
fn links_have_the_time_of_the_source_too() {
    let place = Place::with([("file", "1")]);
    let there = place.root.join("link");
    symlink("file", &there).expect("a link");
    let listed = |args: &[&str]| {
        let told = fetch(&place, args).json_lines();
        let of_link = |event: &&Value| event["filename"] == "link";
        told.iter().find(of_link).expect("the link").clone()
    };
    for (seconds, action) in [(1_500_000_000, "link"), (1_600_000_000, "identical")] {
        set_time(&there, seconds);
        set_time(&place.root.join("file"), 1_000_000_000);
        let done = listed(&["--json"]);
        assert_eq!(
            (&done["event"], &done["action"]),
            (&"done".into(), &action.into())
        );
        let here = fs::symlink_metadata(place.here.join("d/link")).expect("a link");
        assert_eq!(
            (here.mtime(), here.mtime_nsec()),
            (seconds as i64, 123_456_789)
        );
        // What it leads to keeps its own.
        let target = fs::metadata(place.here.join("d/link")).expect("a file");
        assert_eq!(target.mtime(), 1_000_000_000);
        fetch(&place, &CHECKED).expect_code(0);
    }
    set_time(&there, 1_700_000_000);
    let differs = listed(&[&CHECKED[..], &["--json"]].concat());
    assert_eq!(
        (&differs["event"], &differs["reason"]),
        (&"differs".into(), &"mtime".into())
    );
    for args in [
        ["--preserve", "mode"],
        ["--preserve", "none"],
        ["--if-exists", "skip"],
    ] {
        fetch(&place, &args).expect_code(0);
        let here = fs::symlink_metadata(place.here.join("d/link")).expect("a link");
        assert_eq!(here.mtime(), 1_600_000_000);
    }
}

#[test]
fn who_does_not_preserve_them_or_skips_what_is_there_changes_nothing() {
    let place = place();
    change(&place);
    let before = touched(&place);
    for args in [["--preserve", "none"], ["--if-exists", "skip"]] {
        fetch(&place, &args).expect_code(0);
        assert_eq!(touched(&place), before, "{args:?}");
    }
    fetch(&place, &["--preserve", "mtime"]).expect_code(0);
    let reasons = differences(&place);
    let named = [("mode", "mode"), ("sub/both", "mode")];
    let named = named.map(|(name, reason)| (name.to_owned(), reason.to_owned()));
    assert_eq!(reasons, named);
}

#[test]
fn a_single_file_gets_them_too() {
    let place = place();
    change(&place);
    for _ in 0..2 {
        let program = place.ftget().args(["-d", "d/sub", "--json"]);
        let program = program.args(["--preserve", "mode,mtime"]);
        let run = program.arg(place.server.source("sub/both")).run();
        let told = run.expect_code(0).json_lines();
        let done = told.iter().find(|event| event["event"] == "done");
        assert_eq!(done.expect("it is done")["action"], "identical");
        let here = fs::metadata(place.here.join("d/sub/both")).expect("a file");
        assert_eq!(here.mode() & 0o7777, 0o727 & !umask(&place));
        assert_eq!(
            (here.mtime(), here.mtime_nsec()),
            (1_600_000_000, 123_456_789)
        );
    }
}

#[test]
fn the_files_of_others_stay_as_they_are_and_nothing_fails() {
    if !rustix::process::geteuid().is_root() {
        // Nobody else can give files away.
        return;
    }
    let place = place();
    change(&place);
    for name in ["mode", "time", "sub/both"] {
        chown(place.here.join("d").join(name), Some(65_534), None).expect("another owner");
    }
    let before = touched(&place);
    let program = place.ftget().args(["-r", "-d", "d", "--json"]);
    let program = program.arg(place.server.source(""));
    let run = program.through(["setpriv", "--inh-caps=-fowner", "--bounding-set=-fowner"]);
    let output = run.run().expect_code(0);
    assert_eq!(output.json_lines().last().expect("a summary")["failed"], 0);
    assert_eq!(touched(&place), before);
    assert_eq!(differences(&place).len(), 3);
    // Root, with all of its powers, may.
    fetch(&place, &[]).expect_code(0);
    fetch(&place, &CHECKED).expect_code(0);
}

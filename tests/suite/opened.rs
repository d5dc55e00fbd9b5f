//! `--delete` in folders that cannot be looked into: those of this user are opened up for it, and
//! of others it is said that they stay.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use serde_json::Value;

use crate::files::unprivileged_reader;
use crate::harness::{Output, Program};
use crate::mirrors::{deleted, names, tree};
use crate::picture::picture;
use crate::place::{Place, event};

/// Makes a mirror with no power to go beyond permissions.
fn mirror(place: &Place, args: &[&str]) -> Output {
    let client = Program::ftget()
        .args(["--json", "-r", "--delete"])
        .args(args);
    let client = client.arg("-d").arg(place.here.join("m"));
    let client = client.arg(place.server.source(""));
    client.through(unprivileged_reader()).run()
}

fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
}

fn errors(events: &[Value]) -> Vec<&str> {
    let errors = events.iter().filter(|event| event["event"] == "error");
    errors
        .map(|event| event["filename"].as_str().expect("a name"))
        .collect()
}

fn would_be_deleted(events: &[Value]) -> Vec<&str> {
    let would = events.iter().filter(|event| event["action"] == "deleted");
    would
        .map(|event| event["filename"].as_str().expect("a name"))
        .collect()
}

#[test]
fn folders_of_ours_are_opened_up_to_delete_in_them_and_are_what_they_were() {
    // The server may read what the client may not, and what is here belongs to both.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = Place::with(
        [
            "locked/gone",
            "locked/in/gone",
            "locked/in/kept",
            "locked/turns/x",
            "old/deep/gone",
            "unread/gone",
            "unread/kept",
        ]
        .map(|name| (name, name)),
    );
    let modes = [
        ("locked", 0),
        ("locked/in", 0),
        ("locked/turns", 0o111),
        ("old", 0o600),
        ("old/deep", 0),
        ("unread", 0o311),
    ];
    for (folder, mode) in modes {
        set_mode(place.root.join(folder), mode);
    }
    mirror(&place, &[]).expect_code(0);
    let here = place.here.join("m");
    for gone in ["locked/gone", "locked/in/gone", "unread/gone"] {
        fs::remove_file(place.root.join(gone)).expect("removed");
    }
    for gone in ["locked/turns", "old"] {
        fs::remove_dir_all(place.root.join(gone)).expect("removed");
    }
    place.root.write("locked/turns", "a file");
    let before = picture(&here);

    let look = mirror(&place, &["-n"]).expect_code(0);
    assert!(picture(&here) == before, "a look changes nothing");
    let events = look.json_lines();
    assert_eq!(would_be_deleted(&events), ["old"]);
    assert_eq!(event(&events, "summary")["locked"], 3);
    let said = "locked and 2 more: a run makes your own directories readable;";
    assert_eq!(look.stderr.matches(said).count(), 1, "{}", look.stderr);

    let limited = mirror(&place, &["--max-delete", "0"]).expect_code(25);
    assert_eq!(deleted(&limited.json_lines()), [""; 0]);
    let mode = |folder: &str| fs::metadata(here.join(folder)).expect("a folder").mode() & 0o777;
    for (folder, wanted) in modes {
        assert_eq!(mode(folder), wanted, "{folder}");
    }

    let events = mirror(&place, &[]).expect_code(0).json_lines();
    assert_eq!(
        deleted(&events),
        [
            "locked/gone",
            "locked/in/gone",
            "old/deep/gone",
            "old/deep",
            "old",
            "unread/gone",
            "locked/turns/x",
            "locked/turns"
        ]
    );
    assert_eq!(tree(&here), tree(place.root.path()));
    for (folder, wanted) in [("locked", 0), ("locked/in", 0), ("unread", 0o311)] {
        assert_eq!(mode(folder), wanted, "{folder}");
    }
    let again = mirror(&place, &[]).expect_code(0).json_lines();
    assert_eq!(deleted(&again), [""; 0]);
}

#[test]
fn what_is_excluded_in_a_folder_that_is_opened_up_stays_and_the_folder_is_what_it_was() {
    let place = Place::with([("a", "1")]);
    for name in ["m/old/in/keep", "m/old/in/gone", "m/old/other/gone"] {
        place.here.write(name, "x");
    }
    let old = place.here.join("m/old");
    for folder in ["in", "other", "."] {
        set_mode(old.join(folder), 0o100);
    }
    let events = mirror(&place, &["--exclude", "keep"]).expect_code(0);
    let events = events.json_lines();
    assert_eq!(
        deleted(&events),
        ["old/in/gone", "old/other/gone", "old/other"]
    );
    for folder in [".", "in"] {
        let mode = fs::metadata(old.join(folder)).expect("a folder").mode() & 0o777;
        assert_eq!(mode, 0o100, "{folder}");
        set_mode(old.join(folder), 0o700);
    }
    assert_eq!(names(&old), ["in/", "in/keep"]);
}

#[test]
fn of_folders_of_others_each_one_that_stays_is_told_by_a_look_and_by_a_run() {
    // Folders of somebody else, for a client that may not go beyond permissions.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = Place::with([("a", "1"), ("shown/b", "2")]);
    mirror(&place, &[]).expect_code(0);
    let names = ["alone/x", "closed/x", "ours/closed/x", "names/x", "shown/x"];
    for name in names {
        place.here.write(format!("m/{name}"), "x");
    }
    for (folder, mode) in [
        ("alone", 0o755),
        ("closed", 0o711),
        ("ours/closed", 0o700),
        ("names", 0o744),
        ("shown", 0o755),
    ] {
        let folder = place.here.join("m").join(folder);
        chown(&folder, Some(65_534), Some(65_534)).expect("another owner");
        set_mode(folder, mode);
    }
    let before = tree(&place.here.join("m"));
    for args in [&["-n"][..], &[]] {
        let output = mirror(&place, args).expect_code(3);
        let events = output.json_lines();
        let mut told = errors(&events);
        told.sort_unstable();
        assert_eq!(
            told,
            ["alone", "closed", "names", "ours/closed", "shown/x"],
            "{args:?}"
        );
        assert_eq!(deleted(&events), [""; 0]);
        assert_eq!(would_be_deleted(&events), [""; 0]);
        assert_eq!(output.stderr.lines().count(), 5, "{}", output.stderr);
        assert_eq!(tree(&place.here.join("m")), before, "{args:?}");
    }
}

#[test]
fn a_folder_that_stays_since_no_more_may_be_deleted_is_what_it_was() {
    let place = Place::with([("kept", "1")]);
    place.here.write("m/kept", "1");
    for name in ["mine/a", "mine/b", "mine/in/c", "mine/in/d"] {
        place.here.write(format!("m/{name}"), "");
    }
    let m = place.here.join("m");
    set_mode(m.join("mine/in"), 0o300);
    set_mode(m.join("mine"), 0);
    // How much is in there nobody can tell without opening it up, which a look does not do.
    let args = ["--max-delete", "1", "--preflight"];
    let run = mirror(&place, &args).expect_code(25);
    assert!(run.stderr.contains("cannot read"), "{}", run.stderr);
    assert_eq!(deleted(&run.json_lines()).len(), 1);
    let mode = |name| fs::metadata(m.join(name)).expect("a folder").mode() & 0o777;
    assert_eq!(mode("mine"), 0);
    if rustix::process::geteuid().is_root() {
        assert_eq!(mode("mine/in"), 0o300);
    }
    mirror(&place, &[]).expect_code(0);
    assert_eq!(names(&m), ["kept"]);
}

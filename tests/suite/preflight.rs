//! `ftget --preflight` and `-n`: what will fail is known before anything is done.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::Value;

use crate::files::unprivileged_reader;
use crate::harness::{Program, md5_hex};
use crate::picture::{contents, picture};
use crate::place::{Place, event};

#[test]
fn what_would_fail_is_all_told_and_nothing_is_done() {
    let place = Place::with([
        ("d/x", "of d"),
        ("d/was-file/in", "new"),
        ("d/was-folder", "new"),
        ("d/y", "of d"),
        ("e/x", "of e"),
        ("e/y/in", "of e"),
    ]);
    place.here.write("was-file", "old");
    place.here.write("was-folder/in", "old");
    let before = picture(place.here.path());
    let args = ["--preflight", "--json", "--receipts", "receipts"];
    let run = place.fetch(&args, &["d/", "e/"]).expect_code(23);
    assert_eq!(picture(place.here.path()), before);
    let events = run.json_lines();
    let told: Vec<_> = events
        .iter()
        .filter(|event| event["event"] == "error")
        .map(|event| (event["filename"].as_str(), event["reason"].as_str()))
        .collect();
    for wanted in [
        ("d/was-file", "not_a_folder"),
        ("d/was-file/in", "not_a_folder"),
        ("d/was-folder", "not_replaceable"),
        ("e/x", "same_name"),
        ("e/y", "same_name"),
    ] {
        assert!(told.contains(&(Some(wanted.0), Some(wanted.1))), "{told:?}");
    }
    let summary = event(&events, "summary");
    assert_eq!(
        (&summary["done"], &summary["code"]),
        (&0.into(), &23.into())
    );
    // One cause is the code; a missing source is one, too.
    let run = place.fetch(&["--preflight", "-d", "new"], &["d/", "nothing"]);
    run.expect_code(11);
    let run = place.fetch(&["--preflight", "-d", "new"], &["d/", "e/"]);
    run.expect_code(2);
    // Both of the other ways to look say the same.
    for args in [["-n", "-d", "new"], ["--check", "-d", "new"]] {
        let run = place.fetch(&args, &["d/", "e/"]).expect_code(2);
        assert!(run.stderr.contains("local name x"), "{}", run.stderr);
    }
    assert_eq!(picture(place.here.path()), before);
}

#[test]
fn what_is_right_is_fetched_as_without_it_be_it_of_a_list_that_comes_once() {
    let place = Place::with([("d/a", "1"), ("d/s/b", "22")]);
    let run = place.fetch(&["--preflight", "--json"], &["d"]);
    let events = run.expect_code(0).json_lines();
    assert_eq!(events.len(), 3, "{events:?}");
    assert_eq!(picture(place.here.path()), picture(place.root.path()));
    let list = |dir: &str, lines: &str| {
        let list = place.ftget().args(["--preflight", "-i", "-", "-d", dir]);
        list.arg(place.server.source("d")).input(lines).run()
    };
    list("l", "a\ns/b\n").expect_code(0);
    assert_eq!(contents(&place.here.join("l")), ["a = 1", "s/", "s/b = 22"]);
    let bad = list("bad", "a\n../b\n").expect_code(2);
    assert!(bad.stderr.contains("standard input:2"), "{}", bad.stderr);
    list("bad", "a\nnothing\n").expect_code(11);
    let wrong = format!("{}  a\n", md5_hex("other"));
    list("bad", &wrong).expect_code(10);
    assert!(!place.here.join("bad").exists());
}

#[test]
fn more_to_delete_than_may_be_is_found_before_anything_is_fetched() {
    let place = Place::with([("d/new", "1")]);
    for name in ["m/x", "m/y", "m/z"] {
        place.here.write(name, "extra");
    }
    let mirror = |max: &str| {
        let args = ["--preflight", "--delete", "--max-delete", max, "-d", "m"];
        place.fetch(&args, &["d/"])
    };
    let run = mirror("2").expect_code(25);
    assert!(run.stderr.contains("--max-delete 2"), "{}", run.stderr);
    assert_eq!(
        contents(&place.here.join("m")),
        ["x = extra", "y = extra", "z = extra"]
    );
    mirror("3").expect_code(0);
    assert_eq!(contents(&place.here.join("m")), ["new = 1"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_found_unless_nothing_is_to_be_written_there() {
    // Folders of somebody else, for a client that may not go beyond permissions.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = Place::with([("d/closed/a", "1"), ("d/z", "2")]);
    place.here.make_dir("d/closed");
    chown(place.here.join("d/closed"), Some(65_534), Some(65_534)).expect("another owner");
    let preflight = || {
        let client = Program::ftget().args(["-r", "--preflight", "-d"]);
        let client = client.arg(place.here.path()).arg(place.server.source("d"));
        client.through(unprivileged_reader()).run()
    };
    let run = preflight().expect_code(3);
    assert_eq!(contents(place.here.path()), ["d/", "d/closed/"]);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    assert!(run.stderr.contains("create a file in"), "{}", run.stderr);
    place.here.write("d/closed/a", "1");
    // A folder that is not ours gets no time either: only that is told.
    let args = ["-r", "-n", "-d"];
    let client = Program::ftget().args(args).arg(place.here.path());
    let client = client.arg(place.server.source("d"));
    client.through(unprivileged_reader()).run().expect_code(0);
}

#[test]
fn what_is_of_somebody_else_in_a_folder_with_the_sticky_bit_is_found() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = Place::with([("a", "1"), ("b", "2")]);
    place.here.write("shared/a", "of root");
    let shared = place.here.join("shared");
    for folder in [place.here.path(), &shared] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o1777)).expect("shared");
    }
    let somebody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let client = |args: &[&str], name| {
        let client = Program::ftget().args(args).arg("-d").arg(&shared);
        let client = client.arg(place.server.source(name)).through(somebody);
        client.run()
    };
    for args in [&["-n"][..], &["--preflight"], &[]] {
        let run = client(args, "a").expect_code(3);
        assert!(run.stderr.contains("not permitted"), "{}", run.stderr);
        assert_eq!(run.text(), "", "{args:?}");
        assert_eq!(contents(&shared), ["a = of root"], "{args:?}");
    }
    client(&["--preflight"], "b").expect_code(0);
    // What is there as it is to be needs no right.
    place.here.write("shared/a", "1");
    client(&["--preflight", "--preserve=none"], "a").expect_code(0);
    client(&["--preflight", "--if-exists=overwrite"], "b").expect_code(0);
}

#[test]
fn what_is_in_a_folder_of_ours_that_a_run_opens_up_is_no_failure_before() {
    let names = ["d/a", "d/b/in", "d/b/s/in", "d/c"];
    let place = Place::with(names.map(|name| (name, "1")));
    let client = |args: &[&str]| {
        let client = Program::ftget().args(["-r"]).args(args).arg("-d");
        let client = client.arg(place.here.path()).arg(place.server.source("d"));
        client.through(unprivileged_reader()).run()
    };
    client(&[]).expect_code(0);
    for (locked, mode, seen) in [
        ("d", 0, 0),
        ("d", 0o600, 0),
        ("d/b", 0, 2),
        ("d/b", 0o100, 3),
        ("d/b", 0o600, 2),
    ] {
        let folder = place.here.join(locked);
        let has_mode = || fs::metadata(&folder).expect("a folder").mode() & 0o777;
        let sees_all = has_mode();
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).expect("locked");
        for args in [&["-n"][..], &["-n", "--delete"]] {
            let run = client(&[args, &["--json"]].concat()).expect_code(0);
            let events = run.json_lines();
            let same = |event: &&Value| event["action"] == "identical";
            assert_eq!(
                events.iter().filter(same).count(),
                seen,
                "{locked} {mode:o}"
            );
            assert_eq!(event(&events, "summary")["locked"], 1, "{args:?}");
            let said = format!("{locked}: a run makes your own directories readable;");
            assert_eq!(run.stderr.matches(&said).count(), 1, "{}", run.stderr);
        }
        assert_eq!(client(&["-n", "-q"]).expect_code(0).stderr, "");
        let compared = client(&["--check"]).expect_code(3);
        let about = format!("{locked}: cannot ");
        assert!(compared.stderr.contains(&about), "{}", compared.stderr);
        assert_eq!(compared.stderr.lines().count(), 1, "{}", compared.stderr);
        assert_eq!(compared.text(), "", "nothing is told that was not seen");
        assert_eq!(has_mode(), mode, "a look changes nothing");
        client(&["--preflight"]).expect_code(0);
        assert_eq!(has_mode(), sees_all);
    }
}

#[test]
fn a_dry_run_tells_of_folders_and_of_what_is_passed_over_with_the_places_of_a_run() {
    let place = Place::with([
        ("d/.hidden", "h"),
        ("d/a", "1"),
        ("d/s/b", "22"),
        ("d/z", "333"),
    ]);
    place.root.make_dir("d/e");
    symlink("../../../out", place.root.join("d/s/out")).expect("a link");
    mkfifoat(CWD, place.root.join("d/pipe"), Mode::RUSR).expect("a FIFO");
    let dry = place.fetch(&["-n", "--json"], &["d"]).expect_code(0);
    let dry = dry.json_lines();
    let text = place.fetch(&["-n"], &["d"]).expect_code(0);
    assert_eq!(
        text.text(),
        "d: would be created, a directory\nd/a: would be fetched, 1 byte\n\
         d/e: would be created, a directory\nd/pipe: would be left out, a special file\n\
         d/s: would be created, a directory\nd/s/b: would be fetched, 2 bytes\n\
         d/s/out: would be left out, a link that cannot be made\n\
         d/z: would be fetched, 3 bytes\n"
    );
    assert_eq!(
        text.stderr,
        "ftget: note: 1 hidden entry is not shown by the server\n\
         ftget: note: would download 3 files, 6 bytes, 2 left out (special files or links)\n"
    );
    assert!(place.here.names().is_empty());
    let run = place.fetch(&["--json"], &["d"]).expect_code(0).json_lines();
    let places = |events: &[Value], kinds: &[&str]| -> BTreeSet<(u64, String)> {
        events
            .iter()
            .filter(|event| kinds.iter().any(|kind| event["event"] == *kind))
            .filter(|event| event["action"] != "folder")
            .map(|event| {
                let name = event["filename"].as_str().expect("a name");
                (event["n"].as_u64().expect("n"), name.to_owned())
            })
            .collect()
    };
    for kinds in [["would", "done"], ["passed_over", "passed_over"]] {
        assert_eq!(places(&dry, &kinds), places(&run, &kinds));
        assert!(!places(&run, &kinds).is_empty());
    }
    let [mut dry, mut run] = [dry, run].map(|events| event(&events, "summary").clone());
    assert!(dry["needed_bytes"].as_u64() >= Some(6), "{dry}");
    for summary in [&mut dry, &mut run] {
        let summary = summary.as_object_mut().expect("an object");
        for key in ["secs", "needed_bytes", "free_bytes"] {
            summary.remove(key);
        }
    }
    let says_so = |summary: &mut Value| summary.as_object_mut()?.remove("dry_run");
    assert_eq!(
        (says_so(&mut dry), says_so(&mut run)),
        (Some(true.into()), None)
    );
    assert_eq!(dry, run);
    // What is there needs not be made.
    let again = place.fetch(&["-n"], &["d"]).expect_code(0).text();
    assert!(!again.contains("would be created"), "{again}");
}

#[test]
fn preflight_goes_with_files_alone() {
    let place = Place::with([("a", "1")]);
    let source = place.server.source("a");
    for args in [&["-o", "-"][..], &["-n"], &["--check"], &["--list"]] {
        let run = place.ftget().arg("--preflight").args(args).arg(&source);
        run.run().expect_code(2);
    }
    // Set for many commands, it gives way.
    for args in [&["-o", "-"][..], &["-n"], &["--check"], &["--list"]] {
        let run = place.ftget().env("FTGET_PREFLIGHT", "1").args(args);
        let code = run.arg(&source).run().code;
        assert_eq!(code, i32::from(args == ["--check"]), "{args:?}");
    }
    let run = place.ftget().env("FTGET_PREFLIGHT", "1").arg(&source);
    run.run().expect_code(0);
    assert_eq!(fs::read(place.here.join("a")).expect("the file"), b"1");
}

//! `ftget -r`: what of which source goes where, and what becomes of what is there already.

use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::harness::{Program, Scratch, TestServer};
use crate::picture::{contents, picture};
use crate::place::Place;

#[test]
fn patterns_and_rules_choose_what_is_fetched_with_the_folders_above_it() {
    let place = Place::with([
        ("logs/a.log", "1"),
        ("logs/a.tmp", "2"),
        ("logs/old/b.log", "3"),
        ("logs/old/c.tmp", "4"),
        ("logs/other/c.tmp", "5"),
        ("x.log", "6"),
    ]);
    let old = ["logs/", "logs/a.log = 1", "logs/old/", "logs/old/b.log = 3"];
    for (args, sources, wanted) in [
        (
            &["--include", "*.log", "--exclude", "*"][..],
            &["logs"][..],
            &old[..2],
        ),
        (
            &["--include", "*.log", "--include", "*/", "--exclude", "*"],
            &["logs"],
            &[
                "logs/",
                "logs/a.log = 1",
                "logs/old/",
                "logs/old/b.log = 3",
                "logs/other/",
            ],
        ),
        (&["--include", "*.log"], &["logs"], &old),
        (
            &["--exclude", "*.tmp", "--exclude", "other/"],
            &["logs"],
            &old,
        ),
        (
            &["--exclude", "*.tmp"],
            &["logs/"],
            &["a.log = 1", "old/", "old/b.log = 3", "other/"],
        ),
        (
            &["--exclude", "/old"],
            &["logs/"],
            &["a.log = 1", "a.tmp = 2", "other/", "other/c.tmp = 5"],
        ),
        (&["--exclude", "*"], &["logs"], &["logs/"]),
        (&[], &["*.log"], &["x.log = 6"]),
        (
            &[],
            &["logs/o*/*.tmp"],
            &["old/", "old/c.tmp = 4", "other/", "other/c.tmp = 5"],
        ),
        (
            &[],
            &["**/b.log", "x.log"],
            &["logs/", "logs/old/", "logs/old/b.log = 3", "x.log = 6"],
        ),
        (
            &[],
            &["l*/old"],
            &[
                "logs/",
                "logs/old/",
                "logs/old/b.log = 3",
                "logs/old/c.tmp = 4",
            ],
        ),
    ] {
        let here = Scratch::new();
        let sources = sources.iter().map(|source| place.server.source(source));
        let run = Program::ftget().in_folder(here.path()).arg("-r");
        run.args(args).args(sources.clone()).run().expect_code(0);
        assert_eq!(contents(here.path()), wanted, "{args:?} {sources:?}");
    }
    // A pattern is of use without -r, too: the files it matches.
    let run = place.ftget().arg(place.server.source("logs/*"));
    run.run().expect_code(0);
    assert_eq!(contents(place.here.path()), ["a.log = 1", "a.tmp = 2"]);
    let nothing = place.fetch(&[], &["logs/*.txt", "x.log"]).expect_code(11);
    assert!(
        nothing.stderr.contains("nothing matches"),
        "{}",
        nothing.stderr
    );
    assert!(place.here.join("x.log").exists());
}

#[test]
fn several_servers_fill_one_folder_and_the_later_of_two_with_one_place_fails() {
    let first = Scratch::with_files([
        ("d/a", "a of one"),
        ("d/both", "one"),
        ("d/s/one", "1"),
        ("d/x", "file"),
    ]);
    let second = Scratch::with_files([
        ("d/b", "b of two"),
        ("d/both", "two"),
        ("d/s/two", "2"),
        ("d/x/inside/deep", "no"),
        ("d/y", "kept"),
        ("y/inside", "no"),
    ]);
    let servers = [&first, &second].map(|root| TestServer::plain(root.path()));
    let here = Scratch::new();
    let run = Program::ftget()
        .in_folder(here.path())
        .args(["-r", "--json"])
        .args([
            servers[0].source("d"),
            servers[1].source("d"),
            servers[1].source("y"),
        ])
        .args([servers[0].source("d/"), servers[1].source("d/y")])
        .run();
    let run = run.expect_code(2);
    assert_eq!(
        contents(here.path()),
        [
            "a = a of one",
            "both = one",
            "d/",
            "d/a = a of one",
            "d/b = b of two",
            "d/both = one",
            "d/s/",
            "d/s/one = 1",
            "d/s/two = 2",
            "d/x = file",
            "d/y = kept",
            "s/",
            "s/one = 1",
            "x = file",
            "y/",
            "y/inside = no",
        ]
    );
    let events = run.json_lines();
    let failed = |event: &&Value| event["event"] == "error";
    let mut failed: Vec<_> = events
        .iter()
        .filter(failed)
        .map(|event| {
            let text = |key: &str| event[key].as_str().expect("a text");
            // The whole place; one file is asked for by itself.
            let place = text("filename").replace("d/y", "y");
            let message = format!("two downloads have the local name {place}");
            assert_eq!(text("message"), message);
            (text("filename"), text("reason"))
        })
        .collect();
    failed.sort_unstable();
    let same = "same_name";
    assert_eq!(
        failed,
        [
            ("d/both", same),
            // A folder where a file is to be, and everything in it.
            ("d/x", same),
            ("d/x/inside", same),
            ("d/x/inside/deep", same),
            // A file where a folder is.
            ("d/y", same),
        ]
    );
}

#[test]
fn a_list_names_nothing_below_a_file() {
    let place = Place::with([("a", "1"), ("b/c", "2")]);
    for (list, reasons, code) in [
        ("a\na\n", vec![], 0),
        ("b/c\nb\n", vec![], 0),
        (
            "{\"filename\":\"a\",\"total_size\":1}\n{\"filename\":\"a/b\"}\n{\"filename\":\"a/b/c\"}\n",
            vec![("a/b", "same_name"), ("a/b/c", "same_name")],
            2,
        ),
        // Only the server knows that it is no folder, and none is made in its place.
        ("b/c/d\nb/c\na\n", vec![("b/c/d", "not_a_directory")], 2),
    ] {
        let here = Scratch::new();
        let run = Program::ftget()
            .args(["-i", "-", "--json", "-d"])
            .arg(here.path());
        let run = run.arg(place.server.source("")).input(list).run();
        let events = run.expect_code(code).json_lines();
        let errors = events.iter().filter(|event| event["event"] == "error");
        let mut told: Vec<_> = errors
            .filter_map(|event| Some((event["filename"].as_str()?, event["reason"].as_str()?)))
            .collect();
        told.sort_unstable();
        assert_eq!(told, reasons, "{list:?}");
    }
}
#[test]
fn every_policy_decides_about_files_and_links_while_folders_are_merged() {
    let every = ["d/a = new", "d/l -> a", "d/s/", "d/s/same = same"];
    for (policy, code, wanted) in [
        (
            "update",
            0,
            vec!["d/", every[0], every[1], every[2], every[3]],
        ),
        (
            "overwrite",
            0,
            vec!["d/", every[0], every[1], every[2], every[3]],
        ),
        (
            "skip",
            0,
            vec!["d/", "d/a = old", "d/l -> old", every[2], every[3]],
        ),
        (
            "error",
            12,
            vec![
                "d/",
                "d/a = old",
                "d/l -> old",
                "d/new = n",
                every[2],
                every[3],
            ],
        ),
        (
            "rename",
            0,
            vec![
                "d/",
                "d/a = old",
                "d/a.1 = new",
                "d/l -> old",
                "d/l.1 -> a",
                every[2],
                every[3],
                "d/s/same.1 = same",
            ],
        ),
    ] {
        let place = Place::with([("d/a", "new"), ("d/new", "n"), ("d/s/same", "same")]);
        symlink("a", place.root.join("d/l")).expect("a link");
        place.here.write("d/a", "old");
        place.here.write("d/s/same", "same");
        symlink("old", place.here.join("d/l")).expect("a link");
        let run = place
            .fetch(&["--if-exists", policy], &["d"])
            .expect_code(code);
        let mut wanted = wanted;
        if !wanted.contains(&"d/new = n") {
            wanted.push("d/new = n");
        }
        wanted.sort_unstable();
        assert_eq!(
            contents(place.here.path()),
            wanted,
            "{policy}: {}",
            run.stderr
        );
    }
}

#[test]
fn links_files_and_folders_do_not_turn_into_one_another_but_links_into_files() {
    let place = Place::with([
        ("was-link", "file now"),
        ("was-folder", "file now"),
        ("was-file/in", "folder now"),
        ("linked/in", "folder now"),
    ]);
    symlink("was-link", place.root.join("a-link")).expect("a link");
    symlink("was-link", place.root.join("link-over-folder")).expect("a link");
    let outside = Scratch::with_files([("kept", "kept")]);
    symlink(outside.path(), place.here.join("linked")).expect("a link");
    symlink("elsewhere", place.here.join("was-link")).expect("a link");
    place.here.write("a-link", "a file");
    place.here.write("was-folder/in", "kept");
    place.here.write("link-over-folder/in", "kept");
    place.here.write("was-file", "kept");
    let run = place.fetch(&["--json"], &[""]).expect_code(3);
    let outside_link = format!("linked -> {}", outside.path().display());
    assert_eq!(
        contents(place.here.path()),
        [
            "a-link -> was-link",
            "link-over-folder/",
            "link-over-folder/in = kept",
            &outside_link,
            "was-file = kept",
            "was-folder/",
            "was-folder/in = kept",
            "was-link = file now",
        ]
    );
    assert_eq!(contents(outside.path()), ["kept = kept"]);
    let events = run.json_lines();
    let errors = events.iter().filter(|event| event["event"] == "error");
    let mut reasons: Vec<_> = errors
        .map(|event| {
            (
                event["filename"].as_str().expect("a name"),
                event["reason"].as_str().expect("a reason"),
            )
        })
        .collect();
    reasons.sort_unstable();
    assert_eq!(
        reasons,
        [
            ("link-over-folder", "not_replaceable"),
            ("linked", "not_a_folder"),
            ("linked/in", "not_a_folder"),
            ("was-file", "not_a_folder"),
            ("was-file/in", "not_a_folder"),
            ("was-folder", "not_replaceable"),
        ]
    );
}

#[test]
fn a_dry_run_tells_of_a_tree_and_touches_nothing() {
    let place = Place::with([
        ("d/new", "12345"),
        ("d/s/same", "same"),
        ("d/s/other", "other"),
    ]);
    symlink("new", place.root.join("d/l")).expect("a link");
    place.here.write("d/s/same", "same");
    place.here.write("d/s/other", "before");
    let before = picture(place.here.path());
    let run = place.fetch(&["-n"], &["d"]).expect_code(0);
    assert_eq!(
        run.text(),
        "d/l: would be created, a link, 0 bytes\nd/new: would be fetched, 5 bytes\n\
         d/s/other: would be replaced, 5 bytes\nd/s/same: is there already, 4 bytes\n"
    );
    assert_eq!(picture(place.here.path()), before);
    // Into a folder that is not there, nothing is made.
    let run = place
        .fetch(&["-n", "-d", "missing", "--exclude", "l"], &["d/s/", "d/*"])
        .expect_code(0);
    assert_eq!(
        run.text().matches("would be fetched").count(),
        5,
        "{}",
        run.text()
    );
    assert_eq!(picture(place.here.path()), before);
}

#[test]
fn any_number_of_connections_fetches_the_same_and_n_is_the_place_in_the_listing() {
    let root = Scratch::new();
    let mut names = Vec::new();
    for folder in ["d", "d/e", "d/f"] {
        for number in 0..100 {
            let name = format!("{folder}/{number:03}");
            root.write(&name, name.repeat(number));
            names.push(name);
        }
    }
    names.sort_by_key(|name| name.split('/').map(str::to_owned).collect::<Vec<_>>());
    root.make_dir("d/z");
    let server = TestServer::plain(root.path());
    for jobs in ["1", "2", "8"] {
        let here = Scratch::new();
        let run = Program::ftget().args(["-r", "--json", "-j", jobs, "-d"]);
        let run = run
            .arg(here.path())
            .arg(server.source("d"))
            .run()
            .expect_code(0);
        assert_eq!(picture(here.path()), picture(root.path()));
        let events = run.json_lines();
        let mut done: Vec<_> = events
            .iter()
            .filter(|event| event["event"] == "done")
            .map(|event| {
                (
                    event["n"].as_u64().expect("n"),
                    event["filename"].as_str().expect("a name"),
                )
            })
            .collect();
        done.sort_unstable();
        assert!(
            done.iter().map(|(_, name)| name).eq(names.iter()),
            "{done:?}"
        );
        // d, d/e, d/f, d/z are places in the listing, too.
        assert!(done.windows(2).all(|two| two[0].0 < two[1].0));
        assert_eq!(done.last().map(|(n, _)| *n), Some(302));
        let last = events.last().expect("an event");
        assert_eq!(
            (&last["event"], last["done"].as_u64()),
            (&"summary".into(), Some(300))
        );
    }
}

#[test]
fn a_source_that_is_a_file_is_fetched_as_one_and_a_missing_one_is_named() {
    let place = Place::with([("d/a", "1")]);
    place.fetch(&[], &["d/a"]).expect_code(0);
    assert_eq!(contents(place.here.path()), ["a = 1"]);
    place.fetch(&["-d", "x"], &["d/a/"]).expect_code(0);
    let missing = place.fetch(&[], &["nothing", "d"]).expect_code(11);
    assert!(
        missing.stderr.contains("/nothing: server says not_found"),
        "{}",
        missing.stderr
    );
    assert_eq!(missing.stderr.lines().count(), 1, "{}", missing.stderr);
    assert_eq!(
        contents(place.here.path()),
        ["a = 1", "d/", "d/a = 1", "x/", "x/a = 1"]
    );
}

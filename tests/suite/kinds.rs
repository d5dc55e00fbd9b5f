//! `--delete` where a name has become something of another kind: the mirror does, too.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::harness::md5_hex;
use crate::hostile::answers::{answer, header};
use crate::hostile::server::{Act, HostileServer, Request};
use crate::mirrors::{LAST, SERVED, deleted, line, mirror, names, page, refused, tree};
use crate::place::{Place, event};

/// The server has `SERVED`, links `to-file` and `to-folder`, and an empty folder `none`; the
/// names `a`, `sub`, `to-file`, `to-folder` and `none` are something else here.
fn turned() -> Place {
    let place = Place::with(SERVED);
    for link in ["to-file", "to-folder"] {
        symlink("a", place.root.join(link)).expect("a link");
    }
    place.root.make_dir("none");
    place.here.write("outside/precious", "mine");
    for name in ["d/a/x", "d/a/deep/y", "d/a/z", "d/sub", "d/to-folder/x"] {
        place.here.write(name, "old");
    }
    place.here.write("d/a/.ft-0123456789abcdef-x.part", "left");
    place.here.write("d/to-file", "a file");
    for (target, link) in [("../outside", "d/none"), ("../../outside", "d/a/out")] {
        symlink(target, place.here.join(link)).expect("a link");
    }
    place
}

const GOES: [&str; 9] = [
    "a",
    "a/deep",
    "a/deep/y",
    "a/out",
    "a/x",
    "a/z",
    "none",
    "sub",
    "to-folder",
];

fn sorted<'e>(told: &[&'e str]) -> Vec<&'e str> {
    let mut told = told.to_vec();
    told.sort_unstable();
    told
}

fn errors(events: &[Value]) -> Vec<(&str, &str)> {
    let errors = events.iter().filter(|event| event["event"] == "error");
    let words = errors.map(|event| (event["filename"].as_str(), event["reason"].as_str()));
    words
        .map(|(name, reason)| (name.expect("a name"), reason.expect("a reason")))
        .collect()
}

#[test]
fn a_mirror_becomes_what_the_server_has_in_one_run_whatever_the_kinds() {
    let place = turned();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let deep = fs::File::open(place.root.join("sub")).expect("a folder");
    deep.set_modified(time).expect("its time is set");
    let locked = place.here.join("d/a/deep");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o500)).expect("locked");
    let events = mirror(&place, &[]).expect_code(0).json_lines();
    let told = deleted(&events);
    let at = |name: &str| told.iter().position(|told| *told == name).expect("told");
    assert!(at("a/deep/y") < at("a/deep") && at("a/deep") < at("a"));
    let goes = [&GOES[..], &["to-folder/x"]].concat();
    assert_eq!(sorted(&told), goes);
    assert_eq!(event(&events, "summary")["deleted"], goes.len());
    assert_eq!(event(&events, "summary")["done"], 5);
    assert_eq!(tree(&place.here.join("d")), tree(place.root.path()));
    let modified = fs::metadata(place.here.join("d/sub")).and_then(|facts| facts.modified());
    assert_eq!(modified.expect("a time"), time);
    assert_eq!(names(&place.here.join("outside")), ["precious"]);
    // Each thing has a place of its own.
    let numbers = events.iter().filter(|event| event["event"] == "done");
    let mut numbers: Vec<_> = numbers.map(|event| event["n"].as_u64()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 5);
    let again = mirror(&place, &[]).expect_code(0).json_lines();
    assert_eq!(deleted(&again), [""; 0]);
}

#[test]
fn a_source_that_was_a_folder_and_is_a_file_takes_its_place_as_a_whole_or_not_at_all() {
    let place = Place::with([("top", "now a file")]);
    let old = ["m/mine", "m/top/.x", "m/top/deep/y", "m/top/keep"];
    for name in old {
        place.here.write(name, "old");
    }
    let mirror = |args: &[&str]| {
        let mirror = place.ftget().args(["--json", "-r", "-d", "m"]).args(args);
        mirror.arg(place.server.source("top")).run()
    };
    let kept = tree(&place.here.join("m"));
    let without = mirror(&[]).expect_code(3);
    assert!(without.stderr.contains("--delete"), "{}", without.stderr);
    for (args, code) in [
        (&["--max-delete", "4"][..], 25),
        (&["--exclude", "keep"], 3),
        (&["-n"], 0),
    ] {
        let output = mirror(&[&["--delete"], args].concat()).expect_code(code);
        assert_eq!(deleted(&output.json_lines()), [""; 0], "{args:?}");
        assert_eq!(tree(&place.here.join("m")), kept, "{args:?}");
    }
    let output = mirror(&["--delete", "--max-delete", "5"]).expect_code(0);
    assert_eq!(output.stderr, "", "what is deleted for it is told");
    let events = output.json_lines();
    let goes = ["top", "top/.x", "top/deep", "top/deep/y", "top/keep"];
    assert_eq!(sorted(&deleted(&events)), goes);
    assert_eq!(event(&events, "summary")["done"], 1);
    assert_eq!(names(&place.here.join("m")), ["mine", "top"]);
    assert_eq!(place.here.read("m/top"), b"now a file");
}

#[test]
fn kinds_change_back_and_forth_and_the_mirror_follows() {
    let place = Place::with(SERVED);
    for turn in 0..4 {
        for name in ["a", "sub"] {
            let path = place.root.join(name);
            let is_folder = fs::symlink_metadata(&path).expect("something").is_dir();
            let remove = if is_folder {
                fs::remove_dir_all
            } else {
                fs::remove_file
            };
            remove(&path).expect("removed");
            match (turn + name.len()) % 3 {
                0 => symlink("missing", &path).expect("a link"),
                1 => drop(place.root.write(name, format!("{turn}"))),
                _ => drop(place.root.write(format!("{name}/x/y"), format!("{turn}"))),
            }
        }
        mirror(&place, &[]).expect_code(0);
        assert_eq!(tree(&place.here.join("d")), tree(place.root.path()));
    }
}

#[test]
fn a_socket_gives_way_to_a_file_and_to_a_link() {
    let place = Place::with(SERVED);
    symlink("a", place.root.join("to-file")).expect("a link");
    for args in [&["-n"][..], &[]] {
        place.here.make_dir("d");
        for name in ["d/a", "d/to-file"] {
            // It may be there since the dry run.
            let _ = UnixListener::bind(place.here.join(name));
        }
        let events = mirror(&place, args).expect_code(0).json_lines();
        assert_eq!(event(&events, "summary")["deleted"], 2, "{args:?}");
        assert_eq!(event(&events, "summary")["done"], 4, "{args:?}");
    }
    assert_eq!(tree(&place.here.join("d")), tree(place.root.path()));
}

#[test]
fn without_the_option_all_of_it_stays_and_a_hint_names_the_option() {
    let place = turned();
    let before = tree(&place.here.join("d"));
    for args in [&["-r", "-d", "d"][..], &["-n", "-r", "-d", "d"]] {
        let fetch = place.ftget().args(args).arg(place.server.source(""));
        let fetch = fetch.run().expect_code(3);
        assert!(fetch.stderr.contains("hint: --delete"), "{}", fetch.stderr);
        let after = tree(&place.here.join("d"));
        for (name, text) in before.iter().filter(|(name, _)| *name != "to-file") {
            assert_eq!(after.get(name), Some(text), "{name}");
        }
    }
    // For one file it would not help.
    let one = place
        .ftget()
        .args(["-d", "d"])
        .arg(place.server.source("a"));
    let one = one.run().expect_code(3);
    assert!(!one.stderr.contains("--delete"), "{}", one.stderr);
    let check = place.ftget().args(["--check", "-r", "-d", "d"]);
    let check = check.arg(place.server.source("")).run().expect_code(1);
    assert!(check.text().contains("a: "), "{}", check.text());
}

#[test]
fn a_dry_run_shows_what_would_go_and_what_would_come_and_changes_nothing() {
    let place = turned();
    let before = tree(&place.here.join("d"));
    let dry = mirror(&place, &["-n"]).expect_code(0).json_lines();
    let would = |action: &str| {
        let events = dry.iter().filter(|event| event["action"] == action);
        let names = events.map(|event| event["filename"].as_str().expect("a name"));
        sorted(&names.collect::<Vec<_>>())
    };
    assert_eq!(would("deleted"), [&GOES[..], &["to-folder/x"]].concat());
    assert_eq!(would("fetched"), ["a", "sub/b", "sub/deep/c"]);
    assert_eq!(would("link"), ["to-file", "to-folder"]);
    assert_eq!(would("folder"), ["none", "sub", "sub/deep"]);
    assert_eq!(event(&dry, "summary")["deleted"], 10);
    assert_eq!(tree(&place.here.join("d")), before);
    let foreseen = mirror(&place, &["--preflight"]).expect_code(0).json_lines();
    assert_eq!(deleted(&foreseen).len(), 10);
    assert_eq!(tree(&place.here.join("d")), tree(place.root.path()));
}

#[test]
fn what_is_in_the_way_counts_for_the_limit_and_goes_as_a_whole_or_not_at_all() {
    for (max, code, gone) in [
        (0, 25, &[""; 0][..]),
        (1, 25, &["sub"]),
        (2, 25, &["a", "a/x"]),
        (3, 0, &["a", "a/x", "sub"]),
    ] {
        for is_foreseen in [false, true] {
            let place = Place::with(SERVED);
            place.here.write("d/a/x", "old");
            place.here.write("d/sub", "old");
            let before = tree(&place.here.join("d"));
            let max = max.to_string();
            let mut args = vec!["--max-delete", &*max];
            args.extend(is_foreseen.then_some("--preflight"));
            let output = mirror(&place, &args).expect_code(code);
            let gone = if is_foreseen && code != 0 { &[] } else { gone };
            let events = output.json_lines();
            assert_eq!(sorted(&deleted(&events)), gone, "{max}");
            let after = tree(&place.here.join("d"));
            for (name, text) in &before {
                let stays = !gone.contains(&name.trim_end_matches('/'));
                assert!(!stays || after.get(name) == Some(text), "{max}: {name}");
            }
            let told = errors(&events);
            assert!(told.iter().all(|(_, reason)| *reason == "max_delete"));
            assert_eq!(told.is_empty(), code == 0, "{max}: {told:?}");
        }
    }
}

#[test]
fn a_folder_in_which_something_stays_does_not_give_way_and_nothing_in_it_goes() {
    let in_the_way = |files: &[&str], served: &[&str], args: &[&str]| {
        let place = Place::with(SERVED);
        for name in served {
            place.root.write(name, "x");
        }
        for name in files {
            place.here.write(name, "old");
        }
        let output = mirror(&place, args).expect_code(3);
        let events = output.json_lines();
        assert_eq!(errors(&events), [("a", "in_the_way")]);
        assert!(output.stderr.contains("must stay"), "{}", output.stderr);
        for name in files {
            assert!(place.here.join(name).exists(), "{name}");
        }
        assert_eq!(deleted(&events), [""; 0]);
        // The rest is there nevertheless.
        assert!(place.here.join("d/sub/deep/c").exists());
    };
    let files = ["d/a/x", "d/a/deep/keep.log"];
    in_the_way(&files, &[], &["--exclude", "*.log"]);
    in_the_way(&["d/a/x", "d/a/.mine"], &[".hidden"], &[]);
}

#[test]
fn a_name_that_a_rule_or_a_policy_keeps_stays_what_it_is() {
    let place = Place::with(SERVED);
    place.here.write("d/a/x", "old");
    place.here.write("d/sub", "old");
    let before = tree(&place.here.join("d"));
    for policy in ["skip", "error"] {
        let output = mirror(&place, &["--if-exists", policy]);
        assert_ne!(output.code, 0, "{policy}");
        assert_eq!(tree(&place.here.join("d")), before, "{policy}");
    }
    mirror(&place, &["--exclude", "/a", "--exclude", "/sub"]).expect_code(0);
    assert_eq!(tree(&place.here.join("d")), before);
}

#[test]
fn the_tree_itself_comes_in_the_place_of_a_file_or_of_a_link_to_elsewhere() {
    let place = Place::with(SERVED);
    place.here.write("outside/b", "mine");
    for is_link in [false, true] {
        let top = place.here.join("d/sub");
        if is_link {
            fs::remove_dir_all(&top).expect("removed");
            symlink("../outside", &top).expect("a link");
        } else {
            place.here.write("d/sub", "old");
        }
        let fetch = || {
            let fetch = place.ftget().args(["-r", "--delete", "-d", "d"]);
            fetch.arg(place.server.source("sub")).run()
        };
        fetch().expect_code(0);
        assert_eq!(tree(&top), tree(&place.root.join("sub")));
    }
    assert_eq!(tree(&place.here.join("outside"))["b"], "mine");
}

/// Runs a mirror of a scripted server's listings, one after the other, over a folder `s`.
/// Returns the exit code and what is left.
fn mirror_of(
    list: impl Fn(usize) -> Vec<Act> + Send + Sync + 'static,
    stat: impl Fn(&Request) -> Vec<Act> + Send + Sync + 'static,
) -> (i32, Vec<String>) {
    let lists = std::sync::atomic::AtomicUsize::new(0);
    let server = HostileServer::start(move |request| match request.str("op") {
        "list" => list(lists.fetch_add(1, std::sync::atomic::Ordering::SeqCst)),
        "stat" => stat(request),
        _ => vec![Act::Send(answer(
            header(request.str("filename"), 1, &md5_hex("1"), ""),
            b"1",
        ))],
    });
    let place = Place::with(SERVED);
    place.here.write("d/s/mine", "x");
    let mirror = place
        .ftget()
        .args(["-r", "--delete", "--retry", "0", "-d", "d"]);
    let mirror = mirror.arg(server.source("")).run();
    (mirror.code, names(&place.here.join("d")))
}

fn has(request: &Request, kind: &str) -> Vec<Act> {
    let more = format!(r#", "body_size": 0, "type": "{kind}""#);
    vec![Act::Send(answer(
        header(request.str("filename"), 1, "", &more),
        b"",
    ))]
}

#[test]
fn a_folder_goes_only_where_a_whole_listing_and_the_server_say_that_there_is_a_file() {
    let file = || vec![Act::Send(page(&[line("s", "")], LAST))];
    let unlisted = r#","error":{"code":"forbidden","message":""}"#;
    let (code, left) = mirror_of(move |_| file(), |request| has(request, "file"));
    assert_eq!((code, &*left), (0, &["s".to_owned()][..]));
    type List = Box<dyn Fn(usize) -> Vec<Act> + Send + Sync>;
    type Stat = fn(&Request) -> Vec<Act>;
    let is_file: Stat = |request| has(request, "file");
    let cases: [(List, Stat); 7] = [
        // The second listing breaks off, or never ends, or does not name it any more as a file.
        (
            Box::new(move |number| match number {
                0 => file(),
                _ => vec![Act::Close],
            }),
            is_file,
        ),
        (
            Box::new(move |number| match number {
                0 => file(),
                _ => vec![Act::Send(page(&[line("s", "")], r#""next": "1""#))],
            }),
            is_file,
        ),
        (
            Box::new(move |number| match number {
                0 => file(),
                _ => vec![Act::Send(page(&[line("s", unlisted)], LAST))],
            }),
            is_file,
        ),
        (
            Box::new(move |number| match number {
                0 => file(),
                _ => vec![Act::Send(page(&[line("s", ""), line("z", unlisted)], LAST))],
            }),
            is_file,
        ),
        // The server does not say so when it is asked.
        (Box::new(move |_| file()), |request| has(request, "dir")),
        (Box::new(move |_| file()), |request| {
            vec![Act::Send(refused(request, "not_found"))]
        }),
        (Box::new(move |_| file()), |_| vec![Act::Close]),
    ];
    for (number, (list, stat)) in cases.into_iter().enumerate() {
        let (code, left) = mirror_of(list, stat);
        assert_ne!(code, 0, "{number}");
        assert_eq!(left, ["s/", "s/mine"], "{number}");
    }
}

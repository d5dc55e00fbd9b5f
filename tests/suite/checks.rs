//! `--check`: what differs from what a server has, told without a transfer or a change.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::harness::{Output, TestServer, md5_hex, noise};
use crate::hostile::answers::{answer, header};
use crate::hostile::server::{Act, HostileServer};
use crate::place::{Place, event};

fn fetch(place: &Place) {
    let fetch = place.ftget().args(["-r", "-d", "d"]);
    fetch.arg(place.server.source("")).run().expect_code(0);
}

fn check(place: &Place, args: &[&str]) -> Output {
    let check = place.ftget().args(["--check", "-r", "-d", "d"]).args(args);
    check.arg(place.server.source("")).run()
}

/// What was told of each name that differs.
fn told(events: &[Value]) -> Vec<(&str, &str)> {
    let differs = events.iter().filter(|event| event["event"] == "differs");
    differs
        .map(|event| {
            let text = |key: &str| event[key].as_str().expect("a text");
            (text("filename"), text("reason"))
        })
        .collect()
}

#[test]
fn what_was_fetched_is_the_same_and_nothing_is_said() {
    let place = Place::with([("a", "1"), ("sub/b", "22"), ("sub/deep/c", "")]);
    place.root.write("large", noise(3, 3_000_000));
    place.root.make_dir("empty");
    symlink("b", place.root.join("sub/link")).expect("a link");
    fetch(&place);
    let output = check(&place, &[]).expect_code(0);
    assert_eq!((output.text(), &*output.stderr), (String::new(), ""));
    check(&place, &["--preserve", "mode,mtime"]).expect_code(0);
    let events = check(&place, &["--json"]).expect_code(0).json_lines();
    let summary = event(&events, "summary");
    assert_eq!(
        (&summary["same"], &summary["differs"]),
        (&8.into(), &0.into())
    );
}

#[test]
fn every_difference_has_its_word_in_the_order_of_listings() {
    let names = ["content", "file", "gone", "size", "t/in", "u"];
    let place = Place::with(names.map(|name| (name, "four")));
    for link in ["link", "same"] {
        symlink("u", place.root.join(link)).expect("a link");
    }
    fetch(&place);
    place.here.write("d/content", "ford");
    fs::remove_file(place.here.join("d/file")).expect("removed");
    place.here.write("d/file/inside", "x");
    fs::remove_file(place.here.join("d/gone")).expect("removed");
    fs::remove_file(place.here.join("d/link")).expect("removed");
    symlink("t", place.here.join("d/link")).expect("a link");
    place.here.write("d/more/of/it", "x");
    place.here.write("d/size", "five!");
    fs::remove_dir_all(place.here.join("d/t")).expect("removed");
    let output = check(&place, &["--json"]).expect_code(1);
    let events = output.json_lines();
    let expected = [
        ("content", "content"),
        ("file", "kind"),
        ("gone", "missing"),
        ("link", "target"),
        ("more", "extra"),
        ("more/of", "extra"),
        ("more/of/it", "extra"),
        ("size", "size"),
        ("t", "missing"),
        ("t/in", "missing"),
    ];
    assert_eq!(told(&events), expected);
    let summary = event(&events, "summary");
    assert_eq!(
        (&summary["same"], &summary["differs"]),
        (&2.into(), &10.into())
    );
    assert_eq!(summary["code"], 1);
    let text = check(&place, &[]).expect_code(1).text();
    assert!(text.starts_with(
        "d/content: other content of the same size\nd/file: a directory here, a file there\n"
    ));
    assert!(text.contains("size: 5 bytes here, 4 there\n"), "{text}");
    // Fetching repairs what it may.
    fs::remove_dir_all(place.here.join("d/file")).expect("removed");
    fs::remove_dir_all(place.here.join("d/more")).expect("removed");
    fetch(&place);
    check(&place, &[]).expect_code(0);
}

#[test]
fn nothing_changes_and_nothing_is_made_by_a_look() {
    let place = Place::with([("a", "1"), ("sub/b", "22")]);
    assert_eq!(
        told(&check(&place, &["--json"]).expect_code(1).json_lines()).len(),
        3
    );
    place.assert_only(&[]);
    fetch(&place);
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let sub = fs::File::open(place.here.join("d/sub")).expect("a folder");
    sub.set_modified(old).expect("its time is set");
    place.here.write("d/a", "2");
    let locked = fs::Permissions::from_mode(0o500);
    fs::set_permissions(place.here.join("d/sub"), locked).expect("locked");
    check(&place, &[]).expect_code(1);
    let facts = fs::metadata(place.here.join("d/sub")).expect("facts");
    assert_eq!(facts.permissions().mode() & 0o777, 0o500);
    assert_eq!(facts.modified().expect("a time"), old);
    assert_eq!(place.here.read("d/a"), b"2");
}

#[test]
fn attributes_are_compared_where_that_is_asked_for() {
    let place = Place::with([("a", "1"), ("b", "2"), ("c", "3")]);
    fetch(&place);
    let mode = fs::Permissions::from_mode(0o600);
    fs::set_permissions(place.here.join("d/a"), mode).expect("a mode");
    let file = fs::File::open(place.here.join("d/b")).expect("a file");
    file.set_modified(SystemTime::UNIX_EPOCH)
        .expect("its time is set");
    check(&place, &[]).expect_code(0);
    for (preserve, expected) in [
        ("mode", &[("a", "mode")][..]),
        ("mtime", &[("b", "mtime")]),
        ("mode,mtime", &[("a", "mode"), ("b", "mtime")]),
    ] {
        let output = check(&place, &["--json", "--preserve", preserve]).expect_code(1);
        assert_eq!(told(&output.json_lines()), expected, "{preserve}");
    }
    check(&place, &["--preserve", "none"]).expect_code(0);
}

#[test]
fn what_is_here_alone_counts_for_a_whole_tree_and_not_for_files() {
    let place = Place::with([("a.txt", "1"), ("b.txt", "2"), ("sub/c", "3")]);
    fetch(&place);
    place.here.write("d/more.txt", "x");
    place.here.write("d/sub/old", "x");
    let told_of = |args: &[&str], source: &str| {
        let check = place.ftget().args(["--check", "--json", "-d", "d"]);
        let events = check
            .args(args)
            .arg(place.server.source(source))
            .run()
            .json_lines();
        let told = told(&events).into_iter();
        told.map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(told_of(&["-r"], ""), ["more.txt", "sub/old"]);
    assert_eq!(told_of(&["-r", "--exclude", "more*"], ""), ["sub/old"]);
    assert_eq!(told_of(&["-r"], "sub"), ["sub/old"]);
    assert_eq!(told_of(&[], "*.txt"), [""; 0]);
    assert_eq!(told_of(&[], "a.txt"), [""; 0]);
    // Nothing of an excluded folder is asked for, or missed.
    fs::remove_dir_all(place.here.join("d/sub")).expect("removed");
    assert_eq!(told_of(&["-r", "--exclude", "/sub"], ""), ["more.txt"]);
}

#[test]
fn no_digest_is_asked_for_of_what_is_excluded() {
    let place = Place::with([("a.txt", "1"), ("b.txt", "2")]);
    // Its hash takes minutes.
    let huge = fs::File::create(place.root.join("huge")).expect("a file");
    huge.set_len(1 << 40).expect("a sparse file");
    place.here.write("d/a.txt", "1");
    place.here.write("d/b.txt", "3");
    let check = place
        .ftget()
        .args(["--check", "--json", "-d", "d", "-r", "--exclude", "huge"]);
    let output = check.arg(place.server.source("")).run().expect_code(1);
    let events = output.json_lines();
    let told = told(&events).into_iter();
    let told: Vec<String> = told.map(|(name, _)| name.to_owned()).collect();
    assert_eq!(told, ["b.txt"]);
}

#[test]
fn files_by_name_and_by_list_are_compared_in_their_order() {
    let place = Place::with([("a", "1"), ("b", "2"), ("c", "3"), ("dir/x", "4")]);
    fetch(&place);
    place.here.write("d/b", "other");
    let sources = ["c", "b", "nothing", "dir", "a"].map(|name| place.server.source(name));
    let check = place
        .ftget()
        .args(["--check", "-v", "-d", "d"])
        .args(sources)
        .run();
    // A name that is not there and a folder where a file was meant.
    let check = check.expect_code(23);
    assert_eq!(
        check.text(),
        "d/c: same\nd/b: 5 bytes here, 1 there\nd/a: same\n"
    );
    let list = format!(
        "{}  a\n{}  b\n{}  c\n",
        md5_hex("1"),
        md5_hex("2"),
        md5_hex("9")
    );
    let by_list = |list: String| {
        let check = place.ftget().args(["--check", "-v", "-d", "d", "-i", "-"]);
        check.input(list).arg(place.server.source("")).run()
    };
    let check = by_list(list).expect_code(10);
    assert_eq!(check.text(), "d/a: same\nd/b: 5 bytes here, 1 there\n");
    assert!(check.stderr.contains(&md5_hex("9")), "{}", check.stderr);
    let many: String = (0..500).map(|_| "a\nb\n").collect();
    let check = by_list(many).expect_code(1);
    assert_eq!(
        check.text(),
        "d/a: same\nd/b: 5 bytes here, 1 there\n".repeat(500)
    );
}

#[test]
fn nothing_is_looked_at_through_a_planted_link() {
    let place = Place::with([("sub/b", "22")]);
    place.here.write("outside/b", "22");
    place.here.make_dir("d");
    symlink("../outside", place.here.join("d/sub")).expect("a link");
    let output = check(&place, &["--json"]).expect_code(1);
    let expected = [("sub", "kind"), ("sub/b", "missing")];
    assert_eq!(told(&output.json_lines()), expected);
    let one = place
        .ftget()
        .args(["--check", "-d", "d", "-i", "-"])
        .input("sub/b\n");
    let one = one.arg(place.server.source("")).run().expect_code(3);
    assert!(one.stderr.contains("is a symbolic link"), "{}", one.stderr);
}

#[test]
fn who_cannot_compare_everything_says_that_and_not_that_something_differs() {
    let place = Place::with([("a", "1"), ("b", "2")]);
    place.here.write("d/a", "other");
    let mut server = TestServer::plain(place.root.path());
    let source = server.source("");
    server.kill();
    let check = place.ftget().args(["--check", "-r", "-d", "d"]);
    check.arg(source).run().expect_code(4);
    // A listing that breaks off, after a difference was told.
    let body = format!(
        "{{\"filename\":\"a\",\"total_size\":1,\"md5\":\"{}\",\"type\":\"file\"}}\n",
        md5_hex("1")
    );
    let text = header(
        "",
        body.len() as u64,
        &md5_hex(&body),
        r#", "next": "1", "recursive": true"#,
    );
    let page = answer(text, body.as_bytes());
    let server = HostileServer::start(move |request| match request.str("after") {
        "" => vec![Act::Send(page.clone())],
        _ => vec![Act::Close],
    });
    let check = place
        .ftget()
        .args(["--check", "-r", "--retry", "0", "-d", "d"]);
    let check = check.arg(server.source("")).run().expect_code(4);
    assert_eq!(check.text(), "d/a: 5 bytes here, 1 there\n");
}

#[test]
fn ten_thousand_files_are_compared_over_pages_in_order() {
    let place = Place::with([("x/0", "1")]);
    for number in 0..12_000 {
        place.root.write(format!("many/{number:05}"), "x");
        place.here.write(format!("d/many/{number:05}"), "x");
    }
    place.here.write("d/x/0", "1");
    place.here.write("d/many/00500", "y");
    place.here.write("d/many/11999", "y");
    let output = check(&place, &["--json"]).expect_code(1);
    let events = output.json_lines();
    let expected = [("many/00500", "content"), ("many/11999", "content")];
    assert_eq!(told(&events), expected);
    let ascend = |pair: &[Value]| pair[0]["n"].as_u64() < pair[1]["n"].as_u64();
    assert!(events[..events.len() - 1].windows(2).all(ascend));
    assert_eq!(event(&events, "summary")["same"], 12_001);
}

#[test]
fn what_two_sources_name_is_compared_once_and_what_comes_behind_it_is_told() {
    // More than may wait to be told.
    let many = (0..9_000).map(|number| (format!("many/{number:04}"), "1"));
    let others = ["b/g1", "b/g2", "b/g3"].map(|name| (name.to_owned(), "1"));
    let place = Place::with(many.chain(others));
    let sources = ["many", "many", "b/g[12]", "b/*"].map(|name| place.server.source(name));
    let fetch = place.ftget().args(["-r", "-d", "d"]).args(&sources);
    fetch.run().expect_code(0);
    place.here.write("d/g3", "2");
    let check = place.ftget().args(["--check", "--json", "-r", "-d", "d"]);
    let events = check.args(&sources).run().expect_code(1).json_lines();
    assert_eq!(told(&events), [("b/g3", "content")]);
    // The folder itself is that of two sources.
    assert_eq!(event(&events, "summary")["same"], 9_004);
}

#[test]
fn what_another_source_has_in_the_same_folder_is_not_here_alone() {
    let place = Place::with([("a/one", "1"), ("b/two", "2"), ("b/d/three", "3")]);
    for sources in [&["a/", "b/"][..], &["a/*", "b/d"], &["b/d", "b/[t]*"]] {
        let sources = sources.iter().map(|name| place.server.source(name));
        let run = |args: &[&str]| {
            let run = place.ftget().args(args).args(["-r", "-d", "d"]);
            run.args(sources.clone()).run()
        };
        run(&[]).expect_code(0);
        let output = run(&["--check"]).expect_code(0);
        assert_eq!(output.text(), "");
    }
}

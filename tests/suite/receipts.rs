//! `--receipts`: a line for each verified file, and for no other.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::harness::{Output, md5_hex};
use crate::place::Place;

fn lines(place: &Place) -> Vec<Value> {
    let text = String::from_utf8(place.here.read("receipts")).expect("text");
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect()
}

fn fetch(place: &Place, args: &[&str], names: &[&str]) -> Output {
    let sources = names.iter().map(|name| place.server.source(name));
    let fetch = place.ftget().args(["--receipts", "receipts"]).args(args);
    fetch.args(sources).run()
}

#[test]
fn what_was_verified_has_a_line_with_its_place_and_what_was_not_has_none() {
    let place = Place::with([("a", "1"), ("sub/b", "22"), ("c", "333")]);
    place.here.write("d/b", "22");
    place.here.write("d/c", "another");
    let md5 = md5_hex("other");
    fetch(&place, &["-d", "d"], &["a", "sub/b", "nothing"]).expect_code(11);
    fetch(&place, &["-d", "d", "--if-exists", "skip"], &["c"]).expect_code(0);
    fetch(&place, &["-d", "d", "--md5", &md5], &["c"]).expect_code(13);
    fetch(&place, &["-d", "d", "--if-exists", "rename"], &["c"]).expect_code(0);
    let mut told: Vec<_> = lines(&place)
        .into_iter()
        .map(|line| {
            let text = |key: &str| line[key].as_str().expect("a text").to_owned();
            assert_eq!(text("server"), place.server.addr());
            (
                text("filename"),
                line["total_size"].as_u64(),
                text("md5"),
                text("file"),
            )
        })
        .collect();
    told.sort();
    let here = place.here.path().canonicalize().expect("a folder");
    let expected = [
        ("a", "1", "d/a"),
        ("c", "333", "d/c.1"),
        ("sub/b", "22", "d/b"),
    ];
    let expected = expected.map(|(name, content, file)| {
        let file = here
            .join(file)
            .into_os_string()
            .into_string()
            .expect("text");
        let size = Some(content.len() as u64);
        (name.to_owned(), size, md5_hex(content), file)
    });
    assert_eq!(told, expected);
    // They are a list: what they name is fetched, and only as it was.
    place.root.write("a", "2");
    let again = place.ftget().args(["-i", "receipts", "-d", "again"]);
    again.arg(place.server.source("")).run().expect_code(13);
    assert_eq!(place.here.read("again/sub/b"), b"22");
    assert!(!place.here.join("again/a").exists());
}

fn check(place: &Place, args: &[&str]) -> Output {
    let check = place.ftget().args(["--check", "--receipts", "receipts"]);
    check.args(args).run()
}

#[test]
fn receipts_prove_that_the_disk_agrees_and_name_what_differs() {
    let files = ["size", "content", "gone", "link", "folder", "same"];
    let place = Place::with(files.map(|name| (name, "12345")));
    fetch(&place, &["-d", "d"], &files).expect_code(0);
    let same = check(&place, &[]).expect_code(0);
    assert_eq!((same.text(), &*same.stderr), (String::new(), ""));
    let shown = check(&place, &["-v", "-j", "1"]).expect_code(0).text();
    assert_eq!(shown.matches("/d/size: same\n").count(), 1, "{shown}");
    place.here.write("d/size", "123456");
    place.here.write("d/content", "12346");
    for name in ["gone", "link", "folder"] {
        fs::remove_file(place.here.join("d").join(name)).expect("a removal");
    }
    symlink("same", place.here.join("d/link")).expect("a link");
    place.here.make_dir("d/folder");
    let differs = check(&place, &[]).expect_code(1);
    let text = differs.text();
    let mut told: Vec<&str> = text
        .lines()
        .map(|line| line.rsplit_once("/d/").expect("a file").1)
        .collect();
    told.sort();
    let content = format!(
        "content: md5 {}, not {}",
        md5_hex("12346"),
        md5_hex("12345")
    );
    let kind = "not a regular file any more";
    assert_eq!(
        told,
        [
            &content,
            &format!("folder: {kind}"),
            "gone: missing",
            &format!("link: {kind}"),
            "size: 6 bytes, not 5"
        ]
    );
    let events = check(&place, &["--json"]).expect_code(1).json_lines();
    let mut reasons: Vec<_> = events
        .iter()
        .filter(|event| event["event"] == "differs")
        .map(|event| event["reason"].as_str().expect("a reason"))
        .collect();
    reasons.sort();
    assert_eq!(
        reasons,
        ["content", "missing", "not_a_file", "not_a_file", "size"]
    );
    let summary = events.last().expect("a summary");
    assert_eq!(
        (&summary["same"], &summary["differs"], &summary["code"]),
        (&1.into(), &5.into(), &1.into())
    );
    // Fetched anew all is right, whatever the older receipts say.
    fs::remove_dir(place.here.join("d/folder")).expect("a removal");
    place.root.write("size", "another");
    fetch(&place, &["-d", "d"], &files).expect_code(0);
    let events = check(&place, &["--json"]).expect_code(0).json_lines();
    assert_eq!(events.last().expect("a summary")["same"], 6);
}

#[test]
fn receipts_that_cannot_be_read_are_said_and_never_taken_for_right() {
    let place = Place::with([("a", "1")]);
    fetch(&place, &[], &["a"]).expect_code(0);
    let receipt = place.here.read("receipts");
    let lines = [&b"{}\n"[..], &receipt, &receipt[..20]].concat();
    place.here.write("receipts", lines);
    let bad = check(&place, &[]).expect_code(2);
    let told: Vec<&str> = bad.stderr.lines().collect();
    let words = [
        "ftget: receipts:1: line is not a receipt: missing",
        "ftget: receipts:3: ",
    ];
    assert_eq!(told.len(), 2, "{}", bad.stderr);
    let fits = told
        .iter()
        .zip(words)
        .all(|(line, words)| line.starts_with(words));
    assert!(fits, "{}", bad.stderr);
    fs::remove_file(place.here.join("a")).expect("a removal");
    check(&place, &[]).expect_code(23);
    for args in [
        &["--check"][..],
        &["--check", "--receipts", "receipts", "-n"],
    ] {
        place.ftget().args(args).run().expect_code(2);
    }
    let folder = place.ftget().args(["--check", "--receipts", "."]);
    let folder = folder.run().expect_code(3);
    let words = "ftget: cannot read the receipts .: not a regular file\n";
    assert_eq!(folder.stderr, words);
}

#[test]
fn receipts_that_cannot_be_written_are_a_failure_and_the_files_arrive() {
    let place = Place::with([("a", "1"), ("b", "2")]);
    let fetch = |receipts: &str, args: &[&str]| {
        let fetch = place.ftget().args(["--receipts", receipts]).args(args);
        fetch.arg(place.server.source("a")).run()
    };
    let refused = fetch("no/where", &[]).expect_code(3);
    let said = "ftget: cannot open the receipts no/where: No such file or directory (os error 2)\n\
                hint: create its directory first\n";
    assert_eq!(refused.stderr, said);
    assert!(place.here.names().is_empty(), "nothing is begun");
    let full = fetch("/dev/full", &[]).expect_code(9);
    let words = "ftget: cannot write receipts: No space left";
    assert!(full.stderr.starts_with(words), "{}", full.stderr);
    place.assert_only(&[("a", b"1")]);
    for args in [["-o", "-"], ["-n", "-v"]] {
        fetch("receipts", &args).expect_code(2);
    }
    place.assert_only(&[("a", b"1")]);
}

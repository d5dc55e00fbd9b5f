//! `--receipts`: a line for each verified file, and for no other.

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

#[test]
fn receipts_that_cannot_be_written_are_a_failure_and_the_files_arrive() {
    let place = Place::with([("a", "1"), ("b", "2")]);
    let fetch = |receipts: &str, args: &[&str]| {
        let fetch = place.ftget().args(["--receipts", receipts]).args(args);
        fetch.arg(place.server.source("a")).run()
    };
    let refused = fetch("no/where", &[]).expect_code(3);
    let words = "ftget: cannot open the receipts: No such file";
    assert!(refused.stderr.starts_with(words), "{}", refused.stderr);
    assert!(place.here.names().is_empty(), "nothing is begun");
    let full = fetch("/dev/full", &[]).expect_code(3);
    let words = "ftget: cannot write receipts: No space left";
    assert!(full.stderr.starts_with(words), "{}", full.stderr);
    place.assert_only(&[("a", b"1")]);
    for args in [["-o", "-"], ["-n", "-v"]] {
        fetch("receipts", &args).expect_code(2);
    }
    place.assert_only(&[("a", b"1")]);
}

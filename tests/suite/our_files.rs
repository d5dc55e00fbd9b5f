//! What `ftget` itself writes, where its downloads go: no download takes its place, and no mirror
//! deletes it.

use std::fs;
use std::os::unix::fs::symlink;

use crate::mirrors::{SERVED, deleted, mirror};
use crate::place::{Place, event};

#[test]
fn receipts_are_not_replaced_by_a_file_of_their_name() {
    let place = Place::with([("a", "1"), ("receipts", "of the server")]);
    place.here.make_dir("d");
    for round in 1..=2 {
        let output = mirror(&place, &["--receipts", "d/receipts"]).expect_code(3);
        let events = output.json_lines();
        let failed = event(&events, "error");
        assert_eq!(failed["filename"], "receipts");
        let words = "that name is a file that this program itself writes";
        let message = failed["message"].as_str().expect("a text");
        assert!(message.contains(words), "{failed}");
        let receipts = place.here.read("d/receipts");
        let receipts = String::from_utf8(receipts).expect("receipts");
        assert_eq!(receipts.lines().count(), round, "{receipts}");
        assert!(receipts.contains(r#""filename":"a""#), "{receipts}");
    }
    let args = ["--receipts", "d/receipts", "--if-exists", "skip"];
    mirror(&place, &args).expect_code(0);
    let alone = place.ftget().args(["--receipts", "a", "-o", "a"]);
    alone.arg(place.server.source("a")).run().expect_code(3);
    assert_eq!(place.here.read("a"), b"");
}

#[test]
fn an_index_in_a_mirror_stays_whole() {
    for policy in ["update", "skip"] {
        let place = Place::with(SERVED);
        let args = ["--index", "d/sub/i", "--if-exists", policy];
        mirror(&place, &args).expect_code(0);
        // As a program leaves them that is killed.
        for name in ["i", "i-wal", "i-shm", "i-lock"] {
            let path = place.here.join("d/sub").join(name);
            let _ = fs::OpenOptions::new().append(true).create(true).open(path);
        }
        place.here.write("d/sub/i-other", "");
        let run = mirror(&place, &args).expect_code(0);
        assert_eq!(deleted(&run.json_lines()), ["sub/i-other"]);
        for name in ["i", "i-lock"] {
            assert!(place.here.join("d/sub").join(name).exists(), "{name}");
        }
    }
}

#[test]
fn of_a_folder_that_holds_an_index_in_use_everything_else_is_deleted() {
    let place = Place::with(SERVED);
    let args = ["--index", "d/mine/deep/i"];
    mirror(&place, &args).expect_code(0);
    for name in ["mine/deep/x", "mine/y", "mine/z/w"] {
        place.here.write(format!("d/{name}"), "");
    }
    mirror(&place, &args).expect_code(0);
    assert!(place.here.join("d/mine/deep/i-lock").exists());
    for name in ["mine/deep/x", "mine/y", "mine/z"] {
        assert!(!place.here.join("d").join(name).exists(), "{name}");
    }
    mirror(&place, &args).expect_code(0);
}

#[test]
fn receipts_that_a_link_leads_to_are_nothing_to_delete_for_a_look_either() {
    let place = Place::with(SERVED);
    place.here.make_dir("d");
    mirror(&place, &["--receipts", "d/mine"]).expect_code(0);
    symlink("d/mine", place.here.join("link")).expect("a link");
    let args = ["--receipts", "link", "--preflight", "--max-delete", "0"];
    mirror(&place, &args).expect_code(0);
    assert!(place.here.join("d/mine").exists());
}

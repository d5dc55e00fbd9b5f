//! Trees deeper than paths may be.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;

use rustix::fs::{Mode, OFlags, mkdirat, openat};

use crate::harness::{Scratch, TestServer};
use crate::mirrors::{deleted, mirror};
use crate::place::{Place, event};

/// Makes so many folders `d`, each in the one before, and a file in each of them.
fn dig(folder: &Path, depth: usize) {
    let mut folder = OwnedFd::from(fs::File::open(folder).expect("a folder"));
    for _ in 0..depth {
        mkdirat(&folder, "d", Mode::RWXU).expect("made");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        folder = openat(&folder, "d", flags, Mode::empty()).expect("opened");
        let flags = OFlags::CREATE | OFlags::WRONLY;
        openat(&folder, "f", flags, Mode::RUSR | Mode::WUSR).expect("a file");
    }
}

/// Removes what no path leads to.
fn fill_in(folder: &Path) {
    let removed = Command::new("rm").arg("-r").arg(folder.join("d")).status();
    assert!(removed.expect("rm runs").success());
}

#[test]
fn what_is_deeper_than_a_path_may_be_is_named_and_the_copy_is_no_success() {
    let root = Scratch::with_files([("a", "1")]);
    dig(root.path(), 300);
    let place = Place {
        server: TestServer::plain(root.path()),
        root,
        here: Scratch::new(),
    };
    let deepest = vec!["d"; 256].join("/");
    let sentence = "server says too_large: directory contains paths over the limit of";
    let fetch = place.fetch(&["-d", "."], &[""]).expect_code(8);
    assert!(fetch.stderr.contains(sentence), "{}", fetch.stderr);
    assert!(!fetch.stderr.contains("hidden"), "{}", fetch.stderr);
    let fetched = place.here.join(&deepest);
    assert!(fetched.with_file_name("f").exists() && !fetched.exists());
    let list = place
        .ftget()
        .args(["--list", "-r"])
        .arg(place.server.source(""));
    let list = list.run();
    assert_eq!(list.code, 8, "{}", list.stderr);
    let check = place.ftget().args(["-r", "--check", "-d", "."]);
    check.arg(place.server.source("")).run().expect_code(8);
    fill_in(place.root.path());
}

#[test]
fn a_mirror_deletes_what_is_deeper_than_a_path_may_be_with_the_folder_it_is_in() {
    let place = Place::with([("a", "1")]);
    fs::create_dir(place.here.join("d")).expect("a folder");
    dig(&place.here.join("d"), 1_500);
    let events = mirror(&place, &[]).expect_code(0).json_lines();
    assert_eq!(event(&events, "summary")["deleted"], 3_000);
    assert_eq!(deleted(&events).last(), Some(&"d"));
    assert_eq!(
        fs::read_dir(place.here.join("d"))
            .expect("a folder")
            .count(),
        1
    );
}

#[test]
fn a_mirror_deletes_nothing_below_or_around_what_could_not_be_listed_for_its_depth() {
    let root = Scratch::with_files([("a", "1")]);
    dig(root.path(), 257);
    let place = Place {
        server: TestServer::plain(root.path()),
        root,
        here: Scratch::new(),
    };
    let inside = vec!["d"; 257].join("/");
    let mine = format!("d/{}/mine", &inside[..inside.len() - 2]);
    place.here.write(&mine, "mine");
    let output = mirror(&place, &[]);
    assert_eq!(output.code, 8, "{}", output.stderr);
    assert!(place.here.join(&mine).exists());
    fill_in(place.root.path());
}

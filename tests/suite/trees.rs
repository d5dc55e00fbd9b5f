//! `ftget -r`: trees as they are at the source, in a folder that may hold something already.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, Mode, Timespec, Timestamps, mkfifoat, utimensat};

use crate::files::unprivileged_reader;
use crate::harness::{Output, Program, Scratch, TestServer, noise};
use crate::picture::{contents, picture};
use crate::place::{Place, event};

impl Place {
    /// Fetches these sources of the server into the empty folder.
    pub(crate) fn fetch(&self, args: &[&str], sources: &[&str]) -> Output {
        let sources = sources.iter().map(|source| self.server.source(source));
        self.ftget().arg("-r").args(args).args(sources).run()
    }
}

fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its permissions");
}

/// Gives everything in a folder and below it another time.
fn age(folder: &Path, seconds: &mut u64) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let kind = fs::symlink_metadata(&path).expect("its kind");
        if kind.is_dir() {
            age(&path, seconds);
        }
        *seconds += 1;
        set_time(&path, *seconds);
    }
}

/// Gives a file, a folder or a link another time.
pub(crate) fn set_time(path: &Path, seconds: u64) {
    let time = Timespec {
        tv_sec: seconds.try_into().expect("a time"),
        tv_nsec: 123_456_789,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("another time");
}

/// A tree with all that one may hold and a server gives.
fn rich_tree() -> Scratch {
    let root = Scratch::with_files([
        ("top/a", &b"of a"[..]),
        ("top/sub/b", b"of b"),
        ("top/sub/deep/large", &noise(1, 700_000)),
        ("top/bin/script", b"#!/bin/sh\n"),
        ("top/zero", b""),
        ("beside", b"not of top"),
    ]);
    root.make_dir("top/empty/emptier");
    symlink("a", root.join("top/to-a")).expect("a link");
    symlink("../a", root.join("top/sub/up")).expect("a link");
    symlink("missing", root.join("top/dangling")).expect("a link");
    symlink("loop", root.join("top/loop")).expect("a link");
    symlink("sub/deep", root.join("top/to-folder")).expect("a link");
    set_mode(root.join("top/a"), 0o640);
    set_mode(root.join("top/bin/script"), 0o755);
    age(root.path(), &mut 1_000_000_000);
    set_mode(root.join("top/sub"), 0o750);
    set_mode(root.join("top/empty"), 0o700);
    root
}

#[test]
fn a_folder_is_itself_and_with_a_slash_what_is_in_it() {
    let root = rich_tree();
    let server = TestServer::plain(root.path());
    for (source, at) in [("top", ""), ("top/", "top"), ("", "")] {
        let here = Scratch::new();
        Program::ftget()
            .args(["-r", "-d"])
            .arg(here.path())
            .arg(server.source(source))
            .run()
            .expect_code(0);
        let mut wanted = picture(&root.join(at));
        if source == "top" {
            wanted.retain(|line| !line.starts_with("beside"));
        }
        assert_eq!(picture(here.path()), wanted, "{source:?}");
    }
}

#[test]
fn a_second_run_transfers_and_changes_nothing_read_only_folders_included() {
    let root = rich_tree();
    let closed = ["top/bin", "top/sub/deep", "top/empty"];
    for name in closed {
        set_mode(root.join(name), 0o555);
    }
    let place = Place {
        server: TestServer::plain(root.path()),
        root,
        here: Scratch::new(),
    };
    for transferred in [true, false] {
        let source = place.server.source("top");
        let run = place.ftget().args(["-r", "--json"]).arg(source);
        let run = run.through(unprivileged_reader()).run().expect_code(0);
        let summary = event(&run.json_lines(), "summary").clone();
        assert_eq!(
            (summary["done"].as_u64(), &summary["failed"]),
            (Some(10), &0.into())
        );
        assert_eq!(
            summary["bytes"].as_u64() > Some(0),
            transferred,
            "{summary}"
        );
        let wanted = picture(&place.root.join("top"));
        assert_eq!(picture(&place.here.join("top")), wanted);
    }
    // What was removed comes back into a closed folder, which is closed again.
    set_mode(place.here.join("top/sub/deep"), 0o755);
    fs::remove_file(place.here.join("top/sub/deep/large")).expect("a file less");
    set_mode(place.here.join("top/sub/deep"), 0o500);
    let run = place.ftget().arg("-r").arg(place.server.source("top"));
    run.through(unprivileged_reader()).run().expect_code(0);
    let wanted = picture(&place.root.join("top"));
    assert_eq!(picture(&place.here.join("top")), wanted);
    for folder in [&place.root, &place.here] {
        for name in closed {
            set_mode(folder.join(name), 0o755);
        }
    }
}

#[test]
fn what_is_not_to_be_preserved_is_as_if_it_were_made_here() {
    let root = rich_tree();
    set_mode(root.join("top/sub"), 0o2751);
    let place = Place {
        server: TestServer::plain(root.path()),
        root,
        here: Scratch::new(),
    };
    let before = SystemTime::now() - Duration::from_secs(60);
    place
        .fetch(&["--preserve", "none"], &["top"])
        .expect_code(0);
    for (name, kind) in [
        ("top/sub", "folder"),
        ("top/sub/b", "file"),
        ("top/empty", "folder"),
    ] {
        let meta = fs::metadata(place.here.join(name)).expect("it is there");
        assert!(meta.modified().expect("a time") > before, "{name}");
        let reference = place.here.join("reference");
        match kind {
            "folder" => fs::create_dir(&reference).expect("a folder"),
            _ => fs::write(&reference, "").expect("a file"),
        }
        let usual = fs::metadata(&reference).expect("it is there").permissions();
        assert_eq!(meta.permissions().mode(), usual.mode(), "{name}");
        let _ = fs::remove_file(&reference);
        let _ = fs::remove_dir(&reference);
    }
    // Nobody hands out set-group-id, sticky and the like.
    place.fetch(&[], &["top"]).expect_code(0);
    let mode = fs::metadata(place.here.join("top/sub"))
        .expect("a folder")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o751);
}

#[test]
fn links_are_links_and_one_that_leads_out_is_passed_over() {
    let place = Place::with([("d/a", "1"), ("d/s/b", "2"), ("out", "3")]);
    for (target, name) in [
        ("a", "inside"),
        ("../a", "s/up"),
        ("./s//b", "odd"),
        ("missing", "dangling"),
        ("loop", "loop"),
        (".", "self"),
        ("/etc/passwd", "absolute"),
        ("../../etc/passwd", "far"),
        // In the served folder, and not in what is fetched of it.
        ("../out", "sibling"),
    ] {
        symlink(target, place.root.join("d").join(name)).expect("a link");
    }
    let within = [
        "a = 1",
        "dangling -> missing",
        "inside -> a",
        "loop -> loop",
        "odd -> ./s//b",
        "s/",
        "s/b = 2",
        "s/up -> ../a",
        "self -> .",
    ];
    for _ in 0..2 {
        let run = place.fetch(&["-v"], &["d/"]).expect_code(0);
        assert_eq!(contents(place.here.path()), within);
        for name in ["absolute", "far", "sibling"] {
            let line = format!("d/{name}: a link that cannot be made, left out");
            assert!(run.stderr.contains(&line), "{}", run.stderr);
        }
    }
    // A source may be a link to a folder, and becomes a folder.
    symlink("d/s", place.root.join("linked")).expect("a link");
    place.fetch(&["-d", "by-link"], &["linked"]).expect_code(0);
    assert!(contents(place.here.path()).contains(&"by-link/linked/b = 2".to_owned()));
    // With the folder itself it leads to where its neighbour would be.
    let run = place
        .fetch(&["--json", "-d", "whole"], &["d"])
        .expect_code(0);
    assert_eq!(event(&run.json_lines(), "summary")["passed_over"], 2);
    let link = fs::read_link(place.here.join("whole/d/sibling")).expect("a link");
    assert_eq!(link, Path::new("../out"));
}

#[test]
fn every_name_that_a_file_system_takes_is_fetched() {
    let names: [&[u8]; 13] = [
        b"\xff\xfe not utf-8",
        b"l\nine",
        b"c\rr",
        b"\x1b[31mred",
        "\u{202e}gpj.exe".as_bytes(),
        b"..\\x",
        b"C:\\x",
        b"~",
        b"-rf",
        b"$(id)",
        b"%2e%2e%2f",
        b"@x",
        b" * ? [ ",
    ];
    let root = Scratch::new();
    let longest = [b'n'; 255];
    for name in names.iter().copied().chain([&longest[..]]) {
        let name = OsStr::from_bytes(name);
        root.write(Path::new("files").join(name), name.as_bytes());
        root.write(Path::new("folders").join(name).join(name), name.as_bytes());
        fs::create_dir_all(root.join("links")).expect("a folder");
        symlink(name, root.join("links").join(name)).expect("a link");
    }
    let server = TestServer::start(root.path(), ["--hidden", "show"]);
    let here = Scratch::new();
    let args = ["-r", "-v", "--json", "-d"].map(OsString::from);
    let run = Program::ftget()
        .args(args)
        .arg(here.path())
        .arg(server.source(""));
    let run = run.run().expect_code(0);
    assert_eq!(picture(here.path()), picture(root.path()));
    let acts = |c: char| c != '\n' && c.is_control() || matches!(c, '\u{202a}'..='\u{202e}');
    assert!(
        !run.stderr.contains(acts) && !run.text().contains(acts),
        "{}",
        run.stderr
    );
    // Where the longest name is taken, a shorter one still has room for a number.
    let again = Program::ftget().args(["-r", "--if-exists", "rename", "-d"]);
    let again = again.arg(here.path()).arg(server.source("files"));
    fs::write(here.join("files").join(OsStr::from_bytes(&longest)), "mine").expect("a file");
    again.run().expect_code(0);
    let mut numbered = longest[..253].to_vec();
    numbered.extend(b".1");
    assert_eq!(
        fs::read(here.join("files").join(OsStr::from_bytes(&numbered))).expect("a file"),
        longest
    );
}

#[test]
fn the_deepest_tree_that_has_a_name_is_fetched() {
    let root = Scratch::new();
    // 256 parts.
    root.write("d/".repeat(255) + "f", "deep");
    // 4,096 bytes: no system call takes such a path as a whole.
    let script = r#"name=$1; for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do
        mkdir "$name" && cd -P "$name" || exit 1; done
        echo long > a123456789012345 && mkdir b123456789012 && echo long > b123456789012/of
        mkdir c123456789012345 && ln -s nothing d123456789012345"#;
    let long = Program::system("sh", "dash").in_folder(root.path());
    let long = long.args(["-c", script, "sh", &"n".repeat(254)]);
    long.run().expect_code(0);
    let server = TestServer::plain(root.path());
    let here = Scratch::new();
    for _ in 0..2 {
        let run = Program::ftget().args(["-r", "-d"]).arg(here.path());
        run.arg(server.source("")).run().expect_code(0);
        // It descends by descriptors, and needs no path as a whole.
        let whole = |folder: &Path| {
            let tar = Program::system("tar", "tar").args(["-c", "--sort=name", "--mtime=@0", "-C"]);
            tar.arg(folder).arg(".").run().expect_code(0).stdout
        };
        assert!(whole(root.path()) == whole(here.path()), "the trees differ");
    }
}

#[test]
fn a_source_that_is_no_file_by_its_name_is_a_failure_whatever_is_done_with_it() {
    let place = Place::with([("d/a", "1")]);
    mkfifoat(CWD, place.root.join("fifo"), Mode::from_raw_mode(0o644)).expect("a FIFO");
    symlink("fifo", place.root.join("link")).expect("a link");
    for source in ["fifo", "link"] {
        for args in [&[][..], &["-n"], &["--check"], &["--preflight"]] {
            let failed = place.fetch(args, &[source]).expect_code(2);
            let told = format!("{source}: server says not_a_file");
            assert!(failed.stderr.contains(&told), "{args:?}: {}", failed.stderr);
        }
    }
    let some = place.fetch(&[], &["fifo", "d"]).expect_code(2);
    assert_eq!(
        contents(place.here.path()),
        ["d/", "d/a = 1"],
        "{}",
        some.stderr
    );
}

#[test]
fn what_is_neither_file_nor_folder_is_passed_over_and_counted() {
    let place = Place::with([("d/a", "1")]);
    let _socket = UnixListener::bind(place.root.join("d/socket")).expect("a socket");
    mkfifoat(CWD, place.root.join("d/fifo"), Mode::from_raw_mode(0o644)).expect("a FIFO");
    let run = place.fetch(&[], &["d"]).expect_code(0);
    assert_eq!(contents(place.here.path()), ["d/", "d/a = 1"]);
    let line = "ftget: note: 2 entries left out: special files, or links that cannot be made (-v names them)\n";
    assert_eq!(run.stderr, line);
    let named = place.fetch(&["-v"], &["d"]).expect_code(0).stderr;
    assert!(
        named.contains("d/fifo: a special file, left out"),
        "{named}"
    );
    assert!(!named.contains("-v"), "{named}");
    assert_eq!(place.fetch(&["-q"], &["d"]).expect_code(0).stderr, "");
    let events = place.fetch(&["--json"], &["d"]).expect_code(0).json_lines();
    let passed = event(&events, "passed_over");
    assert_eq!(
        (passed["filename"].as_str(), passed["n"].as_u64()),
        (Some("d/fifo"), Some(2))
    );
    assert_eq!(event(&events, "summary")["passed_over"], 2);
}

#[test]
fn what_cannot_be_read_at_the_source_is_named_and_the_rest_is_fetched() {
    let root = Scratch::with_files([
        ("d/closed/in", "1"),
        ("d/open/in", "2"),
        ("d/secret", "3"),
        ("d/z", "4"),
    ]);
    set_mode(root.join("d/closed"), 0);
    set_mode(root.join("d/secret"), 0);
    let server = TestServer::builder(root.path())
        .through(unprivileged_reader())
        .start();
    let place = Place {
        root,
        server,
        here: Scratch::new(),
    };
    let run = place.fetch(&[], &["d"]).expect_code(6);
    assert_eq!(
        contents(place.here.path()),
        ["d/", "d/open/", "d/open/in = 2", "d/z = 4"]
    );
    for name in ["closed", "secret"] {
        let line = format!("/d/{name}: server says forbidden");
        assert_eq!(run.stderr.matches(&line).count(), 1, "{}", run.stderr);
    }
    assert_eq!(run.stderr.lines().count(), 2, "{}", run.stderr);
    set_mode(place.root.join("d/closed"), 0o755);
}

#[test]
fn a_folder_is_closed_after_those_in_it() {
    let root = Scratch::new();
    // More than are kept open.
    let names: Vec<String> = (0..500).map(|n| format!("d{n}")).collect();
    for name in &names {
        root.make_dir(format!("top/{name}/empty"));
        // Who may not enter it cannot finish what is in there, unless it is opened again.
        set_mode(root.join("top").join(name), 0o400);
    }
    let place = Place {
        server: TestServer::plain(root.path()),
        root,
        here: Scratch::new(),
    };
    let run = place.ftget().arg("-r").arg(place.server.source("top"));
    run.through(unprivileged_reader()).run().expect_code(0);
    let opened = names.iter().filter(|name| {
        let folder = fs::metadata(place.here.join("top").join(name));
        folder.expect("a folder").permissions().mode() & 0o7777 != 0o400
    });
    assert_eq!(opened.count(), 0);
    for name in &names {
        set_mode(place.root.join("top").join(name), 0o700);
        set_mode(place.here.join("top").join(name), 0o700);
    }
}

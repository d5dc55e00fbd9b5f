//! Trees that go where an enemy, or bad luck, was before.

use std::fs;
use std::os::unix::fs::{chown, symlink};

use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::json;

use super::answers::honest_bytes;
use super::full_disk::could_not_mount;
use super::server::{Act, HostileServer};
use super::trees::{content, fetch_into, file, folder, listing, serve};
use super::visit::watch;
use crate::files::unprivileged_reader;
use crate::harness::{Output, Program, Scratch};
use crate::picture::contents;

#[test]
fn a_full_disk_in_the_middle_of_a_tree_is_told_for_each_file_and_the_small_ones_go_on() {
    let big = |name: &str| name.contains("big");
    let body = move |name: &str| {
        if big(name) {
            vec![7; 600_000]
        } else {
            content(name)
        }
    };
    let line = move |name: &str| {
        json!({"filename": name, "total_size": body(name).len(), "md5": "", "type": "file"})
            .to_string()
    };
    let names = ["d/a", "d/big1", "d/big2", "d/big3", "d/z"];
    let server = HostileServer::start(move |request| {
        vec![Act::Send(match request.str("op") {
            "" | "get" => honest_bytes(&body(request.str("filename")), request),
            _ => serve(&[names.map(line).to_vec()], request),
        })]
    });
    let folder = Scratch::new();
    let script = r#"folder=$1; shift
        mount -t tmpfs -o size=1m tmpfs "$folder" || exit 99
        "$@" -d "$folder"; code=$?
        cd "$folder"; find d -type f -name '*' ! -name '.ft-*' | sort
        exit $code"#;
    let output = watch(
        Program::system("unshare", "util-linux")
            .args(["--map-root-user", "--mount", "sh", "-c", script, "sh"])
            .arg(folder.path())
            .args([
                env!("CARGO_BIN_EXE_ftget"),
                "-r",
                "--retry",
                "0",
                &server.source("d"),
            ]),
    );
    if could_not_mount(&output) {
        return;
    }
    let output = output.expect_code(9);
    let (files, shown) = (output.text(), &output.stderr);
    // One of the large ones fits.
    let big = files.lines().filter(|name| big(name)).count();
    assert_eq!(big, 1, "{files}{shown}");
    assert!(
        files.starts_with("d/a\n") && files.ends_with("d/z\n"),
        "{files}{shown}"
    );
    assert_eq!(shown.matches("no space").count(), 2, "{shown}");
}

#[test]
fn nothing_is_written_where_a_destination_leads_out() {
    let secret = "must stay as it is";
    let outside = Scratch::with_files([("secret", secret), ("in/secret", secret)]);
    let here = Scratch::new();
    here.make_dir("d");
    let link = |to: &str, name: &str| {
        symlink(outside.join(to), here.join(name)).expect("a link");
    };
    link("in", "d/linked");
    link("secret", "d/file");
    link("missing", "d/dangling");
    fs::hard_link(outside.join("secret"), here.join("d/hard")).expect("a hard link");
    mkfifoat(CWD, here.join("d/fifo"), Mode::RUSR).expect("a FIFO");
    mkfifoat(CWD, here.join("d/pipe"), Mode::RUSR).expect("a FIFO");
    let before = contents(outside.path());
    let lines = vec![
        file("d/dangling"),
        file("d/fifo"),
        file("d/file"),
        file("d/hard"),
        folder("d/linked"),
        file("d/linked/new"),
        file("d/linked/secret"),
        folder("d/pipe"),
        file("d/pipe/in"),
        file("d/z"),
    ];
    let server = listing(vec![lines]);
    let output = fetch_into(&here, &server, &[]).expect_code(3);
    assert_eq!(contents(outside.path()), before);
    assert_eq!(
        contents(here.path()),
        [
            "d/",
            "d/dangling = of d/dangling",
            "d/fifo is special",
            "d/file = of d/file",
            "d/hard = of d/hard",
            &format!("d/linked -> {}", outside.join("in").display()),
            "d/pipe is special",
            "d/z = of d/z",
        ]
    );
    for name in [
        "fifo",
        "linked",
        "linked/new",
        "linked/secret",
        "pipe",
        "pipe/in",
    ] {
        assert_told_once(&output, &server.source(&format!("d/{name}")));
    }
    // The folder itself may not be a link, but for the one that the user names.
    let here = Scratch::new();
    symlink(outside.join("in"), here.join("d")).expect("a link");
    fetch_into(&here, &listing(vec![vec![file("d/new")]]), &[]).expect_code(3);
    assert_eq!(contents(outside.path()), before);
}

#[test]
fn a_destination_that_may_not_be_written_is_told_once_for_each_file() {
    // Folders of somebody else, for a client that may not go beyond permissions.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let here = Scratch::new();
    let closed = here.make_dir("d/closed");
    chown(&closed, Some(65_534), Some(65_534)).expect("another owner");
    let lines = vec![
        folder("d/closed"),
        file("d/closed/a"),
        folder("d/closed/s"),
        file("d/closed/s/b"),
        file("d/z"),
    ];
    let server = listing(vec![lines]);
    let client = Program::ftget()
        .args(["-r", "--retry", "0", "-d"])
        .arg(here.path());
    let client = client
        .arg(server.source("d"))
        .through(unprivileged_reader());
    let output = watch(client).expect_code(3);
    assert_eq!(contents(here.path()), ["d/", "d/closed/", "d/z = of d/z"]);
    for name in ["closed/a", "closed/s", "closed/s/b"] {
        assert_told_once(&output, &server.source(&format!("d/{name}")));
    }
}

#[track_caller]
fn assert_told_once(output: &Output, source: &str) {
    let line = format!("ftget: {source}: ");
    let told = output.stderr.lines().filter(|told| told.starts_with(&line));
    assert_eq!(told.count(), 1, "{source}: {}", output.stderr);
}

//! However much is wanted and however slowly it comes, a client needs few descriptors.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{Output, Program, Scratch, TestServer};
use crate::picture::{contents, picture};
use crate::trees::set_time;

/// Many more folders than descriptors, with one file each.
fn many_folders() -> Scratch {
    let root = Scratch::in_memory();
    for number in 0..FOLDERS {
        let name = format!("d{}/e{number}", number % 10);
        let file = root.write(format!("{name}/file"), format!("{number:FILE_BYTES$}"));
        let mode = |mode| fs::Permissions::from_mode(mode);
        fs::set_permissions(&file, mode(0o640)).expect("its permissions");
        set_time(&file, 1_500_000_000);
        fs::set_permissions(root.join(&name), mode(0o751)).expect("its permissions");
        set_time(&root.join(&name), 1_600_000_000);
    }
    root
}

/// Fetches with no more descriptors than a batch needs, so slowly that as much is asked for at
/// once as ever is.
fn fetch(server: &TestServer, here: &Scratch, args: &[&str]) -> Output {
    Program::ftget()
        .through(["prlimit", &format!("--nofile={DESCRIPTORS}:{DESCRIPTORS}")])
        .in_folder(here.path())
        .args(["--limit-rate", "400K", "--retry", "0"])
        .args(args)
        .arg(server.source(""))
        .run()
}

#[test]
fn a_tree_of_more_folders_than_descriptors_is_fetched_whole() {
    let root = many_folders();
    let server = TestServer::plain(root.path());
    let here = Scratch::in_memory();
    fetch(&server, &here, &["-r", "-d", "copy"]).expect_code(0);
    assert_eq!(picture(&here.join("copy")), picture(root.path()));
    // What is there is looked at in as few steps.
    fetch(&server, &here, &["-r", "--check", "-d", "copy"]).expect_code(0);
}

#[test]
fn a_list_of_files_in_more_folders_than_descriptors_is_fetched_whole() {
    let root = many_folders();
    let server = TestServer::plain(root.path());
    let here = Scratch::in_memory();
    let names: Vec<String> = (0..FOLDERS)
        .map(|number| format!("d{}/e{number}/file\n", number % 10))
        .collect();
    here.write("list", names.concat());
    fetch(&server, &here, &["-i", "list", "-d", "copy"]).expect_code(0);
    assert_eq!(contents(&here.join("copy")), contents(root.path()));
}

const FOLDERS: usize = 1_500;
const FILE_BYTES: usize = 400;
/// As few as `ClientConfig::open_files_within` says.
const DESCRIPTORS: u32 = 112;

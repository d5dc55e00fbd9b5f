//! The files people try the programs on: described by `MD5SUMS`, and nothing else beside.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::Program;

#[test]
fn md5sum_confirms_every_sample_file() {
    let md5sum = Program::system("md5sum", "coreutils");
    let output = md5sum
        .args(["--check", "--strict", "MD5SUMS"])
        .in_folder(folder())
        .run();
    let output = output.expect_code(0);
    assert_eq!(output.text().matches(": OK\n").count(), listed().len());
}

#[test]
fn every_sample_file_is_listed_and_nothing_was_left_over() {
    let mut names = listed();
    names.push("MD5SUMS".to_owned());
    names.sort();
    assert_eq!(found(), names);
}

#[test]
fn the_sample_files_differ_in_what_usually_goes_wrong() {
    let sizes: Vec<u64> = listed()
        .iter()
        .map(|name| {
            fs::metadata(folder().join(name))
                .expect("a listed file")
                .len()
        })
        .collect();
    assert!(sizes.contains(&0), "an empty file");
    assert!(
        sizes.iter().any(|size| *size > 256 * 1024),
        "a file longer than one buffer"
    );
    assert!(
        sizes.iter().sum::<u64>() < 1024 * 1024,
        "small enough for a repository"
    );
    assert!(
        listed().iter().any(|name| !name.is_ascii()),
        "a name that is not ASCII"
    );
    assert!(
        listed().iter().any(|name| name.contains('/')),
        "a file in a sub-folder"
    );
    let bytes = fs::read(folder().join("all-bytes.bin")).expect("all-bytes.bin");
    assert!(
        (0..=u8::MAX).all(|byte| bytes.contains(&byte)),
        "every byte value"
    );
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_files")
}

/// The names in `MD5SUMS`.
fn listed() -> Vec<String> {
    let text = fs::read_to_string(folder().join("MD5SUMS")).expect("MD5SUMS");
    let name = |line: &str| {
        line.split_once("  ")
            .expect("a digest and a name")
            .1
            .to_owned()
    };
    text.lines().map(name).collect()
}

/// Every file below the folder, sorted by name.
fn found() -> Vec<String> {
    let mut folders = vec![folder()];
    let mut names = Vec::new();
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(&inner).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder()).expect("below the folder");
                names.push(name.to_str().expect("a name in UTF-8").to_owned());
            }
        }
    }
    names.sort();
    names
}

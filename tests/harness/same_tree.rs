//! Comparing whole trees.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Panics unless `copy` has exactly what is in `source`: names, kinds, targets of links, bytes.
pub fn assert_same_tree(source: &Path, copy: &Path) {
    let names = names(source);
    assert_eq!(names, self::names(copy), "names in {}", copy.display());
    for name in names {
        let paths = [source.join(&name), copy.join(&name)];
        let shown = paths[1].display();
        let kinds = paths.each_ref().map(|path| {
            let facts = fs::symlink_metadata(path).expect("what was just listed");
            facts.file_type()
        });
        assert_eq!(kinds[0], kinds[1], "the kind of {shown}");
        if kinds[0].is_dir() {
            assert_same_tree(&paths[0], &paths[1]);
        } else if kinds[0].is_symlink() {
            let targets = paths
                .each_ref()
                .map(|path| fs::read_link(path).expect("a link"));
            assert_eq!(targets[0], targets[1], "the target of {shown}");
        } else {
            assert!(are_same_files(&paths), "{shown} differs from its source");
        }
    }
}

fn are_same_files(paths: &[PathBuf; 2]) -> bool {
    let mut files = paths
        .each_ref()
        .map(|path| File::open(path).expect("a file to compare"));
    let mut pieces = [Vec::new(), Vec::new()];
    loop {
        for (file, piece) in files.iter_mut().zip(&mut pieces) {
            piece.clear();
            let read = file.take(PIECE_BYTES).read_to_end(piece);
            read.expect("reading back");
        }
        if pieces[0] != pieces[1] {
            return false;
        }
        if pieces[0].is_empty() {
            return true;
        }
    }
}

fn names(folder: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(folder).expect("a folder to compare");
    let mut names: Vec<OsString> = entries
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    names
}

const PIECE_BYTES: u64 = 1 << 20;

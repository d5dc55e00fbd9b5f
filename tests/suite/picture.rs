//! What a folder holds, a line for each thing in it, so that two can be compared at a glance.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::harness::md5_hex;

/// Names, kinds, permissions and times of everything below a folder, and the content of files
/// and links; sorted.
pub(crate) fn picture(folder: &Path) -> Vec<String> {
    lines(folder, true)
}

/// The same without permissions and times.
pub(crate) fn contents(folder: &Path) -> Vec<String> {
    lines(folder, false)
}

fn lines(folder: &Path, with_attributes: bool) -> Vec<String> {
    let mut lines = Vec::new();
    describe(folder, "", with_attributes, &mut lines);
    lines.sort();
    lines
}

fn describe(folder: &Path, above: &str, with_attributes: bool, lines: &mut Vec<String>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    for entry in entries {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").as_bytes();
        let name = format!("{above}{}", name.escape_ascii());
        let meta = fs::symlink_metadata(&path).expect("its attributes");
        let attributes = if with_attributes {
            let mode = meta.permissions().mode() & 0o7777;
            format!(" {mode:04o} {}.{:09}", meta.mtime(), meta.mtime_nsec())
        } else {
            String::new()
        };
        if meta.is_symlink() {
            let target = fs::read_link(&path).expect("a target");
            let target = target.as_os_str().as_bytes().escape_ascii();
            lines.push(format!("{name}{attributes} -> {target}"));
        } else if meta.is_dir() {
            lines.push(format!("{name}/{attributes}"));
            describe(&path, &format!("{name}/"), with_attributes, lines);
        } else if meta.is_file() {
            let content = fs::read(&path).expect("a file");
            let shown = if content.len() <= 40 {
                content.escape_ascii().to_string()
            } else {
                md5_hex(content)
            };
            lines.push(format!("{name}{attributes} = {shown}"));
        } else {
            lines.push(format!("{name} is special"));
        }
    }
}

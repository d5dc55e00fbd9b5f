//! File systems that keep times only roughly: a second run finds everything as it should be.

use std::os::unix::fs::symlink;

use crate::harness::{in_own_mounts, refusing};
use crate::place::Place;
use crate::trees::set_time;

const SMALL_INODE: &str = "mke2fs -q -t ext4 -I 128";

/// Fetches a tree into a file system of its own, then looks at it, and fetches it twice more. After
/// the first time no call that sets a time is allowed.
const SCRIPT: &str = r#"
cd "$1"; make=$2 mount=$3 ftget=$4 source=$5; shift 5
mkdir m; truncate -s 64M image; $make image > /dev/null 2>&1 || exit 99
disk=$(losetup --find --show image) || exit 99
trap 'umount m; losetup -d $disk' EXIT
$mount $disk m > /dev/null 2>&1 || exit 99
quietly() { "$@" 2>&1 || { echo "exit code $?"; exit 1; }; }
options="--preserve mtime --index off -r -d m/t"
quietly "$ftget" $options --quiet "$source"
quietly "$ftget" $options --check --quiet "$source"
quietly "$ftget" $options --check "$source"
quietly "$@" "$ftget" $options --quiet "$source"
quietly "$@" "$ftget" $options --quiet --delete "$source"
"#;

/// Whether it could be tried.
fn runs_find_all_the_same_on(make: &str, mount: &str, seconds: &[u64]) -> bool {
    let place = Place::with([("file", "1"), ("sub/file", "2"), ("sub/other", "3")]);
    // exFAT has no links.
    let names = match make.contains("exfat") {
        true => &["file", "sub/file", "sub/other", "sub", ""][..],
        false => &["file", "link", "sub/file", "sub/other", "sub", ""],
    };
    if names.contains(&"link") {
        symlink("file", place.root.join("link")).expect("a link");
    }
    let Some(refusing) = refusing(&["utimensat=KILL"]) else {
        return false;
    };
    for (at, name) in names.iter().enumerate() {
        set_time(&place.root.join(name), seconds[at % seconds.len()]);
    }
    let mut args = vec![place.here.path().into(), make.into(), mount.into()];
    args.push(env!("CARGO_BIN_EXE_ftget").into());
    args.push(place.server.source(""));
    args.extend(refusing);
    let Some(output) = in_own_mounts(SCRIPT, args) else {
        return false;
    };
    assert_eq!(
        (output.code, &*output.text()),
        (0, ""),
        "{make}: {}",
        output.stderr
    );
    true
}

#[test]
fn whole_seconds_of_a_small_inode_are_no_difference() {
    runs_find_all_the_same_on(SMALL_INODE, "mount", &[1_500_000_001]);
}

#[test]
fn steps_of_exfat_are_no_difference() {
    let make = "mkfs.exfat";
    runs_find_all_the_same_on(make, "mount.exfat-fuse", &[1_500_000_001, 1_600_000_002]);
}

#[test]
fn times_beyond_the_range_of_a_file_system_are_no_difference() {
    // A small inode ends in 2038, exFAT begins in 1980 and ends in 2107.
    let seconds = [4_000_000_000, 1_500_000_001, 5_000_000_000];
    runs_find_all_the_same_on(SMALL_INODE, "mount", &seconds);
    let seconds = [100_000_000, 1_500_000_001, 5_000_000_000];
    runs_find_all_the_same_on("mkfs.exfat", "mount.exfat-fuse", &seconds);
}

#[test]
fn steps_of_100_nanoseconds_are_no_difference() {
    let make = "mkntfs -q -F -s 512 -p 0 -H 0 -S 0";
    runs_find_all_the_same_on(make, "ntfs-3g", &[1_500_000_001, 1_600_000_002]);
}

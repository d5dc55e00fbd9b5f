//! Destinations that take two names for one: they ignore case, or give a name back otherwise than
//! it was made.

use std::ffi::OsString;

use serde_json::Value;

use crate::harness::{Output, in_own_mounts};
use crate::mirrors::deleted;
use crate::place::Place;

/// Mounts exFAT at `m`, which ignores case, for the commands behind it.
const EXFAT: &str = r#"
cd "$1"; ftget=$2; from=$3; root=$4; mkdir m; truncate -s 32M image; mkfs.exfat image > /dev/null || exit 99
disk=$(losetup --find --show image) || exit 99
trap 'umount m; losetup -d $disk' EXIT
mount.exfat-fuse $disk m > /dev/null 2>&1 || mount $disk m || exit 99
get() { "$ftget" --preserve none "$@"; echo "code $?"; }
"#;

/// The same of NTFS, with names in lower case, however they were made.
const NTFS: &str = r#"
cd "$1"; ftget=$2; from=$3; root=$4; mkdir m; truncate -s 32M image; mkntfs -F -q image > /dev/null 2>&1 || exit 99
disk=$(losetup --find --show image) || exit 99
trap 'umount m; losetup -d $disk' EXIT
lowntfs-3g -o ignore_case $disk m > /dev/null 2>&1 || exit 99
get() { "$ftget" --preserve none "$@"; echo "code $?"; }
"#;

fn mounted(place: &Place, file_system: &str, commands: &str) -> Option<Output> {
    let args: [OsString; 4] = [
        place.here.path().into(),
        env!("CARGO_BIN_EXE_ftget").into(),
        place.server.source(""),
        place.root.path().into(),
    ];
    let output = in_own_mounts(&format!("{file_system}{commands}"), args)?;
    Some(output.expect_code(0))
}

/// The exit codes, in order.
fn codes(output: &Output) -> Vec<String> {
    let text = output.text();
    let codes = text.lines().filter_map(|line| line.strip_prefix("code "));
    codes.map(str::to_owned).collect()
}

/// What the programs said, apart from the codes.
fn events(output: &Output) -> Vec<Value> {
    let text = output.text();
    let lines = text.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn ends_with(output: &Output, files: &[&str]) {
    let text = output.text();
    let found = text.lines().filter_map(|line| line.strip_prefix("m/"));
    let found: Vec<&str> = found.collect();
    assert_eq!(found, files, "{output:?}");
}

#[test]
fn what_was_renamed_in_case_only_stays_in_a_mirror() {
    let place = Place::with([("One", "1"), ("Docs/a", "2"), ("gone", "3"), ("usual", "4")]);
    let commands = r#"
get -q -r --delete -d m/d "$from"
mv "$root/One" "$root/one"; mv "$root/Docs" "$root/docs"; rm "$root/gone"
get -n --json -r --delete -d m/d "$from"
get --json -r --delete -d m/d "$from"
get --json -r --delete -d m/d "$from"
find m -type f | sort"#;
    let Some(output) = mounted(&place, EXFAT, commands) else {
        return;
    };
    assert_eq!(codes(&output), ["0"; 4], "{output:?}");
    let events = events(&output);
    let would = events.iter().filter(|event| event["event"] == "would");
    let would = would.filter(|event| event["action"] == "deleted");
    let would: Vec<_> = would.map(|event| &event["filename"]).collect();
    assert_eq!(would, ["gone"]);
    assert_eq!(deleted(&events), ["gone"]);
    ends_with(&output, &["d/Docs/a", "d/One", "d/usual"]);
    let sentence = "2 local names stay: their file system takes them for names on the server";
    assert!(output.stderr.contains(sentence), "{}", output.stderr);
}

#[test]
fn what_two_directories_have_stays_where_they_are_one() {
    let place = Place::with([("A/1", "1"), ("a/2", "2"), ("A/deep/3", "3")]);
    let commands = r#"
get --json -r --delete -d m/d "$from"
get --json -r --delete -d m/d "$from"
find m -type f | sort"#;
    let Some(output) = mounted(&place, EXFAT, commands) else {
        return;
    };
    assert_eq!(codes(&output), ["0"; 2], "{output:?}");
    assert_eq!(deleted(&events(&output)), [""; 0]);
    // Whichever of them was made first has given its name to both.
    let found = output.text().to_lowercase();
    assert!(
        found.ends_with("m/d/a/1\nm/d/a/2\nm/d/a/deep/3\n"),
        "{found}"
    );
}

#[test]
fn names_that_come_back_otherwise_stay_in_a_mirror() {
    let place = Place::with([("README", "1"), ("Docs/A", "2"), ("plain", "3")]);
    let commands = r#"
get --json -r --delete -d m/d "$from"
get --json -r --delete -d m/d "$from"
find m -type f | sort"#;
    let Some(output) = mounted(&place, NTFS, commands) else {
        return;
    };
    assert_eq!(codes(&output), ["0"; 2], "{output:?}");
    let events = events(&output);
    assert_eq!(deleted(&events), [""; 0]);
    let done = events.iter().filter(|event| event["event"] == "done");
    let again: Vec<_> = done.skip(3).map(|event| &event["action"]).collect();
    assert_eq!(again, ["identical"; 3]);
    ends_with(&output, &["d/docs/a", "d/plain", "d/readme"]);
}

#[test]
fn of_two_names_that_are_one_file_here_the_second_fails() {
    let place = Place::with([("File", "upper"), ("file", "lower"), ("other", "3")]);
    let commands = r#"
get --json -r -d m/t "$from"
get --json -r -d m/t "$from"
get --json -d m "${from}File" "${from}file"
printf 'other\nFile\nfile\n' > names
mkdir m/i; get --json -i names -d m/i "$from"
get --json -n -r -d m/t "$from"
get --json --preflight -r -d m/t "$from"
find m -type f | sort"#;
    let Some(output) = mounted(&place, EXFAT, commands) else {
        return;
    };
    assert_eq!(codes(&output), ["2"; 6], "{output:?}");
    let events = events(&output);
    let failed = events.iter().filter(|event| event["event"] == "error");
    let failed: Vec<_> = failed
        .map(|event| (&event["filename"], &event["reason"]))
        .collect();
    let expected = (&Value::from("file"), &Value::from("same_name"));
    assert_eq!(failed, [expected; 6]);
    // Nor is a file left by which that was found out.
    ends_with(&output, &["File", "i/File", "i/other", "t/File", "t/other"]);
}

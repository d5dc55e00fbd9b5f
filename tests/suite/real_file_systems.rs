//! File systems of this machine, and some on top of others: a tree arrives whole, a second run does
//! nothing, a mirror deletes what is there alone, and one that cannot be written can be served.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::harness::{Output, in_own_mounts, noise};
use crate::place::Place;
use crate::trees::set_time;

fn place() -> Place {
    let many = (0..12).map(|number| (format!("many/{number}"), noise(number, 100)));
    let place = Place::with(many);
    place.root.write("small", "small");
    place.root.write("large", noise(99, 700_000));
    place.root.write("sub/deep/inner", "inner");
    symlink("../small", place.root.join("sub/link")).expect("a link");
    for (name, mode) in [("small", 0o640), ("sub", 0o750)] {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(place.root.join(name), mode).expect("a mode");
        set_time(&place.root.join(name), 1_500_000_000);
    }
    place
}

/// Runs a script where `m` is such a mount. `get` is the client, `$from` the source, `$root` what it
/// serves; `same DIRECTORY` compares with that, attributes included.
fn mounted(place: &Place, mount: &str, script: &str) -> Option<Output> {
    const PRELUDE: &str = r#"
        cd "$1" && ftget=$2 ftserve=$3 from=$4 root=$5 && mkdir m && PATH="$PATH:/usr/sbin:/sbin"
        get() { "$ftget" --index off "$@"; }
        fail() { echo "$*" >&2; exit 1; }
        attributes() { (cd "$1" && find . -mindepth 1 -printf '%P %y %m %l %TY%Tm%Td%TT\n' | sort) >"$2"; }
        same() {
            diff -r --no-dereference "$root" "$1" >&2 || fail "content differs"
            attributes "$root" there && attributes "$1" here && diff there here >&2 || fail "attributes differ"
        }
        trap 'umount -l m' EXIT
    "#;
    let script = format!("{PRELUDE}\n{{ {mount}; }} >/dev/null 2>&1 || exit 99\n{script}");
    let args: [OsString; 5] = [
        place.here.path().into(),
        env!("CARGO_BIN_EXE_ftget").into(),
        env!("CARGO_BIN_EXE_ftserve").into(),
        place.server.source(""),
        place.root.path().into(),
    ];
    Some(in_own_mounts(&script, args)?.expect_code(0))
}

/// What is so everywhere.
const USES: &str = r#"
    get -r -d m/d "$from" || fail "first run"
    same m/d
    get --json -r -d m/d "$from" >out 2>err || fail "second run"
    [ ! -s err ] || fail "it is not quiet: $(cat err)"
    grep -q '"event":"summary".*"bytes":0,"fetched":0' out || fail "it fetches again: $(cat out)"
    echo changed >m/d/small; rm m/d/many/3; mkdir -p m/d/gone/deep; echo 1 >m/d/gone/deep/file
    get -r --delete -d m/d "$from" || fail "mirror"
    same m/d
    get --if-exists rename -d m/d "${from}small" && cmp m/d/small m/d/small.1 || fail "another name"
    get --if-exists skip -d m/d "${from}small" || fail "a name that is taken"
"#;

#[test]
fn a_tree_arrives_whole_on_disks_of_all_kinds() {
    for mount in [
        "truncate -s 400M image; mkfs.xfs -q image && mount -o loop image m",
        "truncate -s 200M image; mkfs.btrfs -q image && mount -o loop image m",
        "mkdir memory; mount -t tmpfs none memory; truncate -s 64M memory/image;
         mke2fs -q memory/image && mount -o loop memory/image m",
        "mount -t tmpfs none m",
    ] {
        mounted(&place(), mount, USES);
    }
}

/// The upper directory is in memory, the lower one is that of the test.
const OVERLAY: &str = "mkdir -p lower upper; mount -t tmpfs none upper; mkdir upper/new upper/work;
    mount -t overlay -o lowerdir=lower,upperdir=upper/new,workdir=upper/work none m";

#[test]
fn a_tree_arrives_whole_over_a_layer_that_is_not_written() {
    let place = place();
    // Of each name something else, or another kind, is in the lower layer.
    for (name, bytes) in [
        ("small", "old"),
        ("large/old", "1"),
        ("sub", "a file"),
        ("many/0", "old"),
        ("gone/deep/file", "1"),
    ] {
        place.here.write(format!("lower/d/{name}"), bytes);
    }
    symlink("small", place.here.join("lower/d/link")).expect("a link");
    let before = mirrored(&place);
    let script = format!(
        r#"
        get -r --delete -d m/d "$from" || fail "over what is below"
        same m/d
        rm -r m/d; {USES}"#
    );
    mounted(&place, OVERLAY, &script);
    assert_eq!(mirrored(&place), before, "the lower layer was written");
}

/// All names in the lower layer.
fn mirrored(place: &Place) -> Vec<OsString> {
    let names = |directory: &str| {
        let entries = fs::read_dir(place.here.join(directory)).expect("a directory");
        entries.map(|entry| entry.expect("an entry").file_name())
    };
    let mut all: Vec<OsString> = names("lower/d").chain(names("lower/d/large")).collect();
    all.sort();
    all
}

#[test]
fn a_root_that_cannot_be_written_is_served_and_hashed() {
    let place = place();
    let mount = r#"cp -a "$root" lower && mount --bind lower m && mount -o remount,bind,ro m"#;
    let script = r#"
        export XDG_CACHE_HOME="$PWD/cache"
        "$ftserve" index m >out 2>&1 || fail "no index: $(cat out)"
        [ -s cache/ftserve/index.sqlite3 ] || fail "it is elsewhere"
        "$ftserve" --bind "unix:$PWD/socket" m -- "$ftget" --index off -r -d copy "unix:socket:" 2>err ||
            fail "not served: $(cat err)"
        same copy
        env -u XDG_CACHE_HOME HOME="$PWD/missing" "$ftserve" --bind "unix:$PWD/other" m -- \
            "$ftget" --index off -r -d again "unix:other:" 2>err || fail "not without a home: $(cat err)"
        same again
        [ ! -e missing ] || fail "it makes a home"
        env -u XDG_CACHE_HOME HOME="$PWD/missing" "$ftserve" index m >out 2>&1 && fail "no reason"
        grep -q 'hint: --index FILE sets the file' out || fail "no hint: $(cat out)"
    "#;
    mounted(&place, mount, script);
}

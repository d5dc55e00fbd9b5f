//! Other file systems in a destination, and files that cannot be removed: they stay as they are,
//! and every command says so before it does anything.

use std::collections::BTreeMap;
use std::ffi::OsString;

use crate::harness::{Output, in_own_mounts, noise};
use crate::place::Place;

/// Runs a script in mounts of its own, with `get` for the client, `$from` for the source, and
/// `tell NAME`, which prints the exit code and the errors of the last `get`. It starts in the empty
/// directory. Returns what was told, or `None` where this machine cannot mount.
fn mounted(place: &Place, script: &str) -> Option<BTreeMap<String, String>> {
    const PRELUDE: &str = r#"
        cd "$1" && ftget=$2 && from=$3 || exit 98
        get() { "$ftget" --index off "$@" >out 2>err; code=$?; cat out >>err; }
        tell() { echo "$1: $code $(tr '\n' ' ' <err)"; }
        attempt() { "$@" 2>/dev/null || exit 99; }
    "#;
    let args: [OsString; 3] = [
        place.here.path().into(),
        env!("CARGO_BIN_EXE_ftget").into(),
        place.server.source(""),
    ];
    let output = in_own_mounts(&format!("{PRELUDE}{script}"), args)?.expect_code(0);
    let lines = output.text();
    let told = lines.lines().map(|line| {
        let (name, words) = line.split_once(": ").expect("a name");
        (name.to_owned(), words.to_owned())
    });
    Some(told.collect())
}

#[track_caller]
fn assert_told(told: &BTreeMap<String, String>, name: &str, code: i32, words: &[&str]) {
    let line = told
        .get(name)
        .unwrap_or_else(|| panic!("{name} in {told:?}"));
    assert!(line.starts_with(&format!("{code} ")), "{name}: {line}");
    for word in words {
        assert!(line.contains(word), "{name} says nothing of {word}: {line}");
    }
}

#[test]
fn a_mirror_looks_into_no_file_system_that_is_mounted_in_it() {
    let place = Place::with([("a", "1")]);
    let script = r#"
        mkdir -p m/disk m/old/bound elsewhere && echo gone >m/old/file && echo kept >elsewhere/keep
        attempt mount -t tmpfs none m/disk && echo kept >m/disk/keep
        attempt mount --bind elsewhere m/old/bound
        get -n -r --delete -d m "$from"; tell preview
        get --preflight -r --delete -d m "$from"; tell preflight
        [ -e m/old/file ] && [ ! -e m/a ] && echo "untouched: 0 "
        get -r --delete -d m "$from"; tell mirror
        cat m/disk/keep m/old/bound/keep >err && code=$? && tell kept
        [ ! -e m/old/file ] && echo "file: 0 "
    "#;
    let Some(told) = mounted(&place, script) else {
        return;
    };
    for command in ["preview", "preflight", "mirror"] {
        let words = ["m/disk", "m/old/bound", "mount point", "--exclude"];
        assert_told(&told, command, 3, &words);
    }
    assert_told(&told, "untouched", 0, &[]);
    assert_told(&told, "kept", 0, &["kept kept"]);
    assert_told(&told, "file", 0, &[]);
}

#[test]
fn what_is_excluded_may_be_a_mount_and_is_no_failure() {
    let place = Place::with([("a", "1")]);
    let script = r#"
        mkdir -p m/disk && attempt mount -t tmpfs none m/disk && echo kept >m/disk/keep
        get -r --delete --exclude disk/ -d m "$from"; tell mirror
        cat m/disk/keep >err && code=$? && tell kept
    "#;
    let Some(told) = mounted(&place, script) else {
        return;
    };
    assert_told(&told, "mirror", 0, &[]);
    assert_told(&told, "kept", 0, &["kept"]);
}

#[test]
fn nothing_is_deleted_in_a_mounted_directory_that_the_server_has_too() {
    let place = Place::with([("disk/a", "1")]);
    let script = r#"
        mkdir -p m/disk && attempt mount -t tmpfs none m/disk && echo kept >m/disk/keep
        get -r --delete -d m "$from"; tell mirror
        cat m/disk/keep m/disk/a >err && code=$? && tell kept
    "#;
    let Some(told) = mounted(&place, script) else {
        return;
    };
    assert_told(&told, "mirror", 0, &["m/disk is on another file system"]);
    assert_told(&told, "kept", 0, &["kept 1"]);
}

#[test]
fn a_mount_that_is_the_destination_itself_is_mirrored() {
    let place = Place::with([("sub/a", "1")]);
    let script = r#"
        mkdir -p m sub && attempt mount -t tmpfs none m && attempt mount -t tmpfs none sub
        echo old >m/old; echo old >sub/old
        get -r --delete -d m "$from"; tell root
        get -r --delete "${from}sub"; tell named
        [ ! -e m/old ] && [ ! -e sub/old ] && echo "gone: 0 "
    "#;
    let Some(told) = mounted(&place, script) else {
        return;
    };
    for name in ["root", "named", "gone"] {
        assert_told(&told, name, 0, &[]);
    }
}

#[test]
fn a_directory_with_a_mount_in_it_gives_way_to_no_file() {
    let place = Place::with([("a", "1"), ("top", "2"), ("dir/x", "3")]);
    let script = r#"
        mkdir -p m/a/deep/disk m/top && echo kept >m/a/first && echo kept >f && echo old >m/dir
        attempt mount -t tmpfs none m/a/deep/disk && echo kept >m/a/deep/disk/keep
        attempt mount -t tmpfs none m/top && echo kept >m/top/keep
        attempt mount --bind f m/dir
        get -n -r --delete -d m "$from"; tell preview
        get --preflight -r --delete -d m "$from"; tell preflight
        get -r --delete -d m "$from"; tell mirror
        cat m/a/first m/a/deep/disk/keep m/top/keep m/dir >err && code=$? && tell kept
    "#;
    let Some(told) = mounted(&place, script) else {
        return;
    };
    for command in ["preview", "preflight", "mirror"] {
        assert_told(&told, command, 3, &["/a", "/top", "/dir", "mount point"]);
    }
    assert_told(&told, "kept", 0, &["kept kept kept kept"]);
}

#[test]
fn a_file_that_is_a_mount_point_is_known_before_the_transfer() {
    let place = Place::with([("small", b"new".to_vec()), ("large", noise(1, 3_000_000))]);
    let script = r#"
        mkdir m && echo old >f && head -c 3000000 /dev/zero >g && echo x >m/small && echo x >m/large
        attempt mount --bind f m/small && attempt mount --bind g m/large
        for name in small large; do
            get -n -d m "$from$name"; tell "preview $name"
            get --preflight -d m "$from$name"; tell "preflight $name"
            get --check -d m "$from$name"; tell "check $name"
            get -d m "$from$name"; tell "fetch $name"
        done
        get -n -r -d m "$from"; tell "preview tree"
        get --check -r -d m "$from"; tell "check tree"
        get -r -d m "$from"; tell "fetch tree"
        find m -name '.ft-*' >err && code=$? && tell left
        cat m/small >err && code=$? && tell kept
    "#;
    let Some(told) = mounted(&place, script) else {
        return;
    };
    for command in ["preview", "preflight", "check", "fetch"] {
        for name in ["small", "large"] {
            assert_told(&told, &format!("{command} {name}"), 3, &["mount point"]);
        }
    }
    for command in ["preview tree", "check tree", "fetch tree"] {
        assert_told(&told, command, 3, &["/small", "/large", "mount point"]);
    }
    assert_eq!(told["left"], "0 ", "partial files");
    assert_told(&told, "kept", 0, &["old"]);
}

#[test]
fn a_mounted_file_with_the_right_bytes_is_no_failure() {
    let place = Place::with([("same", "1"), ("other", "2")]);
    let script = r#"
        mkdir m && printf 1 >f && echo x >m/same && attempt mount --bind f m/same
        for how in -n --check --preflight; do
            get $how --preserve none -d m "${from}same"; tell "one $how"
        done
        get --preserve none -r -d m "$from"; tell tree
        get --if-exists skip -r -d m "$from"; tell skip
    "#;
    let Some(told) = mounted(&place, script) else {
        return;
    };
    for name in ["one -n", "one --check", "one --preflight", "tree", "skip"] {
        assert_told(&told, name, 0, &[]);
    }
}

#[test]
fn of_a_directory_with_an_immutable_file_deep_in_it_nothing_is_deleted() {
    let place = Place::with([("a", "1")]);
    let script = r#"
        mkdir m && attempt mount -t tmpfs none m && mkdir -p m/a/deep m/old/deep
        for name in a/first a/deep/log old/first old/deep/log; do echo kept >m/$name; done
        attempt chattr +a m/a/deep/log && attempt chattr +i m/old/deep/log
        get -n -r --delete -d m "$from"; tell preview
        get -r --delete -d m "$from"; tell mirror
        cat m/a/first m/a/deep/log m/old/first m/old/deep/log >err && code=$? && tell kept
        chattr -a m/a/deep/log && chattr -i m/old/deep/log
    "#;
    let Some(told) = mounted(&place, script) else {
        return;
    };
    for command in ["preview", "mirror"] {
        assert_told(&told, command, 3, &["immutable", "append-only"]);
    }
    assert_told(&told, "kept", 0, &["kept kept kept kept"]);
}

/// A mirror of what the server has below a folder, into `m`, and its messages.
fn mirror(place: &Place, args: &[&str], folder: &str) -> Output {
    let mirror = place.ftget().args(["-r", "--delete", "-d", "m"]).args(args);
    mirror.arg(place.server.source(folder)).run()
}

#[test]
fn an_empty_source_deletes_nothing_unless_that_is_said() {
    let place = Place::with([("other/a", "1")]);
    place.root.make_dir("gone");
    place.here.write("m/kept", "1");
    for args in [
        &[][..],
        &["-n"],
        &["--preflight"],
        &["--max-delete", "1000"],
    ] {
        let output = mirror(&place, args, "gone/").expect_code(25);
        assert!(output.stderr.contains("--max-delete all"), "{output:?}");
        assert!(place.here.join("m/kept").exists(), "{args:?}");
    }
    let output = mirror(&place, &["-q", "--json"], "gone/").expect_code(25);
    assert!(output.text().contains("\"reason\":\"empty_source\""));
    mirror(&place, &["-n", "--max-delete", "all"], "gone/").expect_code(0);
    mirror(&place, &["--max-delete", "all"], "gone/").expect_code(0);
    assert!(!place.here.join("m/kept").exists());
    // There is nothing to delete.
    mirror(&place, &[], "gone/").expect_code(0);
}

#[test]
fn a_source_of_empty_directories_deletes_nothing_unless_that_is_said() {
    let place = Place::with([("other/a", "1")]);
    place.root.make_dir("disks/one");
    place.root.make_dir("disks/two");
    place.here.write("m/one/kept", "1");
    for args in [&[][..], &["-n"], &["--preflight"]] {
        let output = mirror(&place, args, "disks/").expect_code(25);
        assert!(output.stderr.contains("--max-delete all"), "{output:?}");
        assert!(place.here.join("m/one/kept").exists(), "{args:?}");
    }
    mirror(&place, &["--max-delete", "all"], "disks/").expect_code(0);
    assert!(!place.here.join("m/one/kept").exists());
}

#[test]
fn one_empty_source_of_several_deletes_nothing_and_the_others_do() {
    let place = Place::with([("full/a", "1")]);
    place.root.make_dir("gone");
    for name in ["m/gone/kept", "m/full/old"] {
        place.here.write(name, "1");
    }
    let other = place.server.source("full");
    let other = other.to_str().expect("UTF-8");
    mirror(&place, &[other], "gone").expect_code(25);
    assert!(place.here.join("m/gone/kept").exists());
    assert!(!place.here.join("m/full/old").exists());
}

#[test]
fn a_filter_that_leaves_nothing_of_the_source_deletes_nothing() {
    let place = Place::with([("a.log", "1")]);
    place.here.write("m/kept.txt", "1");
    let only_text = ["--include", "*.txt", "--exclude", "*"];
    mirror(&place, &only_text, "").expect_code(25);
    assert!(place.here.join("m/kept.txt").exists());
}

#[test]
fn a_source_that_hides_all_it_has_deletes_nothing() {
    let place = Place::with([(".hidden", "1")]);
    place.here.write("m/kept", "1");
    mirror(&place, &[], "").expect_code(25);
    assert!(place.here.join("m/kept").exists());
}

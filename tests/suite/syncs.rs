//! What is made to last, by which calls, and within which time.

use std::fs;

use crate::harness::{in_own_mounts, refusing};
use crate::place::Place;

fn names() -> Vec<String> {
    (0..40)
        .map(|number| format!("sub{}/{number}", number % 3))
        .collect()
}

fn place() -> Place {
    Place::with(names().iter().map(|name| (name.clone(), "1")))
}

/// Fetches a tree on a machine that has so many KiB to write, where the calls of a rule end the
/// program.
fn fetch_beside(dirty: u64, rule: &str) {
    let place = place();
    let Some(refusing) = refusing(&[rule]) else {
        return;
    };
    let script = r#"printf 'Dirty: %s kB\nWriteback: 0 kB\n' "$2" > "$1/meminfo"
        mount --bind "$1/meminfo" /proc/meminfo || exit 99
        cd "$1"; [ "$(stat -f -c %T .)" != tmpfs ] || exit 99
        ftget=$3 source=$4; shift 4
        "$@" "$ftget" --index off -r -d d "$source" || exit 1
        "$@" "$ftget" --index off -r -d e "$source"sub0/"#;
    let mut args = vec![place.here.path().into(), dirty.to_string().into()];
    args.extend([env!("CARGO_BIN_EXE_ftget").into(), place.server.source("")]);
    args.extend(refusing);
    if let Some(output) = in_own_mounts(script, args) {
        output.expect_code(0);
    }
}

#[test]
fn many_files_do_not_wait_for_what_other_programs_write() {
    fetch_beside(10 << 20, "syncfs=KILL");
}

#[test]
fn links_do_not_wait_for_what_other_programs_write_where_a_directory_takes_them_along() {
    let place = place();
    let Some(refusing) = refusing(&["syncfs=KILL"]) else {
        return;
    };
    std::os::unix::fs::symlink("0", place.root.join("sub0/link")).expect("a link");
    let script = r#"cd "$1"; case $(stat -f -c %T .) in ext2/ext3 | xfs) ;; *) exit 99; esac
        ftget=$2 source=$3; shift 3
        "$@" "$ftget" --index off --max-time 50 -r -d d "$source""#;
    let mut args = vec![place.here.path().into()];
    args.extend([
        env!("CARGO_BIN_EXE_ftget").into(),
        place.server.source("sub0"),
    ]);
    args.extend(refusing);
    if let Some(output) = in_own_mounts(script, args) {
        output.expect_code(0);
        assert!(place.here.join("d/sub0/link").is_symlink());
    }
}

/// The figures of all file systems are not even read: that takes longer than a small file does.
#[test]
fn files_in_memory_do_not_depend_on_what_other_programs_write() {
    let place = place();
    let script = r#"mkfifo "$1/meminfo" && mount --bind "$1/meminfo" /proc/meminfo || exit 99
        mount -t tmpfs none "$1/here" || exit 99
        cd "$1/here"; "$2" --index off -r -d d "$3""#;
    place.here.make_dir("here");
    let args = [
        place.here.path().into(),
        env!("CARGO_BIN_EXE_ftget").into(),
        place.server.source(""),
    ];
    if let Some(output) = in_own_mounts(script, args) {
        output.expect_code(0);
    }
}

/// No call of which a minute may be spent where it cannot be ended.
#[test]
fn the_time_for_everything_waits_for_no_sync_of_a_whole_file_system() {
    let place = place();
    let Some(refusing) = refusing(&["syncfs=KILL"]) else {
        return;
    };
    let lines: String = names().iter().map(|name| format!("{name}\n")).collect();
    for (args, source) in [
        (&["-r"][..], ""),
        (&["-r", "--delete"], "sub1/"),
        (&["-i", "-"], ""),
        (&[], "sub1/1"),
    ] {
        place.here.make_dir("d/old");
        let program = place
            .ftget()
            .args(["--index", "off", "--max-time", "50", "-d", "d"]);
        let program = program.args(args).arg(place.server.source(source));
        let program = program.input(lines.clone()).through(&refusing);
        program.run().expect_code(0);
        fs::remove_dir_all(place.here.join("d")).expect("a folder");
    }
}

#[test]
fn a_directory_that_cannot_be_synced_is_a_failure_whatever_its_file_system_says() {
    let place = place();
    let Some(refusing) = refusing(&["fsync=EIO"]) else {
        return;
    };
    place.here.make_dir("d");
    let program = place.ftget().args(["--index", "off", "--max-time", "50"]);
    let program = program.args(["-i", "-", "-d", "d"]).input("sub0/\n");
    let program = program.arg(place.server.source("")).through(&refusing);
    let failed = program.run().expect_code(3);
    let reason = "sync the directories: Input/output error";
    assert!(failed.stderr.contains(reason), "{}", failed.stderr);
    assert!(place.here.join("d/sub0").is_dir());
}

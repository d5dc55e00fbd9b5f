//! What a file system says of its space is advice, but where it is exact.

use std::fs::File;

use crate::harness::in_own_mounts;
use crate::harness::{Output, noise};
use crate::place::Place;

/// `script` runs in a file system of its own, with `$ftget` and `$source`.
fn on_file_system(place: &Place, mount: &str, script: &str) -> Option<Output> {
    let script = format!(
        r#"cd "$1"; ftget=$2 source=$3; mkdir m; {{ {mount}; }} > /dev/null 2>&1 || exit 99
        trap 'cd /; umount "$OLDPWD"' EXIT
        cd m; {script}"#
    );
    let ftget = env!("CARGO_BIN_EXE_ftget");
    let args = [
        place.here.path().into(),
        ftget.into(),
        place.server.source(""),
    ];
    in_own_mounts(&script, args)
}

#[test]
fn what_fits_when_it_is_compressed_is_fetched() {
    let place = Place::with([("small", "1")]);
    let zeros = File::create(place.root.join("zeros")).expect("a file");
    zeros.set_len(130 << 20).expect("zeros");
    let mount =
        "truncate -s 120M image; mkfs.btrfs -q image && mount -o loop,compress-force=zstd image m";
    let script = r#"
        "$ftget" -n -r -d d "$source" || exit 1
        "$ftget" --quiet --preflight -r -d d "$source" || exit 2
        stat -c %s d/zeros"#;
    let Some(output) = on_file_system(&place, mount, script) else {
        return;
    };
    let warned = output.stderr.contains("warning: perhaps no space in");
    assert!(
        output.code == 0 && warned,
        "{} {}",
        output.code,
        output.stderr
    );
    assert!(
        output.text().ends_with("\n136314880\n"),
        "{}",
        output.text()
    );
}

#[test]
fn a_disk_behind_fuse_is_full_when_a_write_fails() {
    let place = Place::with([("large", noise(1, 2 << 20))]);
    let mount = "mkdir small; mount -t tmpfs -o size=1m none small && bindfs small m";
    let script = r#"
        "$ftget" --retry 0 -d . "${source}large"; echo $?
        TMPDIR="$PWD" "$ftget" --retry 0 --spool -o - "${source}large" | wc -c"#;
    if let Some(output) = on_file_system(&place, mount, script) {
        assert_eq!(output.text(), "9\n2097152\n", "{}", output.stderr);
        assert!(output.stderr.contains("no space"), "{}", output.stderr);
    }
}

//! File systems that number their inodes anew with each mount and keep no time of the last change:
//! what was remembered there may be of another file.

use crate::harness::{Scratch, in_own_mounts};

/// Mounts an exFAT image of its own on `m`.
const EXFAT: &str = r#"
cd "$1"; ftserve=$2 ftget=$3; mkdir m; truncate -s 64M image
mkfs.exfat image > /dev/null 2>&1 || exit 99
disk=$(losetup --find --show image) || exit 99
trap 'umount m; losetup -d $disk' EXIT
mount_exfat() {
    for try in 1 2 3 4 5 6 7 8 9 10; do
        mount.exfat-fuse $disk m > /dev/null 2>&1 && return
    done
    exit 99
}
mount_exfat
serving() { "$ftserve" -q -b "unix:$PWD/s" --index "$PWD/server" --no-prehash "$@"; }
"#;

/// What the script prints, after [`EXFAT`]; `None` where it cannot be tried.
fn on_exfat(script: &str) -> Option<String> {
    let place = Scratch::new();
    let args = [
        place.path().as_os_str(),
        env!("CARGO_BIN_EXE_ftserve").as_ref(),
        env!("CARGO_BIN_EXE_ftget").as_ref(),
    ];
    let output = in_own_mounts(&format!("{EXFAT}{script}"), args)?;
    assert_eq!(output.code, 0, "{}", output.stderr);
    Some(output.text())
}

#[test]
fn a_digest_of_a_mount_is_not_told_of_the_next_one() {
    let script = r#"
echo 12345678 > m/a; echo abcdefgh > m/b; touch -d 2020-01-01 m/a m/b
umount m; mount_exfat
serving m -- "$ftget" --list=md5sum "unix:$PWD/s:"
"$ftserve" index --index "$PWD/server" m 2>&1 | cut -d , -f 4-5
umount m; mount_exfat
# Looked up in another order they change their numbers.
stat m/b m/a > /dev/null
serving m -- "$ftget" --list=md5sum "unix:$PWD/s:"
cd m; md5sum a b
"#;
    let Some(text) = on_exfat(script) else { return };
    let lines: Vec<&str> = text.lines().collect();
    let (right, listed) = (&lines[lines.len() - 2..], &lines[..2]);
    assert_eq!(listed, right, "{text}");
    assert_eq!(&lines[3..5], right, "{text}");
    assert!(lines[2].contains("2 skipped"), "{text}");
}

#[test]
fn a_file_that_was_changed_behind_its_time_is_found_where_there_is_no_ctime() {
    let script = r#"
mkdir src; echo 12345678 > src/f; touch -d 2020-01-01 src/f
run() { serving src -- "$ftget" --index "$PWD/client" -r -d m/d "$@" "unix:$PWD/s:" > /dev/null 2>&1; echo $?; }
run; run --check
printf ABCD | dd of=m/d/f conv=notrunc 2> /dev/null; touch -d 2020-01-01 m/d/f
run --check; run
cmp src/f m/d/f && echo repaired
"#;
    let Some(text) = on_exfat(script) else { return };
    let codes: Vec<&str> = text.lines().collect();
    assert!(
        matches!(codes[..], ["0", "0", check, "0", "repaired"] if check != "0"),
        "{text}"
    );
}

#[test]
fn a_server_notices_that_a_file_system_was_mounted_anew() {
    let script = r#"
echo 12345678 > m/a; echo abcdefgh > m/b; touch -d 2020-01-01 m/a m/b
umount m; mount_exfat
cat > remount <<'EOF'
list() { "$ftget" --list=md5sum "unix:$PWD/s:m"; }
list > before
umount m; until mount.exfat-fuse $disk m > /dev/null 2>&1; do :; done
stat m/b m/a > /dev/null
# The server looks once a second whether anything is mounted anew.
tries=500
until list > after; cmp -s before after; do
    tries=$((tries - 1)); [ $tries -gt 0 ] || break
done
cat before after
EOF
export ftget disk
serving . -- sh remount
"#;
    let Some(text) = on_exfat(script) else { return };
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert_eq!(lines[..2], lines[2..]);
}

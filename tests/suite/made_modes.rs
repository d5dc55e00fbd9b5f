//! Permissions of what is made here: those of the source, or those that the system gives.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::harness::{Program, in_own_mounts};
use crate::place::Place;
use crate::trees::set_time;

fn mode(place: &Place, name: &str) -> u32 {
    let meta = fs::metadata(place.here.join(name)).expect("it is there");
    meta.mode() & 0o7777
}

fn set_mode(place: &Place, name: &str, mode: u32) {
    let mode = fs::Permissions::from_mode(mode);
    fs::set_permissions(place.root.join(name), mode).expect("its permissions");
}

/// Runs a program with this umask.
fn with_umask(program: Program, umask: &str) -> Program {
    let script = format!(r#"umask {umask}; exec "$@""#);
    program.through(["sh", "-c", &script, "sh"])
}

#[test]
fn folders_made_for_a_list_have_ordinary_modes() {
    for (umask, expected) in [("022", 0o755), ("027", 0o750)] {
        let place = Place::with([("a/b/file", "1"), ("c/d/e", "2")]);
        fs::create_dir(place.root.join("empty")).expect("a folder");
        let program = place.ftget().args(["-i", "-", "-d", "new"]);
        let program = program.arg(place.server.source(""));
        let program = program.input("a/b/file\nempty\nc/d/\n");
        with_umask(program, umask).run().expect_code(0);
        for name in ["new", "new/a", "new/a/b", "new/empty", "new/c", "new/c/d"] {
            assert_eq!(mode(&place, name), expected, "{name}");
        }
    }
}

#[test]
fn folders_that_a_listing_names_get_its_modes_and_times() {
    let place = Place::with([("a/b/file", "1")]);
    for (name, mode) in [("a", 0o711), ("a/b", 0o555)] {
        set_mode(&place, name, mode);
        set_time(&place.root.join(name), 1_500_000_000);
    }
    let listing = place
        .ftget()
        .args(["--list=json", "-r"])
        .arg(place.server.source(""));
    let listing = listing.run().expect_code(0).stdout;
    let fetch = |args: &[&str], to| {
        let program = place.ftget().args(["-i", "-", "-d", to]).args(args);
        let program = program.arg(place.server.source("")).input(listing.clone());
        with_umask(program, "022").run().expect_code(0);
    };
    fetch(&[], "d");
    fetch(&["--preserve", "none"], "e");
    for (name, expected, as_made) in [("a", 0o711, 0o755), ("a/b", 0o555, 0o755)] {
        assert_eq!(mode(&place, &format!("d/{name}")), expected, "{name}");
        let here = fs::metadata(place.here.join("d").join(name)).expect("a folder");
        assert_eq!(
            (here.mtime(), here.mtime_nsec()),
            (1_500_000_000, 123_456_789)
        );
        assert_eq!(mode(&place, &format!("e/{name}")), as_made, "{name}");
    }
}

#[test]
fn what_is_not_preserved_is_left_to_the_system() {
    let place = Place::with([("sub/file", "1"), ("sub/other", "2")]);
    set_mode(&place, "sub", 0o700);
    set_mode(&place, "sub/file", 0o600);
    let fetch = || {
        let program = place.ftget().args(["--preserve", "none", "-r", "-d", "d"]);
        with_umask(program.arg(place.server.source("")), "027")
            .run()
            .expect_code(0);
    };
    fetch();
    assert_eq!(
        (mode(&place, "d/sub"), mode(&place, "d/sub/file")),
        (0o750, 0o640)
    );
    // Those that the user gave them since stay.
    let own = fs::Permissions::from_mode(0o711);
    fs::set_permissions(place.here.join("d/sub"), own).expect("its permissions");
    fetch();
    assert_eq!(mode(&place, "d/sub"), 0o711);
}

#[test]
fn a_default_acl_is_honoured_where_modes_are_not_preserved() {
    let place = Place::with([
        ("sub/small", &b"1"[..]),
        ("sub/large", &crate::harness::noise(1, 1 << 20)),
    ]);
    set_mode(&place, "sub/large", 0o604);
    // A file system of its own: that of the test need not have any.
    let script = r#"cd "$1"; mkdir m; mount -t tmpfs none m || exit 99; cd m
        setfacl -d -m u:12345:rwx . || exit 99
        echo > by-shell; mkdir folder-by-shell
        "$2" --quiet --preserve none -r -d none "$3" || exit 1
        "$2" --quiet --preserve none -d . "${3}sub/small" || exit 1
        "$2" --quiet -d preserved "${3}sub/large" || exit 1
        for name in by-shell small none/sub/small none/sub/large folder-by-shell none none/sub preserved/large; do
            getfacl -cp "$name" | sed -n 's/^mask::\(...\).*/\1/p'
        done"#;
    let ftget = env!("CARGO_BIN_EXE_ftget").into();
    let args = [place.here.path().into(), ftget, place.server.source("")];
    if let Some(output) = in_own_mounts(script, args) {
        let masks = "rw-\nrw-\nrw-\nrw-\nrwx\nrwx\nrwx\n---\n";
        assert_eq!(output.text(), masks, "{}", output.stderr);
    }
}

//! The place of the index if none is named: the cache directory of the user, and of nobody else.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use crate::harness::{Output, Program, Scratch};
use crate::place::Place;

/// Serves for a moment, and fetches twice, so that both programs look for their index.
fn run(place: &Place, quiet: bool, home: &Path, variable: &str) -> Vec<Output> {
    let verbosity: &[&str] = if quiet { &["--quiet"] } else { &[] };
    let ftget = || {
        let ftget = place.ftget().args(verbosity).args(["-r", "-d", "o"]);
        let ftget = ftget.arg(place.server.source("")).env(variable, home);
        ftget.run().expect_code(0)
    };
    let ftserve = Program::ftserve()
        .args(verbosity)
        .args(["--bind", "127.0.0.1:0"]);
    let ftserve = ftserve.arg(place.root.path()).args(["--", "true"]);
    let served = ftserve.env(variable, home).run().expect_code(0);
    vec![ftget(), ftget(), served]
}

#[test]
fn quiet_programs_say_nothing_of_a_default_index_that_cannot_be_used() {
    let place = Place::with([("a", "1")]);
    let homes = Scratch::new();
    // No directory can be made in it.
    homes.write("blocked/.cache", "a file");
    for home in [
        homes.join("blocked"),
        homes.join("missing"),
        "/dev/null".into(),
    ] {
        for output in run(&place, true, &home, "HOME") {
            assert_eq!(output.stderr, "", "{}", home.display());
        }
    }
    let loud = run(&place, false, &homes.join("blocked"), "HOME");
    let said = |output: &Output| output.stderr.contains("cannot be used");
    assert!(said(&loud[0]) && said(&loud[2]), "{}", loud[0].stderr);
    // One that was named is another matter.
    let named = Program::ftserve().args(["--quiet", "--bind", "127.0.0.1:0", "--index"]);
    let named = named
        .arg(homes.join("blocked/.cache/x"))
        .arg(place.root.path());
    let named = named.args(["--", "true"]).run().expect_code(0);
    assert!(said(&named), "{}", named.stderr);
}

#[test]
fn nothing_is_made_in_a_directory_of_another_user_or_that_others_can_write() {
    let place = Place::with([("a", "1")]);
    let refused = |home: &Path, variable: &str| {
        run(&place, true, home, variable);
        let loud = run(&place, false, home, variable);
        let names = fs::read_dir(home).unwrap().count();
        (names, loud[2].stderr.clone())
    };
    for variable in ["HOME", "XDG_CACHE_HOME"] {
        let home = Scratch::new();
        fs::set_permissions(home.path(), Permissions::from_mode(0o777)).unwrap();
        let (names, said) = refused(home.path(), variable);
        assert_eq!(names, 0, "{variable}");
        assert!(said.contains("other users can write"), "{said}");
        if rustix::process::geteuid().is_root() {
            let home = Scratch::new();
            chown(home.path(), Some(65_534), Some(65_534)).unwrap();
            let (names, said) = refused(home.path(), variable);
            assert_eq!(names, 0, "{variable}");
            assert!(said.contains("belongs to another user"), "{said}");
        }
    }
    let home = Scratch::new();
    run(&place, true, &home.join("missing"), "HOME");
    assert!(home.names().is_empty(), "no program makes a home");
    run(&place, true, &home.join("a/missing/one"), "XDG_CACHE_HOME");
    assert!(home.join("a/missing/one/ftserve/index.sqlite3").exists());
}

#[test]
fn directories_on_the_way_to_the_index_are_their_owners_whatever_the_umask() {
    let place = Place::with([("a", "1")]);
    let home = Scratch::new();
    let ftserve = Program::ftserve().args(["--bind", "127.0.0.1:0"]);
    let ftserve = ftserve.arg(place.root.path()).args(["--", "true"]);
    let ftserve = ftserve.through(["sh", "-c", r#"umask 377; exec "$0" "$@""#]);
    ftserve.env("HOME", home.path()).run().expect_code(0);
    for directory in [".cache", ".cache/ftserve"] {
        let mode = fs::metadata(home.join(directory)).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o700, "{directory}");
    }
}

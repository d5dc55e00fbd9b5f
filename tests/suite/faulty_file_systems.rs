//! File systems that answer single operations with an error. The campaign `faults` tries each
//! operation with each error; these are the ones that were once answered wrongly.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::harness::{Output, TestServer, assert_same_tree, faulty, in_own_mounts, noise};
use crate::place::{Place, event};

fn place() -> Place {
    let many = (0..30).map(|number| (format!("many/{number:02}"), noise(number, 100)));
    let others = [("small", &b"small"[..]), ("sub/inner", b"inner")];
    let others = others.map(|(name, bytes)| (name.to_owned(), bytes.to_vec()));
    let place = Place::with(others.into_iter().chain(many));
    place.root.write("large", noise(99, 700_000));
    place
}

/// Fetches the whole tree into `d`, which refuses these operations.
fn fetch(place: &Place, rules: &[&str], args: &[&str]) -> Option<Output> {
    let prefix = faulty(&place.here.make_dir("d"), rules)?;
    let program = place
        .ftget()
        .through(prefix)
        .args(["--index", "off", "--json"]);
    let program = program.args(["-r", "-d", "d"]).args(args);
    Some(program.arg(place.server.source("")).run())
}

/// How often this key of the summary counted something.
fn count(output: &Output, key: &str) -> u64 {
    let events: Vec<Value> = output.json_lines();
    event(&events, "summary")[key].as_u64().expect("a number")
}

#[test]
fn an_error_at_close_is_a_failure_of_the_file() {
    let place = place();
    place.here.write("d/small", "mine");
    for (rule, code, reason) in [
        ("flush=EIO", 3, "cannot close the file"),
        ("flush=ENOSPC", 9, "no space"),
        ("flush=EDQUOT", 9, "no space"),
        ("flush=EPERM", 3, "cannot close the file"),
    ] {
        for args in [&[][..], &["--sync", "never"], &["--sync", "always"]] {
            let Some(output) = fetch(&place, &[rule], args) else {
                return;
            };
            let output = output.expect_code(code);
            assert!(output.stderr.contains(reason), "{rule}: {}", output.stderr);
            assert_eq!(place.here.read("d/small"), b"mine", "{rule}");
            assert!(!place.here.join("d/sub/inner").exists(), "{rule}");
        }
    }
    fetch(&place, &["flush=EOPNOTSUPP"], &[])
        .expect("it was tried")
        .expect_code(0);
    assert_same_tree(place.root.path(), &place.here.join("d"));
}

#[test]
fn files_are_synced_one_by_one_where_a_sync_of_all_does_nothing() {
    let place = place();
    for (rules, syncs) in [
        (&["fsync=EPERM"][..], 33),
        (&["fsyncdir=EINVAL"], 1),
        (&["fsync,fsyncdir=EOPNOTSUPP"], 34),
    ] {
        let Some(output) = fetch(&place, rules, &[]) else {
            return;
        };
        let output = output.expect_code(0);
        let unkept = count(&output, "unkept_syncs");
        assert!(unkept >= syncs, "{rules:?}: {unkept}");
        assert_eq!(output.stderr.matches("cannot keep").count(), 1, "{rules:?}");
        fs::remove_dir_all(place.here.join("d")).expect("an empty place");
    }
    for rules in [["fsync=EIO"], ["fsyncdir=EIO"]] {
        let output = fetch(&place, &rules, &[]).expect("it was tried");
        let output = output.expect_code(3);
        assert_eq!(count(&output, "done"), 0, "{rules:?}");
        fs::remove_dir_all(place.here.join("d")).expect("an empty place");
    }
}

#[test]
fn what_a_file_system_says_of_itself_decides_nothing() {
    let place = place();
    for errno in ["ENOSYS", "EIO", "EPERM"] {
        let rules = [format!("statfs={errno}")];
        let Some(prefix) = faulty(place.root.path(), &rules) else {
            return;
        };
        let server = TestServer::builder(place.root.path())
            .through(prefix)
            .start();
        place.here.write("d/gone/extra", "here alone");
        let prefix = faulty(&place.here.join("d"), &rules).expect("it was tried");
        let mirror = place.ftget().through(prefix).args(["--index", "off"]);
        let mirror = mirror.args(["-r", "--delete", "-d", "d"]);
        mirror.arg(server.source("")).run().expect_code(0);
        assert_same_tree(place.root.path(), &place.here.join("d"));
        fs::remove_dir_all(place.here.join("d")).expect("an empty place");
    }
}

#[test]
fn a_directory_that_cannot_be_listed_gets_files_and_trees() {
    let place = place();
    for errno in ["EPERM", "EACCES", "EOPNOTSUPP"] {
        let rule = format!("opendir={errno}");
        for run in ["first", "second"] {
            let Some(output) = fetch(&place, &[&rule], &["--preserve", "none"]) else {
                return;
            };
            let output = output.expect_code(0);
            let is_second = run == "second";
            assert_eq!(
                output.stderr.is_empty(),
                is_second,
                "{rule}: {}",
                output.stderr
            );
            assert_eq!(count(&output, "identical") > 0, is_second, "{rule}");
        }
        assert_eq!(place.here.read("d/sub/inner"), b"inner");
        fs::remove_dir_all(place.here.join("d")).expect("an empty place");
    }
}

#[test]
fn a_rename_that_is_refused_says_nothing_of_a_name_that_is_there() {
    let place = place();
    place.here.write("d/small", "mine");
    let Some(output) = fetch(&place, &["rename=EINVAL"], &[]) else {
        return;
    };
    let output = output.expect_code(3);
    let said = "small: cannot rename the file into place";
    assert!(output.stderr.contains(said), "{}", output.stderr);
    assert_eq!(place.here.read("d/small"), b"mine");
}

#[test]
fn a_probe_is_removed_where_nothing_open_can_be() {
    let place = place();
    let script = r#"
        command -v bindfs >/dev/null || exit 99
        cd "$1" && mkdir real d && bindfs --rename-deny real d || exit 99
        "$2" --index off -r -d d "$3"; code=$?
        find real -name '.ft-0000*'
        umount d || umount -l d
        exit $code
    "#;
    let ftget = PathBuf::from(env!("CARGO_BIN_EXE_ftget"));
    let args = [
        place.here.path().into(),
        ftget.into(),
        place.server.source(""),
    ];
    if let Some(output) = in_own_mounts(script, args) {
        assert_eq!(output.expect_code(0).text(), "", "left there");
    }
}

#[test]
fn nothing_is_fetched_where_nothing_can_be_made() {
    let place = place();
    let log = place.here.join("log");
    let server = TestServer::start(
        place.root.path(),
        ["--access-log".as_ref(), log.as_os_str()],
    );
    let script = r#"
        cd "$1" && mkdir m && mount -t tmpfs none m && mkdir m/d m/same || exit 99
        "$2" --index off -d m/same "$3many/03" || exit 1
        mount -o remount,ro m || exit 99
        for directory in m/d m/new m/d/new; do
            "$2" --index off -r -d $directory "$3"; echo $?
            printf 'many/01\nmany/02\nlarge\n' | "$2" --index off -d $directory -i - "$3"; echo $?
            "$2" --index off -d $directory "$3large"; echo $?
        done
        # What is there is what is wanted.
        "$2" --index off -d m/same "$3many/03" || exit 2
        umount m
    "#;
    let ftget = PathBuf::from(env!("CARGO_BIN_EXE_ftget"));
    let args = [place.here.path().into(), ftget.into(), server.source("")];
    let Some(output) = in_own_mounts(script, args) else {
        return;
    };
    let output = output.expect_code(0);
    assert_eq!(output.text(), "3\n".repeat(9), "{}", output.stderr);
    assert!(output.stderr.contains("Read-only file system"));
    let log = fs::read_to_string(log).expect("a log");
    let asked = log.matches(" get ").count();
    assert_eq!(asked, log.matches("\"many/03\"").count(), "{log}");
}

#[test]
fn a_directory_of_others_that_cannot_be_written_is_known_before_the_bytes() {
    let place = place();
    let log = place.here.join("log");
    let server = TestServer::start(
        place.root.path(),
        ["--access-log".as_ref(), log.as_os_str()],
    );
    let rules = ["access,create,mkdir=EACCES"];
    let Some(prefix) = faulty(&place.here.make_dir("d"), &rules) else {
        return;
    };
    let fetch = |prefix: Vec<_>| {
        let program = place.ftget().through(prefix).args(["--index", "off"]);
        program.args(["-r", "-d", "d"]).arg(server.source("")).run()
    };
    fetch(prefix).expect_code(3);
    let gets = || {
        let log = fs::read_to_string(&log).expect("a log");
        log.matches(" get ").count()
    };
    assert_eq!(gets(), 0);
    // A look that says no is not believed.
    let rules = ["access=EACCES"];
    fetch(faulty(&place.here.join("d"), &rules).expect("it was tried")).expect_code(0);
    assert_same_tree(place.root.path(), &place.here.join("d"));
}

//! File systems that cannot do all that others can: verified files are placed all the same.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use serde_json::Value;

use crate::harness::{
    Output, Program, Proxy, assert_same_tree, in_own_mounts, noise, refusing, skipped,
};
use crate::place::{Place, event};

const LARGE_BYTES: usize = 3_000_000;

fn place() -> Place {
    let large = noise(1, LARGE_BYTES);
    let place = Place::with([
        ("small", &b"small"[..]),
        ("large", &large),
        ("sub/inner", b"inner"),
    ]);
    let mode = fs::Permissions::from_mode(0o640);
    fs::set_permissions(place.root.join("small"), mode).expect("a mode");
    place
}

/// Fetches the whole tree into `d` while these system calls fail.
fn fetch(place: &Place, rules: &[&str], args: &[&str]) -> Option<Output> {
    let program = place.ftget();
    let program = program.through(refusing(rules)?);
    let program = program.args(["--index", "off", "-r", "-d", "d"]).args(args);
    Some(program.arg(place.server.source("")).run())
}

fn summary(output: &Output) -> Value {
    event(&output.json_lines(), "summary").clone()
}

/// Warnings that something was not kept.
fn warnings(output: &Output) -> usize {
    output.stderr.matches("cannot keep").count()
}

/// Names of partial files anywhere below.
fn partial_files(place: &Place) -> Vec<String> {
    let folders = ["d", "d/sub"].map(|folder| place.here.join(folder));
    let entries = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok());
    let names = entries.flatten().flatten().map(|entry| entry.file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(".ft-")).collect()
}

#[track_caller]
fn assert_complete(place: &Place, context: &str) {
    for name in ["small", "large", "sub/inner"] {
        let here = fs::read(place.here.join("d").join(name));
        let here = here.unwrap_or_else(|error| panic!("{context}: {name}: {error}"));
        assert!(here == place.root.read(name), "{context}: {name} differs");
    }
    assert!(
        partial_files(place).is_empty(),
        "{context}: {:?}",
        partial_files(place)
    );
}

#[test]
fn what_a_file_system_cannot_keep_is_no_failure() {
    const CANNOT: [&str; 7] = [
        "EPERM", "EACCES", "ENOTSUP", "ENOSYS", "EINVAL", "EROFS", "ENOTTY",
    ];
    let place = place();
    for (call, key, entries) in [
        ("fchmod", "unkept_permissions", 4),
        ("utimensat", "unkept_times", 4),
    ] {
        for errno in CANNOT {
            let context = format!("{call}={errno}");
            let Some(output) = fetch(&place, &[&context], &["--json"]) else {
                return;
            };
            let output = output.expect_code(0);
            assert_complete(&place, &context);
            let count = summary(&output)[key].as_u64().expect("a number");
            assert!((1..=entries).contains(&count), "{context}: {count}");
            assert_eq!(warnings(&output), 1, "{context}: {}", output.stderr);
            // Those of any program, which this one cannot change.
            let usual = fs::metadata(place.here.join("d"))
                .expect("a directory")
                .mode();
            let sub = fs::metadata(place.here.join("d/sub"))
                .expect("a directory")
                .mode();
            assert_eq!(usual, sub, "{context}");
            fs::remove_dir_all(place.here.join("d")).expect("an empty place");
        }
    }
}

#[test]
fn errors_that_mean_lost_data_stay_failures() {
    let place = place();
    for (rule, code) in [
        ("fdatasync,fsync,syncfs=EIO", 3),
        ("fdatasync,fsync,syncfs=ENOSPC", 9),
        ("fdatasync,fsync,syncfs=EDQUOT", 9),
        ("renameat,renameat2=EIO", 3),
        ("renameat,renameat2=ENOSPC", 9),
        ("renameat,renameat2,linkat=EXDEV", 3),
        ("fchmod=EIO", 3),
        ("utimensat=EIO", 3),
    ] {
        let Some(output) = fetch(&place, &[rule], &["--retry", "0"]) else {
            return;
        };
        assert_eq!(output.code, code, "{rule}: {}", output.stderr);
        let _ = fs::remove_dir_all(place.here.join("d"));
    }
}

#[test]
fn another_way_is_found_for_each_call() {
    let place = place();
    for (rules, args, is_warned) in [
        (&["fdatasync=EINVAL"][..], &["--sync", "always"][..], false),
        (&["fsync=EINVAL"], &["--sync", "always"], false),
        (&["fsync=EBADF"], &[], false),
        (&["syncfs=ENOSYS"], &[], false),
        (&["fdatasync,fsync,syncfs=EINVAL"], &[], true),
        (
            &["fdatasync,fsync,syncfs=ENOTSUP"],
            &["--sync", "always"],
            true,
        ),
        (&["fdatasync,fsync,syncfs=EROFS"], &[], true),
        (&["fdatasync,fsync,syncfs=ENOSYS"], &["--quiet"], false),
        (&["renameat2=EINVAL"], &["--if-exists", "error"], false),
        (&["renameat2=ENOSYS"], &["--if-exists", "skip"], false),
        (&["renameat2=EPERM"], &["--if-exists", "rename"], false),
        (
            &["renameat2,linkat=EPERM"],
            &["--if-exists", "error"],
            false,
        ),
        (
            &["renameat2=EINVAL", "linkat=ENOTSUP"],
            &["--if-exists", "rename"],
            false,
        ),
        (
            &["renameat2=EXDEV", "linkat=EMLINK"],
            &["--if-exists", "skip"],
            false,
        ),
        (&["renameat=ENOSYS"], &[], false),
        (&["renameat,renameat2=EXDEV"], &[], false),
        (&["renameat,renameat2=EPERM"], &[], false),
        (&["fallocate=EINVAL"], &[], false),
        (&["fallocate=ENOSYS"], &[], false),
        (&["flock=ENOLCK"], &[], false),
        (&["flock=ENOSYS"], &[], false),
        (
            &["flock=EINVAL", "fchmod,utimensat=EPERM"],
            &["--preserve", "none"],
            false,
        ),
        (&["getdents64=ENOSYS"], &[], false),
        (&["fchmod=EINTR"], &[], true),
        (&["utimensat=EAGAIN"], &[], true),
    ] {
        let context = format!("{rules:?} {args:?}");
        let Some(output) = fetch(&place, rules, args) else {
            return;
        };
        assert_eq!(output.code, 0, "{context}: {}", output.stderr);
        assert_complete(&place, &context);
        let expected = usize::from(is_warned);
        assert_eq!(warnings(&output), expected, "{context}: {}", output.stderr);
        fs::remove_dir_all(place.here.join("d")).expect("an empty place");
    }
}

#[test]
fn a_name_that_is_taken_stays_taken_whatever_way_is_left() {
    let place = place();
    place.here.write("d/small", "mine");
    let rules = ["renameat2,linkat=EPERM"];
    let Some(output) = fetch(&place, &rules, &["--if-exists", "rename"]) else {
        return;
    };
    output.expect_code(0);
    assert_eq!(place.here.read("d/small"), b"mine");
    assert_eq!(place.here.read("d/small.1"), b"small");
    assert!(partial_files(&place).is_empty());
}

#[test]
fn a_file_is_replaced_in_one_step_or_not_at_all() {
    let place = place();
    place.here.write("d/small", "mine");
    let Some(output) = fetch(&place, &["renameat,renameat2=EXDEV"], &[]) else {
        return;
    };
    assert_eq!(output.code, 3, "{}", output.stderr);
    assert_eq!(place.here.read("d/small"), b"mine");
    assert_eq!(place.here.read("d/large"), place.root.read("large"));
}

#[test]
fn links_that_cannot_be_made_are_counted() {
    let place = place();
    symlink("small", place.root.join("link")).expect("a link");
    for errno in ["EPERM", "ENOSYS", "ENOTSUP", "EINVAL"] {
        let rule = format!("symlinkat={errno}");
        for args in [["--json", "--sync=auto"], ["--json", "--sync=never"]] {
            let Some(output) = fetch(&place, &[&rule], &args) else {
                return;
            };
            let output = output.expect_code(0);
            assert_complete(&place, errno);
            let summary = summary(&output);
            assert_eq!(summary["unkept_links"], 1, "{errno}");
            assert_eq!(summary["failed"], 0, "{errno}");
            assert_eq!(warnings(&output), 1, "{errno}: {}", output.stderr);
        }
    }
    let Some(output) = fetch(&place, &["symlinkat=ENOSPC"], &[]) else {
        return;
    };
    output.expect_code(9);
}

#[test]
fn links_are_passed_over_where_that_is_asked_for() {
    let place = place();
    symlink("small", place.root.join("link")).expect("a link");
    symlink("small", place.root.join("taken")).expect("a link");
    place.here.write("d/taken", "mine");
    let fetch = |args: &[&str]| {
        let program = place.ftget().args(["-r", "-d", "d", "--links", "skip"]);
        program.args(args).arg(place.server.source("")).run()
    };
    for args in [&["--json"][..], &["--json", "--delete"]] {
        let output = fetch(args).expect_code(0);
        let summary = summary(&output);
        assert_eq!(
            (&summary["skipped"], &summary["passed_over"]),
            (&2.into(), &0.into())
        );
        assert_complete(&place, "--links skip");
        assert!(fs::symlink_metadata(place.here.join("d/link")).is_err());
        assert_eq!(place.here.read("d/taken"), b"mine");
    }
    fetch(&["--check"]).expect_code(0);
    fetch(&["-n"]).expect_code(0);
    place
        .ftget()
        .args(["-r", "-d", "d"])
        .arg(place.server.source(""))
        .run()
        .expect_code(0);
    assert!(fs::symlink_metadata(place.here.join("d/link")).is_ok());
}

#[test]
fn nothing_is_set_where_nothing_is_to_be_preserved() {
    let place = place();
    let rules = ["fchmod,fchmodat,fchmodat2,utimensat=EIO"];
    let Some(output) = fetch(&place, &rules, &["--preserve", "none"]) else {
        return;
    };
    let output = output.expect_code(0);
    assert_eq!(
        output.stderr.matches("cannot").count(),
        0,
        "{}",
        output.stderr
    );
    assert_complete(&place, "--preserve none");
    // The modes are those that any program's files and directories get.
    let usual = fs::metadata(place.here.write("usual", ""))
        .expect("a file")
        .mode();
    let folder = fs::metadata(place.here.make_dir("usual-dir"))
        .expect("a directory")
        .mode();
    for name in ["d/small", "d/large", "d/sub/inner"] {
        assert_eq!(
            fs::metadata(place.here.join(name)).expect("a file").mode(),
            usual,
            "{name}"
        );
    }
    let sub = fs::metadata(place.here.join("d/sub"))
        .expect("a directory")
        .mode();
    assert_eq!(sub, folder);
}

#[test]
fn a_second_run_is_quiet_and_asks_for_nothing() {
    let place = place();
    for rule in [
        "fchmod=EPERM",
        "utimensat=ENOTSUP",
        "fchmod,utimensat=EPERM",
    ] {
        for run in ["first", "second"] {
            let Some(output) = fetch(&place, &[rule], &["--json"]) else {
                return;
            };
            let output = output.expect_code(0);
            let expected = usize::from(run == "first");
            assert_eq!(
                warnings(&output),
                expected,
                "{rule}, {run}: {}",
                output.stderr
            );
            let identical = if run == "first" { 0 } else { 3 };
            assert_eq!(summary(&output)["identical"], identical, "{rule}, {run}");
        }
        fs::remove_dir_all(place.here.join("d")).expect("an empty place");
    }
}

#[test]
fn a_second_run_soon_stops_asking_for_what_is_refused() {
    let names: Vec<String> = (0..60).map(|number| format!("f{number:02}")).collect();
    let place = Place::with(names.iter().map(|name| (name.as_str(), name.as_bytes())));
    let set = |path: PathBuf, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    };
    let fetch = |prefix: &[String]| {
        let program = place.ftget().through(prefix);
        let program = program.args(["--index", "off", "-r", "-d", "d"]);
        program.arg(place.server.source("")).run().expect_code(0)
    };
    fetch(&[]);
    // Readable by all, as a file system without modes may say.
    for name in &names {
        set(place.root.join(name), 0o600);
        set(place.here.join("d").join(name), 0o644);
    }
    let trace = ["-f", "-qq", "-o", "trace", "-e", "trace=fchmod"];
    let strace = ["strace"]
        .iter()
        .chain(&trace)
        .map(|word| (*word).to_owned());
    let refuses = ["-e", "inject=fchmod:error=EPERM"].map(str::to_owned);
    let prefix: Vec<String> = strace.chain(refuses).collect();
    let tried = Program::system("sh", "dash")
        .args(["-c", "strace -qq -o /dev/null true"])
        .run();
    if tried.code != 0 {
        return skipped("strace is missing, or may not trace here").unwrap_or_default();
    }
    fetch(&prefix);
    let calls = String::from_utf8_lossy(&place.here.read("trace"))
        .matches("fchmod(")
        .count();
    // One by one, some threads may be a call further.
    assert!((16..=24).contains(&calls), "{calls} calls");
}

#[test]
fn a_download_is_resumed_where_nothing_can_be_locked() {
    let place = place();
    for errno in ["ENOLCK", "ENOTSUP", "ENOSYS", "EINVAL"] {
        let rule = format!("flock={errno}");
        let Some(prefix) = refusing(&[&rule]) else {
            return;
        };
        let program = || {
            let program = place.ftget().through(&prefix);
            program.args(["--index", "off", "--json", "-d", "d"])
        };
        let proxy = Proxy::to(place.server.addr()).cut_first(2_000_000).start();
        let source = format!("{}/large", proxy.addr());
        program()
            .args(["--retry", "0", &source])
            .run()
            .expect_code(4);
        assert_eq!(partial_files(&place).len(), 1, "{errno}");
        let output = program()
            .arg(place.server.source("large"))
            .run()
            .expect_code(0);
        let done = event(&output.json_lines(), "done").clone();
        assert_eq!(done["action"], "resumed", "{errno}");
        assert_eq!(
            place.here.read("d/large"),
            place.root.read("large"),
            "{errno}"
        );
        assert!(
            partial_files(&place).is_empty(),
            "{errno}: {:?}",
            partial_files(&place)
        );
        fs::remove_dir_all(place.here.join("d")).expect("an empty place");
    }
}

#[test]
fn a_mount_that_denies_modes_or_names_another_owner_gets_all_files() {
    let place = place();
    let source = place.server.source("");
    let script = r#"
        command -v bindfs >/dev/null || exit 99
        cd "$1"; mkdir real mnt
        for option in --chmod-deny --force-user=nobody "--chmod-deny --force-user=nobody" --chmod-ignore; do
            bindfs $option real mnt || exit 99
            # The mode of the first file shows that.
            timeout -s INT 1 "$2" --quiet --limit-rate 1M -d mnt "$3large" 2>/dev/null
            "$2" --index off -r -d mnt "$3" 2>said; code=$?
            "$2" --index off -r -d mnt "$3" 2>>again; again=$?
            left=$(find real -name '.ft-*' | wc -l)
            cmp -s real/large "$4/large" && cmp -s real/sub/inner "$4/sub/inner" || left=different
            umount mnt || umount -l mnt
            [ $code$again$left = 000 ] || cat said >&2
            echo "$option: $code $again $left"
            find real -mindepth 1 -delete
        done
        cat again
    "#;
    let ftget = env!("CARGO_BIN_EXE_ftget");
    let args = [
        place.here.path().as_os_str(),
        ftget.as_ref(),
        source.as_os_str(),
        place.root.path().as_os_str(),
    ];
    let Some(output) = in_own_mounts(script, args) else {
        return;
    };
    let output = output.expect_code(0);
    for line in output.text().lines() {
        assert!(
            line.ends_with(": 0 0 0"),
            "{}{}",
            output.text(),
            output.stderr
        );
    }
    assert!(!output.text().is_empty());
}

#[test]
fn a_directory_that_cannot_be_read_gets_files_and_trees() {
    let place = place();
    let is_root = rustix::process::geteuid().is_root();
    let mut prefix: Vec<String> = Vec::new();
    let drop_box = place.here.make_dir("d");
    fs::set_permissions(place.here.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    let mode = if is_root { 0o1733 } else { 0o300 };
    fs::set_permissions(&drop_box, fs::Permissions::from_mode(mode)).expect("a mode");
    if is_root {
        let words = "setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=/nonexistent XDG_CACHE_HOME=/nonexistent";
        prefix.extend(words.split(' ').map(str::to_owned));
        let tried = Program::ftget().through(&prefix).arg("--version").run();
        if tried.code != 0 {
            return skipped("another user cannot run the programs where they are")
                .unwrap_or_default();
        }
    }
    let fetch = |args: &[&str]| {
        let program = place.ftget().through(&prefix);
        let program = program.args(["--index", "off", "-r", "-d", "d"]).args(args);
        program.arg(place.server.source("")).run()
    };
    for args in [
        &[][..],
        &[],
        &["--if-exists", "overwrite", "--sync", "always"],
    ] {
        let output = fetch(args).expect_code(0);
        assert_eq!(warnings(&output), 0, "{}", output.stderr);
    }
    fs::set_permissions(&drop_box, fs::Permissions::from_mode(0o700)).expect("a mode");
    assert_complete(&place, "a directory that cannot be read");
    assert_same_tree(place.root.path(), &drop_box);
}

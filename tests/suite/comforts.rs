//! What makes `ftget` pleasant in scripts and by hand.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::{Program, Scratch, TestServer, at_some_pace, md5_hex, noise};

#[test]
fn what_is_here_is_not_read_in_silence() {
    let root = Scratch::new();
    let server = TestServer::plain(root.path());
    // Until this machine takes long enough for it.
    for mib in (0..).map(|doublings| 16_u64 << doublings) {
        let here = Scratch::new();
        for (folder, byte) in [(&root, ""), (&here, "x")] {
            folder.write("disk", byte);
            let file = fs::File::options().write(true).open(folder.join("disk"));
            file.and_then(|file| file.set_len(mib << 20))
                .expect("a file with a hole");
        }
        let run = |args: &[&str]| {
            let run = Program::ftget().in_folder(here.path()).args(args);
            run.args(["--index", "off", "--progress", "plain"])
                .arg(server.source("disk"))
                .run()
        };
        let listed = Program::ftget().args(["-q", "--list=md5sum"]);
        listed.arg(server.source("disk")).run().expect_code(0);
        let is_told = |args: &[&str], code| {
            let told = run(args).expect_code(code).stderr;
            told.contains("% hashed locally: disk")
        };
        if is_told(&["--check"], 1) && is_told(&["-n"], 0) {
            return;
        }
    }
}

struct Place {
    server: TestServer,
    here: Scratch,
    root: Scratch,
}

impl Place {
    fn with(files: &[(&str, &[u8])]) -> Place {
        let root = Scratch::with_files(files.iter().copied());
        Place {
            server: TestServer::plain(root.path()),
            here: Scratch::new(),
            root,
        }
    }

    fn ftget(&self, args: &[&str], paths: &[&str]) -> Program {
        let sources = paths.iter().map(|path| self.server.source(path));
        Program::ftget()
            .in_folder(self.here.path())
            .args(args)
            .args(sources)
    }
}

#[test]
fn a_dry_run_says_what_a_run_would_do_and_does_nothing() {
    let big = noise(1, 400_000);
    let place = Place::with(&[
        ("new", b"1"),
        ("same", b"22"),
        ("other", b"333"),
        ("big", &big),
    ]);
    place.here.write("same", "22");
    place.here.write("other", "not that");
    let md5 = md5_hex(&big);
    let tag = &md5_hex("big")[..16];
    place
        .here
        .write(format!(".ft-{tag}-{md5}.part"), &big[..100_000]);
    let before = place.here.names();
    let told = place
        .ftget(&["-n"], &["new", "same", "other", "big", "nothing"])
        .run();
    let told = told.expect_code(11);
    assert_eq!(
        told.text(),
        "new: would be fetched, 1 byte\nsame: is there already, 2 bytes\n\
         other: would be replaced, 3 bytes\nbig: would be resumed, 390.62 KiB\n"
    );
    assert!(
        told.stderr.contains("/nothing: server says not_found"),
        "{}",
        told.stderr
    );
    assert_eq!(place.here.names(), before);
    assert_eq!(place.here.read("other"), b"not that");
    let json = place
        .ftget(&["-n", "--json", "--if-exists", "skip"], &["same", "new"])
        .run();
    let events = json.expect_code(0).json_lines();
    let told: Vec<_> = events
        .iter()
        .filter(|event| event["event"] == "would")
        .map(|event| event["action"].as_str().unwrap())
        .collect();
    assert_eq!(told, ["skipped", "fetched"]);
    let exists = place
        .ftget(&["-n", "--if-exists", "error"], &["same"])
        .run();
    exists.expect_code(12);
    // A folder that would be made is not.
    place
        .ftget(&["-n", "-d", "deep/er"], &["new"])
        .run()
        .expect_code(0);
    assert!(!place.here.join("deep").exists());
    // What was told comes true.
    place
        .ftget(&[], &["new", "same", "other", "big"])
        .run()
        .expect_code(0);
    assert_eq!(place.here.read("big"), big);
}

#[test]
fn a_command_runs_on_each_file_when_it_is_in_place() {
    let place = Place::with(&[("-rf", b"a"), ("b c", b"b"), ("$(id)", b"c")]);
    let ran = place.ftget(
        &["--exec", "sh -c 'printf \"%s|\" \"$@\"; cat \"$1\"' it"],
        &["-rf", "b c", "$(id)"],
    );
    let ran = ran.run().expect_code(0);
    let mut parts: Vec<String> = ran
        .text()
        .split_inclusive(['a', 'b', 'c'])
        .map(str::to_owned)
        .collect();
    parts.sort();
    assert!(
        ran.text().contains("./-rf|a") && ran.text().contains("./b c|b"),
        "{}",
        ran.text()
    );
    assert!(ran.text().contains("./$(id)|c"), "{}", ran.text());
    // Present already is verified, too; skipped is not.
    let again = place
        .ftget(&["--exec", "echo"], &["-rf"])
        .run()
        .expect_code(0);
    assert_eq!(again.text(), "./-rf\n");
    let skipped = place
        .ftget(&["--exec", "echo", "--if-exists", "skip"], &["-rf"])
        .run();
    assert_eq!(skipped.expect_code(0).text(), "");
    let json = place.ftget(
        &["--json", "--exec", "sh -c 'echo noise; exit 7'"],
        &["-rf"],
    );
    let json = json.run().expect_code(1);
    assert_eq!(json.json_lines()[0]["exec_status"], 7);
    assert!(
        json.stderr.contains("--exec ended with 7"),
        "{}",
        json.stderr
    );
    let missing = place
        .ftget(&["--exec", "/nothing/here"], &["-rf"])
        .run()
        .expect_code(1);
    assert!(
        missing.stderr.contains("--exec cannot be run"),
        "{}",
        missing.stderr
    );
    for bad in ["", "  ", "sh -c 'open"] {
        place.ftget(&["--exec", bad], &["-rf"]).run().expect_code(2);
    }
    place
        .ftget(&["--exec", "cat", "-o", "-"], &["-rf"])
        .run()
        .expect_code(2);
}

#[test]
fn spooled_output_is_nothing_or_all_of_it() {
    let content = noise(1, 3_000_000);
    let place = Place::with(&[("big", &content)]);
    let good = place
        .ftget(&["--spool", "-o", "-"], &["big"])
        .run()
        .expect_code(0);
    assert!(good.stdout == content);
    let wrong = [
        "--spool",
        "-o",
        "-",
        "--md5",
        "00000000000000000000000000000000",
    ];
    let refused = place.ftget(&wrong, &["big"]).run().expect_code(13);
    assert!(refused.stdout.is_empty());
    place.ftget(&["--spool"], &["big"]).run().expect_code(2);
    assert_eq!(place.here.names(), Vec::<std::ffi::OsString>::new());
    let full = place
        .ftget(&["--spool", "-o", "-"], &["big"])
        .env("TMPDIR", "/nothing/here");
    full.run().expect_code(3);
}

#[test]
fn a_disk_too_full_to_spool_is_named_as_such_and_nothing_goes_out() {
    let place = Place::with(&[("big", &noise(1, 3_000_000))]);
    // What a full disk comes to, on every machine: no file may grow beyond this.
    let full = Program::system("prlimit", "util-linux")
        .args([
            "--fsize=1000000",
            "sh",
            "-c",
            "trap '' XFSZ; exec \"$@\"",
            "sh",
        ])
        .arg(env!("CARGO_BIN_EXE_ftget"))
        .args(["--retry", "0", "--json", "--spool", "-o", "-"])
        .arg(place.server.source("big"))
        .env("TMPDIR", place.here.path())
        .run()
        .expect_code(9);
    assert!(full.stdout.is_empty());
    assert!(
        full.stderr.contains(r#""reason":"no_space""#),
        "{}",
        full.stderr
    );
    assert_eq!(place.here.names(), Vec::<std::ffi::OsString>::new());
}

#[test]
fn a_rate_is_kept_and_a_slow_client_is_no_stalled_one() {
    let content = noise(1, 500_000);
    let place = Place::with(&[("big", &content)]);
    for flag in ["--limit-rate", "--bwlimit"] {
        at_some_pace(|factor| {
            let begun = Instant::now();
            let limit = format!("{}ms", 300 * factor);
            let args = [flag, "400K", "--timeout", &limit];
            place.ftget(&args, &["big"]).run().expect_code(0);
            let least = Duration::from_millis(700);
            assert!(begun.elapsed() > least, "{:?}", begun.elapsed());
            assert!(place.here.read("big") == content);
            fs::remove_file(place.here.join("big")).unwrap();
        });
    }
    for bad in ["0", "fast", "-1", "1x", ""] {
        place
            .ftget(&["--limit-rate", bad], &["big"])
            .run()
            .expect_code(2);
    }
}

#[test]
fn colours_are_for_terminals_and_for_who_wants_them() {
    let place = Place::with(&[]);
    let told = |args: &[&str]| place.ftget(args, &["nothing"]).run().expect_code(11).stderr;
    assert!(told(&["--color", "always"]).contains("\u{1b}[1;31mftget:\u{1b}[0m "));
    for plain in [&[][..], &["--color", "never"], &["--color", "auto"]] {
        assert!(!told(plain).contains('\u{1b}'), "{plain:?}");
    }
}

#[test]
fn a_full_standard_output_is_said_and_so_is_one_that_was_closed() {
    let place = Place::with(&[("a", b"x")]);
    let source = place.server.source("a");
    let run = |command: &str| {
        Program::system("sh", "dash")
            .in_folder(place.here.path())
            .args(["-c", command])
            .arg(env!("CARGO_BIN_EXE_ftget"))
            .arg(&source)
            .run()
    };
    let full = run("exec \"$0\" --json \"$1\" > /dev/full").expect_code(9);
    assert!(
        full.stderr
            .contains("cannot write to standard output: No space"),
        "{}",
        full.stderr
    );
    assert_eq!(place.here.read(Path::new("a")), b"x");
    for args in [&["--json"][..], &["-o", "-"]] {
        let left = unread(&place, args, Some(source.as_os_str()));
        assert_eq!(left.status.code(), Some(3), "{args:?}");
        let said = String::from_utf8_lossy(&left.stderr);
        assert_eq!(said, "ftget: standard output was closed\n", "{args:?}");
    }
}

/// Runs it into a pipe whose reader is gone before a byte is written.
fn unread(place: &Place, args: &[&str], source: Option<&OsStr>) -> std::process::Output {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    std::process::Command::new(env!("CARGO_BIN_EXE_ftget"))
        .args(args)
        .args(source)
        .env_clear()
        .current_dir(place.here.path())
        .stdout(writer)
        .output()
        .expect("ftget runs")
}

#[test]
fn what_is_shown_to_read_fails_on_a_full_disk_and_not_when_the_reader_has_seen_enough() {
    let place = Place::with(&[("a", b"x")]);
    let source = place.server.source("a");
    for args in [
        &["--help"][..],
        &["-h"],
        &["--version"],
        &["--man"],
        &["--completions", "zsh"],
        &["-n"],
        &["-n", "--json"],
        &["--list"],
    ] {
        let is_exclusive = !["-n", "--list"].contains(&args[0]);
        let full = Program::system("sh", "dash")
            .in_folder(place.here.path())
            .args(["-c", "exec \"$@\" > /dev/full", "sh"])
            .arg(env!("CARGO_BIN_EXE_ftget"))
            .args(args)
            .args((!is_exclusive).then_some(&source))
            .run()
            .expect_code(9);
        assert_eq!(
            full.stderr,
            "ftget: cannot write to standard output: No space left on device (os error 28)\n",
            "{args:?}"
        );
        let source = (!is_exclusive).then_some(source.as_os_str());
        let left = unread(&place, args, source);
        assert_eq!(left.status.code(), Some(0), "{args:?}");
        assert_eq!(String::from_utf8_lossy(&left.stderr), "", "{args:?}");
    }
}

#[test]
fn permissions_that_the_umask_forbids_are_not_given() {
    let place = Place::with(&[("open", b"x")]);
    let mode = |mode| -> fs::Permissions { std::os::unix::fs::PermissionsExt::from_mode(mode) };
    fs::set_permissions(place.root.join("open"), mode(0o777)).unwrap();
    let source = place.server.source("open");
    for (umask, expected) in [("027", 0o750), ("077", 0o700), ("000", 0o777)] {
        Program::system("sh", "dash")
            .in_folder(place.here.path())
            .args([
                "-c",
                &format!("umask {umask}; exec \"$0\" --if-exists overwrite \"$1\""),
            ])
            .arg(env!("CARGO_BIN_EXE_ftget"))
            .arg(&source)
            .run()
            .expect_code(0);
        let meta = fs::metadata(place.here.join("open")).unwrap();
        let found = std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o777;
        assert_eq!(found, expected, "umask {umask}");
    }
}

#[test]
fn trouble_with_the_folder_names_the_folder_and_devices_have_a_hint() {
    let place = Place::with(&[("a", b"x"), ("null", b"x")]);
    place.here.write("file", "");
    let told = place
        .ftget(&["-d", "file/deeper"], &["a"])
        .run()
        .expect_code(3)
        .stderr;
    assert!(told.contains("cannot make the directory file"), "{told}");
    let told = place
        .ftget(&["-o", "missing/x"], &["a"])
        .run()
        .expect_code(3)
        .stderr;
    assert!(told.contains("cannot open the directory missing"), "{told}");
    let told = place
        .ftget(&["-d", "/dev"], &["null"])
        .run()
        .expect_code(3)
        .stderr;
    assert!(told.contains("use -o to write to it"), "{told}");
}

//! A job that does not fit where it goes, and is looked at first.

use super::full_disk::could_not_mount;
use super::visit::watch;
use crate::harness::{Output, Program, Scratch, TestServer, md5_hex, noise};

/// Runs the client in a mount namespace of its own, where its folder is a small file system,
/// after `before`, a line of shell. Standard output is the client's and then the names in the
/// folder. `None` where that needs a privilege that this machine does not give.
#[track_caller]
fn visit(root: &Scratch, options: &str, before: &str, args: &[&str]) -> Option<Output> {
    let server = TestServer::plain(root.path());
    let folder = Scratch::new();
    let script = format!(
        r#"folder=$1; shift
        mount -t tmpfs -o {options} tmpfs "$folder" || exit 99
        cd "$folder"; {before}
        "$@" -d "$folder"; code=$?
        find . -mindepth 1 | sort
        exit $code"#
    );
    let client = Program::system("unshare", "util-linux")
        .args(["--map-root-user", "--mount", "sh", "-c", &script, "sh"])
        .arg(folder.path())
        .args([env!("CARGO_BIN_EXE_ftget"), "-r", "--retry", "0"])
        .args(args)
        .arg(server.source("d/"));
    let output = watch(client);
    (!could_not_mount(&output)).then_some(output)
}

#[test]
fn what_does_not_fit_together_is_found_before_the_first_byte() {
    let root = Scratch::with_files([
        ("d/a", noise(1, 600_000)),
        ("d/b", noise(2, 600_000)),
        ("d/s/c", noise(3, 100)),
    ]);
    for (mode, shown) in [
        ("--preflight", ""),
        ("-n", "would be fetched"),
        ("--check", "missing"),
    ] {
        let Some(output) = visit(&root, "size=1m", "", &[mode]) else {
            return;
        };
        let output = output.expect_code(9);
        assert!(!output.text().contains("./"), "{mode}: {}", output.text());
        assert!(output.text().contains(shown), "{mode}: {}", output.text());
        // A dry run ends with its totals.
        let lines = if mode == "-n" { 2 } else { 1 };
        assert_eq!(output.stderr.lines().count(), lines, "{}", output.stderr);
        for words in ["no space in ", ": needs 1.15 MiB, 1.00 MiB are free"] {
            assert!(output.stderr.contains(words), "{mode}: {}", output.stderr);
        }
    }
    // Whatever else is wrong; without the look, what fits is there.
    let collides = "mkdir a;";
    let Some(output) = visit(&root, "size=500k", collides, &["--preflight"]) else {
        return;
    };
    let output = output.expect_code(9);
    assert_eq!(output.text(), "./a\n");
    assert!(
        output.stderr.contains("is a directory"),
        "{}",
        output.stderr
    );
    let output = visit(&root, "size=1m", "", &[]).expect("a file system");
    let output = output.expect_code(9);
    assert!(output.text().ends_with("./s\n./s/c\n"), "{}", output.text());
}

#[test]
fn more_files_than_there_may_be_are_found_before_the_first_is_made() {
    let names = ["d/a", "d/b", "d/s/c", "d/s/d"];
    let root = Scratch::with_files(names.map(|name| (name, "1")));
    // The folder itself is one; five more are needed.
    for (inodes, code) in [(5, 9), (7, 0)] {
        let options = format!("size=1m,nr_inodes={inodes}");
        let Some(output) = visit(&root, &options, "", &["--preflight"]) else {
            return;
        };
        let output = output.expect_code(code);
        assert_eq!(output.text().is_empty(), code == 9, "{}", output.text());
        if code == 9 {
            let words = "needs 5 files, directories and links included; 4 more can be created";
            assert!(output.stderr.contains(words), "{}", output.stderr);
        }
    }
}

#[test]
fn folders_that_have_to_be_made_on_the_way_are_counted_each_once() {
    let names = ["d/a", "d/s/b", "d/s/c"];
    let root = Scratch::with_files(names.map(|name| (name, "1")));
    let deep = "folder=$folder/x/y/z;";
    for mode in ["--preflight", "-n", "--check"] {
        // The file system's own folder is one; three on the way and four below are needed.
        let Some(output) = visit(&root, "size=1m,nr_inodes=7", deep, &[mode]) else {
            return;
        };
        let output = output.expect_code(9);
        assert!(!output.text().contains("./"), "{mode}: {}", output.text());
        let words = "needs 7 files, directories and links included; 6 more can be created";
        assert!(output.stderr.contains(words), "{mode}: {}", output.stderr);
    }
    let output = visit(&root, "size=1m,nr_inodes=8", deep, &["--preflight"]);
    let output = output.expect("a file system").expect_code(0);
    assert!(
        output.text().ends_with("./x/y/z/s/c\n"),
        "{}",
        output.text()
    );
}

#[test]
fn what_is_here_of_a_file_is_not_needed_again_and_what_is_replaced_makes_room() {
    let content = noise(4, 700_000);
    let root = Scratch::with_files([("d/a", content.clone())]);
    let beginning = Scratch::new();
    let path = beginning.write("beginning", &content[..500_000]);
    let partial = format!(".ft-{}-{}.part", &md5_hex("a")[..16], md5_hex(&content));
    let leave = format!("cp {} {partial};", path.display());
    let Some(output) = visit(&root, "size=1m", &leave, &["--preflight"]) else {
        return;
    };
    assert_eq!(output.expect_code(0).text(), "./a\n");
    let other = format!("head -c 500000 {} > else;", path.display());
    let output = visit(&root, "size=1m", &other, &["--preflight"]).expect("a file system");
    assert_eq!(output.expect_code(9).text(), "./else\n");

    // One after the other.
    let contents = [5, 6, 7].map(|seed| noise(seed, 500_000));
    let names = ["d/a", "d/b", "d/c"];
    let root = Scratch::with_files(names.into_iter().zip(contents));
    let same_size = path.display();
    let old = format!("for old in a b c; do cp {same_size} $old; done;");
    let output = visit(&root, "size=2m", &old, &["-n"]).expect("a file system");
    let told = output.expect_code(0).text();
    assert_eq!(told.matches("would be replaced").count(), 3, "{told}");
    // Nor would the first of them fit.
    let output = visit(&root, "size=1600k", &old, &["-n"]).expect("a file system");
    assert_eq!(output.expect_code(9).stderr.matches("no space").count(), 4);
}

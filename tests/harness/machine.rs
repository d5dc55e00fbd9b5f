//! Machines that refuse: programs for which system calls fail, and mounts of a test's own.
//! Where this machine allows neither, a test says so and ends.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::{Output, Program};

/// The prefix that runs a program for which system calls fail, for [`Program::through`].
///
/// A rule is `CALL,CALL=ERRNO`; `CALL@ARGUMENT&MASK` refuses a call only if that argument has a
/// bit of the mask; with `KILL` for an error the program must not call it. Returns `None`, and prints why, where this machine has no such filters.
pub fn refusing(rules: &[&str]) -> Option<Vec<OsString>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/harness/refuse.py");
    let mut prefix: Vec<OsString> = vec!["python3".into(), script.into()];
    prefix.extend(rules.iter().map(OsString::from));
    prefix.push("--".into());
    let tried = Program::system("true", "coreutils").through(&prefix).run();
    if tried.code == UNTRIED {
        return skipped("system calls cannot be filtered here");
    }
    tried.expect_code(0);
    Some(prefix)
}

/// Runs a script of `sh` with these arguments as root of its own users and mounts. It ends with
/// 99 where it cannot mount what it needs; then this prints why and returns `None`.
pub fn in_own_mounts<A: AsRef<OsStr>>(
    script: &str,
    args: impl IntoIterator<Item = A>,
) -> Option<Output> {
    // Root keeps its rights over real devices, such as /dev/fuse; others are root of nothing else.
    let flags = match rustix::process::geteuid().is_root() {
        true => "-m",
        false => "-rm",
    };
    let output = Program::system("unshare", "util-linux")
        .args([flags, "sh", "-c", script, "sh"])
        .args(args)
        .run();
    if output.code == UNTRIED || output.stderr.starts_with("unshare:") {
        return skipped(&format!("no such mounts here: {}", output.stderr));
    }
    Some(output)
}

/// Runs a script of `sh` with these arguments as process 1 of its own processes, with a `/proc` of
/// its own; `exec` in it makes a program that process. Where that cannot be, prints why and
/// returns `None`.
pub fn in_own_processes<A: AsRef<OsStr>>(
    script: &str,
    args: impl IntoIterator<Item = A>,
) -> Option<Output> {
    let flags = match rustix::process::geteuid().is_root() {
        true => "-pf",
        false => "-rpf",
    };
    let output = Program::system("unshare", "util-linux")
        .args([flags, "--mount-proc", "sh", "-c", script, "sh"])
        .args(args)
        .run();
    if output.stderr.starts_with("unshare:") {
        return skipped(&format!("no such processes here: {}", output.stderr));
    }
    Some(output)
}

/// Prints why a test cannot be tried on this machine.
#[expect(
    clippy::print_stderr,
    reason = "the reason of a skip, shown by --nocapture"
)]
pub fn skipped<T>(reason: &str) -> Option<T> {
    eprintln!("skipped: {reason}");
    None
}

const UNTRIED: i32 = 99;

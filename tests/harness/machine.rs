//! Machines that refuse: programs for which system calls fail, and mounts of a test's own.
//! Where this machine allows neither, a test says so and ends.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::OnceLock;

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

/// The prefix that runs a program that sees a directory through a file system that refuses some
/// operations, for [`Program::through`]. Everybody else sees the directory itself.
///
/// A rule is `OPERATION,OPERATION=ERRNO`, of the operations in `faulty.py`; `OPERATION@N` is refused
/// from its N-th request on. Returns `None`, and prints why, where this machine mounts none.
pub fn faulty<R: AsRef<OsStr>>(directory: &Path, rules: &[R]) -> Option<Vec<OsString>> {
    static INTERPRETER: OnceLock<Option<OsString>> = OnceLock::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/harness/faulty.py");
    let prefix = |interpreter: OsString| {
        let mut prefix = vec![interpreter, script.clone().into(), directory.into()];
        prefix.extend(rules.iter().map(|rule| rule.as_ref().to_owned()));
        prefix.push("--".into());
        prefix
    };
    let interpreter = INTERPRETER.get_or_init(|| {
        // The program itself, without the wrapper that some machines have: it starts faster.
        let find = ["-c", "import sys; print(sys.executable)"];
        let found = Program::system("python3", "python3").args(find).run();
        let interpreter = OsString::from(found.expect_code(0).text().trim());
        let tried = Program::system("true", "coreutils").through(prefix(interpreter.clone()));
        let tried = tried.run();
        if tried.code == UNTRIED {
            return skipped(&tried.stderr);
        }
        tried.expect_code(0);
        Some(interpreter)
    });
    Some(prefix(interpreter.clone()?))
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

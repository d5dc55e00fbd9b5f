//! Runs of the client, what must hold after each, and tables of them.

use std::ffi::OsStr;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::answers::{CONTENT, FILE, OLD};
use super::server::{Act, HostileServer};
use crate::harness::{DEADLINE, Output, Program, Scratch, md5_hex};

/// How a visit to a hostile server must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The content is in place.
    Fetched,
    /// This exit code, and nothing is left behind.
    Refused(i32),
    /// This exit code; what came may stay as a partial file, for a resume.
    CutOff(i32),
}

/// One row of a table: its name, what the server does on each request, and the outcome.
pub(crate) type Case = (String, Vec<Act>, Expected);

/// Plays each case twice, into an empty folder and over an older file of that name, and
/// fails with the names of all cases that went wrong.
#[track_caller]
pub(crate) fn play(content: &[u8], cases: Vec<Case>) {
    let runs: Vec<(&Case, bool)> = cases
        .iter()
        .flat_map(|case| [(case, false), (case, true)])
        .collect();
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((case, has_old)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if catch_unwind(AssertUnwindSafe(|| play_one(content, case, *has_old))).is_err()
                    {
                        let over = if *has_old { " over an old file" } else { "" };
                        let name = format!("{}{over}", case.0);
                        failures.lock().expect("the failures").push(name);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("the failures");
    assert!(failures.is_empty(), "wrong outcome of: {failures:#?}");
}

fn play_one(content: &[u8], (name, acts, expected): &Case, has_old: bool) {
    let folder = Scratch::new();
    if has_old {
        folder.write(FILE, OLD);
    }
    let server = HostileServer::repeating(acts.clone());
    let output = visit_once(&server, folder.path(), *expected);
    // Panics of a table are many and interleaved: each names its case first.
    let context = format!("case: {name}\nstderr: {}", output.stderr);
    check(content, &folder, &output, *expected, has_old, &context);
}

/// Runs the client against `server` for [`FILE`] without retries; it gives up soon where it
/// is expected to time out, and late where it is not.
pub(crate) fn visit_once(server: &HostileServer, folder: &Path, expected: Expected) -> Output {
    let waits = matches!(expected, Expected::Refused(14) | Expected::CutOff(14));
    let timeout = if waits { "1" } else { "60" };
    let limit = if waits {
        PROMPT + Duration::from_secs(1)
    } else {
        PROMPT
    };
    let output = visit(
        folder,
        ["--retry", "0", "--timeout", timeout, &server.source(FILE)],
    );
    assert!(
        output.elapsed < limit,
        "took {:?}, the limit is {limit:?}\nstderr: {}",
        output.elapsed,
        output.stderr
    );
    output
}

/// Checks the exit code, the messages and what is in the folder.
pub(crate) fn check(
    content: &[u8],
    folder: &Scratch,
    output: &Output,
    expected: Expected,
    has_old: bool,
    context: &str,
) {
    let code = match expected {
        Expected::Fetched => 0,
        Expected::Refused(code) | Expected::CutOff(code) => code,
    };
    assert_eq!(output.code, code, "exit code\n{context}");
    if code != 0 {
        assert_one_clear_line(output, context);
    }

    let mut names: Vec<String> = folder
        .names()
        .into_iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    if matches!(expected, Expected::CutOff(_)) {
        let partial = partial_name(FILE, content);
        if names.contains(&partial) {
            let held = folder.read(&partial);
            assert!(
                content.starts_with(&held),
                "the partial file is no prefix\n{context}"
            );
            names.retain(|name| *name != partial);
        }
    }
    let wanted = match (expected, has_old) {
        (Expected::Fetched, _) => Some(content),
        (_, true) => Some(OLD),
        (_, false) => None,
    };
    match wanted {
        Some(wanted) => {
            assert_eq!(names, [FILE], "names in the folder\n{context}");
            assert!(
                folder.read(FILE) == wanted,
                "wrong content in place\n{context}"
            );
        }
        None => assert_eq!(names, [""; 0], "names in the folder\n{context}"),
    }
}

/// Runs the client with these arguments, files going into `folder`, and checks what holds
/// for every run: it does not panic, does not grow, and writes nothing that a terminal
/// would act on.
#[track_caller]
pub(crate) fn visit<A: AsRef<OsStr>>(folder: &Path, args: impl IntoIterator<Item = A>) -> Output {
    watch(Program::ftget().arg("-d").arg(folder).args(args))
}

/// Runs the client with whatever arguments it has, and checks as [`visit`] does.
#[track_caller]
pub(crate) fn watch(program: Program) -> Output {
    let running = program.start();
    let mut peak_kib = 0;
    let begun = Instant::now();
    while begun.elapsed() < DEADLINE && !running.ends_within(SAMPLE) {
        peak_kib = peak_kib.max(peak_rss_kib(running.pid()));
    }
    let output = running.wait();
    let shown = format!("{}{}", output.stderr, output.text());
    assert!(!shown.contains("panicked"), "the client panicked:\n{shown}");
    let acts = |c: char| {
        c != '\n' && c.is_control()
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(
        !output.stderr.contains(acts),
        "control or direction characters: {:?}",
        output.stderr
    );
    assert!(
        peak_kib < PEAK_KIB_MAX,
        "the client grew to {peak_kib} KiB\n{shown}"
    );
    output
}

/// One line that says what is wrong, and at most one more that says what helps.
#[track_caller]
pub(crate) fn assert_one_clear_line(output: &Output, context: &str) {
    let (hints, lines): (Vec<&str>, Vec<&str>) = output
        .stderr
        .lines()
        .partition(|line| line.starts_with("hint: "));
    assert!(
        lines.len() == 1 && hints.len() <= 1,
        "wanted one line and at most one hint\n{context}"
    );
    assert!(
        lines[0].len() <= LINE_BYTES_MAX,
        "a line of {} bytes\n{context}",
        lines[0].len()
    );
}

/// The name of the partial file of `content` that is to become `name`.
pub(crate) fn partial_name(name: &str, content: &[u8]) -> String {
    format!(".ft-{}-{}.part", &md5_hex(name)[..16], md5_hex(content))
}

/// Checks that nothing but `name` is in the folder and that it holds `content`.
#[track_caller]
pub(crate) fn assert_only(folder: &Scratch, name: &str, content: &[u8]) {
    assert_eq!(folder.names(), [name], "names in the folder");
    assert!(folder.read(name) == content, "wrong content in place");
}

/// A row whose outcome is the same for the small content of most tables.
pub(crate) fn case(name: impl Into<String>, acts: Vec<Act>, expected: Expected) -> Case {
    (name.into(), acts, expected)
}

/// Plays a table about [`CONTENT`].
#[track_caller]
pub(crate) fn play_small(cases: Vec<Case>) {
    play(CONTENT, cases);
}

/// 0 once the process has ended, whose memory is gone before its id is.
fn peak_rss_kib(pid: u32) -> u64 {
    // Just started, it still shares the memory of this process.
    let program = |pid: &str| fs::read_link(format!("/proc/{pid}/exe")).ok();
    if program(&pid.to_string()) == program("self") {
        return 0;
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

/// Cases played at once: most wait for a process or a timeout.
const AT_ONCE: usize = 4;
/// How often a run's memory is looked at.
const SAMPLE: Duration = Duration::from_millis(4);
/// What takes no time at all, with processes to start on a busy machine; less than half of what
/// a client that waits where it should not would take.
pub(crate) const PROMPT: Duration = Duration::from_secs(25);
/// The buffers of a client and its program text are far below; a body is not.
const PEAK_KIB_MAX: u64 = 64 * 1024;
/// A message quotes names and messages of a peer, which may be 4,096 bytes and, escaped, six
/// times as long.
const LINE_BYTES_MAX: usize = 32 * 1024;

//! Where threads are few, as in containers: whoever gets none says so, and fewer than usual are
//! enough.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::id;

use crate::harness::{Output, Program, Scratch, TestServer, assert_same_tree, noise};

/// A tree of one server, and a user whose processes and threads are counted: none else has any.
struct Few {
    root: Scratch,
    server: TestServer,
    /// Belongs to the user.
    home: Scratch,
    programs: PathBuf,
    user: Option<u32>,
}

impl Few {
    /// `case`: of this test alone.
    fn new(case: u32) -> Few {
        let root = Scratch::new();
        root.make_dir("folder");
        for number in 0..40 {
            root.write(
                format!("folder/{number}"),
                noise(number, 700 * number as usize),
            );
        }
        root.write("large", noise(40, 5_000_000));
        let home = Scratch::new();
        // Of everybody's reach, which the folder of the build may not be.
        let programs = home.make_dir("programs");
        for program in [env!("CARGO_BIN_EXE_ftget"), env!("CARGO_BIN_EXE_ftserve")] {
            // By another process: what this one has open for writing might be open for a moment in
            // a child that is just being made, and could not be run.
            let copy = Program::system("cp", "coreutils").arg(program);
            copy.arg(&programs).run().expect_code(0);
        }
        // The superuser is not limited, and of any other user there may be other processes.
        let is_root = rustix::process::geteuid().is_root();
        let user = is_root.then(|| FIRST_USER + (id() % 1_000_000) * 8 + case);
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
        if let Some(user) = user {
            chown(home.path(), Some(user), None).expect("an owner");
        }
        Few {
            server: TestServer::plain(root.path()),
            root,
            home,
            programs,
            user,
        }
    }

    /// A program that may have so many threads.
    fn program(&self, name: &str, threads: u32) -> Program {
        let program = self.programs.join(name);
        let limited = match threads {
            PLENTY => Program::system("env", "coreutils"),
            few => Program::system("prlimit", "util-linux").arg(format!("--nproc={few}")),
        };
        let limited = limited.arg(program);
        let limited = limited.env("HOME", self.home.path());
        match self.user {
            Some(user) => {
                limited.through(["setpriv", "--reuid", &user.to_string(), "--clear-groups"])
            }
            None => limited,
        }
    }

    /// `ftget` of everything there is.
    fn fetch(&self, threads: u32, options: &[&str]) -> Output {
        let program = self.program("ftget", threads).args(options);
        program.arg(format!("{}/", self.server.addr())).run()
    }
}

/// Whether it was successful; panics unless it says otherwise why not.
#[track_caller]
fn has_threads(output: &Output, case: &str) -> bool {
    if output.code == 0 {
        return true;
    }
    let sentence = "cannot start a thread: Resource temporarily unavailable (os error 11)\n";
    assert_eq!(output.code, 3, "{case}: {}", output.stderr);
    let before = output.stderr.strip_suffix(sentence);
    // The server may have warned of what it does without, and its command of what it misses.
    let is_whole = |before: &str| before == "ftget: " || before.contains("ftserve: ");
    assert!(before.is_some_and(is_whole), "{case}: {}", output.stderr);
    false
}

/// How many threads are enough, of these; more must be, too.
fn enough(mut is_enough: impl FnMut(u32) -> bool) -> u32 {
    let mut enough = None;
    for threads in (1..=9).chain([11, 14, 18, 40, PLENTY]) {
        match (is_enough(threads), enough) {
            (true, None) => enough = Some(threads),
            (false, Some(fewer)) => panic!("{fewer} threads are enough and {threads} are not"),
            _ => {}
        }
    }
    enough.expect("what is plenty is enough")
}

#[test]
fn a_tree_is_fetched_by_as_few_threads_as_there_are_or_not_at_all() {
    let few = Few::new(0);
    for more in [
        &[][..],
        &["--split", "4"],
        &["--sync", "never"],
        &["--delete"],
        &["--preflight"],
    ] {
        let mut runs = 0;
        let least = enough(|threads| {
            runs += 1;
            let here = few.home.join(format!("{runs} {more:?}"));
            let case = format!("{threads} threads {more:?}");
            let mut options = vec!["--quiet", "-r", "-d", here.to_str().expect("a name")];
            options.extend(more);
            let is_done = has_threads(&few.fetch(threads, &options), &case);
            if is_done {
                assert_same_tree(few.root.path(), &here);
            } else {
                assert!(!here.exists(), "{case}: nothing is done");
            }
            is_done
        });
        if few.user.is_some() {
            // One that signals end, and seven that do the work.
            assert!((2..=8).contains(&least), "{least} threads for {more:?}");
        }
    }
}

#[test]
fn what_is_only_looked_at_and_what_is_poured_out_needs_fewer() {
    let few = Few::new(1);
    let root = few.root.path().to_str().expect("a name");
    let new = few.home.join("new");
    let new = new.to_str().expect("a name");
    let mut least = Vec::new();
    for options in [
        &["--quiet", "-n", "-r", "-d", new][..],
        &["--quiet", "--check", "-r", "-d", root],
        &["--quiet", "--list", "-r"],
    ] {
        least.push(enough(|threads| {
            let case = format!("{threads} threads {options:?}");
            has_threads(&few.fetch(threads, options), &case)
        }));
    }
    for spool in [&[][..], &["--spool"]] {
        least.push(enough(|threads| {
            let program = few.program("ftget", threads).args(["--quiet", "-o", "-"]);
            let poured = program.args(spool).arg(few.server.source("large")).run();
            let is_done = has_threads(&poured, &format!("{threads} threads {spool:?}"));
            assert!(!is_done || poured.stdout == few.root.read("large"));
            is_done
        }));
    }
    let receipts = few.home.join("receipts");
    let receipts = receipts.to_str().expect("a name");
    assert!(has_threads(
        &few.fetch(
            PLENTY,
            &["--quiet", "-r", "--receipts", receipts, "-d", new]
        ),
        "all"
    ));
    least.push(enough(|threads| {
        let program = few.program("ftget", threads);
        let checked = program.args(["--check", "--receipts", receipts]).run();
        has_threads(&checked, &format!("{threads} threads for receipts"))
    }));
    if few.user.is_some() {
        let most = [4, 4, 1, 1, 1, 3];
        let is_few = |(least, most): (&u32, &u32)| least <= most;
        assert!(
            least.iter().zip(&most).all(is_few),
            "{least:?}, not {most:?}"
        );
    }
}

#[test]
fn a_server_says_that_it_listens_only_if_it_serves() {
    let few = Few::new(3);
    let root = few.root.path().to_str().expect("a name");
    for threads in [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 24] {
        let program = few.program("ftserve", threads);
        let options = ["--bind", "127.0.0.1:0", root, "--", "true"];
        let served = program.args(options).run();
        // It takes three threads to serve; then there may be none for the command.
        if served.code == 3 && !served.stderr.contains("served 0") {
            assert!(!served.stderr.contains("listening on"), "{}", served.stderr);
        }
    }
}

#[test]
fn a_server_that_gets_no_threads_says_so() {
    let few = Few::new(2);
    let root = few.root.path().to_str().expect("a name");
    let source = few.programs.join("ftget");
    let source = source.to_str().expect("a name");
    let fetch = format!("exec '{source}' --quiet -o - \"$FTSERVE_ADDR/large\"");
    // With more it has more to share out, and may have none left for the rest.
    for threads in [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 24, PLENTY] {
        let program = few.program("ftserve", threads);
        let options = [
            "--quiet",
            "--bind",
            "127.0.0.1:0",
            root,
            "--",
            "sh",
            "-c",
            &fetch,
        ];
        let served = program.args(options).run();
        // What cannot be run is another reason, and told as such.
        if served.code == 126 {
            continue;
        }
        let is_done = has_threads(&served, &format!("{threads} threads"));
        assert!(!is_done || served.stdout == few.root.read("large"));
        let program = few.program("ftserve", threads).args(["index", "--quiet"]);
        let index = few.home.join(format!("index {threads}"));
        let made = program.arg("--index").arg(index).arg(root).run();
        let is_made = has_threads(&made, &format!("an index by {threads} threads"));
        match threads {
            PLENTY => assert!(is_done && is_made),
            1 if few.user.is_some() => assert!(!is_done && !is_made),
            _ => {}
        }
    }
}

/// No limit.
const PLENTY: u32 = u32::MAX;
/// From here on nobody is.
const FIRST_USER: u32 = 1_000_000_000;

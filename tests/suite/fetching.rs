//! `ftget` from its command line to the file.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::cases::{CONTENT, FILE, NamedCase};
use crate::harness::{Output, Program, Scratch, TestServer, md5_hex, noise};

/// A server and an empty folder to fetch into.
struct Place {
    root: Scratch,
    server: TestServer,
    here: Scratch,
}

impl Place {
    fn with<N: AsRef<std::path::Path>, B: AsRef<[u8]>>(
        files: impl IntoIterator<Item = (N, B)>,
    ) -> Place {
        let root = Scratch::with_files(files);
        let server = TestServer::plain(root.path());
        Place {
            root,
            server,
            here: Scratch::new(),
        }
    }

    /// `ftget` in the empty folder.
    fn ftget(&self) -> Program {
        Program::ftget().in_folder(self.here.path())
    }

    #[track_caller]
    fn assert_only(&self, files: &[(&str, &[u8])]) {
        let mut names: Vec<OsString> = files.iter().map(|(name, _)| (*name).into()).collect();
        names.sort();
        assert_eq!(self.here.names(), names, "what lies in the folder");
        for (name, content) in files {
            assert!(self.here.read(name) == *content, "{name} differs");
        }
    }
}

fn event<'a>(events: &'a [Value], kind: &str) -> &'a Value {
    let found = events.iter().find(|event| event["event"] == kind);
    found.unwrap_or_else(|| panic!("no {kind} event in {events:?}"))
}

#[test]
fn a_file_lands_under_its_name_in_the_current_folder() {
    let place = Place::with([("dir/a.txt", CONTENT)]);
    let output = place
        .ftget()
        .arg(place.server.source("dir/a.txt"))
        .run()
        .expect_code(0);
    place.assert_only(&[(FILE, CONTENT)]);
    assert!(
        output.stdout.is_empty(),
        "standard output is for data: {}",
        output.text()
    );
}

#[test]
fn files_of_every_interesting_size_arrive() {
    let sizes = [
        0, 1, 55, 56, 64, 4_095, 4_096, 4_097, 262_143, 262_144, 262_145, 1_048_576, 8_388_609,
    ];
    let place = Place::with(sizes.map(|size| (size.to_string(), noise(size as u64, size))));
    place
        .ftget()
        .args(sizes.map(|size| place.server.source(size.to_string())))
        .run()
        .expect_code(0);
    for size in sizes {
        assert!(
            place.here.read(size.to_string()) == noise(size as u64, size),
            "{size} bytes differ"
        );
    }
    assert_eq!(
        place.here.names().len(),
        sizes.len(),
        "{:?}",
        place.here.names()
    );
}

#[test]
fn output_names_the_file_or_standard_output() {
    let content = noise(1, 700_000);
    let place = Place::with([("big", &content)]);
    place
        .ftget()
        .args(["-o", "other"])
        .arg(place.server.source("big"))
        .run()
        .expect_code(0);
    place.assert_only(&[("other", &content)]);
    let output = place
        .ftget()
        .args(["-o", "-"])
        .arg(place.server.source("big"))
        .run()
        .expect_code(0);
    assert!(output.stdout == content, "standard output differs");
    place.assert_only(&[("other", &content)]);
    place
        .ftget()
        .args(["-o", "none/other"])
        .arg(place.server.source("big"))
        .run()
        .expect_code(3);
}

#[test]
fn a_folder_to_fetch_into_is_named_with_d() {
    let place = Place::with([("dir/a.txt", CONTENT), ("b", b"b")]);
    let target = place.here.make_dir("target");
    place
        .ftget()
        .arg("-d")
        .arg(&target)
        .args([place.server.source("dir/a.txt"), place.server.source("b")])
        .run()
        .expect_code(0);
    assert_eq!(
        (place.here.read("target/a.txt"), place.here.read("target/b")),
        (CONTENT.to_vec(), b"b".to_vec())
    );
}

#[test]
fn a_known_md5_must_match() {
    let place = Place::with([(FILE, CONTENT)]);
    let source = place.server.source(FILE);
    place
        .ftget()
        .args(["--md5", &md5_hex(CONTENT)])
        .arg(&source)
        .run()
        .expect_code(0);
    place.assert_only(&[(FILE, CONTENT)]);
    fs::remove_file(place.here.join(FILE)).expect("a removal");
    let output = place
        .ftget()
        .args(["--md5", &md5_hex("other")])
        .arg(&source)
        .run();
    assert!(
        matches!(output.code, 10 | 13),
        "{} {}",
        output.code,
        output.stderr
    );
    place.assert_only(&[]);
    for wrong in ["", "xyz", &md5_hex(CONTENT)[1..]] {
        let _case = NamedCase(wrong);
        place
            .ftget()
            .args(["--md5", wrong])
            .arg(&source)
            .run()
            .expect_code(2);
    }
}

/// The flags, what lies there before, the exit code, and what lies there afterwards.
type PolicyCase<'a> = (&'a [&'a str], &'a [u8], i32, &'a [(&'a str, &'a [u8])]);

#[test]
fn what_happens_to_an_existing_file_is_chosen() {
    let old = b"old content".as_slice();
    let cases: [PolicyCase<'_>; 9] = [
        (&[], old, 0, &[(FILE, CONTENT)]),
        (&["--if-exists", "update"], old, 0, &[(FILE, CONTENT)]),
        (&["--if-exists", "update"], CONTENT, 0, &[(FILE, CONTENT)]),
        (&["--if-exists", "overwrite"], old, 0, &[(FILE, CONTENT)]),
        (
            &["--if-exists", "overwrite"],
            CONTENT,
            0,
            &[(FILE, CONTENT)],
        ),
        (&["--if-exists", "skip"], old, 0, &[(FILE, old)]),
        (&["--if-exists", "error"], old, 12, &[(FILE, old)]),
        (&["--if-exists", "error"], CONTENT, 12, &[(FILE, CONTENT)]),
        (
            &["--if-exists", "rename"],
            old,
            0,
            &[(FILE, old), ("a.txt.1", CONTENT)],
        ),
    ];
    for (flags, before, code, after) in cases {
        let _case = NamedCase(format!("{flags:?} over {}", before.escape_ascii()));
        let place = Place::with([(FILE, CONTENT)]);
        place.here.write(FILE, before);
        place
            .ftget()
            .args(flags)
            .arg(place.server.source(FILE))
            .run()
            .expect_code(code);
        place.assert_only(after);
    }
}

#[test]
fn a_file_that_is_there_already_is_a_success_and_says_so() {
    let content = noise(1, 500_000);
    let place = Place::with([("big", &content)]);
    let run = || {
        place
            .ftget()
            .arg("--json")
            .arg(place.server.source("big"))
            .run()
            .expect_code(0)
            .json_lines()
    };
    let first = run();
    assert_eq!(event(&first, "done")["action"], "fetched", "{first:?}");
    let modified = fs::metadata(place.here.join("big"))
        .and_then(|meta| meta.modified())
        .expect("an mtime");
    let second = run();
    assert_eq!(event(&second, "done")["action"], "identical", "{second:?}");
    assert_eq!(
        fs::metadata(place.here.join("big"))
            .and_then(|meta| meta.modified())
            .expect("an mtime"),
        modified
    );
}

#[test]
fn json_lines_tell_what_was_done() {
    let place = Place::with([("dir/a.txt", CONTENT)]);
    let sources = [
        place.server.source("dir/a.txt"),
        place.server.source("none"),
    ];
    let output = place
        .ftget()
        .arg("--json")
        .args(sources)
        .run()
        .expect_code(11);
    let events = output.json_lines();
    let done = event(&events, "done");
    assert_eq!(done["v"], 1, "{done}");
    assert!(
        done["filename"]
            .as_str()
            .is_some_and(|name| name.ends_with("a.txt")),
        "{done}"
    );
    assert_eq!(
        (done["total_size"].as_u64(), done["md5"].as_str()),
        (Some(9), Some(md5_hex(CONTENT).as_str())),
        "{done}"
    );
    assert_eq!(
        (done["action"].as_str(), done["attempts"].as_u64()),
        (Some("fetched"), Some(1)),
        "{done}"
    );
    assert!(done["secs"].is_number(), "{done}");
    let error = event(&events, "error");
    assert_eq!(
        (error["code"].as_i64(), error["reason"].as_str()),
        (Some(11), Some("not_found")),
        "{error}"
    );
    assert!(error["message"].is_string(), "{error}");
    assert_eq!(
        events.last().expect("events")["event"],
        "summary",
        "{events:?}"
    );
    place.assert_only(&[(FILE, CONTENT)]);
}

#[test]
fn every_failure_has_its_exit_code_and_one_clear_line() {
    let place = Place::with([(FILE, CONTENT), ("dir/x", b"x")]);
    let unused = TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("an address");
    let cases: [(OsString, i32, &str); 6] = [
        (place.server.source("none"), 11, "none"),
        (place.server.source("dir"), 2, "dir"),
        (place.server.source("a.txt/x"), 2, "a.txt/x"),
        (format!("{unused}/a.txt").into(), 4, "refused"),
        // No resolver is asked for a name with an empty label.
        ("no..host:a.txt".into(), 4, "no..host"),
        (place.server.source("../x"), 2, "x"),
    ];
    for (source, code, word) in cases {
        let _case = NamedCase(source.to_string_lossy().into_owned());
        let output = place
            .ftget()
            .args(["--retry", "0"])
            .arg(source)
            .run()
            .expect_code(code);
        assert!(
            output.stderr.contains(word),
            "{word:?} is missing: {}",
            output.stderr
        );
        let lines: Vec<&str> = output
            .stderr
            .lines()
            .filter(|line| !line.trim_start().starts_with("hint:"))
            .collect();
        assert_eq!(lines.len(), 1, "one line, besides hints: {}", output.stderr);
        place.assert_only(&[]);
    }
    for usage in [
        &[][..],
        &["word"],
        &["--no-such-flag"],
        &["-o", "x", "127.0.0.1:9/a", "127.0.0.1:9/b"],
        &["http://127.0.0.1:9/a"],
    ] {
        let _case = NamedCase(usage.join(" "));
        place.ftget().args(usage).run().expect_code(2);
        place.assert_only(&[]);
    }
}

#[test]
fn a_failure_among_successes_is_never_hidden() {
    let place = Place::with([("a", "a"), ("b", "b")]);
    let sources = ["a", "none", "b"].map(|name| place.server.source(name));
    let output = place.ftget().args(&sources).run().expect_code(11);
    assert!(output.stderr.contains("none"), "{}", output.stderr);
    place.assert_only(&[("a", b"a"), ("b", b"b")]);
    // Two causes: 23.
    place.root.make_dir("dir");
    let sources = ["a", "none", "dir", "b"].map(|name| place.server.source(name));
    place.ftget().args(&sources).run().expect_code(23);
}

#[test]
fn two_sources_for_one_local_name_are_refused_before_the_first_byte() {
    let place = Place::with([("a/x", "1"), ("b/x", "2")]);
    place
        .ftget()
        .args([place.server.source("a/x"), place.server.source("b/x")])
        .run()
        .expect_code(2);
    place.assert_only(&[]);
}

#[test]
fn hundreds_of_small_files_come_in_one_call_from_two_servers() {
    let place = Place::with((0..300).map(|n| (format!("f{n}"), noise(n, 17 * n as usize))));
    let root = Scratch::with_files((0..50).map(|n| (format!("g{n}"), noise(n, n as usize))));
    let other = TestServer::plain(root.path());
    let first = (0..300).map(|n| place.server.source(format!("f{n}")));
    place
        .ftget()
        .args(first.chain((0..50).map(|n| other.source(format!("g{n}")))))
        .run()
        .expect_code(0);
    assert_eq!(place.here.names().len(), 350);
    for n in 0..300 {
        assert!(
            place.here.read(format!("f{n}")) == noise(n, 17 * n as usize),
            "f{n} differs"
        );
    }
}

#[test]
fn mode_and_time_come_along_and_set_user_id_does_not() {
    let place = Place::with([("run.sh", "#!/bin/sh\n"), ("su", "x")]);
    let then = SystemTime::UNIX_EPOCH + Duration::new(1_600_000_000, 123_456_789);
    fs::File::options()
        .write(true)
        .open(place.root.join("run.sh"))
        .and_then(|file| file.set_modified(then))
        .expect("an mtime");
    fs::set_permissions(place.root.join("run.sh"), fs::Permissions::from_mode(0o754))
        .expect("a mode");
    fs::set_permissions(place.root.join("su"), fs::Permissions::from_mode(0o4755)).expect("a mode");
    place
        .ftget()
        .args([place.server.source("run.sh"), place.server.source("su")])
        .run()
        .expect_code(0);
    let meta = fs::metadata(place.here.join("run.sh")).expect("the file");
    assert_eq!(meta.permissions().mode() & 0o7777, 0o754);
    assert_eq!(meta.modified().expect("an mtime"), then);
    assert_eq!(
        fs::metadata(place.here.join("su"))
            .expect("the file")
            .permissions()
            .mode()
            & 0o7000,
        0
    );
}

#[test]
fn odd_names_are_fetched_and_shown_without_a_byte_that_acts() {
    let names: [&[u8]; 11] = [
        b"line\nfeed",
        b"\x1b[31mred",
        "right\u{202e}txt.exe".as_bytes(),
        b"caf\xe9",
        b"\xb2\xe2\xca\xd4",
        b"-rf",
        b"$(id)",
        b"..x",
        b"a b",
        b"%2e%2e",
        "größe".as_bytes(),
    ];
    let place = Place::with(names.map(|name| (OsStr::from_bytes(name), name)));
    for name in names {
        let _case = NamedCase(name.escape_ascii().to_string());
        let output = place
            .ftget()
            .arg("-v")
            .arg(place.server.source(OsStr::from_bytes(name)))
            .run()
            .expect_code(0);
        assert_harmless(&output);
        assert_eq!(place.here.read(OsStr::from_bytes(name)), name);
        let missing = [b"missing", name].concat();
        let output = place
            .ftget()
            .arg(place.server.source(OsString::from_vec(missing)))
            .run()
            .expect_code(11);
        assert_harmless(&output);
    }
    let mut found: Vec<Vec<u8>> = place
        .here
        .names()
        .into_iter()
        .map(OsString::into_vec)
        .collect();
    let mut expected: Vec<Vec<u8>> = names.iter().map(|name| name.to_vec()).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[track_caller]
fn assert_harmless(output: &Output) {
    let acts = |c: char| {
        c.is_control() && c != '\n'
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(
        !output.stderr.contains(acts),
        "standard error would act on a terminal: {:?}",
        output.stderr
    );
}

#[test]
fn a_cut_transfer_is_resumed_within_one_run_and_across_two() {
    let content = noise(1, 6_000_000);
    for cut in [0, 100, 300_000, 3_000_000, 5_999_999] {
        let _case = NamedCase(format!("cut after {cut} bytes"));
        let place = Place::with([("big", &content)]);
        // Within one run: the second attempt goes on.
        let proxy = CuttingProxy::start(place.server.addr(), cut);
        let source = format!("{}/big", proxy.address);
        place
            .ftget()
            .args(["--retry-delay", "10ms", &source])
            .run()
            .expect_code(0);
        place.assert_only(&[("big", &content)]);
        fs::remove_file(place.here.join("big")).expect("a removal");
        // Across two runs: the first fails and leaves no file of that name.
        let proxy = CuttingProxy::start(place.server.addr(), cut);
        let source = format!("{}/big", proxy.address);
        place
            .ftget()
            .args(["--retry", "0", &source])
            .run()
            .expect_code(4);
        assert!(
            !place.here.join("big").exists(),
            "a file under its final name that was not verified"
        );
        let output = place
            .ftget()
            .arg("--json")
            .arg(place.server.source("big"))
            .run()
            .expect_code(0);
        let events = output.json_lines();
        let done = event(&events, "done");
        if cut > 1_000_000 {
            assert_eq!(done["action"], "resumed", "{done}");
            assert!(
                done["resumed_from"]
                    .as_u64()
                    .is_some_and(|from| from > 100_000 && from < cut as u64),
                "{done}"
            );
        }
        place.assert_only(&[("big", &content)]);
    }
}

#[test]
fn without_resume_a_cut_transfer_begins_again() {
    let content = noise(1, 3_000_000);
    let place = Place::with([("big", &content)]);
    let proxy = CuttingProxy::start(place.server.addr(), 2_000_000);
    place
        .ftget()
        .args(["--retry", "0", &format!("{}/big", proxy.address)])
        .run()
        .expect_code(4);
    let output = place
        .ftget()
        .args(["--json", "--no-resume"])
        .arg(place.server.source("big"))
        .run()
        .expect_code(0);
    assert_eq!(event(&output.json_lines(), "done")["action"], "fetched");
    place.assert_only(&[("big", &content)]);
}

#[test]
fn a_resume_never_splices_two_versions() {
    let (old, new) = (noise(1, 3_000_000), noise(2, 3_000_000));
    let place = Place::with([("big", &old)]);
    let proxy = CuttingProxy::start(place.server.addr(), 2_000_000);
    place
        .ftget()
        .args(["--retry", "0", &format!("{}/big", proxy.address)])
        .run()
        .expect_code(4);
    place.root.write("big", &new);
    let output = place
        .ftget()
        .arg("--json")
        .arg(place.server.source("big"))
        .run()
        .expect_code(0);
    assert_eq!(event(&output.json_lines(), "done")["md5"], md5_hex(&new));
    place.assert_only(&[("big", &new)]);
}

#[test]
fn a_server_that_dies_and_returns_costs_a_retry() {
    let content = noise(1, 40_000_000);
    let root = Scratch::with_files([("big", &content)]);
    let mut server = TestServer::plain(root.path());
    let here = Scratch::new();
    let address = server.addr().to_owned();
    let running = Program::ftget()
        .args(["--limit-rate", "40M"])
        .args(["--retry", "50", "--retry-delay", "50ms"])
        .arg(server.source("big"))
        .in_folder(here.path());
    // Without a rate limit the transfer may be over before the kill; either way it ends well.
    let running = match supports("--limit-rate") {
        true => running.start(),
        false => Program::ftget()
            .args(["--retry", "50", "--retry-delay", "50ms"])
            .arg(server.source("big"))
            .in_folder(here.path())
            .start(),
    };
    server.kill();
    let _next = TestServer::builder(root.path()).bind(&address).start();
    running.wait().expect_code(0);
    assert_eq!(here.names(), ["big"]);
    assert!(here.read("big") == content, "the file differs");
}

fn supports(flag: &str) -> bool {
    Program::ftget().arg("--help").run().text().contains(flag)
}

#[test]
fn an_interrupt_leaves_no_file_and_the_next_run_goes_on() {
    let content = noise(1, 3_000_000);
    let place = Place::with([("big", &content)]);
    let proxy = CuttingProxy::stall(place.server.addr(), 2_000_000);
    let running = place.ftget().arg(format!("{}/big", proxy.address)).start();
    proxy.wait_until_stalled();
    running.signal(rustix::process::Signal::INT);
    running.wait().expect_code(130);
    assert!(
        !place.here.join("big").exists(),
        "a file under its final name that was not verified"
    );
    place
        .ftget()
        .arg(place.server.source("big"))
        .run()
        .expect_code(0);
    place.assert_only(&[("big", &content)]);
}

#[test]
fn a_server_that_stalls_is_a_timeout() {
    let place = Place::with([("big", noise(1, 3_000_000))]);
    let proxy = CuttingProxy::stall(place.server.addr(), 1_000_000);
    let args = [
        "--retry",
        "0",
        "--timeout",
        "0.5",
        &format!("{}/big", proxy.address),
    ];
    let output = place.ftget().args(args).run().expect_code(14);
    assert!(
        output.elapsed < Duration::from_secs(5),
        "took {:?}",
        output.elapsed
    );
    assert!(
        !place.here.join("big").exists(),
        "a file under its final name that was not verified"
    );
}

#[test]
fn quiet_is_quiet_and_help_helps() {
    let place = Place::with([(FILE, CONTENT)]);
    let output = place
        .ftget()
        .arg("-q")
        .arg(place.server.source(FILE))
        .run()
        .expect_code(0);
    assert_eq!((output.text().as_str(), output.stderr.as_str()), ("", ""));
    for program in [Program::ftget, Program::ftserve] {
        let help = program().arg("--help").run().expect_code(0);
        assert!(help.text().contains("Usage"), "{}", help.text());
        let version = program().arg("--version").run().expect_code(0);
        assert!(
            version.text().contains(env!("CARGO_PKG_VERSION")),
            "{}",
            version.text()
        );
    }
}

#[test]
fn flags_are_environment_variables_too() {
    let place = Place::with([(FILE, CONTENT)]);
    let target = place.here.make_dir("target");
    place
        .ftget()
        .env("FTGET_DIR", &target)
        .arg(place.server.source(FILE))
        .run()
        .expect_code(0);
    assert_eq!(place.here.read("target/a.txt"), CONTENT);
}

/// A proxy whose first connection passes so many bytes to the client and then ends or
/// stalls; later connections pass everything.
struct CuttingProxy {
    address: String,
    stalled: std::sync::mpsc::Receiver<()>,
}

impl CuttingProxy {
    fn start(target: &str, bytes: usize) -> CuttingProxy {
        CuttingProxy::of(target, bytes, false)
    }

    fn stall(target: &str, bytes: usize) -> CuttingProxy {
        CuttingProxy::of(target, bytes, true)
    }

    fn of(target: &str, bytes: usize, stalls: bool) -> CuttingProxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (target, (report, stalled)) = (target.to_owned(), std::sync::mpsc::channel());
        // Ends with the test program; each connection is one pair of threads.
        thread::spawn(move || {
            for (number, client) in listener.incoming().enumerate() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&target)) else {
                    return;
                };
                let (from_client, to_server) = (client.try_clone(), server.try_clone());
                let (mut from_client, mut to_server) =
                    (from_client.expect("a socket"), to_server.expect("a socket"));
                thread::spawn(move || drop(io::copy(&mut from_client, &mut to_server)));
                let report = report.clone();
                thread::spawn(move || {
                    let limit = if number == 0 { bytes as u64 } else { u64::MAX };
                    pass(&server, &client, limit);
                    if number == 0 && stalls {
                        let _ = report.send(());
                        // Held open until the client gives up.
                        let _ = io::copy(&mut &server, &mut io::sink());
                    }
                    let _ = client.shutdown(Shutdown::Both);
                    let _ = server.shutdown(Shutdown::Both);
                });
            }
        });
        CuttingProxy { address, stalled }
    }

    fn wait_until_stalled(&self) {
        self.stalled
            .recv_timeout(Duration::from_secs(10))
            .expect("a stalled transfer");
    }
}

fn pass(from: &TcpStream, mut to: &TcpStream, limit: u64) {
    let _ = io::copy(&mut from.take(limit), &mut to);
    let _ = to.flush();
}

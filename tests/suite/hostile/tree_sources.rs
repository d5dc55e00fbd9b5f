//! Trees of servers that die, return, and no longer have what they listed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Instant;

use serde_json::json;

use super::answers::{answer, header};
use super::server::{Act, HostileServer, Request};
use super::trees::{fetch, fetch_into, file, listing, other, refuse, serve};
use super::visit::visit;
use crate::files::unprivileged_reader;
use crate::harness::{DEADLINE, Program, Scratch, md5_hex};
use crate::picture::contents;
use crate::place::event;

#[test]
fn sources_that_are_gone_have_a_code_of_their_own() {
    let lines = || vec![file("d/a"), file("d/b"), file("d/c")];
    for (answers, code) in [
        ([("d/b", "not_found"), ("", "")], 24),
        ([("d/a", "not_found"), ("d/c", "not_found")], 24),
        // Something else has its name, or that of a folder above it.
        ([("d/a", "is_directory"), ("d/c", "not_a_directory")], 24),
        ([("d/a", "not_a_file"), ("", "")], 24),
        ([("d/a", "not_found"), ("d/c", "forbidden")], 23),
        ([("d/a", "forbidden"), ("", "")], 6),
        ([("d/a", "changed"), ("", "")], 13),
    ] {
        let pages = vec![lines()];
        let server = HostileServer::start(move |request| {
            let is_get = request.str("op").is_empty() || request.str("op") == "get";
            let name = request.str("filename");
            match answers.iter().find(|(gone, _)| is_get && *gone == name) {
                Some((_, code)) => refuse(request, code),
                None => vec![Act::Send(serve(&pages, request))],
            }
        });
        let (output, here) = fetch(&server, &["--json"]);
        let output = output.expect_code(code);
        let gone = answers.map(|(name, _)| name);
        let wanted = ["d/a", "d/b", "d/c"]
            .iter()
            .filter(|name| !gone.contains(name));
        let wanted = wanted.map(|name| format!("{name} = of {name}"));
        let wanted: Vec<_> = ["d/".to_owned()].into_iter().chain(wanted).collect();
        assert_eq!(here, wanted, "{answers:?}");
        if code == 24 {
            let events = output.json_lines();
            let error = event(&events, "error");
            assert_eq!(
                (&error["code"], &error["reason"]),
                (&24.into(), &"gone".into())
            );
            assert!(
                output
                    .stderr
                    .contains(": gone since it was listed: server says")
            );
        }
    }
    // What was not listed was only asked for.
    let server = HostileServer::start(|request| refuse(request, "not_found"));
    let here = Scratch::new();
    visit(here.path(), [server.source("d/a")]).expect_code(11);
    let (output, _) = fetch(&server, &[]);
    output.expect_code(11);
}

#[test]
fn what_many_fail_of_alike_is_told_a_few_times_and_counted() {
    let names: Vec<String> = (0..100).map(|number| format!("d/{number:02}")).collect();
    let pages = vec![names.iter().map(|name| file(name)).collect::<Vec<_>>()];
    let start = |answer: fn(&Request) -> Vec<Act>| {
        let pages = pages.clone();
        HostileServer::start(move |request| match request.str("op") {
            "list" | "stat" => vec![Act::Send(serve(&pages, request))],
            _ => answer(request),
        })
    };
    let told = |server: &HostileServer, code: i32, arg: &str| {
        let (output, _) = fetch(server, &[arg]);
        let stderr = output.expect_code(code).stderr;
        let named = stderr.lines().filter(|line| line.contains("/d/")).count();
        let more = stderr.lines().filter_map(|line| {
            let (count, cause) = line.strip_prefix("ftget: and ")?.split_once(" more: ")?;
            assert!(cause.ends_with(" (-v names them)"), "{line}");
            count.parse::<usize>().ok()
        });
        (named, more.sum::<usize>())
    };
    let closing = start(|_| vec![Act::Close]);
    let (named, more) = told(&closing, 4, "--json");
    // To close may be heard as an end or as a reset, which differ.
    assert!((10..=50).contains(&named), "{named} are named");
    assert_eq!(named + more, names.len());
    assert_eq!(told(&closing, 4, "-v"), (names.len(), 0));
    let (output, _) = fetch(&closing, &["--json"]);
    let events = output.json_lines();
    let failed = events.iter().filter(|event| event["event"] == "error");
    assert_eq!(failed.count(), names.len());
    assert_eq!(event(&events, "summary")["failed"], names.len());
    // Each may have a reason of its own.
    let unwilling = start(|request| refuse(request, "forbidden"));
    assert_eq!(told(&unwilling, 6, "--json"), (names.len(), 0));
}

#[test]
fn a_dry_run_that_has_to_ask_tells_of_what_is_gone_too() {
    let lines = vec![other("d/a", "file", json!({"total_size": 4}))];
    let server = HostileServer::start(move |request| {
        let is_listed = request.str("filename") == "d";
        match is_listed {
            true => vec![Act::Send(serve(std::slice::from_ref(&lines), request))],
            false => refuse(request, "not_found"),
        }
    });
    let here = Scratch::with_files([("d/a", "here")]);
    let output = fetch_into(&here, &server, &["-n"]).expect_code(24);
    assert!(
        output.stderr.contains(": gone since it was listed"),
        "{}",
        output.stderr
    );
    // Without anything here the listing says it all.
    fetch(&server, &["-n"]).0.expect_code(0);
}

#[test]
fn what_has_changed_since_it_was_listed_is_fetched_as_it_is_now() {
    let server = HostileServer::start(|request| {
        let stale =
            json!({"filename": "d/a", "total_size": 3, "md5": md5_hex("old"), "type": "file"});
        vec![Act::Send(serve(&[vec![stale.to_string()]], request))]
    });
    let here = Scratch::with_files([("d/a", "before both")]);
    fetch_into(&here, &server, &[]).expect_code(0);
    assert_eq!(contents(here.path()), ["d/", "d/a = of d/a"]);
}

#[test]
fn a_server_that_dies_again_and_again_and_returns_costs_nothing() {
    let names: Vec<String> = (0..200).map(|number| format!("d/{number:03}")).collect();
    let pages: Vec<Vec<String>> = names
        .chunks(20)
        .map(|names| names.iter().map(|name| file(name)).collect())
        .collect();
    for end in [Act::Close, Act::Reset] {
        let (pages, end) = (pages.clone(), end.clone());
        let server = HostileServer::start(move |request| {
            let mut bytes = serve(&pages, request);
            if request.number % 17 != 16 {
                return vec![Act::Send(bytes)];
            }
            // In the middle of a page, of a header or of a body.
            bytes.truncate(bytes.len() - 1 - request.number % bytes.len().min(60));
            vec![Act::Send(bytes), end.clone()]
        });
        let here = Scratch::new();
        let args = ["-r", "--retry", "9", "--retry-delay", "1ms", "-j", "3"].map(str::to_owned);
        let source = [server.source("d")];
        let output = visit(here.path(), args.into_iter().chain(source)).expect_code(0);
        assert_eq!(output.stderr, "");
        let wanted = names.iter().map(|name| format!("{name} = of {name}"));
        let wanted: Vec<_> = ["d/".to_owned()].into_iter().chain(wanted).collect();
        assert_eq!(contents(here.path()), wanted);
    }
}

#[test]
fn a_server_that_stays_dead_leaves_what_came_and_says_so() {
    let pages = vec![vec![file("d/a")], vec![file("d/b")]];
    let server = HostileServer::start(move |request| {
        let bytes = serve(&pages, request);
        match request.str("after") {
            "1" => vec![Act::Send(bytes[..bytes.len() - 1].to_vec()), Act::Reset],
            _ => vec![Act::Send(bytes)],
        }
    });
    let (output, here) = fetch(&server, &["--json"]);
    let output = output.expect_code(4);
    assert_eq!(here, ["d/", "d/a = of d/a"]);
    let events = output.json_lines();
    let error = event(&events, "error");
    assert_eq!(error["filename"], "d", "{error}");
}

#[test]
fn a_listing_that_is_cut_off_is_told_before_it_is_asked_for_again() {
    let pages = || [vec![file("d/a")], vec![file("d/b")]];
    let server = HostileServer::start(move |request| {
        let is_second = request.str("op") == "list" && request.str("after") == "1";
        if is_second && request.number < 6 {
            return vec![Act::Close];
        }
        vec![Act::Send(serve(&pages(), request))]
    });
    let here = Scratch::new();
    let args = ["--retry", "5", "--retry-delay", "0.01", "-v", "-r"];
    let args = args.map(str::to_owned).into_iter();
    let output = visit(here.path(), args.chain([server.source("d")])).expect_code(0);
    assert_eq!(
        contents(here.path()),
        ["d/", "d/a = of d/a", "d/b = of d/b"]
    );
    let told = output
        .stderr
        .lines()
        .filter(|line| line.contains("; retrying the listing in 0.0 s"));
    assert!(told.count() >= 1, "{}", output.stderr);
}

#[test]
fn a_dry_run_asks_nothing_that_the_listing_tells() {
    let server = listing(vec![vec![file("d/a"), file("d/b"), file("d/c")]]);
    let here = Scratch::with_files([("d/a", "of d/a"), ("d/b", "of d/X")]);
    let output = fetch_into(&here, &server, &["-n"]).expect_code(0);
    assert_eq!(
        output
            .text()
            .replace(&format!("{}/", here.path().display()), ""),
        "d/a: is there already, 6 bytes\nd/b: would be replaced, 6 bytes\n\
         d/c: would be fetched, 6 bytes\n"
    );
    let asked: Vec<_> = server
        .requests()
        .iter()
        .map(|request| format!("{} {}", request.str("op"), request.str("filename")))
        .collect();
    assert_eq!(asked, ["stat d", "list d"]);
}

#[test]
fn a_dry_run_asks_about_many_at_once_and_tells_of_them_in_order() {
    let names: Vec<String> = (0..500).map(|number| format!("d/{number:03}")).collect();
    let lines = names
        .iter()
        .map(|name| other(name, "file", json!({"total_size": 10})));
    let lines: Vec<_> = lines.collect();
    let server = HostileServer::start(move |request| {
        let name = request.str("filename");
        vec![Act::Send(match request.str("op") {
            "stat" if name != "d" => {
                let (size, md5) = (10, md5_hex(format!("is {name}!!")));
                answer(
                    header(name, size, &md5, r#", "body_size": 0, "type": "file""#),
                    b"",
                )
            }
            _ => serve(std::slice::from_ref(&lines), request),
        })]
    });
    let here = Scratch::new();
    for (at, name) in names.iter().enumerate() {
        let is_same = at % 3 == 0;
        here.write(
            name,
            if is_same {
                format!("is {name}!!")
            } else {
                "x".repeat(10)
            },
        );
    }
    let output = fetch_into(&here, &server, &["-n"]).expect_code(0);
    let told = output.text();
    assert_eq!(told.lines().count(), names.len());
    for (at, (line, name)) in told.lines().zip(&names).enumerate() {
        let is_same = at % 3 == 0;
        let words = ["would be replaced", "is there already"][usize::from(is_same)];
        let place = here.join(name);
        assert_eq!(line, format!("{}: {words}, 10 bytes", place.display()));
    }
}

/// Waits for what another thread or process makes true.
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} never");
        std::thread::yield_now();
    }
}

#[test]
fn a_folder_of_two_sources_is_finished_when_neither_has_anything_for_it() {
    let here = Scratch::new();
    let exists = |name: &str| {
        let path = here.join(name);
        move || path.exists()
    };
    let read_only = || other("d/ro", "dir", json!({"mode": "0555"}));
    let is_get = |request: &Request| matches!(request.str("op"), "" | "get");
    let second_is_asked = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&second_is_asked);
    let pages = vec![vec![read_only(), file("d/ro/a")]];
    let first = HostileServer::start(move |request| {
        if is_get(request) {
            wait_until("the other is asked", || asked.load(SeqCst));
        }
        vec![Act::Send(serve(&pages, request))]
    });
    // When this is there, whoever finishes the folder for the first source alone has done so.
    let later = exists("d/later");
    let pages = vec![vec![read_only(), file("d/ro/b")]];
    let second = HostileServer::start(move |request| {
        if is_get(request) {
            second_is_asked.store(true, SeqCst);
            wait_until("later is there", &later);
        }
        vec![Act::Send(serve(&pages, request))]
    });
    let first_is_there = exists("d/ro/a");
    let pages = vec![vec![file("d/later")]];
    let third = HostileServer::start(move |request| {
        if request.str("op") == "list" {
            wait_until("the first file is there", &first_is_there);
        }
        vec![Act::Send(serve(&pages, request))]
    });
    let client = Program::ftget().through(unprivileged_reader());
    let client = client.args(["-r", "--retry", "0", "-d"]).arg(here.path());
    let servers = [&first, &second, &third];
    let client = client.args(servers.map(|server| server.source("d")));
    client.run().expect_code(0);
    let folder = here.join("d/ro");
    let mode = fs::metadata(&folder).unwrap().permissions().mode();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(mode & 0o777, 0o555);
    assert_eq!(
        contents(here.path()),
        [
            "d/",
            "d/later = of d/later",
            "d/ro/",
            "d/ro/a = of d/ro/a",
            "d/ro/b = of d/ro/b"
        ]
    );
}

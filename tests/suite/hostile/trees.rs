//! Trees of servers that list what they must not, or give what they did not list.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::answers::{answer, header, honest_bytes};
use super::server::{Act, HostileServer, Request};
use super::visit::{assert_one_clear_line, visit, watch};
use crate::harness::{Output, Program, Scratch, md5_hex};
use crate::picture::contents;

/// What a file of this name holds, as far as these servers give it.
pub(super) fn content(name: &str) -> Vec<u8> {
    format!("of {name}").into_bytes()
}

/// The line of a file as it is given.
pub(super) fn file(name: &str) -> String {
    let (size, md5) = (content(name).len(), md5_hex(content(name)));
    json!({"filename": name, "total_size": size, "md5": md5, "type": "file"}).to_string()
}

/// The line of something else, with further keys.
pub(super) fn other(name: &str, kind: &str, more: Value) -> String {
    let mut line = json!({"filename": name, "total_size": 0, "md5": "", "type": kind});
    if let (Value::Object(line), Value::Object(more)) = (&mut line, more) {
        line.extend(more);
    }
    line.to_string()
}

fn folder(name: &str) -> String {
    other(name, "dir", json!({}))
}

/// A page with these lines; what comes behind it is `next`.
pub(super) fn page(lines: &[String], next: Option<&str>) -> Vec<u8> {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let next = next.map(|next| format!(r#", "next": {}"#, Value::from(next)));
    let (size, next) = (body.len() as u64, next.unwrap_or_default());
    answer(header("d", size, &md5_hex(&body), &next), body.as_bytes())
}

/// What a server does that has these pages of `d`, and every file.
pub(super) fn serve(pages: &[Vec<String>], request: &Request) -> Vec<u8> {
    match request.str("op") {
        "stat" => {
            let kind = r#", "body_size": 0, "type": "dir", "mode": "0755""#;
            answer(header(request.str("filename"), 0, "", kind), b"")
        }
        "list" => {
            let number: usize = request.str("after").parse().unwrap_or(0);
            let next = (number + 1 < pages.len()).then(|| (number + 1).to_string());
            page(&pages[number], next.as_deref())
        }
        _ => honest_bytes(&content(request.str("filename")), request),
    }
}

fn listing(pages: Vec<Vec<String>>) -> HostileServer {
    HostileServer::start(move |request| vec![Act::Send(serve(&pages, request))])
}

fn refuse(request: &Request, code: &str) -> Vec<Act> {
    let more = format!(r#", "error": {{"code": "{code}", "message": "no"}}"#);
    vec![Act::Send(answer(
        header(request.str("filename"), 0, "", &more),
        b"",
    ))]
}

/// Fetches `d` into a folder of its own, and says what is there afterwards.
fn fetch(server: &HostileServer, args: &[&str]) -> (Output, Vec<String>) {
    let here = Scratch::new();
    let output = fetch_into(&here, server, args);
    (output, contents(here.path()))
}

fn fetch_into(here: &Scratch, server: &HostileServer, args: &[&str]) -> Output {
    let args = ["-r", "--retry", "0"].iter().chain(args);
    let args = args.map(|arg| (*arg).to_owned());
    visit(here.path(), args.chain([server.source("d")]))
}

#[test]
fn what_must_not_be_listed_ends_the_listing_and_what_came_before_is_fetched() {
    for wrong in [
        file("d/a"),
        file("d/A"),
        file("d"),
        file("e"),
        file("x/d/z"),
        file("d/z/deep"),
        file(""),
        file("d/"),
        file("/d/z"),
        file("d/../z"),
        file("../d/z"),
        file("d//z"),
        file("d/./z"),
        file("d/z/.."),
        file("d/z\0"),
        file(&format!("d/{}", "z".repeat(256))),
        file(&format!("d{}", "/z".repeat(256))),
        "{}".to_owned(),
        "null".to_owned(),
        r#"{"filename":"d/z"}"#.to_owned(),
        other("d/z", "door", json!({})),
        other("d/z", "file", json!({"total_size": -1})),
        other("d/z", "file", json!({"md5": "none"})),
        other("d/z", "file", json!({"mode": 493})),
    ] {
        let pages = vec![
            vec![file("d/a")],
            vec![file("d/b"), wrong.clone(), file("d/zz")],
        ];
        let (output, here) = fetch(&listing(pages), &[]);
        assert_eq!(output.code, 7, "{wrong}: {}", output.stderr);
        assert_one_clear_line(&output, &wrong);
        assert!(output.elapsed < PROMPT, "{wrong}: {:?}", output.elapsed);
        // All of the page before it, and nothing of the page that breaks the rules.
        assert_eq!(here, ["d/", "d/a = of d/a"], "{wrong}");
    }
}

#[test]
fn pages_of_one_entry_and_of_none_are_a_listing() {
    let mut pages = vec![vec![], vec![folder("d/a")], vec![], vec![]];
    let names: Vec<String> = (0..60).map(|number| format!("d/a/{number:02}")).collect();
    pages.extend(names.iter().map(|name| vec![file(name)]));
    pages.extend([
        vec![],
        vec![other("d/b", "dir", json!({"of": "tomorrow"}))],
        vec![],
    ]);
    let (output, here) = fetch(&listing(pages), &[]);
    output.expect_code(0);
    assert_eq!(here.len(), 63);
    assert!(
        names
            .iter()
            .all(|name| here.contains(&format!("{name} = of {name}")))
    );
}

#[test]
fn what_has_become_a_folder_between_two_pages_is_still_the_file_that_was_listed() {
    let pages = vec![
        vec![file("d/a")],
        vec![file("d/a/new"), file("d/a/new/er"), file("d/b")],
    ];
    let (output, here) = fetch(&listing(pages), &[]);
    output.expect_code(0);
    assert_eq!(here, ["d/", "d/a = of d/a", "d/b = of d/b"]);
}

#[test]
fn a_listing_that_goes_round_or_never_comes_to_an_entry_is_given_up() {
    let repeated = HostileServer::start(|request| {
        vec![Act::Send(match request.str("op") {
            "list" => page(&[], Some("again")),
            _ => serve(&[], request),
        })]
    });
    let (output, _) = fetch(&repeated, &[]);
    let output = output.expect_code(7);
    assert!(
        output.stderr.contains("the same next twice"),
        "{}",
        output.stderr
    );
    assert!(repeated.requests().len() <= 4);

    let round = HostileServer::start(|request| {
        vec![Act::Send(match request.str("op") {
            "list" => page(&[], Some(&request.number.to_string())),
            _ => serve(&[], request),
        })]
    });
    let (output, _) = fetch(&round, &["--timeout", "0.3"]);
    assert!(output.expect_code(14).elapsed < PROMPT);
}

#[test]
fn a_listing_without_an_end_ends_when_everything_has_to() {
    let server = HostileServer::start(|request| {
        vec![Act::Send(match request.str("op") {
            "list" => {
                let first: u64 = request.str("after").parse().unwrap_or(0);
                let numbers = first..first + 1_000;
                let lines: Vec<_> = numbers.map(|n| file(&format!("d/{n:012}"))).collect();
                page(&lines, Some(&(first + 1_000).to_string()))
            }
            _ => serve(&[], request),
        })]
    });
    let (output, here) = fetch(&server, &["--max-time", "0.5", "--sync", "never"]);
    let output = output.expect_code(14);
    assert!(output.elapsed < PROMPT, "{:?}", output.elapsed);
    // Each is whole, or is not there.
    for line in &here[1..] {
        let (name, held) = line.split_once(" = ").expect("a file");
        assert_eq!(held.as_bytes(), content(name));
    }
}

#[test]
fn a_million_entries_pass_through_in_bounded_memory() {
    let server = HostileServer::start(|request| {
        vec![Act::Send(match request.str("op") {
            "list" => {
                let number: u64 = request.str("after").parse().unwrap_or(0);
                let numbers = number * 10_000..(number + 1) * 10_000;
                let line = |n| {
                    format!(r#"{{"filename":"d/{n:06}","total_size":0,"md5":"","type":"other"}}"#)
                };
                let next = (number < 99).then(|| (number + 1).to_string());
                page(&numbers.map(line).collect::<Vec<_>>(), next.as_deref())
            }
            _ => serve(&[], request),
        })]
    });
    let (output, here) = fetch(&server, &[]);
    let output = output.expect_code(0);
    assert!(
        output
            .stderr
            .starts_with("ftget: 1000000 entries passed over"),
        "{}",
        output.stderr
    );
    assert_eq!(here, ["d/"]);
}

#[test]
fn sizes_and_digests_that_lie_change_nothing_but_the_order() {
    let lie = |name: &str, size: u64, md5: &str| {
        json!({"filename": name, "total_size": size, "md5": md5, "type": "file"}).to_string()
    };
    let names: Vec<String> = (0..20).map(|number| format!("d/{number:02}")).collect();
    for (size, md5) in [
        (i64::MAX as u64, String::new()),
        (0, String::new()),
        (0, md5_hex("")),
        (i64::MAX as u64, md5_hex("something else")),
    ] {
        let lines = names.iter().map(|name| lie(name, size, &md5)).collect();
        let (output, here) = fetch(&listing(vec![lines]), &[]);
        output.expect_code(0);
        assert_eq!(here.len(), 21);
        assert!(
            names
                .iter()
                .all(|name| here.contains(&format!("{name} = of {name}")))
        );
    }
}

#[test]
fn a_link_of_a_server_never_leads_out_of_what_was_fetched() {
    let targets = [
        "/etc/passwd".to_owned(),
        "..".to_owned(),
        "../..".to_owned(),
        "../x".to_owned(),
        "s/../../../x".to_owned(),
        "./../../x".to_owned(),
        "s//../..//../x".to_owned(),
        String::new(),
    ];
    let mut lines = vec![other("d/inside", "symlink", json!({"target": "../d/a"}))];
    for (number, target) in targets.iter().enumerate() {
        // With its folder this is one below the destination.
        let target = if target == ".." { "../.." } else { target };
        let target = if target == "../x" { "../../x" } else { target };
        let name = format!("d/link{number}");
        lines.push(other(&name, "symlink", json!({"target": target})));
    }
    lines.push(other(
        "d/long",
        "symlink",
        json!({"target": "t/".repeat(3_000)}),
    ));
    lines.push(other("d/nul", "symlink", json!({"target": "a\u{0}b"})));
    lines.push(other("d/without", "symlink", json!({})));
    let here = Scratch::new();
    let output = fetch_into(&here, &listing(vec![lines]), &["--json"]);
    assert_eq!(
        contents(here.path()),
        ["d/", "d/inside -> ../d/a"],
        "{}",
        output.stderr
    );
    let events = output.json_lines();
    let count = |kind: &str| events.iter().filter(|event| event["event"] == kind).count();
    assert_eq!(
        (count("passed_over"), count("error"), count("done")),
        (9, 2, 1)
    );
    assert_eq!(output.code, 3);
}

#[test]
fn an_entry_with_an_error_is_a_failure_and_the_others_are_fetched() {
    let refused = |code: &str| json!({"error": {"code": code, "message": "\u{1b}[31mno"}});
    let lines = vec![
        file("d/a"),
        other("d/b", "dir", refused("forbidden")),
        other("d/c", "file", refused("internal")),
        other("d/e", "other", refused("of_tomorrow")),
        file("d/f"),
    ];
    let (output, here) = fetch(&listing(vec![lines]), &["--json"]);
    let events = output.expect_code(23).json_lines();
    assert_eq!(here, ["d/", "d/a = of d/a", "d/f = of d/f"]);
    let errors = events.iter().filter(|event| event["event"] == "error");
    let errors: Vec<_> = errors
        .map(|event| {
            (
                event["n"].as_u64(),
                event["filename"].as_str(),
                event["code"].as_u64(),
            )
        })
        .collect();
    assert_eq!(
        errors,
        [
            (Some(2), Some("d/b"), Some(6)),
            (Some(3), Some("d/c"), Some(1)),
            (Some(4), Some("d/e"), Some(1)),
        ]
    );
}

#[test]
fn names_that_no_file_may_have_here_fail_alone() {
    let lines = vec![
        file("d/.ft-0123456789abcdef-0123456789abcdef.part"),
        folder("d/.ft-f"),
        file("d/.ft-f/x"),
        folder("d/.ft-f/y"),
        file("d/.ft-f/y/z"),
        file("d/a"),
    ];
    let (output, here) = fetch(&listing(vec![lines]), &["--json"]);
    assert_eq!(here, ["d/", "d/a = of d/a"]);
    let events = output.expect_code(3).json_lines();
    let errors = events.iter().filter(|event| event["event"] == "error");
    let names: Vec<_> = errors
        .filter_map(|event| event["filename"].as_str())
        .collect();
    assert_eq!(
        names,
        [
            "d/.ft-0123456789abcdef-0123456789abcdef.part",
            "d/.ft-f",
            "d/.ft-f/x",
            "d/.ft-f/y",
            "d/.ft-f/y/z",
        ]
    );
}

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
            let error = crate::place::event(&events, "error");
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
    let error = crate::place::event(&events, "error");
    assert_eq!(error["filename"], "d", "{error}");
}

#[test]
fn pages_whose_bytes_are_not_what_they_are_said_to_be_are_not_believed() {
    let lines = [file("d/a")];
    let body = format!("{}\n", lines[0]);
    let size = body.len() as u64;
    for (name, page) in [
        (
            "another digest",
            answer(header("d", size, &md5_hex("x"), ""), body.as_bytes()),
        ),
        (
            "no digest",
            answer(header("d", size, "", ""), body.as_bytes()),
        ),
        (
            "another folder",
            answer(header("e", size, &md5_hex(&body), ""), body.as_bytes()),
        ),
        (
            "no end",
            answer(header("d", 3 << 20, &md5_hex(&body), ""), body.as_bytes()),
        ),
        (
            "a body of another size",
            answer(
                header("d", size, &md5_hex(&body), r#", "body_size": 1"#),
                body.as_bytes(),
            ),
        ),
    ] {
        let server = HostileServer::start(move |request| {
            vec![Act::Send(match request.str("op") {
                "list" => page.clone(),
                _ => serve(&[], request),
            })]
        });
        let (output, here) = fetch(&server, &[]);
        let code = if name == "another digest" { 10 } else { 7 };
        assert_eq!(
            (output.code, here),
            (code, vec!["d/".to_owned()]),
            "{name}: {}",
            output.stderr
        );
    }
}

#[test]
fn an_unlisted_folder_is_what_its_server_says_it_is() {
    for (kind, code) in [("dir", 0), ("other", 0), ("symlink", 0), ("file", 2)] {
        let server = HostileServer::start(move |request| match request.str("op") {
            "stat" => {
                let more = format!(r#", "body_size": 0, "type": "{kind}", "mode": "0777""#);
                vec![Act::Send(answer(header("d", 0, "", &more), b""))]
            }
            "list" if kind == "dir" => vec![Act::Send(page(&[], None))],
            "list" => refuse(request, "not_a_directory"),
            // It was a file when it was looked at.
            _ => refuse(request, "bad_name"),
        });
        let (output, here) = fetch(&server, &[]);
        assert_eq!(output.code, code, "{kind}: {}", output.stderr);
        let wanted: &[&str] = if kind == "dir" { &["d/"] } else { &[] };
        assert_eq!(here, wanted, "{kind}");
    }
}

#[test]
fn a_full_disk_in_the_middle_of_a_tree_is_told_for_each_file_and_the_small_ones_go_on() {
    let big = |name: &str| name.contains("big");
    let body = move |name: &str| {
        if big(name) {
            vec![7; 600_000]
        } else {
            content(name)
        }
    };
    let line = move |name: &str| {
        json!({"filename": name, "total_size": body(name).len(), "md5": "", "type": "file"})
            .to_string()
    };
    let names = ["d/a", "d/big1", "d/big2", "d/big3", "d/z"];
    let server = HostileServer::start(move |request| {
        vec![Act::Send(match request.str("op") {
            "" | "get" => honest_bytes(&body(request.str("filename")), request),
            _ => serve(&[names.map(line).to_vec()], request),
        })]
    });
    let folder = Scratch::new();
    let script = r#"folder=$1; shift
        mount -t tmpfs -o size=1m tmpfs "$folder" || exit 99
        "$@" -d "$folder"; code=$?
        cd "$folder"; find d -type f -name '*' ! -name '.ft-*' | sort
        exit $code"#;
    let output = watch(
        Program::system("unshare", "util-linux")
            .args(["--map-root-user", "--mount", "sh", "-c", script, "sh"])
            .arg(folder.path())
            .args([
                env!("CARGO_BIN_EXE_ftget"),
                "-r",
                "--retry",
                "0",
                &server.source("d"),
            ]),
    );
    if output.code == 99 || output.stderr.starts_with("unshare:") {
        return eprintln!(
            "not tested, no file system may be mounted here: {}",
            output.stderr
        );
    }
    let output = output.expect_code(9);
    let (files, shown) = (output.text(), &output.stderr);
    // One of the large ones fits.
    let big = files.lines().filter(|name| big(name)).count();
    assert_eq!(big, 1, "{files}{shown}");
    assert!(
        files.starts_with("d/a\n") && files.ends_with("d/z\n"),
        "{files}{shown}"
    );
    assert_eq!(shown.matches("no space").count(), 2, "{shown}");
}

#[test]
fn nothing_is_written_where_a_destination_leads_out() {
    let secret = "must stay as it is";
    let outside = Scratch::with_files([("secret", secret), ("in/secret", secret)]);
    let here = Scratch::new();
    here.make_dir("d");
    let link = |to: &str, name: &str| {
        std::os::unix::fs::symlink(outside.join(to), here.join(name)).expect("a link");
    };
    link("in", "d/linked");
    link("secret", "d/file");
    link("missing", "d/dangling");
    fs::hard_link(outside.join("secret"), here.join("d/hard")).expect("a hard link");
    rustix::fs::mkfifoat(rustix::fs::CWD, here.join("d/fifo"), rustix::fs::Mode::RUSR)
        .expect("a FIFO");
    rustix::fs::mkfifoat(rustix::fs::CWD, here.join("d/pipe"), rustix::fs::Mode::RUSR)
        .expect("a FIFO");
    let before = contents(outside.path());
    let lines = vec![
        file("d/dangling"),
        file("d/fifo"),
        file("d/file"),
        file("d/hard"),
        folder("d/linked"),
        file("d/linked/new"),
        file("d/linked/secret"),
        folder("d/pipe"),
        file("d/pipe/in"),
        file("d/z"),
    ];
    let server = listing(vec![lines]);
    let output = fetch_into(&here, &server, &[]).expect_code(3);
    assert_eq!(contents(outside.path()), before);
    assert_eq!(
        contents(here.path()),
        [
            "d/",
            "d/dangling = of d/dangling",
            "d/fifo is special",
            "d/file = of d/file",
            "d/hard = of d/hard",
            &format!("d/linked -> {}", outside.join("in").display()),
            "d/pipe is special",
            "d/z = of d/z",
        ]
    );
    for name in [
        "fifo",
        "linked",
        "linked/new",
        "linked/secret",
        "pipe",
        "pipe/in",
    ] {
        assert_told_once(&output, &server.source(&format!("d/{name}")));
    }
    // The folder itself may not be a link, but for the one that the user names.
    let here = Scratch::new();
    std::os::unix::fs::symlink(outside.join("in"), here.join("d")).expect("a link");
    fetch_into(&here, &listing(vec![vec![file("d/new")]]), &[]).expect_code(3);
    assert_eq!(contents(outside.path()), before);
}

#[test]
fn a_destination_that_may_not_be_written_is_told_once_for_each_file() {
    // Folders of somebody else, for a client that may not go beyond permissions.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let here = Scratch::new();
    let closed = here.make_dir("d/closed");
    std::os::unix::fs::chown(&closed, Some(65_534), Some(65_534)).expect("another owner");
    let lines = vec![
        folder("d/closed"),
        file("d/closed/a"),
        folder("d/closed/s"),
        file("d/closed/s/b"),
        file("d/z"),
    ];
    let server = listing(vec![lines]);
    let client = Program::ftget()
        .args(["-r", "--retry", "0", "-d"])
        .arg(here.path());
    let client = client
        .arg(server.source("d"))
        .through(crate::files::unprivileged_reader());
    let output = watch(client).expect_code(3);
    assert_eq!(contents(here.path()), ["d/", "d/closed/", "d/z = of d/z"]);
    for name in ["closed/a", "closed/s", "closed/s/b"] {
        assert_told_once(&output, &server.source(&format!("d/{name}")));
    }
}

#[track_caller]
fn assert_told_once(output: &Output, source: &str) {
    let line = format!("ftget: {source}: ");
    let told = output.stderr.lines().filter(|told| told.starts_with(&line));
    assert_eq!(told.count(), 1, "{source}: {}", output.stderr);
}

/// What takes no time, with a process to start on a busy machine.
const PROMPT: Duration = Duration::from_secs(5);

//! Trees of servers that list what they must not, or give what they did not list.

use serde_json::{Value, json};

use super::answers::{answer, header, honest_bytes};
use super::server::{Act, HostileServer, Request};
use super::visit::{PROMPT, assert_one_clear_line, visit};
use crate::harness::{Output, Scratch, md5_hex};
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

pub(super) fn folder(name: &str) -> String {
    other(name, "dir", json!({}))
}

/// A page with these lines; what comes behind it is `next`.
pub(super) fn page(lines: &[String], next: Option<&str>) -> Vec<u8> {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let end = match next {
        Some(next) => format!(r#", "next": {}, "recursive": true"#, Value::from(next)),
        None => LAST.to_owned(),
    };
    let size = body.len() as u64;
    answer(header("d", size, &md5_hex(&body), &end), body.as_bytes())
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

pub(super) fn listing(pages: Vec<Vec<String>>) -> HostileServer {
    HostileServer::start(move |request| vec![Act::Send(serve(&pages, request))])
}

pub(super) fn refuse(request: &Request, code: &str) -> Vec<Act> {
    let more = format!(r#", "error": {{"code": "{code}", "message": "no"}}"#);
    vec![Act::Send(answer(
        header(request.str("filename"), 0, "", &more),
        b"",
    ))]
}

/// Fetches `d` into a folder of its own, and says what is there afterwards.
pub(super) fn fetch(server: &HostileServer, args: &[&str]) -> (Output, Vec<String>) {
    let here = Scratch::new();
    let output = fetch_into(&here, server, args);
    (output, contents(here.path()))
}

pub(super) fn fetch_into(here: &Scratch, server: &HostileServer, args: &[&str]) -> Output {
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
            .starts_with("ftget: note: 1000000 entries left out"),
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
fn pages_whose_bytes_are_not_what_they_are_said_to_be_are_not_believed() {
    let lines = [file("d/a")];
    let body = format!("{}\n", lines[0]);
    let size = body.len() as u64;
    for (name, page) in [
        (
            "another digest",
            answer(header("d", size, &md5_hex("x"), LAST), body.as_bytes()),
        ),
        (
            "no digest",
            answer(header("d", size, "", LAST), body.as_bytes()),
        ),
        (
            "another folder",
            answer(header("e", size, &md5_hex(&body), LAST), body.as_bytes()),
        ),
        (
            "no end",
            answer(header("d", 3 << 20, &md5_hex(&body), LAST), body.as_bytes()),
        ),
        (
            "a body of another size",
            answer(
                header(
                    "d",
                    size,
                    &md5_hex(&body),
                    &format!(r#"{LAST}, "body_size": 1"#),
                ),
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
    for (kind, code) in [("dir", 0), ("other", 2), ("symlink", 0), ("file", 2)] {
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

/// What the header of a last page has more.
const LAST: &str = r#", "last": true, "recursive": true"#;

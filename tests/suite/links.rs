//! Symbolic links of mirrored trees: none leads out of the copy, through whatever other links,
//! and those of ordinary trees are all there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cases::NamedCase;
use crate::harness::{Output, Scratch, TestServer};
use crate::hostile::answers::{answer, header};
use crate::hostile::server::{Act, HostileServer};
use crate::place::{Place, event};

/// Makes links, with the directories above them.
fn link_all(root: &Path, links: &[(&str, &str)]) {
    for (name, target) in links {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("its directory");
        symlink(target, path).expect("a link");
    }
}

/// All links below a directory, by their paths, with their targets.
fn links_below(root: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_symlink() {
                let name = path
                    .strip_prefix(root)
                    .expect("below")
                    .display()
                    .to_string();
                found.push((name, fs::read_link(path).expect("a target")));
            } else if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The kernel follows no link of the copy out of it.
#[track_caller]
fn assert_none_leads_out(copy: &Path) {
    let copy = copy.canonicalize().expect("a copy");
    for (name, target) in links_below(&copy) {
        if let Ok(found) = copy.join(&name).canonicalize() {
            let target = target.display();
            assert!(
                found.starts_with(&copy),
                "{name} -> {target}: {}",
                found.display()
            );
        }
    }
}

fn names(links: &[(String, PathBuf)]) -> Vec<&str> {
    links.iter().map(|(name, _)| &**name).collect()
}

fn mirror(place: &Place, args: &[&str]) -> Output {
    let fetch = place.ftget().args(["-r", "--json", "-d", "in/copy"]);
    fetch.args(args).arg(place.server.source("")).run()
}

/// Links that lead out, each with what it leads through.
const CHAINS: [&[(&str, &str)]; 8] = [
    &[("a/up", ".."), ("z", "a/up/../outside")],
    &[("up", "a/b/.."), ("z", "up/../../outside")],
    &[("a/b/top", "../.."), ("z", "a/b/top/../outside/f")],
    &[("x", "a/../../outside")],
    &[("x", "a/b/../../../outside/f")],
    &[("a/x", "b/../../../outside")],
    &[("x", "./a//..///../outside")],
    &[("a/self", "."), ("z", "a/self/self/../../outside")],
];

#[test]
fn no_chain_of_links_leads_out_of_a_copy() {
    for chain in CHAINS {
        let _case = NamedCase(format!("{chain:?}"));
        let place = Place::with([("f", "x"), ("a/b/f", "y")]);
        link_all(place.root.path(), chain);
        place.here.write("in/outside/f", "secret");
        for round in 1..=2 {
            mirror(&place, &["--delete"]).expect_code(0);
            assert_none_leads_out(&place.here.join("in/copy"));
            let copied = links_below(&place.here.join("in/copy"));
            assert!(copied.len() < chain.len(), "round {round}: {copied:?}");
        }
        let check = mirror(&place, &["--check"]).expect_code(0);
        let summary = check.json_lines();
        let passed = event(&summary, "summary");
        assert!(
            passed["different"] == 0 || passed["different"].is_null(),
            "{passed}"
        );
    }
}

#[test]
fn links_of_ordinary_trees_come_as_they_are() {
    let links = [
        ("node_modules/.bin/x", "../pkg/cli.js"),
        ("node_modules/@scope/tool/node_modules/pkg", "../../../pkg"),
        ("lib/lib.so", "lib.so.1"),
        ("lib/lib.so.1", "lib.so.1.2.3"),
        ("lib64", "lib"),
        ("current", "releases/5"),
        ("releases/latest", "5"),
        ("releases/5/shared", "../../shared"),
        ("releases/5/log", "../../shared/log/"),
        ("self", "."),
        ("releases/up", ".."),
        ("releases/4/here", "./."),
        ("dangling", "to/nothing"),
        ("loop", "loop"),
        ("ping", "pong"),
        ("pong", "ping"),
        ("odd", "-rf\n..a"),
        ("through", "current/shared/log"),
        ("slashes", "lib//lib.so"),
    ];
    let place = Place::with([
        ("node_modules/pkg/cli.js", "1"),
        ("lib/lib.so.1.2.3", "2"),
        ("releases/5/app", "3"),
        ("shared/log/x", "4"),
    ]);
    link_all(place.root.path(), &links);
    let hidden = TestServer::start(place.root.path(), ["--hidden", "show"]);
    let source = hidden.source("");
    let fetch = || {
        place
            .ftget()
            .args(["-r", "--json", "-d", "in/copy", "--delete"])
            .arg(&source)
    };
    let events = fetch().run().expect_code(0).json_lines();
    assert_eq!(
        links_below(&place.here.join("in/copy")),
        links_below(place.root.path())
    );
    assert!(
        !events.iter().any(|event| event["event"] == "passed_over"),
        "{events:?}"
    );
    let check = place.ftget().args(["-r", "--check", "-d", "in/copy"]);
    check.arg(&source).run().expect_code(0);
}

#[test]
fn no_link_is_made_that_leads_out_through_one_that_is_here() {
    let links = [
        ("z", "mine/secret"),
        ("deep/z", "../mine"),
        ("far", "deep/z/secret"),
        ("fine", "f"),
        ("later", "new/f"),
    ];
    for target in ["../outside", "/etc", "f/../../outside", "in/../.."] {
        let _case = NamedCase(target.to_owned());
        let place = Place::with([("f", "x"), ("new/f", "y")]);
        link_all(place.root.path(), &links);
        place.here.write("in/outside/secret", "secret");
        link_all(&place.here.join("in/copy"), &[("mine", target)]);
        let looked = mirror(&place, &["-n"]).expect_code(0).json_lines();
        let passed = |events: &[Value]| {
            let passed = events
                .iter()
                .filter(|event| event["event"] == "passed_over");
            passed
                .map(|event| event["filename"].to_string())
                .collect::<Vec<_>>()
        };
        let out = [r#""deep/z""#, r#""z""#];
        assert_eq!(passed(&looked), out, "{looked:?}");
        let fetched = mirror(&place, &[]).expect_code(0).json_lines();
        let mut told = passed(&fetched);
        told.sort();
        assert_eq!(told, out, "{fetched:?}");
        let copied = links_below(&place.here.join("in/copy"));
        // What leads through a link that was not made leads nowhere.
        assert_eq!(names(&copied), ["far", "fine", "later", "mine"]);
        let check = mirror(&place, &["--check"]).expect_code(1).json_lines();
        assert_eq!(passed(&check), out, "{check:?}");
        assert_eq!(
            event(&check, "summary")["differs"],
            1,
            "the link of the user"
        );
    }
}

#[test]
fn links_that_a_server_invents_lead_nowhere_but_into_the_copy() {
    let wrong = [
        "",
        "/",
        "/etc/passwd",
        "..",
        "../x",
        "../../outside",
        "a/..",
        "a/../b",
        "a/up/../x",
        "./../x",
        "a/./.././../x",
        ".ft-0123456789abcdef-0.part",
        "a/.ft-x",
        "//x",
    ];
    let right = ["f", "a/b", "a/up/f", ".", "./f", "a//b/", "..a"];
    for (target, is_made) in wrong
        .map(|target| (target, false))
        .into_iter()
        .chain(right.map(|target| (target, true)))
    {
        let _case = NamedCase(format!("{target:?}"));
        let line = |name: &str, kind: &str, target: Option<&str>| {
            let mut line = json!({"filename": name, "total_size": 0, "md5": "", "type": kind});
            if let Some(target) = target {
                line["target"] = target.into();
            }
            format!("{line}\n")
        };
        // In the order of listings, so that what it leads through comes before it, or after it.
        let body = [
            line("a", "dir", None),
            line("a/up", "symlink", Some("..")),
            line("b", "symlink", Some(target)),
            line("z", "symlink", Some(target)),
        ]
        .concat();
        let server = HostileServer::start(move |_| {
            let md5 = crate::harness::md5_hex(&body);
            let text = header(
                "",
                body.len() as u64,
                &md5,
                r#", "last": true, "recursive": true"#,
            );
            vec![Act::Send(answer(text, body.as_bytes()))]
        });
        let here = Scratch::new();
        here.write("outside", "secret");
        let fetch = crate::harness::Program::ftget().args(["-r", "--retry", "0", "-d"]);
        let copy = here.join("copy");
        let fetch = fetch.arg(&copy).arg(server.source(""));
        fetch.run().expect_code(0);
        assert_none_leads_out(&copy);
        let wanted: &[&str] = if is_made {
            &["a/up", "b", "z"]
        } else {
            &["a/up"]
        };
        assert_eq!(names(&links_below(&copy)), wanted);
    }
}

#[test]
fn a_listed_link_shows_no_hidden_name_and_climbs_no_further_than_the_root() {
    let place = Place::with([("f", "x"), (".git/config", "secret"), ("a/b/f", "y")]);
    link_all(
        place.root.path(),
        &[
            ("direct", ".git/config"),
            ("a/direct", "../.git"),
            ("a/through", "../direct"),
            ("further", "a/direct/config"),
            ("partial", ".ft-0-1.part"),
            ("fine", "a/b"),
            ("a/b/up", "../../f"),
            ("l", "."),
            ("a/down", "b"),
        ],
    );
    place.root.write("i.damaged-1700000000", "of an index");
    link_all(place.root.path(), &[("aside", "i.damaged-1700000000")]);
    let shown = TestServer::start(place.root.path(), ["--hidden", "show"]);
    let with_target = |server: &TestServer, folder: &str| {
        let list = place.ftget().args(["-r", "--list=json"]);
        let listed = list.arg(server.source(folder)).run().expect_code(0);
        let entries = listed.json_lines();
        let targets = entries.iter().filter(|entry| entry.get("target").is_some());
        let name = |entry: &Value| entry["filename"].as_str().expect("a name").to_owned();
        targets.map(name).collect::<Vec<_>>()
    };
    let fine = ["a/b/up", "a/down", "fine", "l"];
    assert_eq!(with_target(&place.server, ""), fine);
    let all = [
        "a/b/up",
        "a/direct",
        "a/down",
        "a/through",
        "direct",
        "fine",
        "further",
        "l",
    ];
    assert_eq!(with_target(&shown, ""), all);
    // Reached through links, a directory is less deep than its path is long.
    for (folder, names) in [
        (
            "l/l/",
            &["l/l/a/b/up", "l/l/a/down", "l/l/fine", "l/l/l"][..],
        ),
        ("l/l/l/l/a/", &["l/l/l/l/a/down"]),
        ("a/down/", &[]),
        ("a/b/", &["a/b/up"]),
    ] {
        assert_eq!(with_target(&place.server, folder), names, "{folder}");
    }
}

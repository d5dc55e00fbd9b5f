//! `--delete`: what the server does not have goes, and nothing else does.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::harness::{Output, Proxy, TestServer, md5_hex};
use crate::hostile::answers::{answer, header};
use crate::hostile::server::{Act, HostileServer, Request};
use crate::place::{Place, event};

/// Everything below a folder: folders with a slash, links with an arrow, files with their text.
pub(crate) fn tree(folder: &Path) -> BTreeMap<String, String> {
    fn walk(at: &Path, name: &str, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(at).expect("a folder") {
            let entry = entry.expect("an entry");
            let name = format!("{name}{}", entry.file_name().to_str().expect("UTF-8"));
            let kind = entry.file_type().expect("a kind");
            if kind.is_symlink() {
                let target = fs::read_link(entry.path()).expect("a link");
                found.insert(name, format!("-> {}", target.display()));
            } else if kind.is_dir() {
                found.insert(format!("{name}/"), String::new());
                walk(&entry.path(), &format!("{name}/"), found);
            } else {
                let text = fs::read_to_string(entry.path()).expect("text");
                found.insert(name, text);
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, "", &mut found);
    found
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    tree(folder).into_keys().collect()
}

pub(crate) fn mirror(place: &Place, args: &[&str]) -> Output {
    let mirror = place.ftget().args(["--json", "-r", "--delete", "-d", "d"]);
    mirror.args(args).arg(place.server.source("")).run()
}

/// The names that were told to be deleted, in their order.
pub(crate) fn deleted(events: &[Value]) -> Vec<&str> {
    let deleted = events.iter().filter(|event| event["event"] == "deleted");
    deleted
        .map(|event| event["filename"].as_str().expect("a name"))
        .collect()
}

pub(crate) const SERVED: [(&str, &str); 3] = [("a", "1"), ("sub/b", "22"), ("sub/deep/c", "333")];

#[test]
fn what_the_server_does_not_have_goes_contents_first_and_folders_keep_their_time() {
    let place = Place::with(SERVED);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let sub = fs::File::open(place.root.join("sub")).expect("a folder");
    sub.set_modified(time).expect("its time is set");
    for name in ["d/x", "d/old/y", "d/old/deep/z", "d/sub/w", "d/sub/deep/v"] {
        place.here.write(name, name);
    }
    place
        .here
        .write("d/old/.ft-0123456789abcdef-x.part", "left");
    let locked = place.here.join("d/old/deep");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o500)).expect("locked");
    let output = mirror(&place, &[]).expect_code(0);
    let events = output.json_lines();
    let expected = [
        "old/deep/z",
        "old/deep",
        "old/y",
        "old",
        "sub/deep/v",
        "sub/w",
        "x",
    ];
    let mut told = deleted(&events);
    let at = |name: &str| told.iter().position(|told| *told == name).expect("told");
    assert!(at("old/deep/z") < at("old/deep") && at("old/deep") < at("old"));
    told.sort_unstable();
    let mut sorted = expected;
    sorted.sort_unstable();
    assert_eq!(told, sorted);
    assert_eq!(event(&events, "summary")["deleted"], expected.len());
    assert_eq!(tree(&place.here.join("d")), tree(place.root.path()));
    let modified = fs::metadata(place.here.join("d/sub")).and_then(|facts| facts.modified());
    assert_eq!(modified.expect("a time"), time);
}

#[test]
fn without_the_option_and_in_a_dry_run_everything_stays() {
    let place = Place::with(SERVED);
    place.here.write("d/x/y", "mine");
    let fetch = place.ftget().args(["-r", "-d", "d"]);
    fetch.arg(place.server.source("")).run().expect_code(0);
    let before = tree(&place.here.join("d"));
    let dry = place.ftget().args(["-n", "-r", "--delete", "-d", "d"]);
    let dry = dry.arg(place.server.source("")).run().expect_code(0);
    assert!(
        dry.text()
            .ends_with("d/x/y: would be deleted\nd/x: would be deleted\n")
    );
    let events = mirror(&place, &["-n"]).expect_code(0).json_lines();
    let told = events.iter().rfind(|event| event["event"] == "would");
    let told = told.expect("an event");
    assert_eq!(
        (&told["action"], &told["filename"]),
        (&"deleted".into(), &"x".into())
    );
    assert_eq!(event(&events, "summary")["deleted"], 2);
    assert_eq!(tree(&place.here.join("d")), before);
    assert!(before.contains_key("x/y"));
}

#[test]
fn what_is_excluded_stays_with_the_folders_it_is_in() {
    let place = Place::with(SERVED);
    for name in [
        "d/old/keep.log",
        "d/old/gone",
        "d/gone.too",
        "d/logs/x",
        "d/sub/my.log",
    ] {
        place.here.write(name, name);
    }
    mirror(&place, &["--exclude", "*.log", "--exclude", "/logs"]).expect_code(0);
    let left = [
        "a",
        "logs/",
        "logs/x",
        "old/",
        "old/keep.log",
        "sub/",
        "sub/b",
        "sub/deep/",
        "sub/deep/c",
        "sub/my.log",
    ];
    assert_eq!(names(&place.here.join("d")), left);
}

#[test]
fn links_that_are_planted_go_and_nothing_behind_them_does() {
    let place = Place::with(SERVED);
    place.here.write("outside/precious", "mine");
    place.here.write("outside/sub/b", "mine");
    place.here.make_dir("d/old");
    for link in ["d/out", "d/old/out"] {
        symlink(place.here.join("outside"), place.here.join(link)).expect("a link");
    }
    symlink("../outside/precious", place.here.join("d/file")).expect("a link");
    let outside = tree(&place.here.join("outside"));
    mirror(&place, &[]).expect_code(0);
    assert_eq!(tree(&place.here.join("d")), tree(place.root.path()));
    assert_eq!(tree(&place.here.join("outside")), outside);
    // In the place of a folder of the tree one gives way itself, and nothing is done through it.
    fs::remove_dir_all(place.here.join("d/sub")).expect("removed");
    symlink("../outside", place.here.join("d/sub")).expect("a link");
    place.here.write("d/extra", "x");
    let fetch = place.ftget().args(["-r", "-d", "d"]);
    fetch.arg(place.server.source("")).run().expect_code(3);
    assert_eq!(tree(&place.here.join("d"))["sub"], "-> ../outside");
    mirror(&place, &[]).expect_code(0);
    assert_eq!(tree(&place.here.join("outside")), outside);
    assert_eq!(tree(&place.here.join("d")), tree(place.root.path()));
}

#[test]
fn the_limit_ends_it_with_its_own_code_and_so_many_things_gone() {
    for (max, left) in [(0, 5), (1, 4), (3, 2), (4, 1), (5, 0), (6, 0)] {
        let place = Place::with(SERVED);
        for name in ["d/o/1", "d/o/2", "d/o/3", "d/p"] {
            place.here.write(name, "x");
        }
        let code = if left == 0 { 0 } else { 25 };
        let output = mirror(&place, &["--max-delete", &max.to_string()]).expect_code(code);
        let is_left = |name: &&String| name.starts_with(['o', 'p']);
        let found = names(&place.here.join("d"));
        assert_eq!(found.iter().filter(is_left).count(), left, "{max}");
        let gone = event(&output.json_lines(), "summary")["deleted"].clone();
        assert_eq!(gone, 5 - left, "{max}");
        let told = output.stderr.contains("--max-delete is reached");
        assert_eq!(told, left > 0, "{}", output.stderr);
    }
}

#[test]
fn names_with_a_dot_stay_where_the_server_hides_some() {
    let place = Place::with([("a", "1"), (".hidden", "2")]);
    for name in ["d/.mine", "d/old/.mine", "d/old/gone", "d/.git/x", "d/gone"] {
        place.here.write(name, "x");
    }
    let output = mirror(&place, &[]).expect_code(0);
    let left = [".git/", ".git/x", ".mine", "a", "old/", "old/.mine"];
    assert_eq!(names(&place.here.join("d")), left);
    assert!(output.stderr.contains("3 dotfiles"), "{}", output.stderr);
}

#[test]
fn dotfiles_stay_where_the_server_hides_its_own_and_has_none() {
    let place = Place::with([("a", "1")]);
    for name in ["d/.env", "d/.git/HEAD", "d/gone"] {
        place.here.write(name, "x");
    }
    mirror(&place, &[]).expect_code(0);
    let kept = [".env", ".git/", ".git/HEAD", "a"];
    assert_eq!(names(&place.here.join("d")), kept);
    let shows_all = TestServer::start(place.root.path(), ["--hidden", "show"]);
    let mirror = place.ftget().args(["-r", "--delete", "-d", "d"]);
    mirror.arg(shows_all.source("")).run().expect_code(0);
    assert_eq!(names(&place.here.join("d")), ["a"]);
}

#[test]
fn partial_files_of_what_the_server_does_not_have_go_unless_somebody_works_on_them() {
    let place = Place::with(SERVED);
    let partial = |folder: &str, name: &str| {
        let content = md5_hex("some content");
        format!("{folder}/.ft-{}-{content}.part", &md5_hex(name)[..16])
    };
    let gone = [
        partial("d", "gone"),
        partial("d/sub/deep", "gone"),
        partial("d", "sub"),
    ];
    let held = partial("d/sub", "gone-too");
    // One that was left out may be asked for again.
    let of_use = partial("d/sub", "b");
    for name in gone.iter().chain([&held, &of_use]) {
        place.here.write(name, "some");
    }
    let holder = fs::File::open(place.here.join(&held)).expect("a partial file");
    holder.lock().expect("a lock");
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let deep = fs::File::open(place.root.join("sub/deep")).expect("a folder");
    deep.set_modified(time).expect("its time is set");
    let args = ["--exclude", "/sub/b"];
    let mut named: Vec<&str> = gone.iter().map(|name| &name[2..]).collect();
    named.sort_unstable();
    let dry = mirror(&place, &[&args[..], &["-n"]].concat()).expect_code(0);
    let dry = dry.json_lines();
    let would = dry.iter().filter(|event| event["action"] == "deleted");
    let mut would: Vec<&str> = would
        .map(|event| event["filename"].as_str().expect("a name"))
        .collect();
    would.sort_unstable();
    assert_eq!(would, named);
    assert!(gone.iter().all(|name| place.here.join(name).exists()));
    let limit = mirror(&place, &[&args[..], &["--max-delete", "0"]].concat());
    limit.expect_code(25);
    assert!(gone.iter().all(|name| place.here.join(name).exists()));
    let told = mirror(&place, &args).expect_code(0).json_lines();
    let mut gone_now = deleted(&told);
    gone_now.sort_unstable();
    assert_eq!(gone_now, named);
    let mut left = tree(&place.here.join("d"));
    for name in [held, of_use] {
        let name = name.strip_prefix("d/").expect("a path below");
        assert_eq!(left.remove(name).as_deref(), Some("some"));
    }
    let mut there = tree(place.root.path());
    there.remove("sub/b");
    assert_eq!(left, there);
    let modified = fs::metadata(place.here.join("d/sub/deep")).and_then(|facts| facts.modified());
    assert_eq!(modified.expect("a time"), time);
    // So does one in an empty mirror of an empty folder.
    place.root.make_dir("none");
    place.here.write(partial("e", "gone"), "some");
    let empty = place.ftget().args(["-r", "--delete", "-d", "e"]);
    empty.arg(place.server.source("none/")).run().expect_code(0);
    assert_eq!(names(&place.here.join("e")), [""; 0]);
}

/// A page of the root with these lines; `end` says what comes behind it.
pub(crate) fn page(lines: &[String], end: &str) -> Vec<u8> {
    let body = lines.concat();
    let more = format!(r#", {end}, "recursive": true"#);
    let text = header("", body.len() as u64, &md5_hex(&body), &more);
    answer(text, body.as_bytes())
}

pub(crate) fn line(name: &str, more: &str) -> String {
    format!("{{\"filename\":\"{name}\",\"total_size\":0,\"md5\":\"\",\"type\":\"file\"{more}}}\n")
}

pub(crate) fn refused(request: &Request, code: &str) -> Vec<u8> {
    let more = format!(r#", "error": {{"code": "{code}", "message": "no"}}"#);
    answer(header(request.str("filename"), 0, "", &more), b"")
}

/// Runs a mirror of what a scripted server lists, over a folder with `mine` and `s/mine` in it.
/// Returns the exit code and what is left, and what was asked besides the listing.
fn mirror_of(
    list: impl Fn(&Request) -> Vec<Act> + Send + Sync + 'static,
    stat: impl Fn(&Request) -> Vec<Act> + Send + Sync + 'static,
) -> (i32, Vec<String>, Vec<String>) {
    mirror_with(&[], list, stat)
}

fn mirror_with(
    args: &[&str],
    list: impl Fn(&Request) -> Vec<Act> + Send + Sync + 'static,
    stat: impl Fn(&Request) -> Vec<Act> + Send + Sync + 'static,
) -> (i32, Vec<String>, Vec<String>) {
    let server = HostileServer::start(move |request| match request.str("op") {
        "list" => list(request),
        "stat" => stat(request),
        _ => vec![Act::Send(refused(request, "forbidden"))],
    });
    let place = Place::with(SERVED);
    for name in ["d/mine", "d/s/mine"] {
        place.here.write(name, "x");
    }
    let mirror = place
        .ftget()
        .args(["-r", "--delete", "--retry", "0", "-d", "d"]);
    let mirror = mirror.args(args).arg(server.source("")).run();
    let asked = server.requests().into_iter();
    let asked = asked.filter(|request| request.str("op") == "stat");
    let asked = asked.map(|request| request.str("filename").to_owned());
    (mirror.code, names(&place.here.join("d")), asked.collect())
}

/// A directory that the server cannot list.
fn unlisted(name: &str) -> String {
    let error = r#","error":{"code":"forbidden","message":""}"#;
    line(name, error).replace("\"file\"", "\"dir\"")
}

#[test]
fn an_excluded_directory_that_cannot_be_listed_keeps_nothing_around_it() {
    for exclude in ["closed/", "closed"] {
        let list = |_: &Request| vec![Act::Send(page(&[unlisted("closed")], LAST))];
        let args = ["--exclude", exclude, "--max-delete", "all"];
        let (code, left, asked) = mirror_with(&args, list, not_found);
        assert_eq!((code, left), (0, vec![]), "{exclude}");
        assert_eq!(asked, ["mine", "s"], "{exclude}");
    }
    // Nor does it keep what is in the way of a link.
    let link = line("s", r#","target":"x""#).replace("\"file\"", "\"symlink\"");
    let lines = [unlisted("closed"), link];
    let list = move |_: &Request| vec![Act::Send(page(&lines, LAST))];
    let args = ["--exclude", "closed/"];
    let (code, left, _) = mirror_with(&args, list, not_found);
    assert_eq!((code, left), (0, owned(&["s"])));
    // Who knows what is in it?
    let list = |_: &Request| vec![Act::Send(page(&[unlisted("s")], LAST))];
    let args = ["--include", "mine", "--max-delete", "all"];
    let (code, left, asked) = mirror_with(&args, list, not_found);
    assert_eq!((code, left), (6, owned(&["s/", "s/mine"])));
    assert_eq!(asked, ["mine"]);
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn not_found(request: &Request) -> Vec<Act> {
    vec![Act::Send(refused(request, "not_found"))]
}

pub(crate) const LAST: &str = r#""last": true"#;
const UNTOUCHED: [&str; 3] = ["mine", "s/", "s/mine"];

#[test]
fn an_empty_listing_that_came_to_its_end_empties_nothing_though_each_name_is_missing_there() {
    let (code, left, asked) = mirror_of(|_| vec![Act::Send(page(&[], LAST))], not_found);
    assert_eq!((code, &*left), (25, &owned(&UNTOUCHED)[..]));
    assert_eq!(asked, ["mine", "s"]);
}

#[test]
fn a_listing_that_breaks_off_deletes_nothing() {
    let first = || Act::Send(page(&[], r#""next": "1""#));
    let whole = page(
        &[line("z", r#","error":{"code":"forbidden","message":""}"#)],
        LAST,
    );
    let half = whole[..whole.len() / 2].to_vec();
    let after = |request: &Request| request.str("after") == "1";
    type List = Box<dyn Fn(&Request) -> Vec<Act> + Send + Sync>;
    let broken: [(i32, List); 5] = [
        (
            4,
            Box::new(move |request| {
                if after(request) {
                    vec![Act::Close]
                } else {
                    vec![first()]
                }
            }),
        ),
        (
            4,
            Box::new(move |request| {
                if after(request) {
                    vec![Act::Reset]
                } else {
                    vec![first()]
                }
            }),
        ),
        (
            4,
            Box::new(move |_| vec![Act::Send(half.clone()), Act::Close]),
        ),
        // The same page for ever.
        (7, Box::new(move |_| vec![first()])),
        (11, Box::new(not_found)),
    ];
    for (number, (expected, list)) in broken.into_iter().enumerate() {
        let (code, left, asked) = mirror_of(list, not_found);
        assert_eq!(
            (code, &*left),
            (expected, &owned(&UNTOUCHED)[..]),
            "{number}"
        );
        assert_eq!(asked, [""; 0], "{number}");
    }
}

#[test]
fn what_could_not_be_listed_keeps_what_is_in_the_folders_around_it_and_nowhere_else() {
    let folder = |name: &str, more: &str| line(name, more).replace("\"file\"", "\"dir\"");
    let unlisted = r#","error":{"code":"forbidden","message":""}"#;
    for (lines, kept, asked_for) in [
        (vec![line("z", unlisted)], &UNTOUCHED[..], &[""; 0][..]),
        (vec![folder("s", unlisted)], &UNTOUCHED, &[]),
        (
            vec![folder("s", ""), folder("s/t", unlisted)],
            &["mine", "s/", "s/mine"],
            &[],
        ),
        (
            vec![folder("s", ""), folder("z", ""), line("z/q", unlisted)],
            &["mine", "s/", "z/"],
            &["s/mine"],
        ),
    ] {
        let list = move |_: &Request| vec![Act::Send(page(&lines, LAST))];
        let (code, left, asked) = mirror_of(list, not_found);
        assert_eq!((code, left, asked), (6, owned(kept), owned(asked_for)));
    }
}

#[test]
fn what_the_server_has_after_all_or_will_not_speak_of_stays() {
    let empty = |_: &Request| vec![Act::Send(page(&[], LAST))];
    let there = |request: &Request| {
        let more = r#", "body_size": 0, "type": "file""#;
        vec![Act::Send(answer(
            header(request.str("filename"), 1, "", more),
            b"",
        ))]
    };
    assert_eq!(mirror_of(empty, there).0, 0);
    assert_eq!(mirror_of(empty, there).1, UNTOUCHED);
    for (code, expected) in [("forbidden", 6), ("unsupported", 7), ("of_tomorrow", 1)] {
        let stat = move |request: &Request| vec![Act::Send(refused(request, code))];
        let (found, left, _) = mirror_of(empty, stat);
        assert_eq!(
            (found, &*left),
            (expected, &owned(&UNTOUCHED)[..]),
            "{code}"
        );
    }
    let (code, left, _) = mirror_of(empty, |_| vec![Act::Close]);
    assert_eq!((code, &*left), (4, &owned(&UNTOUCHED)[..]));
    // One answer is about another name.
    let lie = |_: &Request| {
        let more = r#", "error": {"code": "not_found", "message": ""}"#;
        vec![Act::Send(answer(header("other", 0, "", more), b""))]
    };
    let (code, left, _) = mirror_of(empty, lie);
    assert_eq!((code, &*left), (7, &owned(&UNTOUCHED)[..]));
}

#[test]
fn where_it_is_not_clear_what_would_go_nothing_begins() {
    let place = Place::with(SERVED);
    let source = |name: &str| place.server.source(name).into_string().expect("UTF-8");
    let (root, sub, file, pattern) = (source(""), source("sub"), source("a"), source("*"));
    for (args, word) in [
        (&["--delete", &*sub, "-d", "d"][..], "--recursive"),
        (&["--delete", "-r", &root], "--dir"),
        (&["--delete", "-r", "-d", "d", &root, &sub], "share"),
        (&["--delete", "-r", "-d", "d", &sub, &sub], "share"),
        (&["--delete", "-r", "-d", "d", &pattern], "pattern"),
        (&["--max-delete", "3", "-r", "-d", "d", &root], "--delete"),
        (&["--delete", "-r", "-o", "-", &file], "--delete"),
    ] {
        let refused = place.ftget().args(args).run().expect_code(2);
        assert!(
            refused.stderr.contains(word),
            "{args:?}: {}",
            refused.stderr
        );
    }
    place.assert_only(&[]);
    // A file that is asked for like a folder is nobody's mirror; another tree is not touched.
    place.here.write("d/mine", "x");
    let one = place
        .ftget()
        .args(["--delete", "-r", "-d", "d", &file, &sub]);
    one.run().expect_code(0);
    let left = ["a", "mine", "sub/", "sub/b", "sub/deep/", "sub/deep/c"];
    assert_eq!(names(&place.here.join("d")), left);
}

#[test]
fn a_server_that_is_gone_costs_nothing_that_is_here() {
    let place = Place::with(SERVED);
    mirror(&place, &[]).expect_code(0);
    place.here.write("d/mine", "x");
    let before = tree(&place.here.join("d"));
    let mut server = TestServer::plain(place.root.path());
    let source = server.source("");
    server.kill();
    let gone = place.ftget().args(["-r", "--delete", "-d", "d"]);
    gone.arg(source).run().expect_code(4);
    assert_eq!(tree(&place.here.join("d")), before);
}

#[test]
fn what_was_listed_when_it_was_fetched_stays_though_another_server_knows_nothing_of_it() {
    let lists = AtomicUsize::new(0);
    let server = HostileServer::start(move |request| {
        let name = request.str("filename");
        match request.str("op") {
            "list" if lists.fetch_add(1, Ordering::SeqCst) == 0 => {
                vec![Act::Send(page(&[line("a", "")], LAST))]
            }
            "list" => vec![Act::Send(page(&[], LAST))],
            "stat" => not_found(request),
            _ => vec![Act::Send(answer(header(name, 0, &md5_hex(""), ""), b""))],
        }
    });
    let place = Place::with(SERVED);
    place.here.write("d/mine", "x");
    let mirror = place.ftget().args(["-r", "--delete", "-d", "d"]);
    mirror.arg(server.source("")).run().expect_code(0);
    assert_eq!(names(&place.here.join("d")), ["a"]);
}

#[test]
fn where_a_file_could_not_be_fetched_nothing_is_deleted_and_that_is_said() {
    let list = |_: &Request| vec![Act::Send(page(&[line("z", "")], LAST))];
    let (code, left, asked) = mirror_of(list, not_found);
    assert_eq!((code, left, asked), (6, owned(&UNTOUCHED), owned(&[])));
    let place = Place::with([("a/b", "")]);
    place.here.write("d/a/b/c", "1");
    place.here.write("d/mine", "x");
    for dry in [
        &["--if-exists", "error"][..],
        &["--if-exists", "error", "-n"],
    ] {
        let output = mirror(&place, dry);
        assert_eq!((output.code, deleted(&output.json_lines()).len()), (12, 0));
        let said = "nothing is deleted, since 1 could not be downloaded";
        assert!(output.stderr.contains(said), "{}", output.stderr);
    }
}

#[test]
fn for_a_source_that_is_a_file_nothing_is_deleted_and_that_is_said() {
    let place = Place::with([("f", "1"), ("sub/b", "22")]);
    for name in ["d/mine", "d/sub/old"] {
        place.here.write(name, "x");
    }
    let note = |output: &Output| {
        let is_of_file = |line: &&str| line.contains("/f is a file: --delete deletes nothing");
        output.stderr.lines().filter(is_of_file).count()
    };
    let fetch = |args: &[&str], names: &[&str]| {
        let sources = names.iter().map(|name| place.server.source(name));
        let mirror = place.ftget().args(["--json", "-r", "--delete", "-d", "d"]);
        mirror.args(args).args(sources).run().expect_code(0)
    };
    for (args, notes) in [(&["-n"][..], 1), (&["-n", "-q"], 0), (&["-q"], 0), (&[], 1)] {
        let output = fetch(args, &["f"]);
        let gone = event(&output.json_lines(), "summary")["deleted"].clone();
        assert_eq!((note(&output), gone), (notes, 0.into()), "{args:?}");
        assert_eq!(output.stderr.lines().count(), notes, "{}", output.stderr);
    }
    assert_eq!(
        names(&place.here.join("d")),
        ["f", "mine", "sub/", "sub/old"]
    );
    let beside_folder = fetch(&[], &["sub", "f"]);
    assert_eq!(note(&beside_folder), 1, "{}", beside_folder.stderr);
    assert_eq!(deleted(&beside_folder.json_lines()), ["sub/old"]);
    assert_eq!(names(&place.here.join("d")), ["f", "mine", "sub/", "sub/b"]);
}

#[test]
fn receipts_that_are_in_a_mirror_stay() {
    let place = Place::with(SERVED);
    place.here.write("d/s/mine", "x");
    let output = mirror(&place, &["--receipts", "d/s/receipts"]);
    output.expect_code(0);
    assert!(!place.here.join("d/s/mine").exists());
    let receipts = fs::read_to_string(place.here.join("d/s/receipts")).expect("receipts");
    assert_eq!(receipts.lines().count(), SERVED.len());
}

#[test]
fn what_got_another_name_is_not_deleted_for_that() {
    let place = Place::with(SERVED);
    place.here.write("d/a", "old");
    let refused = mirror(&place, &["--if-exists", "rename"]).expect_code(2);
    let words = "--delete cannot be used with --if-exists rename";
    assert!(refused.stderr.contains(words), "{}", refused.stderr);
    let run = place.ftget().env("FTGET_IF_EXISTS", "rename");
    let run = run.args(["-r", "--delete", "-d", "d"]);
    let refused = run.arg(place.server.source("")).run().expect_code(2);
    let words = "--delete cannot be used with if-exists (FTGET_IF_EXISTS) rename";
    assert!(refused.stderr.contains(words), "{}", refused.stderr);
    assert_eq!(names(&place.here.join("d")), ["a"]);
}

#[test]
fn the_time_for_everything_is_that_of_the_deletion_too() {
    let place = Place::with(SERVED);
    mirror(&place, &[]).expect_code(0);
    place.here.write("d/old", "");
    // Two ways there and back, to list it twice, fit into the time; a third does not.
    let proxy = Proxy::to(place.server.addr()).delay(Duration::from_millis(300));
    let proxy = proxy.start();
    let run = place.ftget().args(["-r", "--delete", "--max-time", "1.5s"]);
    let source = format!("{}/", proxy.addr());
    run.args(["-d", "d", &source]).run().expect_code(14);
    assert!(place.here.join("d/old").exists());
    mirror(&place, &[]).expect_code(0);
    assert!(!place.here.join("d/old").exists());
}

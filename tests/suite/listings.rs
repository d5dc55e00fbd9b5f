//! `ftget --list`: what a server has, for people and for programs.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::files::unprivileged_reader;
use crate::harness::{Output, Program, Scratch, TestServer, ftget, md5_hex};

fn tree() -> Scratch {
    let root = Scratch::new();
    root.write("plain.txt", "plain");
    root.write("sub/deep/one", "one");
    root.write("sub/two", "two");
    root.write("line\nfeed \\ \u{1b}[31m\u{202e}", "odd");
    root.write(OsStr::from_bytes(b"latin-\xe9"), "latin");
    root.write(".hidden", "");
    symlink("plain.txt", root.join("link")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    root
}

fn list(server: &TestServer, args: &[&str], path: &str) -> Output {
    let source = server.source(path);
    ftget(args.iter().map(OsStr::new).chain([source.as_os_str()]))
}

#[test]
fn people_see_names_that_cannot_hurt_their_terminal() {
    let root = tree();
    root.write(
        "sub/line\\nfeed",
        "the name that the other may not look like",
    );
    root.write("zero\u{200b}width", "");
    let server = TestServer::plain(root.path());
    let on_terminal = |style: &str, path: &str| {
        let typist = "set timeout 60; spawn -noecho $env(FTGET) $env(LIST) -r $env(SOURCE); \
                      expect eof; exit [lindex [wait] 3]";
        let shown = Program::system("expect", "expect")
            .args(["-c", typist])
            .env("FTGET", env!("CARGO_BIN_EXE_ftget"))
            .env("LIST", style)
            .env("SOURCE", server.source(path))
            .run()
            .expect_code(0);
        let text = String::from_utf8(shown.stdout).expect("no byte that is not text");
        let text = text.replace("\r\n", "\n");
        assert!(
            !text.contains(|c: char| c != '\n' && c.is_control() || "\u{202e}\u{200b}".contains(c)),
            "{style}: {text:?}"
        );
        text
    };
    let odd = r"line\nfeed \\ \x1b[31m\u{202e}";
    assert_eq!(
        on_terminal("--list", ""),
        format!(
            "empty/\nlatin-\\xe9\n{odd}\nlink\nplain.txt\nsub/\nsub/deep/\nsub/deep/one\n\
             sub/line\\\\nfeed\nsub/two\nzero\\u{{200b}}width\nftget: note: 1 hidden entry is not shown by the server\n"
        )
    );
    let long = on_terminal("--list=long", "");
    assert!(long.contains(&format!(" {odd}\n")), "{long}");
    let sums = on_terminal("--list=md5sum", "");
    let md5 = md5_hex("odd");
    assert!(sums.contains(&format!("\n\\{md5}  {odd}\n")), "{sums}");
    let json = on_terminal("--list=json", "");
    assert!(json.contains(r#""zero\u200bwidth""#), "{json}");
}

#[test]
fn names_in_a_pipe_are_exact_and_each_is_one_line() {
    let root = tree();
    root.write(r"line\nfeed \ it is not", "");
    let server = TestServer::plain(root.path());
    let shown = list(&server, &["--list"], "").expect_code(0);
    let expected: [&[u8]; 7] = [
        b"empty/",
        b"latin-\xe9",
        "\\line\\nfeed \\\\ \u{1b}[31m\u{202e}".as_bytes(),
        br"\line\\nfeed \\ it is not",
        b"link",
        b"plain.txt",
        b"sub/",
    ];
    let expected = [expected.join(&b'\n'), b"\n".to_vec()].concat();
    assert_eq!(
        shown.stdout.escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    );
    assert_eq!(
        shown.stderr,
        "ftget: note: 1 hidden entry is not shown by the server\n"
    );
    let deep = list(&server, &["--list", "-r", "-q"], "sub/").expect_code(0);
    assert_eq!(deep.text(), "deep/\ndeep/one\ntwo\n");
    assert_eq!(deep.stderr, "");
    let long = list(&server, &["--list=long"], "link")
        .expect_code(0)
        .text();
    assert!(
        long.starts_with("-rw-r--r--            5 2"),
        "a link is followed: {long}"
    );
    let long = list(&server, &["--list=long"], "").expect_code(0).text();
    assert!(long.contains("\nlrwxrwxrwx            0 "), "{long}");
    assert!(
        long.contains(" link -> plain.txt\n") && long.contains(" empty/\n"),
        "{long}"
    );
}

#[test]
fn programs_get_exact_names_and_every_key_of_the_wire() {
    let root = tree();
    let server = TestServer::plain(root.path());
    let shown = list(&server, &["--list=json", "-r"], "").expect_code(0);
    let entries: Vec<Value> = shown.json_lines();
    let names: Vec<_> = entries
        .iter()
        .map(|entry| entry["filename"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"line\nfeed \\ \u{1b}[31m\u{202e}"),
        "{names:?}"
    );
    assert!(names.contains(&"sub/deep/one"), "{names:?}");
    let latin = entries
        .iter()
        .find(|entry| entry.get("filename_b64").is_some())
        .unwrap();
    assert_eq!(latin["filename_b64"], "bGF0aW4t6Q==");
    assert!(
        entries
            .iter()
            .all(|entry| entry["type"].is_string() && entry["mtime"].is_string())
    );
    assert_eq!(
        list(&server, &["--list", "--json", "-r"], "").text(),
        shown.text()
    );
}

#[test]
fn md5sum_confirms_what_the_server_says_of_every_name() {
    let root = tree();
    let server = TestServer::plain(root.path());
    let sums = list(&server, &["--list=md5sum", "-r"], "").expect_code(0);
    let confirmed = Program::system("md5sum", "coreutils")
        .args(["--check", "--strict"])
        .in_folder(root.path())
        .input(sums.stdout.clone())
        .run()
        .expect_code(0);
    assert_eq!(confirmed.text().matches(": OK").count(), 5);
    let one = list(&server, &["--list=md5sum"], "sub/two").expect_code(0);
    assert_eq!(one.text(), format!("{}  two\n", md5_hex("two")));
}

#[test]
fn several_sources_have_one_exit_code_and_each_its_line() {
    let root = tree();
    let server = TestServer::plain(root.path());
    let sources = ["sub", "nothing", "plain.txt"].map(|path| server.source(path));
    let args = [OsStr::new("--list")]
        .into_iter()
        .chain(sources.iter().map(|it| it.as_os_str()));
    let shown = ftget(args).expect_code(11);
    assert_eq!(shown.text(), "deep/\ntwo\nplain.txt\n");
    assert!(
        shown.stderr.contains("/nothing: server says not_found"),
        "{}",
        shown.stderr
    );
    for flags in [["-o", "x"], ["-d", "x"]] {
        let args = [&["--list"][..], &flags].concat();
        list(&server, &args, "").expect_code(2);
    }
}

#[test]
fn what_the_server_cannot_look_at_is_named_and_the_rest_is_listed() {
    let root = Scratch::new();
    root.write("closed/inside", "");
    root.write("open/inside", "");
    let mode = |mode| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(root.join("closed"), permissions).unwrap();
    };
    mode(0);
    let server = TestServer::builder(root.path())
        .through(unprivileged_reader())
        .start();
    let shown = list(&server, &["--list", "-r"], "").expect_code(6);
    assert_eq!(shown.text(), "closed/\nopen/\nopen/inside\n");
    assert!(
        shown.stderr.contains("/closed: server says forbidden"),
        "{}",
        shown.stderr
    );
    mode(0o755);
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let root = Scratch::new();
    for number in 0..20_000 {
        root.write(format!("{number:05}"), "");
    }
    let server = TestServer::plain(root.path());
    let command = r#"{ "$0" --list "$1"; echo "exit code $?" >&2; } | head -n 1"#;
    let shown = Program::system("sh", "dash")
        .args(["-c", command])
        .arg(env!("CARGO_BIN_EXE_ftget"))
        .arg(server.source(""))
        .run()
        .expect_code(0);
    assert_eq!(shown.text(), "00000\n");
    assert_eq!(shown.stderr, "exit code 0\n");
    let full = r#"exec "$0" --list "$1" > /dev/full"#;
    let shown = Program::system("sh", "dash")
        .args(["-c", full])
        .arg(env!("CARGO_BIN_EXE_ftget"))
        .arg(server.source(""))
        .run()
        .expect_code(9);
    assert!(shown.stderr.contains("No space left"), "{}", shown.stderr);
}

#[test]
fn a_folder_of_many_thousand_names_streams_through_in_bounded_memory() {
    let root = Scratch::in_memory();
    for number in 0..60_000 {
        root.write(format!("{number:0>60}"), "");
    }
    let server = TestServer::builder(root.path())
        .args(["--no-prehash"])
        .start();
    let before = server.facts().rss_kib();
    let shown = list(&server, &["--list"], "").expect_code(0);
    let names: Vec<_> = shown.stdout.split(|byte| *byte == b'\n').collect();
    assert_eq!(names.len(), 60_001);
    assert!(names[..60_000].is_sorted());
    let grown = server.facts().peak_rss_kib().saturating_sub(before);
    assert!(grown < 40 << 10, "{grown} KiB");
}

//! `ftget -i`: what a list names is fetched, and what is wrong with a list is said.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use crate::cases::NamedCase;

use crate::harness::{DEADLINE, Program, Proxy, Scratch, TestServer, at_some_pace, md5_hex, noise};
use crate::picture::contents;
use crate::place::Place;

fn place() -> Place {
    let place = Place::with([
        ("top", "1"),
        ("sub/two", "22"),
        ("sub/deep/er/three", "333"),
    ]);
    place.root.make_dir("sub/empty");
    place
}

fn odd(place: &Place) {
    place.root.write("sub/line\nfeed \\ \r", "odd");
    place.root.write("sub/#hash", "hash");
    place
        .root
        .write(OsStr::from_bytes(b"sub/latin-\xe9"), "latin");
}

fn diff(place: &Place, there: &str, here: &str) {
    let diff = Program::system("diff", "diffutils").arg("-r");
    diff.args([place.root.join(there), place.here.join(here)])
        .run()
        .expect_code(0);
}

#[test]
fn what_list_writes_of_a_source_is_a_list_for_that_source() {
    for style in ["short", "json", "md5sum"] {
        for source in ["", "sub", "sub/"] {
            let _case = NamedCase(format!("--list={style} of {source:?}"));
            let place = place();
            odd(&place);
            let source = place.server.source(source);
            let shown = Program::ftget()
                .arg(format!("--list={style}"))
                .args(["-r", "-q"])
                .arg(&source)
                .run()
                .expect_code(0);
            place
                .ftget()
                .args(["-i", "-", "-d", "all"])
                .arg(&source)
                .input(shown.stdout)
                .run()
                .expect_code(0);
            let at_root = source.as_bytes().ends_with(b"/");
            let is_root = at_root && !source.as_bytes().ends_with(b"sub/");
            if style == "md5sum" {
                // Folders have no sums.
                fs::remove_dir(place.root.join("sub/empty")).expect("a removal");
            }
            diff(&place, if is_root { "" } else { "sub" }, "all");
        }
    }
}

#[test]
fn names_of_find_arrive_with_and_without_nul() {
    let place = place();
    odd(&place);
    for (order, into) in [
        ("-nodepth", "all"),
        ("-depth", "depth"),
        ("-nodepth", "all"),
    ] {
        let find = Program::system("find", "findutils").in_folder(place.root.path());
        let order: &[&str] = if order == "-depth" { &["-depth"] } else { &[] };
        let found = find.arg(".").args(order).arg("-print0");
        let found = found.run().expect_code(0);
        let list = place.here.write("names", found.stdout);
        let fetch = || {
            let fetch = place.ftget().args(["-0", "-d", into, "-i"]).arg(&list);
            fetch.arg(place.server.source(""))
        };
        // Folders are there or not, before and after what is in them.
        let run = fetch().arg("--json").run().expect_code(0);
        let summary = run.json_lines().pop().expect("a summary");
        assert_eq!(
            (&summary["done"], &summary["failed"]),
            (&6.into(), &0.into())
        );
        diff(&place, "", into);
        let run = fetch().arg("--check").run().expect_code(0);
        assert_eq!((run.text().as_str(), run.stderr.as_str()), ("", ""));
        let run = fetch().arg("-n").run().expect_code(0);
        assert!(!run.text().contains("would be created"), "{}", run.text());
    }
    let lines = b"\xef\xbb\xbf./top\r\n\r\nsub/two";
    let fetch = place.ftget().args(["-i", "-", "-d", "some"]).input(lines);
    fetch.arg(place.server.source("")).run().expect_code(0);
    assert_eq!(place.here.read("some/top"), b"1");
    assert_eq!(place.here.read("some/sub/two"), b"22");
}

#[test]
fn folders_that_a_list_names_are_made_in_whichever_order_lines_come() {
    let place = place();
    for (lines, files, folders) in [
        ("sub\nsub/two\n", &["sub/two"][..], &["sub"][..]),
        ("sub/two\nsub\n", &["sub/two"], &["sub"]),
        ("sub/empty\ntop\nsub\n", &["top"], &["sub", "sub/empty"]),
        ("sub/\nsub/empty/\n", &[], &["sub", "sub/empty"]),
        (
            "sub/deep\ntop\nsub/deep/er/three\nsub/deep/er\nsub\n",
            &["top", "sub/deep/er/three"],
            &["sub/deep/er"],
        ),
        (
            "{\"filename\":\"sub/empty\",\"type\":\"dir\"}\n",
            &[],
            &["sub/empty"],
        ),
    ] {
        let here = Scratch::new();
        let fetch = |args: &[&str]| {
            let fetch = Program::ftget().args(["-i", "-", "-d"]).arg(here.path());
            let fetch = fetch.args(args).arg(place.server.source(""));
            fetch.input(lines).run()
        };
        let would = fetch(&["-n"]).expect_code(0).text();
        assert!(would.contains("would be created"), "{lines:?}: {would}");
        fetch(&["--check"]).expect_code(1);
        for _ in 0..2 {
            let events = fetch(&["--json"]).expect_code(0).json_lines();
            assert_eq!(events.len(), files.len() + 1, "{lines:?}: {events:?}");
            for file in files {
                assert_eq!(here.read(file), place.root.read(file), "{lines:?}");
            }
            for folder in folders {
                assert!(here.join(folder).is_dir(), "{lines:?}: {folder}");
            }
            fetch(&["--check"]).expect_code(0);
            assert_eq!(
                fetch(&["-n"]).expect_code(0).text().matches("made").count(),
                0
            );
        }
    }
    // What is here of another kind stays.
    place.here.write("sub", "a file");
    let fetch = |name: &str| {
        let fetch = place.ftget().args(["-i", "-"]).arg(place.server.source(""));
        fetch.input(name.to_owned()).run().expect_code(3)
    };
    fetch("sub\n");
    assert_eq!(place.here.read("sub"), b"a file");
    place.here.make_dir("top");
    fetch("top\n");
    assert!(place.here.join("top").is_dir());
}

#[test]
fn what_is_named_twice_is_fetched_once() {
    let place = place();
    for args in [&[][..], &["--preflight"], &["-n"], &["--check"]] {
        for _ in 0..2 {
            let fetch = place.ftget().args(["-i", "-", "--json"]).args(args);
            let fetch = fetch.arg(place.server.source("")).input("top\ntop\ntop\n");
            let run = fetch.run();
            if !args.contains(&"--check") {
                let events = run.expect_code(0).json_lines();
                let of_top = |event: &&serde_json::Value| event["filename"] == "top";
                assert_eq!(events.iter().filter(of_top).count(), 1, "{events:?}");
            }
        }
    }
    let sources = |sources: &[&str], args: &[&str]| {
        let sources: Vec<_> = sources
            .iter()
            .map(|name| place.server.source(name))
            .collect();
        place.ftget().args(args).args(sources).run()
    };
    let twice = sources(&["top", "top"], &["--json"]).expect_code(0);
    assert_eq!(twice.json_lines().len(), 2, "{:?}", twice.text());
    for trees in [["", "sub"], ["sub", ""], ["sub", "sub"]] {
        let here = trees.concat().len().to_string() + trees[0];
        for mode in ["-v", "-n", "--check"] {
            sources(&trees, &["-r", "-d", &here, mode]).expect_code(match mode {
                "--check" => 0,
                "-n" => 0,
                _ => 0,
            });
        }
        diff(&place, "sub", &format!("{here}/sub"));
    }
}

#[test]
fn a_line_without_end_is_refused_at_once() {
    let place = place();
    for args in [&[][..], &["-0"]] {
        let fetch = place.ftget().args(["-i", "/dev/zero"]).args(args);
        let fetch = fetch.arg(place.server.source(""));
        let mut long = fetch;
        if args == ["-0"] {
            long = place
                .ftget()
                .args(["-0", "-i", "-"])
                .arg(place.server.source(""));
            long = long.input("x".repeat(2_000_000));
        }
        let ended = long.run().expect_code(2);
        assert!(
            ended.stderr.contains(":1: line is over 1048576 bytes"),
            "{}",
            ended.stderr
        );
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
}

#[test]
fn no_folder_is_made_for_what_is_not_there() {
    let place = Place::with([("d/s/a", "1"), ("d/t/u/b", "22")]);
    let list = |lines: &str| {
        let list = place.ftget().args(["-i", "-", "-d", "l"]);
        list.arg(place.server.source("d")).input(lines).run()
    };
    let run = list("no/such/file\ns/a\nt/none\nt/u/b\nv/w\n").expect_code(11);
    assert_eq!(run.stderr.matches("not_found").count(), 3, "{}", run.stderr);
    let there = ["s/", "s/a = 1", "t/", "t/u/", "t/u/b = 22"];
    assert_eq!(contents(&place.here.join("l")), there);
    // What cannot be a folder is found where one would be made.
    place.here.write("l/x", "a file");
    let run = list("x/y/none\n");
    assert_ne!(run.code, 0);
    assert_eq!(place.here.read("l/x"), b"a file");
}

#[test]
fn a_list_that_names_nothing_is_said_to() {
    let place = place();
    for (quiet, told) in [
        ("-c", "ftget: note: standard input names no files\n"),
        ("-q", ""),
    ] {
        let fetch = place.ftget().args(["-i", "-", quiet]);
        let ended = fetch.arg(place.server.source("")).input("\n\n").run();
        assert_eq!(ended.expect_code(0).stderr, told);
    }
}

#[test]
fn folders_and_everything_in_them_are_for_recursive_not_for_a_list() {
    let place = place();
    let fetch = || {
        place
            .ftget()
            .args(["-i", "-"])
            .arg(place.server.source(""))
            .input("top\n")
    };
    let refused = fetch().arg("-r").run().expect_code(2);
    assert!(
        refused
            .stderr
            .contains("--recursive cannot be used with --input-file"),
        "{}",
        refused.stderr
    );
    // What is meant for other commands gives way.
    fetch().env("FTGET_RECURSIVE", "1").run().expect_code(0);
}

#[test]
fn what_md5sum_wrote_must_match_and_the_rest_arrives_all_the_same() {
    let place = place();
    let sums = Program::system("md5sum", "coreutils")
        .args(["top", "sub/two", "sub/deep/er/three"])
        .in_folder(place.root.path())
        .run()
        .expect_code(0)
        .text();
    place.here.write("MD5SUMS", &sums);
    let fetch = || {
        place
            .ftget()
            .args(["-i", "MD5SUMS"])
            .arg(place.server.source(""))
    };
    fetch().run().expect_code(0);
    let check = Program::system("md5sum", "coreutils").args(["--check", "--strict", "MD5SUMS"]);
    check.in_folder(place.here.path()).run().expect_code(0);
    // A version that nobody summed is not taken; an older one stays.
    place.root.write("sub/two", "not what was summed");
    place.here.write("sub/two", "old");
    place.here.write("top", "other");
    let ended = fetch().run().expect_code(13);
    assert!(
        ended.stderr.contains("/sub/two: server says changed"),
        "{}",
        ended.stderr
    );
    assert_eq!(place.here.read("sub/two"), b"old");
    assert_eq!(place.here.read("top"), b"1");
}

#[test]
fn bad_lines_are_named_by_their_number_and_the_rest_arrives() {
    let place = place();
    let md5 = md5_hex("1");
    let list = format!(
        "{md5}  top\n\n{md5}  ../up\r\nno sum\n{}  long\n",
        "x".repeat(70_000)
    );
    place.here.write("li\u{1b}st", &list);
    let fetch = |args: &[&str]| {
        let fetch = place.ftget().args(args).args(["-i", "li\u{1b}st"]);
        fetch.arg(place.server.source("")).run()
    };
    let ended = fetch(&[]).expect_code(2);
    let told: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(told.len(), 3, "{}", ended.stderr);
    for (line, begin) in told
        .iter()
        .zip(["3: name has", "4: line is not", "5: line is over"])
    {
        assert!(
            line.starts_with(&format!("ftget: li\\x1bst:{begin}")),
            "{line}"
        );
    }
    assert_eq!(place.here.read("top"), b"1");
    let events = fetch(&["--json"]).expect_code(2).json_lines();
    let mut told: Vec<_> = events
        .iter()
        .map(|event| (event["n"].as_u64(), event["event"].as_str().unwrap()))
        .collect();
    assert_eq!(told.pop(), Some((None, "summary")));
    told.sort();
    let errors = [1, 2, 3].map(|n| (Some(n), "error"));
    assert_eq!(told, [&[(Some(0), "done")][..], &errors].concat());
    let is_bad_line = |event: &&serde_json::Value| event["reason"] == "bad_line";
    assert_eq!(events.iter().filter(is_bad_line).count(), 3);
    let summary = events.last().unwrap();
    assert_eq!(
        (&summary["done"], &summary["failed"]),
        (&1.into(), &3.into())
    );
    let looked = fetch(&["-n"]).expect_code(2);
    assert_eq!(looked.text(), "top: is there already, 1 byte\n");
    let totals = "ftget: note: would download 0 files, 0 bytes, 1 already here, 3 failed\n";
    assert_eq!(looked.stderr, ended.stderr.clone() + totals);
    // Many are not all told to people.
    place.here.write("many", "a//b\n".repeat(100));
    let many = place.ftget().args(["--json", "-i", "many"]);
    let many = many.arg(place.server.source("")).run().expect_code(2);
    let last = many.stderr.lines().last();
    assert_eq!(
        last,
        Some("ftget: 90 more lines of the list cannot be read")
    );
    assert_eq!(
        (many.stderr.lines().count(), many.json_lines().len()),
        (11, 101)
    );
    // With failures of another kind the code is that of several.
    place.here.write("mixed", "nothing\na//b\ntop\n");
    let mixed = place
        .ftget()
        .args(["-i", "mixed"])
        .arg(place.server.source(""));
    mixed.run().expect_code(23);
}

#[test]
fn lists_that_cannot_be_read_and_options_that_do_not_go_with_them_are_refused() {
    let place = place();
    let source = place.server.source("").into_string().unwrap();
    place.here.write("list", "top\n");
    place.here.write("utf-16", b"\xff\xfet\0o\0p\0");
    for (args, code, words) in [
        (
            &["-i", "nothing", &source][..],
            3,
            "cannot open nothing: No such file",
        ),
        (
            &["-i", ".", &source],
            3,
            ".: cannot be read: Is a directory",
        ),
        (&["-i", "utf-16", &source], 2, "utf-16:1: text is UTF-16"),
        (
            &["-i", "list", &source, &source],
            2,
            "one SOURCE, there are 2",
        ),
        (&["-i", "list"], 2, "SOURCE is missing"),
        (
            &["-i", "list", "-o", "x", &source],
            2,
            "cannot be used with",
        ),
        (&["-i", "list", "--list", &source], 2, "cannot be used with"),
        (&["-0", &source], 2, "--null needs --input-file"),
        (&["-i", "list", "127.0.0.1:1/../x"], 2, ". or .."),
    ] {
        let ended = place.ftget().args(args).run().expect_code(code);
        assert!(ended.stderr.contains(words), "{args:?}: {}", ended.stderr);
    }
    assert_eq!(place.here.names(), ["list", "utf-16"]);
    // Odd, but legal.
    place.here.write("empty", "");
    place
        .ftget()
        .args(["-i", "empty", &source])
        .run()
        .expect_code(0);
}

#[test]
fn what_the_first_lines_name_arrives_before_the_list_ends() {
    let place = place();
    let fifo = place.here.join("fifo");
    let mkfifo = Program::system("mkfifo", "coreutils").arg(&fifo);
    mkfifo.run().expect_code(0);
    let fetch = place.ftget().args(["--json", "-i", "fifo", "-d", "all"]);
    let fetch = fetch.arg(place.server.source("")).start();
    let mut list = fs::OpenOptions::new()
        .write(true)
        .open(fifo)
        .expect("a FIFO");
    for name in ["top", "a//b", "sub/two"] {
        writeln!(list, "{name}").expect("a line");
        let told = match name {
            "a//b" => "bad_line".to_owned(),
            name => format!("\"filename\":\"{name}\""),
        };
        fetch
            .stdout()
            .wait_until(&told, |text| text.contains(&told));
    }
    drop(list);
    fetch.wait().expect_code(2);
    assert_eq!(place.here.read("all/sub/two"), b"22");
}

#[test]
fn links_in_a_listing_are_passed_over_and_counted() {
    let place = place();
    symlink("top", place.root.join("link")).expect("a link");
    let list = Program::ftget()
        .args(["--list=json"])
        .arg(place.server.source(""));
    let list = list.run().expect_code(0).stdout;
    let fetch = |args: &[&str]| {
        let fetch = place.ftget().args(["-i", "-", "-d", "all"]).args(args);
        fetch
            .arg(place.server.source(""))
            .input(list.clone())
            .run()
            .expect_code(0)
    };
    let told = "ftget: note: 1 entry left out: special files, or links that cannot be made (-v names them)\n";
    assert_eq!(fetch(&[]).stderr, told);
    assert_eq!(fetch(&["-q"]).stderr, "");
    assert!(!place.here.join("all/link").exists());
}

#[test]
fn a_list_that_does_not_end_is_not_waited_for_beyond_the_time_for_everything() {
    let root = Scratch::with_files([("a", "content")]);
    let server = TestServer::plain(root.path());
    let script = r#""$@" -i <(echo a; exec sleep 600 2> /dev/null); code=$?; kill $!; exit $code"#;
    at_some_pace(|factor| {
        let folder = Scratch::new();
        let output = Program::system("bash", "bash")
            .args(["-c", script, "bash", env!("CARGO_BIN_EXE_ftget")])
            .args(["-q", "--max-time", &factor.to_string(), "-d"])
            .arg(folder.path())
            .arg(server.source(""))
            .run();
        // Which it has not, if it waits for the end of the list.
        assert!(output.elapsed < DEADLINE);
        output.expect_code(14);
        assert_eq!(folder.read("a"), b"content");
    });
}

#[test]
fn a_connection_that_is_cut_in_its_first_file_is_made_up_for() {
    let names: Vec<String> = (0..12).map(|n| format!("f{n}")).collect();
    let content = |n| noise(n, 9_000_000);
    let files: Vec<(&str, Vec<u8>)> = names.iter().map(|n| &**n).zip((0..).map(content)).collect();
    let place = Place::with(files.iter().map(|(name, content)| (name, content)));
    let proxy = Proxy::to(place.server.addr())
        .rate(16_000_000)
        .meet(2_000_000, 4)
        .cut_first(3_000_000)
        .start();
    let line = |(name, content): &(&str, Vec<u8>)| {
        let (size, md5) = (content.len(), md5_hex(content));
        format!("{{\"filename\":\"{name}\",\"total_size\":{size},\"md5\":\"{md5}\"}}\n")
    };
    let lines: String = files.iter().map(line).collect();
    let list = Scratch::with_files([("list", lines)]);
    let client = place.ftget().args(["--retry-delay", "10ms", "-i"]);
    let client = client.arg(list.join("list"));
    client
        .arg(format!("{}/", proxy.addr()))
        .run()
        .expect_code(0);
    for (name, content) in &files {
        assert!(place.here.read(name) == *content, "{name} differs");
    }
    // As many at once as before, and not one less for all that is left.
    assert_eq!(proxy.tally().connections(), 5);
}

#[test]
fn a_list_of_digests_in_another_form_is_read_or_refused_and_never_asked_for_as_names() {
    let place = Place::with([("hello.txt", "hello\n")]);
    let md5 = md5_hex(b"hello\n");
    let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    let fetch = |list: &str, args: &[&str]| {
        let fetch = place.ftget().args(["-i", "-"]).args(args);
        fetch.arg(place.server.source("")).input(list).run()
    };
    for (list, args) in [
        (format!("; made by a tool\r\n{md5} *hello.txt\r\n"), &[][..]),
        (format!("MD5(hello.txt)= {md5}\n"), &[]),
        (format!("hello.txt {md5}\n"), &[]),
        (format!("{md5}  hello.txt\0"), &["-0"]),
        (
            format!(
                "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{md5}  hello.txt\n\
                 -----BEGIN PGP SIGNATURE-----\nx\n-----END PGP SIGNATURE-----\n"
            ),
            &[],
        ),
    ] {
        fetch(&list, args).expect_code(0);
        assert_eq!(place.here.read("hello.txt"), b"hello\n", "{list}");
        fs::remove_file(place.here.join("hello.txt")).unwrap();
        fetch(&list.replace(&md5, &md5_hex(b"x")), args).expect_code(13);
        place.assert_only(&[]);
    }
    // As a whole: neither this line nor any other is asked for.
    let refused = fetch(&format!("{sha256}  hello.txt\nhello.txt\n"), &[]).expect_code(2);
    let told =
        "ftget: standard input:1: list has digests of SHA-256, only those of MD5 can be verified";
    assert!(refused.stderr.starts_with(told), "{}", refused.stderr);
    place.assert_only(&[]);
}

#[test]
fn include_and_exclude_choose_among_what_is_listed() {
    let place = place();
    let list = "top\nsub/two\nsub/deep/er/three\n";
    for (args, expected) in [
        (
            &["--exclude", "deep"][..],
            &["sub/", "sub/two = 22", "top = 1"][..],
        ),
        (
            &["--include", "t*"],
            &[
                "sub/",
                "sub/deep/",
                "sub/deep/er/",
                "sub/deep/er/three = 333",
                "sub/two = 22",
                "top = 1",
            ],
        ),
        (
            &["--exclude", "/sub/two", "--exclude", "/top"],
            &[
                "sub/",
                "sub/deep/",
                "sub/deep/er/",
                "sub/deep/er/three = 333",
            ],
        ),
    ] {
        let here = Scratch::new();
        let fetch = Program::ftget()
            .in_folder(here.path())
            .args(["-i", "-"])
            .args(args);
        let fetch = fetch.arg(place.server.source("")).input(list);
        fetch.run().expect_code(0);
        assert_eq!(contents(here.path()), expected, "{args:?}");
    }
    let fetch = place.ftget().args(["-i", "-"]).arg(place.server.source(""));
    let fetch = fetch.env("FTGET_EXCLUDE", "sub").input(list);
    fetch.run().expect_code(0);
    place.assert_only(&[("top", b"1")]);
}

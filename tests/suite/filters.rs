//! `--include`, `--exclude`, `--exclude-from`, and patterns in a source.

use std::fs;

use crate::harness::{Output, Program, Scratch, TestServer};

struct Place {
    server: TestServer,
    here: Scratch,
    _root: Scratch,
}

fn place() -> Place {
    let files = [
        "a.log",
        "a.tmp",
        "logs/b.log",
        "logs/c.tmp",
        "logs/old/d.log",
        "x[1].log",
        "größe.log",
    ];
    let root = Scratch::with_files(files.map(|name| (name, name)));
    Place {
        server: TestServer::plain(root.path()),
        here: Scratch::new(),
        _root: root,
    }
}

impl Place {
    fn list(&self, args: &[&str], path: &str) -> Output {
        let list = Program::ftget().in_folder(self.here.path()).arg("--list");
        list.args(args).arg(self.server.source(path)).run()
    }

    #[track_caller]
    fn assert_lists(&self, args: &[&str], path: &str, expected: &str) {
        let shown = self.list(args, path).expect_code(0);
        assert_eq!(shown.text(), expected, "{args:?} {path:?}");
    }
}

#[test]
fn the_first_rule_in_the_order_of_the_command_line_decides() {
    let place = place();
    for (args, expected) in [
        (
            &["--exclude", "*.log"][..],
            "a.tmp\nlogs/\nlogs/c.tmp\nlogs/old/\n",
        ),
        (&["--include", "/a.*", "--exclude=*"], "a.log\na.tmp\n"),
        (
            &[
                "--exclude",
                "a.*",
                "--include",
                "a.log",
                "--exclude",
                "logs/",
            ],
            "größe.log\nx[1].log\n",
        ),
        (&["--include", "*.tmp"], "a.tmp\nlogs/c.tmp\n"),
        (&["--include", "old"], "logs/old/\nlogs/old/d.log\n"),
        (&["--include", "gr??e.*"], "größe.log\n"),
        (&["--exclude", "*"], ""),
    ] {
        place.assert_lists(&[&["-r"], args].concat(), "", expected);
    }
    place
        .here
        .write("patterns", "# what nobody wants\r\n*.tmp\r\nold/\r\n");
    place.assert_lists(
        &[
            "-r",
            "--exclude-from",
            "patterns",
            "--include",
            "*.log",
            "--exclude",
            "/*",
        ],
        "",
        "a.log\ngröße.log\nx[1].log\n",
    );
    // Below the source, whatever is above it.
    place.assert_lists(&["-r", "--exclude", "/old"], "logs", "b.log\nc.tmp\n");
    place.assert_lists(
        &["-r", "--exclude", "/logs"],
        "logs",
        "b.log\nc.tmp\nold/\nold/d.log\n",
    );
}

#[test]
fn patterns_come_from_a_file_that_standard_input_is() {
    let place = place();
    place.here.write("patterns", "*.tmp\nlogs/\nold/\n");
    let list = ["-r", "--list", "--exclude-from", "-"];
    let list = Program::ftget()
        .in_folder(place.here.path())
        .args(list)
        .arg(place.server.source(""));
    let redirected = ["sh", "-c", "exec \"$@\" < patterns", "sh"];
    let listed = list.through(redirected).run().expect_code(0);
    assert_eq!(listed.text(), "a.log\ngröße.log\nx[1].log\n");
}

#[test]
fn a_pattern_in_a_source_lists_what_it_matches() {
    let place = place();
    for (args, path, expected) in [
        (&[][..], "*.log", "a.log\ngröße.log\nx[1].log\n"),
        (&[], "logs/*.log", "b.log\n"),
        (&[], "l*", "logs/\n"),
        (
            &["-r"],
            "l*",
            "logs/\nlogs/b.log\nlogs/c.tmp\nlogs/old/\nlogs/old/d.log\n",
        ),
        (&[], "*/*/*.log", "logs/old/d.log\n"),
        (
            &[],
            "**/[b-d].*",
            "logs/b.log\nlogs/c.tmp\nlogs/old/d.log\n",
        ),
        (&[], "x[[]1].log", "x[1].log\n"),
        (
            &["-r", "--exclude", "*.tmp"],
            "logs/*",
            "b.log\nold/\nold/d.log\n",
        ),
        (&["--exclude", "*"], "*.log", ""),
    ] {
        place.assert_lists(args, path, expected);
    }
    let nothing = place.list(&[], "logs/*.txt").expect_code(11);
    assert!(
        nothing.stderr.ends_with("/logs: nothing matches *.txt\n"),
        "{}",
        nothing.stderr
    );
    place.list(&[], "x[1].log").expect_code(11);
    // In a URL a name is a name.
    let url = format!("ft://{}/x%5B1%5D.log", place.server.addr());
    let shown = Program::ftget().args(["--list", &url]).run().expect_code(0);
    assert_eq!(shown.text(), "x[1].log\n");
}

#[test]
fn what_is_no_pattern_or_not_for_this_is_refused() {
    let place = place();
    place.here.write("patterns", "a\n../b\n");
    for (args, path, code, words) in [
        (
            &["--exclude", "a["][..],
            "",
            2,
            "--exclude a[: pattern has [ without ]",
        ),
        (&["--include", "!a"], "", 2, "begins with !"),
        (&["--exclude", ""], "", 2, "empty part"),
        (
            &["--exclude-from", "patterns"],
            "",
            2,
            "patterns:2: pattern has a part that is . or ..",
        ),
        (
            &["--exclude-from", "nothing"],
            "",
            3,
            "cannot read nothing: No such file",
        ),
        (&[], "a[", 2, "[ without ]"),
    ] {
        let refused = place.list(args, path).expect_code(code);
        assert!(
            refused.stderr.contains(words),
            "{args:?}: {}",
            refused.stderr
        );
        assert!(refused.text().is_empty());
    }
    let source = place.server.source("a.log");
    let fetch = Program::ftget()
        .args(["--exclude", "x"])
        .arg(source)
        .in_folder(place.here.path());
    assert!(
        fetch
            .run()
            .expect_code(2)
            .stderr
            .contains("need --recursive")
    );
    assert!(fs::metadata(place.here.join("a.log")).is_err());
}

#[test]
fn a_rule_may_stand_in_the_environment() {
    let place = place();
    let list = Program::ftget()
        .args(["--list"])
        .arg(place.server.source(""));
    let shown = list.env("FTGET_EXCLUDE", "*.log").run().expect_code(0);
    assert_eq!(shown.text(), "a.tmp\nlogs/\n");
    // It does not apply to a download, and gives way.
    let fetch = Program::ftget().in_folder(place.here.path());
    let fetch = fetch.arg(place.server.source("a.log"));
    fetch.env("FTGET_EXCLUDE", "*.log").run().expect_code(0);
}

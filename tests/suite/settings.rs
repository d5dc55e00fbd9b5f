//! Options from the environment and from a file, and what of them may change while it runs.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;

use rustix::process::Signal;

use crate::harness::{Output, Program, Scratch, TestServer};

fn nowhere() -> Program {
    Program::ftget().args(["127.0.0.1:1/x"])
}

#[test]
fn the_command_line_wins_over_a_variable_it_does_not_go_with() {
    for (variable, value, args) in [
        ("FTGET_QUIET", "false", &["-v"][..]),
        ("FTGET_QUIET", "1", &["-v"]),
        ("FTGET_VERBOSE", "yes", &["-q"]),
        ("FTGET_DIR", "x", &["-o", "y"]),
        ("FTGET_OUTPUT", "y", &["-d", "x"]),
        ("FTGET_IPV6", "true", &["-4"]),
        ("FTGET_TIMEOUT", "", &[]),
        ("FTGET_JSON", "", &[]),
    ] {
        let here = Scratch::new();
        let ended = nowhere()
            .in_folder(here.path())
            .env(variable, value)
            .args(args)
            .run();
        assert_eq!(
            ended.code, 4,
            "{variable}={value} {args:?}: {}",
            ended.stderr
        );
    }
}

#[test]
fn every_option_has_a_variable_and_a_wrong_one_is_named() {
    for (variable, value, word) in [
        ("FTGET_TIMEOUT", "soon", "not a duration"),
        ("FTGET_RETRY", "-1", "-1 is not in"),
        ("FTGET_IF_EXISTS", "maybe", "it may be update, skip"),
        ("FTGET_LIST", "tall", "it may be short, long"),
        ("FTGET_MD5", "x", "32 hex digits"),
        ("FTGET_JSON", "perhaps", ""),
    ] {
        let ended = nowhere().env(variable, value).run().expect_code(2);
        assert!(
            ended.stderr.contains(&format!("ftget: {variable}: ")) && ended.stderr.contains(word),
            "{variable}={value}: {}",
            ended.stderr
        );
    }
    let help = Program::ftserve().arg("--help").run().expect_code(0).text();
    let page = Program::ftserve().arg("--man").run().expect_code(0).text();
    let options = help
        .lines()
        .filter_map(|line| line.trim_start().split("--").nth(1));
    let mut found = 0;
    for option in options.filter_map(|rest| rest.split([' ', '=', '<']).next()) {
        if ["help", "version", "man", "completions", "check-config"].contains(&option)
            || !option.chars().all(|c| c == '-' || c.is_ascii_lowercase())
            || !help.contains(&format!("--{option} <"))
        {
            continue;
        }
        let variable = format!("FTSERVE_{}", option.to_uppercase().replace('-', "_"));
        assert!(page.contains(&variable), "{variable} is not in the page");
        found += 1;
    }
    assert!(found > 15, "only {found} options found");
}

fn check(config: &str) -> Output {
    let place = Scratch::new();
    let file = place.write("ftserve.toml", config);
    Program::ftserve()
        .arg("--check-config")
        .arg("-c")
        .arg(file)
        .run()
}

#[test]
fn a_configuration_is_checked_without_serving() {
    let good = "bind = [\"127.0.0.1:0\", \"unix:x.sock\"]\npath = \".\"\nport = 9_000\n\
                limit-rate = \"80mbit\"\nhidden = \"show\"\nquiet = true\ndrain-timeout = 0.5\n";
    let checked = check(good).expect_code(0);
    assert_eq!(checked.text(), "the options are right\n");
    check("# nothing\n").expect_code(0);
    for (line, words) in [
        ("colour = 1", "colour is not an option"),
        ("por = 1", "is it port?"),
        ("[limits]\nrate = 1", "limits is not an option"),
        ("port = \"x\"", "port is \"x\""),
        ("port = 70000", "port is \"70000\""),
        ("port = true", "port must be a string or a number"),
        ("port = [1, 2]", "port must be a string or a number"),
        ("port = 0x10", "port must be"),
        ("quiet = \"yes\"", "quiet must be true or false"),
        ("port = 1\nport = 2", "duplicate key"),
        ("bind = {}", "bind must be"),
        ("hidden = \"maybe\"", "it may be hide, show"),
        ("limit-rate = 0", "not a rate above 0"),
        (
            "config = \"x\"",
            "config names this file, and cannot be set in it",
        ),
        ("bind = []", "bind is an empty array"),
        (
            "idle-timeout = 0",
            "idle-timeout is \"0\": must be more than 0",
        ),
        ("header-timeout = \"0ms\"", "must be more than 0"),
        ("publish-timeout = 0", "must be more than 0"),
        ("quiet = true\nverbose = true", "verbose"),
        ("x = [", "unclosed array"),
        ("\u{1b}[31m = 1", ""),
    ] {
        let config = format!("\n\n{line}\n");
        let refused = check(&config).expect_code(2);
        let place = if line.contains("port = 2") {
            "ftserve.toml:4: "
        } else {
            "ftserve.toml:3: "
        };
        assert!(
            refused.stderr.contains(place) && refused.stderr.contains(words),
            "{line}: {}",
            refused.stderr
        );
        assert!(!refused.stderr.contains('\u{1b}'), "{}", refused.stderr);
    }
    for missing in ["/nothing/ftserve.toml", "/"] {
        let refused = Program::ftserve()
            .args(["--check-config", "-c", missing])
            .run();
        assert!(
            refused.stderr.contains("cannot be read"),
            "{}",
            refused.stderr
        );
        assert_eq!(refused.code, 2);
    }
    let place = Scratch::new();
    let latin = place.write("latin", b"path = \"\xe9\"");
    let refused = Program::ftserve()
        .arg("--check-config")
        .arg("-c")
        .arg(latin)
        .run();
    assert!(refused.expect_code(2).stderr.contains("it is not UTF-8"));
}

#[test]
fn a_configuration_that_cannot_start_is_found_by_the_check_as_by_a_start() {
    let place = Scratch::with_files([("script.py", "print()"), ("notes", "x")]);
    let script = place.join("script.py");
    let script = script.to_str().unwrap();
    let fifo = place.join("fifo");
    let mkfifo = Program::system("mkfifo", "coreutils").arg(&fifo).run();
    mkfifo.expect_code(0);
    let fifo = fifo.to_str().unwrap();
    for (config, code, words) in [
        ("path = \"/nonexistent\"", 3, "cannot serve /nonexistent: "),
        (
            "publish = [\"a=nosuch x\"]",
            3,
            "--publish a: there is no program nosuch",
        ),
        ("publish = \"a=/tmp\"", 3, "--publish a: not a file: /tmp"),
        (
            &format!("publish = \"a={script}\""),
            3,
            "--publish a: not executable: /",
        ),
        (
            "publish = \"=x\"",
            2,
            "--publish =x: there is no NAME before the =",
        ),
        (
            "access-log = \"/nodir/x\"",
            3,
            "access log /nodir/x cannot be opened: No such file",
        ),
        (
            "access-log = \"/\"",
            3,
            "access log / cannot be opened: Is a directory",
        ),
        (
            &format!("access-log = \"{fifo}\""),
            3,
            "cannot be opened: nobody reads this FIFO",
        ),
        ("watch = true\nindex = \"off\"", 2, "watch (/"),
    ] {
        let file = place.write("ftserve.toml", config);
        let program = || {
            Program::ftserve()
                .arg("-c")
                .arg(&file)
                .args(["-b", "127.0.0.1:0"])
        };
        for program in [
            program().arg("--check-config"),
            program().args(["--", "true"]),
        ] {
            let refused = program.run().expect_code(code);
            assert!(
                refused.stderr.starts_with("ftserve: ") && refused.stderr.contains(words),
                "{config}: {}",
                refused.stderr
            );
        }
    }
    let log = place.join("new.log");
    let good = format!("access-log = {log:?}\npublish = [\"a=true\"]");
    check(&good).expect_code(0);
    assert!(!log.exists(), "checking made a log");
    let empty = Program::ftserve().args(["--index", "", "--check-config"]);
    let empty = empty.run().expect_code(2).stderr;
    assert!(empty.contains("must not be empty"), "{empty}");
}

#[test]
fn a_configuration_comes_through_a_pipe_and_is_not_waited_for_for_ever() {
    let place = Scratch::new();
    let fifo = place.join("fifo");
    let mkfifo = Program::system("mkfifo", "coreutils").arg(&fifo).run();
    mkfifo.expect_code(0);
    let check = |config: &OsStr| {
        Program::ftserve()
            .arg("--check-config")
            .arg("-c")
            .arg(config)
    };
    let refused = check(fifo.as_os_str()).run().expect_code(2);
    assert!(
        refused
            .stderr
            .contains("fifo cannot be read: no data for 5s"),
        "{}",
        refused.stderr
    );
    let writer = "{ echo port = 1; echo colour = 1; } | exec \"$@\"";
    let piped = check("/dev/stdin".as_ref()).through(["bash", "-c", writer, "-"]);
    let piped = piped.run().expect_code(2).stderr;
    assert!(
        piped.contains("/dev/stdin:2: colour is not an option"),
        "{piped}"
    );
}

#[test]
fn what_does_not_apply_gives_way_unless_it_was_typed() {
    let root = Scratch::with_files([("a", "content")]);
    let server = TestServer::start(root.path(), ["--publish", "hello=echo hello"]);
    let file = server.source("a");
    let all = server.source("");
    let command = server.source("@hello");
    for (variable, value, args, shown) in [
        ("FTGET_DIR", "x", &["--list"][..], "a\n@hello\n"),
        ("FTGET_OUTPUT", "x", &["--list"], "a\n@hello\n"),
        (
            "FTGET_MD5",
            "00000000000000000000000000000000",
            &["--list"],
            "a\n@hello\n",
        ),
        ("FTGET_EXEC", "false", &["--list"], "a\n@hello\n"),
        ("FTGET_SPOOL", "1", &["--list"], "a\n@hello\n"),
        ("FTGET_DIR", "x", &["@"], "hello\n"),
        ("FTGET_EXEC", "false", &["@"], "hello\n"),
        ("FTGET_RECURSIVE", "1", &["@"], "hello\n"),
        ("FTGET_EXEC", "false", &["-o", "-"], "content"),
        ("FTGET_LIST", "long", &["-o", "-"], "content"),
        ("FTGET_INPUT_FILE", "x", &["@"], "hello\n"),
        ("FTGET_INPUT_FILE", "x", &["-o", "-"], "content"),
        ("FTGET_NULL", "1", &["-q"], ""),
        ("FTGET_RECURSIVE", "1", &["-q"], ""),
        ("FTGET_SPOOL", "1", &["-q"], ""),
        ("FTGET_VERBOSE", "1", &["-q"], ""),
        ("FTGET_QUIET", "0", &["-q"], ""),
    ] {
        let here = Scratch::new();
        let source = match args[0] {
            "--list" => &all,
            "@" => &command,
            _ => &file,
        };
        let ended = Program::ftget()
            .in_folder(here.path())
            .env(variable, value)
            .args(args.iter().filter(|arg| **arg != "@"))
            .arg(source)
            .run();
        assert_eq!(ended.code, 0, "{variable} {args:?}: {}", ended.stderr);
        assert_eq!(ended.text(), shown, "{variable} {args:?}");
        if args == ["-q"] {
            assert_eq!(ended.stderr, "", "{variable}");
            assert_eq!(here.read("a"), b"content");
        } else {
            assert!(here.names().is_empty(), "{variable}: {:?}", here.names());
        }
    }
}

#[test]
fn what_would_do_something_else_is_refused_by_its_own_name() {
    let source = ["127.0.0.1:1/x", "127.0.0.1:1/y"];
    let md5 = "00000000000000000000000000000000";
    for (variables, args, words) in [
        (
            &[("FTGET_MD5", md5)][..],
            &source[..],
            "md5 (FTGET_MD5) is for one SOURCE",
        ),
        (
            &[("FTGET_OUTPUT", "x")],
            &source,
            "output (FTGET_OUTPUT) is for one SOURCE",
        ),
        (
            &[("FTGET_DRY_RUN", "1")],
            &["-o", "-", "h:x"],
            "dry-run (FTGET_DRY_RUN) is for files",
        ),
        (
            &[("FTGET_EXEC", "'")],
            &["h:x"],
            "exec (FTGET_EXEC) has a quote",
        ),
        (
            &[("FTGET_QUIET", "1"), ("FTGET_VERBOSE", "on")],
            &["h:x"],
            "FTGET_QUIET: quiet cannot be used with verbose (FTGET_VERBOSE)",
        ),
    ] {
        let mut program = Program::ftget().args(args);
        for (variable, value) in variables {
            program = program.env(variable, value);
        }
        let refused = program.run().expect_code(2).stderr;
        assert!(refused.contains(words), "{variables:?}: {refused}");
    }
    // A switch that is off is in nobody's way.
    let mut off = nowhere();
    for (variable, value) in [("FTGET_QUIET", "off"), ("FTGET_VERBOSE", "1")] {
        off = off.env(variable, value);
    }
    off.run().expect_code(4);
}

#[test]
fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
    let place = Scratch::new();
    let root = Scratch::with_files([(".hidden", "x")]);
    let file = place.write("ftserve.toml", "hidden = \"show\"\nmax-connections = 7\n");
    let told = |variable: Option<&str>, args: &[&str]| {
        let mut program = Program::ftserve()
            .arg("-c")
            .arg(&file)
            .args(["-b", "127.0.0.1:0"]);
        if let Some(value) = variable {
            program = program.env("FTSERVE_MAX_CONNECTIONS", value);
        }
        let program = program.args(args).arg(root.path()).args(["--", "true"]);
        program.run().expect_code(0).stderr
    };
    assert!(told(None, &[]).contains("at most 7 connections"));
    assert!(told(Some("8"), &[]).contains("at most 8 connections"));
    assert!(told(Some("8"), &["--max-connections", "9"]).contains("at most 9 connections"));
}

#[test]
fn a_hangup_applies_what_can_change_and_says_what_cannot() {
    let place = Scratch::new();
    let root = Scratch::with_files([("a", "x")]);
    let file = place.write("ftserve.toml", "idle-timeout = 300\n");
    let server = TestServer::builder(root.path())
        .args(["-c".as_ref(), file.as_os_str()])
        .start();
    let mut peer = server.connect();
    peer.ask(r#"{"filename":"a"}"#);

    fs::write(
        &file,
        "idle-timeout = \"50ms\"\nport = 1\nhidden = \"show\"\n",
    )
    .unwrap();
    server.signal(Signal::HUP);
    let said = server
        .stderr()
        .wait_until("all changes", |text| text.contains("port has"));
    assert!(said.contains("idle-timeout is 50ms now"), "{said}");
    assert!(
        said.contains("hidden has changed, which needs a restart"),
        "{said}"
    );
    assert!(
        said.contains("port has changed, which needs a restart"),
        "{said}"
    );
    // One that rests goes by the old limit until it is looked at again.
    peer.ask(r#"{"filename":"a"}"#);
    peer.expect_eof();

    let mut broken = fs::File::create(&file).unwrap();
    broken.write_all(b"idle-timeout = \"soon\"\n").unwrap();
    server.signal(Signal::HUP);
    server.stderr().wait_until("the trouble", |text| {
        text.contains("the options are not reloaded: ")
            && text.contains("ftserve.toml:1: idle-timeout is \"soon\"")
    });
    // What is as it was at the start needs none.
    fs::write(&file, "idle-timeout = 7\n").unwrap();
    server.signal(Signal::HUP);
    let said = server
        .stderr()
        .wait_until("the limit", |text| text.contains("idle-timeout is 7 now"));
    assert_eq!(said.matches("needs a restart").count(), 2, "{said}");

    fs::remove_file(&file).unwrap();
    server.signal(Signal::HUP);
    server.stderr().wait_until("the reason", |text| {
        text.contains("ftserve.toml cannot be read: No such file or directory")
    });
    server.connect().ask(r#"{"filename":"a"}"#);
    server.assert_alive();
}

#[test]
fn a_variable_that_a_container_platform_sets_for_a_service_is_no_option() {
    let root = Scratch::with_files([("a", "1")]);
    let serve = |value: &str| {
        let ftserve = Program::ftserve().env("FTSERVE_PORT", value);
        let ftserve = ftserve.env("FTSERVE_SERVICE_HOST", "10.0.0.1");
        let ftserve = ftserve.env("FTSERVE_SERVICE_PORT", "9521");
        let ftserve = ftserve.env("FTSERVE_PORT_9521_TCP", "tcp://10.0.0.1:9521");
        ftserve.args(["-v", "--index", "memory", "--bind", "127.0.0.1:0"])
    };
    for value in [
        "tcp://10.0.0.1:9521",
        "udp://10.0.0.1:9521",
        "sctp://[fd00::1]:9521",
        "TCP://10.0.0.1:9521",
        "tcp://10.0.0.1:9521/",
    ] {
        let served = serve(value).arg(root.path()).args(["--", "true"]).run();
        let note = format!("FTSERVE_PORT is ignored: {value} is the address of a service");
        assert!(served.stderr.contains(&note), "{}", served.stderr);
        served.expect_code(0);
    }
    // What a person may have meant is an error as before.
    for value in ["http://10.0.0.1:9521", "10.0.0.1:9521", "tcp"] {
        serve(value)
            .arg(root.path())
            .args(["--", "true"])
            .run()
            .expect_code(2);
    }
    let nowhere = nowhere().env("FTGET_PORT", "tcp://10.0.0.1:9521");
    nowhere
        .env("FTGET_SERVICE_PORT", "9521")
        .run()
        .expect_code(4);
}

#[test]
fn a_check_finds_what_a_server_cannot_start_with() {
    let place = Scratch::with_files([("taken", "no socket")]);
    let taken = format!("unix:{}", place.join("taken").display());
    let nowhere = format!("unix:{}", place.join("no/s").display());
    let socket = format!("unix:{}", place.join("s").display());
    let program = place.join("taken").display().to_string();
    // The last address is of the block for documentation (RFC 5737).
    for (bind, command, code) in [
        (&*nowhere, "true", 4),
        (&*taken, "true", 4),
        ("192.0.2.1:0", "true", 4),
        (&*socket, "no-such-command-here", 127),
        (&*socket, &*program, 126),
    ] {
        let run = |options: &[&str]| {
            let server = Program::ftserve().args(["-q", "-b", bind]).args(options);
            let server = server.arg(place.path()).args(["--", command]);
            server.run().expect_code(code).stderr
        };
        assert_eq!(run(&["--check-config"]), run(&[]));
    }
    let good = Program::ftserve().args(["--check-config", "-b", &socket, "-b", "127.0.0.1:0"]);
    good.arg(place.path())
        .args(["--", "true"])
        .run()
        .expect_code(0);
    assert!(!place.join("s").exists());
}

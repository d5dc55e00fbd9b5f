//! What people type first who know other programs: it works, or a hint says what to type.

use crate::harness::{Program, Scratch, TestServer};
use crate::place::Place;

fn hint_of(program: Program, args: &str) -> String {
    let words = args.split_whitespace();
    let refused = program.args(words).run().expect_code(2);
    let (line, hint) = refused.stderr.split_once("\nhint: ").expect("a hint");
    assert!(!line.contains('\n') && !line.contains(" -- "), "{line}");
    hint.trim_end().to_owned()
}

#[test]
fn options_and_forms_of_other_clients_get_a_hint() {
    for (args, hint) in [
        ("-r host:dir out", "-d out downloads into it"),
        ("host:dir .", "-d . downloads into it"),
        ("--list host:dir out", "-d out downloads into it"),
        ("-O name host:a", "-o FILE sets the name of the file"),
        (
            "--output-document=x host:a",
            "-o FILE sets the name of the file",
        ),
        ("-P dir host:a", "-d DIR sets the directory"),
        ("--output-dir dir host:a", "-d DIR sets the directory"),
        (
            "-avz host:dir out",
            "-r downloads a tree with its permissions and times; with --delete it is a mirror",
        ),
        ("-z host:a", "there is no compression; leave the option out"),
        (
            "-p host:a",
            "permissions and times are kept by default; a port is written HOST:PORT/PATH",
        ),
        (
            "-C - host:a",
            "the same command again continues a partial file; no option is needed",
        ),
        (
            "--preserve owner host:a",
            "only permissions (mode) and times (mtime) can be kept",
        ),
        ("--recursiv host:a", "did you mean --recursive?"),
        ("--no-such host:a", "ftget --help lists the options"),
    ] {
        assert_eq!(hint_of(Program::ftget(), args), hint, "{args}");
    }
}

#[test]
fn options_and_forms_of_other_servers_get_a_hint() {
    let directory = "the directory comes without an option: ftserve DIR";
    for (args, hint) in [
        ("-d .", directory),
        ("--directory .", directory),
        (". 9521", "-p PORT listens on another port"),
        ("--host 127.0.0.1 .", "-b ADDR listens on one address"),
        ("-w .", "uploads are not supported; ftserve only reads"),
        (". other", "ftserve --help lists the options"),
    ] {
        assert_eq!(hint_of(Program::ftserve(), args), hint, "{args}");
    }
}

#[test]
fn a_local_path_is_no_source_and_a_name_may_have_a_colon() {
    let place = Place::with([("7:b", "a name with a colon")]);
    let local = place.ftget().arg("./a").run().expect_code(2);
    let expected = "ftget: \"./a\" is a path on this machine, write HOST:PATH\n";
    assert_eq!(local.stderr, expected);
    let named = place.server.source("7:b");
    let fetched = place.ftget().args(["-o", "-"]).arg(&named);
    assert_eq!(fetched.run().expect_code(0).text(), "a name with a colon");
}

#[test]
fn the_name_and_the_directory_of_a_file_go_together() {
    let place = Place::with([("a", "content")]);
    let source = place.server.source("a");
    for (args, file) in [
        (["-d", "new", "-o", "name"], "new/name"),
        (["-d", "new", "-o", "deep/name"], "new/deep/name"),
    ] {
        place.here.make_dir("new/deep");
        place.ftget().args(args).arg(&source).run().expect_code(0);
        assert_eq!(place.here.read(file), b"content");
    }
    // The default of an environment gives way to the option.
    let program = place.ftget().env("FTGET_DIR", "elsewhere");
    program
        .args(["-o", "here"])
        .arg(&source)
        .run()
        .expect_code(0);
    assert_eq!(place.here.read("here"), b"content");
    place
        .ftget()
        .args(["--resume"])
        .arg(&source)
        .run()
        .expect_code(0);
    assert_eq!(place.here.read("a"), b"content");
}

#[test]
fn the_output_of_a_command_goes_into_a_file_that_is_verified_first() {
    let root = Scratch::new();
    let server = TestServer::builder(root.path())
        .args(["--publish", "sums=echo content"])
        .args(["--publish", "bad=sh -c 'echo half; exit 3'"])
        .start();
    let here = Scratch::new();
    let run = |args: &[&str], name: &str| {
        let client = Program::ftget().in_folder(here.path()).args(args);
        client.arg(format!("{}/@{name}", server.addr())).run()
    };
    run(&["-o", "sums"], "sums").expect_code(0);
    run(&["-d", "deep/er", "-o", "sums"], "sums").expect_code(0);
    assert_eq!(here.read("sums"), b"content\n");
    assert_eq!(here.read("deep/er/sums"), b"content\n");
    run(&["-o", "sums"], "bad").expect_code(1);
    let md5 = "00000000000000000000000000000000";
    run(&["--md5", md5, "-o", "sums"], "sums").expect_code(10);
    run(&["--if-exists", "error", "-o", "sums"], "sums").expect_code(12);
    run(&["--if-exists", "rename", "-o", "sums"], "sums").expect_code(0);
    let skipped = run(&["-vv", "--if-exists", "skip", "-o", "sums"], "sums");
    let told = skipped.expect_code(0).stderr;
    assert!(told.starts_with("ftget: @sums: skipped, "), "{told}");
    assert_eq!(here.read("sums"), b"content\n");
    assert_eq!(here.names(), ["deep", "sums", "sums.1"]);
}

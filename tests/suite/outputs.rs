//! What is written to as it is, by whatever name: descriptors, devices, FIFOs. None is replaced.

use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};

use crate::harness::{Output, Program, Scratch, refusing};
use crate::place::Place;

/// Runs a script of `sh` in the empty directory, with the client as `$ftget` and the source of the
/// file `a` as `$from`.
fn run(place: &Place, script: &str) -> Output {
    Program::system("sh", "dash")
        .args(["-c", script, "sh"])
        .env("ftget", env!("CARGO_BIN_EXE_ftget"))
        .env("from", place.server.source("a"))
        .env("FTGET_INDEX", "off")
        .in_folder(place.here.path())
        .run()
}

fn text(place: &Place, name: &str) -> String {
    String::from_utf8(place.here.read(name)).expect("UTF-8")
}

#[test]
fn every_name_of_standard_output_is_written_to() {
    let place = Place::with([("a", "bytes\n")]);
    symlink("/dev/stdout", place.here.join("first")).expect("a link");
    symlink("first", place.here.join("second")).expect("a link");
    for name in [
        "/dev/stdout",
        "/dev/fd/1",
        "/proc/self/fd/1",
        "/dev/./fd/1",
        "./first",
        "second",
    ] {
        let piped = run(&place, &format!("$ftget -o {name} $from | cat")).expect_code(0);
        assert_eq!(piped.text(), "bytes\n", "{name}");
        // What was in the file before stays before it.
        let script = format!("{{ echo before; $ftget -o {name} $from; echo behind; }} >file");
        run(&place, &script).expect_code(0);
        assert_eq!(text(&place, "file"), "before\nbytes\nbehind\n", "{name}");
    }
    for name in ["first", "second"] {
        let meta = fs::symlink_metadata(place.here.join(name)).expect("it is there");
        assert!(meta.is_symlink(), "{name} was replaced");
    }
}

#[test]
fn every_other_descriptor_is_written_to() {
    let place = Place::with([("a", "bytes\n")]);
    for name in ["/dev/fd/3", "/proc/self/fd/3", "/proc/$$/fd/3"] {
        let script = format!("exec 3>file; echo before >&3; $ftget -o {name} $from");
        assert_eq!(run(&place, &script).expect_code(0).text(), "");
        assert_eq!(text(&place, "file"), "before\nbytes\n", "{name}");
    }
    let output = run(&place, "$ftget -o /dev/stderr $from").expect_code(0);
    assert_eq!((output.text(), &*output.stderr), (String::new(), "bytes\n"));
    // Events go to standard output, as nothing else does.
    let output = run(&place, "$ftget --json -o /dev/fd/3 $from 3>file").expect_code(0);
    assert!(output.text().contains("\"summary\""), "{}", output.text());
}

#[test]
fn a_fifo_and_a_device_are_written_to_and_stay() {
    let place = Place::with([("a", "bytes\n")]);
    let script = "mkfifo fifo; ln -s fifo link; ln -s /dev/null null
        for name in fifo ./link; do
            $ftget -o $name $from & cat fifo || exit 1
            wait $! || exit 2
        done
        $ftget -o /dev/null $from && $ftget -o null $from";
    let output = run(&place, script).expect_code(0);
    assert_eq!(output.text(), "bytes\nbytes\n");
    let kind = |name: &str| {
        let meta = fs::symlink_metadata(place.here.join(name)).expect("it is there");
        meta.file_type()
    };
    assert!(kind("fifo").is_fifo() && kind("link").is_symlink() && kind("null").is_symlink());
    let device = fs::metadata("/dev/null").expect("a device").file_type();
    assert!(device.is_char_device());
}

#[test]
fn a_link_to_a_file_is_replaced_itself_and_the_file_stays() {
    let place = Place::with([("a", "bytes\n")]);
    place.here.write("file", "kept");
    symlink("file", place.here.join("link")).expect("a link");
    run(&place, "$ftget -o link $from").expect_code(0);
    assert_eq!(
        (text(&place, "link"), text(&place, "file")),
        ("bytes\n".into(), "kept".into())
    );
}

#[test]
fn receipts_that_nobody_takes_are_a_failure() {
    let place = Place::with([("a", "1")]);
    let closed = "import os, sys
r, w = os.pipe()
os.close(r)
os.dup2(w, 9)
os.set_inheritable(9, True)
os.execv(sys.argv[1], sys.argv[1:])";
    // A full disk has a code of its own.
    for (name, code) in [("/dev/fd/9", 3), ("/proc/self/fd/9", 3), ("/dev/full", 9)] {
        let fetch = Program::ftget().in_folder(place.here.path());
        let fetch = fetch.through(["python3", "-c", closed]);
        let fetch = fetch
            .args(["--receipts", name])
            .arg(place.server.source("a"));
        let output = fetch.run().expect_code(code);
        assert!(
            output.stderr.contains("receipts"),
            "{name}: {}",
            output.stderr
        );
    }
}

#[test]
fn an_output_that_was_closed_from_the_start_is_an_error_where_it_is_needed() {
    let place = Place::with([("a", "1")]);
    for command in [
        "$ftget -o - $from",
        "$ftget -o /dev/stdout $from",
        "$ftget --json $from",
        "$ftget --list $from",
        "$ftget -n $from",
        "$ftget --check $from",
    ] {
        let output = run(&place, &format!("{command} >&-")).expect_code(3);
        assert!(
            output.stderr.contains("standard output"),
            "{}",
            output.stderr
        );
        assert!(place.here.names().is_empty(), "{command}");
    }
    run(&place, "$ftget $from >&-").expect_code(0);
    // What goes nowhere because that is what was asked for.
    run(
        &place,
        "$ftget --json $from >/dev/null; $ftget --json $from 1<>/dev/null",
    )
    .expect_code(0);
}

#[test]
fn a_file_that_cannot_be_read_here_is_a_failure_of_a_check_with_its_reason() {
    let place = Place::with([("a", vec![1; 0x10000])]);
    place.here.write("a", vec![2; 0x10000]);
    // Programs are loaded by shorter reads.
    let Some(refusing) = refusing(&["preadv2=ENOSYS", "pread64@2&65536=EIO"]) else {
        return;
    };
    let check = place.ftget().args(["--index", "off", "--check"]);
    let check = check.arg(place.server.source("a")).through(&refusing);
    let failed = check.run().expect_code(3);
    assert!(
        failed.stderr.contains("Input/output error"),
        "{}",
        failed.stderr
    );
}

#[test]
fn a_link_that_cannot_be_read_on_the_server_is_a_failure_and_not_passed_over() {
    let root = Scratch::with_files([("a", "1")]);
    symlink("a", root.join("link")).expect("a link");
    let Some(prefix) = refusing(&["readlinkat=EIO"]) else {
        return;
    };
    let server = Program::ftserve().through(prefix);
    let server = server.args(["--no-prehash", "--index", "memory", "--bind", "127.0.0.1:0"]);
    let server = server.arg(root.path()).start();
    let said = server
        .stderr()
        .wait_until("it listens", |text| text.contains("listening on"));
    let address = said
        .lines()
        .find_map(|line| line.strip_prefix("listening on "));
    let here = Scratch::new();
    let fetch = Program::ftget()
        .in_folder(here.path())
        .args(["--json", "-r", "-d", "d"]);
    let source = format!("{}/", address.expect("an address").trim());
    let output = fetch.arg(source).run();
    assert_ne!(output.code, 0, "{output:?}");
    let events = output.json_lines();
    let failed = events.iter().find(|event| event["event"] == "error");
    assert_eq!(failed.expect("a failure")["filename"], "link");
}

#[test]
fn a_receipt_whose_file_cannot_be_read_is_an_error_whatever_else_differs() {
    let place = Place::with([("a", "1"), ("b", "2")]);
    let fetch = "$ftget --receipts r -r -d d ${from%a}";
    run(&place, fetch).expect_code(0);
    place.here.write("d/a", "other");
    // A name that is too long to be looked at is an error of the file system.
    let receipts = String::from_utf8(place.here.read("r")).expect("UTF-8");
    let long = "n".repeat(300);
    place
        .here
        .write("r", receipts.replace("/d/b\"", &format!("/d/{long}\"")));
    let check = place.ftget().args(["--check", "--receipts", "r"]);
    check.run().expect_code(3);
}

#[test]
fn receipts_go_into_a_fifo_that_is_read() {
    let place = Place::with([("a", "1")]);
    let script = "mkfifo fifo; $ftget --receipts fifo $from & cat fifo; wait $!";
    let output = run(&place, script).expect_code(0);
    assert!(
        output.text().contains("\"filename\":\"a\""),
        "{}",
        output.text()
    );
}

#[test]
fn messages_about_what_is_here_name_the_path_here() {
    let place = Place::with([("d/a", "1"), ("d/b", "22")]);
    place.here.write("m/a", "2");
    place.here.write("m/old", "x");
    let client = |args: &[&str]| {
        let client = place.ftget().args(args).args(["-r", "-d", "m"]);
        client.arg(place.server.source("d/")).run()
    };
    let previewed = client(&["-n", "--delete"]).expect_code(0).text();
    for line in [
        "m/a: would be replaced",
        "m/b: would be fetched",
        "m/old: would be deleted",
    ] {
        assert!(previewed.contains(line), "{line} in {previewed}");
    }
    let compared = client(&["--check"]).expect_code(1).text();
    for line in [
        "m/a: other content",
        "m/b: missing here",
        "m/old: only here",
    ] {
        assert!(compared.contains(line), "{line} in {compared}");
    }
    assert!(
        !format!("{previewed}{compared}").contains("d/"),
        "{previewed}{compared}"
    );
    for args in [&["-n", "--json", "--delete"][..], &["--check", "--json"]] {
        let events = client(args).json_lines();
        for name in ["a", "b", "old"] {
            let of_name = |event: &&serde_json::Value| event["file"] == format!("m/{name}");
            let event = events.iter().find(of_name).expect("its path here");
            assert_eq!(event["filename"], format!("d/{name}"));
        }
    }
    let output = client(&["-v", "--delete"]).expect_code(0);
    assert!(
        output.stderr.contains("m/old: deleted"),
        "{}",
        output.stderr
    );
    // A path that needs none says nothing of the directory that everything is in.
    let here = place.ftget().args(["-n"]).arg(place.server.source("d/a"));
    assert!(
        here.run()
            .expect_code(0)
            .text()
            .starts_with("a: would be fetched")
    );
}

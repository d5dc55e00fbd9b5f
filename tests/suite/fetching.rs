//! `ftget` from its command line to the file.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use crate::cases::{CONTENT, FILE, NamedCase};
use crate::harness::{Output, Program, Scratch, TestServer, md5_hex, noise};
use crate::place::Place;

#[test]
fn a_file_lands_under_its_name_in_the_current_folder() {
    let place = Place::with([("dir/a.txt", CONTENT)]);
    let output = place
        .ftget()
        .arg(place.server.source("dir/a.txt"))
        .run()
        .expect_code(0);
    place.assert_only(&[(FILE, CONTENT)]);
    assert!(
        output.stdout.is_empty(),
        "standard output is for data: {}",
        output.text()
    );
}

#[test]
fn files_of_every_interesting_size_arrive() {
    let sizes = [
        0, 1, 55, 56, 64, 4_095, 4_096, 4_097, 262_143, 262_144, 262_145, 1_048_576, 8_388_609,
    ];
    let place = Place::with(sizes.map(|size| (size.to_string(), noise(size as u64, size))));
    place
        .ftget()
        .args(sizes.map(|size| place.server.source(size.to_string())))
        .run()
        .expect_code(0);
    for size in sizes {
        assert!(
            place.here.read(size.to_string()) == noise(size as u64, size),
            "{size} bytes differ"
        );
    }
    assert_eq!(
        place.here.names().len(),
        sizes.len(),
        "{:?}",
        place.here.names()
    );
}

#[test]
fn output_names_the_file_or_standard_output() {
    let content = noise(1, 700_000);
    let place = Place::with([("big", &content)]);
    place
        .ftget()
        .args(["-o", "other"])
        .arg(place.server.source("big"))
        .run()
        .expect_code(0);
    place.assert_only(&[("other", &content)]);
    let output = place
        .ftget()
        .args(["-o", "-"])
        .arg(place.server.source("big"))
        .run()
        .expect_code(0);
    assert!(output.stdout == content, "standard output differs");
    place.assert_only(&[("other", &content)]);
    place
        .ftget()
        .args(["-o", "none/other"])
        .arg(place.server.source("big"))
        .run()
        .expect_code(3);
}

#[test]
fn a_folder_to_fetch_into_is_named_with_d() {
    let place = Place::with([("dir/a.txt", CONTENT), ("b", b"b")]);
    let target = place.here.make_dir("target");
    place
        .ftget()
        .arg("-d")
        .arg(&target)
        .args([place.server.source("dir/a.txt"), place.server.source("b")])
        .run()
        .expect_code(0);
    assert_eq!(
        (place.here.read("target/a.txt"), place.here.read("target/b")),
        (CONTENT.to_vec(), b"b".to_vec())
    );
}

#[test]
fn a_known_md5_must_match() {
    let place = Place::with([(FILE, CONTENT)]);
    let source = place.server.source(FILE);
    place
        .ftget()
        .args(["--md5", &md5_hex(CONTENT)])
        .arg(&source)
        .run()
        .expect_code(0);
    place.assert_only(&[(FILE, CONTENT)]);
    fs::remove_file(place.here.join(FILE)).expect("a removal");
    let output = place
        .ftget()
        .args(["--md5", &md5_hex("other")])
        .arg(&source)
        .run();
    assert!(
        matches!(output.code, 10 | 13),
        "{} {}",
        output.code,
        output.stderr
    );
    place.assert_only(&[]);
    for wrong in ["", "xyz", &md5_hex(CONTENT)[1..]] {
        let _case = NamedCase(wrong);
        place
            .ftget()
            .args(["--md5", wrong])
            .arg(&source)
            .run()
            .expect_code(2);
    }
}

#[test]
fn hundreds_of_small_files_come_in_one_call_from_two_servers() {
    let place = Place::with((0..300).map(|n| (format!("f{n}"), noise(n, 17 * n as usize))));
    let root = Scratch::with_files((0..50).map(|n| (format!("g{n}"), noise(n, n as usize))));
    let other = TestServer::plain(root.path());
    let first = (0..300).map(|n| place.server.source(format!("f{n}")));
    place
        .ftget()
        .args(first.chain((0..50).map(|n| other.source(format!("g{n}")))))
        .run()
        .expect_code(0);
    assert_eq!(place.here.names().len(), 350);
    for n in 0..300 {
        assert!(
            place.here.read(format!("f{n}")) == noise(n, 17 * n as usize),
            "f{n} differs"
        );
    }
}

#[test]
fn mode_and_time_come_along_and_set_user_id_does_not() {
    let place = Place::with([("run.sh", "#!/bin/sh\n"), ("su", "x")]);
    let then = SystemTime::UNIX_EPOCH + Duration::new(1_600_000_000, 123_456_789);
    fs::File::options()
        .write(true)
        .open(place.root.join("run.sh"))
        .and_then(|file| file.set_modified(then))
        .expect("an mtime");
    fs::set_permissions(place.root.join("run.sh"), fs::Permissions::from_mode(0o754))
        .expect("a mode");
    fs::set_permissions(place.root.join("su"), fs::Permissions::from_mode(0o4755)).expect("a mode");
    place
        .ftget()
        .args([place.server.source("run.sh"), place.server.source("su")])
        .run()
        .expect_code(0);
    let meta = fs::metadata(place.here.join("run.sh")).expect("the file");
    assert_eq!(meta.permissions().mode() & 0o7777, 0o754);
    assert_eq!(meta.modified().expect("an mtime"), then);
    assert_eq!(
        fs::metadata(place.here.join("su"))
            .expect("the file")
            .permissions()
            .mode()
            & 0o7000,
        0
    );
}

#[test]
fn odd_names_are_fetched_and_shown_without_a_byte_that_acts() {
    let names: [&[u8]; 10] = [
        b"line\nfeed",
        b"\x1b[31mred",
        "right\u{202e}txt.exe".as_bytes(),
        b"caf\xe9",
        b"\xb2\xe2\xca\xd4",
        b"-rf",
        b"$(id)",
        b"a b",
        b"%2e%2e",
        "größe".as_bytes(),
    ];
    let place = Place::with(names.map(|name| (OsStr::from_bytes(name), name)));
    for name in names {
        let _case = NamedCase(name.escape_ascii().to_string());
        let output = place
            .ftget()
            .arg("-v")
            .arg(place.server.source(OsStr::from_bytes(name)))
            .run()
            .expect_code(0);
        assert_harmless(&output);
        assert_eq!(place.here.read(OsStr::from_bytes(name)), name);
        let missing = [b"missing", name].concat();
        let output = place
            .ftget()
            .arg(place.server.source(OsString::from_vec(missing)))
            .run()
            .expect_code(11);
        assert_harmless(&output);
    }
    let mut found: Vec<Vec<u8>> = place
        .here
        .names()
        .into_iter()
        .map(OsString::into_vec)
        .collect();
    let mut expected: Vec<Vec<u8>> = names.iter().map(|name| name.to_vec()).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[track_caller]
fn assert_harmless(output: &Output) {
    let acts = |c: char| {
        c.is_control() && c != '\n'
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(
        !output.stderr.contains(acts),
        "standard error would act on a terminal: {:?}",
        output.stderr
    );
}

#[test]
fn quiet_is_quiet_and_help_helps() {
    let place = Place::with([(FILE, CONTENT)]);
    let output = place
        .ftget()
        .arg("-q")
        .arg(place.server.source(FILE))
        .run()
        .expect_code(0);
    assert_eq!((output.text().as_str(), output.stderr.as_str()), ("", ""));
    for program in [Program::ftget, Program::ftserve] {
        let help = program().arg("--help").run().expect_code(0);
        assert!(help.text().contains("Usage"), "{}", help.text());
        let version = program().arg("--version").run().expect_code(0);
        assert!(
            version.text().contains(env!("CARGO_PKG_VERSION")),
            "{}",
            version.text()
        );
    }
}

#[test]
fn flags_are_environment_variables_too() {
    let place = Place::with([(FILE, CONTENT)]);
    let target = place.here.make_dir("target");
    place
        .ftget()
        .env("FTGET_DIR", &target)
        .arg(place.server.source(FILE))
        .run()
        .expect_code(0);
    assert_eq!(place.here.read("target/a.txt"), CONTENT);
}

#[test]
fn switches_in_the_environment_are_read_as_people_write_them() {
    let place = Place::with([(FILE, CONTENT)]);
    let with = |value: &str| {
        let source = place.server.source(FILE);
        place.ftget().env("FTGET_JSON", value).arg(source).run()
    };
    let cases = [
        ("1", true),
        ("yes", true),
        ("true", true),
        ("0", false),
        ("no", false),
    ];
    for (value, is_on) in cases {
        let output = with(value).expect_code(0);
        assert_eq!(!output.stdout.is_empty(), is_on, "{value}");
    }
    with("perhaps").expect_code(2);
}

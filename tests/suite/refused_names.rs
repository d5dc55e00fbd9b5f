//! Names that a destination cannot have: they are the cause, and cost no bytes.

use crate::harness::noise;
use crate::harness::{in_own_mounts, refusing};
use crate::place::{Place, event};

#[test]
fn a_name_that_a_rename_refuses_is_the_cause_and_leaves_nothing() {
    let place = Place::with([("small", &b"1"[..]), ("large", &noise(1, 1 << 20))]);
    for error in ["ENOENT", "EINVAL", "EILSEQ", "ENAMETOOLONG"] {
        for (name, policy) in [
            ("small", "update"),
            ("large", "update"),
            ("small", "rename"),
        ] {
            let Some(prefix) = refusing(&[&format!("renameat,renameat2,linkat={error}")]) else {
                return;
            };
            let program = place.ftget().args(["--json", "--if-exists", policy]);
            let program = program.arg(place.server.source(name)).through(prefix);
            let output = program.run().expect_code(3);
            let events = output.json_lines();
            let failed = event(&events, "error");
            assert_eq!(failed["reason"], "local_name", "{error}: {failed}");
            let words = format!("does not accept the name {name}");
            let message = failed["message"].as_str().expect("a text");
            assert!(message.contains(&words), "{error}: {message}");
            assert!(!output.stderr.contains("retrying"), "{}", output.stderr);
            place.assert_only(&[]);
        }
    }
}

#[test]
fn an_unusual_name_that_may_not_be_renamed_is_the_cause() {
    let place = Place::with([("a:b", "1"), ("usual", "2")]);
    for error in ["EPERM", "EACCES"] {
        let Some(prefix) = refusing(&[&format!("renameat,renameat2,linkat={error}")]) else {
            return;
        };
        let run = |name| {
            let program = place.ftget().arg(place.server.source(name));
            program.through(&prefix).run().expect_code(3).stderr
        };
        assert!(run("a:b").contains("does not accept the name a:b"));
        assert!(!run("usual").contains("does not accept the name"));
    }
}

/// Fetches a tree into an exFAT file system.
const ON_EXFAT: &str = r#"
cd "$1"; mkdir m; truncate -s 32M image; mkfs.exfat image > /dev/null || exit 99
disk=$(losetup --find --show image) || exit 99
trap 'umount m; losetup -d $disk' EXIT
mount.exfat-fuse $disk m > /dev/null 2>&1 || mount $disk m || exit 99
"$2" --preserve none --json -r -d m "$3"; code=$?
find m -mindepth 1 | sort >&2
exit $code"#;

#[test]
fn bytes_of_a_file_whose_name_exfat_refuses_are_not_fetched() {
    let large = noise(2, 1 << 20);
    let place = Place::with([
        ("a:b", &large),
        ("c?", &large),
        ("d|/e", &large),
        ("usual", &b"1"[..].to_vec()),
    ]);
    let args = [
        place.here.path().into(),
        env!("CARGO_BIN_EXE_ftget").into(),
        place.server.source(""),
    ];
    let Some(output) = in_own_mounts(ON_EXFAT, args) else {
        return;
    };
    let output = output.expect_code(3);
    let events = output.json_lines();
    let summary = event(&events, "summary");
    assert_eq!(
        (&summary["done"], &summary["bytes"]),
        (&1.into(), &1.into()),
        "{summary}"
    );
    let failed = events.iter().filter(|event| event["event"] == "error");
    assert!(failed.clone().count() >= 3, "{events:?}");
    assert!(
        failed
            .clone()
            .all(|failed| failed["reason"] == "local_name"),
        "{events:?}"
    );
    assert!(
        output.stderr.ends_with("m/usual\n") && !output.stderr.contains(".ft-"),
        "{}",
        output.stderr
    );
}

#[test]
fn a_long_name_that_gets_a_number_is_cut_between_characters() {
    let long = "é".repeat(127);
    let place = Place::with([(&*long, "1")]);
    place.here.write(&long, "here");
    let program = place.ftget().args(["--if-exists", "rename"]);
    program.arg(place.server.source(&long)).run().expect_code(0);
    let numbered = format!("{}.1", "é".repeat(126));
    place.assert_only(&[(&long, b"here"), (&numbered, b"1")]);
}

//! A file system that is full, or becomes so.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{CWD, Mode, mkfifoat};

use super::answers::{FILE, OLD, answer, file_header, header, honest, large};
use super::server::{Act, HostileServer};
use super::visit::{assert_one_clear_line, assert_only, partial_name, visit, watch};
use crate::harness::{Output, Program, Scratch, md5_hex, noise};

/// A server that promises so many bytes and sends none of them.
fn promising(total_size: u64) -> HostileServer {
    let text = header(FILE, total_size, &md5_hex("anything"), "");
    HostileServer::repeating(vec![Act::Send(answer(text, b"")), Act::Stall])
}

fn server_of(content: Vec<u8>) -> HostileServer {
    HostileServer::start(move |request| honest(&content, request))
}

#[test]
fn a_file_larger_than_the_free_space_is_refused_before_its_first_byte() {
    let server = promising(2 << 20);
    if let Some(output) = visit_small_disk(&server, "size=1m", "") {
        let output = output.expect_code(9);
        assert_one_clear_line(&output, "2 MiB on a disk of 1 MiB");
        assert_kept(&output);
    }

    // A hundred times the whole disk: some file systems compress, and their figures are advice.
    let folder = Scratch::with_files([(FILE, OLD)]);
    let facts = rustix::fs::statvfs(folder.path()).expect("the size of the disk");
    let server = promising(100 * facts.f_blocks * facts.f_frsize);
    let source = server.source(FILE);
    let output = watch(
        Program::ftget()
            .args(["--retry", "0", "-d"])
            .arg(folder.path())
            .arg(source),
    );
    assert_one_clear_line(&output.expect_code(9), "more than is free");
    assert_only(&folder, FILE, OLD);
}

#[test]
fn a_file_that_just_fits_is_fetched() {
    let content = noise(21, 900_000);
    let server = server_of(content.clone());
    let Some(output) = visit_small_disk(&server, "size=1m", "") else {
        return;
    };
    let files = [FILE.as_bytes(), b"\n", &content].concat();
    assert!(output.expect_code(0).stdout == files, "the file differs");
}

#[test]
fn a_full_disk_is_named_and_nothing_is_left_behind() {
    let fill = r#"head -c 1000000 /dev/zero > "$folder/filler""#;
    for bytes in [60_000, 200_000, 400_000] {
        let server = server_of(noise(22, bytes));
        let Some(output) = visit_small_disk(&server, "size=1m", fill) else {
            return;
        };
        let output = output.expect_code(9);
        assert_one_clear_line(&output, "a full disk");
        assert_eq!(output.stdout, [b"file.bin\nfiller\n", OLD].concat());
    }
}

#[test]
fn a_disk_that_another_fills_meanwhile_is_named_and_the_old_file_kept() {
    // Two FIFOs outside the small disk: half is here, and the disk is full.
    let signals = Scratch::new();
    let [half_way, filled] = ["half", "filled"].map(|name| {
        let path = signals.join(name);
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).expect("a FIFO");
        path
    });
    let content = noise(25, 700_000);
    let partial = partial_name(FILE, &content);
    // What was sent is on the disk when the client has come to write it, and not before.
    let fill = format!(
        r#"(read -r _ < {}
        until [ "$(stat -c %s "$folder/{partial}" 2> /dev/null)" = 400000 ]; do sleep 0.01; done
        cat /dev/zero > "$folder/filler" 2> /dev/null; echo > {}) &"#,
        half_way.display(),
        filled.display()
    );
    let server = HostileServer::start(move |_| {
        let (half_way, filled) = (half_way.clone(), filled.clone());
        vec![
            Act::Send(answer(file_header(&content, ""), &content[..400_000])),
            Act::meanwhile(move || {
                fs::write(&half_way, "\n").expect("the word to fill the disk");
                fs::read(&filled).expect("the word that it is full");
            }),
            Act::Send(content[400_000..].to_vec()),
        ]
    });
    let Some(output) = visit_small_disk(&server, "size=1m", &fill) else {
        return;
    };
    let output = output.expect_code(9);
    assert_one_clear_line(&output, "filled by another");
    // What is there of the new file waits for space.
    let names = format!("{partial}\n{FILE}\nfiller\n");
    let wanted = [names.as_bytes(), OLD].concat();
    assert_eq!(output.text(), String::from_utf8_lossy(&wanted));
}

#[test]
fn a_disk_without_a_free_inode_is_a_full_disk() {
    for bytes in [10, 400_000] {
        let server = server_of(noise(23, bytes));
        // The folder and the old file.
        let Some(output) = visit_small_disk(&server, "size=1m,nr_inodes=2", "") else {
            return;
        };
        let output = output.expect_code(9);
        assert_one_clear_line(&output, "no inode");
        assert_kept(&output);
    }
}

#[test]
fn a_file_that_may_not_grow_is_given_up_in_time() {
    let content = large();
    let folder = Scratch::with_files([(FILE, OLD)]);
    let server = server_of(content);
    let script = r#"trap '' XFSZ; exec "$@""#;
    let program = Program::system("prlimit", "util-linux")
        .args(["--fsize=500000", "sh", "-c", script, "sh"])
        .args([env!("CARGO_BIN_EXE_ftget"), "--retry", "0", "-d"])
        .arg(folder.path())
        .arg(server.source(FILE));
    let output = watch(program).expect_code(9);
    assert_one_clear_line(&output, "a limit of the file's size");
    assert_eq!(folder.read(FILE), OLD);
}

#[test]
fn a_partial_file_takes_no_more_of_the_disk_than_has_come() {
    // Small enough for any disk, and most of it never comes.
    let content = noise(24, 30 << 20);
    let server = HostileServer::repeating(vec![
        Act::Send(answer(file_header(&content, ""), &content[..100_000])),
        Act::Close,
    ]);
    let folder = Scratch::with_files([(FILE, OLD)]);
    visit(folder.path(), ["--retry", "0", &server.source(FILE)]).expect_code(4);
    assert_eq!(folder.read(FILE), OLD);
    let partial = folder.join(partial_name(FILE, &content));
    let facts = fs::metadata(partial).expect("the partial file");
    assert_eq!(facts.len(), 100_000);
    assert!(
        facts.blocks() * 512 < 1 << 20,
        "{} blocks are taken",
        facts.blocks()
    );
}

/// The old file alone is in the folder, whole.
#[track_caller]
fn assert_kept(output: &Output) {
    assert_eq!(
        output.stdout,
        [FILE.as_bytes(), b"\n", OLD].concat(),
        "what is in the folder"
    );
}

/// Runs the client in a mount namespace of its own, where its folder is a small file system
/// with an old file in it, after `before`, a line of shell. Standard output is the names left
/// in the folder and then the content of [`FILE`]. `None` where that needs a privilege that
/// this machine does not give.
#[track_caller]
fn visit_small_disk(server: &HostileServer, options: &str, before: &str) -> Option<Output> {
    let folder = Scratch::new();
    let script = format!(
        r#"folder=$1; shift
        mount -t tmpfs -o {options} tmpfs "$folder" || exit 99
        printf '%s\n' '{}' > "$folder/{FILE}"
        {before}
        "$@" -d "$folder"; code=$?
        ls -A "$folder"; cat "$folder/{FILE}"
        exit $code"#,
        String::from_utf8_lossy(OLD).trim_end(),
    );
    let output = watch(
        Program::system("unshare", "util-linux")
            .args(["--map-root-user", "--mount", "sh", "-c", &script, "sh"])
            .arg(folder.path())
            .args([
                env!("CARGO_BIN_EXE_ftget"),
                "--retry",
                "0",
                &server.source(FILE),
            ]),
    );
    (!could_not_mount(&output)).then_some(output)
}

/// Whether a script that mounts a file system, and else ends with 99, was not allowed to.
pub(super) fn could_not_mount(output: &Output) -> bool {
    let could_not = output.code == 99 || output.stderr.starts_with("unshare:");
    if could_not {
        // Seen with `--nocapture`; the limit of a file's size above is tested everywhere.
        let note = format!(
            "not tested, no file system may be mounted here: {}",
            output.stderr
        );
        let _ = std::io::stderr().write_all(note.as_bytes());
    }
    could_not
}

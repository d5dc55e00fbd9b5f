//! Destinations that an enemy, or bad luck, has prepared.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, Mode, mkfifoat};

use super::answers::{CONTENT, FILE, OLD, answer, file_header, honest, large};
use super::server::{Act, HostileServer};
use super::visit::{PROMPT, assert_one_clear_line, assert_only, partial_name, visit, watch};
use crate::harness::{Program, Scratch};

fn server_of(content: &[u8]) -> HostileServer {
    let content = content.to_vec();
    HostileServer::start(move |request| honest(&content, request))
}

fn make_fifo(path: &Path) {
    mkfifoat(CWD, path, Mode::from_raw_mode(0o600)).expect("a FIFO");
}

const SECRET: &[u8] = b"must stay as it is\n";

#[test]
fn what_lies_at_the_partial_files_name_is_neither_followed_nor_written() {
    let content = large();
    type Plant = fn(&Scratch, &Path);
    let plants: [(&str, Plant); 6] = [
        ("a symlink", |outside, path| {
            symlink(outside.join("secret"), path).expect("a symlink")
        }),
        ("a dangling symlink", |outside, path| {
            symlink(outside.join("missing"), path).expect("a symlink")
        }),
        ("a hard link", |outside, path| {
            fs::hard_link(outside.join("secret"), path).expect("a hard link")
        }),
        ("a FIFO", |_, path| make_fifo(path)),
        ("a folder", |_, path| {
            fs::create_dir(path).expect("a folder")
        }),
        ("a folder with a file", |_, path| {
            fs::create_dir(path).expect("a folder");
            fs::write(path.join("x"), b"x").expect("a file");
        }),
    ];
    for (name, plant) in plants {
        // Both folders are on one file system, or there could be no hard link.
        let outside = Scratch::with_files([("secret", SECRET)]);
        let folder = Scratch::with_files([(FILE, OLD)]);
        plant(&outside, &folder.join(partial_name(FILE, &content)));
        let server = server_of(&content);
        let output = visit(folder.path(), ["--retry", "0", &server.source(FILE)]);
        assert_eq!(output.code, 0, "{name}: {}", output.stderr);
        assert!(output.elapsed < PROMPT, "{name}: took {:?}", output.elapsed);
        assert!(folder.read(FILE) == content, "{name}");
        assert_eq!(outside.read("secret"), SECRET, "{name}");
        assert_eq!(outside.names(), ["secret"], "{name}");
        let is_file = fs::symlink_metadata(folder.join(FILE))
            .expect("the file")
            .is_file();
        assert!(is_file, "{name}: the final name is no file");
        // Nothing of ours beside what was planted.
        assert!(folder.names().len() <= 2, "{name}: {:?}", folder.names());
    }
}

#[test]
fn a_partial_file_of_another_user_is_not_continued() {
    // Only root can make one.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let content = large();
    let folder = Scratch::new();
    let partial = folder.write(partial_name(FILE, &content), &content[..1_000]);
    std::os::unix::fs::chown(&partial, Some(65_534), None).expect("another owner");
    let server = server_of(&content);
    visit(folder.path(), ["--retry", "0", &server.source(FILE)]).expect_code(0);
    assert!(folder.read(FILE) == content);
    assert_eq!(
        fs::read(&partial).expect("the partial file"),
        content[..1_000]
    );
    assert!(server.requests()[0].size("offset").is_none());
}

#[test]
fn a_link_at_the_final_name_is_replaced_and_its_target_kept() {
    for target in ["secret", "missing"] {
        let outside = Scratch::with_files([("secret", SECRET)]);
        let folder = Scratch::new();
        symlink(outside.join(target), folder.join(FILE)).expect("a symlink");
        let server = server_of(CONTENT);
        visit(folder.path(), ["--retry", "0", &server.source(FILE)]).expect_code(0);
        assert_only(&folder, FILE, CONTENT);
        assert!(
            fs::symlink_metadata(folder.join(FILE))
                .expect("the file")
                .is_file()
        );
        assert_eq!(outside.read("secret"), SECRET);
        assert_eq!(outside.names(), ["secret"]);
    }

    let outside = Scratch::with_files([("secret", SECRET)]);
    let folder = Scratch::new();
    fs::hard_link(outside.join("secret"), folder.join(FILE)).expect("a hard link");
    let server = server_of(CONTENT);
    visit(folder.path(), ["--retry", "0", &server.source(FILE)]).expect_code(0);
    assert_only(&folder, FILE, CONTENT);
    assert_eq!(outside.read("secret"), SECRET);
}

#[test]
fn a_folder_at_the_final_name_is_a_local_error() {
    for content in [CONTENT.to_vec(), large()] {
        let folder = Scratch::new();
        folder.write(format!("{FILE}/inside"), SECRET);
        let server = server_of(&content);
        let output = visit(folder.path(), ["--retry", "0", &server.source(FILE)]).expect_code(3);
        assert_one_clear_line(&output, "a folder at the final name");
        assert_eq!(folder.names(), [FILE]);
        assert_eq!(folder.read(format!("{FILE}/inside")), SECRET);
    }
}

#[test]
fn a_fifo_at_the_final_name_blocks_nobody() {
    let folder = Scratch::new();
    make_fifo(&folder.join(FILE));
    let server = server_of(CONTENT);
    let output = visit(folder.path(), ["--retry", "0", &server.source(FILE)]);
    assert!(output.elapsed < PROMPT, "took {:?}", output.elapsed);
    let kind = fs::symlink_metadata(folder.join(FILE))
        .expect("the name")
        .file_type();
    assert_eq!(output.code, 3, "{}", output.stderr);
    assert!(kind.is_fifo(), "refused, and the FIFO is gone");
    assert_eq!(folder.names(), [FILE]);
}

#[test]
fn a_folder_that_is_missing_is_made_only_where_a_folder_was_named() {
    let scratch = Scratch::new();
    let server = server_of(CONTENT);
    let source = server.source(FILE);
    visit(&scratch.join("missing/deeper"), ["--retry", "0", &source]).expect_code(0);
    assert_eq!(scratch.read(format!("missing/deeper/{FILE}")), CONTENT);

    let path = scratch.join("absent/x");
    let program = Program::ftget().args(["--retry", "0", "-o"]).arg(path);
    let output = watch(program.arg(&source)).expect_code(3);
    assert_one_clear_line(&output, "-o in a missing folder");
    assert_eq!(scratch.names(), ["missing"]);
}

#[test]
fn a_file_where_a_folder_should_be_is_a_local_error() {
    let scratch = Scratch::with_files([("a file", SECRET)]);
    let server = server_of(CONTENT);
    let source = server.source(FILE);
    for folder in ["a file", "a file/deeper"] {
        let output = visit(&scratch.join(folder), ["--retry", "0", &source]).expect_code(3);
        assert_one_clear_line(&output, folder);
    }
    let path = scratch.join("a file/x");
    let program = Program::ftget().args(["--retry", "0", "-o"]).arg(path);
    let output = watch(program.arg(&source)).expect_code(3);
    assert_one_clear_line(&output, "-o below a file");
    assert_only(&scratch, "a file", SECRET);
    assert!(server.requests().is_empty());
}

#[test]
fn a_folder_as_the_output_file_is_an_error() {
    let scratch = Scratch::new();
    let folder = scratch.make_dir("folder");
    let server = server_of(CONTENT);
    let program = Program::ftget().args(["--retry", "0", "-o"]).arg(&folder);
    let output = watch(program.arg(server.source(FILE)));
    assert_eq!(output.code, 3, "{}", output.stderr);
    assert_one_clear_line(&output, "-o FOLDER");
    assert_eq!(scratch.names(), ["folder"]);
    assert!(fs::read_dir(folder).expect("the folder").next().is_none());
}

#[test]
fn a_folder_that_may_not_be_written_is_a_local_error() {
    for content in [CONTENT.to_vec(), large()] {
        let folder = Scratch::with_files([(FILE, OLD)]);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).expect("a mode");
        let server = server_of(&content);
        let mut program = Program::ftget()
            .args(["--retry", "0", "-d"])
            .arg(folder.path());
        program = program.arg(server.source(FILE));
        if rustix::process::geteuid().is_root() {
            // Root may write anywhere by a capability; without it root is an owner like others.
            program = program.through([
                "setpriv",
                "--bounding-set",
                "-dac_override,-dac_read_search",
            ]);
        }
        let output = watch(program);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
        let output = output.expect_code(3);
        assert_one_clear_line(&output, "a read-only folder");
        assert_only(&folder, FILE, OLD);
    }
}

#[test]
fn a_folder_moved_away_meanwhile_gets_the_file_and_not_what_took_its_name() {
    let content = large();
    let scratch = Scratch::new();
    let folder = scratch.make_dir("folder");
    scratch.write(format!("folder/{FILE}"), OLD);
    let (from, to) = (folder.clone(), scratch.join("moved"));
    let full = content.clone();
    let server = HostileServer::start(move |_| {
        let (from, to) = (from.clone(), to.clone());
        let half = full.len() / 2;
        vec![
            Act::Send(answer(file_header(&full, ""), &full[..half])),
            Act::meanwhile(move || {
                fs::rename(&from, &to).expect("the folder moved");
                fs::create_dir(&from).expect("another folder in its place");
                fs::write(from.join(FILE), SECRET).expect("a file in it");
            }),
            Act::Send(full[half..].to_vec()),
        ]
    });
    visit(&folder, ["--retry", "0", &server.source(FILE)]).expect_code(0);
    assert!(scratch.read(format!("moved/{FILE}")) == content);
    assert_eq!(scratch.read(format!("folder/{FILE}")), SECRET);
    assert_eq!(fs::read_dir(&folder).expect("the new folder").count(), 1);
    assert_eq!(
        fs::read_dir(scratch.join("moved"))
            .expect("the old folder")
            .count(),
        1
    );
}

#[test]
fn a_folder_removed_meanwhile_is_a_local_error() {
    let content = large();
    let scratch = Scratch::new();
    let folder = scratch.make_dir("folder");
    let gone = folder.clone();
    let full = content.clone();
    let server = HostileServer::start(move |_| {
        let gone = gone.clone();
        vec![
            Act::Send(answer(file_header(&full, ""), &full[..1_000])),
            // The partial file may come into being while its folder is being emptied.
            Act::meanwhile(move || while fs::remove_dir_all(&gone).is_err() {}),
            Act::Send(full[1_000..].to_vec()),
        ]
    });
    let output = visit(&folder, ["--retry", "0", &server.source(FILE)]).expect_code(3);
    assert_one_clear_line(&output, "a removed folder");
    assert_eq!(scratch.names(), [""; 0]);
}

#[test]
fn a_file_that_appears_meanwhile_is_kept_if_it_must_not_be_replaced() {
    for content in [CONTENT.to_vec(), large()] {
        let folder = Scratch::new();
        let path = folder.join(FILE);
        let full = content.clone();
        let server = HostileServer::start(move |_| {
            let path = path.clone();
            let half = full.len() / 2;
            vec![
                Act::Send(answer(file_header(&full, ""), &full[..half])),
                Act::meanwhile(move || fs::write(&path, SECRET).expect("another's file")),
                Act::Send(full[half..].to_vec()),
            ]
        });
        let args = ["--retry", "0", "--if-exists", "error", &server.source(FILE)];
        let output = visit(folder.path(), args).expect_code(12);
        assert_one_clear_line(&output, "a file that appeared");
        assert_eq!(folder.read(FILE), SECRET);
    }
}

#[test]
fn a_folder_that_appears_at_the_final_name_meanwhile_is_a_local_error() {
    let content = large();
    let folder = Scratch::new();
    let path = folder.join(FILE);
    let full = content.clone();
    let server = HostileServer::start(move |_| {
        let path = path.clone();
        vec![
            Act::Send(answer(file_header(&full, ""), &full[..1_000])),
            Act::meanwhile(move || fs::create_dir(&path).expect("a folder")),
            Act::Send(full[1_000..].to_vec()),
        ]
    });
    let output = visit(folder.path(), ["--retry", "0", &server.source(FILE)]).expect_code(3);
    assert_one_clear_line(&output, "a folder that appeared");
    assert!(fs::metadata(folder.join(FILE)).expect("the name").is_dir());
}

#[test]
fn a_partial_file_held_by_another_run_is_left_to_it() {
    let content = large();
    let folder = Scratch::new();
    let partial = folder.write(partial_name(FILE, &content), &content[..1_000]);
    let held = fs::File::open(&partial).expect("the partial file");
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).expect("a lock");
    let server = server_of(&content);
    visit(folder.path(), ["--retry", "0", &server.source(FILE)]).expect_code(0);
    assert!(folder.read(FILE) == content);
    assert_eq!(
        held.metadata().expect("its facts").len(),
        1_000,
        "another run's file was written"
    );
    assert_eq!(
        held.metadata().expect("its facts").nlink(),
        1,
        "another run's file was removed"
    );
    assert_eq!(
        fs::read(&partial).expect("the partial file"),
        content[..1_000]
    );
}

#[test]
fn the_mode_of_a_peer_never_sets_more_than_permission_bits() {
    let server = HostileServer::repeating(vec![Act::Send(answer(
        file_header(CONTENT, r#", "mode": "0777""#),
        CONTENT,
    ))]);
    let folder = Scratch::new();
    visit(folder.path(), [server.source(FILE)]).expect_code(0);
    let mode = fs::metadata(folder.join(FILE)).expect("the file").mode();
    assert_eq!(mode & 0o7000, 0, "{mode:o}");
    assert_only(&folder, FILE, CONTENT);
}

#[test]
fn a_reader_that_goes_ends_the_client_in_one_line() {
    let content = large();
    let server = server_of(&content);
    let script = r#"{ "$@"; echo "code $?" >&2; } | head -c 1"#;
    let ftget = env!("CARGO_BIN_EXE_ftget");
    let output = Program::system("sh", "dash")
        .args([
            "-c",
            script,
            "sh",
            ftget,
            "--retry",
            "0",
            "-o",
            "-",
            &server.source(FILE),
        ])
        .run();
    assert_eq!(output.stdout, content[..1]);
    assert_eq!(output.stderr, "ftget: standard output was closed\ncode 3\n");
}

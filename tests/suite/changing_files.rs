//! Files that change while they are sent, and between two requests.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};

use serde_json::json;

use crate::cases::{CONTENT, FILE, NamedCase};
use crate::harness::{Answer, Ending, RawPeer, Scratch, TestServer, noise};

#[test]
fn a_file_that_shrinks_while_it_is_sent_is_abandoned() {
    let (server, mut peer, root) = halfway();
    OpenOptions::new()
        .write(true)
        .open(root.join("big"))
        .and_then(|file| file.set_len(1_000_000))
        .expect("truncate");
    let (rest, _) = peer.read_to_end();
    assert!(rest.len() < BIG, "all {BIG} bytes of a file that shrank");
    server.assert_alive();
}

#[test]
fn a_file_that_is_rewritten_while_it_is_sent_is_abandoned_before_its_last_byte() {
    let (server, mut peer, root) = halfway();
    let file = OpenOptions::new()
        .write(true)
        .open(root.join("big"))
        .expect("the file");
    file.write_all_at(b"rewritten", (BIG - 100) as u64)
        .expect("a write");
    let (rest, ending) = peer.read_to_end();
    assert!(
        rest.len() < BIG,
        "all {BIG} bytes of a file that was rewritten"
    );
    assert_eq!(ending, Ending::Reset, "an abandoned body ends in a reset");
    server.assert_alive();
    // Asked again, it is the new content with its own digest.
    let mut content = noise(5, BIG);
    content[BIG - 100..BIG - 91].copy_from_slice(b"rewritten");
    get(&mut server.connect(), "big").assert_file("big", &content);
}

#[test]
fn a_file_that_grows_while_it_is_sent_is_finished_as_it_was() {
    let (_server, mut peer, root) = halfway();
    let mut file = OpenOptions::new()
        .append(true)
        .open(root.join("big"))
        .expect("the file");
    file.write_all(&noise(6, 100_000)).expect("an append");
    assert!(peer.read_exact(BIG) == noise(5, BIG), "the body differs");
    get(&mut peer, FILE).assert_file(FILE, CONTENT);
}

#[test]
fn a_file_that_is_replaced_renamed_linked_or_chmoded_while_it_is_sent_is_finished() {
    type Change = fn(&Scratch);
    let changes: [(&str, Change); 5] = [
        ("replaced", |root| {
            root.write("new", noise(7, BIG));
            fs::rename(root.join("new"), root.join("big")).expect("a rename");
        }),
        ("renamed", |root| {
            fs::rename(root.join("big"), root.join("old")).expect("a rename")
        }),
        ("linked", |root| {
            fs::hard_link(root.join("big"), root.join("link")).expect("a link")
        }),
        ("chmod-ed", |root| {
            fs::set_permissions(root.join("big"), Permissions::from_mode(0o600)).expect("a mode")
        }),
        ("removed", |root| {
            fs::remove_file(root.join("big")).expect("a removal")
        }),
    ];
    for (name, change) in changes {
        let _case = NamedCase(name);
        let (_server, mut peer, root) = halfway();
        change(&root);
        assert!(peer.read_exact(BIG) == noise(5, BIG), "the body differs");
        get(&mut peer, FILE).assert_file(FILE, CONTENT);
    }
}

#[test]
fn a_changed_file_is_served_anew() {
    let root = Scratch::new();
    let server = TestServer::plain(root.path());
    let mut peer = server.connect();
    for size in [10, 5_000, 300_000, 2_000_000] {
        for seed in 0..4 {
            root.write("file", noise(seed, size));
            get(&mut peer, "file").assert_file("file", &noise(seed, size));
        }
        root.write("new", noise(9, size));
        fs::rename(root.join("new"), root.join("file")).expect("a rename");
        get(&mut peer, "file").assert_file("file", &noise(9, size));
    }
}

fn get(peer: &mut RawPeer, name: &str) -> Answer {
    peer.ask(json!({"filename": name}).to_string())
}

/// A server in the midst of sending `big`: its header is read, its body is not.
fn halfway() -> (TestServer, RawPeer, Scratch) {
    let root = Scratch::with_files([("big", noise(5, BIG)), (FILE, CONTENT.to_vec())]);
    let server = TestServer::plain(root.path());
    let mut peer = server.connect();
    peer.shrink_receive_buffer(262_144);
    peer.send_frame(r#"{"filename":"big"}"#);
    let header = peer.read_header();
    assert_eq!(
        (header.code(), header.size("total_size")),
        (None, BIG as u64),
        "{}",
        header.text
    );
    // The sockets hold some MiB at most, so the server now waits for this reader.
    (server, peer, root)
}

/// More than the buffers of two sockets hold (`tcp_wmem` goes to 4 MiB, `tcp_rmem` to 6).
const BIG: usize = 24 << 20;

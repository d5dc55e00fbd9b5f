//! Sockets in the file system.

use crate::cases::{CONTENT, FILE};
use crate::harness::{Program, Scratch, TestServer, ftget, noise};

#[test]
fn a_unix_socket_serves_as_a_port_does() {
    let root = Scratch::with_files([(FILE, CONTENT.to_vec()), ("big", noise(1, 3_000_000))]);
    let place = Scratch::new();
    let address = format!("unix:{}", place.join("ft.sock").display());
    let mut server = TestServer::builder(root.path()).bind(&address).start();
    assert_eq!(server.addr(), address);
    let mut peer = server.connect();
    peer.ask(r#"{"filename":"a.txt"}"#)
        .assert_file(FILE, CONTENT);
    peer.ask(r#"{"filename":"big"}"#)
        .assert_file("big", &noise(1, 3_000_000));
    let mut text = server.connect();
    text.send("a.txt");
    text.read_answer().assert_file(FILE, CONTENT);
    let mut bad = server.connect();
    bad.send_frame("[]");
    assert_eq!(bad.read_answer().code(), Some("bad_frame"));
    bad.expect_eof();
    assert_eq!(server.terminate(), 143);
    assert!(
        place.names().is_empty(),
        "the socket was left behind: {:?}",
        place.names()
    );
}

#[test]
fn ftget_fetches_through_a_unix_socket() {
    let root = Scratch::with_files([("dir/big", noise(1, 3_000_000))]);
    let place = Scratch::new();
    let address = format!("unix:{}", place.join("ft.sock").display());
    let server = TestServer::builder(root.path()).bind(&address).start();
    let here = Scratch::new();
    let out = here.join("out");
    ftget([server.source("dir/big"), "-o".into(), out.into()]).expect_code(0);
    assert!(here.read("out") == noise(1, 3_000_000), "the file differs");
    // A socket nobody listens on is a network failure with a hint.
    let output = ftget([format!("unix:{}:x", place.join("none").display())]).expect_code(4);
    assert!(output.stderr.contains("none"), "{}", output.stderr);
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let root = Scratch::with_files([(FILE, CONTENT)]);
    let place = Scratch::new();
    let path = place.join("ft.sock");
    let address = format!("unix:{}", path.display());
    // A killed server leaves its socket behind. One of this process might live on for a moment, in
    // a child that is just being made.
    let mut killed = TestServer::builder(root.path()).bind(&address).start();
    killed.kill();
    assert!(path.exists());
    let server = TestServer::builder(root.path()).bind(&address).start();
    server.assert_alive();
    let output = Program::ftserve()
        .args(["--bind", &address])
        .arg(root.path())
        .run()
        .expect_code(4);
    assert!(output.stderr.contains("ft.sock"), "{}", output.stderr);
    server.assert_alive();
}

#[test]
fn what_is_no_socket_is_never_replaced() {
    let root = Scratch::with_files([(FILE, CONTENT)]);
    let place = Scratch::with_files([("precious", "data")]);
    let address = format!("unix:{}", place.join("precious").display());
    Program::ftserve()
        .args(["--bind", &address])
        .arg(root.path())
        .run()
        .expect_code(4);
    assert_eq!(place.read("precious"), b"data");
}

#[test]
fn a_socket_that_another_server_took_over_is_left_alone() {
    let root = Scratch::with_files([(FILE, CONTENT)]);
    let place = Scratch::new();
    let path = place.join("ft.sock");
    let address = format!("unix:{}", path.display());
    let mut first = TestServer::builder(root.path()).bind(&address).start();
    std::fs::remove_file(&path).expect("the socket");
    let second = TestServer::builder(root.path()).bind(&address).start();
    first.terminate();
    second.assert_alive();
}

#[test]
fn what_has_the_path_of_a_socket_and_is_none_is_called_what_it_is() {
    let root = Scratch::with_files([(FILE, CONTENT)]);
    let place = Scratch::new();
    place.write("file", "1");
    place.make_dir("directory");
    std::os::unix::fs::symlink("file", place.join("link")).unwrap();
    for (name, there, here) in [
        ("file", "a regular file", "a regular file"),
        ("directory", "a directory", "a directory"),
        ("link", "a regular file", "a symbolic link"),
    ] {
        let path = place.join(name);
        let fetched = ftget([format!("unix:{}:x", path.display())]).expect_code(4);
        let sentence = format!("it is {there}, not a socket");
        assert!(fetched.stderr.contains(&sentence), "{}", fetched.stderr);
        assert!(!fetched.stderr.contains("hint"), "{}", fetched.stderr);
        let served = Program::ftserve()
            .arg("--bind")
            .arg(format!("unix:{}", path.display()));
        let served = served.arg(root.path()).run().expect_code(4);
        let sentence = format!("it is {here}, not a socket");
        assert!(served.stderr.contains(&sentence), "{}", served.stderr);
        assert!(
            !served.stderr.contains("another program"),
            "{}",
            served.stderr
        );
    }
    assert_eq!(place.read("file"), b"1");
}

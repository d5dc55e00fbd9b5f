//! The table of first bytes, over real sockets: 200 samples, chosen once and for all.

use std::time::Duration;

use crate::cases::{CONTENT, FILE, NamedCase, PROMPT};
use crate::harness::{Scratch, TestServer, at_some_pace, frame};

fn server() -> (Scratch, TestServer) {
    let root = Scratch::with_files([(FILE, CONTENT)]);
    let server = TestServer::plain(root.path());
    (root, server)
}

#[test]
fn frame_lengths_cut_after_each_of_the_first_five_bytes_are_framed() {
    let (_root, server) = server();
    // 100 lengths spread over 20 to 65,536; some look like letters, TLS or telnet at first.
    let spread = (0..92_usize).map(|n| 20 + n * 720 % 65_517);
    let lookalikes = [
        0x0316, 0x0d0a, 0x4547, 0x4f50, 0x6162, 0xfdff, 0xffff, 0x1_0000,
    ];
    for (n, length) in spread.chain(lookalikes).enumerate() {
        let cut = n % 5 + 1;
        let _case = NamedCase(format!("a frame of {length} bytes cut after {cut}"));
        let start = r#"{"filename":"a.txt""#;
        let bytes = frame(format!("{start}{}}}", " ".repeat(length - start.len() - 1)));
        // Two bytes and two seconds of silence would be a name.
        at_some_pace(|_| {
            let mut peer = server.connect();
            peer.send(&bytes[..cut]);
            peer.assert_silence(Duration::from_millis(10));
            peer.send(&bytes[cut..]);
            let answer = peer.read_answer();
            answer.assert_file(FILE, CONTENT);
            assert!(answer.after < PROMPT, "answered after {:?}", answer.after);
        });
    }
}

#[test]
fn a_client_hello_gets_the_alert_that_tls_clients_understand() {
    let (_root, server) = server();
    for n in 0..40_usize {
        let (length, version, cut) = (4 + n * 420, (n % 4 + 1) as u8, n % 3);
        let _case = NamedCase(format!(
            "a record of {length} bytes, version 3.{version}, cut after {cut}"
        ));
        let record = u16::try_from(length)
            .expect("a record length")
            .to_be_bytes();
        let mut hello = vec![22, 3, version, record[0], record[1], 1, 0];
        hello.resize(5 + length, 0);
        at_some_pace(|_| {
            let mut peer = server.connect();
            if cut > 0 {
                peer.send(&hello[..cut]);
                peer.assert_silence(Duration::from_millis(10));
            }
            let _ = peer.try_send(&hello[cut..]);
            let (bytes, _) = peer.read_to_end();
            assert_eq!(
                bytes,
                [0x15, 3, 3, 0, 2, 2, 0x28],
                "the alert handshake_failure"
            );
            assert!(peer.elapsed() < PROMPT, "closed after {:?}", peer.elapsed());
        });
    }
}

#[test]
fn http_gets_501_and_is_never_ended_by_silence() {
    let (_root, server) = server();
    let methods = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PRI",
    ];
    for (n, method) in methods.into_iter().enumerate() {
        let _case = NamedCase(method);
        let request = format!("{method} /a.txt HTTP/1.1\r\nHost: localhost\r\n\r\n");
        at_some_pace(|_| {
            let mut peer = server.connect();
            if n % 2 == 1 {
                let cut = method.len();
                peer.send(&request[..cut]);
                peer.assert_silence(Duration::from_millis(10));
                peer.send(&request[cut..]);
            } else {
                peer.send(&request);
            }
            let (bytes, _) = peer.read_to_end();
            let text = String::from_utf8(bytes).expect("an HTTP response");
            assert!(text.starts_with("HTTP/1.1 501 "), "{text}");
            assert!(
                text.to_ascii_lowercase()
                    .contains("\r\nconnection: close\r\n"),
                "{text}"
            );
            assert!(peer.elapsed() < PROMPT, "closed after {:?}", peer.elapsed());
        });
    }
    let mut peer = server.connect();
    peer.send("BREW /pot HTTP/1.1\r\n\r\n");
    let (bytes, _) = peer.read_to_end();
    assert!(
        bytes.starts_with(b"HTTP/1.1 501 "),
        "a line that ends in HTTP/1.1: {}",
        String::from_utf8_lossy(&bytes)
    );
}

#[test]
fn a_control_byte_or_a_proxy_header_is_a_bad_frame() {
    let (_root, server) = server();
    let controls = (1..32_u8)
        .filter(|byte| ![b'\t', b'\n', b'\r'].contains(byte))
        .map(|byte| vec![byte, b'a', b'b', b'\n']);
    let others = [
        b"\x16\x03\x05\x00\x10".to_vec(),
        b"\x16\x02\x01\x00\x10".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 9521\r\n".to_vec(),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec(),
    ];
    for bytes in controls.chain(others) {
        let _case = NamedCase(bytes.escape_ascii().to_string());
        let mut peer = server.connect();
        peer.send(&bytes);
        let answer = peer.read_answer();
        assert_eq!(answer.code(), Some("bad_frame"), "{}", answer.text);
        assert!(answer.after < PROMPT, "answered after {:?}", answer.after);
        peer.expect_eof();
    }
}

#[test]
fn anything_else_is_a_name() {
    let names = [
        "aaa",
        "GE",
        "GETTER",
        "GET",
        "get a.txt",
        "PUTTY.EXE",
        "PRINT",
        "~~",
        "{}",
        "[x]",
        "\"a\"",
        "SSH-2.0-x",
        "测试",
        "ünder",
        "PROXYX",
    ];
    let root = Scratch::with_files(names.map(|name| (name, name)));
    let server = TestServer::plain(root.path());
    for name in names {
        for end in ["\n", "\r\n"] {
            let _case = NamedCase(format!("{name:?} and {end:?}"));
            let mut peer = server.connect();
            peer.send(format!("{name}{end}"));
            let answer = peer.read_answer();
            answer.assert_file(name, name.as_bytes());
            assert!(answer.after < PROMPT, "answered after {:?}", answer.after);
        }
    }
}

#[test]
fn an_ssh_banner_is_a_name_that_does_not_exist() {
    let (_root, server) = server();
    let mut peer = server.connect();
    peer.send("SSH-2.0-OpenSSH_9.9p1 Debian-1\r\n");
    let answer = peer.read_answer();
    assert_eq!(answer.code(), Some("not_found"), "{}", answer.text);
}

#[test]
fn the_first_request_fixes_the_spelling() {
    let (_root, server) = server();
    let mut framed = server.connect();
    framed
        .ask(r#"{"filename":"a.txt"}"#)
        .assert_file(FILE, CONTENT);
    framed.send("a.txt\n");
    assert_eq!(framed.read_answer().code(), Some("bad_frame"));
    let mut text = server.connect();
    text.send("a.txt\n");
    text.read_answer().assert_file(FILE, CONTENT);
    text.send(frame(r#"{"filename":"a.txt"}"#));
    let answer = text.read_answer();
    assert!(
        answer.code().is_some(),
        "a frame after text is a strange name: {}",
        answer.text
    );
}

//! Peers that nobody here wrote: the real programs people have.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::cases::{CONTENT, FILE, NamedCase};
use crate::harness::{Answer, Program, Scratch, TestServer, at_some_pace, noise};

fn script(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "suite", "peers", name]
        .iter()
        .collect()
}

/// Runs the notes' client for these names and checks that it received their contents.
#[track_caller]
fn notes_client(server: &TestServer, silence: &str, pause: &str, files: &[(&[u8], Vec<u8>)]) {
    let folder = Scratch::new();
    let names = files.iter().map(|(name, _)| {
        name.iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    });
    let port = server.port().to_string();
    Program::system("python3", "python3")
        .arg(script("notes_client.py"))
        .args(["127.0.0.1", &port])
        .arg(folder.path())
        .args([silence, pause])
        .args(names)
        .run()
        .expect_code(0);
    for (number, (name, content)) in files.iter().enumerate() {
        assert!(
            folder.read(number.to_string()) == *content,
            "{} differs",
            name.escape_ascii()
        );
    }
}

fn tree(files: &[(&[u8], Vec<u8>)]) -> Scratch {
    Scratch::with_files(
        files
            .iter()
            .map(|(name, content)| (std::ffi::OsStr::from_bytes(name), content)),
    )
}

#[test]
fn the_notes_client_fetches_several_files_on_one_connection() {
    let files: [(&[u8], Vec<u8>); 8] = [
        (b"hello.txt", b"hello".to_vec()),
        (b"big.bin", noise(1, 3_000_000)),
        (b"ab", noise(2, 5_000)),
        (b"abc", noise(3, 300_000)),
        (b"empty", Vec::new()),
        (b"dir/inner.txt", noise(4, 1_024)),
        // The names of a file in GBK and in UTF-8.
        (b"\xb2\xe2\xca\xd4.txt", noise(5, 70_000)),
        ("测试.txt".as_bytes(), noise(6, 70_001)),
    ];
    let root = tree(&files);
    let server = TestServer::plain(root.path());
    notes_client(&server, "0", "0", &files);
}

#[test]
fn the_notes_client_may_begin_with_a_name_of_two_or_three_bytes() {
    for name in [&b"ab"[..], b"abc"] {
        let _case = NamedCase(name.escape_ascii().to_string());
        let files = [(name, noise(1, 10_000)), (name, noise(1, 10_000))];
        let root = tree(&files);
        notes_client(&TestServer::plain(root.path()), "0", "0", &files);
    }
}

#[test]
fn the_notes_client_may_be_silent_for_fifteen_seconds_first() {
    let files: [(&[u8], Vec<u8>); 2] = [(b"a.txt", noise(1, 100_000)), (b"ab", noise(2, 10))];
    let root = tree(&files);
    notes_client(&TestServer::plain(root.path()), "15", "0", &files);
}

#[test]
fn the_notes_client_may_send_a_name_in_two_halves() {
    let files: [(&[u8], Vec<u8>); 3] = [
        (b"hello.txt", noise(1, 100_000)),
        (b"\xb2\xe2\xca\xd4.txt", noise(2, 10)),
        (b"abcd", noise(3, 10)),
    ];
    let root = tree(&files);
    // Which are two names if one comes 200 ms after the other.
    at_some_pace(|_| notes_client(&TestServer::plain(root.path()), "0", "0.05", &files));
}

#[test]
fn the_notes_client_learns_of_a_missing_file() {
    let root = Scratch::new();
    let server = TestServer::plain(root.path());
    let output = Program::system("python3", "python3")
        .arg(script("notes_client.py"))
        .args(["127.0.0.1", &server.port().to_string()])
        .arg(root.path())
        .args(["0", "0", "6e6f6e65"])
        .run()
        .expect_code(1);
    assert!(
        output.stderr.contains("server: not_found"),
        "{}",
        output.stderr
    );
}

#[test]
fn the_client_of_the_protocol_text_runs_unmodified() {
    let protocol = include_str!("../../src/wire/PROTOCOL.md");
    let after = protocol
        .split("```python\n")
        .nth(1)
        .expect("a python block in PROTOCOL.md");
    let client = after.split("```").next().expect("the end of the block");
    for name in ["hello.txt", "big.bin", "größe.txt", "dir/inner", "empty"] {
        let _case = NamedCase(name);
        let content = if name == "empty" {
            Vec::new()
        } else {
            noise(name.len() as u64, name.len() * 100_000)
        };
        let root = Scratch::with_files([(name, &content)]);
        let server = TestServer::plain(root.path());
        let here = Scratch::new();
        let program = here.write("client.py", client);
        let args = ["127.0.0.1", &server.port().to_string(), name, "out"];
        Program::system("python3", "python3")
            .arg(program)
            .args(args)
            .in_folder(here.path())
            .run()
            .expect_code(0);
        assert!(here.read("out") == content, "the file differs");
        assert_eq!(
            here.names().len(),
            2,
            "something was left behind: {:?}",
            here.names()
        );
    }
}

#[test]
fn a_person_with_telnet_types_names() {
    let root = Scratch::with_files([(FILE, CONTENT), ("b.txt", b"second\n")]);
    let server = TestServer::plain(root.path());
    // expect(1) runs telnet; that it is there is checked first, for a clear message.
    Program::system("telnet", "telnet")
        .arg("127.0.0.1")
        .arg("1")
        .run();
    for typing in ["telnet.exp", "telnet_by_key.exp"] {
        let _case = NamedCase(typing);
        Program::system("expect", "expect")
            .arg(script(typing))
            .args(["127.0.0.1", &server.port().to_string()])
            .env("TERM", "dumb")
            .run()
            .expect_code(0);
    }
}

#[test]
fn netcat_fetches_with_and_without_an_end_mark() {
    let content = noise(1, 1_000_000);
    let root = Scratch::with_files([("big", &content)]);
    let place = Scratch::new();
    let socket = place.join("s").display().to_string();
    let server = TestServer::builder(root.path())
        .bind("127.0.0.1:0")
        .bind("[::1]:0")
        .bind(format!("unix:{socket}"))
        .start();
    let port_v6 = server.addresses()[1].rsplit_once(':').expect("a port").1;
    let targets: [&[&str]; 3] = [
        &["127.0.0.1", &server.port().to_string()],
        &["::1", port_v6],
        &["-U", &socket],
    ];
    for target in targets {
        for line in ["big", "big\n", "big\r\n"] {
            let _case = NamedCase(format!("nc -N {target:?} with {line:?}"));
            let output = Program::system("nc", "netcat-openbsd")
                .arg("-N")
                .args(target)
                .input(line)
                .run()
                .expect_code(0);
            let answers = Answer::all_in(&output.stdout);
            assert_eq!(answers.len(), 1, "answers");
            answers[0].assert_file("big", &content);
        }
    }
}

#[test]
fn curl_gets_501_and_a_sentence_that_helps() {
    let root = Scratch::with_files([(FILE, CONTENT)]);
    let server = TestServer::plain(root.path());
    let url = format!("http://{}/{FILE}", server.addr());
    let output = Program::system("curl", "curl")
        .args(["-sS", "-i", &url])
        .run()
        .expect_code(0);
    let text = output.text();
    assert!(text.starts_with("HTTP/1.1 501 "), "{text}");
    assert!(
        text.contains("ftget"),
        "no word of what to use instead: {text}"
    );
    Program::system("curl", "curl")
        .args(["-sS", "--fail", &url])
        .run()
        .expect_code(22);
    let output = Program::system("curl", "curl")
        .args(["-sS", "-T", "-", &url])
        .input(noise(1, 300_000))
        .run();
    assert!(
        output.text().contains("ftget"),
        "an upload was not told: {} {}",
        output.text(),
        output.stderr
    );
    let https = url.replace("http:", "https:");
    let output = Program::system("curl", "curl")
        .args(["-sS", "-k", &https])
        .run()
        .expect_code(35);
    assert!(
        output.stderr.to_lowercase().contains("handshake failure"),
        "{}",
        output.stderr
    );
}

#[test]
fn openssl_gets_the_alert() {
    let root = Scratch::with_files([(FILE, CONTENT)]);
    let server = TestServer::plain(root.path());
    for version in ["-tls1_2", "-tls1_3"] {
        let _case = NamedCase(version);
        let output = Program::system("openssl", "openssl")
            .args(["s_client", "-connect", server.addr(), version])
            .run();
        assert_ne!(output.code, 0, "{}", output.text());
        assert!(
            output.stderr.contains("handshake failure"),
            "{}\n{}",
            output.text(),
            output.stderr
        );
    }
}

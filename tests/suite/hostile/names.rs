//! Names in answers: the client compares them and uses its own.

use super::answers::{CONTENT, FILE, answer, good_answer, header, honest};
use super::server::{Act, HostileServer};
use super::visit::Expected::Refused;
use super::visit::{assert_one_clear_line, assert_only, case, play_small, visit};
use crate::harness::{Scratch, md5_hex};

/// `@NAME` is a command, but in a URL.
fn source(server: &HostileServer, name: &str) -> String {
    match name.strip_prefix('@') {
        Some(_) => format!("ft://{}", server.source(name)),
        None => server.source(name),
    }
}

#[test]
fn a_name_that_was_not_asked_for_is_a_protocol_violation() {
    let names = [
        "",
        "other.bin",
        "FILE.BIN",
        "file.bin ",
        "file.bin\0",
        "file.bin/",
        "/file.bin",
        "./file.bin",
        "../file.bin",
        "../../../../tmp/file.bin",
        "a/../file.bin",
        "folder/file.bin",
        "file.bi\u{200d}n",
        "\u{1b}]0;owned\u{7}file.bin",
        "nib.\u{202e}file.bin",
        "line\nerror: another line",
    ];
    let mut cases: Vec<_> = names
        .into_iter()
        .map(|name| {
            let text = header(name, CONTENT.len() as u64, &md5_hex(CONTENT), "");
            let acts = vec![Act::Send(answer(text, CONTENT)), Act::Stall];
            case(format!("{name:?}"), acts, Refused(7))
        })
        .collect();
    // "../file.bin" and "file.bin\n" as base64, beside a name that is right.
    for encoded in ["Li4vZmlsZS5iaW4=", "ZmlsZS5iaW4K", ""] {
        let more = format!(r#", "filename_b64": "{encoded}""#);
        let text = header(FILE, CONTENT.len() as u64, &md5_hex(CONTENT), &more);
        let acts = vec![Act::Send(answer(text, CONTENT)), Act::Stall];
        cases.push(case(format!("filename_b64 {encoded:?}"), acts, Refused(7)));
    }
    let long = "x".repeat(60_000);
    let text = header(&long, CONTENT.len() as u64, &md5_hex(CONTENT), "");
    cases.push(case(
        "a name of 60,000 bytes",
        vec![Act::Send(answer(text, CONTENT)), Act::Stall],
        Refused(7),
    ));
    play_small(cases);
}

#[test]
fn odd_names_are_asked_for_as_typed_and_shown_escaped() {
    let odd = [
        "-rf",
        "~",
        "$(id)",
        "%2e%2e%2f",
        "@x",
        "nul.txt",
        "x:ads",
        r"C:\x",
        r"..\x",
        " ",
        "a b",
        "\u{1b}[31mred",
        "txt.\u{202e}exe",
        "line\nline",
        "tab\t",
        "größe 测试 🦀",
    ];
    for name in odd {
        let folder = Scratch::new();
        let server = HostileServer::start(|request| honest(CONTENT, request));
        visit(folder.path(), [source(&server, name)]).expect_code(0);
        assert_only(&folder, name, CONTENT);
        assert_eq!(server.requests()[0].str("filename"), name);

        // The same names in a failure's message.
        let folder = Scratch::new();
        let server = HostileServer::repeating(vec![Act::Send(good_answer(CONTENT)), Act::Stall]);
        let output = visit(folder.path(), ["--retry", "0", &source(&server, name)]).expect_code(7);
        assert_one_clear_line(&output, name);
        assert_eq!(folder.names(), [""; 0], "{name:?}");
    }
}

#[test]
fn a_name_that_leads_out_of_the_folder_is_refused_before_any_request() {
    for name in [
        "..",
        "../x",
        "a/../../x",
        "a/..",
        ".",
        "a/.",
        "a//b",
        "/x",
        "",
        "a/",
    ] {
        let folder = Scratch::new();
        let inner = folder.make_dir("inner");
        let server = HostileServer::start(|request| honest(CONTENT, request));
        let output = visit(&inner, [server.source(name)]).expect_code(2);
        assert_one_clear_line(&output, name);
        assert_eq!(folder.names(), ["inner"], "{name:?}");
        assert!(
            std::fs::read_dir(&inner)
                .expect("the folder")
                .next()
                .is_none(),
            "{name:?}"
        );
        assert!(server.requests().is_empty(), "{name:?} was asked for");
    }
}

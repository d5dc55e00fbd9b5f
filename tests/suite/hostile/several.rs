//! Several files from one server, of which some go wrong.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::thread;

use rustix::net::sockopt::set_socket_recv_buffer_size;

use super::answers::{answer, file_header, header, honest_bytes};
use super::server::{Act, HostileServer, Request};
use super::visit::{PROMPT, visit};
use crate::harness::{Output, Program, RawPeer, Scratch, at_some_pace, md5_hex, noise};

/// What the file of this name holds.
fn content(name: &str) -> Vec<u8> {
    format!("the content of {name}\n").into_bytes()
}

fn good(request: &Request) -> Act {
    Act::Send(honest_bytes(&content(request.str("filename")), request))
}

fn refused(request: &Request, code: &str) -> Act {
    let more = format!(r#", "error": {{"code": "{code}", "message": "no"}}"#);
    Act::Send(answer(header(request.str("filename"), 0, "", &more), b""))
}

/// Asks for `a`, `b` and `c` on one command line.
fn fetch_three(server: &HostileServer, folder: &Scratch, args: &[&str]) -> Output {
    let sources = ["a", "b", "c"].map(|name| server.source(name));
    let args = args.iter().map(|arg| (*arg).to_owned());
    visit(folder.path(), args.chain(sources))
}

#[track_caller]
fn assert_files(folder: &Scratch, names: &[&str]) {
    assert_eq!(folder.names(), names);
    for name in names {
        assert_eq!(folder.read(name), content(name), "{name}");
    }
}

#[test]
fn an_error_for_one_file_does_not_stop_the_others() {
    for (code, exit) in [
        ("not_found", 11),
        ("forbidden", 6),
        ("internal", 1),
        ("of_tomorrow", 1),
    ] {
        for wrong in ["a", "b", "c"] {
            let server = HostileServer::start(move |request| {
                let is_wrong = request.str("filename") == wrong;
                vec![if is_wrong {
                    refused(request, code)
                } else {
                    good(request)
                }]
            });
            let folder = Scratch::new();
            let output = fetch_three(&server, &folder, &["--retry", "0"]).expect_code(exit);
            let right: Vec<&str> = ["a", "b", "c"]
                .into_iter()
                .filter(|name| *name != wrong)
                .collect();
            assert_files(&folder, &right);
            assert_eq!(output.stderr.matches("panicked").count(), 0);
        }
    }
}

#[test]
fn failures_with_different_causes_are_23_and_one_cause_keeps_its_code() {
    for (second, exit) in [("not_found", 11), ("forbidden", 23)] {
        let server = HostileServer::start(move |request| {
            vec![match request.str("filename") {
                "a" => refused(request, "not_found"),
                "b" => refused(request, second),
                _ => good(request),
            }]
        });
        let folder = Scratch::new();
        fetch_three(&server, &folder, &["--retry", "0"]).expect_code(exit);
        assert_files(&folder, &["c"]);
    }
}

#[test]
fn a_wrong_body_in_the_middle_spoils_only_its_own_file() {
    let server = HostileServer::start(|request| match request.str("filename") {
        "b" => {
            let (right, wrong) = (content("b"), content("x"));
            let text = header("b", right.len() as u64, &md5_hex(&right), "");
            vec![Act::Send(answer(text, &wrong))]
        }
        _ => vec![good(request)],
    });
    let folder = Scratch::new();
    fetch_three(&server, &folder, &["--retry", "0"]).expect_code(10);
    assert_files(&folder, &["a", "c"]);
}

#[test]
fn a_connection_lost_in_the_middle_is_taken_up_again() {
    for end in [
        Act::Close,
        Act::Reset,
        Act::Send(b"\xff\xff\xff\xffnoise".to_vec()),
    ] {
        let is_noise = matches!(end, Act::Send(_));
        let finish = end.clone();
        let server = HostileServer::start(move |request| match request.number {
            0 => vec![good(request), finish.clone()],
            _ => vec![good(request)],
        });
        let folder = Scratch::new();
        let output = fetch_three(&server, &folder, &["--retry", "2", "--retry-delay", "10ms"]);
        if is_noise {
            // What answers with noise is not asked again; what was not answered is.
            assert_eq!(output.code, 7, "{}", output.stderr);
            assert_files(&folder, &["a", "c"]);
        } else {
            assert_eq!(output.code, 0, "{end:?}: {}", output.stderr);
            assert_files(&folder, &["a", "b", "c"]);
        }
    }
}

#[test]
fn without_retries_a_lost_connection_fails_what_was_not_there_yet() {
    let server = HostileServer::start(|request| match request.str("filename") {
        "a" => vec![good(request)],
        _ => vec![Act::Close],
    });
    let folder = Scratch::new();
    fetch_three(&server, &folder, &["--retry", "0"]).expect_code(4);
    assert_files(&folder, &["a"]);
}

#[test]
fn answers_in_another_order_are_never_put_under_the_wrong_name() {
    let server = HostileServer::start(|request| {
        let name = match request.str("filename") {
            "a" => "b",
            "b" => "a",
            other => other,
        };
        let bytes = content(name);
        let text = header(name, bytes.len() as u64, &md5_hex(&bytes), "");
        vec![Act::Send(answer(text, &bytes))]
    });
    let folder = Scratch::new();
    fetch_three(&server, &folder, &["--retry", "0"]).expect_code(7);
    assert_files(&folder, &["c"]);
}

#[test]
fn an_answer_sent_twice_is_not_the_next_file() {
    let server = HostileServer::start(|request| match request.number {
        0 => vec![good(request), good(request)],
        _ => vec![good(request)],
    });
    let folder = Scratch::new();
    fetch_three(&server, &folder, &["--retry", "0"]).expect_code(7);
    assert_files(&folder, &["a", "c"]);
}

#[test]
fn one_byte_more_behind_a_file_spoils_none_that_is_verified() {
    let server = HostileServer::start(|request| match request.number {
        0 => vec![good(request), Act::Send(vec![0])],
        _ => vec![good(request)],
    });
    let folder = Scratch::new();
    fetch_three(&server, &folder, &["--retry", "0"]).expect_code(7);
    assert_files(&folder, &["a", "c"]);
}

#[test]
fn two_sources_of_one_local_name_are_refused_before_any_request_and_one_twice_is_fetched_once() {
    let server = HostileServer::start(|request| vec![good(request)]);
    let folder = Scratch::new();
    visit(
        folder.path(),
        ["x/a", "y/a"].map(|name| server.source(name)),
    )
    .expect_code(2);
    assert_eq!(folder.names(), [""; 0]);
    assert_eq!(server.requests().len(), 0);
    visit(folder.path(), ["a", "a"].map(|name| server.source(name))).expect_code(0);
    assert_eq!(folder.names(), ["a"]);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_thousand_names_are_answered_while_they_are_still_being_asked() {
    // More than the buffers of both sides: a client that sends all before it reads would
    // wait for a server that waits for it.
    let name = |number: usize| format!("{number:04}{}", "x".repeat(200));
    let filler = vec![b'y'; 4_096];
    let body = filler.clone();
    let server = HostileServer::start(move |request| {
        let text = file_header(&body, "").replace(super::answers::FILE, request.str("filename"));
        vec![Act::Send(answer(text, &body))]
    });
    let folder = Scratch::new();
    visit(
        folder.path(),
        (0..1_000).map(|number| server.source(&name(number))),
    )
    .expect_code(0);
    assert_eq!(folder.names().len(), 1_000);
    for number in 0..1_000 {
        assert!(folder.read(name(number)) == filler, "file {number}");
    }
}

#[test]
fn a_server_that_stalls_does_not_keep_another_from_serving() {
    let silent = HostileServer::repeating(vec![Act::Stall]);
    let server = HostileServer::start(|request| vec![good(request)]);
    let folder = Scratch::new();
    let sources = [silent.source("a"), server.source("b"), silent.source("c")];
    at_some_pace(|factor| {
        let timeout = factor.to_string();
        let args = ["--retry", "0", "--timeout", &timeout].map(str::to_owned);
        let args = args.into_iter().chain(sources.clone());
        let output = visit(folder.path(), args).expect_code(14);
        assert!(output.elapsed < PROMPT * factor, "{:?}", output.elapsed);
        assert_files(&folder, &["b"]);
    });
}

#[test]
fn many_files_that_are_verified_in_memory_do_not_add_up_there() {
    let body = noise(41, 256 * 1024);
    let wanted = body.clone();
    let server = HostileServer::start(move |request| vec![Act::Send(honest_bytes(&body, request))]);
    let folder = Scratch::new();
    // 100 MiB; `visit` looks at the memory of the client.
    let sources = (0..400).map(|number| server.source(&number.to_string()));
    visit(folder.path(), sources).expect_code(0);
    for number in 0..400 {
        assert!(folder.read(number.to_string()) == wanted, "file {number}");
    }
}

#[test]
fn a_server_that_reads_nothing_is_given_up_whatever_is_still_to_be_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    // Those that it accepts have it, too.
    set_socket_recv_buffer_size(&listener, 4096).expect("a receive buffer");
    let address = listener.local_addr().expect("its address");
    let accepting = thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            let stream = stream.expect("a connection");
            // The last one comes from the test.
            if stream.peer_addr().is_ok_and(|peer| peer.ip() == LAST) {
                return held.len();
            }
            held.push(stream);
        }
        held.len()
    });
    // More than a socket takes of its own: 8 MB.
    let deep = vec!["x".repeat(250); 15].join("/");
    let names: String = (0..2_000).map(|n| format!("{deep}/{n:0200}\n")).collect();
    let here = Scratch::new();
    let client = Program::ftget().input(names).in_folder(here.path());
    let client = client.args(["--json", "--retry", "0", "--timeout", "0.3", "-i", "-"]);
    let output = client.arg(format!("{address}/")).run().expect_code(14);
    let events = output.json_lines();
    let failed = events.iter().filter(|event| event["event"] == "error");
    assert_eq!(failed.count(), 2_000);
    let _last = RawPeer::connect_from(&LAST.to_string(), &address.to_string());
    assert!(accepting.join().expect("the server") >= 1);
}

const LAST: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 1, 9));

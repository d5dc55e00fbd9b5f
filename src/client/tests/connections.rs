use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, unbounded};

use super::scripted::{at_some_pace, config, file, frame, md5_hex, nobody, read_request, refusal};
use crate::client::{
    ClientConfig, ClientError, ConnectError, Download, Event, Folder, ListedFile, Listing, Session,
    SessionError, StreamDownload, download, stream_to,
};
use crate::net::{Address, Deadline, Wait};
use crate::store::FileName;
use crate::wire::{Action, Call, GetRequest, ResourcePath};

fn loopback(listener: &TcpListener) -> Address {
    Address::Tcp {
        host: "127.0.0.1".to_owned(),
        port: listener.local_addr().unwrap().port(),
    }
}

fn get(name: &str) -> Call {
    let path = ResourcePath::parse(name.as_bytes()).unwrap();
    Call {
        action: Action::Get(GetRequest::whole(path)),
        id: None,
    }
}

#[test]
fn a_session_reads_answers_whatever_pieces_they_come_in() {
    for piece_bytes in [1, 2, 3, 1000] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut session = Session::connect(&loopback(&listener), &config(), None).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let answers = [file("a", b"aaa"), file("b", b""), file("c", b"c")].concat();
        let sender = std::thread::spawn(move || {
            peer.set_nodelay(true).unwrap();
            for piece in answers.chunks(piece_bytes) {
                peer.write_all(piece).unwrap();
            }
        });
        for (name, content) in [("a", &b"aaa"[..]), ("b", b""), ("c", b"c")] {
            let header = session.receiving.header().unwrap();
            assert_eq!(
                (&*header.name, header.total_size),
                (name.as_bytes(), content.len() as u64)
            );
            let mut body = Vec::new();
            while body.len() < content.len() {
                let left = (content.len() - body.len()) as u64;
                body.extend_from_slice(session.receiving.body(left).unwrap());
            }
            assert_eq!(body, content);
        }
        sender.join().unwrap();
        let end = session.receiving.header().unwrap_err();
        assert!(
            matches!(end, ClientError::Session(SessionError::CutOff(_))),
            "{end:?}"
        );
    }
}

#[test]
fn requests_go_out_together_and_before_any_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut session = Session::connect(&loopback(&listener), &config(), None).unwrap();
    session.sending.send(&get("a")).unwrap();
    session.sending.send(&get("b")).unwrap();
    session.sending.flush().unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    let expected = [frame(r#"{"filename":"a"}"#), frame(r#"{"filename":"b"}"#)].concat();
    let mut heard = vec![0; expected.len()];
    peer.read_exact(&mut heard).unwrap();
    assert_eq!(heard, expected);
}

#[test]
fn a_server_on_a_unix_socket_is_reached() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let mut session = Session::connect(&Address::Unix(path), &config(), None).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    peer.write_all(&file("f", b"")).unwrap();
    assert_eq!(&*session.receiving.header().unwrap().name, b"f");
}

#[test]
fn why_there_is_no_connection_is_told_apart() {
    let (gone, _reserved) = nobody();
    let error = Session::connect(&gone, &config(), None).unwrap_err();
    assert!(
        matches!(error, ClientError::Connect(ConnectError::Failed { .. })),
        "{error:?}"
    );

    let host = "no..host".to_owned();
    let error = Session::connect(&Address::Tcp { host, port: 1 }, &config(), None).unwrap_err();
    assert!(
        matches!(error, ClientError::Connect(ConnectError::Name { .. })),
        "{error:?}"
    );

    let config = ClientConfig {
        family: crate::client::AddressFamily::V6,
        ..config()
    };
    let error = Session::connect(&gone, &config, None).unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::Connect(ConnectError::NoneOfFamily { .. })
        ),
        "{error:?}"
    );

    let temp = tempfile::tempdir().unwrap();
    let nowhere = Address::Unix(temp.path().join("socket"));
    let error = Session::connect(&nowhere, &config, None).unwrap_err();
    assert!(
        matches!(error, ClientError::Connect(ConnectError::Failed { .. })),
        "{error:?}"
    );
}

#[test]
fn with_no_time_left_that_is_why_there_is_no_connection() {
    let (gone, _reserved) = nobody();
    let over = Deadline::after(Instant::now(), Wait::Whole, Duration::ZERO);
    let error = Session::connect(&gone, &config(), Some(over)).unwrap_err();
    assert!(matches!(error, ClientError::OutOfTime), "{error:?}");
}

#[test]
fn a_full_backlog_of_a_unix_socket_is_waited_for_within_the_limit() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("socket");
    let listener = rustix::net::socket(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    rustix::net::bind(&listener, &rustix::net::SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let limit = Duration::from_millis(50);
    let config = ClientConfig {
        connect_timeout: limit,
        ..config()
    };
    let address = Address::Unix(path);
    let mut held = Vec::new();
    let begun = Instant::now();
    let error = loop {
        match Session::connect(&address, &config, None) {
            Ok(session) => held.push(session),
            Err(error) => break error,
        }
        assert!(held.len() < 100, "a backlog of none takes no end");
    };
    assert!(
        matches!(error, ClientError::Connect(ConnectError::TimedOut { .. })),
        "{error:?}"
    );
    assert!(begun.elapsed() >= limit);
    let config = ClientConfig::default();
    let whole = Deadline::after(Instant::now(), Wait::Whole, limit);
    let error = Session::connect(&address, &config, Some(whole)).unwrap_err();
    assert!(matches!(error, ClientError::OutOfTime), "{error:?}");
}

#[test]
fn a_silent_server_is_given_up_after_the_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = ClientConfig {
        progress_timeout: Duration::from_millis(30),
        ..config()
    };
    let mut session = Session::connect(&loopback(&listener), &config, None).unwrap();
    let error = session.receiving.header().unwrap_err();
    assert!(
        matches!(error, ClientError::Session(SessionError::TimedOut { .. })),
        "{error:?}"
    );
}

/// A server that says again and again how far it is, and answers in the end.
fn busy_server(limit: Duration, interim: impl Fn(u64) -> String + Send + 'static) -> Address {
    busy_before(limit, interim, file("f", b"content"))
}

/// The same with this answer at last.
fn busy_before(
    limit: Duration,
    interim: impl Fn(u64) -> String + Send + 'static,
    answer: Vec<u8>,
) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = loopback(&listener);
    std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let begun = Instant::now();
        let mut said = 0;
        // Longer than the client's limit for no progress, by a good part.
        while begun.elapsed() < limit * 2 {
            said += 1;
            if peer.write_all(&frame(&interim(said))).is_err() {
                return;
            }
        }
        let _ = peer.write_all(&answer);
        // Until the client goes.
        let _ = peer.read_to_end(&mut Vec::new());
    });
    address
}

const HASHING_LIMIT: Duration = Duration::from_millis(250);

#[test]
fn a_digest_that_advances_is_waited_for_and_one_that_does_not_is_not() {
    at_some_pace(|factor| {
        let limit = HASHING_LIMIT * factor;
        for advances in [true, false] {
            let temp = tempfile::tempdir().unwrap();
            let mut wanted =
                super::scripted::ScriptedServer::play(vec![]).download(temp.path(), "f");
            wanted.address = busy_server(limit, move |said| {
                let done = if advances { said * 4_096 } else { 0 };
                format!(
                    r#"{{"filename":"f","total_size":1099511627776,"md5":"","body_size":0,"status":"hashing","done":{done}}}"#
                )
            });
            let mut config = ClientConfig {
                progress_timeout: limit,
                ..config()
            };
            config.retry.retries_max = 0;
            let mut heard = 0_u64;
            let mut results = download(&[wanted], &config, &mut |event| {
                heard += u64::from(matches!(event, Event::ServerHashing { .. }));
            });
            match results.remove(0) {
                Ok(done) if advances => {
                    assert_eq!(done.md5.unwrap().to_string(), md5_hex(b"content"));
                    assert!(heard > 1);
                }
                Err(ClientError::Session(SessionError::TimedOut { .. })) if !advances => {}
                other => panic!("advances: {advances}, {other:?}"),
            }
        }
    });
}

#[test]
fn a_page_is_waited_for_while_one_file_after_the_other_is_hashed() {
    at_some_pace(|factor| {
        let limit = HASHING_LIMIT * factor;
        let address = busy_server(limit, move |said| {
            // The next one again and again, none of them far.
            let file = said / 100;
            format!(
                r#"{{"filename":"f","total_size":{},"md5":"","body_size":0,"status":"hashing","done":1}}"#,
                1_000 + file
            )
        });
        let folder = Folder {
            address,
            path: ResourcePath::parse(b"f").unwrap(),
            recursive: false,
            digests: true,
        };
        let config = ClientConfig {
            progress_timeout: limit,
            ..config()
        };
        // The answer is no page, but it was waited for.
        let error = Listing::new(folder, &config)
            .next_page(&mut |_| {})
            .unwrap_err();
        assert!(matches!(error, ClientError::Protocol(_)), "{error:?}");
    });
}

#[test]
fn a_command_that_works_quietly_is_waited_for() {
    at_some_pace(|factor| {
        let limit = HASHING_LIMIT * factor;
        let running =
            r#"{"filename":"f","total_size":0,"md5":"","body_size":0,"status":"running","done":0}"#;
        let header = format!(
            r#"{{"filename":"f","total_size":7,"md5":"{}","exit_status":0}}"#,
            md5_hex(b"content")
        );
        let answer = [frame(&header), b"content".to_vec()].concat();
        let wanted = StreamDownload {
            address: busy_before(limit, |_| running.to_owned(), answer),
            path: ResourcePath::parse(b"f").unwrap(),
            is_command: true,
            want_md5: None,
            spool: None,
        };
        let config = ClientConfig {
            progress_timeout: limit,
            ..config()
        };
        let (mut output, mut hashing) = (Vec::new(), 0);
        let result = stream_to(&wanted, &config, &mut output, &mut |event| {
            hashing += u32::from(matches!(event, Event::ServerHashing { .. }));
        });
        assert!(result.is_ok(), "{result:?}");
        assert_eq!((&*output, hashing), (&b"content"[..], 0));
    });
}

#[test]
fn everything_has_an_end_when_the_user_wants_one() {
    let temp = tempfile::tempdir().unwrap();
    let mut wanted = super::scripted::ScriptedServer::play(vec![]).download(temp.path(), "f");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    wanted.address = loopback(&listener);
    let config = ClientConfig {
        whole_timeout: Some(Duration::from_millis(30)),
        ..config()
    };
    let results = download(&[wanted], &config, &mut |_| {});
    assert!(
        matches!(results[0], Err(ClientError::OutOfTime)),
        "{results:?}"
    );
}

#[test]
fn all_connections_broken_at_once_are_one_failure_of_the_server() {
    let (lanes, listener) = (4, TcpListener::bind("127.0.0.1:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    let together = Arc::new(Barrier::new(lanes));
    std::thread::spawn(move || {
        for (number, peer) in listener.incoming().enumerate() {
            let (mut peer, together) = (peer.unwrap(), Arc::clone(&together));
            std::thread::spawn(move || {
                while let Some(request) = read_request(&mut peer) {
                    let name = request["filename"].as_str().unwrap();
                    peer.write_all(&file(name, name.as_bytes())).unwrap();
                    if number < lanes {
                        // As if it were restarted.
                        together.wait();
                        return;
                    }
                }
            });
        }
    });
    let temp = tempfile::tempdir().unwrap();
    let host = "127.0.0.1".to_owned();
    let address = Address::Tcp { host, port };
    // So large that every connection is of use.
    let listed = Some(ListedFile {
        total_size: 5_000_000,
        ..ListedFile::default()
    });
    let downloads: Vec<_> = (0..40)
        .map(|n| {
            let name = format!("f{n}");
            let path = ResourcePath::parse(name.as_bytes()).unwrap();
            let name = FileName::parse(name.as_bytes()).unwrap();
            Download {
                listed,
                ..Download::new(address.clone(), path, temp.path().to_owned(), name)
            }
        })
        .collect();
    let mut config = config();
    config.retry.retries_max = 1;
    let results = download(&downloads, &config, &mut |_| {});
    for result in results {
        result.unwrap();
    }
}

/// A server that serves its first connection, and has `extra` do what it likes with each other.
/// After five questions it answers nothing before `go_on` is closed.
fn picky_server(
    go_on: Receiver<Infallible>,
    mut extra: impl FnMut(u32, TcpStream) + Send + 'static,
) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = loopback(&listener);
    std::thread::spawn(move || {
        let (first, _) = listener.accept().unwrap();
        std::thread::spawn(move || {
            let mut first = first;
            for number in 1.. {
                let Some(request) = read_request(&mut first) else {
                    return;
                };
                if number == 5 {
                    // The client has told itself by now that the first answer is there.
                    let _ = go_on.recv();
                }
                answer(&mut first, &request);
            }
        });
        for (number, peer) in (0..).zip(listener.incoming().flatten()) {
            extra(number, peer);
        }
    });
    address
}

fn answer(peer: &mut TcpStream, request: &serde_json::Value) {
    let name = request["filename"].as_str().unwrap();
    // The client may have had enough of it.
    let _ = peer.write_all(&file(name, name.as_bytes()));
}

/// So large, as it is listed, that one connection has no room for all of it.
fn forty(address: &Address, folder: &Path) -> Vec<Download> {
    let listed = Some(ListedFile {
        total_size: 5_000_000,
        ..ListedFile::default()
    });
    let names = (0..40).map(|n| format!("f{n}"));
    names
        .map(|name| {
            let path = ResourcePath::parse(name.as_bytes()).unwrap();
            let name = FileName::parse(name.as_bytes()).unwrap();
            Download {
                listed,
                ..Download::new(address.clone(), path, folder.to_owned(), name)
            }
        })
        .collect()
}

#[test]
fn a_connection_that_the_server_is_too_busy_for_costs_no_file_an_attempt() {
    let (held, go_on) = bounded(0);
    let mut held = Some(held);
    let mut refused = 0;
    let address = picky_server(go_on, move |_, mut peer| {
        let Some(request) = read_request(&mut peer) else {
            return;
        };
        if refused < 3 {
            let name = request["filename"].as_str().unwrap();
            peer.write_all(&refusal(name, "busy")).unwrap();
            refused += 1;
            return;
        }
        drop(held.take());
        std::thread::spawn(move || {
            answer(&mut peer, &request);
            while let Some(request) = read_request(&mut peer) {
                answer(&mut peer, &request);
            }
        });
    });
    let temp = tempfile::tempdir().unwrap();
    let mut config = config();
    config.retry.retries_max = 0;
    for result in download(&forty(&address, temp.path()), &config, &mut |_| {}) {
        result.unwrap();
    }
}

#[test]
fn a_connection_more_that_nobody_serves_holds_one_file_up_and_costs_it_nothing() {
    let (held, go_on) = bounded(0);
    let mut held = Some(held);
    let (heard_in, heard) = unbounded();
    let address = picky_server(go_on, move |number, mut peer| {
        // As many as are opened before one of them is closed.
        if number == 3 {
            let mut asked = 0;
            while read_request(&mut peer).is_some() {
                drop(held.take());
                asked += 1;
            }
            heard_in.send(asked).unwrap();
        }
    });
    let temp = tempfile::tempdir().unwrap();
    let mut config = ClientConfig {
        progress_timeout: Duration::from_secs(2),
        ..config()
    };
    config.retry.retries_max = 0;
    for result in download(&forty(&address, temp.path()), &config, &mut |_| {}) {
        result.unwrap();
    }
    assert_eq!(heard.recv(), Ok(1));
}

#[test]
fn a_file_is_placed_while_the_next_one_is_still_on_its_way() {
    let here = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let downloads = ["a", "b"].map(|name| {
        let path = ResourcePath::parse(name.as_bytes()).unwrap();
        let name = FileName::parse(name.as_bytes()).unwrap();
        Download::new(loopback(&listener), path, here.path().to_owned(), name)
    });
    let folder = here.path().to_owned();
    let server = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let names = [(); 2].map(|()| {
            let request = read_request(&mut peer).unwrap();
            request["filename"].as_str().unwrap().to_owned()
        });
        let (first, second) = (file(&names[0], b"content"), file(&names[1], b"content"));
        let (half, rest) = second.split_at(second.len() - 3);
        peer.write_all(&[&first, half].concat()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !folder.join(&names[0]).exists() {
            assert!(
                Instant::now() < deadline,
                "{} waits for {}",
                names[0],
                names[1]
            );
            std::thread::yield_now();
        }
        peer.write_all(rest).unwrap();
    });
    let results = download(&downloads, &config(), &mut |_| {});
    server.join().unwrap();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

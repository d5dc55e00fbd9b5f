//! The complete answer to every kind of request, and its report.

use serde_json::json;

use super::*;

/// The report of a request, without its time.
#[derive(Debug, PartialEq, Eq)]
struct Reported {
    op: &'static str,
    name: Vec<u8>,
    has_md5: bool,
    outcome: Outcome,
}

struct Served {
    server: TestServer,
    reports: Receiver<Reported>,
    counters: Arc<TransferCounters>,
}

fn serve_reporting(store: MemoryStore, limits: TransferLimits) -> Served {
    let pools = Arc::new(Pools::start(2).unwrap());
    let catalog_limits = CatalogLimits::for_cores(2);
    let catalog = Catalog::new(store, Arc::new(MemoryIndex::new()), pools, catalog_limits);
    let (sender, reports) = unbounded();
    let observer = move |report: &Report<'_>| {
        let reported = Reported {
            op: report.op,
            name: report.name.to_vec(),
            has_md5: report.md5.is_some(),
            outcome: report.outcome,
        };
        sender.send(reported).unwrap_or(());
    };
    let handler = TransferHandler::new(catalog, limits).observed_by(Box::new(observer));
    let counters = handler.counters();
    Served {
        server: TestServer::start(handler, 2),
        reports,
        counters,
    }
}

impl Served {
    /// Expects this report next.
    fn expect(&self, op: &'static str, name: &str, has_md5: bool, outcome: Outcome) {
        let reported = Reported {
            op,
            name: name.as_bytes().to_vec(),
            has_md5,
            outcome,
        };
        assert_eq!(self.reports.recv_timeout(TIME_LIMIT), Ok(reported));
    }
}

fn md5_of(content: &[u8]) -> String {
    let digest = Md5::digest(content);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn body_of(peer: &mut TcpStream, bytes: usize) -> Vec<u8> {
    let mut body = vec![0; bytes];
    peer.read_exact(&mut body).unwrap();
    body
}

/// Reads a header and removes the key `mtime`, which must be present.
fn header_of_file(peer: &mut TcpStream) -> Value {
    let mut header = read_header(peer);
    let keys = header.as_object_mut().unwrap();
    assert!(keys.remove("mtime").is_some_and(|time| time.is_string()));
    header
}

fn answered(body_bytes: u64) -> Outcome {
    Outcome::Answered { body_bytes }
}

#[test]
fn every_answer_about_a_file_has_its_keys_and_no_others() {
    // With and without steps, and with a digest that is computed, cached, or computed each time.
    for size in [1, 4_096, 4_097, 262_144, 262_145] {
        let store = MemoryStore::new();
        let content = noise(size);
        let file = store.insert("d/f", content.clone()).unwrap();
        file.set_mode(0o640);
        store.advance(Duration::from_secs(3600));
        let served = serve_reporting(store, TransferLimits::default());
        let mut peer = served.server.connect();
        let (total_size, md5) = (size, md5_of(&content));
        for round in 0..2 {
            ask(&mut peer, r#"{"filename":"d/f","id":7}"#);
            assert_eq!(
                header_of_file(&mut peer),
                json!({"filename": "d/f", "total_size": total_size, "md5": md5, "mode": "0640", "id": 7}),
                "round {round}"
            );
            assert!(body_of(&mut peer, size) == content);
            served.expect("get", "d/f", true, answered(size as u64));
        }
        for (offset, length, sent) in [
            (0, 0, 0),
            (0, 1, 1),
            (size - 1, 9, 1),
            (size, 9, 0),
            (size / 2, size, size - size / 2),
        ] {
            let read_before = file.bytes_read();
            ask(
                &mut peer,
                &format!(r#"{{"filename":"d/f","offset":{offset},"length":{length}}}"#),
            );
            assert_eq!(
                header_of_file(&mut peer),
                json!({"filename": "d/f", "total_size": total_size, "md5": md5, "mode": "0640",
                    "offset": offset, "body_size": sent})
            );
            assert!(body_of(&mut peer, sent) == content[offset..offset + sent]);
            served.expect("get", "d/f", true, answered(sent as u64));
            // A short file is cheaper to hash than to look up. A longer one may be read twice.
            let read = if size > 4_096 { sent } else { size };
            if read <= 4_097 {
                assert_eq!(file.bytes_read() - read_before, read as u64, "{size}");
            }
        }
        ask(
            &mut peer,
            &format!(r#"{{"filename":"d/f","have_md5":"{md5}","id":"x"}}"#),
        );
        assert_eq!(
            header_of_file(&mut peer),
            json!({"filename": "d/f", "total_size": total_size, "md5": md5, "mode": "0640",
                "body_size": 0, "match": true, "id": "x"})
        );
        served.expect("get", "d/f", true, answered(0));
        for digests in ["[]", r#"["md5"]"#] {
            let is_known = size > 4_096 || digests != "[]";
            ask(
                &mut peer,
                &format!(r#"{{"op":"stat","filename":"d/f","digests":{digests}}}"#),
            );
            let md5 = if is_known { &*md5 } else { "" };
            assert_eq!(
                header_of_file(&mut peer),
                json!({"filename": "d/f", "total_size": total_size, "md5": md5, "mode": "0640",
                    "body_size": 0, "type": "file"})
            );
            served.expect("stat", "d/f", is_known, answered(0));
        }
        let refused = [
            (format!(r#""offset":{}"#, size + 1), ErrorCode::BadRange),
            (
                format!(r#""want_md5":"{}""#, md5_of(b"other")),
                ErrorCode::Changed,
            ),
        ];
        for (keys, code) in refused {
            ask(&mut peer, &format!(r#"{{"filename":"d/f","id":3,{keys}}}"#));
            let header = read_header(&mut peer);
            assert_eq!(header["error"]["code"], code.as_str());
            assert_eq!(
                (
                    &header["filename"],
                    &header["id"],
                    &header["total_size"],
                    &header["md5"]
                ),
                (&json!("d/f"), &json!(3), &json!(0), &json!(""))
            );
            served.expect("get", "d/f", false, Outcome::Refused(code));
        }
        ask(
            &mut peer,
            &format!(r#"{{"filename":"d/f","want_md5":"{md5}","offset":{size}}}"#),
        );
        assert_eq!(header_of_file(&mut peer)["body_size"], 0);
        let stats = served.counters.snapshot();
        assert_eq!(stats.refusals(), 2);
        assert!(stats.answered >= 10 && stats.body_bytes >= 2 * size as u64);
    }
}

#[test]
fn every_other_answer_has_its_keys_and_no_others() {
    let store = MemoryStore::new();
    store.insert("d/f", "1").unwrap();
    store.insert("empty", "").unwrap();
    store.insert("e", "2").unwrap();
    let served = serve_reporting(store, TransferLimits::default());
    let mut peer = served.server.connect();
    ask(&mut peer, r#"{"op":"hello","id":1}"#);
    assert_eq!(
        read_header(&mut peer),
        json!({"filename": "", "total_size": 0, "md5": "", "body_size": 0, "id": 1, "ft": 1,
            "ops": ["get", "stat", "list", "hello"], "digests": ["md5"], "writable": false})
    );
    served.expect("hello", "", false, answered(0));
    ask(&mut peer, r#"{"filename":"empty"}"#);
    assert_eq!(
        header_of_file(&mut peer),
        json!({"filename": "empty", "total_size": 0, "md5": md5_of(b""), "mode": "0644"})
    );
    served.expect("get", "empty", true, answered(0));
    ask(
        &mut peer,
        r#"{"op":"stat","filename":"d","digests":["md5"]}"#,
    );
    assert_eq!(
        header_of_file(&mut peer),
        json!({"filename": "d", "total_size": 0, "md5": "", "mode": "0755", "body_size": 0,
            "type": "dir"})
    );
    served.expect("stat", "d", false, answered(0));
    let mut after = String::new();
    let mut names = Vec::new();
    for round in 1..=3 {
        ask(
            &mut peer,
            &format!(r#"{{"op":"list","filename":"","limit":1,"id":"p"{after}}}"#),
        );
        let header = read_header(&mut peer);
        let size = header["total_size"].as_u64().unwrap();
        let page = body_of(&mut peer, size as usize);
        let mut expected =
            json!({"filename": "", "total_size": size, "md5": md5_of(&page), "id": "p"});
        if round < 3 {
            expected["next"] = header["next"].clone();
            after = format!(r#","after":{}"#, header["next"]);
        } else {
            expected["last"] = json!(true);
        }
        assert_eq!(header, expected, "page {round}");
        let entry: Value = serde_json::from_slice(&page).unwrap();
        names.push(entry["filename"].as_str().unwrap().to_owned());
        served.expect("list", "", true, answered(size));
    }
    assert_eq!(names, ["d", "e", "empty"]);
    ask(
        &mut peer,
        r#"{"op":"list","filename":"d","recursive":true}"#,
    );
    let header = read_header(&mut peer);
    body_of(&mut peer, header["total_size"].as_u64().unwrap() as usize);
    assert_eq!(
        (&header["last"], &header["recursive"], header.get("next")),
        (&json!(true), &json!(true), None)
    );
    let of_another = after.replace("after", r#"op":"list","filename":"e","after"#);
    for (request, code) in [
        (
            r#"{"filename":"no","id":9}"#.to_owned(),
            ErrorCode::NotFound,
        ),
        (
            r#"{"filename":"d","id":9}"#.to_owned(),
            ErrorCode::IsDirectory,
        ),
        (
            r#"{"filename":"e/x","id":9}"#.to_owned(),
            ErrorCode::NotADirectory,
        ),
        (format!(r#"{{"id":9{of_another}}}"#), ErrorCode::BadRequest),
        (
            r#"{"op":"list","filename":"","id":9,"after":"x"}"#.to_owned(),
            ErrorCode::BadRequest,
        ),
    ] {
        ask(&mut peer, &request);
        let header = read_header(&mut peer);
        assert_eq!(header["error"]["code"], code.as_str(), "{request}");
        assert_eq!(header["id"], 9);
    }
}

#[test]
fn drops_an_unexpected_body_and_answers_what_follows() {
    let store = MemoryStore::new();
    store.insert("f", "content").unwrap();
    let served = serve_reporting(store, TransferLimits::default());
    for (body_size, goes_on) in [
        (1, true),
        (100_000, true),
        (1 << 20, true),
        ((1 << 20) + 1, false),
    ] {
        let mut peer = served.server.connect();
        ask(
            &mut peer,
            &format!(r#"{{"filename":"f","body_size":{body_size}}}"#),
        );
        assert!(read_header(&mut peer)["error"].is_object());
        if goes_on {
            peer.write_all(&vec![b'{'; body_size]).unwrap();
            ask(&mut peer, r#"{"filename":"f"}"#);
            expect_file(&mut peer, b"content");
        } else {
            let mut rest = Vec::new();
            assert_eq!(peer.read_to_end(&mut rest).unwrap(), 0, "{rest:?}");
        }
    }
}

#[test]
fn answers_a_line_of_text_and_refuses_other_protocols() {
    let store = MemoryStore::new();
    store.insert("name", "content").unwrap();
    let served = serve_reporting(store, TransferLimits::default());
    for (input, ends) in [
        ("name\n", false),
        ("name\r\n", false),
        ("name", true),
        ("name\nname\n", false),
    ] {
        let mut peer = served.server.connect();
        peer.write_all(input.as_bytes()).unwrap();
        if ends {
            peer.shutdown(Shutdown::Write).unwrap();
        }
        for _ in input.split_terminator('\n') {
            expect_file(&mut peer, b"content");
            served.expect("get", "name", true, answered(7));
        }
    }
    let mut peer = served.server.connect();
    peer.write_all(&[b'n'; 5_000]).unwrap();
    peer.write_all(b"\nname\n").unwrap();
    assert_eq!(read_header(&mut peer)["error"]["code"], "bad_name");
    expect_file(&mut peer, b"content");
    served.expect("", "", false, Outcome::Refused(ErrorCode::BadName));
    served.expect("get", "name", true, answered(7));
    // Silence ends a line that a program sent.
    let mut peer = served.server.connect();
    peer.write_all(b"name").unwrap();
    expect_file(&mut peer, b"content");
    served.expect("get", "name", true, answered(7));
    for (input, begins) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], &b"HTTP/1.1 "[..]),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x15"),
    ] {
        let mut peer = served.server.connect();
        peer.write_all(input).unwrap();
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(begins), "{}", answer.escape_ascii());
        served.expect("", "", false, Outcome::OtherProtocol);
    }
    for input in [
        &b"\x02\x00\x00\x00[]"[..],
        b"\x00\x00\x00\x00",
        b"\x09\x00\x00\x00{",
    ] {
        let mut peer = served.server.connect();
        peer.write_all(input).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_header(&mut peer)["error"]["code"], "bad_frame");
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
        served.expect("", "", false, Outcome::Refused(ErrorCode::BadFrame));
    }
    assert_eq!(served.counters.snapshot().other_protocol, 2);
}

#[test]
fn waits_for_requests_in_parts_and_gives_up_in_time() {
    let frame = [&19_u32.to_le_bytes()[..], br#"{"filename":"name"}"#].concat();
    let serve_within = |header_timeout| {
        let store = MemoryStore::new();
        store.insert("name", "content").unwrap();
        let limits = TransferLimits {
            header_timeout,
            ..TransferLimits::default()
        };
        serve_reporting(store, limits)
    };
    let served = serve_within(TIME_LIMIT);
    let mut peer = served.server.connect();
    for _ in 0..3 {
        for byte in &frame {
            peer.write_all(&[*byte]).unwrap();
        }
        expect_file(&mut peer, b"content");
        served.expect("get", "name", true, answered(7));
    }
    let served = serve_within(Duration::from_millis(300));
    let mut peer = served.server.connect();
    peer.write_all(&frame[..10]).unwrap();
    assert_eq!(read_header(&mut peer)["error"]["code"], "timeout");
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    served.expect("", "", false, Outcome::Refused(ErrorCode::Timeout));
}

#[test]
fn closes_an_idle_connection_without_an_answer() {
    let limits = TransferLimits {
        idle_timeout: Duration::from_millis(300),
        ..TransferLimits::default()
    };
    let served = serve_reporting(MemoryStore::new(), limits);
    let mut peer = served.server.connect();
    assert!(matches!(peer.read(&mut [0]), Ok(0) | Err(_)));
    assert!(served.reports.try_recv().is_err());
}

#[test]
fn changed_limits_apply_to_later_requests() {
    let store = MemoryStore::new();
    store.insert("f", noise(300_000)).unwrap();
    let pools = Arc::new(Pools::start(2).unwrap());
    let catalog_limits = CatalogLimits::for_cores(2);
    let catalog = Catalog::new(store, Arc::new(MemoryIndex::new()), pools, catalog_limits);
    let handler = TransferHandler::new(catalog, TransferLimits::default());
    let limits = handler.limits();
    let server = TestServer::start(handler, 2);
    let mut peer = server.connect();
    let mut fetch = || {
        let begun = Instant::now();
        ask(&mut peer, r#"{"filename":"f"}"#);
        expect_file(&mut peer, &noise(300_000));
        begun.elapsed()
    };
    fetch();
    for (rate, rate_per_connection) in [(Some(600_000), None), (None, Some(600_000))] {
        limits.set(TransferLimits {
            rate,
            rate_per_connection,
            ..TransferLimits::default()
        });
        assert_eq!(
            (limits.get().rate, limits.get().rate_per_connection),
            (rate, rate_per_connection)
        );
        // The bytes before the first pause are not paced.
        let took = fetch();
        assert!(took > Duration::from_millis(200), "{took:?}");
    }
}

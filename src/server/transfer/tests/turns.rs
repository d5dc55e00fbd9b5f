//! Single turns at one connection, with no engine around them: what each does to the socket, to the
//! connection's memory, and for what it lets the connection rest.

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;

use rustix::net::sockopt::{set_socket_send_buffer_size, socket_keepalive};
use serde_json::{Value, json};

use super::super::*;
use super::talk::*;
use crate::net::{Wait, time_of};
use crate::server::handler::{Ending, Interest, Parking};
use crate::server::published::{ErrorOutputTarget, RunLimits};
use crate::server::transfer::connection_state::Task;
use crate::server::transfer::outbox::KeptBytes;
use crate::server::transfer::pending_digest::append_progress;
use crate::server::transfer::reply::{read_refusal, refuse, store_refusal};
use crate::store::{DirectoryOptions, DirectoryStore, MemoryStore, StoreError};
use crate::wire::{Refusal, RequestId};

#[test]
fn an_idle_connection_is_evictable_a_busy_one_a_second_later() {
    let served = serve(one_file(), TransferLimits::default());
    let mut talk = served.talk();
    let accepted = Instant::now()
        .checked_sub(Duration::from_secs(100))
        .unwrap();
    talk.state = ConnectionState::new(Peer::Unix { uid: 0 }, accepted);
    let rest = talk.rest();
    assert_eq!(
        (rest.interest, rest.until.wait),
        (Interest::Readable, Wait::NextRequest)
    );
    assert_eq!(rest.evictable_from, Some(accepted));

    let before = Instant::now();
    talk.ask(r#"{"filename":"f"}"#);
    let idle = talk.rest().evictable_from.unwrap();
    assert!(idle >= before, "idle since its last answer");

    talk.send(&[20, 0, 0, 0, b'{']);
    let before = Instant::now();
    let rest = talk.rest();
    assert_eq!(rest.until.wait, Wait::RequestHeader);
    let begun = rest.evictable_from.unwrap() - Duration::from_secs(1);
    assert!(begun >= before && begun <= Instant::now());
}

#[test]
fn the_body_of_a_request_has_its_time_until_its_last_byte() {
    let limits = TransferLimits::default();
    for (body_size, sent, wait) in [
        (0, "", Wait::NextRequest),
        (1, "", Wait::DroppedBody),
        (1, "x", Wait::NextRequest),
        (3, "xx", Wait::DroppedBody),
        (90_000, "xx", Wait::DroppedBody),
    ] {
        let mut talk = serve(one_file(), limits).talk();
        talk.ask(&format!(r#"{{"filename":"f","body_size":{body_size}}}"#));
        talk.send(sent.as_bytes());
        let before = Instant::now();
        let rest = talk.rest();
        assert_eq!(rest.until.wait, wait, "{body_size}");
        if wait == Wait::DroppedBody {
            let time = time_of(body_size, limits.min_rate) + limits.header_timeout;
            let since = rest.until.at.checked_sub(time).unwrap();
            assert!(since >= before && since <= Instant::now(), "{body_size}");
        }
    }
}

#[test]
fn a_drain_ends_idle_peers_silently_and_refuses_what_they_ask() {
    let served = serve(one_file(), TransferLimits::default());
    let mut idle = served.talk();
    idle.drain();
    assert_eq!(idle.turn(), Disposition::Close(Ending::Silent));
    assert_eq!(idle.received(), b"");

    let mut asks = served.talk();
    asks.ask(r#"{"filename":"f"}"#);
    asks.drain();
    assert_eq!(asks.turn(), Disposition::Close(Ending::Answered));
    assert_eq!(asks.answer().0["error"]["code"], "shutting_down");
    let refused = Outcome::Refused(ErrorCode::ShuttingDown);
    assert_eq!(served.reported(), [("get", refused)]);

    // The last byte of an answer is as good as all of it.
    let mut reads = served.talk();
    reads.state.kept = Some(KeptBytes::new(b"x".to_vec(), &served.handler.kept_bytes));
    reads.drain();
    assert_eq!(reads.turn(), Disposition::Close(Ending::Answered));
    assert_eq!(reads.received(), b"x");
}

#[test]
fn no_digest_is_made_once_the_server_drains() {
    let store = MemoryStore::new();
    store.insert("long", noise(LONG)).unwrap();
    let served = serve(store, TransferLimits::default());
    served.handler.draining();
    let mut talk = served.talk();
    talk.ask(r#"{"filename":"long"}"#);
    talk.turn();
    let refused = Outcome::Refused(ErrorCode::ShuttingDown);
    assert_eq!(served.reported(), [("get", refused)]);
}

#[test]
fn a_line_that_begins_as_a_command_does_may_be_a_file() {
    let store = MemoryStore::new();
    store.insert("@f", "content").unwrap();
    let mut talk = serve(store, TransferLimits::default()).talk();
    talk.send(b"@f\n");
    talk.rest();
    assert_eq!(talk.answer().1, b"content");
}

#[test]
fn one_byte_is_a_name_where_the_stream_ends() {
    let mut talk = serve(one_file(), TransferLimits::default()).talk();
    talk.send(b"f");
    talk.peer.end_writing().unwrap();
    talk.rest();
    assert_eq!(talk.turn(), Disposition::Close(Ending::Answered));
    assert_eq!(talk.answer().1, b"content");
}

#[test]
fn a_peer_that_reset_the_connection_is_gone() {
    let served = serve(one_file(), TransferLimits::default());
    let mut talk = served.talk();
    talk.ask(r#"{"filename":"f"}"#);
    talk.rest();
    // With the answer unread.
    let (other, _) = UnixStream::pair().unwrap();
    talk.peer = Stream::Unix(other);
    assert_eq!(talk.turn(), Disposition::Close(Ending::Silent));
}

#[test]
fn limits_waiting_connections_and_has_the_kernel_probe_them() {
    let store = MemoryStore::new();
    let hold = store.insert("long", noise(LONG)).unwrap().hold_reads_at(0);
    let served = serve(store, TransferLimits::default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let stream = listener.accept().unwrap().0;
    let looks = stream.try_clone().unwrap();
    let mut waits = served.talk_over(Stream::Tcp(stream), Stream::Tcp(peer));
    waits.around.connections_max = 1;
    waits.send(b"long\n");
    while !matches!(waits.state.task, Task::Await { .. }) {
        waits.rest();
    }
    assert!(socket_keepalive(&looks).unwrap());
    assert!(served.reported().is_empty());

    let mut other = served.talk();
    other.around.connections_max = 1;
    other.ask(r#"{"filename":"long"}"#);
    other.rest();
    let refused = Outcome::Refused(ErrorCode::Busy);
    assert_eq!(served.reported(), [("get", refused)]);

    served.handler.closed(waits.state);
    assert_eq!(served.reported(), [("get", Outcome::Closed)]);
    drop(hold);
}

#[test]
fn a_waiting_connection_is_evictable_late_or_once_its_peer_ends() {
    let (soon, late) = (Duration::from_secs(1), Duration::from_secs(30));
    let store = MemoryStore::new();
    let _hold = store.insert("long", noise(LONG)).unwrap().hold_reads_at(0);
    let served = serve(store, TransferLimits::default());
    let mut talk = served.talk();
    let before = Instant::now();
    talk.ask(r#"{"filename":"long"}"#);
    let is_from = |rest: Parking, grace: Duration| {
        let from = rest.evictable_from.unwrap().checked_sub(grace).unwrap();
        from >= before && from <= Instant::now()
    };
    let rest = talk.rest();
    assert_eq!(
        (rest.interest, rest.until.wait),
        (Interest::End, Wait::Hashing)
    );
    assert!(is_from(rest, late));
    talk.around.peer_ended = true;
    let rest = talk.rest();
    assert_eq!(rest.interest, Interest::Nothing);
    assert!(is_from(rest, soon));

    // A stream that ends with the request has ended too.
    let mut talk = served.talk();
    talk.send(b"long");
    talk.peer.end_writing().unwrap();
    talk.rest();
    let rest = talk.rest();
    assert_eq!(rest.interest, Interest::Nothing);
    assert!(is_from(rest, soon));
}

#[test]
fn sends_progress_when_it_is_due_and_not_at_once() {
    let store = MemoryStore::new();
    let file = store.insert("long", noise(LONG)).unwrap();
    let hold = file.hold_reads_at(0);
    let mut talk = serve(store, TransferLimits::default()).talk();
    let due = |talk: &Talk<MemoryStore>| match &talk.state.task {
        Task::Await { pending, .. } => pending.next_progress,
        _ => panic!("no digest is waited for"),
    };
    let before = Instant::now();
    talk.ask(r#"{"filename":"long","progress":true,"id":"mine"}"#);
    talk.rest();
    let interval = Duration::from_millis(500);
    if before.elapsed() < interval {
        assert_eq!(talk.received(), b"");
    }
    assert!(due(&talk).unwrap() >= before + interval);
    talk.received();

    if let Task::Await { pending, .. } = &mut talk.state.task {
        pending.next_progress = Some(before);
    }
    talk.rest();
    assert!(due(&talk).unwrap() >= before + interval);
    let (header, _) = talk.answer();
    let expected = json!({
        "filename": "long", "total_size": LONG, "md5": "", "body_size": 0, "id": "mine",
        "status": "hashing", "done": 0,
    });
    assert_eq!(header, expected);

    // What is sent is the file as it was hashed.
    file.rewrite("now it is short");
    drop(hold);
    talk.rest_after_work();
    let (header, body) = talk.answer();
    assert_eq!(header["total_size"], 15, "{header}");
    assert_eq!(body, b"now it is short");
}

#[test]
fn progress_is_never_beyond_the_size() {
    let info = RequestInfo {
        id: Some(RequestId::Number(7)),
        name: b"f".to_vec(),
        ..RequestInfo::nothing(Instant::now())
    };
    let mut output = Vec::new();
    append_progress(&info, "hashing", 10, 12, &mut output);
    let header: Value = serde_json::from_slice(&output[4..]).unwrap();
    assert_eq!(
        (&header["done"], &header["total_size"], &header["id"]),
        (&json!(10), &json!(10), &json!(7))
    );
}

#[test]
fn a_peer_that_does_not_read_is_waited_for_and_gets_every_byte() {
    let store = MemoryStore::new();
    let content = noise(LONG);
    store.insert("long", content.clone()).unwrap();
    let served = serve(store, TransferLimits::default());
    let mut talk = served.talk();
    talk.ask(r#"{"filename":"long"}"#);
    let mut received = Vec::new();
    let mut rest = talk.rest_after_work();
    while rest.until.wait != Wait::NextRequest {
        let waits = (rest.interest, rest.until.wait);
        assert_eq!(waits, (Interest::Writable, Wait::SendProgress));
        // Nothing was read meanwhile.
        let waits = talk.rest();
        assert_eq!(waits.interest, Interest::Writable);
        received.extend(talk.received());
        rest = talk.rest();
    }
    received.extend(talk.received());
    assert!(received.ends_with(&content));
    assert_eq!(served.reported(), [("get", answered(LONG as u64))]);
}

#[test]
fn a_body_goes_on_as_long_as_the_kernel_takes_it() {
    let store = MemoryStore::new();
    let content = noise((256 << 10) + 10);
    store.insert("f", content.clone()).unwrap();
    let served = serve(store, TransferLimits::default());
    let mut talk = served.talk();
    // Room for more than one step.
    set_socket_send_buffer_size(&talk.stream, 212_992).unwrap();
    talk.ask(r#"{"filename":"f"}"#);
    assert_eq!(talk.rest_after_work().until.wait, Wait::NextRequest);
    assert!(talk.received().ends_with(&content));
}

#[test]
fn answers_share_writes_unless_much_is_kept() {
    let store = MemoryStore::new();
    store.insert("f", noise(2_000)).unwrap();
    for (kept_bytes_max, least, most) in [(64 << 20, 32 << 10, 66 << 10), (0, 1, 4 << 10)] {
        let limits = TransferLimits {
            kept_bytes_max,
            ..TransferLimits::default()
        };
        let mut talk = serve(store.clone(), limits).talk();
        set_socket_send_buffer_size(&talk.stream, 1).unwrap();
        talk.send(&frame(r#"{"filename":"f"}"#).repeat(64));
        assert_eq!(talk.rest().interest, Interest::Writable);
        let kept = talk
            .state
            .kept
            .as_ref()
            .map_or(0, |kept| kept.bytes().len());
        assert!(kept >= least && kept <= most, "{kept} of {kept_bytes_max}");
    }
}

#[test]
fn keeps_short_bodies_and_reads_longer_ones_again() {
    let store = MemoryStore::new();
    for (name, size) in [("kept", 4 << 10), ("again", (4 << 10) + 1)] {
        store.insert(name, noise(size)).unwrap();
    }
    for (name, is_read_again) in [("kept", false), ("again", true)] {
        let mut talk = serve(store.clone(), TransferLimits::default()).talk();
        set_socket_send_buffer_size(&talk.stream, 1).unwrap();
        let request = format!(r#"{{"filename":"{name}"}}"#);
        talk.send(&frame(&request).repeat(4));
        assert_eq!(talk.rest().interest, Interest::Writable);
        let sends = matches!(talk.state.task, Task::Send { info: None, .. });
        assert_eq!(sends, is_read_again, "{name}");
    }
}

#[test]
fn under_a_rate_gathered_answers_go_before_a_body() {
    let store = MemoryStore::new();
    store.insert("long", noise(LONG)).unwrap();
    let limits = TransferLimits {
        rate_per_connection: Some(1),
        ..TransferLimits::default()
    };
    let mut talk = serve(store, limits).talk();
    talk.ask(r#"{"filename":"long"}"#);
    let rest = talk.rest_after_work();
    assert_eq!(
        (rest.interest, rest.until.wait),
        (Interest::Nothing, Wait::Pace)
    );
    assert_eq!(rest.evictable_from, None);
    assert!(talk.received().len() < 4, "less than the header's length");
}

#[test]
fn requests_are_read_ahead_by_little_when_all_keep_much() {
    let limits = TransferLimits {
        kept_bytes_max: 100,
        ..TransferLimits::default()
    };
    let served = || {
        let served = serve(one_file(), limits);
        served.handler.read_ahead.store(100, Ordering::Relaxed);
        served
    };
    // A read that fills the room is not the last.
    let mut talk = served().talk();
    talk.send(&frame(r#"{"op":"hello"}"#).repeat(300));
    talk.rest();
    assert_eq!(talk.answers().len(), 300);

    let begun = frame(&format!(r#"{{"filename":"{}"}}"#, "x".repeat(6_000)));
    let refused = |served: &Served<_>| {
        let busy = ("", Outcome::Refused(ErrorCode::Busy));
        served.reported() == [busy]
    };
    for (ends, is_refused) in [
        (&[4_095][..], false),
        (&[4_096], true),
        // The look whether there is more comes with the next turn.
        (&[3_000, 5_000], false),
        (&[3_000, 5_000, 5_001], true),
    ] {
        let served = served();
        let mut talk = served.talk();
        let (mut sent, mut outcome) = (0, Disposition::Again);
        for &end in ends {
            talk.send(&begun[sent..end]);
            outcome = talk.turn();
            sent = end;
        }
        assert_eq!(refused(&served), is_refused, "{ends:?}");
        let is_closed = outcome == Disposition::Close(Ending::Answered);
        assert_eq!(is_closed, is_refused, "{ends:?}");
    }
}

#[test]
fn the_longest_file_that_is_read_at_once_waits_for_no_digest() {
    let store = MemoryStore::new();
    store.insert("f", noise(256 << 10)).unwrap();
    let mut talk = serve(store, TransferLimits::default()).talk();
    talk.ask(r#"{"filename":"f"}"#);
    assert_ne!(talk.rest().until.wait, Wait::Hashing);
}

#[test]
fn a_match_whose_digest_is_known_reads_nothing() {
    let store = MemoryStore::new();
    let file = store.insert("f", noise(100 << 10)).unwrap();
    store.advance(Duration::from_secs(100));
    let mut talk = serve(store, TransferLimits::default()).talk();
    talk.ask(r#"{"filename":"f"}"#);
    talk.rest();
    let (header, _) = talk.answer();
    file.fail_reads_from(0);
    let md5 = header["md5"].as_str().unwrap();
    talk.ask(&format!(r#"{{"filename":"f","have_md5":"{md5}"}}"#));
    talk.rest();
    assert_eq!(talk.answer().0["match"], true);
}

#[test]
fn a_page_names_its_directory_and_counts_hidden_names() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["empty", "full"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("full/.hidden"), "").unwrap();
    std::fs::write(folder.path().join("full/shown"), "").unwrap();
    let options = DirectoryOptions {
        show_hidden: false,
        follow_links_inside: true,
    };
    let store = DirectoryStore::open_root(folder.path(), options).unwrap();
    let served = serve(store, TransferLimits::default());
    let mut talk = served.talk();
    for (name, hidden) in [("empty", 0), ("full", 1)] {
        talk.ask(&format!(r#"{{"op":"list","filename":"{name}","id":1}}"#));
        talk.rest_after_work();
        let (header, body) = talk.answer();
        let said = (&header["filename"], &header["hidden"], &header["id"]);
        assert_eq!(said, (&json!(name), &json!(hidden), &json!(1)));
        assert_eq!(header["last"], true);
        let body_bytes = body.len() as u64;
        assert_eq!(body_bytes == 0, name == "empty");
        assert_eq!(served.reported(), [("list", answered(body_bytes))]);
    }
}

#[test]
fn the_answer_of_a_command_has_its_exit_status_and_errors() {
    let commands = [
        ("silent", ""),
        ("warns", "echo out; echo note >&2"),
        ("fails", "echo out; echo why >&2; exit 3"),
        ("stops", "echo out; exit 1"),
        ("nothing", "echo why >&2; exit 3"),
    ];
    let published = Published::new(
        commands.map(|(name, script)| {
            let words = ["sh", "-c", script].map(Into::into).to_vec();
            (name.as_bytes().to_vec(), words)
        }),
        RunLimits::default(),
        ErrorOutputTarget::To(Box::new(|_, _| {})),
    )
    .unwrap_or_else(|_| panic!("names are good"));
    let served = serve_publishing(one_file(), TransferLimits::default(), published);
    let mut talk = served.talk();
    for (name, body, exit_status, errors, outcome) in [
        ("silent", "", 0, Value::Null, answered(0)),
        ("warns", "out\n", 0, Value::Null, answered(4)),
        ("fails", "out\n", 3, json!("why"), answered(4)),
        ("stops", "out\n", 1, Value::Null, answered(4)),
        (
            "nothing",
            "",
            3,
            Value::Null,
            Outcome::Refused(ErrorCode::Internal),
        ),
    ] {
        talk.ask(&format!(
            r#"{{"op":"run","filename":"{name}","id":"{name}"}}"#
        ));
        talk.rest_after_work();
        let (header, found) = talk.answer();
        assert_eq!(found, body.as_bytes(), "{header}");
        assert_eq!(header["exit_status"], exit_status, "{header}");
        assert_eq!(header["error_output"], errors, "{header}");
        assert_eq!(header["id"], name);
        assert_eq!(served.reported(), [("run", outcome)]);
    }
}

#[test]
fn a_refusal_has_the_exit_status_and_the_time_to_retry() {
    let info = RequestInfo {
        exit_status: Some(7),
        ..RequestInfo::nothing(Instant::now())
    };
    let mut output = Vec::new();
    let refusal = Refusal::new(ErrorCode::Internal, "it failed");
    refuse(&info, &refusal, &mut output);
    let header: Value = serde_json::from_slice(&output[4..]).unwrap();
    assert_eq!(header["exit_status"], 7);
    let busy = store_refusal(&StoreError::Stalled);
    assert_eq!(busy.code, ErrorCode::Busy);
    assert!(busy.retry_after_ms.is_some());
    assert_eq!(store_refusal(&StoreError::NotFound).retry_after_ms, None);
    let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
    assert_eq!(read_refusal(&late), busy);
    let broken = std::io::Error::from(std::io::ErrorKind::InvalidData);
    assert_eq!(read_refusal(&broken).code, ErrorCode::Internal);
}

//! Tests the engine and the transfer handler over real sockets, with files in memory. The peers
//! write their bytes by hand.

mod answers;

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use md5::{Digest, Md5};
use serde_json::Value;

use super::*;
use crate::digest::Pools;
use crate::net::{Deadline, Peer, Stream, Wait};
use crate::store::{Catalog, CatalogLimits, MemoryIndex, MemoryStore};
use crate::wire::ErrorCode;

/// A server on a free port, stopped on drop.
struct TestServer {
    handle: ServerHandle,
    thread: Option<JoinHandle<Result<(), ServerError>>>,
}

impl TestServer {
    fn start<H: ConnectionHandler>(handler: H, workers: usize) -> TestServer {
        let mut config = ServerConfig {
            listen: vec![Listen::At(Address::Tcp {
                host: "127.0.0.1".into(),
                port: 0,
            })],
            workers,
            connections_max: 64,
            connections_per_address_max: Some(64),
            ..ServerConfig::default()
        };
        config.closing.abandon_timeout = Duration::from_millis(200);
        let server = Server::bind(config, handler).unwrap();
        let handle = server.handle();
        let thread = Some(thread::spawn(move || server.run()));
        TestServer { handle, thread }
    }

    fn connect(&self) -> TcpStream {
        let peer = TcpStream::connect(self.handle.local_addresses()[0].to_string()).unwrap();
        peer.set_read_timeout(Some(TIME_LIMIT)).unwrap();
        peer
    }

    fn join(&mut self) {
        let thread = self.thread.take().expect("joined once");
        thread.join().unwrap().unwrap();
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A server of files in memory, with the reports of its requests.
fn serve(store: MemoryStore, limits: TransferLimits) -> (TestServer, Receiver<Outcome>) {
    let pools = Arc::new(Pools::start(2).unwrap());
    let index = Arc::new(MemoryIndex::new());
    let catalog = Catalog::new(store, index, pools, CatalogLimits::for_cores(2));
    let (sender, reports) = unbounded();
    let observer = move |report: &Report<'_>| sender.send(report.outcome).unwrap_or(());
    let handler = TransferHandler::new(catalog, limits).observed_by(Box::new(observer));
    (TestServer::start(handler, 2), reports)
}

fn ask(peer: &mut TcpStream, json: &str) {
    let mut frame = (json.len() as u32).to_le_bytes().to_vec();
    frame.extend(json.as_bytes());
    peer.write_all(&frame).unwrap();
}

fn read_header(peer: &mut TcpStream) -> Value {
    let mut length = [0; 4];
    peer.read_exact(&mut length).unwrap();
    let mut text = vec![0; u32::from_le_bytes(length) as usize];
    peer.read_exact(&mut text).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// Reads the answer to a plain `get` and compares it with the file's content.
fn expect_file(peer: &mut TcpStream, content: &[u8]) {
    let header = read_header(peer);
    assert_eq!(header["total_size"], content.len(), "{header}");
    let md5: String = Md5::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(header["md5"], md5, "{header}");
    let mut body = vec![0; content.len()];
    peer.read_exact(&mut body).unwrap();
    assert!(body == content, "the body of {header} differs");
}

/// Bytes without short repetitions.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ count as u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}

const TIME_LIMIT: Duration = Duration::from_secs(60);
const LONG: usize = 3 << 20;

/// Echoes its input. `!` panics, `w` works until its turn is over, `#` waits for a wake from
/// another thread.
struct Odd;

impl ConnectionHandler for Odd {
    type State = Vec<u8>;
    type Scratch = ();

    fn accepted(&self, _: &Peer, _: Instant) -> Vec<u8> {
        Vec::new()
    }

    fn scratch(&self) {}

    fn advance(
        &self,
        stream: &mut Stream,
        state: &mut Vec<u8>,
        (): &mut (),
        turn: Turn<'_>,
    ) -> Disposition {
        if turn.draining {
            return Disposition::Close(Ending::Answered);
        }
        let until = Deadline::after(turn.now, Wait::NextRequest, TIME_LIMIT);
        let rest = |interest| {
            Disposition::Park(Parking {
                interest,
                until,
                evictable_from: None,
            })
        };
        match state.as_slice() {
            b"w" | b"#" => {}
            _ => {
                let mut byte = [0];
                match stream.read(&mut byte) {
                    Ok(0) => return Disposition::Close(Ending::Answered),
                    Ok(_) => *state = byte.to_vec(),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return rest(Interest::Readable);
                    }
                    Err(_) => return Disposition::Close(Ending::Silent),
                }
                if state.as_slice() == b"#" {
                    let waker = turn.waker();
                    thread::spawn(move || waker.wake());
                    return rest(Interest::Nothing);
                }
            }
        }
        match state.as_slice() {
            b"!" => panic!("the peer requests it"),
            b"w" => {
                while !turn.is_over(u64::MAX) {
                    thread::yield_now();
                }
            }
            _ => {}
        }
        let echo = std::mem::take(state);
        stream.write_all(&echo).unwrap();
        Disposition::Again
    }
}

fn echo(peer: &mut TcpStream, byte: u8) {
    peer.write_all(&[byte]).unwrap();
    let mut answer = [0];
    peer.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [byte]);
}

#[test]
fn a_panic_costs_one_connection_and_is_counted() {
    let server = TestServer::start(Odd, 1);
    let mut beside = server.connect();
    echo(&mut beside, b'a');
    let mut unlucky = server.connect();
    unlucky.write_all(b"!").unwrap();
    let error = unlucky.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    echo(&mut beside, b'b');
    echo(&mut server.connect(), b'c');
    assert_eq!(server.handle.stats().panicked, 1);
}

#[test]
fn a_long_turn_ends_when_another_connection_waits() {
    let server = TestServer::start(Odd, 1);
    let mut busy = server.connect();
    busy.write_all(b"w").unwrap();
    // The first connection, whose turn has no end of its own, occupies the only worker.
    echo(&mut server.connect(), b'a');
    busy.read_exact(&mut [0]).unwrap();
}

#[test]
fn a_wake_from_another_thread_arrives_however_early() {
    let server = TestServer::start(Odd, 2);
    let mut peer = server.connect();
    for _ in 0..2000 {
        echo(&mut peer, b'#');
    }
}

#[test]
fn a_drain_ends_when_the_last_connection_does() {
    let mut server = TestServer::start(Odd, 2);
    let mut peers: Vec<TcpStream> = (0..8).map(|_| server.connect()).collect();
    for peer in &mut peers {
        echo(peer, b'a');
    }
    server.handle.drain(TIME_LIMIT);
    for peer in &mut peers {
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
        peer.shutdown(Shutdown::Both).unwrap();
    }
    server.join();
}

#[test]
fn a_stop_ends_busy_and_idle_connections() {
    let mut server = TestServer::start(Odd, 2);
    let mut idle = server.connect();
    echo(&mut idle, b'a');
    let mut busy = server.connect();
    busy.write_all(b"w").unwrap();
    server.handle.stop();
    server.join();
    assert!(matches!(idle.read(&mut [0]), Ok(0) | Err(_)));
}

#[test]
fn a_hash_blocks_no_worker_and_reports_progress() {
    let store = MemoryStore::new();
    let content = noise(LONG);
    let file = store.insert("long", content.clone()).unwrap();
    store.insert("short", "x").unwrap();
    let hold = file.hold_reads_at(1 << 20);
    let (server, _) = serve(store, TransferLimits::default());
    // More requests than workers.
    let mut peers: Vec<TcpStream> = (0..8).map(|_| server.connect()).collect();
    for peer in &mut peers {
        ask(peer, r#"{"filename":"long","progress":true}"#);
    }
    assert!(hold.wait_until_reached());
    let mut other = server.connect();
    ask(&mut other, r#"{"filename":"short"}"#);
    expect_file(&mut other, b"x");
    for peer in &mut peers {
        // A slow hash may be reported before it is blocked.
        let mut done = 0;
        while done < 1 << 20 {
            let interim = read_header(peer);
            assert_eq!(interim["status"], "hashing", "{interim}");
            assert_eq!(interim["body_size"], 0, "{interim}");
            done = interim["done"].as_u64().unwrap();
        }
        assert_eq!(done, 1 << 20);
    }
    hold.release();
    let read_before = file.bytes_read();
    for peer in &mut peers {
        let mut header = read_header(peer);
        while header["status"] == "hashing" {
            header = read_header(peer);
        }
        let mut body = vec![0; LONG];
        peer.read_exact(&mut body).unwrap();
        assert!(body == content, "the body of {header} differs");
    }
    assert!(
        read_before <= LONG as u64,
        "{read_before} bytes were read for one hash"
    );
}

#[test]
fn a_drain_refuses_a_request_that_waits_for_a_digest() {
    let store = MemoryStore::new();
    let hold = store.insert("long", noise(LONG)).unwrap().hold_reads_at(0);
    let (mut server, reports) = serve(store, TransferLimits::default());
    let mut peer = server.connect();
    ask(&mut peer, r#"{"filename":"long"}"#);
    assert!(hold.wait_until_reached());
    server.handle.drain(TIME_LIMIT);
    let header = read_header(&mut peer);
    assert_eq!(header["error"]["code"], "shutting_down", "{header}");
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    drop(peer);
    hold.release();
    server.join();
    assert_eq!(
        reports.recv_timeout(TIME_LIMIT),
        Ok(Outcome::Refused(ErrorCode::ShuttingDown))
    );
}

/// What a peer receives of a body whose file is changed halfway.
fn changed_on_the_way(
    change: impl FnOnce(&crate::store::MemoryFile),
) -> (io::Result<usize>, Vec<u8>, Outcome) {
    let store = MemoryStore::new();
    let file = store.insert("long", noise(LONG)).unwrap();
    store.advance(Duration::from_secs(3600));
    let (server, reports) = serve(store, TransferLimits::default());
    let mut peer = server.connect();
    // From here on the digest is known.
    ask(&mut peer, r#"{"filename":"long"}"#);
    expect_file(&mut peer, &noise(LONG));
    reports.recv_timeout(TIME_LIMIT).unwrap();
    let hold = file.hold_reads_at(LONG as u64 / 2);
    ask(&mut peer, r#"{"filename":"long"}"#);
    assert!(hold.wait_until_reached());
    change(&file);
    hold.release();
    assert_eq!(read_header(&mut peer)["total_size"], LONG);
    let mut body = vec![0; LONG];
    let read = peer.read_exact(&mut body).map(|()| LONG);
    (read, body, reports.recv_timeout(TIME_LIMIT).unwrap())
}

#[test]
fn a_body_is_reset_when_its_file_is_rewritten_or_cut() {
    let rewritten: fn(&crate::store::MemoryFile) = |file| file.rewrite(vec![7; LONG]);
    let cut: fn(&crate::store::MemoryFile) = |file| file.rewrite(vec![7; LONG / 2 + 1]);
    for change in [rewritten, cut] {
        let (read, _, outcome) = changed_on_the_way(change);
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(outcome, Outcome::Abandoned);
    }
}

#[test]
fn a_body_completes_when_its_file_grows_or_changes_mode() {
    let grown: fn(&crate::store::MemoryFile) = |file| file.append(b"more");
    let mode: fn(&crate::store::MemoryFile) = |file| file.set_mode(0o600);
    for change in [grown, mode] {
        let (read, body, outcome) = changed_on_the_way(change);
        assert_eq!(read.unwrap(), LONG);
        assert!(body == noise(LONG));
        assert_eq!(
            outcome,
            Outcome::Answered {
                body_bytes: LONG as u64
            }
        );
    }
}

#[test]
fn a_read_error_is_internal_and_a_panic_resets_one_connection() {
    let store = MemoryStore::new();
    store.insert("fails", "x").unwrap().fail_reads_from(0);
    store.insert("panics", "x").unwrap().panic_reads_from(0);
    store.insert("good", "x").unwrap();
    let (server, _) = serve(store, TransferLimits::default());
    let mut peer = server.connect();
    ask(&mut peer, r#"{"filename":"fails"}"#);
    assert_eq!(read_header(&mut peer)["error"]["code"], "internal");
    ask(&mut peer, r#"{"filename":"panics"}"#);
    assert_eq!(
        peer.read(&mut [0]).unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );
    let mut peer = server.connect();
    ask(&mut peer, r#"{"filename":"good"}"#);
    expect_file(&mut peer, b"x");
}

#[test]
fn unsent_answers_are_kept_or_read_again_and_stay_right() {
    for kept_bytes_max in [0, 64 << 20] {
        let store = MemoryStore::new();
        let sizes = [200_000, 0, 5000, 100, 262_144, 262_145];
        for size in sizes {
            store.insert(&size.to_string(), noise(size)).unwrap();
        }
        let limits = TransferLimits {
            kept_bytes_max,
            ..TransferLimits::default()
        };
        let (server, _) = serve(store, limits);
        let mut peer = server.connect();
        let rounds = 100;
        for _ in 0..rounds {
            for size in sizes {
                ask(&mut peer, &format!(r#"{{"filename":"{size}"}}"#));
            }
        }
        // 73 MB of answers exceed any socket buffer, so the server must have parked.
        for _ in 0..rounds {
            for size in sizes {
                expect_file(&mut peer, &noise(size));
            }
        }
    }
}

#[test]
fn gives_up_on_a_peer_that_reads_nothing() {
    let store = MemoryStore::new();
    store.insert("long", noise(32 << 20)).unwrap();
    let limits = TransferLimits {
        // This limit also covers the request of a peer that is late.
        idle_timeout: Duration::from_secs(3),
        ..TransferLimits::default()
    };
    let (server, reports) = serve(store, limits);
    let mut peer = server.connect();
    ask(&mut peer, r#"{"filename":"long"}"#);
    assert_eq!(reports.recv_timeout(TIME_LIMIT), Ok(Outcome::TooSlow));
    let mut body = Vec::new();
    let ended = peer.read_to_end(&mut body);
    assert!(
        ended.is_err() && body.len() < 32 << 20,
        "{ended:?} after {} bytes",
        body.len()
    );
}

#[test]
fn reports_a_request_whose_connection_the_server_closes() {
    for ending in ["stopped", "evicted"] {
        let store = MemoryStore::new();
        store.insert("long", noise(32 << 20)).unwrap();
        store.advance(Duration::from_secs(3600));
        let limits = TransferLimits {
            // A slow reader may be evicted after a tenth of this time.
            idle_timeout: Duration::from_secs(20),
            ..TransferLimits::default()
        };
        let (server, reports) = serve(store, limits);
        let slow_reader = || {
            let mut peer = server.connect();
            ask(&mut peer, r#"{"filename":"long"}"#);
            read_header(&mut peer);
            peer
        };
        let crowd: Vec<TcpStream> = match ending {
            "evicted" => (0..64).map(|_| slow_reader()).collect(),
            _ => vec![slow_reader()],
        };
        if ending == "evicted" {
            let mut next = server.connect();
            ask(&mut next, r#"{"op":"hello"}"#);
            read_header(&mut next);
        } else {
            server.handle.stop();
        }
        assert_eq!(
            reports.recv_timeout(TIME_LIMIT),
            Ok(Outcome::Closed),
            "{ending}"
        );
        drop(crowd);
    }
}

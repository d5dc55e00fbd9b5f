//! One honest client amid a crowd of idle, slow and half-spoken peers, and then a crowd that
//! is larger than the server has places.

use std::fmt::Write as _;
use std::fs;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::param::page_size;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Options;
use crate::harness::{RawPeer, Scratch, TestServer, frame, md5_hex, noise};

/// Runs it; see the module.
pub(crate) fn run(options: &Options) -> String {
    raise_descriptor_limit();
    let size = if options.full { FULL } else { SHORT };
    let mut table = beside_a_crowd(options, size);
    table += &more_peers_than_places(options, size);
    format!(
        "{} peers, {} requests\n{table}",
        size.peers(),
        options.rounds
    )
}

/// How many peers of each kind.
#[derive(Clone, Copy)]
struct Size {
    idle: usize,
    slow: usize,
    half: usize,
    /// Idle, and connecting again whenever they are closed.
    insistent: usize,
}

impl Size {
    fn peers(self) -> usize {
        self.idle + self.slow + self.half + self.insistent
    }
}

/// Times of an honest client without and with a crowd, from the connect to the first byte.
fn beside_a_crowd(options: &Options, size: Size) -> String {
    let root = honest_root();
    // However long it takes on this machine, half a header is waited for.
    let server = TestServer::start(root.path(), ["--header-timeout", "300"]);
    // Known digests: the crowd is what is measured, not md5.
    server.connect().ask(format!(
        r#"{{"op":"stat","filename":"{BIG}","digests":["md5"]}}"#
    ));
    let alone = Reading::take(&server, &root, options.rounds);
    let crowd = Crowd::gather(server.addr(), size);
    // This one waits in the backlog behind the last of the crowd.
    let behind = first_byte(&server, &root.read(SMALL));
    let beside = Reading::take(&server, &root, options.rounds);
    let still_there = server.facts().open_fds();
    drop(crowd);
    let after = Reading::take(&server, &root, options.rounds);

    let peers = size.peers();
    assert!(
        still_there >= alone.descriptors + peers,
        "the crowd of {peers} was dispersed: {still_there} descriptors"
    );
    assert!(
        behind <= AT_ONCE,
        "{behind:?} behind the crowd at the door, the limit is {AT_ONCE:?}"
    );
    assert!(
        beside.threads <= alone.threads + 10,
        "threads grew with the crowd"
    );
    let held = beside.kernel_mib.saturating_sub(alone.kernel_mib);
    assert!(
        held <= size.slow * KERNEL_PER_READER_KIB_MAX / 1024 + KERNEL_SLACK_MIB,
        "the kernel holds {held} MiB for {} slow readers",
        size.slow
    );
    let grown = beside.rss_kib.saturating_sub(alone.rss_kib);
    assert!(
        grown <= (peers * RSS_PER_PEER_KIB_MAX) as u64 + RSS_SLACK_KIB,
        "{grown} KiB for {peers} peers"
    );
    // Of few requests the slowest say more about the machine than about the server.
    let (what, [with, without]) = match options.full {
        true => ("p99", [beside.p99, alone.p99]),
        false => ("p50", [beside.p50, alone.p50]),
    };
    assert!(
        with <= without * 10 + SLACK,
        "{what} {with:?} beside the crowd, {without:?} alone"
    );
    let mut table = String::from(
        "  first byte of 1 KiB        p50 ms    p99 ms    max ms   RSS KiB  threads  descriptors  TCP MiB\n",
    );
    for (what, reading) in [
        ("alone", alone),
        ("beside the crowd", beside),
        ("when it is gone", after),
    ] {
        reading.row(what, &mut table);
    }
    let _ = writeln!(table, "  as the last of it arrives {:27.3}", millis(behind));
    table
}

/// More peers than the server has places for: the honest client gets one all the same.
fn more_peers_than_places(options: &Options, size: Size) -> String {
    let peers = size.peers();
    let (idle, half) = (peers, peers);
    let mut kinds = vec![
        ("idle", Size { idle, ..NOBODY }, AT_ONCE),
        (
            "idle, back when evicted",
            Size {
                insistent: peers,
                ..NOBODY
            },
            AT_ONCE,
        ),
        ("mixed", size, AT_ONCE),
    ];
    if options.full {
        let slow = peers / 4;
        kinds.push((
            "half a header",
            Size { half, ..NOBODY },
            HALF_HEADER_TIMEOUT,
        ));
        kinds.push(("slow readers", Size { slow, ..NOBODY }, SLOW_READER_TIMEOUT));
    }
    let mut table =
        String::from("  more peers than places     places     peers  slowest of 20 honest, ms\n");
    for (what, size, limit) in kinds {
        // Those without a place wait in the backlog, which holds 1,024.
        let places = size.peers() - (size.peers() / 2).min(800);
        let slowest = slowest_amid(size, places);
        assert!(
            slowest <= limit,
            "{what}: the honest client waited {slowest:?}, the limit is {limit:?}"
        );
        let _ = writeln!(
            table,
            "  {what:24} {places:8} {:9} {:12.2}",
            size.peers(),
            millis(slowest)
        );
    }
    table.truncate(table.trim_end().len());
    table
}

fn slowest_amid(size: Size, places: usize) -> Duration {
    let root = honest_root();
    let server = TestServer::start(
        root.path(),
        ["--max-connections".to_owned(), places.to_string()],
    );
    server.connect().ask(format!(
        r#"{{"op":"stat","filename":"{BIG}","digests":["md5"]}}"#
    ));
    let crowd = Crowd::gather(server.addr(), size);
    let content = root.read(SMALL);
    let times = (0..20).map(|_| first_byte(&server, &content));
    let slowest = times.max().expect("20 times");
    drop(crowd);
    server.assert_alive();
    slowest
}

/// One row of the first table.
struct Reading {
    p50: Duration,
    p99: Duration,
    max: Duration,
    rss_kib: u64,
    threads: u64,
    descriptors: usize,
    /// What the kernel holds for all TCP connections of the machine.
    kernel_mib: usize,
}

impl Reading {
    fn take(server: &TestServer, root: &Scratch, requests: u32) -> Reading {
        let content = root.read(SMALL);
        let mut times: Vec<Duration> = (0..requests.max(1))
            .map(|_| first_byte(server, &content))
            .collect();
        times.sort();
        let at = |part: f64| times[((times.len() - 1) as f64 * part).round() as usize];
        let facts = server.facts();
        Reading {
            p50: at(0.5),
            p99: at(0.99),
            max: at(1.0),
            rss_kib: facts.rss_kib(),
            threads: facts.threads(),
            descriptors: facts.open_fds(),
            kernel_mib: kernel_tcp_mib(),
        }
    }

    fn row(&self, what: &str, table: &mut String) {
        let [p50, p99, max] = [self.p50, self.p99, self.max].map(millis);
        let _ = writeln!(
            table,
            "  {what:24} {p50:8.3} {p99:9.3} {max:9.3} {:9} {:8} {:12} {:8}",
            self.rss_kib, self.threads, self.descriptors, self.kernel_mib
        );
    }
}

/// `mem` of the TCP line of sockstat, which counts pages (proc_net(5)).
fn kernel_tcp_mib() -> usize {
    let text = fs::read_to_string("/proc/net/sockstat").expect("the kernel's sockets");
    let line = text.lines().find(|line| line.starts_with("TCP:"));
    let pages = line.and_then(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
    (pages.expect("the pages of TCP") * page_size()) >> 20
}

/// From the connect to the first byte of the answer, which must be right.
fn first_byte(server: &TestServer, content: &[u8]) -> Duration {
    let started = Instant::now();
    let mut peer = server.connect();
    peer.set_wait(SLOW_READER_TIMEOUT).expect("a limit");
    peer.send_frame(format!(r#"{{"filename":"{SMALL}"}}"#));
    let mut start = peer.read_exact(1);
    let elapsed = started.elapsed();
    start.extend(peer.read_exact(3));
    let length = u32::from_le_bytes(start.try_into().expect("4 bytes"));
    let header: serde_json::Value =
        serde_json::from_slice(&peer.read_exact(length as usize)).expect("a header");
    assert_eq!(header["md5"], md5_hex(content), "{header}");
    assert!(
        peer.read_exact(content.len()) == content,
        "the body differs"
    );
    elapsed
}

/// Peers that stay until this is dropped.
struct Crowd {
    _waiting: Vec<RawPeer>,
    stop: Option<Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// Connects them from eight addresses in turn; those that speak only half a header come
    /// last, since the server waits for them the shortest.
    fn gather(address: &str, size: Size) -> Crowd {
        let peers = |count: usize, words: &[u8], buffer: Option<usize>| -> Vec<RawPeer> {
            let peer = |index| {
                let mut peer = RawPeer::connect_from(source(index), address);
                if let Some(bytes) = buffer {
                    peer.shrink_receive_buffer(bytes);
                }
                // Beyond its places the server closes whom it likes.
                let _ = peer.try_send(words);
                peer
            };
            (0..count).map(peer).collect()
        };
        let request = frame(format!(r#"{{"filename":"{BIG}"}}"#));
        let insistent = peers(size.insistent, &[], None);
        let mut waiting = peers(size.idle, &[], None);
        let slow = peers(size.slow, &request, Some(4096));
        waiting.extend(peers(size.half, &request[..request.len() / 2], None));
        let (stop, stopped) = bounded(0);
        let address = address.to_owned();
        let also_stopped = stopped.clone();
        Crowd {
            _waiting: waiting,
            stop: Some(stop),
            threads: vec![
                thread::spawn(move || read_slowly(slow, &stopped)),
                thread::spawn(move || insist(insistent, &address, &also_stopped)),
            ],
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop = None;
        for thread in self.threads.drain(..) {
            // Its panic is on standard error; a second one here would abort.
            assert!(
                thread.join().is_ok() || thread::panicking(),
                "a crowd broke down"
            );
        }
    }
}

/// One byte of each per second. A peer that was closed stays closed.
fn read_slowly(mut peers: Vec<RawPeer>, stopped: &Receiver<()>) {
    while stopped.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
        peers.retain_mut(|peer| matches!(peer.try_read(1), Ok(byte) if !byte.is_empty()));
    }
}

/// Says nothing, and connects again whenever it is closed.
fn insist(mut peers: Vec<RawPeer>, address: &str, stopped: &Receiver<()>) {
    let a_while = Timespec {
        tv_sec: 0,
        tv_nsec: 20_000_000,
    };
    while stopped.try_recv() == Err(TryRecvError::Empty) {
        let mut watched: Vec<PollFd<'_>> = peers
            .iter()
            .map(|peer| PollFd::new(peer, PollFlags::IN))
            .collect();
        poll(&mut watched, Some(&a_while)).expect("poll");
        let closed: Vec<usize> = (0..watched.len())
            .filter(|&index| !watched[index].revents().is_empty())
            .collect();
        for index in closed {
            peers[index] = RawPeer::connect_from(source(index), address);
        }
    }
}

/// The eight addresses in turn.
fn source(index: usize) -> &'static str {
    SOURCES[index % SOURCES.len()]
}

fn honest_root() -> Scratch {
    let root = Scratch::in_memory();
    root.write(SMALL, noise(1, 1024));
    root.write(BIG, noise(2, 64 << 20));
    root
}

/// As many descriptors as the system lets this process have.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("more descriptors");
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

const NOBODY: Size = Size {
    idle: 0,
    slow: 0,
    half: 0,
    insistent: 0,
};
const FULL: Size = Size {
    idle: 2000,
    slow: 500,
    half: 1000,
    ..NOBODY
};
const SHORT: Size = Size {
    idle: 200,
    slow: 50,
    half: 100,
    ..NOBODY
};
const SOURCES: [&str; 8] = [
    "127.0.1.1",
    "127.0.1.2",
    "127.0.1.3",
    "127.0.1.4",
    "127.0.1.5",
    "127.0.1.6",
    "127.0.1.7",
    "127.0.1.8",
];
const SMALL: &str = "small";
const BIG: &str = "big";
/// Measured at about 1 KiB; a parked connection holds no buffer.
const RSS_PER_PEER_KIB_MAX: usize = 4;
const RSS_SLACK_KIB: u64 = 8 << 10;
/// A quarter of a MiB unsent, what the peer's window takes, and the kernel's own book-keeping.
const KERNEL_PER_READER_KIB_MAX: usize = 1024;
/// Other connections of the machine are counted too.
const KERNEL_SLACK_MIB: usize = 200;
const SLACK: Duration = Duration::from_millis(50);
/// On a machine with other work; less than the 10 s for half a header of PROTOCOL.md 7.
const AT_ONCE: Duration = Duration::from_secs(8);
/// 10 s of PROTOCOL.md 7, and time to get through the line.
const HALF_HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// 30 s of PROTOCOL.md 7 when connections run short, likewise.
const SLOW_READER_TIMEOUT: Duration = Duration::from_secs(45);

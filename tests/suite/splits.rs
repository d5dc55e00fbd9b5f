//! `ftget --split`: one large file over several connections.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ftserve::client::{Batch, ClientConfig, Download};
use ftserve::net::Address;
use ftserve::store::FileName;
use ftserve::wire::ResourcePath;
use rustix::process::Signal;

use crate::cases::NamedCase;
use crate::harness::{DEADLINE, Program, Proxy, Scratch, TestServer, noise};
use crate::place::{Place, event};

fn split(place: &Place, proxy: &Proxy) -> Program {
    let source = format!("{}/big", proxy.addr());
    let args = ["--json", "--split", "4", "--retry-delay", "10ms", &source];
    place.ftget().args(args)
}

/// A server that knows the digest of this file: for one that has to make it for each block, and
/// takes its time, fewer connections are of use.
fn knowing(content: &[u8], kept: &Scratch) -> Place {
    let root = Scratch::with_files([("big", content)]);
    let index = kept.join("index");
    let index = ["--index", index.to_str().expect("UTF-8")];
    let indexing = Program::ftserve().arg("index").args(index).arg(root.path());
    indexing.run().expect_code(0);
    Place {
        server: TestServer::start(root.path(), index),
        root,
        here: Scratch::new(),
    }
}

#[test]
fn a_large_file_comes_over_as_many_connections_as_it_may() {
    let (content, kept) = (noise(1, 20_000_000), Scratch::new());
    let place = knowing(&content, &kept);
    // Nobody has a whole block before everybody is there.
    let proxy = Proxy::to(place.server.addr()).meet(500_000, 4).start();
    let output = split(&place, &proxy).run().expect_code(0);
    let events = output.json_lines();
    let done = event(&events, "done");
    assert_eq!(done["action"], "fetched", "{done}");
    assert_eq!(done["attempts"], 1, "{done}");
    place.assert_only(&[("big", &content)]);
    assert_eq!(proxy.tally().connections(), 4);
}

#[test]
fn files_that_are_not_large_need_one_connection() {
    for size in [0, 1, 262_144, 262_145, 1 << 20] {
        let _case = NamedCase(format!("{size} bytes"));
        let content = noise(1, size);
        let place = Place::with([("big", &content)]);
        let proxy = Proxy::to(place.server.addr()).start();
        for _ in 0..2 {
            split(&place, &proxy).run().expect_code(0);
            place.assert_only(&[("big", &content)]);
        }
        assert_eq!(proxy.tally().connections(), 2);
    }
}

#[test]
fn several_large_files_and_small_ones_come_together() {
    let names: Vec<String> = (0..12).map(|n| format!("f{n}")).collect();
    let files: Vec<(&str, Vec<u8>)> = names
        .iter()
        .enumerate()
        .map(|(n, name)| (&**name, noise(n as u64, [5_000_000, 300_000, 10][n % 3])))
        .collect();
    let place = Place::with(files.iter().map(|(name, content)| (name, content)));
    let sources = names.iter().map(|name| place.server.source(name));
    let split = place.ftget().args(["--split", "3"]);
    split.args(sources).run().expect_code(0);
    let expected: Vec<(&str, &[u8])> = files.iter().map(|(n, c)| (*n, &**c)).collect();
    place.assert_only(&expected);
}

#[test]
fn a_connection_that_is_cut_gives_its_block_to_the_others() {
    let content = noise(1, 12_000_000);
    let place = Place::with([("big", &content)]);
    // In the header, in the first block, when others are on their way, and in a later one.
    for cut in [100, 700_000, 1_500_000, 2_500_000] {
        let _case = NamedCase(format!("cut after {cut} bytes"));
        let proxy = Proxy::to(place.server.addr())
            .rate(RATE)
            .cut_first(cut)
            .start();
        split(&place, &proxy).run().expect_code(0);
        place.assert_only(&[("big", &content)]);
        fs::remove_file(place.here.join("big")).expect("a removal");
    }
}

#[test]
fn connections_that_are_cut_once_are_opened_again() {
    let (content, kept) = (noise(1, 20_000_000), Scratch::new());
    let place = knowing(&content, &kept);
    // As from a server that takes no more of them, in the header, and in the first block.
    for cut in [10, 300_000] {
        let _case = NamedCase(format!("cut after {cut} bytes"));
        // Nobody goes on behind that before one is there again; more are if those that are there
        // do not take all blocks.
        let proxy = Proxy::to(place.server.addr())
            .cut(1..4, cut)
            .meet(500_000, 5)
            .start();
        let output = split(&place, &proxy).run().expect_code(0);
        assert!(proxy.tally().connections() >= 5);
        let events = output.json_lines();
        assert_eq!(event(&events, "done")["attempts"], 1);
        place.assert_only(&[("big", &content)]);
        fs::remove_file(place.here.join("big")).expect("a removal");
    }
}

#[test]
fn a_file_uses_no_more_connections_than_there_may_be_to_the_server() {
    let (content, kept) = (noise(1, 12_000_000), Scratch::new());
    let place = knowing(&content, &kept);
    for most in [1, 2] {
        let _case = NamedCase(format!("{most} connections"));
        let proxy = Proxy::to(place.server.addr()).rate(RATE);
        let proxy = proxy.meet(500_000, most).start();
        let jobs = most.to_string();
        let client = split(&place, &proxy).args(["--jobs", &jobs]);
        client.run().expect_code(0);
        place.assert_only(&[("big", &content)]);
        assert_eq!(proxy.tally().connections(), most);
        fs::remove_file(place.here.join("big")).expect("a removal");
    }
}

#[test]
fn a_server_that_takes_fewer_connections_is_asked_over_those() {
    let content = noise(1, 12_000_000);
    let root = Scratch::with_files([("big", &content)]);
    for most in ["1", "2"] {
        let _case = NamedCase(format!("{most} connections"));
        let limit = ["--max-per-address", most];
        let rate = ["--limit-rate-per-connection", "8M"];
        let server = TestServer::start(root.path(), [limit, rate].concat());
        let here = Scratch::new();
        let client = Program::ftget().in_folder(here.path());
        let client = client.args(["--split", "4", "--retry-delay", "10ms"]);
        client.arg(server.source("big")).run().expect_code(0);
        assert!(here.read("big") == content, "big differs");
    }
}

#[test]
fn files_in_blocks_go_on_however_few_may_be_open() {
    let names = ["a", "b", "c", "d"];
    let content = noise(1, 6 << 20);
    let place = Place::with(names.map(|name| (name, &content)));
    let port = place.server.addr().rsplit(':').next().expect("a port");
    let address = Address::Tcp {
        host: "127.0.0.1".to_owned(),
        port: port.parse().expect("a port"),
    };
    for open_files_max in [0, 1, 2, 3] {
        let _case = NamedCase(format!("{open_files_max} open files"));
        let here = Scratch::new();
        let wanted = names.map(|name| {
            let path = ResourcePath::parse(name.as_bytes()).expect("a path");
            let name = FileName::parse(name.as_bytes()).expect("a name");
            Download::new(address.clone(), path, here.path().to_owned(), name)
        });
        let (told, heard) = mpsc::channel();
        // A batch that is stuck never ends, whatever time it has.
        thread::spawn(move || {
            let mut config = ClientConfig::default();
            (config.open_files_max, config.split) = (open_files_max, 4);
            told.send(Batch::new().files(wanted).run(&config, &mut |_| {}))
        });
        let summary = heard.recv_timeout(DEADLINE).expect("an end");
        let summary = summary.expect("threads");
        assert_eq!((summary.done, summary.failed), (4, 0));
    }
}

/// What there is of the file under another name, once `enough` of it is.
fn partial(here: &Scratch, enough: u64) -> PathBuf {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let found = here.names().into_iter().map(|name| here.join(name));
        let is_enough = |path: &PathBuf| fs::metadata(path).is_ok_and(|meta| meta.len() >= enough);
        if let Some(path) = found.into_iter().find(is_enough) {
            return path;
        }
        assert!(Instant::now() < deadline, "{enough} bytes never came");
        thread::yield_now();
    }
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).expect("the partial file")
}

#[test]
fn killed_at_any_moment_it_leaves_a_beginning_without_a_hole_and_goes_on_there() {
    let content = noise(1, 30_000_000);
    let place = Place::with([("big", &content)]);
    for killed_at in [1, 1 << 20, 3_000_000, 5_432_100] {
        let _case = NamedCase(format!("killed at {killed_at} bytes"));
        // It has 24 MB at most and waits for the rest, however late it is killed.
        let proxy = Proxy::to(place.server.addr()).hold(6_000_000).start();
        let running = split(&place, &proxy).start();
        let partial = partial(&place.here, killed_at);
        running.signal(Signal::KILL);
        running.wait();
        proxy.let_go();
        let held = read(&partial);
        assert!(held.len() as u64 >= killed_at);
        assert!(content.starts_with(&held), "what is there is no beginning");
        let output = split(&place, &proxy).run().expect_code(0);
        let events = output.json_lines();
        let done = event(&events, "done");
        assert_eq!(done["action"], "resumed", "{done}");
        assert_eq!(done["resumed_from"], held.len(), "{done}");
        place.assert_only(&[("big", &content)]);
        fs::remove_file(place.here.join("big")).expect("a removal");
    }
}

#[test]
fn what_came_early_does_not_count_until_what_is_before_it_is_there() {
    let content = noise(1, 16_000_000);
    let place = Place::with([("big", &content)]);
    // The first connection stalls within the second mebibyte; the others have the rest.
    let proxy = Proxy::to(place.server.addr())
        .stall_first(1_500_000)
        .start();
    let running = split(&place, &proxy).start();
    proxy.wait_until_stalled();
    let partial = partial(&place.here, 1 << 20);
    running.signal(Signal::KILL);
    running.wait();
    let held = read(&partial);
    assert!(held.len() < 1_500_000, "{} bytes", held.len());
    assert!(content.starts_with(&held), "what is there is no beginning");
    split(&place, &proxy).run().expect_code(0);
    place.assert_only(&[("big", &content)]);
}

#[test]
fn a_stalled_connection_costs_its_time_and_no_more() {
    let content = noise(1, 16_000_000);
    let place = Place::with([("big", &content)]);
    let proxy = Proxy::to(place.server.addr())
        .stall_first(1_500_000)
        .start();
    let output = split(&place, &proxy).args(["--timeout", "1"]);
    let output = output.run().expect_code(0);
    assert!(
        output.elapsed < Duration::from_secs(40),
        "{:?}",
        output.elapsed
    );
    place.assert_only(&[("big", &content)]);
}

#[test]
fn a_file_that_is_replaced_in_the_middle_comes_as_it_is_afterwards() {
    let (old, new) = (noise(1, 16_000_000), noise(2, 15_000_000));
    let place = Place::with([("big", &old)]);
    let beside = place.root.write("beside", &new);
    // A block of it is asked for again when it is another file.
    let proxy = Proxy::to(place.server.addr())
        .stall_first(1_500_000)
        .start();
    let running = split(&place, &proxy).args(["--timeout", "2"]).start();
    proxy.wait_until_stalled();
    fs::rename(beside, place.root.join("big")).expect("a rename");
    running.wait().expect_code(0);
    place.assert_only(&[("big", &new)]);
}

#[test]
fn a_file_that_is_replaced_once_needs_no_retry() {
    let (old, new) = (noise(1, 20_000_000), noise(2, 19_000_000));
    let place = Place::with([("big", &old)]);
    let beside = place.root.write("beside", &new);
    // Of five blocks on each connection none has more than two before it is replaced.
    let proxy = Proxy::to(place.server.addr()).hold(2_000_000).start();
    let running = split(&place, &proxy).args(["--retry", "0"]).start();
    let begun = Instant::now();
    while proxy.tally().bytes() < 2_000_000 {
        assert!(begun.elapsed() < DEADLINE, "nothing comes");
        std::thread::yield_now();
    }
    fs::rename(beside, place.root.join("big")).expect("a rename");
    proxy.let_go();
    running.wait().expect_code(0);
    place.assert_only(&[("big", &new)]);
}

#[test]
fn a_server_that_remembers_no_digest_is_not_asked_for_one_block_after_the_other() {
    let blocks = 64;
    let content = noise(1, blocks << 20);
    let (root, here) = (Scratch::with_files([("big", &content)]), Scratch::new());
    let log = here.join("log");
    let server = TestServer::builder(root.path())
        .args(["--no-prehash", "--index", "off", "--access-log"])
        .args([&log])
        .start();
    let client = Program::ftget().args(["--split", "4", "-d"]);
    let client = client.arg(here.path()).arg(server.source("big"));
    client.run().expect_code(0);
    assert!(here.read("big") == content, "big differs");
    let asked = String::from_utf8(read(&log))
        .expect("a log")
        .lines()
        .count();
    assert!(asked <= blocks / 2, "{asked} hashes of the whole file");
}

#[test]
fn the_rest_of_a_file_that_cannot_be_written_is_not_received() {
    // It takes a while to hash: what is behind the first blocks is asked for at once.
    let (whole, fits) = (512 << 20, 12_000_000);
    let root = Scratch::new();
    let big = fs::File::create(root.join("big"));
    big.and_then(|big| big.set_len(whole)).expect("a file");
    // Where no room is reserved before the first byte comes.
    let here = Scratch::in_memory();
    let server = TestServer::start(root.path(), ["--no-prehash", "--index", "off"]);
    let proxy = Proxy::to(server.addr()).start();
    let full = Program::system("prlimit", "util-linux")
        .arg(format!("--fsize={fits}"))
        .arg(env!("CARGO_BIN_EXE_ftget"))
        .args(["--split", "2", "--index", "off", "-d"])
        .arg(here.path())
        .arg(format!("{}/big", proxy.addr()));
    full.run().expect_code(9);
    let received = proxy.tally().bytes();
    assert!(received < whole / 2, "{received} bytes for {fits}");
}

/// Bytes per second of each connection.
const RATE: u64 = 8_000_000;

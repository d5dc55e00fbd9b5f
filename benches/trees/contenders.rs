//! Who takes part, and the command line of each.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::CLIENT_DEADLINE;
use crate::harness::{DEADLINE, Program, Proxy, Running, Scratch, TestServer};
use crate::servers::PeerServer;
use crate::tree::Tree;

/// One way to get the tree.
pub(crate) struct Contender {
    /// Its row in the table.
    pub(crate) name: &'static str,
    /// Where it goes; else into a fresh folder at each run.
    pub(crate) destination: Option<Scratch>,
    /// Makes ready for one run into this folder.
    pub(crate) enter: Box<dyn Fn(&Path) -> Entry>,
    /// Bytes that one more run sends and receives.
    pub(crate) bytes: Option<Box<dyn Fn() -> u64>>,
}

/// A command about to be timed.
pub(crate) struct Entry {
    /// What a shell is told.
    pub(crate) line: String,
    /// Where a client keeps what it knows of local files.
    cache: Option<Rc<Scratch>>,
    /// Servers of this run alone.
    _server: Option<TestServer>,
    _peer: Option<Running>,
}

impl Entry {
    fn of(line: String) -> Entry {
        Entry {
            line,
            cache: None,
            _server: None,
            _peer: None,
        }
    }

    /// The program to start.
    pub(crate) fn program(&self) -> Program {
        let program = Program::system("sh", "dash").args(["-c", &self.line]);
        match &self.cache {
            Some(cache) => program.env("XDG_CACHE_HOME", cache.path()),
            None => program,
        }
    }
}

/// Those that fetch everything over the loopback, and a copy; ours first.
pub(crate) fn near(tree: &Tree) -> Vec<Contender> {
    let root = tree.root().to_owned();
    let warm = serve_known(&root);
    let (known, unknown) = (cache(), cache());
    let mut field = vec![
        contender("ftget -r, digests known", move |destination| {
            ftget(warm.addr(), destination, &known)
        }),
        contender("ftget -r, digests not known", {
            let root = root.clone();
            move |destination| {
                // Just started, with nothing remembered and nothing hashed ahead.
                let cold = TestServer::start(
                    &root,
                    ["--hidden", "show", "--index", "memory", "--no-prehash"],
                );
                let entry = ftget(cold.addr(), destination, &unknown);
                Entry {
                    _server: Some(cold),
                    ..entry
                }
            }
        }),
    ];
    field.extend(rsync_daemon(tree).map(|daemon| {
        contender("rsync daemon", move |destination| {
            Entry::of(rsync("-a", daemon.port(), destination))
        })
    }));
    field.push(contender("tar | nc", {
        let root = root.clone();
        move |destination| tar(&root, destination)
    }));
    field.push(contender("cp -r", move |destination| {
        let (root, destination) = (root.display(), destination.display());
        Entry::of(format!("cp -r {root}/. {destination}/"))
    }));
    field
}

/// Those that find that they have everything already.
pub(crate) fn again(tree: &Tree) -> Vec<Contender> {
    let server = Rc::new(serve_known(tree.root()));
    let cache = cache();
    let mut field = vec![settled("ftget -r, all there", server.addr().to_owned(), {
        move |address: &str, destination: &Path| {
            let _serving = &server;
            ftget(address, destination, &cache)
        }
    })];
    if let Some(daemon) = rsync_daemon(tree).map(Rc::new) {
        for (name, flags) in [
            ("rsync -a, all there (by time)", "-a"),
            ("rsync -ac, all there (by content)", "-ac"),
        ] {
            let address = format!("127.0.0.1:{}", daemon.port());
            let daemon = Rc::clone(&daemon);
            field.push(settled(
                name,
                address,
                move |address: &str, destination: &Path| {
                    let _serving = &daemon;
                    Entry::of(rsync(flags, port(address), destination))
                },
            ));
        }
    }
    field
}

/// Those that fetch over a network with a round trip of 50 ms.
pub(crate) fn far(tree: &Tree) -> Vec<Contender> {
    let delayed = |address: &str| Proxy::to(address).delay(ROUND_TRIP / 2).start();
    let server = serve_known(tree.root());
    let (proxy, cache) = (delayed(server.addr()), cache());
    let mut field = vec![contender("ftget -r", move |destination| {
        let _serving = &server;
        ftget(proxy.addr(), destination, &cache)
    })];
    field.extend(rsync_daemon(tree).map(|daemon| {
        let proxy = delayed(&format!("127.0.0.1:{}", daemon.port()));
        contender("rsync daemon", move |destination| {
            let _serving = &daemon;
            Entry::of(rsync("-a", port(proxy.addr()), destination))
        })
    }));
    field
}

fn contender(name: &'static str, enter: impl Fn(&Path) -> Entry + 'static) -> Contender {
    Contender {
        name,
        destination: None,
        enter: Box::new(enter),
        bytes: None,
    }
}

/// One whose destination has everything; `enter` gets the address of its server.
fn settled(
    name: &'static str,
    address: String,
    enter: impl Fn(&str, &Path) -> Entry + 'static,
) -> Contender {
    let enter = Rc::new(enter);
    let destination = Scratch::in_memory();
    let run = |entry: Entry| {
        entry
            .program()
            .deadline(CLIENT_DEADLINE)
            .run()
            .expect_code(0)
    };
    run(enter(&address, destination.path()));
    let bytes = {
        let (address, enter) = (address.clone(), Rc::clone(&enter));
        let place = destination.path().to_owned();
        move || {
            let proxy = Proxy::to(&address).start();
            run(enter(proxy.addr(), &place));
            proxy.tally().bytes()
        }
    };
    Contender {
        name,
        destination: Some(destination),
        enter: Box::new(move |destination| enter(&address, destination)),
        bytes: Some(Box::new(bytes)),
    }
}

/// A server that has been asked for everything before.
fn serve_known(root: &Path) -> TestServer {
    let server = TestServer::start(root, ["--hidden", "show", "--index", "memory"]);
    let elsewhere = Scratch::in_memory();
    let cache = cache();
    let first = ftget(server.addr(), elsewhere.path(), &cache);
    first
        .program()
        .deadline(CLIENT_DEADLINE)
        .run()
        .expect_code(0);
    server
}

fn cache() -> Rc<Scratch> {
    Rc::new(Scratch::in_memory())
}

/// With an index of its own of what is here, as every user has one.
fn ftget(address: &str, destination: &Path, cache: &Rc<Scratch>) -> Entry {
    let destination = destination.display();
    Entry {
        cache: Some(Rc::clone(cache)),
        ..Entry::of(format!("{FTGET} -q -r -d {destination} {address}/"))
    }
}

/// Says so if it is not installed.
fn rsync_daemon(tree: &Tree) -> Option<PeerServer> {
    let found = Program::system("sh", "dash")
        .args(["-c", "command -v rsync"])
        .run();
    if found.code != 0 {
        println!("  rsync is not installed (Debian package rsync): left out");
        return None;
    }
    Some(PeerServer::rsync(tree.root()))
}

fn rsync(flags: &str, port: u16, destination: &Path) -> String {
    let destination = destination.display();
    format!("rsync {flags} rsync://127.0.0.1:{port}/root/ {destination}/")
}

/// One side waits for the other, which is timed.
fn tar(root: &Path, destination: &Path) -> Entry {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = free.expect("a free port").port();
    let line = format!("tar c -C {} . | nc -N -l 127.0.0.1 {port}", root.display());
    let peer = Program::system("sh", "dash").args(["-c", &line]).start();
    let limit = Instant::now() + DEADLINE;
    while !listens(port) {
        let ended = peer.ends_within(Duration::from_millis(5));
        assert!(
            !ended && Instant::now() < limit,
            "nc does not listen: {}",
            peer.stderr().text()
        );
    }
    let destination = destination.display();
    Entry {
        _peer: Some(peer),
        ..Entry::of(format!("nc -d 127.0.0.1 {port} | tar x -C {destination}"))
    }
}

/// To connect would be to take the only connection.
fn listens(port: u16) -> bool {
    let wanted = format!("0100007F:{port:04X} 00000000:0000 0A");
    fs::read_to_string("/proc/net/tcp").is_ok_and(|sockets| sockets.contains(&wanted))
}

fn port(address: &str) -> u16 {
    let (_, port) = address.rsplit_once(':').expect("an address with a port");
    port.parse().expect("a port")
}

const FTGET: &str = env!("CARGO_BIN_EXE_ftget");
const ROUND_TRIP: Duration = Duration::from_millis(50);

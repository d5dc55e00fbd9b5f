//! Who takes part, and the command line of each.

use std::env;
use std::path::Path;
use std::rc::Rc;

use crate::CLIENT_DEADLINE;
use crate::harness::{Program, Proxy, Scratch, TestServer};
use crate::servers::PeerServer;
use crate::workload::Workload;

/// One way to fetch the files.
pub(crate) struct Contender {
    /// Its row in the table.
    pub(crate) name: &'static str,
    /// What it checks the bytes with.
    pub(crate) checked: &'static str,
    /// Whether the files are in the destination afterwards.
    pub(crate) fetches: bool,
    /// Makes ready for one run into this folder.
    pub(crate) enter: Box<dyn Fn(&Path) -> Entry>,
}

/// A command about to be timed.
pub(crate) struct Entry {
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    /// A server of this run alone.
    _server: Option<TestServer>,
}

impl Entry {
    fn of(command: Vec<String>) -> Entry {
        Entry {
            command,
            _server: None,
        }
    }

    /// The program to start.
    pub(crate) fn program(&self) -> Program {
        Program::system(&self.command[0], "it was there a moment ago").args(&self.command[1..])
    }
}

/// Those that are installed; ours first.
pub(crate) fn field(workload: &Workload) -> Vec<Contender> {
    let mut field = ours(workload);
    field.push(hash_alone(workload));
    if installed("nginx", "nginx-light") {
        let nginx = Rc::new(PeerServer::nginx(&workload.root()));
        if installed("curl", "curl") {
            field.extend(curl(workload, &nginx));
        }
        if installed("aria2c", "aria2") {
            let address = format!("127.0.0.1:{}", nginx.port());
            field.push(aria2(workload, &address, nginx));
        }
    }
    if installed("rsync", "rsync") {
        field.push(rsync(workload));
    }
    field
}

/// One server that has served the files before, and one that knows no digest yet: it was just
/// started, remembers nothing from earlier, and hashes no file before it is asked for.
fn ours(workload: &Workload) -> Vec<Contender> {
    let root = workload.root();
    let names = workload.names().to_vec();
    let warm = Rc::new(warm(workload));
    let known = |name, split: &'static str| {
        let (names, warm) = (names.clone(), Rc::clone(&warm));
        Contender {
            name,
            checked: "md5 from the server",
            fetches: true,
            enter: Box::new(move |destination| {
                Entry::of(ftget(&names, warm.addr(), split, destination))
            }),
        }
    };
    let mut contenders = vec![known("ftget, digests known", "1")];
    if names.len() == 1 {
        contenders.push(known("ftget --split 4, digests known", "4"));
    }
    contenders.push(Contender {
        name: "ftget, digests not known",
        checked: "md5 from the server",
        fetches: true,
        enter: Box::new(move |destination| {
            let cold = TestServer::start(&root, ["--index", "memory", "--no-prehash"]);
            Entry {
                command: ftget(&names, cold.addr(), "1", destination),
                _server: Some(cold),
            }
        }),
    });
    contenders
}

/// Those that can use several connections for one file, where each has its rate.
pub(crate) fn splitters(workload: &Workload, rate: u64) -> Vec<Contender> {
    let through = |target: &str| Rc::new(Proxy::to(target).rate(rate).start());
    let server = Rc::new(warm(workload));
    let proxy = through(server.addr());
    let mut field: Vec<Contender> = [("ftget", "1"), ("ftget --split 4", "4")]
        .into_iter()
        .map(|(name, split)| {
            let names = workload.names().to_vec();
            let (server, proxy) = (Rc::clone(&server), Rc::clone(&proxy));
            Contender {
                name,
                checked: "md5 from the server",
                fetches: true,
                enter: Box::new(move |destination| {
                    let _serving = &server;
                    Entry::of(ftget(&names, proxy.addr(), split, destination))
                }),
            }
        })
        .collect();
    if installed("nginx", "nginx-light") && installed("aria2c", "aria2") {
        let nginx = Rc::new(PeerServer::nginx(&workload.root()));
        let proxy = through(&format!("127.0.0.1:{}", nginx.port()));
        let address = proxy.addr().to_owned();
        field.push(aria2(workload, &address, (nginx, proxy)));
    }
    field
}

/// A server that has served the files before.
fn warm(workload: &Workload) -> TestServer {
    let warm = TestServer::start(workload.root(), ["--index", "memory"]);
    let elsewhere = Scratch::in_memory();
    let command = ftget(workload.names(), warm.addr(), "1", elsewhere.path());
    let first = Entry::of(command).program();
    first.deadline(CLIENT_DEADLINE).run().expect_code(0);
    warm
}

fn ftget(names: &[String], address: &str, split: &str, destination: &Path) -> Vec<String> {
    let words = [FTGET, "-q", "--split", split, "-d", text(destination)].map(str::to_owned);
    let sources = names.iter().map(|name| format!("{address}/{name}"));
    words.into_iter().chain(sources).collect()
}

/// What hashing alone costs with the system's program; nothing is fetched.
fn hash_alone(workload: &Workload) -> Contender {
    let root = workload.root();
    let paths = workload.names().iter();
    let paths = paths.map(|name| text(&root.join(name)).to_owned());
    let command: Vec<String> = ["md5sum".to_owned()].into_iter().chain(paths).collect();
    Contender {
        name: HASH_ALONE,
        checked: "(reads only)",
        fetches: false,
        enter: Box::new(move |_| Entry::of(command.clone())),
    }
}

/// One invocation: alone, with the sums checked after it, and of many files in parallel.
fn curl(workload: &Workload, nginx: &Rc<PeerServer>) -> Vec<Contender> {
    let port = nginx.port();
    let names = workload.names().iter();
    let list: String = names
        .map(|name| format!("url = \"http://127.0.0.1:{port}/{name}\"\noutput = \"{name}\"\n"))
        .collect();
    let list = workload.write_aside("curl.list", &list);
    let list = text(&list);
    let manifest = workload.manifest();
    let then_sum = format!(" && md5sum --quiet -c {}", text(&manifest));
    let contender = |name, flags: &str, then: &str| {
        let line = format!("curl -sS --fail {flags}-K {list}{then}");
        let nginx = Rc::clone(nginx);
        Contender {
            name,
            checked: if then.is_empty() {
                "nothing"
            } else {
                "md5sum -c"
            },
            fetches: true,
            enter: Box::new(move |destination| {
                let _serving = &nginx;
                let line = format!("cd {} && {line}", text(destination));
                Entry::of(["sh", "-c", &line].map(str::to_owned).to_vec())
            }),
        }
    };
    let mut contenders = vec![
        contender("nginx + curl, then md5sum", "", &then_sum),
        contender("nginx + curl", "", ""),
    ];
    if workload.names().len() > 1 {
        let parallel = "--parallel --parallel-max 16 ";
        contenders.push(contender(
            "nginx + curl --parallel, then md5sum",
            parallel,
            &then_sum,
        ));
    }
    contenders
}

/// `serving`: what is there as long as it takes part.
fn aria2(workload: &Workload, address: &str, serving: impl Sized + 'static) -> Contender {
    let files = workload.names().iter().zip(workload.sums());
    let list: String = files
        .map(|(name, md5)| format!("http://{address}/{name}\n  checksum=md5={md5}\n  out={name}\n"))
        .collect();
    let list = workload.write_aside("aria2.list", &list);
    let line = format!(
        "aria2c --quiet --no-conf --file-allocation=none --max-concurrent-downloads=16 --split=4 \
         --max-connection-per-server=4 --input-file={}",
        text(&list)
    );
    Contender {
        name: "nginx + aria2c",
        checked: "md5, given beforehand",
        fetches: true,
        enter: Box::new(move |destination| {
            let _serving = &serving;
            let line = format!("{line} --dir={}", text(destination));
            Entry::of(words(&line))
        }),
    }
}

fn rsync(workload: &Workload) -> Contender {
    let daemon = PeerServer::rsync(&workload.root());
    let list = workload.write_aside("rsync.list", &workload.names().join("\n"));
    let line = format!(
        "rsync --times --perms --files-from={} rsync://127.0.0.1:{}/root/",
        text(&list),
        daemon.port()
    );
    Contender {
        name: "rsync daemon",
        checked: "a sum of its own",
        fetches: true,
        enter: Box::new(move |destination| {
            let _serving = &daemon;
            Entry::of(words(&format!("{line} {}/", text(destination))))
        }),
    }
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// Whether the program is on the path; says so if it is not.
fn installed(program: &str, package: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if !found {
        println!("  {program} is not installed (Debian package {package}): left out");
    }
    found
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}

/// The row that tells what md5 itself costs.
pub(crate) const HASH_ALONE: &str = "md5sum alone";
const FTGET: &str = env!("CARGO_BIN_EXE_ftget");

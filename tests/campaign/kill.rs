//! `kill -9` of the client or the server at a random moment of downloads that overwrite and
//! resume. Nothing unverified may ever be visible, and a rerun completes with nothing left over.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::Options;
use crate::harness::{Output, Program, Random, Running, Scratch, TestServer};
use crate::published::Published;
use crate::watcher::{self, Watcher};

/// Runs it; see the module.
pub(crate) fn run(options: &Options) -> String {
    watcher::assert_watchful();
    let mut stage = Stage::new(options.seed);
    for (_, mut random) in options.rounds() {
        stage.round(&mut random);
    }
    let appearances = stage.watched();
    let tally = stage.tally.iter();
    let tally: Vec<String> = tally
        .map(|(what, count)| format!("{count} {what}"))
        .collect();
    format!(
        "{} rounds, {}, {appearances} appearances watched",
        options.rounds,
        tally.join(", ")
    )
}

struct Stage {
    published: Published,
    server: TestServer,
    watcher: Watcher,
    destination: Scratch,
    /// What happened how often, so that a report shows that the rare did happen.
    tally: BTreeMap<&'static str, u32>,
}

/// When the blow falls.
enum Moment {
    /// So long after the start.
    After(Duration),
    /// As soon as the partial files hold so many bytes.
    Partial(u64),
}

/// Who is hit, and what follows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    Client,
    /// The server, which is back at once: the client goes on by itself.
    ServerThatReturns,
    /// The server, which stays away until the client has given up.
    Server,
    Both,
}

impl Stage {
    fn new(seed: u64) -> Stage {
        let published = Published::new(seed, &FILES);
        let destination = Scratch::in_memory();
        Stage {
            server: TestServer::plain(published.root()),
            watcher: Watcher::of(destination.path(), published.seen()),
            published,
            destination,
            tally: BTreeMap::new(),
        }
    }

    fn round(&mut self, random: &mut Random) {
        let count = random.within(1..=5);
        let chosen = random.sample(count, FILES.len());
        for &index in &chosen {
            if random.percent(70) {
                self.published.publish(index);
            }
            if random.percent(20) {
                self.take_away(index);
            }
        }
        // Blow upon blow: a resume may be killed as well.
        for _ in 0..random.pick(&[1, 1, 2, 3]) {
            self.blow(&chosen, random);
        }
        self.complete(&chosen);
    }

    /// One download during which somebody is killed.
    fn blow(&mut self, chosen: &[usize], random: &mut Random) {
        let victim = random.pick(&[
            Victim::Client,
            Victim::Client,
            Victim::ServerThatReturns,
            Victim::Server,
            Victim::Both,
        ]);
        let mut program = self.ftget(chosen);
        program = match victim {
            Victim::ServerThatReturns => program.args(["--retry", "8", "--retry-delay", "0.05"]),
            _ => program.args(["--retry", "0"]),
        };
        if random.percent(50) {
            program = program.args(["--if-exists", "overwrite"]);
        }
        let client = program.start();
        if random.percent(30) {
            // Replaced while it is on its way; the client may see either.
            wait(&client, &self.destination, &self.moment(chosen, random));
            self.published.publish(random.pick(chosen));
        }
        wait(&client, &self.destination, &self.moment(chosen, random));
        self.count(match victim {
            Victim::Client => "clients killed",
            Victim::ServerThatReturns | Victim::Server => "servers killed",
            Victim::Both => "times both killed",
        });
        if victim != Victim::Client {
            self.server.kill();
            assert_calm(self.server.stderr().text());
        }
        let code = match victim {
            Victim::Client | Victim::Both => {
                client.signal(Signal::KILL);
                client.wait().code
            }
            Victim::ServerThatReturns => {
                self.restart();
                let output = client.wait();
                assert_calm(output.stderr.clone());
                output.expect_code(0).code
            }
            Victim::Server => {
                let output = client.wait();
                assert_calm(output.stderr.clone());
                assert!(
                    matches!(output.code, 0 | 4),
                    "exit code {} after the server was killed: {}",
                    output.code,
                    output.stderr
                );
                output.code
            }
        };
        if code == 0 {
            self.count("blows too late");
        }
        if partial_bytes(&self.destination) > 0 {
            self.count("partial files left by a blow");
        }
        if matches!(victim, Victim::Server | Victim::Both) {
            self.restart();
        }
    }

    /// The rerun: everything arrives, and nothing is left over.
    fn complete(&mut self, chosen: &[usize]) {
        let output = self.ftget(chosen).run().expect_code(0);
        for action in actions(&output) {
            self.count(match action.as_str() {
                "fetched" => "files fetched by reruns",
                "resumed" => "resumed",
                "identical" => "already there",
                other => panic!("action {other:?}"),
            });
        }
        for &index in chosen {
            let file = &self.published.files()[index];
            let arrived = self.destination.read(file.name());
            assert!(
                arrived == file.content(),
                "{} differs after the rerun",
                file.path
            );
        }
        let names = self.destination.names();
        let known: Vec<OsString> = self.published.files().iter().map(|f| f.name()).collect();
        let left_over: Vec<_> = names.iter().filter(|name| !known.contains(name)).collect();
        assert!(left_over.is_empty(), "left over: {left_over:?}");
        self.watched();
    }

    /// The appearances so far; panics if one of them was wrong.
    fn watched(&self) -> u64 {
        self.watcher
            .settle()
            .unwrap_or_else(|faults| panic!("{faults}"))
    }

    fn ftget(&self, chosen: &[usize]) -> Program {
        let sources = chosen.iter().map(|&index| {
            let file = &self.published.files()[index];
            self.server.source(file.path)
        });
        let program = Program::ftget()
            .deadline(CLIENT_DEADLINE)
            .args(["--json", "-d"]);
        program.arg(self.destination.path()).args(sources)
    }

    fn moment(&self, chosen: &[usize], random: &mut Random) -> Moment {
        if random.percent(50) {
            return Moment::After(random.wait(Duration::from_millis(300)));
        }
        let sizes = chosen
            .iter()
            .map(|&i| self.published.files()[i].content().len());
        Moment::Partial(random.within(0..=sizes.max().expect("a file")) as u64)
    }

    fn restart(&mut self) {
        let address = self.server.addr().to_owned();
        self.server = TestServer::builder(self.published.root())
            .bind(address)
            .start();
    }

    /// Moves a file out of the destination; deleting it is what the watcher forbids.
    fn take_away(&self, index: usize) {
        let name = self.published.files()[index].name();
        let aside = Scratch::in_memory();
        // It may not be there yet.
        let _ = fs::rename(self.destination.join(&name), aside.join(&name));
    }

    fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }
}

/// Returns at the moment, or when the client ends.
fn wait(client: &Running, destination: &Scratch, moment: &Moment) {
    match *moment {
        Moment::After(delay) => {
            client.ends_within(delay);
        }
        Moment::Partial(bytes) => {
            let limit = Instant::now() + CLIENT_DEADLINE;
            while partial_bytes(destination) < bytes
                && !client.ends_within(LOOK_AGAIN)
                && Instant::now() < limit
            {}
        }
    }
}

/// The length of the longest file in the destination that is not visible.
fn partial_bytes(destination: &Scratch) -> u64 {
    let hidden = |name: &OsString| Path::new(name).to_string_lossy().starts_with(".ft-");
    let names = destination.names().into_iter().filter(hidden);
    // A name may be renamed away between the two calls.
    let lengths = names.filter_map(|name| fs::metadata(destination.join(name)).ok());
    lengths.map(|facts| facts.len()).max().unwrap_or(0)
}

/// What the client says it did with each file.
fn actions(output: &Output) -> Vec<String> {
    let events = output.json_lines().into_iter();
    let done = events.filter(|event| event["event"] == "done");
    done.map(|event| event["action"].as_str().expect("an action").to_owned())
        .collect()
}

fn assert_calm(stderr: String) {
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// Two versions each: of one size, so that only content tells them apart, or of different ones.
const FILES: [(&str, [usize; 2]); 10] = [
    ("empty", [0, 0]),
    ("none-or-one", [0, 1]),
    ("small", [1024, 1024]),
    ("sub/folder/small-too", [1024, 1500]),
    ("größe", [300 << 10, 300 << 10]),
    ("middle", [(256 << 10) - 1, (256 << 10) + 1]),
    ("large", [3 << 20, 3 << 20]),
    ("large-too", [3 << 20, (3 << 20) - 70_000]),
    ("huge", [40 << 20, 40 << 20]),
    ("huge-too", [40 << 20, 39 << 20]),
];
const CLIENT_DEADLINE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_micros(100);

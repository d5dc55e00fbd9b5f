//! `kill -9` of the client or the server at a random moment of downloads that overwrite and
//! resume. Nothing unverified may ever be visible, and a rerun completes with nothing left over.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::Options;
use crate::harness::{Random, Running, Scratch};
use crate::stage::{CLIENT_DEADLINE, Stage, assert_calm};
use crate::watcher;

/// Runs it; see the module.
pub(crate) fn run(options: &Options) -> String {
    watcher::assert_watchful();
    let mut stage = Stage::new(options.seed, &FILES);
    for (_, mut random) in options.rounds() {
        stage.round(&mut random);
    }
    stage.report(options.rounds)
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
    fn round(&mut self, random: &mut Random) {
        let count = random.within(1..=5);
        let chosen = random.sample(count, FILES.len());
        self.stir(&chosen, random);
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
        let mut program = self.ftget(self.server.addr(), chosen);
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

    fn moment(&self, chosen: &[usize], random: &mut Random) -> Moment {
        if random.percent(50) {
            return Moment::After(random.wait(Duration::from_millis(300)));
        }
        let sizes = chosen
            .iter()
            .map(|&i| self.published.files()[i].content().len());
        Moment::Partial(random.within(0..=sizes.max().expect("a file")) as u64)
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
const LOOK_AGAIN: Duration = Duration::from_micros(100);

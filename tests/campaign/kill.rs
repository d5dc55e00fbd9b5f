//! `kill -9` of the client or the server at a random moment of downloads that overwrite and
//! resume. Nothing unverified may ever be visible, and a rerun completes with nothing left over.

use rustix::process::Signal;

use crate::Options;
use crate::blow::{Moment, Victim, partial_bytes};
use crate::harness::Random;
use crate::stage::{Stage, assert_calm};
use crate::watcher;

/// Runs it; see the module.
pub(crate) fn run(options: &Options) -> String {
    watcher::assert_watchful();
    let mut stage = Stage::new(options.seed, &FILES);
    for (_, mut random) in options.rounds() {
        stage.round(&mut random);
    }
    stage.report(options.rounds_done())
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
        let victim = Victim::any(random);
        let mut program = self.ftget(self.server.addr(), chosen);
        program = match victim {
            Victim::ServerThatReturns => program.args(["--retry", "10", "--retry-delay", "0.05"]),
            _ => program.args(["--retry", "0"]),
        };
        if random.percent(50) {
            program = program.args(["--if-exists", "overwrite"]);
        }
        if random.percent(50) {
            program = program.args(["--split", "3"]);
        }
        let client = program.start();
        if random.percent(30) {
            // Replaced while it is on its way; the client may see either.
            self.moment(chosen, random)
                .wait(&client, self.destination.path());
            self.published.publish(random.pick(chosen));
        }
        self.moment(chosen, random)
            .wait(&client, self.destination.path());
        self.count(victim.tally());
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
        if partial_bytes(self.destination.path()) > 0 {
            self.count("partial files left by a blow");
        }
        if matches!(victim, Victim::Server | Victim::Both) {
            self.restart();
        }
    }

    fn moment(&self, chosen: &[usize], random: &mut Random) -> Moment {
        let files = self.published.files();
        let sizes = chosen.iter().map(|&index| files[index].content().len());
        Moment::any(sizes.max().expect("a file"), random)
    }
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

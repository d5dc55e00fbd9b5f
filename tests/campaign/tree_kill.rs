//! `kill -9` of the client or the server at a random moment of `ftget -r`. Nothing unverified may
//! ever be visible, and a rerun completes the tree with nothing left over.

use std::path::Path;

use rustix::process::Signal;

use crate::Options;
use crate::blow::{Moment, Victim, partial_bytes};
use crate::harness::{Random, Scratch};
use crate::stage::assert_calm;
use crate::tree_stage::{FILES, TreeStage};

/// Runs it; see the module.
pub(crate) fn run(options: &Options) -> String {
    let mut campaign = TreeStage::new(options.seed);
    for (_, mut random) in options.rounds() {
        campaign.stir(&mut random);
        let fresh = Scratch::in_memory();
        let destination = campaign.destination(&fresh, &mut random);
        // Blow upon blow: a resume may be killed as well.
        for _ in 0..random.pick(&[1, 1, 2, 3]) {
            campaign.blow(&destination, &mut random);
            campaign.assert_verified(&destination);
        }
        campaign.complete(&destination);
    }
    campaign.stage.report(options.rounds)
}

impl TreeStage {
    /// One `ftget -r` during which somebody is killed.
    fn blow(&mut self, destination: &Path, random: &mut Random) {
        let victim = Victim::any(random);
        let mut program = self.ftget(self.stage.server.addr(), destination);
        program = match victim {
            Victim::ServerThatReturns => program.args(["--retry", "8", "--retry-delay", "0.05"]),
            _ => program.args(["--retry", "0"]),
        };
        if random.percent(30) {
            program = program.args(["-j", random.pick(&["1", "2", "8"])]);
        }
        if random.percent(30) {
            program = program.args(["--sync", random.pick(&["always", "never"])]);
        }
        let client = program.start();
        let largest = FILES.iter().flat_map(|(_, sizes)| sizes).max();
        let moment = |random: &mut Random| Moment::any(*largest.expect("a file"), random);
        if random.percent(30) {
            // Replaced while it is on its way; the client may see either.
            moment(random).wait(&client, destination);
            self.stage
                .published
                .publish(random.within(0..=FILES.len() - 1));
        }
        moment(random).wait(&client, destination);
        self.stage.count(victim.tally());
        if victim != Victim::Client {
            self.stage.server.kill();
            assert_calm(self.stage.server.stderr().text());
        }
        if victim == Victim::ServerThatReturns {
            self.stage.restart();
        }
        if matches!(victim, Victim::Client | Victim::Both) {
            client.signal(Signal::KILL);
        }
        let output = client.wait();
        assert_calm(output.stderr.clone());
        let expected: &[i32] = match victim {
            Victim::Client => &[0, 128 + 9],
            // It may hear of the server first.
            Victim::Both => &[0, 4, 128 + 9],
            Victim::ServerThatReturns => &[0],
            Victim::Server => &[0, 4],
        };
        assert!(
            expected.contains(&output.code),
            "exit code {} is none of {expected:?}: {}",
            output.code,
            output.stderr
        );
        if output.code == 0 {
            self.stage.count("blows too late");
        }
        if partial_bytes(destination) > 0 {
            self.stage.count("partial files left by a blow");
        }
        if matches!(victim, Victim::Server | Victim::Both) {
            self.stage.restart();
        }
    }
}

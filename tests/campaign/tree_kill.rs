//! `kill -9` of the client or the server at a random moment of `ftget -r`, and of `ftget -r
//! --delete` while files and folders come to the source and go, and names become something of
//! another kind. Nothing unverified may ever be
//! visible, nothing that the server has is deleted, nothing outside changes, and a rerun completes
//! the tree with nothing left over: a file here that was rewritten behind its times is no
//! exception, whether or not its digest was kept.

use std::path::Path;

use rustix::process::Signal;

use crate::Options;
use crate::blow::{Moment, Victim, partial_bytes};
use crate::guests::leave_strays;
use crate::harness::{Random, Scratch};
use crate::outside::Outside;
use crate::stage::assert_calm;
use crate::tree_stage::{FILES, TreeStage};

/// Runs it with trees that are fetched; see the module.
pub(crate) fn run(options: &Options) -> String {
    run_with(options, false)
}

/// Runs it with trees that are mirrored; see the module.
pub(crate) fn run_mirrors(options: &Options) -> String {
    run_with(options, true)
}

fn run_with(options: &Options, is_mirror: bool) -> String {
    crate::watcher::assert_watchful();
    let outside = Outside::new();
    let mut campaign = TreeStage::new(options.seed);
    campaign.is_mirror = is_mirror;
    for (_, mut random) in options.rounds() {
        campaign.stir(&mut random);
        campaign.keeps_digests = random.percent(70);
        let fresh = Scratch::in_memory();
        let destination = campaign.destination(&fresh, &mut random);
        if is_mirror {
            campaign.guests.stir(&mut random);
            campaign.turncoats.stir(&mut random);
            leave_strays(&destination, &outside, &mut random);
        }
        // Blow upon blow: a resume may be killed as well.
        for _ in 0..random.pick(&[1, 1, 2, 3]) {
            campaign.tamper(&destination, &mut random);
            campaign.blow(&destination, &mut random);
            campaign.assert_verified(&destination);
        }
        campaign.tamper(&destination, &mut random);
        campaign.complete(&destination);
        outside.assert_untouched();
    }
    campaign.assert_digests_kept();
    campaign.stage.report(options.rounds_done())
}

impl TreeStage {
    /// One `ftget -r` during which somebody is killed.
    fn blow(&mut self, destination: &Path, random: &mut Random) {
        let victim = Victim::any(random);
        let mut program = self.ftget(self.stage.server.addr(), destination);
        program = match victim {
            Victim::ServerThatReturns => program.args(["--retry", "10", "--retry-delay", "0.05"]),
            _ => program.args(["--retry", "0"]),
        };
        if random.percent(30) {
            program = program.args(["-j", random.pick(&["1", "2", "8"])]);
        }
        if random.percent(30) {
            program = program.args(["--sync", random.pick(&["always", "never"])]);
        }
        if random.percent(30) {
            program = program.args(["--split", random.pick(&["2", "3", "4"])]);
        }
        let deletes_some = self.is_mirror && random.percent(20);
        if deletes_some {
            program = program.args(["--max-delete", random.pick(&["0", "1", "3"])]);
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
        if random.percent(30) {
            moment(random).wait(&client, destination);
            self.tamper(destination, random);
        }
        let mut lasting = self.all_there();
        let turns = self.is_mirror && random.percent(30);
        if turns {
            moment(random).wait(&client, destination);
            let turned = self.guests.turn_any(random);
            lasting.retain(|(path, _)| path != turned);
        }
        let changes_kind = self.is_mirror && random.percent(30);
        if changes_kind {
            moment(random).wait(&client, destination);
            let turned = self.turncoats.turn_any(random);
            lasting.retain(|(path, _)| !path.starts_with(turned));
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
        self.assert_only_strays_deleted(&output, &lasting);
        let mut expected = match victim {
            Victim::Client => vec![0, 128 + 9],
            // It may hear of the server first.
            Victim::Both => vec![0, 4, 128 + 9],
            Victim::ServerThatReturns => vec![0],
            Victim::Server => vec![0, 4],
        };
        if deletes_some {
            expected.push(25);
        }
        if self.is_mirror && matches!(victim, Victim::Server | Victim::Both) {
            // Nobody could say any more whether what was in the way may go.
            expected.push(23);
        }
        if turns {
            // What was listed may have gone.
            expected.extend([11, 23, 24]);
        }
        if changes_kind {
            // What was in the way, or made way, is something else by now.
            expected.extend([3, 11, 23, 24]);
        }
        assert!(
            expected.contains(&output.code),
            "exit code {} is none of {expected:?}: {}\n{}: {}",
            output.code,
            output.stderr,
            victim.tally(),
            self.stage.server.stderr().text()
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

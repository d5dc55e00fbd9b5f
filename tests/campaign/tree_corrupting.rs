//! `ftget -r`, with and without `--delete`, through a network that damages what passes, in both
//! directions. No damage is ever taken for a file, nor part of a tree for all of it, nothing that
//! the server has is deleted, and a rerun over a network that is whole completes with nothing left
//! over.

use std::path::Path;
use std::time::Duration;

use crate::Options;
use crate::corrupting::{DAMAGED, damage};
use crate::guests::leave_strays;
use crate::harness::{Proxy, Random, Scratch, assert_same_tree};
use crate::outside::Outside;
use crate::stage::assert_calm;
use crate::tree_stage::TreeStage;

/// Runs it; see the module.
pub(crate) fn run(options: &Options) -> String {
    let outside = Outside::new();
    let mut campaign = TreeStage::new(options.seed);
    for (_, mut random) in options.rounds() {
        campaign.stir(&mut random);
        let fresh = Scratch::in_memory();
        let destination = campaign.destination(&fresh, &mut random);
        campaign.is_mirror = random.percent(50);
        if campaign.is_mirror {
            leave_strays(&destination, &outside, &mut random);
        }
        campaign.fetch_damaged(&destination, &mut random);
        campaign.assert_verified(&destination);
        campaign.complete(&destination);
        outside.assert_untouched();
        assert_calm(campaign.stage.server.stderr().text());
    }
    campaign.stage.report(options.rounds_done())
}

impl TreeStage {
    /// One run through the proxy. Where it says that everything is there, it is.
    fn fetch_damaged(&mut self, destination: &Path, random: &mut Random) {
        let mut proxy = Proxy::to(self.stage.server.addr()).damage_to_client(damage(random));
        if random.percent(25) {
            proxy = proxy.damage_to_server(damage(random));
        }
        if random.percent(25) {
            proxy = proxy.delay(Duration::from_millis(2));
        }
        let proxy = proxy.start();
        let client = self
            .ftget(proxy.addr(), destination)
            .args(["--timeout", "0.1", "--retry-delay", "5ms"])
            .args(["--retry", random.pick(&["0", "1", "3"])])
            .args(["--split", random.pick(&["1", "1", "3"])]);
        let output = client.run();
        assert_calm(output.stderr.clone());
        let all = self.all_there();
        self.assert_only_strays_deleted(&output, &all);
        let faults = proxy.tally().faults();
        assert!(
            DAMAGED.contains(&output.code),
            "exit code {} after {faults} faults: {}",
            output.code,
            output.stderr
        );
        if output.code == 0 {
            assert_same_tree(self.stage.published.root(), destination);
        }
        let events = output.json_lines();
        let done = events
            .iter()
            .filter(|event| event["event"] == "done")
            .count();
        self.stage.count_all(done as u64, "files and links done");
        self.stage.count_all(faults, "faults");
        let damaged = if faults > 0 { "with" } else { "without" };
        self.stage
            .count(format!("runs {damaged} faults ended with {}", output.code));
    }
}

//! Downloads through a network that damages what passes, in both directions. No damage is ever
//! taken for a file, each has a documented exit code, and a rerun over a network that is whole
//! completes with nothing left over.

use std::time::Duration;

use crate::Options;
use crate::harness::{Damage, Fault, Proxy, Random};
use crate::stage::{Stage, assert_calm};
use crate::watcher;

/// Runs it; see the module.
pub(crate) fn run(options: &Options) -> String {
    watcher::assert_watchful();
    let mut stage = Stage::new(options.seed, &FILES);
    let mut transfers = 0;
    for (_, mut random) in options.rounds() {
        let count = random.within(1..=5);
        let chosen = random.sample(count, FILES.len());
        stage.stir(&chosen, &mut random);
        transfers += count;
        fetch_damaged(&mut stage, &chosen, &mut random);
        stage.complete(&chosen);
        assert_calm(stage.server.stderr().text());
    }
    let report = stage.report(options.rounds_done());
    format!("{transfers} transfers in {report}")
}

/// One download through the proxy. What it says is done is done, whatever else is not.
fn fetch_damaged(stage: &mut Stage, chosen: &[usize], random: &mut Random) {
    let mut proxy = Proxy::to(stage.server.addr()).damage_to_client(damage(random));
    if random.percent(25) {
        proxy = proxy.damage_to_server(damage(random));
    }
    if random.percent(25) {
        proxy = proxy.delay(Duration::from_millis(2));
    }
    let proxy = proxy.start();
    let retries = random.pick(&["0", "1", "3"]);
    let client = stage
        .ftget(proxy.addr(), chosen)
        .args(["--timeout", "0.1", "--retry", retries])
        .args(["--retry-delay", "5ms"])
        .args(["--split", random.pick(&["1", "2", "3", "4"])]);
    let output = client.run();
    assert_calm(output.stderr.clone());
    let faults = proxy.tally().faults();
    assert!(
        DAMAGED.contains(&output.code),
        "exit code {} after {faults} faults: {}",
        output.code,
        output.stderr
    );
    let events = output.json_lines();
    let done = events.iter().filter(|event| event["event"] == "done");
    let done: Vec<usize> = done
        .map(|event| {
            let path = event["filename"].as_str().expect("a name");
            let index = chosen.iter().find(|index| FILES[**index].0 == path);
            *index.expect("a file that was asked for")
        })
        .collect();
    stage.assert_fetched(&done);
    let all_are_done = done.len() == chosen.len();
    assert_eq!(
        output.code == 0,
        all_are_done,
        "exit code {} with {done:?} of {chosen:?} done",
        output.code
    );
    stage.count_all(faults, "faults");
    let damaged = if faults > 0 { "with" } else { "without" };
    stage.count(format!("runs {damaged} faults ended with {}", output.code));
}

/// Any damage, to one direction.
pub(crate) fn damage(random: &mut Random) -> Damage {
    let faults = [Fault::Corrupt, Fault::Duplicate, Fault::Omit, Fault::Cut];
    let count = random.within(1..=faults.len());
    let chosen = random.sample(count, faults.len());
    Damage {
        seed: random.next(),
        bytes_between: random.pick(&[100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000]),
        faults: chosen.into_iter().map(|index| faults[index]).collect(),
    }
}

/// How a download over a damaged network may end: with whatever a damaged answer can say, but not
/// as if something were wrong here (3, 5), or as if somebody had asked for that (12).
pub(crate) const DAMAGED: [i32; 13] = [0, 1, 2, 4, 6, 7, 8, 9, 10, 11, 13, 14, 23];
/// Two versions each, of one size where only their content is to tell them apart.
const FILES: [(&str, [usize; 2]); 10] = [
    ("empty", [0, 0]),
    ("one", [1, 1]),
    ("small", [1024, 1024]),
    ("small-2", [1024, 1024]),
    ("sub/folder/other", [100, 1500]),
    ("größe", [300 << 10, 300 << 10]),
    ("middle", [(256 << 10) - 1, (256 << 10) + 1]),
    ("large", [1 << 20, 1 << 20]),
    ("large-too", [3 << 20, (3 << 20) - 70_000]),
    // Long enough to be split.
    ("huge", [6 << 20, (6 << 20) - 1]),
];

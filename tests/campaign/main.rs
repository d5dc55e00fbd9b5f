//! Long runs of the real programs in trouble: killed at any moment, fed files that change
//! under them, over a network that damages what passes, with links planted where they write,
//! on file systems that refuse, asked by one honest client amid a crowd, sharing an index with programs that are killed, and
//! listing very many files.
//!
//! Without arguments, as `cargo test` runs it, each campaign is short. The long ones:
//!
//! ```text
//! cargo test --release --test campaign -- kill --rounds 1000 --seed 7
//! cargo test --release --test campaign -- changing --rounds 1000
//! cargo test --release --test campaign -- corrupting --rounds 7000
//! cargo test --release --test campaign -- tree-kill mirror-kill tree-corrupting --rounds 1000
//! cargo test --release --test campaign -- flipping --seconds 300
//! cargo test --release --test campaign -- crowd --full
//! cargo test --release --test campaign -- faults --full
//! cargo test --release --test campaign -- stale --rounds 2000
//! cargo test --release --test campaign -- sharing --rounds 200
//! cargo test --release --test campaign -- listing --rounds 1000000
//! ```
//!
//! Everything random comes from the seed and the number of the round. A failure names both;
//! `--seed S --from R --rounds 1` begins there.

#![allow(
    clippy::print_stdout,
    reason = "the report of a campaign is its output"
)]

#[path = "../harness/mod.rs"]
mod harness;

mod blow;
mod changing;
mod corrupting;
mod crowd;
mod faults;
mod flipping;
mod guests;
mod kill;
mod listing;
mod mapping;
mod outside;
mod published;
mod sharing;
mod stage;
mod stale;
mod tree_corrupting;
mod tree_kill;
mod tree_stage;
mod turncoats;
mod watcher;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;

use harness::Random;

fn main() -> ExitCode {
    let args = Args::parse();
    if args.libtest.list {
        CAMPAIGNS
            .iter()
            .for_each(|(name, ..)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let chosen = CAMPAIGNS
        .iter()
        .filter(|(name, ..)| args.names.is_empty() || args.names.iter().any(|n| n == name));
    let (mut passed, mut failed) = (0, 0);
    for &(name, rounds_default, run) in chosen {
        let started = Instant::now();
        let options = Options {
            seed: args.seed,
            first: args.from,
            rounds: args.rounds.unwrap_or(rounds_default),
            until: args
                .seconds
                .map(|seconds| started + Duration::from_secs(seconds)),
            full: args.full,
            current: AtomicU32::new(args.from),
        };
        // The panic's own message is on standard error by then.
        match catch_unwind(AssertUnwindSafe(|| run(&options))) {
            Ok(report) => {
                passed += 1;
                println!("{name}: {report}, {:.1} s", started.elapsed().as_secs_f64());
            }
            Err(_) => {
                failed += 1;
                let round = options.current.load(Ordering::Relaxed);
                println!(
                    "{name}: FAILED with --seed {} in round {round}",
                    options.seed
                );
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    ExitCode::from(u8::from(failed > 0))
}

/// What a campaign is told.
struct Options {
    seed: u64,
    first: u32,
    rounds: u32,
    /// Rounds begin until then, instead of so many.
    until: Option<Instant>,
    full: bool,
    current: AtomicU32,
}

impl Options {
    /// The rounds, each with a random source of its own, so that a round does not depend on
    /// how much randomness those before it used.
    fn rounds(&self) -> impl Iterator<Item = (u32, Random)> {
        let is_time = || self.until.is_none_or(|until| Instant::now() < until);
        let end = match self.until {
            Some(_) => u32::MAX,
            None => self.first + self.rounds,
        };
        let rounds = self.first..end;
        rounds.take_while(move |_| is_time()).map(|round| {
            self.current.store(round, Ordering::Relaxed);
            (round, Random::of(self.seed, round))
        })
    }

    /// How many rounds there were, when they are over.
    fn rounds_done(&self) -> u32 {
        self.current.load(Ordering::Relaxed) - self.first + 1
    }
}

/// Runs the campaigns named, or all of them.
#[derive(Parser)]
struct Args {
    /// kill, changing, corrupting, tree-kill, mirror-kill, tree-corrupting, flipping, crowd, faults, stale, sharing, listing; another word, such as a filter meant for other tests, runs none
    names: Vec<String>,

    /// Rounds of each campaign; for crowd: requests; for faults: cells of the table; for stale: changes; for listing: files
    #[arg(long)]
    rounds: Option<u32>,

    /// As many rounds as begin in so many seconds
    #[arg(long, value_name = "S", conflicts_with_all = ["rounds", "full"])]
    seconds: Option<u64>,

    /// Where everything random comes from
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// The first round
    #[arg(long, default_value_t = 0)]
    from: u32,

    /// The crowd at full size: 3,500 peers; the whole table of faults
    #[arg(long)]
    full: bool,

    #[command(flatten)]
    libtest: Libtest,
}

/// What `cargo test -- …` passes to every test program; only `--list` means something here.
#[derive(clap::Args)]
#[command(next_help_heading = "Accepted from cargo test")]
struct Libtest {
    #[arg(long, hide = true)]
    list: bool,
    #[arg(long, hide = true)]
    nocapture: bool,
    #[arg(long, hide = true)]
    no_capture: bool,
    #[arg(long, hide = true)]
    show_output: bool,
    #[arg(long, hide = true)]
    exact: bool,
    #[arg(long, hide = true)]
    ignored: bool,
    #[arg(long, hide = true)]
    include_ignored: bool,
    #[arg(short, long, hide = true)]
    quiet: bool,
    #[arg(long, hide = true)]
    format: Option<String>,
    #[arg(long, hide = true)]
    color: Option<String>,
    #[arg(long, hide = true)]
    skip: Vec<String>,
    #[arg(long, hide = true)]
    test_threads: Option<String>,
}

type Campaign = fn(&Options) -> String;

/// Name, rounds of a short run, and the campaign itself, which panics if it fails.
const CAMPAIGNS: [(&str, u32, Campaign); 12] = [
    ("kill", 50, kill::run),
    ("changing", 100, changing::run),
    ("corrupting", 25, corrupting::run),
    ("tree-kill", 25, tree_kill::run),
    ("mirror-kill", 25, tree_kill::run_mirrors),
    ("tree-corrupting", 25, tree_corrupting::run),
    ("flipping", 5, flipping::run),
    ("crowd", 100, crowd::run),
    ("faults", 60, faults::run),
    ("stale", 60, stale::run),
    ("sharing", 5, sharing::run),
    ("listing", 20_000, listing::run),
];

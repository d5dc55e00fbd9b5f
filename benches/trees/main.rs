//! `ftget -r` from `ftserve` beside what people copy trees with today, in one run, on one machine.
//!
//! ```text
//! cargo bench --bench trees -- [small|real|large|again|far|ones|all] [--runs N]
//! ```
//!
//! `small` is 20,000 files of 1 to 16 KiB in 200 folders; `real` the folder of the Rust toolchain;
//! `large` 64 files of 32 MiB; `again` a second run over the real tree, of which nothing has
//! changed; `far` 5,000 small files behind a round trip of 50 ms; `ones` the memory of both ends
//! with 1,000,000 files of one byte, which `all` leaves out.
//!
//! All but `ones` is in memory and on the loopback. A time is that of the whole client, from its
//! start to its exit, and what it made is compared with the source afterwards. The contenders
//! take turns, so that a noisy moment of the machine hits them alike; only the ratios within one
//! run mean something. A contender that is not installed is named and left out.

#![allow(
    clippy::print_stdout,
    reason = "the table is the output of a benchmark"
)]

#[path = "../../tests/harness/mod.rs"]
mod harness;

mod contenders;
#[path = "../measure.rs"]
mod measure;
mod memory;
#[path = "../servers.rs"]
#[allow(dead_code, reason = "nginx serves no trees")]
mod servers;
mod tree;

use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};

use contenders::Contender;
use harness::{Scratch, assert_same_tree};
use measure::median;
use tree::Tree;

fn main() {
    let args = Args::parse();
    let wants = |choice| args.workload == choice || args.workload == Choice::All;
    if wants(Choice::Small) {
        let tree = Tree::of_small_files(args.files.unwrap_or(20_000));
        compare(&tree, args.runs, &contenders::near(&tree));
    }
    if wants(Choice::Real) {
        let tree = Tree::real();
        compare(&tree, args.runs, &contenders::near(&tree));
    }
    if wants(Choice::Large) {
        let tree = Tree::of_large_files();
        compare(&tree, args.runs, &contenders::near(&tree));
    }
    if wants(Choice::Again) {
        let tree = Tree::real();
        compare(&tree, args.runs, &contenders::again(&tree));
    }
    if wants(Choice::Far) {
        let tree = Tree::of_small_files(args.files.unwrap_or(5_000));
        compare(&tree, args.runs, &contenders::far(&tree));
    }
    if args.workload == Choice::Ones {
        memory::compare(args.files.unwrap_or(1_000_000));
    }
}

/// Compares the contenders on one tree.
fn compare(tree: &Tree, runs: usize, field: &[Contender]) {
    println!("\n{}, {runs} runs", tree.title());
    let mut times = vec![Vec::with_capacity(runs); field.len()];
    for run in 0..runs {
        for (contender, times) in field.iter().zip(&mut times) {
            times.push(measure(contender, tree, run == 0));
        }
    }
    let medians: Vec<f64> = times.iter().map(|times| median(times)).collect();
    println!(
        "  {:34} {:>9} {:>9} {:>9} {:>12}",
        "", "median s", "least s", "to first", "bytes"
    );
    for ((contender, &median), times) in field.iter().zip(&medians).zip(&times) {
        let least = times.iter().min().map_or(0.0, Duration::as_secs_f64);
        let bytes = contender.bytes.as_ref().map(|count| count());
        println!(
            "  {:34} {median:9.3} {least:9.3} {:9.2} {:>12}",
            contender.name,
            median / medians[0],
            bytes.map_or_else(String::new, |bytes| bytes.to_string()),
        );
    }
}

/// The time of one client, whose result is compared with the source.
fn measure(contender: &Contender, tree: &Tree, show: bool) -> Duration {
    let fresh = Scratch::in_memory();
    let destination = contender.destination.as_ref().unwrap_or(&fresh).path();
    let entry = (contender.enter)(destination);
    if show {
        println!("  {}:\n    {}", contender.name, entry.line);
    }
    let program = entry.program().deadline(CLIENT_DEADLINE);
    let started = Instant::now();
    let running = program.start();
    let ended = running.ends_within(CLIENT_DEADLINE);
    let elapsed = started.elapsed();
    assert!(
        ended,
        "{} is not done after {CLIENT_DEADLINE:?}",
        contender.name
    );
    running.wait().expect_code(0);
    assert_same_tree(tree.root(), destination);
    elapsed
}

/// Compares whole trees fetched by ftget with what others do.
#[derive(Parser)]
struct Args {
    /// What is fetched
    #[arg(value_enum, default_value_t = Choice::All)]
    workload: Choice,

    /// Runs of each contender
    #[arg(long, default_value_t = 5)]
    runs: usize,

    /// Number of files, where they are made for this
    #[arg(long)]
    files: Option<usize>,

    /// `cargo bench` passes this
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Choice {
    Small,
    Real,
    Large,
    Again,
    Far,
    Ones,
    All,
}

/// For one client process.
const CLIENT_DEADLINE: Duration = Duration::from_secs(180);

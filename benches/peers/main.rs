//! `ftget` from `ftserve` beside what people use today, in one run, on one machine.
//!
//! ```text
//! cargo bench --bench peers -- [w1|small|split|all] [--runs N]
//! ```
//!
//! Everything is in memory and on the loopback. A time is that of the whole client process,
//! from its start to its exit, and what it fetched is compared with the source afterwards.
//! The contenders take turns, so that a noisy moment of the machine hits them alike; only the
//! ratios within one run mean something. A contender that is not installed is named and left out.

#![allow(
    clippy::print_stdout,
    reason = "the table is the output of a benchmark"
)]

#[path = "../../tests/harness/mod.rs"]
mod harness;

mod contenders;
#[path = "../measure.rs"]
mod measure;
#[path = "../servers.rs"]
mod servers;
mod workload;

use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};

use contenders::Contender;
use harness::Scratch;
use measure::median;
use workload::Workload;

fn main() {
    let args = Args::parse();
    let is_wanted = |choice| [Choice::All, choice].contains(&args.workload);
    if is_wanted(Choice::W1) {
        let workload = Workload::one_file(args.mib << 20);
        let field = contenders::field(&workload);
        compare(&workload, "", &field, args.runs.unwrap_or(3));
    }
    if is_wanted(Choice::Small) {
        let workload = Workload::small_files(args.files);
        let field = contenders::field(&workload);
        compare(&workload, "", &field, args.runs.unwrap_or(7));
    }
    if is_wanted(Choice::Split) {
        let workload = Workload::one_file(args.split_mib << 20);
        let field = contenders::splitters(&workload, args.mib_per_second << 20);
        let rate = format!(", each connection {} MiB/s", args.mib_per_second);
        compare(&workload, &rate, &field, args.runs.unwrap_or(3));
    }
}

/// Compares the contenders on one workload, in these circumstances.
fn compare(workload: &Workload, circumstances: &str, field: &[Contender], runs: usize) {
    println!("\n{}{circumstances}, {runs} runs", workload.title());
    let mut times = vec![Vec::with_capacity(runs); field.len()];
    for run in 0..runs {
        for (contender, times) in field.iter().zip(&mut times) {
            times.push(measure(contender, workload, run == 0));
        }
    }
    print_table(field, &times);
}

/// The time of one client, whose result is compared with the source.
fn measure(contender: &Contender, workload: &Workload, show: bool) -> Duration {
    let destination = Scratch::in_memory();
    let entry = (contender.enter)(destination.path());
    if show {
        println!("  {}:\n    {}", contender.name, abridged(&entry.command));
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
    if contender.fetches {
        workload.assert_arrived(destination.path());
    }
    elapsed
}

/// Medians, and their ratios to the first contender and to `md5sum` alone.
fn print_table(field: &[Contender], times: &[Vec<Duration>]) {
    let medians: Vec<f64> = times.iter().map(|times| median(times)).collect();
    let hash_alone = field.iter().position(|c| c.name == contenders::HASH_ALONE);
    println!(
        "  {:38} {:>9} {:>9} {:>9} {:>10}   checked by",
        "", "median s", "least s", "to first", "to md5sum"
    );
    for ((contender, &median), times) in field.iter().zip(&medians).zip(times) {
        let least = times.iter().min().map_or(0.0, Duration::as_secs_f64);
        let to_hash = hash_alone.map(|index| format!("{:.2}", median / medians[index]));
        let to_hash = to_hash.unwrap_or_default();
        println!(
            "  {:38} {median:9.3} {least:9.3} {:9.2} {to_hash:>10}   {}",
            contender.name,
            median / medians[0],
            contender.checked
        );
    }
}

/// A command line as one would type it; of thousands of arguments the first few.
fn abridged(command: &[String]) -> String {
    const SHOWN: usize = 12;
    let words: Vec<&str> = command.iter().map(String::as_str).take(SHOWN).collect();
    match command.len() - words.len() {
        0 => words.join(" "),
        rest => format!("{} … and {rest} more", words.join(" ")),
    }
}

/// Compares ftget and ftserve with their peers.
#[derive(Parser)]
struct Args {
    /// One large file, many small ones, one file over connections that each have a rate, or all
    #[arg(value_enum, default_value_t = Choice::All)]
    workload: Choice,

    /// Runs of each contender
    #[arg(long)]
    runs: Option<usize>,

    /// Size of the large file, in MiB
    #[arg(long, default_value_t = 2048)]
    mib: usize,

    /// Number of small files
    #[arg(long, default_value_t = 5000)]
    files: usize,

    /// Size of the file that comes over connections with a rate, in MiB
    #[arg(long, default_value_t = 256)]
    split_mib: usize,

    /// What each of these connections carries, in MiB per second
    #[arg(long, default_value_t = 50)]
    mib_per_second: u64,

    /// `cargo bench` passes this
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Choice {
    W1,
    Small,
    Split,
    All,
}

/// For one client process.
const CLIENT_DEADLINE: Duration = Duration::from_secs(180);

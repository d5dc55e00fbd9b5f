//! Hashing trees ahead, and servers that start again, beside programs that hash.
//!
//! ```text
//! cargo bench --bench digests -- [function|tree|large|restart|all] [--runs N]
//! ```
//!
//! `function` is one message of 512 MiB, and many shorter ones at once; `tree` is a real tree, the folder of the Rust toolchain; `large` 64 files of 32 MiB; `restart` a
//! server over 50,000 files, from its start to its first answer and to the digests of all.
//! Everything is in memory. The contenders take turns; only the ratios within one run mean
//! something. A contender that is not installed is named and left out.

#![allow(
    clippy::print_stdout,
    reason = "the table is the output of a benchmark"
)]

#[path = "../../tests/harness/mod.rs"]
mod harness;
#[path = "../measure.rs"]
mod measure;

use std::hint::black_box;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use rustix::time::{ClockId, clock_gettime};

use ftserve::digest::{Kernel, Md5Stream};
use harness::{Program, Scratch, noise};
use md5::{Digest, Md5};
use measure::median;

fn main() {
    let args = Args::parse();
    let wants = |choice| args.workload == choice || args.workload == Choice::All;
    if wants(Choice::Function) {
        compare_functions(args.runs);
        compare_kernels(args.runs);
    }
    if wants(Choice::Tree) {
        let root = Scratch::in_memory();
        shell(
            "cp -r \"$(rustc --print sysroot)/.\" \"$ROOT\"",
            root.path(),
            root.path(),
        );
        compare("a real tree", &root, args.runs, &indexing());
    }
    if wants(Choice::Large) {
        let root = Scratch::in_memory();
        for number in 0..64 {
            root.write(format!("{number}"), noise(number, 32 << 20));
        }
        compare("64 files of 32 MiB", &root, args.runs, &indexing());
    }
    if wants(Choice::Restart) {
        let root = Scratch::in_memory();
        for number in 0..50_000_usize {
            let size = 1024 + number * 7919 % (15 << 10);
            root.write(
                format!("{}/{number}", number % 200),
                noise(number as u64, size),
            );
        }
        compare(
            "50,000 files of 1 to 16 KiB",
            &root,
            args.runs,
            &restarting(),
        );
    }
}

/// The md5 function of this crate beside others, on one core.
fn compare_functions(runs: usize) {
    let root = Scratch::in_memory();
    let message = noise(0, 512 << 20);
    root.write("message", &message);
    println!("\none message of 512 MiB, {runs} runs");
    let hash = |digest: &dyn Fn()| {
        let started = Instant::now();
        digest();
        started.elapsed()
    };
    let mut times = [const { Vec::new() }; 4];
    for _ in 0..runs {
        times[0].push(hash(&|| _ = black_box(Md5Stream::digest(&message))));
        times[1].push(hash(&|| _ = black_box(Md5::digest(&message))));
        times[2].push(shell("md5sum $ROOT/message", root.path(), root.path()));
        let openssl = "openssl dgst -md5 $ROOT/message";
        times[3].push(shell(openssl, root.path(), root.path()));
    }
    let names = ["in this crate", "crate md-5", "md5sum", "openssl dgst -md5"];
    let own = median(&times[0]);
    for (name, times) in names.iter().zip(&times) {
        let (median, least) = (median(times), least(times));
        let ratio = median / own;
        println!(
            "  {name:32} median {median:7.3} s, least {least:7.3} s, {ratio:6.2} of this crate"
        );
    }
}

/// Many messages of one length on one core, by all ways to hash them; in GB (10^9 bytes) per second
/// of the processor, since others may run beside.
fn compare_kernels(runs: usize) {
    let noise = noise(1, 32 << 20);
    println!("\nmessages of one length, {runs} runs, median GB/s");
    println!(
        "  {:32} {:>8} {:>8} {:>8} {:>8}",
        "", "1 KiB", "8 KiB", "64 KiB", "1 MiB"
    );
    let messages_of = |bytes: usize| -> Vec<&[u8]> {
        let count = (1 << 20) / bytes;
        noise.chunks_exact(bytes).take(count.max(32)).collect()
    };
    let row = |name: &str, rate: &dyn Fn(usize) -> f64| {
        let rates = LENGTHS.map(|bytes| format!("{:8.2}", rate(bytes)));
        println!("  {name:32} {}", rates.join(" "));
    };
    for kernel in Kernel::available() {
        let name = format!("{}, {} lanes", kernel.name(), kernel.lanes());
        row(&name, &|bytes| {
            let messages = messages_of(bytes);
            rate(runs, bytes * messages.len(), || {
                _ = black_box(kernel.hash_all(&messages))
            })
        });
    }
    row("one by one, in this crate", &|bytes| {
        rate(runs, bytes, || {
            _ = black_box(Md5Stream::digest(&noise[..bytes]))
        })
    });
    row("one by one, crate md-5", &|bytes| {
        rate(runs, bytes, || _ = black_box(Md5::digest(&noise[..bytes])))
    });
    row("openssl speed -evp md5", &|bytes| {
        let openssl = Program::system("openssl", "openssl")
            .args([
                "speed",
                "-mr",
                "-seconds",
                "1",
                "-bytes",
                &bytes.to_string(),
                "-evp",
                "md5",
            ])
            .run();
        // "+F:25:md5:546129317.65", in bytes per second of the processor.
        let text = String::from_utf8_lossy(&openssl.stdout).into_owned();
        let rate = text.trim().rsplit(':').next().unwrap_or_default().parse();
        rate.map_or(f64::NAN, |rate: f64| rate / 1e9)
    });
}

/// The median rate of something that takes so many bytes, in GB per second of this thread.
fn rate(runs: usize, bytes: usize, mut hash: impl FnMut()) -> f64 {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(
            time.tv_sec.unsigned_abs(),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        )
    };
    let times: Vec<Duration> = (0..runs)
        .map(|_| {
            let (started, mut count) = (now(), 0);
            while now() - started < RUN_MIN {
                hash();
                count += 1;
            }
            (now() - started) / count
        })
        .collect();
    bytes as f64 / median(&times) / 1e9
}

/// A name and a command, in which `ROOT` is the tree, `KNOWN` an index that knows it, and `FRESH`
/// a folder that is empty at each run.
type Contender = (&'static str, &'static str);

fn indexing() -> Vec<Contender> {
    let mut field = vec![
        (
            "ftserve index",
            "ftserve index -q --hidden show --index $FRESH/index $ROOT",
        ),
        (
            "ftserve index, all known",
            "ftserve index -q --hidden show --index $KNOWN $ROOT",
        ),
        (
            MD5SUM,
            "find $ROOT -type f -print0 | xargs -0 -P4 -n64 md5sum > $FRESH/sums",
        ),
    ];
    let hashdeep = Program::system("sh", "dash")
        .args(["-c", "command -v hashdeep"])
        .run();
    match hashdeep.code {
        0 => field.push(("hashdeep", "hashdeep -c md5 -r $ROOT > $FRESH/sums")),
        _ => println!("hashdeep is not installed (Debian's package hashdeep)"),
    }
    field
}

fn restarting() -> Vec<Contender> {
    vec![
        (
            "first answer, index known",
            "ftserve -q -b 127.0.0.1:0 --index $KNOWN $ROOT -- sh -c 'ftget -q -o - $FTSERVE_ADDR/7/7' > $FRESH/out",
        ),
        (
            "first answer, index new",
            "ftserve -q -b 127.0.0.1:0 --index $FRESH/index $ROOT -- sh -c 'ftget -q -o - $FTSERVE_ADDR/7/7' > $FRESH/out",
        ),
        (
            "digests of all, index known",
            "ftserve -q -b 127.0.0.1:0 --index $KNOWN $ROOT -- sh -c 'ftget -q -r --list=md5sum $FTSERVE_ADDR/' > $FRESH/sums",
        ),
        (
            "digests of all, index new",
            "ftserve -q -b 127.0.0.1:0 --index $FRESH/index $ROOT -- sh -c 'ftget -q -r --list=md5sum $FTSERVE_ADDR/' > $FRESH/sums",
        ),
        (
            MD5SUM,
            "find $ROOT -type f -print0 | xargs -0 -P4 -n64 md5sum > $FRESH/sums",
        ),
    ]
}

fn compare(title: &str, root: &Scratch, runs: usize, field: &[Contender]) {
    println!("\n{title}, {runs} runs");
    let place = Scratch::in_memory();
    // A digest is kept only under a stamp that is some seconds old.
    thread::sleep(STAMPS_SETTLE);
    shell(
        "ftserve index -q --hidden show --index $KNOWN $ROOT",
        root.path(),
        place.path(),
    );
    let mut times = vec![Vec::with_capacity(runs); field.len()];
    for run in 0..runs {
        for ((name, command), times) in field.iter().zip(&mut times) {
            if run == 0 {
                println!("  {name}:\n    {command}");
            }
            times.push(shell(command, root.path(), place.path()));
        }
    }
    let medians: Vec<f64> = times.iter().map(|times| median(times)).collect();
    let md5sum = field.iter().position(|(name, _)| *name == MD5SUM);
    for (((name, _), median), times) in field.iter().zip(&medians).zip(&times) {
        let least = least(times);
        let ratio = md5sum.map_or(f64::NAN, |at| median / medians[at]);
        println!("  {name:32} median {median:7.3} s, least {least:7.3} s, {ratio:6.2} of md5sum");
    }
}

fn least(times: &[Duration]) -> f64 {
    times.iter().min().map_or(0.0, Duration::as_secs_f64)
}

/// The time of one command.
fn shell(command: &str, root: &Path, place: &Path) -> Duration {
    let fresh = Scratch::in_memory();
    let binaries = Path::new(env!("CARGO_BIN_EXE_ftserve")).parent();
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", binaries.expect("a folder").display());
    let program = Program::system("sh", "dash")
        .args(["-c", command])
        .env("PATH", path)
        .env("HOME", std::env::var_os("HOME").unwrap_or_default())
        .env("ROOT", root)
        .env("KNOWN", place.join("index"))
        .env("FRESH", fresh.path())
        .deadline(DEADLINE);
    let started = Instant::now();
    let running = program.start();
    assert!(running.ends_within(DEADLINE), "{command} is not done");
    let elapsed = started.elapsed();
    running.wait().expect_code(0);
    elapsed
}

/// Compares hashing ahead and starting again with programs that hash.
#[derive(Parser)]
struct Args {
    /// What is hashed
    #[arg(value_enum, default_value_t = Choice::All)]
    workload: Choice,

    /// Runs of each contender
    #[arg(long, default_value_t = 5)]
    runs: usize,

    /// `cargo bench` passes this
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Choice {
    Function,
    Tree,
    Large,
    Restart,
    All,
}

const LENGTHS: [usize; 4] = [1 << 10, 8 << 10, 64 << 10, 1 << 20];
const RUN_MIN: Duration = Duration::from_millis(50);
const MD5SUM: &str = "find | xargs -P4 md5sum";
const STAMPS_SETTLE: Duration = Duration::from_millis(3_200);
const DEADLINE: Duration = Duration::from_secs(180);

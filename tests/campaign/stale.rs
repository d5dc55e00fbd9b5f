//! Digests that are kept while files change in every way there is: how often an answer is
//! wrong at first, which a client refuses, and that asking with `fresh` mends it.
//!
//! An answer is *wrong at first* if the bytes that came do not have the md5 that was announced. It
//! is *wrong after fresh* if that is so again when it is asked for with `fresh`, more than 10 s (for
//! which a digest counts as fresh) after the last digest was made and with no writer at work.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::Options;
use crate::harness::{
    Answer, Program, Random, RawPeer, Running, Scratch, TestServer, md5_hex, noise,
};

/// `--rounds` is the number of changes on each file system.
pub(crate) fn run(options: &Options) -> String {
    let mut report = String::new();
    for (system, root) in [("disk", Scratch::new()), ("tmpfs", Scratch::in_memory())] {
        let mut random = Random::of(options.seed, options.first);
        let mut left = options.rounds as usize;
        let mut counts: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
        let (mut quiet, mut known) = (0, 0);
        while left > 0 {
            let files = left.min(FILES_MAX);
            let (listed, had_md5) = pass(&root, files, &mut random, &mut counts);
            quiet += listed;
            known += had_md5;
            left -= files;
        }
        report += &format!("{system}: {known} of {quiet} digests kept on a quiet tree;");
        for (kind, [changes, wrong, wrong_after]) in &counts {
            report += &format!(
                " {kind} {changes} changes, {wrong} wrong at first, {wrong_after} after fresh;"
            );
            assert_eq!(*wrong_after, 0, "{system}, {kind}: wrong after fresh");
            if *kind != "mapped" {
                assert_eq!(*wrong, 0, "{system}, {kind}: only a mapping moves no time");
            }
        }
        report += " ";
    }
    report.trim_end_matches("; ").to_owned()
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Rewritten,
    Replaced,
    TimeRestored,
    CutAndRewritten,
    Appended,
    Mapped,
}

/// A tree that rests until its digests are kept, and is then changed file by file, while it is
/// asked for. Returns how many files there are, and of how many the digest was kept.
fn pass(
    root: &Scratch,
    files: usize,
    random: &mut Random,
    counts: &mut BTreeMap<&'static str, [usize; 3]>,
) -> (usize, usize) {
    let names: Vec<String> = (0..files).map(|number| format!("f{number}")).collect();
    let kinds: Vec<Kind> = (0..files).map(|_| random.pick(&KINDS)).collect();
    for name in &names {
        root.write(name, noise(random.next(), random.pick(&SIZES)));
    }
    let mapped = names
        .iter()
        .zip(&kinds)
        .filter(|(_, kind)| **kind == Kind::Mapped);
    let mapper = map(mapped.map(|(name, _)| root.join(name)));
    let server = TestServer::builder(root.path())
        .args(["--no-prehash"])
        .start();
    std::thread::sleep(STAMPS_SETTLE);
    let mut peer = server.connect();
    for name in &names {
        assert!(!is_wrong(&ask(&mut peer, name, false)), "{name} at rest");
    }
    let made = Instant::now();
    let known = list(&mut peer)
        .iter()
        .filter(|entry| entry["md5"] != "")
        .count();
    // As long as a digest counts as fresh.
    std::thread::sleep(FRESH_AFTER.saturating_sub(made.elapsed()));
    mapper.signal(Signal::USR1);
    mapper
        .stdout()
        .wait_until("the rewrite", |text| text.contains("rewritten"));
    for (name, kind) in names.iter().zip(&kinds) {
        change(root.join(name), *kind, random);
        let count = counts.entry(kind.name()).or_default();
        count[0] += 1;
        if is_wrong(&ask(&mut peer, name, false)) {
            count[1] += 1;
        }
        if is_wrong(&ask(&mut peer, name, true)) {
            count[2] += 1;
        }
        let bytes = fs::read(root.join(name)).expect("the file");
        let answer = ask(&mut peer, name, false);
        assert!(
            answer.body == bytes && !is_wrong(&answer),
            "{name} after fresh"
        );
    }
    for name in &names {
        fs::remove_file(root.join(name)).expect("the file");
    }
    (files, known)
}

fn change(path: PathBuf, kind: Kind, random: &mut Random) {
    let size = fs::metadata(&path).expect("the file").len() as usize;
    let new = noise(random.next(), size);
    let open = || File::options().write(true).open(&path).expect("the file");
    match kind {
        Kind::Rewritten => open().write_all_at(&new, 0).expect("a write"),
        Kind::Replaced => {
            let beside = path.with_extension("new");
            fs::write(&beside, &new).expect("a file");
            fs::rename(&beside, &path).expect("a rename");
        }
        Kind::TimeRestored => {
            let before = fs::metadata(&path).and_then(|meta| meta.modified());
            let file = open();
            file.write_all_at(&new, 0).expect("a write");
            let times = FileTimes::new().set_modified(before.expect("a time"));
            file.set_times(times).expect("the old time");
        }
        Kind::CutAndRewritten => fs::write(&path, &new).expect("a write"),
        Kind::Appended => open()
            .write_all_at(&new[..100], size as u64)
            .expect("a write"),
        // All at once, by the program that maps them.
        Kind::Mapped => {}
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Rewritten => "rewritten",
            Kind::Replaced => "replaced",
            Kind::TimeRestored => "time restored",
            Kind::CutAndRewritten => "cut and rewritten",
            Kind::Appended => "appended",
            Kind::Mapped => "mapped",
        }
    }
}

/// A program that maps these files, and rewrites them when it is told to.
fn map(paths: impl Iterator<Item = PathBuf>) -> Running {
    let writer = Program::system("python3", "python3")
        .args(["-c", crate::mapping::WRITER])
        .args(paths)
        .deadline(Duration::from_secs(3600))
        .start();
    writer
        .stdout()
        .wait_until("the mapping", |text| text.contains("mapped"));
    writer
}

fn ask(peer: &mut RawPeer, name: &str, fresh: bool) -> Answer {
    peer.ask(json!({"filename": name, "fresh": fresh}).to_string())
}

fn is_wrong(answer: &Answer) -> bool {
    assert_eq!(answer.code(), None, "{}", answer.text);
    answer.str("md5") != md5_hex(&answer.body)
}

fn list(peer: &mut RawPeer) -> Vec<Value> {
    let answer = peer.ask(r#"{"op":"list","filename":""}"#);
    let lines = answer
        .body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_slice(line).expect("an entry"))
        .collect()
}

const KINDS: [Kind; 6] = [
    Kind::Rewritten,
    Kind::Replaced,
    Kind::TimeRestored,
    Kind::CutAndRewritten,
    Kind::Appended,
    Kind::Mapped,
];
/// Above 4 KiB, below which the server hashes at every request; read whole; and long.
const SIZES: [usize; 4] = [5_000, 60_000, 250_000, 600_000];
const FILES_MAX: usize = 1_000;
const STAMPS_SETTLE: Duration = Duration::from_millis(3_200);
const FRESH_AFTER: Duration = Duration::from_millis(10_500);

//! One folder of very many names, listed page by page: each page should take as long as the
//! last, and neither end should hold it all.

use std::fs::File;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Options;
use crate::harness::{ProcessFacts, Program, Scratch, TestServer, md5_hex};

/// `--rounds` is the number of files.
pub(crate) fn run(options: &Options) -> String {
    let root = Scratch::in_memory();
    let files = options.rounds;
    for number in 0..files {
        // Created in another order than they are listed in.
        let name = format!("{:0>8x}-name", number.wrapping_mul(2_654_435_761));
        File::create(root.join(name)).expect("a file");
    }
    let server = TestServer::builder(root.path())
        .args(["--no-prehash"])
        .start();
    let before = server.facts().rss_kib();
    let times = list_by_hand(&server, files);
    let kept = server.facts().rss_kib();
    let (took, peak) = list_with_ftget(&server, files);
    let ms = |time: &Duration| time.as_secs_f64() * 1e3;
    let mut sorted = times.clone();
    sorted.sort();
    format!(
        "{files} files, {} pages; ms per page: first {:.1}, then median {:.1}, most {:.1}, last full {:.1}; \
         server {before} -> {kept} KiB; ftget --list {:.2} s, at most {peak} KiB",
        times.len(),
        ms(&times[0]),
        ms(&sorted[sorted.len() / 2]),
        ms(sorted
            .iter()
            .rev()
            .find(|time| **time != times[0])
            .unwrap_or(&times[0])),
        ms(times.iter().rev().nth(1).unwrap_or(&times[0])),
        took.as_secs_f64(),
    )
}

fn list_by_hand(server: &TestServer, files: u32) -> Vec<Duration> {
    let mut peer = server.connect();
    let mut request = json!({"op": "list", "filename": ""});
    let (mut times, mut entries, mut last) = (Vec::new(), 0, String::new());
    loop {
        let asked = Instant::now();
        let answer = peer.ask(request.to_string());
        times.push(asked.elapsed());
        assert_eq!(answer.code(), None, "{}", answer.text);
        assert_eq!(answer.str("md5"), md5_hex(&answer.body));
        for line in answer
            .body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let entry: Value = serde_json::from_slice(line).expect("an entry");
            let name = entry["filename"].as_str().expect("a name");
            assert!(name > last.as_str(), "{name} after {last}");
            last = name.to_owned();
            entries += 1;
        }
        match answer.header.get("next") {
            None => break,
            Some(next) => request["after"] = next.clone(),
        }
    }
    assert_eq!(entries, files);
    times
}

fn list_with_ftget(server: &TestServer, files: u32) -> (Duration, u64) {
    let started = Instant::now();
    // Its output goes to wc, so that it is not this process that takes it.
    let listing = Program::system("sh", "dash")
        .args(["-c", "\"$0\" --list \"$1\" | wc -l"])
        .arg(env!("CARGO_BIN_EXE_ftget"))
        .arg(server.source(""))
        .start();
    let mut peak = 0;
    while !listing.ends_within(Duration::from_millis(5)) {
        for pid in ProcessFacts::of(listing.pid()).children() {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
            let status = status.unwrap_or_default();
            if status.starts_with("Name:\tftget") {
                let line = status.lines().find(|line| line.starts_with("VmHWM:"));
                let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
                peak = peak.max(kib.unwrap_or(0));
            }
        }
    }
    let took = started.elapsed();
    let output = listing.wait().expect_code(0);
    assert_eq!(output.text().trim(), files.to_string());
    (took, peak)
}

//! The writer that no time stamp shows: a rewrite through a shared mapping after the digest
//! was kept. The client refuses the bytes, asks again with `fresh`, and gets them right.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Program, Running, Scratch, TestServer, md5_hex, noise};

/// Files mapped by another program, their digests in the server's index.
///
/// A digest made within 10 s answers `fresh` too (PROTOCOL.md, 3), so there is time for
/// other rounds between [`Mapping::prepare`] and [`Mapping::rewrite_and_fetch`].
pub(crate) struct Mapping {
    files: Vec<(String, PathBuf)>,
    writer: Running,
    kept_since: Instant,
}

impl Mapping {
    /// Writes the files below `root`, maps them, and has the server keep their digests.
    pub(crate) fn prepare(root: &Scratch, server: &TestServer, seed: u64) -> Mapping {
        let write = |(index, size): (usize, usize)| {
            let name = format!("mapped/{index}");
            let path = root.write(&name, noise(seed ^ size as u64, size));
            (name, path)
        };
        let files: Vec<_> = SIZES.into_iter().enumerate().map(write).collect();
        let paths = files.iter().map(|(_, path)| path);
        let writer = Program::system("python3", "python3")
            .args(["-c", WRITER])
            .args(paths)
            .deadline(Duration::from_secs(3600))
            .start();
        writer
            .stdout()
            .wait_until("the mapping", |text| text.contains("mapped"));
        // Younger stamps are not trusted, so digests under them are not kept.
        writer.ends_within(STAMPS_SETTLE);
        for (name, path) in &files {
            let bytes = fs::read(path).expect("a mapped file");
            server.connect().ask(get(name)).assert_file(name, &bytes);
        }
        Mapping {
            files,
            writer,
            kept_since: Instant::now(),
        }
    }

    /// Rewrites the files, checks that the server cannot know, and has the real client fetch
    /// them. Returns how many it refused before they were right.
    pub(crate) fn rewrite_and_fetch(self, server: &TestServer) -> usize {
        let rest = FRESH_AFTER.saturating_sub(self.kept_since.elapsed());
        assert!(!self.writer.ends_within(rest), "the writer ended early");
        let before: Vec<_> = self.files.iter().map(|(_, path)| stamp(path)).collect();
        self.writer.signal(Signal::USR1);
        let written = |text: &str| text.contains("rewritten");
        self.writer.stdout().wait_until("the rewrite", written);
        let mut refused = 0;
        for ((name, path), before) in self.files.iter().zip(before) {
            let bytes = fs::read(path).expect("a mapped file");
            let answer = server.connect().ask(get(name));
            let stale = answer.str("md5") != md5_hex(&bytes);
            // A disk's write-back may move the times; then there is nothing to be fooled by.
            assert_eq!(
                stale,
                stamp(path) == before,
                "premise of {name}: {}",
                answer.text
            );
            let destination = Scratch::in_memory();
            let output = Program::ftget()
                .args(["--json", "-d"])
                .arg(destination.path())
                .arg(server.source(name))
                .run()
                .expect_code(0);
            let (_, last) = name.rsplit_once('/').expect("a folder");
            assert!(
                destination.read(last) == bytes,
                "{name} is not what is there now"
            );
            assert_eq!(destination.names(), [last], "left over");
            let attempts = output.json_lines()[0]["attempts"].as_u64();
            assert_eq!(attempts >= Some(2), stale, "attempts: {}", output.text());
            refused += usize::from(stale);
        }
        refused
    }
}

fn get(name: &str) -> String {
    format!(r#"{{"filename":"{name}"}}"#)
}

/// Everything a stamp is made of.
fn stamp(path: &PathBuf) -> [i64; 6] {
    let facts: Metadata = fs::metadata(path).expect("a mapped file");
    [
        facts.ino() as i64,
        facts.size() as i64,
        facts.mtime(),
        facts.mtime_nsec(),
        facts.ctime(),
        facts.ctime_nsec(),
    ]
}

/// Every page is written once before the server looks, so that the kernel has moved the
/// times for good; the second write goes to pages that are dirty already.
pub(crate) const WRITER: &str = r#"
import mmap, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
maps = []
for path in sys.argv[1:]:
    with open(path, "r+b") as file:
        maps.append(mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED))
for shared in maps:
    shared[:] = bytes(shared)
print("mapped", flush=True)
signal.sigwait([signal.SIGUSR1])
for shared in maps:
    shared[:] = bytes(byte ^ 0x55 for byte in shared[:4096]) + shared[4096:]
print("rewritten", flush=True)
signal.sigwait([signal.SIGUSR1])
"#;
/// Above 4 KiB, below which the server hashes at every request; read whole; and long.
const SIZES: [usize; 4] = [5000, 200 << 10, 3 << 20, 8 << 20];
const STAMPS_SETTLE: Duration = Duration::from_millis(3200);
const FRESH_AFTER: Duration = Duration::from_millis(10_500);

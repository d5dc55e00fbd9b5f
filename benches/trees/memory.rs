//! The memory of both ends with very many files.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::CLIENT_DEADLINE;
use crate::harness::{Program, Scratch, TestServer};

/// Fetches so many files of one byte, 1,000 in a folder, on disk, and tells the most memory that
/// each end ever had.
pub(crate) fn compare(files: usize) {
    println!("\n{files} files of 1 byte");
    let root = Scratch::new();
    for number in 0..files {
        let folder = format!("{:04}", number / 1_000);
        if number % 1_000 == 0 {
            root.make_dir(&folder);
        }
        let mut file = File::create(root.join(&folder).join(format!("{number}"))).expect("a file");
        file.write_all(&[number as u8]).expect("a byte");
    }
    let server = TestServer::start(root.path(), ["--index", "memory", "--no-prehash"]);
    let destination = Scratch::new();
    let (peak_kib, seconds) = run(
        Program::ftget()
            .args(["-q", "-r", "-d"])
            .arg(destination.path())
            .arg(format!("{}/", server.addr())),
        destination.path(),
        files,
    );
    let served = server.facts().peak_rss_kib();
    println!("  first run:  ftget {peak_kib} KiB, ftserve {served} KiB, {seconds:.1} s");
    let (peak_kib, seconds) = run(
        Program::ftget()
            .args(["-q", "-r", "-d"])
            .arg(destination.path())
            .arg(format!("{}/", server.addr())),
        destination.path(),
        files,
    );
    let served = server.facts().peak_rss_kib();
    println!("  second run: ftget {peak_kib} KiB, ftserve {served} KiB, {seconds:.1} s");
}

/// The most memory of a client, in KiB, and its time.
fn run(client: Program, destination: &Path, files: usize) -> (u64, f64) {
    let aside = Scratch::new();
    let told = aside.join("peak");
    let output = client
        .through(
            ["time", "-f", "%M", "-o"]
                .map(Into::into)
                .into_iter()
                .chain([told.clone().into_os_string()]),
        )
        .deadline(10 * CLIENT_DEADLINE)
        .run()
        .expect_code(0);
    let folders = fs::read_dir(destination)
        .expect("the destination")
        .flatten();
    let count: usize = folders
        .map(|folder| fs::read_dir(folder.path()).expect("a folder").count())
        .sum();
    assert_eq!(count, files, "files in the destination");
    let peak = fs::read_to_string(told).expect("what time(1) told");
    (
        peak.trim().parse().expect("a number of KiB"),
        output.elapsed.as_secs_f64(),
    )
}

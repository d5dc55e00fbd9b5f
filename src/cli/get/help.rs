//! What `ftget` says of itself besides its options.

use crate::cli::manual::{Manual, exit_codes};

/// Below the long help.
pub(super) fn long_ending() -> String {
    format!("{ENDING}\n\n{UNITS}\n\n{}", exit_codes())
}

/// Below the short help.
pub(super) const ENDING: &str = "\
Examples:
  ftget host:notes/todo.txt                     into the current folder
  ftget -d downloads host:a.iso host:b.iso      several, over one connection
  ftget -r -d backup host:data                  a whole tree; run again, only what differs
  ftget --list -r host:photos                   what is there; --list=long, =json, =md5sum
  ftget -i MD5SUMS -d data host:data            what a list names, and only with these md5s
  ftget -r --delete -d mirror host:data/        a mirror: what the server lacks is deleted
  ftget -r -d data --receipts got.jsonl host:data/   a whole tree, with a receipt for each file
  ftget --check --receipts got.jsonl            whether these files are still the same
  ftget --check -r -d mirror host:data/         what differs; nothing is transferred
  ftget -r --preflight -d data host:data        nothing at all, unless all of it fits
  ftget -o - host:data.tar | tar x              into a pipe; the exit code tells if it was right
  ftget --md5 746308829575e17c3331bbcb00c0898b -o hello.txt 127.0.0.1:9000/hello.txt

A download that was cut off goes on where it stopped when the same command is run again.
Every option can be set in the environment: --retry-delay is FTGET_RETRY_DELAY.";
const UNITS: &str = "\
Durations are seconds, or have a unit: 0.2, 200ms, 5s, 2m. Rates are bytes per second, or bits:
10M is 10 MiB, 80mbit are 10,000,000 bytes.";

/// The manual page besides the options.
pub(in crate::cli) const MANUAL: Manual = Manual {
    prefix: "FTGET",
    examples: &[
        (
            "ftget host:notes/todo.txt",
            "Download into the current folder; run again, it goes on where it was cut off.",
        ),
        (
            "ftget -d downloads host:a.iso host:b.iso",
            "Download several files over one connection.",
        ),
        (
            "ftget -r -d backup host:data",
            "Download a folder with everything in it; run again, only what differs is transferred.",
        ),
        (
            "ftget --list=md5sum -r host: | md5sum --check",
            "Compare the current folder with everything that a server has.",
        ),
        (
            "ftget -i MD5SUMS -d data host:data",
            "Download what a list names, each file only with the md5 it has there.",
        ),
        (
            "ftget -r --delete --max-delete 100 -d mirror host:data/",
            "Make a folder a mirror of one of the server; of what the server does not have at most 100 things are deleted.",
        ),
        (
            "ftget --check -r -d mirror host:data/ || echo differs",
            "Compare a folder with one of the server, without a transfer.",
        ),
        (
            "ftget -o - host:data.tar | tar x",
            "Download into a pipe; the exit code tells whether what came was right.",
        ),
    ],
    files: &[
        (
            ".ft-*.part",
            "In the folder of a download: what has come of it, continued by the next run.",
        ),
        (
            "~/.cache/ftserve/index.sqlite3",
            "The digests that are remembered, unless --index says otherwise; it may be deleted.",
        ),
    ],
    see_also: "ftserve(1), md5sum(1)",
};

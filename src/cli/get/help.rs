//! The texts around the options: examples, units, the manual page, and hints.

use crate::cli::manual::{Manual, exit_codes};
use crate::cli::usage::Habit;

/// The text below the long help.
pub(super) fn long_ending() -> String {
    format!("{ENDING}\n\n{UNITS}\n\n{}", exit_codes())
}

/// The text below the short help.
pub(super) const ENDING: &str = "\
Examples:
  ftget host:notes/todo.txt                  Download one file
  ftget -d downloads host:a.iso host:b.iso   Download two files
  ftget -r -d backup host:data               Download a tree
  ftget --list -r host:photos                List a tree
  ftget -r --delete -d mirror host:data/     Mirror a directory
  ftget --check -r -d mirror host:data/      Compare a directory with the server
  ftget -i MD5SUMS -d data host:data         Download a list of files
  ftget --spool -o - host:data.tar | tar x   Verify a file and pipe it

The same command again continues a download that was cut off.
--help explains all options. Each is an environment variable too: --retry is
FTGET_RETRY.";
const UNITS: &str = "\
Durations are seconds, or have a unit: 0.2, 200ms, 5s, 2m.
Rates are per second: 10M is 10 MiB, 80mbit is 10,000,000 bytes.";

/// The manual page besides the options.
pub(in crate::cli) const MANUAL: Manual = Manual {
    prefix: "FTGET",
    synopsis: &[
        ("ftget", "[OPTIONS] SOURCE..."),
        ("ftget", "[OPTIONS] -r [-d DIR] SOURCE..."),
        ("ftget", "[OPTIONS] -i FILE [-d DIR] HOST[:PORT][/DIR]"),
        ("ftget", "--list[=HOW] [-r] SOURCE..."),
        ("ftget", "--check [-r] [-d DIR] SOURCE..."),
    ],
    examples: &[
        (
            "ftget host:notes/todo.txt",
            "Download a file into the current directory. The same command again continues it.",
        ),
        (
            "ftget -d downloads host:a.iso host:b.iso",
            "Download several files over one connection.",
        ),
        (
            "ftget -r -d backup host:data",
            "Download a tree. The same command again transfers only what differs.",
        ),
        (
            "ftget --list=md5sum -r host: | md5sum --check",
            "Compare the current directory with everything that a server has.",
        ),
        (
            "ftget -i MD5SUMS -d data host:data",
            "Download the files of a list. Each must have the md5 of the list.",
        ),
        (
            "ftget -r --delete --max-delete 100 -d mirror host:data/",
            "Mirror a directory. At most 100 local files are deleted.",
        ),
        (
            "ftget --check -r -d mirror host:data/ || echo differs",
            "Compare a directory with the server, and transfer nothing.",
        ),
        (
            "ftget --spool -o - host:data.tar | tar x",
            "Verify a file, and pipe it then.",
        ),
    ],
    files: &[
        (
            ".ft-*.part",
            "Partial files, in the directory of the download. The next run continues them.",
        ),
        (
            "~/.cache/ftserve/index.sqlite3",
            "The digest index, unless --index names another. It may be deleted.",
        ),
    ],
    see_also: "ftserve(1), md5sum(1)",
};

/// Options of rsync, scp, curl and wget that this program does not have.
pub(super) const HABITS: &[Habit] = &[
    (
        &["-O", "--output-document"],
        "-o FILE sets the name of the file",
    ),
    (
        &[
            "-P",
            "--directory-prefix",
            "--output-dir",
            "--target-directory",
        ],
        "-d DIR sets the directory",
    ),
    (
        &["-a", "--archive", "-m", "--mirror"],
        "-r downloads a tree with its permissions and times; with --delete it is a mirror",
    ),
    (
        &["-z", "--compress", "--compressed"],
        "there is no compression; leave the option out",
    ),
    (
        &["-p", "--perms", "-t", "--times"],
        "permissions and times are kept by default; a port is written HOST:PORT/PATH",
    ),
    (&["--port"], "a port is written HOST:PORT/PATH"),
    (&["-R"], "-r downloads a tree"),
    (
        &["-C", "--continue-at", "--partial", "--append"],
        "the same command again continues a partial file; no option is needed",
    ),
    (
        &["-N", "--timestamping", "-u", "--update"],
        "the same command again downloads only what differs; no option is needed",
    ),
    (
        &["-l", "--list-only", "--ls"],
        "--list prints what is there",
    ),
    (
        &["-s", "--silent", "--no-progress"],
        "-q prints errors only",
    ),
    (
        &["-L", "--location"],
        "there are no redirects; leave the option out",
    ),
    (
        &["--verify", "--checksum"],
        "every file is verified; no option is needed",
    ),
    (
        &["--owner", "--group"],
        "only permissions and times are kept",
    ),
    (
        &["--preserve"],
        "only permissions (mode) and times (mtime) can be kept",
    ),
];

//! The texts around the options: examples, signals, units, the manual page, and hints.

use crate::cli::manual::{Manual, exit_codes};
use crate::cli::usage::{Habit, NUMBER};

/// The text below the long help.
pub(super) fn long_ending() -> String {
    format!("{ENDING}\n\n{UNITS}\n\n{}", exit_codes())
}

/// The text below the short help.
pub(super) const ENDING: &str = "\
Examples:
  ftserve photos                     Serve to every host, on port 9521
  ftserve -b 127.0.0.1 -p 0 photos   Serve to this machine, on a free port
  ftserve -b unix:ft.sock photos     Serve on a unix socket
  ftserve photos -- sh tour.sh       Serve while a command runs
  ftserve index photos               Hash the files now, for later servers

There is no encryption and no authentication yet: everybody who reaches the
port can read all files. --help explains all options. Each is an environment
variable (--port is FTSERVE_PORT) and a key in the file of --config.";
const UNITS: &str = "\
SIGTERM and SIGINT let running transfers finish; a second signal ends the server at once.
SIGHUP reloads --config and opens --access-log again. A server that has neither stops.
Signals that were ignored at the start stay ignored.

Durations are seconds, or have a unit: 0.2, 200ms, 5s, 2m.
Sizes are bytes, or have a unit: 512, 10M (10 MiB), 10MB (10,000,000).
Rates are per second: 10M, or 80mbit (10,000,000 bytes).";

/// The manual page besides the options.
pub(super) const MANUAL: Manual = Manual {
    prefix: "FTSERVE",
    synopsis: &[
        ("ftserve", "[OPTIONS] [PATH] [-- COMMAND [ARGUMENT]...]"),
        ("ftserve index", "[OPTIONS] PATH"),
    ],
    examples: &[
        (
            "ftserve photos",
            "Serve a directory on port 9521 of all addresses.",
        ),
        (
            "ftserve -b 127.0.0.1:0 photos -- sh -c 'ftget -r --list $FTSERVE_ADDR/'",
            "Serve while a command runs. The address is in its environment.",
        ),
        (
            "ftserve --config ftserve.toml --check-config",
            "Check a configuration.",
        ),
        (
            "ftserve index photos",
            "Hash every file now, for a server that starts later.",
        ),
    ],
    files: &[
        (
            "~/.cache/ftserve/index.sqlite3",
            "The digest index, unless --index names another. It may be deleted.",
        ),
        (
            "FILE of --config",
            "TOML. Keys are names of options; values are strings, numbers, booleans, or arrays where an \
             option is repeatable.",
        ),
    ],
    see_also: "ftget(1), md5sum(1)",
};

/// Options of other servers that this program does not have.
pub(in crate::cli) const HABITS: &[Habit] = &[
    (
        &[
            "-d",
            "--dir",
            "--directory",
            "--root",
            "-r",
            "-f",
            "--folder",
            "--path",
        ],
        "the directory comes without an option: ftserve DIR",
    ),
    (
        &[
            "--host",
            "--listen",
            "--address",
            "--interface",
            "-l",
            "-a",
            "-i",
        ],
        "-b ADDR listens on one address",
    ),
    (&["-P", NUMBER], "-p PORT listens on another port"),
    (
        &["-w", "--writable", "--upload", "-u"],
        "uploads are not supported; ftserve only reads",
    ),
    (
        &["--tls", "--cert", "--key", "--auth", "--user", "--password"],
        "there is no encryption and no authentication yet; use a tunnel such as ssh -L",
    ),
    (
        &["--log", "--log-file"],
        "--access-log FILE writes a line for each request",
    ),
];

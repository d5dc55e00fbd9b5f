//! What `ftserve` says of itself besides its options.

use crate::cli::manual::{Manual, exit_codes};

/// Below the long help.
pub(super) fn long_ending() -> String {
    format!("{ENDING}\n\n{UNITS}\n\n{}", exit_codes())
}

/// Below the short help.
pub(super) const ENDING: &str = "\
Examples:
  ftserve photos                      everybody who reaches this machine, port 9521
  ftserve -b 127.0.0.1 -p 0 photos    this machine only, any free port
  ftserve -b unix:ft.sock photos      a socket in the file system
  ftserve photos -- sh tour.sh        as long as a command runs; it finds FTSERVE_ADDR
  ftserve index photos                hash the files now; a server hashes none of them again

SIGTERM and SIGINT let running transfers finish; a second one ends at once. SIGHUP reads --config
and opens --access-log anew; without either it ends like SIGTERM. Ignored signals stay ignored.
Every option can be set in the environment (--port is FTSERVE_PORT) and in --config FILE.";
const UNITS: &str = "\
Durations are seconds, or have a unit: 0.2, 200ms, 5s, 2m. Sizes are bytes, or have a unit: 512, 10M
(10 MiB), 10MB (10,000,000). Rates are sizes per second, or bits: 80mbit.";

/// The manual page besides the options.
pub(super) const MANUAL: Manual = Manual {
    prefix: "FTSERVE",
    examples: &[
        (
            "ftserve photos",
            "Serve a folder to everybody who reaches this machine, on port 9521.",
        ),
        (
            "ftserve -b 127.0.0.1:0 photos -- ftget -r --list $FTSERVE_ADDR/",
            "Serve for as long as a command runs; the address is in its environment.",
        ),
        (
            "ftserve --config ftserve.toml --check-config",
            "Say whether a configuration is right.",
        ),
        (
            "ftserve index photos",
            "Hash every file now, so that a server hashes none of them again.",
        ),
    ],
    files: &[
        (
            "~/.cache/ftserve/index.sqlite3",
            "The digests that are remembered, unless --index says otherwise; it may be deleted.",
        ),
        (
            "FILE of --config",
            "TOML; its keys are the names of options, its values strings, numbers, true and false, \
             or arrays where an option may be repeated.",
        ),
    ],
    see_also: "ftget(1), md5sum(1)",
};

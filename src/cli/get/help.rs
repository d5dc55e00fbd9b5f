//! What stands below the options in `ftget --help`.

/// Below the long help.
pub(super) fn long_ending() -> String {
    format!("{EXAMPLES}\n\n{UNITS_AND_CODES}")
}

/// Below the short help.
pub(super) const EXAMPLES: &str = "\
Examples:
  ftget host:notes/todo.txt                     into the current folder
  ftget -d downloads host:a.iso host:b.iso      several, over one connection
  ftget --list -r host:photos                   what is there; --list=long, =json, =md5sum
  ftget -o - host:data.tar | tar x              into a pipe; the exit code tells if it was right
  ftget --md5 746308829575e17c3331bbcb00c0898b -o hello.txt 127.0.0.1:9000/hello.txt

A download that was cut off goes on where it stopped when the same command is run again.
Every option can be set in the environment: --retry-delay is FTGET_RETRY_DELAY.";
const UNITS_AND_CODES: &str = "\
Durations are seconds, or have a unit: 0.2, 200ms, 5s, 2m.

Exit codes:
   0  everything asked for is present and verified (fetched, or there already)
   1  unclassified
   2  the command line is wrong, or the name is not that of a file
   3  a local file or I/O; standard output was closed
   4  network: name, connect, reset, cut off
   6  permission refused
   7  the server broke the protocol
   8  the server refused: busy, shutting down
   9  no space
  10  verification failed, nothing put in place
  11  not found
  12  exists, and --if-exists is error
  13  the source kept changing, or is not the --md5
  14  timed out
  23  several sources failed, for different reasons
 130  interrupted, 143 terminated";

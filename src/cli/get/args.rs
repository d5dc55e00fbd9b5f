//! The options of `ftget`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Parser, ValueEnum};
use clap_complete::Shell;

use super::filter::FilterArgs;
use super::help;
use crate::cli::terminal::ColorChoice;
use crate::cli::values::{at_least_one, not_empty, parse_limit};
use crate::cli::{parse_duration, parse_rate};
use crate::wire::Md5Digest;

/// Download files from an ftserve server and verify them.
#[derive(Parser, Debug)]
#[command(name = "ftget", version, max_term_width = 100, after_help = help::ENDING, after_long_help = help::long_ending())]
pub(super) struct GetArgs {
    // Not a doc comment: rustdoc would take the brackets for links.
    #[arg(
        required_unless_present_all = ["check", "receipts"],
        value_name = "SOURCE",
        help = "HOST:PATH, HOST:PORT/PATH, ft://HOST/PATH or unix:/SOCKET:PATH",
        long_help = "HOST:PATH, HOST:PORT/PATH, [V6]:PORT/PATH, ft://HOST[:PORT]/PATH or unix:/SOCKET:PATH. \
                     PATH may be a pattern with *, ?, [a-z] and **. \
                     @NAME as PATH is the output of the command that the server publishes as NAME"
    )]
    pub(super) sources: Vec<OsString>,

    /// Write the one file to FILE, or to standard output (-)
    ///
    /// An open descriptor (/dev/stdout, /dev/fd/3), a device or a FIFO is written to directly, also
    /// through a symbolic link. Anything else is replaced in one step, a symbolic link to a file
    /// too.
    #[arg(short, long, value_name = "FILE", help_heading = WHERE)]
    pub(super) output: Option<OsString>,
    /// Write files into DIR, and create it if it is missing
    #[arg(short, long, value_name = "DIR", help_heading = WHERE)]
    pub(super) dir: Option<PathBuf>,
    /// With -o -, print nothing before all of it is verified
    #[arg(hide_short_help = true, long, value_parser = BoolishValueParser::new(), help_heading = WHERE)]
    pub(super) spool: bool,
    /// Run CMD for each verified file
    ///
    /// The file is the last argument. CMD is split into words, and no shell is used. A command that
    /// fails makes the exit code 1.
    #[arg(long, value_name = "CMD", help_heading = WHERE)]
    pub(super) exec: Option<String>,
    /// Run CMD once at the end
    ///
    /// The environment has the numbers of the summary: FTGET_DONE, FTGET_FAILED, FTGET_BYTES,
    /// FTGET_CODE and so on. CMD is split into words, and no shell is used. It runs after failures
    /// too. It does not run after SIGINT or SIGTERM, nor if ftget is stuck on a pipe when
    /// --max-time expires; in that case ftget is killed one second later.
    #[arg(hide_short_help = true, long, value_name = "CMD", conflicts_with_all = ["list", "dry_run", "check"], help_heading = WHERE)]
    pub(super) on_complete: Option<String>,
    /// Append a line of JSON to FILE for each verified file
    ///
    /// A receipt has the name, size, md5, local path, server and time. --check --receipts FILE
    /// verifies the files again. FILE is also a list for -i.
    #[arg(hide_short_help = true, long, value_name = "FILE", conflicts_with_all = ["list", "dry_run"], help_heading = WHERE)]
    pub(super) receipts: Option<PathBuf>,
    /// Choose what happens if the name is taken
    #[arg(long, value_enum, value_name = "WHAT", default_value = "update", help_heading = WHERE)]
    pub(super) if_exists: IfExistsArg,
    /// Choose which attributes are kept
    ///
    /// With --check these are compared besides the content. [default: mtime,mode; with --check:
    /// none]
    #[arg(hide_short_help = true, long, value_enum, value_name = "LIST", value_delimiter = ',', help_heading = WHERE)]
    pub(super) preserve: Option<Vec<PreserveArg>>,
    /// Choose when files are flushed to disk
    ///
    /// auto syncs many small files at once, always each by itself, never none.
    #[arg(hide_short_help = true, long, value_enum, value_name = "WHEN", default_value = "auto", help_heading = WHERE)]
    pub(super) sync: SyncArg,

    /// Print what is there instead of downloading it
    ///
    /// A line feed, a carriage return or a backslash in a name is written as \n, \r or \\, and a
    /// backslash stands before such a name, as md5sum does it. On a terminal other control
    /// characters are escaped too. A reader that ends early, such as head, is not an error.
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "short", help_heading = WHAT)]
    pub(super) list: Option<ListStyle>,
    /// Download a whole tree
    ///
    /// host:dir is the directory itself, host:dir/ its contents. With --list, directories below are
    /// listed too.
    #[arg(short, long, value_parser = BoolishValueParser::new(), help_heading = WHAT)]
    pub(super) recursive: bool,
    #[command(flatten, next_help_heading = WHAT)]
    pub(super) rules: FilterArgs,
    /// Delete local files that the server no longer has
    ///
    /// Nothing is deleted if any download failed or before the listing is complete. Directories
    /// that could not be listed completely are left alone, and the server is asked again about
    /// every file before it is deleted. Excluded files stay.
    #[arg(long, value_parser = BoolishValueParser::new(), conflicts_with_all = ["list", "input_file", "output", "check"], help_heading = WHAT)]
    pub(super) delete: bool,
    /// Stop after N deletions, and exit with 25
    ///
    /// Nothing is deleted for a source that is empty; "all" sets no limit and deletes in that case
    /// too.
    #[arg(long, value_name = "N|all", value_parser = parse_max_delete, help_heading = WHAT)]
    pub(super) max_delete: Option<MaxDelete>,
    /// Print what would be done, and do nothing
    #[arg(short = 'n', long, value_parser = BoolishValueParser::new(), conflicts_with_all = ["list", "exec", "spool"], help_heading = WHAT)]
    pub(super) dry_run: bool,
    /// Transfer nothing if something would fail
    ///
    /// Checks everything first, as -n does: space (exit code 9), names that collide or cannot exist
    /// here, directories that cannot be written, more deletions than --max-delete.
    #[arg(hide_short_help = true, long, value_parser = BoolishValueParser::new(), conflicts_with_all = ["list", "dry_run", "check"], help_heading = WHAT)]
    pub(super) preflight: bool,
    /// Compare with the server, and transfer nothing
    ///
    /// Names what is missing, what differs, and with -r what is only here (unless sources share a
    /// directory, or a source is a pattern). The exit code is 1 if something differs. With
    /// --receipts and without SOURCE, verifies the files of the receipts.
    #[arg(long, value_parser = BoolishValueParser::new(), conflicts_with_all = ["list", "dry_run", "exec", "spool"], help_heading = WHAT)]
    pub(super) check: bool,
    /// Download what a list names (- is standard input)
    ///
    /// The names are below the directory that SOURCE is. The first line decides the format: names,
    /// one a line, as --list and find print them; JSON Lines of --list=json; or md5 lines of
    /// md5sum, BSD, OpenSSL or NAME MD5. Each md5 must match. In a list of md5 lines, lines that begin
    /// with # or ; are comments. A signature around the list is not verified.
    ///
    /// A directory in a list of names is created empty, unless the list also names files in it. A
    /// name that occurs twice is downloaded once.
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["output", "list", "md5", "spool"], help_heading = WHAT)]
    pub(super) input_file: Option<OsString>,
    /// Read NUL-terminated lines with -i
    ///
    /// For find -print0 and md5sum -z.
    #[arg(hide_short_help = true, short = '0', long, value_parser = BoolishValueParser::new(), help_heading = WHAT)]
    pub(super) null: bool,
    /// Accept only content with this md5
    #[arg(hide_short_help = true, long, value_name = "HEX", value_parser = parse_md5, help_heading = WHAT)]
    pub(super) md5: Option<Md5Digest>,
    /// Choose whether symbolic links of a tree are created
    #[arg(hide_short_help = true, long, value_enum, value_name = "WHAT", default_value = "keep", help_heading = WHAT)]
    pub(super) links: LinksArg,
    /// Start over instead of continuing a partial file
    #[arg(hide_short_help = true, long, value_parser = BoolishValueParser::new(), help_heading = WHAT)]
    pub(super) no_resume: bool,
    /// Continue partial files (the default)
    #[arg(
        short = 'c',
        long = "continue",
        alias = "resume",
        hide = true,
        conflicts_with = "no_resume"
    )]
    pub(super) resume: bool,

    /// Keep digests in FILE, in memory, or not at all (off)
    ///
    /// The digest of a file is its md5. A file with a known digest is not read again to be compared.
    /// "memory" keeps digests until ftget ends. [default: ftserve/index.sqlite3
    /// in the user's cache directory, shared with ftserve]
    #[arg(hide_short_help = true, long, value_name = "FILE", value_parser = not_empty(), help_heading = WHERE)]
    pub(super) index: Option<OsString>,

    /// Open at most N connections to a server
    ///
    /// There are never more than 16 to all servers together. [default: chosen by ftget, 1 to 4]
    #[arg(short, long, value_name = "N", value_parser = at_least_one, help_heading = TIME)]
    pub(super) jobs: Option<usize>,
    /// Download one large file over N connections
    ///
    /// At most 16, and at most --jobs. It helps where one connection does not fill the link.
    #[arg(hide_short_help = true, long, value_name = "N", default_value = "1", value_parser = at_least_one, help_heading = TIME)]
    pub(super) split: usize,
    /// Limit the time to connect
    #[arg(hide_short_help = true, long, value_name = "S", default_value = "10", value_parser = parse_limit, help_heading = TIME)]
    pub(super) connect_timeout: Duration,
    /// Limit the time without progress
    #[arg(hide_short_help = true, long, value_name = "S", default_value = "120", value_parser = parse_limit, help_heading = TIME)]
    pub(super) timeout: Duration,
    /// Limit the time of the whole run
    ///
    /// Running commands of --exec are ended. The command of --on-complete then has the same time
    /// once more. If ftget is stuck on a pipe or a list one second later, it is killed, and the
    /// exit code is 14.
    #[arg(long, value_name = "S", value_parser = parse_limit, help_heading = TIME)]
    pub(super) max_time: Option<Duration>,
    /// Limit the download rate per second
    #[arg(long, alias = "bwlimit", value_name = "RATE", value_parser = parse_rate, help_heading = TIME)]
    pub(super) limit_rate: Option<u64>,
    /// Retry N times after a failure that may pass [default: 3]
    ///
    /// A download that was cut off, or that the server refused for now, is retried. Progress resets
    /// the count. A connection that fails is retried only if this option is given.
    #[arg(long, value_name = "N", help_heading = TIME)]
    pub(super) retry: Option<u32>,
    /// Wait before the first retry
    ///
    /// The pause doubles with each retry, up to 16 times the first.
    #[arg(hide_short_help = true, long, value_name = "S", default_value = "1", value_parser = parse_duration, help_heading = TIME)]
    pub(super) retry_delay: Duration,
    /// Stop retrying after this time
    #[arg(hide_short_help = true, long, value_name = "S", value_parser = parse_duration, help_heading = TIME)]
    pub(super) retry_max_time: Option<Duration>,
    /// Use IPv4 only
    #[arg(hide_short_help = true, short = '4', long, value_parser = BoolishValueParser::new(), conflicts_with = "ipv6", help_heading = TIME)]
    pub(super) ipv4: bool,
    /// Use IPv6 only
    #[arg(hide_short_help = true, short = '6', long, value_parser = BoolishValueParser::new(), help_heading = TIME)]
    pub(super) ipv6: bool,

    /// Print one JSON object per event to standard output
    ///
    /// With -o - they go to standard error.
    #[arg(long, value_parser = BoolishValueParser::new(), help_heading = SHOW)]
    pub(super) json: bool,
    /// Choose how progress is shown on standard error
    #[arg(hide_short_help = true, long, value_enum, value_name = "HOW", default_value = "auto", help_heading = SHOW)]
    pub(super) progress: ProgressStyle,
    /// Choose when output is coloured
    #[arg(hide_short_help = true, long, value_enum, value_name = "WHEN", default_value = "auto", help_heading = SHOW)]
    pub(super) color: ColorChoice,
    /// Print errors only
    ///
    /// --list and --check still print their results, and -n prints what would change.
    #[arg(short, long, value_parser = BoolishValueParser::new(), conflicts_with = "verbose", help_heading = SHOW)]
    pub(super) quiet: bool,
    /// Print a line for each change and each retry
    ///
    /// Twice: also for each file that is already there.
    #[arg(short, long, action = ArgAction::Count, value_parser = parse_verbosity, help_heading = SHOW)]
    pub(super) verbose: u8,

    /// Print the manual page, for man -l -
    #[arg(hide_short_help = true, long, exclusive = true, help_heading = SHOW)]
    pub(super) man: bool,
    /// Print completions for a shell
    #[arg(hide_short_help = true, long, value_enum, value_name = "SHELL", exclusive = true, help_heading = SHOW)]
    pub(super) completions: Option<Shell>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum IfExistsArg {
    /// Keep a file of the same md5, and replace any other atomically
    Update,
    /// Keep the local file
    Skip,
    /// Replace it without a comparison
    Overwrite,
    /// Name the new file NAME.1, NAME.2, ...
    Rename,
    /// Fail
    Error,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum LinksArg {
    Keep,
    Skip,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum SyncArg {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum PreserveArg {
    Mtime,
    Mode,
    None,
}

/// The values of `--progress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ProgressStyle {
    /// A bar on a terminal, else nothing
    Auto,
    /// A bar
    Bar,
    /// A line every second
    Plain,
    /// Nothing
    None,
}

/// The values of `--list`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ListStyle {
    /// One name a line
    Short,
    /// Mode, size, time in UTC and name
    Long,
    /// One JSON object a line, as in the protocol
    Json,
    /// Lines for md5sum --check
    Md5sum,
}

/// The value of `--max-delete`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MaxDelete {
    Number(u64),
    /// No limit, and an empty source deletes too.
    All,
}

fn parse_max_delete(text: &str) -> Result<MaxDelete, String> {
    if text == "all" {
        return Ok(MaxDelete::All);
    }
    let number = text.parse().map(MaxDelete::Number);
    number.map_err(|_| "not a whole number, nor \"all\"".to_owned())
}

/// Reads the count of `-v`; a variable may also hold yes or no.
fn parse_verbosity(text: &str) -> Result<u8, String> {
    match text.to_ascii_lowercase().as_str() {
        "n" | "no" | "f" | "false" | "off" => Ok(0),
        "y" | "yes" | "t" | "true" | "on" => Ok(1),
        number => number
            .parse()
            .map_err(|_| "not a number, nor yes or no".to_owned()),
    }
}

fn parse_md5(text: &str) -> Result<Md5Digest, String> {
    Md5Digest::parse(&text.to_ascii_lowercase()).ok_or_else(|| "an md5 is 32 hex digits".to_owned())
}

const WHERE: &str = "Destination";
const WHAT: &str = "Selection";
const TIME: &str = "Network and time";
const SHOW: &str = "Output";

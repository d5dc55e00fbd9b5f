//! What was typed: the options of `ftget`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Parser, ValueEnum};
use clap_complete::Shell;

use super::filter::TypedRules;
use super::help;
use crate::cli::terminal::ColorChoice;
use crate::cli::values::{at_least_one, not_empty, parse_limit};
use crate::cli::{parse_duration, parse_rate};
use crate::wire::Md5Digest;

/// Download files from an ftserve server; a file appears under its name only when verified.
#[derive(Parser, Debug)]
#[command(name = "ftget", version, max_term_width = 100, after_help = help::ENDING, after_long_help = help::long_ending())]
pub(super) struct Typed {
    // Not a doc comment: rustdoc would take the brackets for links.
    #[arg(
        required_unless_present_all = ["check", "receipts"],
        value_name = "SOURCE",
        help = "HOST:PATH, HOST:PORT/PATH, [V6]:PORT/PATH, ft://HOST[:PORT]/PATH or unix:/SOCKET:PATH; \
                @NAME as PATH runs the command that the server publishes as NAME"
    )]
    pub(super) sources: Vec<OsString>,

    /// Name of the one file, or - for standard output
    ///
    /// What leads to an open descriptor (/dev/stdout, /dev/fd/3), a device or a FIFO, be it by a
    /// link, is written to as it is. Anything else is replaced in one step, a link to a file too.
    #[arg(short, long, value_name = "FILE", help_heading = WHERE, conflicts_with = "dir")]
    pub(super) output: Option<OsString>,
    /// Folder for the files; it is made if it is missing
    #[arg(short, long, value_name = "DIR", help_heading = WHERE)]
    pub(super) dir: Option<PathBuf>,
    /// With -o -: let nothing out before all of it is verified
    #[arg(long, value_parser = BoolishValueParser::new(), help_heading = WHERE)]
    pub(super) spool: bool,
    /// Run this command on each verified file: words, without a shell; the file comes last
    #[arg(long, value_name = "CMD", help_heading = WHERE)]
    pub(super) exec: Option<String>,
    /// Run this command when everything is over, whatever became of it, but not after a signal:
    /// words, without a shell; the numbers of the summary are in its environment, FTGET_DONE, FTGET_FAILED,
    /// FTGET_BYTES, FTGET_CODE and so on
    #[arg(long, value_name = "CMD", conflicts_with_all = ["list", "dry_run", "check"], help_heading = WHERE)]
    pub(super) on_complete: Option<String>,
    /// Append a line of JSON for each verified file: what it is, where it is, and its md5
    #[arg(long, value_name = "FILE", conflicts_with_all = ["list", "dry_run"], help_heading = WHERE)]
    pub(super) receipts: Option<PathBuf>,
    /// What to do if the name is taken
    #[arg(long, value_enum, value_name = "WHAT", default_value = "update", help_heading = WHERE)]
    pub(super) if_exists: TypedIfExists,
    /// Attributes that files keep, or with --check those that are compared besides content
    /// [default: mtime,mode; with --check: none]
    #[arg(long, value_enum, value_name = "LIST", value_delimiter = ',', help_heading = WHERE)]
    pub(super) preserve: Option<Vec<Preserved>>,
    /// Whether files are on disk when ftget says so: auto (many small ones synced at once),
    /// always (each by itself), never
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto", help_heading = WHERE)]
    pub(super) sync: TypedSync,

    /// Show what is there instead of fetching it: names, or with mode, size and time (long), a
    /// JSON object a line (json), or as md5sum does (md5sum)
    ///
    /// Names are exact. Only where one holds a line feed, a carriage return or a backslash, these are
    /// written as \n, \r and \\, with a backslash before the name, as md5sum does it (on a terminal without
    /// that one, and all else that could act on it or hide is escaped, too). A reader that ends early, such as
    /// head or a pager, is no failure.
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "short", help_heading = WHAT)]
    pub(super) list: Option<ListStyle>,
    /// A whole tree: host:dir is the folder itself, host:dir/ what is in it. With --list: what is
    /// in the folders below, too
    #[arg(short, long, value_parser = BoolishValueParser::new(), help_heading = WHAT)]
    pub(super) recursive: bool,
    #[command(flatten, next_help_heading = WHAT)]
    pub(super) rules: TypedRules,
    /// Delete what is here and not in the folder that is fetched, after everything is fetched:
    /// nothing if a file could not be. Only where all was listed, and only what the server says
    /// it does not have, or has as something of another kind; what is excluded stays. Nothing for a source that is a
    /// file
    #[arg(long, value_parser = BoolishValueParser::new(), conflicts_with_all = ["list", "input_file", "output", "check"], help_heading = WHAT)]
    pub(super) delete: bool,
    /// With --delete: stop after so many files, links and folders, and end with 25; "all" sets no
    /// limit, and lets everything go for a source that has become empty, for which else nothing does
    #[arg(long, value_name = "N|all", value_parser = parse_max_delete, help_heading = WHAT)]
    pub(super) max_delete: Option<MaxDelete>,
    /// Say what would be done, and do nothing
    #[arg(short = 'n', long, value_parser = BoolishValueParser::new(), conflicts_with_all = ["list", "exec", "spool"], help_heading = WHAT)]
    pub(super) dry_run: bool,
    /// Look at everything first, as -n does, and transfer nothing if something would fail: too
    /// little space (exit code 9), names that collide or cannot be here, folders that cannot be
    /// written, more to delete than --max-delete
    #[arg(long, value_parser = BoolishValueParser::new(), conflicts_with_all = ["list", "dry_run", "check"], help_heading = WHAT)]
    pub(super) preflight: bool,
    /// Compare only, and transfer nothing: say what is missing, different, or with -r only here
    /// (unless sources share a folder, or a pattern chooses).
    /// Exit code 0, or 1 if something differs. With --receipts and without SOURCE: whether the
    /// files here are still those of the receipts
    #[arg(long, value_parser = BoolishValueParser::new(), conflicts_with_all = ["list", "dry_run", "exec", "spool"], help_heading = WHAT)]
    pub(super) check: bool,
    /// Fetch what a list names, below the folder that SOURCE is: a name a line as --list or
    /// find writes it, JSON Lines as --list=json does, or md5s in any form of md5sum, BSD, OpenSSL
    /// or NAME MD5, which must match (comments begin with # or ;, a signature around it is not verified);
    /// the first line tells which, and ./ before a name says that it is one; - is standard input. Folders that it names are made, and what is in them comes if it
    /// is named, too; what is named twice comes once
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["output", "list", "md5", "spool"], help_heading = WHAT)]
    pub(super) input_file: Option<OsString>,
    /// With -i: what is listed are names that end with a NUL, as find -print0 writes them, or
    /// lines of md5sum -z
    #[arg(short = '0', long, value_parser = BoolishValueParser::new(), help_heading = WHAT)]
    pub(super) null: bool,
    /// This md5 and no other
    #[arg(long, value_name = "HEX", value_parser = parse_md5, help_heading = WHAT)]
    pub(super) md5: Option<Md5Digest>,
    /// What to do with symbolic links of a tree: make them here (keep), or pass them over (skip)
    #[arg(long, value_enum, value_name = "WHAT", default_value = "keep", help_heading = WHAT)]
    pub(super) links: TypedLinks,
    /// Begin anew instead of continuing a partial file
    #[arg(long, value_parser = BoolishValueParser::new(), help_heading = WHAT)]
    pub(super) no_resume: bool,
    /// Continue partial files (the default)
    #[arg(
        short = 'c',
        long = "continue",
        hide = true,
        conflicts_with = "no_resume"
    )]
    pub(super) resume: bool,

    /// File that remembers digests, so that a file that is there need not be read again to be
    /// compared; or memory, or off [default: ftserve/index.sqlite3 in the user's cache folder,
    /// which ftserve uses, too]
    #[arg(long, value_name = "FILE", value_parser = not_empty(), help_heading = WHERE)]
    pub(super) index: Option<OsString>,

    /// Connections to one server at once, --split included; there are never more than 16, to all
    /// servers together [default: as many as are of use, at most 4]
    #[arg(short, long, value_name = "N", value_parser = at_least_one, help_heading = TIME)]
    pub(super) jobs: Option<usize>,
    /// Connections for one large file at once, at most 16 and at most --jobs, where one does not
    /// fill the link
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_one, help_heading = TIME)]
    pub(super) split: usize,
    /// Longest time for a connection
    #[arg(long, value_name = "S", default_value = "10", value_parser = parse_limit, help_heading = TIME)]
    pub(super) connect_timeout: Duration,
    /// Longest time without progress
    #[arg(long, value_name = "S", default_value = "120", value_parser = parse_limit, help_heading = TIME)]
    pub(super) timeout: Duration,
    /// Longest time for everything: commands of --exec that still run are ended. That of
    /// --on-complete runs all the same, and has as much time once more. Whatever waits a second
    /// longer for somebody else (a list that nobody writes, an output that nobody reads) is ended
    /// as by a signal, with 14
    #[arg(long, value_name = "S", value_parser = parse_limit, help_heading = TIME)]
    pub(super) max_time: Option<Duration>,
    /// The most to receive per second: 10M is 10 MiB, 80mbit are bits
    #[arg(long, alias = "bwlimit", value_name = "RATE", value_parser = parse_rate, help_heading = TIME)]
    pub(super) limit_rate: Option<u64>,
    /// Attempts after one that was cut off or refused for now; progress begins the count anew.
    /// Given, it also waits for a server that cannot be reached [default: 3]
    #[arg(long, value_name = "N", help_heading = TIME)]
    pub(super) retry: Option<u32>,
    /// Pause before the first retry; it doubles with each, up to 16 times
    #[arg(long, value_name = "S", default_value = "1", value_parser = parse_duration, help_heading = TIME)]
    pub(super) retry_delay: Duration,
    /// No retry later than this
    #[arg(long, value_name = "S", value_parser = parse_duration, help_heading = TIME)]
    pub(super) retry_max_time: Option<Duration>,
    /// IPv4 only
    #[arg(short = '4', long, value_parser = BoolishValueParser::new(), conflicts_with = "ipv6", help_heading = TIME)]
    pub(super) ipv4: bool,
    /// IPv6 only
    #[arg(short = '6', long, value_parser = BoolishValueParser::new(), help_heading = TIME)]
    pub(super) ipv6: bool,

    /// One JSON object per event on standard output (with -o -: on standard error)
    #[arg(long, value_parser = BoolishValueParser::new(), help_heading = SHOW)]
    pub(super) json: bool,
    /// How to show progress on standard error; auto: a bar on a terminal
    #[arg(long, value_enum, value_name = "HOW", default_value = "auto", help_heading = SHOW)]
    pub(super) progress: ProgressStyle,
    /// Whether what is said is coloured; auto: on a terminal, unless NO_COLOR is set
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto", help_heading = SHOW)]
    pub(super) color: ColorChoice,
    /// Errors only, and no progress
    #[arg(short, long, value_parser = BoolishValueParser::new(), conflicts_with = "verbose", help_heading = SHOW)]
    pub(super) quiet: bool,
    /// A line for each file, and for each retry
    #[arg(short, long, value_parser = BoolishValueParser::new(), help_heading = SHOW)]
    pub(super) verbose: bool,

    /// Print the manual page, for man -l -
    #[arg(long, exclusive = true, help_heading = SHOW)]
    pub(super) man: bool,
    /// Print completions for a shell
    #[arg(long, value_enum, value_name = "SHELL", exclusive = true, help_heading = SHOW)]
    pub(super) completions: Option<Shell>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TypedIfExists {
    /// The same md5 is a success; anything else is replaced in one step
    Update,
    /// Leave it
    Skip,
    /// Replace it without a look
    Overwrite,
    /// Call the new file NAME.1, NAME.2, ...
    Rename,
    /// Fail
    Error,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum TypedLinks {
    Keep,
    Skip,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum TypedSync {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Preserved {
    Mtime,
    Mode,
    None,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ProgressStyle {
    /// A bar if standard error is a terminal
    Auto,
    /// A bar
    Bar,
    /// A line now and then
    Plain,
    /// Nothing
    None,
}

/// How a listing is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ListStyle {
    /// A name a line
    Short,
    /// Mode, size, time in UTC and name
    Long,
    /// A JSON object a line, as on the wire
    Json,
    /// What md5sum --check reads, in the folder
    Md5sum,
}

/// How much `--delete` may delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MaxDelete {
    Number(u64),
    /// Everything, even if the source is empty.
    All,
}

fn parse_max_delete(text: &str) -> Result<MaxDelete, String> {
    if text == "all" {
        return Ok(MaxDelete::All);
    }
    let number = text.parse().map(MaxDelete::Number);
    number.map_err(|_| "not a whole number, nor \"all\"".to_owned())
}

fn parse_md5(text: &str) -> Result<Md5Digest, String> {
    Md5Digest::parse(&text.to_ascii_lowercase()).ok_or_else(|| "an md5 is 32 hex digits".to_owned())
}

const WHERE: &str = "Where files go";
const WHAT: &str = "What is fetched";
const TIME: &str = "Network and time";
const SHOW: &str = "What is shown";

//! The options of `ftserve`, and the settings that they make.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Parser, ValueEnum};
use clap_complete::Shell;

use crate::cli::digests::IndexChoice;
use crate::cli::serve::hashing::HashAhead;
use crate::cli::serve::help;
use crate::cli::serve::log::{LogDestination, LogFormat};
use crate::cli::values::{Hidden, at_least_one, not_empty, parse_limit};
use crate::cli::{parse_duration, parse_rate, parse_size};
use crate::net::{Address, AddressError, DEFAULT_PORT};
use crate::server::{Listen, ServerConfig, TransferLimits};
use crate::store::DirectoryOptions;

/// Serve the files of a directory to ftget and other clients.
#[derive(Parser, Debug)]
#[command(
    name = "ftserve",
    version,
    max_term_width = 100,
    after_help = help::ENDING,
    after_long_help = help::long_ending()
)]
pub(super) struct ServeArgs {
    /// Serve this directory or file, read-only
    #[arg(value_name = "PATH", default_value = ".")]
    pub(super) path: PathBuf,

    /// Serve while COMMAND runs, and exit with its code
    ///
    /// The address is in its environment: FTSERVE_ADDR.
    #[arg(last = true, value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,

    // Not a doc comment: rustdoc would take the brackets for links.
    #[arg(
        help = "Listen on ADDR, ADDR:PORT, [V6]:PORT or unix:PATH",
        long_help = "Listen on ADDR, ADDR:PORT, [V6]:PORT or unix:PATH\n\nRepeatable. [default: all addresses]",
        short,
        long,
        value_name = "ADDR",
        value_delimiter = ',',
        help_heading = "Listening"
    )]
    bind: Vec<String>,

    /// Listen on this port (0: any free one)
    #[arg(short, long, value_name = "N", default_value_t = DEFAULT_PORT, help_heading = "Listening")]
    port: u16,

    /// Queue N connections in the kernel until accepted
    #[arg(
        hide_short_help = true,
        long,
        value_name = "N",
        default_value_t = 1024,
        help_heading = "Listening"
    )]
    backlog: u32,

    /// Choose whether dotfiles are served
    ///
    /// Partial files (.ft-*) are never served.
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = Hidden::Hide, help_heading = "Files")]
    hidden: Hidden,

    /// Choose whether symbolic links are followed
    ///
    /// Links that lead outside are never followed.
    #[arg(hide_short_help = true, long, value_enum, value_name = "WHICH", default_value_t = Links::Inside, help_heading = "Files")]
    follow_symlinks: Links,

    /// Keep digests in FILE, in memory, or not at all (off)
    ///
    /// The digest of a file is its md5. A file with a known digest is not read again before it is
    /// served. "memory" keeps digests until the server stops. [default: ftserve/index.sqlite3 in the user's cache directory]
    #[arg(long, value_name = "FILE", value_parser = not_empty(), help_heading = "Files")]
    index: Option<OsString>,

    /// Hash each file when it is requested, none while idle
    #[arg(hide_short_help = true, long, value_parser = BoolishValueParser::new(), help_heading = "Files")]
    no_prehash: bool,

    /// Hash files again as soon as they change
    #[arg(long, value_parser = BoolishValueParser::new(), help_heading = "Files")]
    watch: bool,

    /// Serve the output of CMD to requests for @NAME
    ///
    /// CMD is split into words, and no shell is used. Repeatable.
    #[arg(long, value_name = "NAME=CMD", help_heading = "Commands")]
    publish: Vec<String>,

    /// Limit the time that a published command may run
    #[arg(hide_short_help = true, long, value_name = "TIME", default_value = "60s", value_parser = parse_limit, help_heading = "Commands")]
    publish_timeout: Duration,

    /// Serve the error output of published commands too
    ///
    /// It comes after the output. Without this option it goes to standard error.
    #[arg(hide_short_help = true, long, value_parser = BoolishValueParser::new(), help_heading = "Commands")]
    publish_stderr: bool,

    /// Serve with N threads
    ///
    /// [default: 4 for each core, at least 8]
    #[arg(hide_short_help = true, long, value_name = "N", value_parser = worker_count, help_heading = "Limits")]
    workers: Option<usize>,

    /// Accept at most N connections
    #[arg(long, value_name = "N", default_value = "10000", value_parser = at_least_one, help_heading = "Limits")]
    max_connections: usize,

    /// Accept at most N connections from one address
    ///
    /// [default: a quarter of all]
    #[arg(hide_short_help = true, long, value_name = "N", value_parser = at_least_one, help_heading = "Limits")]
    max_per_address: Option<usize>,

    /// Limit the time to send a request
    #[arg(hide_short_help = true, long, value_name = "TIME", default_value = "10s", value_parser = parse_limit, help_heading = "Limits")]
    header_timeout: Duration,

    /// Close connections that are idle this long
    ///
    /// Idle is a client between requests, or one that reads nothing of its response.
    #[arg(hide_short_help = true, long, value_name = "TIME", default_value = "300s", value_parser = parse_limit, help_heading = "Limits")]
    idle_timeout: Duration,

    /// Close clients that read slower than this (0: never)
    #[arg(hide_short_help = true, long, value_name = "RATE", default_value = "1K", value_parser = parse_size, help_heading = "Limits")]
    min_rate: u64,

    /// Limit the rate of all transfers together
    #[arg(long, value_name = "RATE", value_parser = parse_rate, help_heading = "Limits")]
    limit_rate: Option<u64>,

    /// Limit the rate of each connection
    #[arg(hide_short_help = true, long, value_name = "RATE", value_parser = parse_rate, help_heading = "Limits")]
    limit_rate_per_connection: Option<u64>,

    /// Let transfers finish for this long at the end
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration, help_heading = "Limits")]
    drain_timeout: Duration,

    /// Write a line for each request to FILE (- is stdout)
    ///
    /// SIGHUP opens FILE again.
    #[arg(long, value_name = "FILE|-", help_heading = "Output")]
    access_log: Option<PathBuf>,

    /// Choose the format of these lines
    #[arg(hide_short_help = true, long, value_enum, value_name = "HOW", default_value_t = LogFormat::Text, help_heading = "Output")]
    log_format: LogFormat,

    /// Read options from a TOML file
    ///
    /// Its keys are the names of the options. SIGHUP reloads it.
    #[arg(short, long, value_name = "FILE", help_heading = "Settings")]
    pub(super) config: Option<PathBuf>,

    /// Check the options and what they name, and exit
    #[arg(hide_short_help = true, long, help_heading = "Settings")]
    pub(super) check_config: bool,

    /// Print the manual page, for man -l -
    #[arg(
        hide_short_help = true,
        long,
        exclusive = true,
        help_heading = "Settings"
    )]
    pub(super) man: bool,

    /// Print completions for a shell
    #[arg(
        hide_short_help = true,
        long,
        value_enum,
        value_name = "SHELL",
        exclusive = true,
        help_heading = "Settings"
    )]
    pub(super) completions: Option<Shell>,

    /// Print errors only
    #[arg(short, long, value_parser = BoolishValueParser::new(), conflicts_with = "verbose", help_heading = "Output")]
    quiet: bool,

    /// Print a line for each request
    ///
    /// They go to standard error, or where --access-log says.
    #[arg(short, long, value_parser = BoolishValueParser::new(), help_heading = "Output")]
    pub(super) verbose: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Links {
    /// Follow them inside the directory
    Inside,
    /// Do not serve them
    Never,
}

/// The settings of a server.
pub(super) struct Setup {
    pub(super) root: PathBuf,
    pub(super) directory: DirectoryOptions,
    pub(super) index: IndexChoice,
    pub(super) hash_ahead: HashAhead,
    pub(super) server: ServerConfig,
    pub(super) limits: TransferLimits,
    pub(super) publish: Vec<String>,
    pub(super) publish_timeout: Duration,
    pub(super) publish_stderr: bool,
    pub(super) drain_timeout: Duration,
    pub(super) command: Option<Vec<OsString>>,
    pub(super) log: Option<LogDestination>,
    pub(super) log_format: LogFormat,
    pub(super) quiet: bool,
    /// More lines for the start.
    pub(super) notes: Vec<String>,
}

impl Setup {
    pub(super) fn from_args(args: ServeArgs) -> Result<Setup, AddressError> {
        let places = args
            .bind
            .iter()
            .map(|text| Address::parse_bind(text, args.port).map(Listen::At));
        let mut listen = places.collect::<Result<Vec<Listen>, AddressError>>()?;
        if listen.is_empty() {
            listen.push(Listen::Everywhere { port: args.port });
        }
        let defaults = ServerConfig::default();
        Ok(Setup {
            root: args.path,
            directory: DirectoryOptions {
                show_hidden: args.hidden == Hidden::Show,
                follow_links_inside: args.follow_symlinks == Links::Inside,
            },
            index: IndexChoice::from_arg(args.index),
            hash_ahead: match (args.watch, args.no_prehash) {
                (true, _) => HashAhead::Always,
                (false, false) => HashAhead::Once,
                (false, true) => HashAhead::Nothing,
            },
            server: ServerConfig {
                listen,
                backlog: args.backlog,
                workers: args.workers.unwrap_or(defaults.workers),
                connections_max: args.max_connections,
                connections_per_address_max: args.max_per_address,
                ..defaults
            },
            limits: TransferLimits {
                header_timeout: args.header_timeout,
                idle_timeout: args.idle_timeout,
                min_rate: args.min_rate,
                rate: args.limit_rate,
                rate_per_connection: args.limit_rate_per_connection,
                ..TransferLimits::default()
            },
            publish: args.publish,
            publish_timeout: args.publish_timeout,
            publish_stderr: args.publish_stderr,
            drain_timeout: args.drain_timeout,
            command: (!args.command.is_empty()).then_some(args.command),
            log: match args.access_log {
                Some(path) if path.as_os_str() == "-" => Some(LogDestination::StandardOutput),
                Some(path) => Some(LogDestination::File(path)),
                None => args.verbose.then_some(LogDestination::StandardError),
            },
            log_format: args.log_format,
            quiet: args.quiet,
            notes: Vec::new(),
        })
    }
}

fn worker_count(text: &str) -> Result<usize, String> {
    match at_least_one(text)? {
        count if count > WORKERS_MAX => Err(format!("the limit is {WORKERS_MAX}")),
        count => Ok(count),
    }
}

/// More than any machine has cores for, and fewer than the threads that it can have.
const WORKERS_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(words: &[&str]) -> Setup {
        let args = ServeArgs::try_parse_from([&["ftserve"], words].concat()).unwrap();
        Setup::from_args(args).unwrap()
    }

    #[test]
    fn clap_accepts_the_options() {
        use clap::CommandFactory;
        ServeArgs::command().debug_assert();
    }

    #[test]
    fn serves_the_current_directory_everywhere_by_default() {
        let setup = setup(&[]);
        assert_eq!(setup.root, PathBuf::from("."));
        assert_eq!(
            setup.server.listen,
            [Listen::Everywhere { port: DEFAULT_PORT }]
        );
        assert!(setup.command.is_none() && !setup.directory.show_hidden);
    }

    #[test]
    fn the_port_is_for_addresses_without_one() {
        let setup = setup(&["-p", "7", "-b", "127.0.0.1", "-b", "127.0.0.2:8"]);
        let at = |host: &str, port| {
            Listen::At(Address::Tcp {
                host: host.into(),
                port,
            })
        };
        assert_eq!(
            setup.server.listen,
            [at("127.0.0.1", 7), at("127.0.0.2", 8)]
        );
    }

    #[test]
    fn words_after_two_dashes_are_the_command() {
        let setup = setup(&["photos", "--", "sh", "-c", "exit 3"]);
        assert_eq!(setup.root, PathBuf::from("photos"));
        assert_eq!(
            setup.command.unwrap(),
            ["sh", "-c", "exit 3"].map(OsString::from)
        );
    }

    #[test]
    fn limits_take_fractions() {
        let setup = setup(&[
            "--header-timeout",
            "0.2",
            "--idle-timeout",
            "200ms",
            "--min-rate",
            "2K",
        ]);
        assert_eq!(setup.limits.header_timeout, Duration::from_millis(200));
        assert_eq!(setup.limits.idle_timeout, Duration::from_millis(200));
        assert_eq!(setup.limits.min_rate, 2048);
    }

    #[test]
    fn workers_have_a_limit() {
        let workers = |count: usize| {
            let count = count.to_string();
            ServeArgs::try_parse_from(["ftserve", "--workers", &count]).map(|args| args.workers)
        };
        assert_eq!(workers(WORKERS_MAX - 1).unwrap(), Some(WORKERS_MAX - 1));
        assert_eq!(workers(WORKERS_MAX).unwrap(), Some(WORKERS_MAX));
        assert!(workers(WORKERS_MAX + 1).is_err());
        assert!(workers(0).is_err());
    }
}

//! `--include`, `--exclude` and `--exclude-from`: one list of rules, in the order of the command
//! line.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::{Filter, Pattern};
use crate::cli::blocking::{self, BlockingStream};
use crate::cli::get::input::UNWRITTEN;
use crate::cli::get::usage_error::UsageError;
use crate::cli::streams::descriptor;
use crate::cli::terminal::shown;

/// The options in their order.
#[derive(Debug, Default)]
pub(in crate::cli::get) struct FilterArgs {
    rules: Vec<(RuleKind, OsString)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RuleKind {
    Include,
    Exclude,
    ExcludeFrom,
}

impl FilterArgs {
    /// Drops the rules of inapplicable options.
    pub(in crate::cli::get) fn drop_inapplicable(
        &mut self,
        is_inapplicable: impl Fn(&'static str) -> bool,
    ) {
        self.rules.retain(|(kind, _)| !is_inapplicable(kind.id()));
    }

    /// Parses the patterns, and reads the files of patterns.
    ///
    /// # Errors
    /// A pattern is malformed, or a file cannot be read.
    pub(in crate::cli::get) fn read(&self) -> Result<Filter, UsageError> {
        let mut filter = Filter::default();
        for (kind, word) in &self.rules {
            if *kind == RuleKind::ExcludeFrom {
                exclude_from(word, &mut filter)?;
                continue;
            }
            let pattern = Pattern::parse(word.as_bytes()).map_err(|error| {
                let (id, word) = (kind.id(), shown(word));
                UsageError::Invalid(format!("--{id} {word}: {error}"))
            })?;
            filter.push(*kind == RuleKind::Include, pattern);
        }
        Ok(filter)
    }
}

/// Reads one pattern per line; `#` begins a comment.
fn exclude_from(file: &OsStr, filter: &mut Filter) -> Result<(), UsageError> {
    let text = read_whole(file).map_err(|error| {
        UsageError::UnusableFile(format!("cannot read {}: {error}", shown(file)))
    })?;
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    for (number, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let pattern = Pattern::parse(line).map_err(|error| {
            UsageError::Invalid(format!("{}:{}: {error}", shown(file), number + 1))
        })?;
        filter.push(false, pattern);
    }
    Ok(())
}

fn read_whole(file: &OsStr) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let stream = match descriptor(Path::new(file)) {
        _ if file == "-" => blocking::copy_descriptor(0)?,
        Some(stream) => stream,
        None => blocking::run(UNWRITTEN, || File::open(file))?,
    };
    let reader = BlockingStream::new(stream, UNWRITTEN);
    reader.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        let sentence = format!("file is over {FILE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, sentence));
    }
    Ok(text)
}

impl RuleKind {
    const ALL: [RuleKind; 3] = [RuleKind::Include, RuleKind::Exclude, RuleKind::ExcludeFrom];

    fn id(self) -> &'static str {
        match self {
            RuleKind::Include => "include",
            RuleKind::Exclude => "exclude",
            RuleKind::ExcludeFrom => "exclude-from",
        }
    }

    fn arg(self) -> Arg {
        let (value, help, more) = match self {
            RuleKind::Include => (
                "GLOB",
                "Keep what matches GLOB",
                "The first of --include, --exclude and --exclude-from that matches decides. GLOB has *, ?, \
                 [a-z], and ** for any number of directories. A / at its start matches only at the top, and \
                 a / at its end only directories. Without --exclude everything else is left out.",
            ),
            RuleKind::Exclude => (
                "GLOB",
                "Leave out what matches GLOB",
                "The contents of a directory that matches are left out too.",
            ),
            RuleKind::ExcludeFrom => (
                "FILE",
                "Leave out what matches a pattern in FILE",
                "One pattern a line; # begins a comment.",
            ),
        };
        Arg::new(self.id())
            .long(self.id())
            .value_name(value)
            .help(help)
            .hide_short_help(self == RuleKind::ExcludeFrom)
            .long_help(format!("{help}\n\n{more}"))
            .action(ArgAction::Append)
            .value_parser(ValueParser::os_string())
    }
}

impl Args for FilterArgs {
    fn augment_args(command: Command) -> Command {
        command.args(RuleKind::ALL.map(RuleKind::arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        FilterArgs::augment_args(command)
    }
}

impl FromArgMatches for FilterArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<FilterArgs, clap::Error> {
        let mut rules = Vec::new();
        for kind in RuleKind::ALL {
            let places = matches.indices_of(kind.id()).into_iter().flatten();
            let words = matches
                .get_many::<OsString>(kind.id())
                .into_iter()
                .flatten();
            rules.extend(
                places
                    .zip(words)
                    .map(|(place, word)| (place, kind, word.clone())),
            );
        }
        rules.sort_by_key(|(place, ..)| *place);
        let rules = rules.into_iter().map(|(_, kind, word)| (kind, word));
        Ok(FilterArgs {
            rules: rules.collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = FilterArgs::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The longest file of patterns, in bytes: each pattern is compared with each entry.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> FilterArgs {
        let command = FilterArgs::augment_args(Command::new("x").no_binary_name(true));
        FilterArgs::from_arg_matches(&command.get_matches_from(arguments)).unwrap()
    }

    #[test]
    fn rules_keep_the_order_in_which_they_were_typed() {
        let rules = parse(&[
            "--exclude",
            "a",
            "--include=b",
            "--exclude-from",
            "c",
            "--exclude=d",
            "--include",
            "e",
        ]);
        let kinds: Vec<_> = rules
            .rules
            .iter()
            .map(|(kind, word)| (kind.id(), word.to_str().unwrap()))
            .collect();
        assert_eq!(
            kinds,
            [
                ("exclude", "a"),
                ("include", "b"),
                ("exclude-from", "c"),
                ("exclude", "d"),
                ("include", "e")
            ]
        );
        assert!(parse(&[]).read().is_ok_and(|filter| filter.is_empty()));
    }

    #[test]
    fn a_file_of_patterns_keeps_its_place_in_the_order() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("patterns");
        std::fs::write(&file, "\u{feff}# comment\r\n\r\n*.tmp\r\n/b").unwrap();
        let name = file.to_str().unwrap();
        let filter = parse(&["--include", "keep.tmp", "--exclude-from", name]).read();
        let filter = filter.unwrap_or_else(|_| panic!("refused"));
        let admitted = ["keep.tmp", "a.tmp", "b", "x/b", "# comment"]
            .map(|it| filter.admits(it.as_bytes(), false));
        assert_eq!(admitted, [true, false, false, true, true]);
    }

    #[test]
    fn errors_name_the_file_and_the_line() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("patterns");
        let name = file.to_str().unwrap();
        std::fs::write(&file, "a\n\n[b\n").unwrap();
        let refused = |arguments: &[&str]| match parse(arguments).read() {
            Err(UsageError::Invalid(sentence) | UsageError::UnusableFile(sentence)) => sentence,
            _ => panic!("{arguments:?} is taken"),
        };
        let sentence = refused(&["--exclude-from", name]);
        assert!(
            sentence.contains("patterns:3: pattern has [ without ]"),
            "{sentence}"
        );
        let sentence = refused(&["--include", "a//b"]);
        assert_eq!(sentence, "--include a//b: pattern has an empty part");
        std::fs::write(&file, vec![b'\n'; FILE_BYTES_MAX as usize + 1]).unwrap();
        assert!(refused(&["--exclude-from", name]).contains("over 1048576 bytes"));
        std::fs::write(&file, vec![b'\n'; FILE_BYTES_MAX as usize]).unwrap();
        assert!(parse(&["--exclude-from", name]).read().is_ok());
        assert!(refused(&["--exclude-from", "/nothing"]).contains("cannot read /nothing"));
    }
}

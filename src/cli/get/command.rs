//! From the arguments of `ftget` to the command that they mean.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use clap_complete::Shell;

use super::args::{GetArgs, LinksArg, ListStyle, ProgressStyle};
use super::destination::Destination;
use super::exec;
use super::filter::{Filter, Selection};
use super::help;
use super::listed;
use super::mirror;
use super::receipts::CheckOptions;
use super::source::is_url;
use super::target::{self, Target};
use super::usage_error::UsageError;
use super::watchdog;
use crate::cli::digests::IndexChoice;
use crate::cli::settings::{self, SettingSources, Settings};
use crate::cli::terminal::shown;
use crate::client::{ClientConfig, DeleteLimit, Folder};
use crate::net::Location;
use crate::wire::ResourcePath;

/// The task of `ftget`, as the options name it.
pub(super) enum GetCommand {
    Fetch(Transfer),
    /// Compare the targets with the servers.
    Compare {
        transfer: Transfer,
        /// Local entries that the server lacks count as differences.
        reports_extras: bool,
    },
    /// Print what a transfer would do.
    Preview(Transfer),
    List(ListOptions),
    /// Compare files with their receipts.
    Check(CheckOptions),
    Manual,
    Completions(Shell),
}

/// The options of `--list`.
pub(super) struct ListOptions {
    /// Each directory to list, and its pattern.
    pub(super) directories: Vec<(Folder, Selection)>,
    pub(super) filter: Filter,
    pub(super) style: ListStyle,
    pub(super) config: ClientConfig,
    pub(super) quiet: bool,
    pub(super) verbose: bool,
}

/// A download, comparison or preview.
pub(super) struct Transfer {
    pub(super) destination: Destination,
    /// The targets once more, to check before the transfer.
    pub(super) preflight: Option<Vec<Target>>,
    /// How much `--delete` may delete; `None` without the option.
    pub(super) deletion: Option<DeleteLimit>,
    pub(super) config: ClientConfig,
    pub(super) style: OutputStyle,
}

/// How progress and results are reported, and the commands that run on them.
pub(super) struct OutputStyle {
    pub(super) json: bool,
    pub(super) progress: ProgressStyle,
    /// The words of the command that runs on each file.
    pub(super) exec: Option<Vec<String>>,
    /// The words of the command that runs at the end.
    pub(super) on_complete: Option<Vec<String>>,
    /// How long the command at the end may run.
    pub(super) complete_time_max: Option<Duration>,
    /// The file that gets a line for each verified file.
    pub(super) receipts: Option<PathBuf>,
    /// Files that this program itself writes. A mirror never deletes them.
    pub(super) own_files: Vec<PathBuf>,
    pub(super) is_coloured: bool,
    pub(super) quiet: bool,
    pub(super) verbose: bool,
    /// Report files that are already there too.
    pub(super) names_unchanged: bool,
    /// The user chose to skip symbolic links.
    pub(super) skips_links: bool,
    /// The targets could be mirrors, so a hint may suggest --delete.
    pub(super) may_delete: bool,
}

impl GetCommand {
    /// Reads the arguments, the program's name first, and the environment.
    pub(super) fn parse(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<GetCommand, UsageError> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let Settings {
            mut args,
            sources: settings,
            ..
        } = settings::read::<GetArgs>(&arguments, help::MANUAL.prefix, None)?;
        args.drop_inapplicable(&settings);
        if let Some(time_max) = args.max_time {
            watchdog::start(time_max);
        }
        args.interpret(&settings)
    }
}

impl GetArgs {
    /// Checks the options and turns them into a command.
    fn interpret(self, settings: &SettingSources) -> Result<GetCommand, UsageError> {
        if self.man {
            return Ok(GetCommand::Manual);
        }
        if let Some(shell) = self.completions {
            return Ok(GetCommand::Completions(shell));
        }
        if let Some(directory) = self.misplaced_directory() {
            return Err(UsageError::InvalidWithHint(
                format!("{} is not a source", shown(directory)),
                format!("-d {} downloads into it", shown(directory)),
            ));
        }
        if let Some(style) = self.list {
            let filter = self.rules.read()?;
            let options = self.list_options(style, filter);
            return Ok(GetCommand::List(options.map_err(UsageError::Invalid)?));
        }
        if self.check && (self.sources.is_empty() || self.receipts.is_some()) {
            return match self.receipts {
                Some(receipts) if self.sources.is_empty() => Ok(GetCommand::Check(CheckOptions {
                    receipts,
                    jobs: self.jobs,
                    json: self.json,
                    is_coloured: self.color.applies(),
                    verbose: self.verbose > 0,
                    quiet: self.quiet,
                })),
                _ => {
                    let sentence = "--check needs either SOURCE or --receipts FILE";
                    Err(UsageError::Invalid(sentence.to_owned()))
                }
            };
        }
        let destination = match &self.input_file {
            Some(_) if self.recursive => {
                let (list, recursive) = (
                    settings.spelling("input-file"),
                    settings.spelling("recursive"),
                );
                return Err(UsageError::Invalid(format!(
                    "{recursive} cannot be used with {list}"
                )));
            }
            Some(list) => listed::read(list, &self)?,
            None if self.null => {
                let sentence = "--null needs --input-file";
                return Err(UsageError::Invalid(sentence.to_owned()));
            }
            None => self
                .destination(self.rules.read()?, settings)
                .map_err(UsageError::Invalid)?,
        };
        let words = |name, command: &Option<String>| {
            let words = command
                .as_deref()
                .map(|command| exec::words(command, &settings.spelling(name)));
            words.transpose().map_err(UsageError::Invalid)
        };
        let (exec, on_complete) = (
            words("exec", &self.exec)?,
            words("on-complete", &self.on_complete)?,
        );
        if exec.is_some() && matches!(destination, Destination::Stream(..)) {
            let sentence = "--exec is for files, not for standard output";
            return Err(UsageError::Invalid(sentence.to_owned()));
        }
        if self.receipts.is_some() && matches!(destination, Destination::Stream(..)) {
            let sentence = "--receipts is for files, not for standard output";
            return Err(UsageError::Invalid(sentence.to_owned()));
        }
        let preflight = match &destination {
            _ if !self.preflight => None,
            Destination::Files(targets) => Some(target::duplicate(targets).ok_or_else(|| {
                UsageError::UnusableFile("the list can be read only once".to_owned())
            })?),
            Destination::Stream(..) => {
                let preflight = settings.spelling("preflight");
                let sentence = format!("{preflight} is for files, not for standard output");
                return Err(UsageError::Invalid(sentence));
            }
        };
        let deletion = self
            .deletion(&destination, settings)
            .map_err(UsageError::Invalid)?;
        let config = self.config();
        let is_mirror = self.recursive && mirror::are_mirrors(&destination);
        let index = IndexChoice::from_arg(self.index.clone()).files();
        let own_files = self.receipts.iter().cloned().chain(index).collect();
        let transfer = Transfer {
            destination,
            preflight,
            deletion,
            config,
            style: OutputStyle {
                json: self.json,
                progress: self.progress,
                exec,
                on_complete,
                complete_time_max: self.max_time,
                receipts: self.receipts,
                own_files,
                is_coloured: self.color.applies(),
                quiet: self.quiet,
                verbose: self.verbose > 0,
                names_unchanged: self.verbose > 1,
                skips_links: matches!(self.links, LinksArg::Skip),
                may_delete: is_mirror && !self.delete,
            },
        };
        if self.check {
            return match transfer.destination {
                Destination::Files(_) => Ok(GetCommand::Compare {
                    transfer,
                    reports_extras: is_mirror,
                }),
                Destination::Stream(..) => {
                    let check = settings.spelling("check");
                    let sentence = format!("{check} is for files, not for standard output");
                    Err(UsageError::Invalid(sentence))
                }
            };
        }
        match (self.dry_run, &transfer.destination) {
            (false, _) => Ok(GetCommand::Fetch(transfer)),
            (true, Destination::Files(_)) => Ok(GetCommand::Preview(transfer)),
            (true, Destination::Stream(..)) => {
                let dry_run = settings.spelling("dry-run");
                let sentence = format!("{dry_run} is for files, not for standard output");
                Err(UsageError::Invalid(sentence))
            }
        }
    }

    /// The last argument, if it is a local directory as for `cp` and `rsync`.
    fn misplaced_directory(&self) -> Option<&OsString> {
        let (last, sources) = self.sources.split_last()?;
        let is_source = |source: &OsString| Location::parse(source.as_bytes()).is_ok();
        let is_misplaced = !sources.is_empty() && sources.iter().all(is_source) && !is_source(last);
        (is_misplaced && self.dir.is_none()).then_some(last)
    }

    fn list_options(&self, style: ListStyle, filter: Filter) -> Result<ListOptions, String> {
        for (flag, given) in [
            ("--output", self.output.is_some()),
            ("--dir", self.dir.is_some()),
            ("--md5", self.md5.is_some()),
        ] {
            if given {
                return Err(format!("{flag} cannot be used with --list"));
            }
        }
        let style = match style {
            ListStyle::Short if self.json => ListStyle::Json,
            style => style,
        };
        let directories = self.sources.iter().map(|source| {
            let location = Location::parse(source.as_bytes()).map_err(|error| error.to_string())?;
            let shown = || shown(source);
            // In a URL, every name can be percent-encoded: it has no patterns.
            let split = if is_url(source) {
                Selection::everything(&location.path, self.recursive)
            } else {
                Selection::split(&location.path, self.recursive)
                    .map_err(|error| format!("{}: {error}", shown()))?
            };
            // `--list` prints directories with a slash, so a source may end with one.
            let path = split.path.strip_suffix(b"/").unwrap_or(split.path);
            let path =
                ResourcePath::parse(path).map_err(|error| format!("{}: {error}", shown()))?;
            let directory = Folder {
                address: location.address,
                path,
                recursive: split.is_deep,
                digests: style == ListStyle::Md5sum,
            };
            Ok((directory, split.selection))
        });
        Ok(ListOptions {
            directories: directories.collect::<Result<_, String>>()?,
            filter,
            style,
            config: self.config(),
            quiet: self.quiet,
            verbose: self.verbose > 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::client::{AddressFamily, IfExists};

    fn transfer(arguments: &[&str]) -> Result<Transfer, String> {
        let arguments = std::iter::once("ftget").chain(arguments.iter().copied());
        let shown = |error| match error {
            UsageError::CommandLine(error) => error.to_string(),
            UsageError::Invalid(sentence) | UsageError::UnusableFile(sentence) => sentence,
            UsageError::InvalidWithHint(sentence, hint) => format!("{sentence}; {hint}"),
        };
        GetCommand::parse(arguments.map(OsString::from))
            .map(|command| match command {
                GetCommand::Fetch(transfer) => transfer,
                _ => panic!("no download"),
            })
            .map_err(shown)
    }

    fn downloads(arguments: &[&str]) -> Vec<(String, String, PathBuf)> {
        let Destination::Files(downloads) = transfer(arguments).unwrap().destination else {
            panic!("{arguments:?} is not for files")
        };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        downloads
            .into_iter()
            .map(|target| {
                let Target::File(it) = target else {
                    panic!("{arguments:?} is for a tree")
                };
                (
                    text(it.path.as_bytes()),
                    text(it.name.as_bytes()),
                    it.folder,
                )
            })
            .collect()
    }

    #[test]
    fn clap_accepts_the_options() {
        use clap::CommandFactory;
        GetArgs::command().debug_assert();
    }

    #[test]
    fn a_file_gets_the_last_part_of_its_path_or_the_name_of_output() {
        for (arguments, name, directory) in [
            (&["h:a/b.txt"][..], "b.txt", "."),
            (&["-d", "x/y", "h:a/b.txt"], "b.txt", "x/y"),
            (&["-o", "n", "h:a/b.txt"], "n", "."),
            (&["-o", "./n", "h:a/b.txt"], "n", "."),
            (&["-o", "/n", "h:a/b.txt"], "n", "/"),
            (&["-o", "x/y/n", "h:a/b.txt"], "n", "x/y"),
            (&["-d", "d", "-o", "x/n", "h:a/b.txt"], "n", "d/x"),
            (&["-d", "d", "-o", "n", "h:a/b.txt"], "n", "d"),
        ] {
            let expected = (
                "a/b.txt".to_owned(),
                name.to_owned(),
                PathBuf::from(directory),
            );
            assert_eq!(downloads(arguments), [expected], "{arguments:?}");
        }
        assert_eq!(downloads(&["h:a/x", "h:b/y", "other:c/z"]).len(), 3);
    }

    #[test]
    fn a_dash_is_standard_output() {
        for dash in ["-", "/dev/stdout"] {
            let transfer = transfer(&["-o", dash, "h:f"]).unwrap();
            assert!(
                matches!(transfer.destination, Destination::Stream(..)),
                "{dash}"
            );
        }
    }

    #[test]
    fn bad_options_are_refused_with_one_line() {
        for (arguments, word) in [
            (&["h:a/x", "h:b/x"][..], "two sources"),
            (
                &["-o", "n", "h:a", "h:b"],
                "--output is for one SOURCE, there are 2",
            ),
            (
                &["--md5", "0123456789abcdef0123456789ABCDEF", "h:a", "h:b"],
                "--md5 is for one",
            ),
            (&["-o", "x/", "h:a"], "-d"),
            (&["-o", "..", "h:a"], "-d"),
            (&["h:"], "names no file"),
            (&["h:../a"], ".."),
            (&["h:.ft-x"], ".ft-"),
            (&["word"], "word"),
            (&["h:a", "out"], "-d out"),
            (&["./a"], "on this machine"),
            (&["http://h/a"], "http"),
            (&["h:a\u{1b}[31m/../b"], "\\x1b"),
        ] {
            let Err(sentence) = transfer(arguments) else {
                panic!("{arguments:?} is taken")
            };
            assert!(
                sentence.contains(word) && !sentence.contains('\n'),
                "{arguments:?}: {sentence}"
            );
        }
    }

    #[test]
    fn wrong_values_are_refused() {
        for arguments in [
            &[][..],
            &["--md5", "123", "h:a"],
            &["--timeout", "0", "h:a"],
            &["--timeout", "soon", "h:a"],
            &["--retry", "-1", "h:a"],
            &["--if-exists", "maybe", "h:a"],
            &["-4", "-6", "h:a"],
            &["-q", "-v", "h:a"],
            &["-d", "x", "-o", "/y", "h:a"],
            &["-d", "x", "-o", "-", "h:a"],
            &["h:a", "x"],
            &["-c", "--no-resume", "h:a"],
        ] {
            assert!(transfer(arguments).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn options_become_the_config_they_name() {
        let config = transfer(&[
            "--retry",
            "7",
            "--timeout",
            "200ms",
            "-6",
            "--no-resume",
            "--preserve",
            "mode",
            "h:a",
        ])
        .unwrap()
        .config;
        assert_eq!(
            (config.retry.retries_max, config.retry.before_contact),
            (7, true)
        );
        assert_eq!(config.progress_timeout, Duration::from_millis(200));
        assert_eq!(config.family, AddressFamily::V6);
        assert!(!config.resume && config.preserve_mode && !config.preserve_mtime);
        let config = transfer(&["h:a"]).unwrap().config;
        assert!(config.resume && config.preserve_mode && config.preserve_mtime);
        assert!(!config.retry.before_contact && !config.make_folders);
        assert_eq!(config.if_exists, IfExists::Update);
    }
}

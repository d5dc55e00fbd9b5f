//! What a command line means, or why it means nothing.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use clap_complete::Shell;

use super::arguments::{ListStyle, ProgressStyle, Typed, TypedLinks};
use super::destination::Destination;
use super::exec;
use super::filter::{Filter, Selection};
use super::help;
use super::last_resort;
use super::listed;
use super::mirror;
use super::no_order::NoOrder;
use super::receipts::CheckOrder;
use super::source::is_url;
use super::wish::{self, Wish};
use crate::cli::digests::IndexChoice;
use crate::cli::settings::{self, Places, Settings};
use crate::cli::terminal::shown;
use crate::client::{ClientConfig, DeleteLimit, Folder};
use crate::net::Location;
use crate::wire::ResourcePath;

/// What a command line means.
pub(super) enum Meaning {
    Fetch(Order),
    /// Only compare.
    Compare {
        order: Order,
        /// What is here alone is a difference.
        tells_extras: bool,
    },
    /// Only say what would be done.
    Preview(Order),
    List(ListOrder),
    /// Compare files with their receipts.
    Check(CheckOrder),
    Manual,
    Completions(Shell),
}

/// Listings to show.
pub(super) struct ListOrder {
    /// Each folder, with what of it is meant.
    pub(super) folders: Vec<(Folder, Selection)>,
    pub(super) filter: Filter,
    pub(super) style: ListStyle,
    pub(super) config: ClientConfig,
    pub(super) quiet: bool,
    pub(super) verbose: bool,
}

/// What the command line means.
pub(super) struct Order {
    pub(super) destination: Destination,
    /// The same wishes, to be looked at before anything is done.
    pub(super) preflight: Option<Vec<Wish>>,
    /// What the servers do not have is deleted, so far.
    pub(super) deletion: Option<DeleteLimit>,
    pub(super) config: ClientConfig,
    pub(super) manner: Manner,
}

/// How what happens is told, and what else is done about it.
pub(super) struct Manner {
    pub(super) json: bool,
    pub(super) progress: ProgressStyle,
    /// The words of a command that is run on each file.
    pub(super) exec: Option<Vec<String>>,
    /// Those of one that is run when everything is over.
    pub(super) on_complete: Option<Vec<String>>,
    /// How long that may take.
    pub(super) complete_time_max: Option<Duration>,
    /// Where a line for each verified file goes.
    pub(super) receipts: Option<PathBuf>,
    /// What this program itself writes: no mirror deletes it.
    pub(super) files_of_ours: Vec<PathBuf>,
    pub(super) is_coloured: bool,
    pub(super) quiet: bool,
    pub(super) verbose: bool,
    /// Files that are already there are named too.
    pub(super) names_unchanged: bool,
    /// Symbolic links are left out because that was asked for.
    pub(super) skips_links: bool,
    /// Trees are fetched that might be mirrors: --delete could help.
    pub(super) may_delete: bool,
}

impl Meaning {
    /// What these arguments mean, the program's name first, and the environment.
    pub(super) fn of(arguments: impl IntoIterator<Item = OsString>) -> Result<Meaning, NoOrder> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let Settings {
            mut typed,
            elsewhere,
            ..
        } = settings::read::<Typed>(&arguments, help::MANUAL.prefix, None)?;
        typed.forget_what_does_not_apply(&elsewhere);
        if let Some(time_max) = typed.max_time {
            last_resort::end_in_time(time_max);
        }
        typed.interpret(&elsewhere)
    }
}

impl Typed {
    /// Finds out what is meant, or why it means nothing.
    fn interpret(self, elsewhere: &Places) -> Result<Meaning, NoOrder> {
        if self.man {
            return Ok(Meaning::Manual);
        }
        if let Some(shell) = self.completions {
            return Ok(Meaning::Completions(shell));
        }
        if let Some(directory) = self.misplaced_directory() {
            return Err(NoOrder::Hinted(
                format!("{} is no source", shown(directory)),
                format!("-d {} downloads into it", shown(directory)),
            ));
        }
        if let Some(style) = self.list {
            let filter = self.rules.read()?;
            let order = self.list_order(style, filter);
            return Ok(Meaning::List(order.map_err(NoOrder::Meaningless)?));
        }
        if self.check && (self.sources.is_empty() || self.receipts.is_some()) {
            return match self.receipts {
                Some(receipts) if self.sources.is_empty() => Ok(Meaning::Check(CheckOrder {
                    receipts,
                    jobs: self.jobs,
                    json: self.json,
                    is_coloured: self.color.applies(),
                    verbose: self.verbose > 0,
                })),
                _ => {
                    let sentence = "--check goes with SOURCE, or with --receipts FILE";
                    Err(NoOrder::Meaningless(sentence.to_owned()))
                }
            };
        }
        let destination = match &self.input_file {
            Some(_) if self.recursive => {
                let (list, recursive) = (
                    elsewhere.called("input-file"),
                    elsewhere.called("recursive"),
                );
                return Err(NoOrder::Meaningless(format!(
                    "{recursive} does not go with {list}, whose lines name what is fetched"
                )));
            }
            Some(list) => listed::read(list, &self)?,
            None if self.null => {
                let sentence = "--null goes with --input-file";
                return Err(NoOrder::Meaningless(sentence.to_owned()));
            }
            None => self
                .destination(self.rules.read()?, elsewhere)
                .map_err(NoOrder::Meaningless)?,
        };
        let words = |name, command: &Option<String>| {
            let words = command
                .as_deref()
                .map(|command| exec::words(command, &elsewhere.called(name)));
            words.transpose().map_err(NoOrder::Meaningless)
        };
        let (exec, on_complete) = (
            words("exec", &self.exec)?,
            words("on-complete", &self.on_complete)?,
        );
        if exec.is_some() && matches!(destination, Destination::Stream(..)) {
            let sentence = "--exec is for files, not for standard output";
            return Err(NoOrder::Meaningless(sentence.to_owned()));
        }
        if self.receipts.is_some() && matches!(destination, Destination::Stream(..)) {
            let sentence = "--receipts is for files, not for standard output";
            return Err(NoOrder::Meaningless(sentence.to_owned()));
        }
        let preflight =
            match &destination {
                _ if !self.preflight => None,
                Destination::Files(wishes) => Some(wish::again(wishes).ok_or_else(|| {
                    NoOrder::Unusable("the list can be read only once".to_owned())
                })?),
                Destination::Stream(..) => {
                    let preflight = elsewhere.called("preflight");
                    let sentence = format!("{preflight} is for files, not for standard output");
                    return Err(NoOrder::Meaningless(sentence));
                }
            };
        let deletion = self
            .deletion(&destination, elsewhere)
            .map_err(NoOrder::Meaningless)?;
        let config = self.config();
        let is_mirror = self.recursive && mirror::are_mirrors(&destination);
        let index = IndexChoice::from_typed(self.index.clone()).files();
        let files_of_ours = self.receipts.iter().cloned().chain(index).collect();
        let order = Order {
            destination,
            preflight,
            deletion,
            config,
            manner: Manner {
                json: self.json,
                progress: self.progress,
                exec,
                on_complete,
                complete_time_max: self.max_time,
                receipts: self.receipts,
                files_of_ours,
                is_coloured: self.color.applies(),
                quiet: self.quiet,
                verbose: self.verbose > 0,
                names_unchanged: self.verbose > 1,
                skips_links: matches!(self.links, TypedLinks::Skip),
                may_delete: is_mirror && !self.delete,
            },
        };
        if self.check {
            return match order.destination {
                Destination::Files(_) => Ok(Meaning::Compare {
                    order,
                    tells_extras: is_mirror,
                }),
                Destination::Stream(..) => {
                    let check = elsewhere.called("check");
                    let sentence = format!("{check} is for files, not for standard output");
                    Err(NoOrder::Meaningless(sentence))
                }
            };
        }
        match (self.dry_run, &order.destination) {
            (false, _) => Ok(Meaning::Fetch(order)),
            (true, Destination::Files(_)) => Ok(Meaning::Preview(order)),
            (true, Destination::Stream(..)) => {
                let dry_run = elsewhere.called("dry-run");
                let sentence = format!("{dry_run} is for files, not for standard output");
                Err(NoOrder::Meaningless(sentence))
            }
        }
    }

    /// The last argument, if it is a destination as `cp` and `rsync` take it.
    fn misplaced_directory(&self) -> Option<&OsString> {
        let (last, sources) = self.sources.split_last()?;
        let is_source = |source: &OsString| Location::parse(source.as_bytes()).is_ok();
        let is_misplaced = !sources.is_empty() && sources.iter().all(is_source) && !is_source(last);
        (is_misplaced && self.dir.is_none()).then_some(last)
    }

    fn list_order(&self, style: ListStyle, filter: Filter) -> Result<ListOrder, String> {
        for (flag, given) in [
            ("--output", self.output.is_some()),
            ("--dir", self.dir.is_some()),
            ("--md5", self.md5.is_some()),
        ] {
            if given {
                return Err(format!(
                    "{flag} does not go with --list, which fetches nothing"
                ));
            }
        }
        let style = match style {
            ListStyle::Short if self.json => ListStyle::Json,
            style => style,
        };
        let folders = self.sources.iter().map(|source| {
            let location = Location::parse(source.as_bytes()).map_err(|error| error.to_string())?;
            let shown = || shown(source);
            // In a URL every name can be written without a sign.
            let split = if is_url(source) {
                Selection::everything(&location.path, self.recursive)
            } else {
                Selection::split(&location.path, self.recursive)
                    .map_err(|error| format!("{}: {error}", shown()))?
            };
            // A folder may be named with the slash that it is shown with.
            let path = split.path.strip_suffix(b"/").unwrap_or(split.path);
            let path =
                ResourcePath::parse(path).map_err(|error| format!("{}: {error}", shown()))?;
            let folder = Folder {
                address: location.address,
                path,
                recursive: split.is_deep,
                digests: style == ListStyle::Md5sum,
            };
            Ok((folder, split.selection))
        });
        Ok(ListOrder {
            folders: folders.collect::<Result<_, String>>()?,
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

    fn order(arguments: &[&str]) -> Result<Order, String> {
        let arguments = std::iter::once("ftget").chain(arguments.iter().copied());
        let shown = |no_order| match no_order {
            NoOrder::Typed(error) => error.to_string(),
            NoOrder::Meaningless(sentence) | NoOrder::Unusable(sentence) => sentence,
            NoOrder::Hinted(sentence, hint) => format!("{sentence}; {hint}"),
        };
        Meaning::of(arguments.map(OsString::from))
            .map(|meaning| match meaning {
                Meaning::Fetch(order) => order,
                _ => panic!("no download"),
            })
            .map_err(shown)
    }

    fn downloads(arguments: &[&str]) -> Vec<(String, String, PathBuf)> {
        let Destination::Files(downloads) = order(arguments).unwrap().destination else {
            panic!("{arguments:?} is not for files")
        };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        downloads
            .into_iter()
            .map(|wish| {
                let Wish::File(it) = wish else {
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
    fn the_options_are_what_clap_takes_for_well_made() {
        use clap::CommandFactory;
        Typed::command().debug_assert();
    }

    #[test]
    fn a_file_is_named_by_the_last_part_of_its_path_or_by_the_user() {
        for (arguments, name, folder) in [
            (&["h:a/b.txt"][..], "b.txt", "."),
            (&["-d", "x/y", "h:a/b.txt"], "b.txt", "x/y"),
            (&["-o", "n", "h:a/b.txt"], "n", "."),
            (&["-o", "./n", "h:a/b.txt"], "n", "."),
            (&["-o", "/n", "h:a/b.txt"], "n", "/"),
            (&["-o", "x/y/n", "h:a/b.txt"], "n", "x/y"),
            (&["-d", "d", "-o", "x/n", "h:a/b.txt"], "n", "d/x"),
            (&["-d", "d", "-o", "n", "h:a/b.txt"], "n", "d"),
        ] {
            let expected = ("a/b.txt".to_owned(), name.to_owned(), PathBuf::from(folder));
            assert_eq!(downloads(arguments), [expected], "{arguments:?}");
        }
        assert_eq!(downloads(&["h:a/x", "h:b/y", "other:c/z"]).len(), 3);
    }

    #[test]
    fn a_dash_is_standard_output() {
        for dash in ["-", "/dev/stdout"] {
            let order = order(&["-o", dash, "h:f"]).unwrap();
            assert!(
                matches!(order.destination, Destination::Stream(..)),
                "{dash}"
            );
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_sentence_of_one_line() {
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
            let Err(sentence) = order(arguments) else {
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
            assert!(order(arguments).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn options_become_the_config_they_name() {
        let config = order(&[
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
        let config = order(&["h:a"]).unwrap().config;
        assert!(config.resume && config.preserve_mode && config.preserve_mtime);
        assert!(!config.retry.before_contact && !config.make_folders);
        assert_eq!(config.if_exists, IfExists::Update);
    }
}

//! Where options come from: the command line, else the environment, else a file, else the
//! default. One mechanism for all options, from their definitions alone.

mod file;

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches};

pub(super) use self::file::ConfigFile;

/// Options as they are to be used.
pub(super) struct Settings<T> {
    /// What they mean.
    pub(super) typed: T,
    /// Each option's name and its words, to be compared with those of another reading.
    pub(super) words: BTreeMap<String, Vec<OsString>>,
}

/// Why there are none.
pub(super) enum SettingsError {
    /// Help, the version, or not what the options allow.
    Typed(Box<clap::Error>),
    /// An option outside the command line is not what it may be; a whole sentence.
    Elsewhere(String),
}

impl From<clap::Error> for SettingsError {
    fn from(error: clap::Error) -> SettingsError {
        SettingsError::Typed(Box::new(error))
    }
}

/// An option's words outside the command line, and where they stand.
struct Elsewhere {
    words: Vec<OsString>,
    place: String,
}

/// Reads the arguments, the program's name first. Variables are called `PREFIX_LONG_NAME`;
/// empty ones count as unset. An option of the environment or the file that does not go with
/// one of the command line gives way to it.
pub(super) fn read<T: CommandFactory + FromArgMatches>(
    arguments: &[OsString],
    prefix: &str,
    file: Option<&ConfigFile>,
) -> Result<Settings<T>, SettingsError> {
    let mut command = T::command();
    command.build();
    let typed = T::command().try_get_matches_from(arguments)?;
    let mut elsewhere = BTreeMap::new();
    for arg in command.get_arguments().filter(|arg| is_setting(arg)) {
        let variable = variable(prefix, arg);
        let found = match env::var_os(&variable).filter(|value| !value.is_empty()) {
            Some(value) => Some(Elsewhere {
                words: vec![value],
                place: variable,
            }),
            None => file
                .and_then(|file| file.find(&name_of(arg)))
                .map(|entry| Elsewhere {
                    words: entry.words.iter().map(OsString::from).collect(),
                    place: entry.place.clone(),
                }),
        };
        let gives_way = command
            .get_arg_conflicts_with(arg)
            .iter()
            .any(|other| is_given(&typed, other.get_id().as_str()));
        if let Some(found) = found
            && !gives_way
        {
            elsewhere.insert(arg.get_id().to_string(), found);
        }
    }
    let layered = T::command().mut_args(|arg| match elsewhere.get(arg.get_id().as_str()) {
        Some(found) => arg.default_values(found.words.clone()),
        None => arg,
    });
    let matches = layered
        .try_get_matches_from(arguments)
        .map_err(|error| explain(error, &command, &elsewhere))?;
    let words = command
        .get_arguments()
        .filter(|arg| is_setting(arg))
        .map(|arg| {
            let raw = matches.get_raw(arg.get_id().as_str());
            let words = raw.map(|raw| raw.map(OsStr::to_owned).collect());
            (name_of(arg), words.unwrap_or_default())
        });
    Ok(Settings {
        words: words.collect(),
        typed: T::from_arg_matches(&matches)?,
    })
}

/// Whether an option can be set elsewhere: not those that only show something.
pub(super) fn is_setting(arg: &Arg) -> bool {
    let name = name_of(arg);
    (arg.get_long().is_some() || name == "path")
        && !arg.is_hide_set()
        && !["help", "version", "man", "completions", "check-config"].contains(&name.as_str())
}

/// The variable that sets an option.
pub(super) fn variable(prefix: &str, arg: &Arg) -> String {
    format!("{prefix}_{}", name_of(arg).to_uppercase().replace('-', "_"))
}

/// The name of an option, without dashes; of PATH, `path`.
pub(super) fn name_of(arg: &Arg) -> String {
    arg.get_long().unwrap_or(arg.get_id().as_str()).to_owned()
}

fn is_given(matches: &ArgMatches, id: &str) -> bool {
    matches.value_source(id) == Some(ValueSource::CommandLine)
}

/// Says where a wrong value stands, unless that is the command line.
fn explain(
    error: clap::Error,
    command: &Command,
    elsewhere: &BTreeMap<String, Elsewhere>,
) -> SettingsError {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let shown = text(ContextKind::InvalidArg);
    let arg = command.get_arguments().find(|arg| arg.to_string() == shown);
    let found = arg.and_then(|arg| elsewhere.get(arg.get_id().as_str()));
    let (Some(arg), Some(found)) = (arg, found) else {
        return error.into();
    };
    let value = text(ContextKind::InvalidValue);
    let reason = match (error.kind(), std::error::Error::source(&error)) {
        (ErrorKind::InvalidValue, _) => match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(valid)) => format!("it may be {}", valid.join(", ")),
            _ => "it may not be that".to_owned(),
        },
        (_, Some(reason)) => reason.to_string(),
        (..) => "it may not be that".to_owned(),
    };
    let name = name_of(arg);
    SettingsError::Elsewhere(format!("{}: {name} is {value:?}: {reason}", found.place))
}

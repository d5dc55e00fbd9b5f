//! Options from the command line, the environment and a configuration file, in this order, and then
//! the defaults. One mechanism for all options, driven by their clap definitions.

mod file;

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};

pub(super) use self::file::ConfigFile;
use super::visible;

/// The effective options of a command.
pub(super) struct Settings<T> {
    /// The parsed options.
    pub(super) args: T,
    /// The words of each option by its name, to compare with those of another reading.
    pub(super) words: BTreeMap<String, Vec<OsString>>,
    /// Where the options outside the command line were set.
    pub(super) sources: SettingSources,
    /// A sentence for each variable that is named like an option and holds something else.
    pub(super) ignored: Vec<String>,
}

/// Why the options cannot be used.
pub(super) enum SettingsError {
    /// An error of the command line; help and the version are errors of clap too.
    CommandLine(Box<clap::Error>),
    /// A value in the environment or the file is wrong. Holds the whole sentence.
    EnvironmentOrFile(String),
}

impl From<clap::Error> for SettingsError {
    fn from(error: clap::Error) -> SettingsError {
        SettingsError::CommandLine(Box::new(error))
    }
}

/// Where each option outside the command line was set, by its name: a variable, or `FILE:LINE`.
#[derive(Default)]
pub(super) struct SettingSources(BTreeMap<String, String>);

impl SettingSources {
    /// Whether an option was set outside the command line.
    pub(super) fn sets(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// How an error names an option: `--dir`, or `dir (FTGET_DIR)`.
    pub(super) fn spelling(&self, name: &str) -> String {
        match self.0.get(name) {
            Some(place) => format!("{name} ({place})"),
            None => format!("--{name}"),
        }
    }
}

/// The value of an option outside the command line.
struct Setting {
    words: Vec<OsString>,
    place: String,
    is_in_file: bool,
}

/// Reads the arguments, the program's name first, and the variables `PREFIX_LONG_NAME`. An empty
/// variable counts as unset. If two options conflict, the command line wins over the environment,
/// and the environment over the file.
pub(super) fn read<T: CommandFactory + FromArgMatches>(
    arguments: &[OsString],
    prefix: &str,
    file: Option<&ConfigFile>,
) -> Result<Settings<T>, SettingsError> {
    let mut command = T::command();
    command.build();
    let args = T::command().try_get_matches_from(arguments)?;
    let (mut settings, mut ignored) = (BTreeMap::new(), Vec::new());
    for arg in command.get_arguments().filter(|arg| is_setting(arg)) {
        ignored.extend(of_service(&variable(prefix, arg)));
        if let Some(found) = find(arg, prefix, file)
            && !is_given(&args, arg)
        {
            settings.insert(arg.get_id().to_string(), found);
        }
    }
    settle_conflicts(&command, &args, &mut settings)?;
    let layered = T::command().mut_args(|arg| match settings.get(arg.get_id().as_str()) {
        Some(found) => arg.default_values(found.words.clone()),
        None => arg,
    });
    let matches = layered
        .try_get_matches_from(arguments)
        .map_err(|error| explain(error, &command, &settings))?;
    let words = command
        .get_arguments()
        .filter(|arg| is_setting(arg))
        .map(|arg| {
            let raw = matches.get_raw(arg.get_id().as_str());
            let words = raw.map(|raw| raw.map(OsStr::to_owned).collect());
            (name_of(arg), words.unwrap_or_default())
        });
    let places = command.get_arguments().filter_map(|arg| {
        let found = settings.get(arg.get_id().as_str())?;
        Some((name_of(arg), found.place.clone()))
    });
    Ok(Settings {
        words: words.collect(),
        sources: SettingSources(places.collect()),
        ignored,
        args: T::from_arg_matches(&matches)?,
    })
}

/// Whether an option can be set outside the command line. Those that only print something cannot.
pub(super) fn is_setting(arg: &Arg) -> bool {
    let name = name_of(arg);
    (arg.get_long().is_some() || name == "path")
        && !arg.is_hide_set()
        && !["help", "version", "man", "completions", "check-config"].contains(&name.as_str())
}

/// The name of the variable for an option.
pub(super) fn variable(prefix: &str, arg: &Arg) -> String {
    format!("{prefix}_{}", name_of(arg).to_uppercase().replace('-', "_"))
}

/// The name of an option without dashes, and `path` for PATH.
pub(super) fn name_of(arg: &Arg) -> String {
    arg.get_long().unwrap_or(arg.get_id().as_str()).to_owned()
}

fn is_given(matches: &ArgMatches, arg: &Arg) -> bool {
    matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
}

/// The value of an option in the environment, otherwise in the file.
fn find(arg: &Arg, prefix: &str, file: Option<&ConfigFile>) -> Option<Setting> {
    let variable = variable(prefix, arg);
    let value = env::var_os(&variable).filter(|value| !value.is_empty());
    if let Some(value) = value.filter(|_| of_service(&variable).is_none()) {
        return Some(Setting {
            words: vec![value],
            place: variable,
            is_in_file: false,
        });
    }
    let entry = file?.find(&name_of(arg))?;
    Some(Setting {
        words: entry.words.iter().map(OsString::from).collect(),
        place: entry.place.clone(),
        is_in_file: true,
    })
}

/// Why a variable is ignored: Kubernetes and Docker set `NAME_PORT` to an address such as
/// `tcp://10.0.0.1:9521` in each container beside a service called NAME.
fn of_service(variable: &str) -> Option<String> {
    let value = env::var(variable).ok()?;
    let (protocol, _) = value.split_once("://")?;
    let is_protocol = ["tcp", "udp", "sctp"]
        .iter()
        .any(|known| protocol.eq_ignore_ascii_case(known));
    (variable.ends_with("_PORT") && is_protocol).then(|| {
        let value = visible(value.as_bytes());
        format!("{variable} is ignored: {value} is the address of a service, not a port")
    })
}

/// Removes settings that conflict with an option of the command line, or with the environment.
fn settle_conflicts(
    command: &Command,
    args: &ArgMatches,
    settings: &mut BTreeMap<String, Setting>,
) -> Result<(), SettingsError> {
    let pairs = command.get_arguments().flat_map(|arg| {
        let others = command.get_arg_conflicts_with(arg);
        others.into_iter().map(move |other| (arg, other))
    });
    for (one, other) in pairs {
        for (arg, other) in [(one, other), (other, one)] {
            if is_given(args, other) {
                settings.remove(arg.get_id().as_str());
            }
        }
        let is_on = |arg: &Arg| {
            let found = settings.get(arg.get_id().as_str());
            found.filter(|found| !is_switched_off(arg, found))
        };
        let (Some(first), Some(second)) = (is_on(one), is_on(other)) else {
            continue;
        };
        match (first.is_in_file, second.is_in_file) {
            (true, false) => settings.remove(one.get_id().as_str()),
            (false, true) => settings.remove(other.get_id().as_str()),
            _ => {
                return Err(SettingsError::EnvironmentOrFile(format!(
                    "{}: {} cannot be used with {} ({})",
                    first.place,
                    name_of(one),
                    name_of(other),
                    second.place
                )));
            }
        };
    }
    Ok(())
}

/// Whether this is a switch that is set to no.
fn is_switched_off(arg: &Arg, found: &Setting) -> bool {
    // As clap's BoolishValueParser reads them.
    let is_no = |word: &OsString| {
        ["n", "no", "f", "false", "off", "0"]
            .iter()
            .any(|no| word.eq_ignore_ascii_case(no))
    };
    matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::Count)
        && found.words.iter().all(is_no)
}

/// Names the variable or the line that holds a wrong value.
fn explain(
    error: clap::Error,
    command: &Command,
    settings: &BTreeMap<String, Setting>,
) -> SettingsError {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let shown = text(ContextKind::InvalidArg);
    let arg = command.get_arguments().find(|arg| arg.to_string() == shown);
    let found = arg.and_then(|arg| settings.get(arg.get_id().as_str()));
    let (Some(arg), Some(found)) = (arg, found) else {
        return error.into();
    };
    let value = text(ContextKind::InvalidValue);
    let reason = match (error.kind(), std::error::Error::source(&error)) {
        (ErrorKind::InvalidValue, _) => match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(valid)) => format!("it may be {}", valid.join(", ")),
            _ => "the value is not valid".to_owned(),
        },
        (_, Some(reason)) => reason.to_string(),
        (..) => "the value is not valid".to_owned(),
    };
    let name = name_of(arg);
    SettingsError::EnvironmentOrFile(format!("{}: {name} is {value:?}: {reason}", found.place))
}

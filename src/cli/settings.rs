//! Where options come from: the command line, else the environment, else a file, else the
//! default. One mechanism for all options, from their definitions alone.

mod file;

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};

pub(super) use self::file::ConfigFile;
use super::visible;

/// Options as they are to be used.
pub(super) struct Settings<T> {
    /// What they mean.
    pub(super) typed: T,
    /// Each option's name and its words, to be compared with those of another reading.
    pub(super) words: BTreeMap<String, Vec<OsString>>,
    /// Those that were not typed.
    pub(super) elsewhere: Places,
    /// Variables that are called like an option and are none, each in a sentence.
    pub(super) ignored: Vec<String>,
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

/// Where options stand that were not typed, by name: a variable, or a line of a file.
#[derive(Default)]
pub(super) struct Places(BTreeMap<String, String>);

impl Places {
    /// Whether an option counts as it was set elsewhere.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// An option as who set it will know it: `--dir`, or `dir (FTGET_DIR)`.
    pub(super) fn called(&self, name: &str) -> String {
        match self.0.get(name) {
            Some(place) => format!("{name} ({place})"),
            None => format!("--{name}"),
        }
    }
}

/// An option's words outside the command line, and where they stand.
struct Elsewhere {
    words: Vec<OsString>,
    place: String,
    is_in_file: bool,
}

/// Reads the arguments, the program's name first. Variables are called `PREFIX_LONG_NAME`;
/// empty ones count as unset. An option of the environment or the file that does not go with
/// one of the command line gives way to it, and one of the file to one of the environment.
pub(super) fn read<T: CommandFactory + FromArgMatches>(
    arguments: &[OsString],
    prefix: &str,
    file: Option<&ConfigFile>,
) -> Result<Settings<T>, SettingsError> {
    let mut command = T::command();
    command.build();
    let typed = T::command().try_get_matches_from(arguments)?;
    let (mut elsewhere, mut ignored) = (BTreeMap::new(), Vec::new());
    for arg in command.get_arguments().filter(|arg| is_setting(arg)) {
        ignored.extend(of_service(&variable(prefix, arg)));
        if let Some(found) = find(arg, prefix, file)
            && !is_given(&typed, arg)
        {
            elsewhere.insert(arg.get_id().to_string(), found);
        }
    }
    settle_conflicts(&command, &typed, &mut elsewhere)?;
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
    let places = command.get_arguments().filter_map(|arg| {
        let found = elsewhere.get(arg.get_id().as_str())?;
        Some((name_of(arg), found.place.clone()))
    });
    Ok(Settings {
        words: words.collect(),
        elsewhere: Places(places.collect()),
        ignored,
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

fn is_given(matches: &ArgMatches, arg: &Arg) -> bool {
    matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
}

/// What the environment, else the file, says of an option.
fn find(arg: &Arg, prefix: &str, file: Option<&ConfigFile>) -> Option<Elsewhere> {
    let variable = variable(prefix, arg);
    let value = env::var_os(&variable).filter(|value| !value.is_empty());
    if let Some(value) = value.filter(|_| of_service(&variable).is_none()) {
        return Some(Elsewhere {
            words: vec![value],
            place: variable,
            is_in_file: false,
        });
    }
    let entry = file?.find(&name_of(arg))?;
    Some(Elsewhere {
        words: entry.words.iter().map(OsString::from).collect(),
        place: entry.place.clone(),
        is_in_file: true,
    })
}

/// Why a variable is no option: Kubernetes and Docker set `NAME_PORT` to an address such as
/// `tcp://10.0.0.1:9521` in each container beside a service of that name.
fn of_service(variable: &str) -> Option<String> {
    let value = env::var(variable).ok()?;
    let (protocol, _) = value.split_once("://")?;
    let is_protocol = ["tcp", "udp", "sctp"]
        .iter()
        .any(|known| protocol.eq_ignore_ascii_case(known));
    (variable.ends_with("_PORT") && is_protocol).then(|| {
        let value = visible(value.as_bytes());
        format!("{variable} is ignored: {value} is the address of a service, and no port")
    })
}

/// Takes out what does not go with an option that was typed, or with one of the environment.
fn settle_conflicts(
    command: &Command,
    typed: &ArgMatches,
    elsewhere: &mut BTreeMap<String, Elsewhere>,
) -> Result<(), SettingsError> {
    let pairs = command.get_arguments().flat_map(|arg| {
        let others = command.get_arg_conflicts_with(arg);
        others.into_iter().map(move |other| (arg, other))
    });
    for (one, other) in pairs {
        for (arg, other) in [(one, other), (other, one)] {
            if is_given(typed, other) {
                elsewhere.remove(arg.get_id().as_str());
            }
        }
        let is_on = |arg: &Arg| {
            let found = elsewhere.get(arg.get_id().as_str());
            found.filter(|found| !is_switched_off(arg, found))
        };
        let (Some(first), Some(second)) = (is_on(one), is_on(other)) else {
            continue;
        };
        match (first.is_in_file, second.is_in_file) {
            (true, false) => elsewhere.remove(one.get_id().as_str()),
            (false, true) => elsewhere.remove(other.get_id().as_str()),
            _ => {
                return Err(SettingsError::Elsewhere(format!(
                    "{}: {} does not go with {} ({})",
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

/// Whether this is a switch, and is not thrown.
fn is_switched_off(arg: &Arg, found: &Elsewhere) -> bool {
    // The words that clap's BoolishValueParser takes for no.
    let is_no = |word: &OsString| {
        ["n", "no", "f", "false", "off", "0"]
            .iter()
            .any(|no| word.eq_ignore_ascii_case(no))
    };
    matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::Count)
        && found.words.iter().all(is_no)
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

//! Errors of a command line, each with a hint.
//!
//! The tips of clap are not used: they point to the opposite of an option, or to `--`, after which
//! `ftserve` takes a command.

use std::io::Write as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::failure::finish_output;
use super::terminal::{print_line, standard_output};
use super::{ExitCode, visible};

/// Spellings of other programs, and a hint for each.
pub(super) type Habit = (&'static [&'static str], &'static str);

/// Stands in a [`Habit`] for any number without an option.
pub(super) const NUMBER: &str = "NUMBER";

/// The two lines of an error.
struct UsageMessage {
    line: String,
    hint: String,
}

/// Prints help or the version and succeeds, or prints the error of a command line. `command` is
/// `ftget`, `ftserve` or `ftserve index`.
pub(super) fn show(error: &clap::Error, command: &str, habits: &[Habit]) -> ExitCode {
    let program = command.split(' ').next().unwrap_or(command);
    if error.use_stderr() {
        let UsageMessage { line, hint } = UsageMessage::of(error, command, habits);
        print_line(&format!("{program}: {line}\nhint: {hint}"));
        return ExitCode::Usage;
    }
    // Not printed by clap, which fails if standard output is non-blocking.
    let text = error.render().to_string();
    finish_output(program, standard_output().write_all(text.as_bytes()))
}

impl UsageMessage {
    /// `habits`: options of other programs.
    fn of(error: &clap::Error, command: &str, habits: &[Habit]) -> UsageMessage {
        let text = |kind| context(error, kind);
        let invalid = text(ContextKind::InvalidArg);
        let option = bare(&invalid);
        let line = match error.kind() {
            ErrorKind::UnknownArgument if invalid.starts_with('-') => {
                format!("unknown option {option}")
            }
            ErrorKind::UnknownArgument => format!("unexpected argument {invalid:?}"),
            ErrorKind::InvalidValue if text(ContextKind::InvalidValue).is_empty() => {
                format!("{option} needs a value")
            }
            ErrorKind::InvalidValue => {
                let value = text(ContextKind::InvalidValue);
                let valid = text(ContextKind::ValidValue);
                format!("{option} is {value:?}, and may be {valid}")
            }
            ErrorKind::ValueValidation => {
                let value = text(ContextKind::InvalidValue);
                let reason = std::error::Error::source(error).map(ToString::to_string);
                format!("{option} is {value:?}: {}", reason.unwrap_or_default())
            }
            ErrorKind::ArgumentConflict => {
                let prior = text(ContextKind::PriorArg);
                match bare(&prior) {
                    "" => format!("{option} must be used alone"),
                    prior if prior == option => format!("{option} is given twice"),
                    prior => format!("{option} cannot be used with {prior}"),
                }
            }
            ErrorKind::MissingRequiredArgument => {
                let missing = invalid.trim_matches(['<', '>', '.']);
                format!("{missing} is missing")
            }
            ErrorKind::TooManyValues => format!("{option} takes no value"),
            _ => first_line(error),
        };
        let spelling = match option.parse() {
            Ok(0_u16..) => NUMBER,
            Err(_) => option,
        };
        let habit = habits
            .iter()
            .find(|(spellings, _)| spellings.contains(&spelling));
        let hint = match (habit, similar(error, option)) {
            (Some((_, hint)), _) => (*hint).to_owned(),
            (None, Some(similar)) => format!("did you mean {similar}?"),
            (None, None) => format!("{command} --help lists the options"),
        };
        UsageMessage {
            line: visible(line.as_bytes()).into_owned(),
            hint: visible(hint.as_bytes()).into_owned(),
        }
    }
}

/// The option that clap suggests, if its first half is the same. `--no-resume` is not suggested for
/// `--resume`.
fn similar(error: &clap::Error, option: &str) -> Option<String> {
    let similar = context(error, ContextKind::SuggestedArg);
    let similar = bare(&similar);
    let is_negation = |one: &str, other: &str| {
        one.trim_start_matches('-') == format!("no-{}", other.trim_start_matches('-'))
    };
    let shared = option
        .chars()
        .zip(similar.chars())
        .take_while(|(one, other)| one == other)
        .count();
    let is_like = 2 * shared > option.len().max(similar.len()) && !is_negation(similar, option);
    is_like.then(|| similar.to_owned())
}

fn context(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    }
}

/// `--name` of `--name <VALUE>`.
fn bare(option: &str) -> &str {
    let end = option.find([' ', '=', '[']).unwrap_or(option.len());
    &option[..end]
}

/// The first line of the message of clap, without its label.
fn first_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction, Command};

    use super::*;

    fn lines(words: &[&str]) -> (String, String) {
        let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
        let command = Command::new("p").args([
            flag("no-resume"),
            flag("recursive"),
            flag("list").conflicts_with("recursive"),
            Arg::new("how").long("how").value_parser(["fast", "slow"]),
            Arg::new("number")
                .short('n')
                .long("number")
                .value_parser(clap::value_parser!(u8)),
            Arg::new("source").required(true),
        ]);
        let words = std::iter::once("p").chain(words.iter().copied());
        let error = command.try_get_matches_from(words).unwrap_err();
        let habits: [Habit; 1] = [(&["-O", "--output-document"], "use -o")];
        let UsageMessage { line, hint } = UsageMessage::of(&error, "p", &habits);
        (line, hint)
    }

    #[test]
    fn errors_have_a_line_and_a_hint() {
        let general = "p --help lists the options";
        for (words, line, hint) in [
            (&["-O", "x", "s"][..], "unknown option -O", "use -o"),
            (
                &["--output-document=x", "s"],
                "unknown option --output-document",
                "use -o",
            ),
            (&["-x", "s"], "unknown option -x", general),
            (&["--resume", "s"], "unknown option --resume", general),
            (
                &["--recursiv", "s"],
                "unknown option --recursiv",
                "did you mean --recursive?",
            ),
            (&["--lost", "s"], "unknown option --lost", general),
            (&["s", "t"], "unexpected argument \"t\"", general),
            (
                &["s", "--how", "big"],
                "--how is \"big\", and may be fast, slow",
                general,
            ),
            (&["s", "--how"], "--how needs a value", general),
            (&["s", "-n", "-1"], "unknown option -1", general),
            (
                &["s", "--number=300"],
                "--number is \"300\": 300 is not in 0..=255",
                general,
            ),
            (
                &["s", "--list", "--recursive"],
                "--list cannot be used with --recursive",
                general,
            ),
            (&["s", "--list", "--list"], "--list is given twice", general),
            (&["s", "--list=x"], "--list takes no value", general),
            (&[], "source is missing", general),
            (&["--\u{1b}", "s"], "unknown option --\\x1b", general),
        ] {
            assert_eq!(
                lines(words),
                (line.to_owned(), hint.to_owned()),
                "{words:?}"
            );
        }
    }
}

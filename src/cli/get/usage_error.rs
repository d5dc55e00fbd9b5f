//! Errors of a command line.

use super::help;
use crate::cli::ExitCode;
use crate::cli::settings::SettingsError;
use crate::cli::terminal::print_line;
use crate::cli::usage;

/// Why a command line cannot run.
pub(super) enum UsageError {
    /// An error of clap; help and the version are such errors too.
    CommandLine(Box<clap::Error>),
    /// Options that conflict, or have values that cannot be used. Holds the sentence.
    Invalid(String),
    /// A sentence about the options, and a hint.
    InvalidWithHint(String, String),
    /// A file on the command line cannot be used. Holds the sentence.
    UnusableFile(String),
}

impl From<SettingsError> for UsageError {
    fn from(error: SettingsError) -> UsageError {
        match error {
            SettingsError::CommandLine(error) => UsageError::CommandLine(error),
            SettingsError::EnvironmentOrFile(sentence) => UsageError::Invalid(sentence),
        }
    }
}

impl UsageError {
    /// Prints the error, and returns the exit code.
    pub(super) fn show(&self) -> ExitCode {
        match self {
            UsageError::CommandLine(error) => usage::show(error, "ftget", help::HABITS),
            UsageError::Invalid(sentence) => {
                print_line(&format!("ftget: {sentence}"));
                ExitCode::Usage
            }
            UsageError::InvalidWithHint(sentence, hint) => {
                print_line(&format!("ftget: {sentence}\nhint: {hint}"));
                ExitCode::Usage
            }
            UsageError::UnusableFile(sentence) => {
                print_line(&format!("ftget: {sentence}"));
                ExitCode::LocalFile
            }
        }
    }
}

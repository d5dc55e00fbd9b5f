//! Why a command line leads to nothing.

use super::help;
use crate::cli::ExitCode;
use crate::cli::settings::SettingsError;
use crate::cli::terminal::tell;
use crate::cli::usage;

/// Why a command line means nothing, or only wants to read something.
pub(super) enum NoOrder {
    /// Help, the version, or not what the options allow.
    Typed(Box<clap::Error>),
    /// Options that are right by themselves and make no sense together or as they are.
    Meaningless(String),
    /// A sentence about the options, and a hint.
    Hinted(String, String),
    /// A file that the command line names cannot be used; a whole sentence.
    Unusable(String),
}

impl From<SettingsError> for NoOrder {
    fn from(error: SettingsError) -> NoOrder {
        match error {
            SettingsError::Typed(error) => NoOrder::Typed(error),
            SettingsError::Elsewhere(sentence) => NoOrder::Meaningless(sentence),
        }
    }
}

impl NoOrder {
    /// Shows it.
    pub(super) fn show(&self) -> ExitCode {
        match self {
            NoOrder::Typed(error) => usage::show(error, "ftget", help::HABITS),
            NoOrder::Meaningless(sentence) => {
                tell(&format!("ftget: {sentence}"));
                ExitCode::Usage
            }
            NoOrder::Hinted(sentence, hint) => {
                tell(&format!("ftget: {sentence}\nhint: {hint}"));
                ExitCode::Usage
            }
            NoOrder::Unusable(sentence) => {
                tell(&format!("ftget: {sentence}"));
                ExitCode::LocalFile
            }
        }
    }
}

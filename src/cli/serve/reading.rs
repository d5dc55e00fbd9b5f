//! Reading the options: from the command line, the environment and the file.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::ExitCode;
use crate::cli::digests::IndexChoice;
use crate::cli::failure::{Failure, failure};
use crate::cli::serve::args::{Args, Setup};
use crate::cli::serve::beside::HashAhead;
use crate::cli::serve::help::MANUAL;
use crate::cli::settings::{self, ConfigFile, Settings, SettingsError};

/// What was typed, to be read as often as the file changes.
pub(super) struct Reading {
    arguments: Vec<OsString>,
}

/// What is wanted.
pub(super) enum Wanted {
    /// To serve; and each option's words.
    Serve(Box<Setup>, Words),
    /// Only to know whether it could serve.
    Check(Box<Setup>),
    Manual,
    Completions(Shell),
}

/// Each option's name and words.
pub(super) type Words = BTreeMap<String, Vec<OsString>>;

/// Why nothing is served.
pub(super) enum NotRead {
    /// Help, the version, or not what the options allow.
    Typed(Box<clap::Error>),
    Failed(Failure),
}

impl Reading {
    pub(super) fn of(arguments: Vec<OsString>) -> Reading {
        Reading { arguments }
    }

    /// Reads everything.
    pub(super) fn read(&self) -> Result<Wanted, NotRead> {
        if self.arguments.last().is_some_and(|word| word == "--") {
            return Err(usage("there is no COMMAND after --"));
        }
        let Settings { typed, .. } = self.settings(None)?;
        let config = match &typed.config {
            None => None,
            Some(path) => Some(
                ConfigFile::read(path, &Args::command())
                    .map_err(|error| NotRead::Failed(failure(ExitCode::Usage)(error)))?,
            ),
        };
        let Settings {
            typed,
            words,
            elsewhere,
            ignored,
        } = match &config {
            Some(file) => self.settings(Some(file))?,
            None => self.settings(None)?,
        };
        if typed.man {
            return Ok(Wanted::Manual);
        }
        if let Some(shell) = typed.completions {
            return Ok(Wanted::Completions(shell));
        }
        let is_check = typed.check_config;
        let is_verbose = typed.verbose;
        let mut setup = Setup::from_args(typed)
            .map_err(|error| NotRead::Failed(failure(ExitCode::Usage)(error)))?;
        if is_verbose {
            setup.notes = ignored;
        }
        if setup.hash_ahead == HashAhead::Always && setup.index == IndexChoice::Off {
            let [watch, index] = ["watch", "index"].map(|name| elsewhere.called(name));
            return Err(usage(&format!(
                "{watch} with {index} off: there is no place for the digests"
            )));
        }
        if is_check {
            return Ok(Wanted::Check(Box::new(setup)));
        }
        Ok(Wanted::Serve(Box::new(setup), words))
    }

    fn settings(&self, file: Option<&ConfigFile>) -> Result<Settings<Args>, NotRead> {
        settings::read(&self.arguments, MANUAL.prefix, file).map_err(|error| match error {
            SettingsError::Typed(error) => NotRead::Typed(error),
            SettingsError::Elsewhere(sentence) => usage(&sentence),
        })
    }
}

fn usage(sentence: &str) -> NotRead {
    NotRead::Failed(failure(ExitCode::Usage)(Box::<dyn Error>::from(sentence)))
}

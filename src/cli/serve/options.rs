//! Reads the options of `ftserve` from the command line, the environment and the file.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::ExitCode;
use crate::cli::digests::IndexChoice;
use crate::cli::failure::{Failure, failure};
use crate::cli::serve::args::{ServeArgs, Setup};
use crate::cli::serve::hashing::HashAhead;
use crate::cli::serve::help::MANUAL;
use crate::cli::settings::{self, ConfigFile, Settings, SettingsError};

/// The command line. It is read again for each reload.
pub(super) struct OptionReader {
    arguments: Vec<OsString>,
}

/// The task of `ftserve`, as the options name it.
pub(super) enum ServeCommand {
    /// Serve. Holds the words of each option too.
    Serve(Box<Setup>, Words),
    /// Check the options without serving.
    Check(Box<Setup>),
    Manual,
    Completions(Shell),
}

/// The words of each option, by its name.
pub(super) type Words = BTreeMap<String, Vec<OsString>>;

/// Why the options cannot be used.
pub(super) enum OptionsError {
    /// An error of clap; help and the version are such errors too.
    CommandLine(Box<clap::Error>),
    Failed(Failure),
}

impl OptionReader {
    pub(super) fn of(arguments: Vec<OsString>) -> OptionReader {
        OptionReader { arguments }
    }

    pub(super) fn read(&self) -> Result<ServeCommand, OptionsError> {
        if self.arguments.last().is_some_and(|word| word == "--") {
            return Err(usage("there is no COMMAND after --"));
        }
        let Settings { args, .. } = self.settings(None)?;
        let config = match &args.config {
            None => None,
            Some(path) => Some(
                ConfigFile::read(path, &ServeArgs::command())
                    .map_err(|error| OptionsError::Failed(failure(ExitCode::Usage)(error)))?,
            ),
        };
        let Settings {
            args,
            words,
            sources: settings,
            ignored,
        } = match &config {
            Some(file) => self.settings(Some(file))?,
            None => self.settings(None)?,
        };
        if args.man {
            return Ok(ServeCommand::Manual);
        }
        if let Some(shell) = args.completions {
            return Ok(ServeCommand::Completions(shell));
        }
        let is_check = args.check_config;
        let is_verbose = args.verbose;
        let mut setup = Setup::from_args(args)
            .map_err(|error| OptionsError::Failed(failure(ExitCode::Usage)(error)))?;
        if is_verbose {
            setup.notes = ignored;
        }
        if setup.hash_ahead == HashAhead::Always && setup.index == IndexChoice::Off {
            let [watch, index] = ["watch", "index"].map(|name| settings.spelling(name));
            return Err(usage(&format!("{watch} cannot be used with {index} off")));
        }
        if is_check {
            return Ok(ServeCommand::Check(Box::new(setup)));
        }
        Ok(ServeCommand::Serve(Box::new(setup), words))
    }

    fn settings(&self, file: Option<&ConfigFile>) -> Result<Settings<ServeArgs>, OptionsError> {
        settings::read(&self.arguments, MANUAL.prefix, file).map_err(|error| match error {
            SettingsError::CommandLine(error) => OptionsError::CommandLine(error),
            SettingsError::EnvironmentOrFile(sentence) => usage(&sentence),
        })
    }
}

fn usage(sentence: &str) -> OptionsError {
    OptionsError::Failed(failure(ExitCode::Usage)(Box::<dyn Error>::from(sentence)))
}

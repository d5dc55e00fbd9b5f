//! SIGHUP: reads the options again, and applies those that can change at run time.

use std::ffi::OsString;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};

use crate::cli::failure::sentence;
use crate::cli::serve::log::{AccessLog, LogError};
use crate::cli::serve::options::{OptionReader, OptionsError, ServeCommand, Words};
use crate::cli::terminal::{print_line, shown};
use crate::server::LiveLimits;

/// Everything that a reload needs.
pub(super) struct Reload {
    reading: OptionReader,
    has_file: bool,
    /// The current options. An option that needs a restart keeps its value from the start.
    words: Mutex<Words>,
    limits: Arc<LiveLimits>,
}

impl Reload {
    pub(super) fn new(reading: OptionReader, words: Words, limits: Arc<LiveLimits>) -> Reload {
        let file = words.get("config").and_then(|config| config.first());
        let has_file = file.is_some_and(|file| {
            // A file that is missing now can come back.
            fs::metadata(file).map_or(true, |found| found.is_file())
        });
        Reload {
            reading,
            has_file,
            words: Mutex::new(words),
            limits,
        }
    }

    /// Whether there is a file to read again. A pipe was read to its end.
    pub(super) fn has_file(&self) -> bool {
        self.has_file
    }

    /// Reads the options, applies those that can change, and reports which changed. An error
    /// changes nothing. The log is opened again in any case.
    pub(super) fn apply(&self, log: &Mutex<Option<AccessLog>>) {
        let read = match self.reading.read() {
            Ok(ServeCommand::Serve(setup, words)) => Ok((setup, words)),
            Ok(_) => Err("the options start no server".to_owned()),
            Err(OptionsError::Failed(failure)) => Err(sentence(&*failure.error)),
            Err(OptionsError::CommandLine(error)) => Err(error.to_string()),
        };
        // Lock late: reading a file may block, and the end of the server needs the log.
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        let log = log.as_mut();
        let (setup, new) = match read {
            Ok(read) => read,
            Err(reason) => {
                print_line(&format!("the options are not reloaded: {reason}"));
                return warn(log.map_or(Ok(()), AccessLog::reopen));
            }
        };
        self.limits.set(setup.limits);
        let log = match (log, setup.log) {
            (Some(log), Some(destination)) => match log.switch_to(destination, setup.log_format) {
                Ok(()) => ChangeResult::Applied,
                Err(error) => {
                    warn(Err(error));
                    ChangeResult::Failed
                }
            },
            // A log cannot be added or removed at run time.
            (log, _) => {
                warn(log.map_or(Ok(()), AccessLog::reopen));
                ChangeResult::NeedsRestart
            }
        };
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, new) in new {
            if words.get(&name) == Some(&new) {
                continue;
            }
            let fate = match name.as_str() {
                limit if LIMIT_OPTIONS.contains(&limit) => ChangeResult::Applied,
                of_log if LOG_OPTIONS.contains(&of_log) => log,
                _ => ChangeResult::NeedsRestart,
            };
            match fate {
                ChangeResult::Applied => {
                    print_line(&format!("{name} is {} now", in_a_line(&new)));
                    words.insert(name, new);
                }
                ChangeResult::NeedsRestart => {
                    print_line(&format!("{name} has changed, which needs a restart"))
                }
                ChangeResult::Failed => {}
            }
        }
    }
}

/// The result of a change to one option.
#[derive(Clone, Copy)]
enum ChangeResult {
    Applied,
    NeedsRestart,
    /// The reason was printed.
    Failed,
}

/// Warns that the log could not be opened again.
pub(super) fn warn(opened: Result<(), LogError>) {
    if let Err(error) = opened {
        let reason = sentence(&error);
        print_line(&format!(
            "ftserve: warning: {reason}; lines continue to go to the open log"
        ));
    }
}

fn in_a_line(words: &[OsString]) -> String {
    if words.is_empty() {
        return "unset".to_owned();
    }
    words.iter().map(shown).collect::<Vec<_>>().join(", ")
}

const LIMIT_OPTIONS: [&str; 5] = [
    "header-timeout",
    "idle-timeout",
    "min-rate",
    "limit-rate",
    "limit-rate-per-connection",
];
const LOG_OPTIONS: [&str; 3] = ["access-log", "log-format", "verbose"];

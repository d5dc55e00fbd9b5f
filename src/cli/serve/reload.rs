//! SIGHUP: reading the options anew, and what of them can change while the server runs.

use std::ffi::OsString;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};

use crate::cli::failure::sentence;
use crate::cli::serve::log::{AccessLog, LogError};
use crate::cli::serve::reading::{NotRead, Reading, Wanted, Words};
use crate::cli::terminal::{shown, tell};
use crate::server::LiveLimits;

/// What it takes to read the options anew.
pub(super) struct Reload {
    reading: Reading,
    has_file: bool,
    /// What the server goes by; what needs a restart stays as it was at the start.
    words: Mutex<Words>,
    limits: Arc<LiveLimits>,
}

impl Reload {
    pub(super) fn new(reading: Reading, words: Words, limits: Arc<LiveLimits>) -> Reload {
        let file = words.get("config").and_then(|config| config.first());
        let has_file = file.is_some_and(|file| {
            // One that is gone is still there to be named.
            fs::metadata(file).map_or(true, |found| found.is_file())
        });
        Reload {
            reading,
            has_file,
            words: Mutex::new(words),
            limits,
        }
    }

    /// Whether there is a file that may have changed: a pipe was read to its end.
    pub(super) fn has_file(&self) -> bool {
        self.has_file
    }

    /// Reads the options, applies those that can change, and says which did and which cannot.
    /// What is wrong changes nothing. The log is opened anew in any case.
    pub(super) fn apply(&self, log: &Mutex<Option<AccessLog>>) {
        let read = match self.reading.read() {
            Ok(Wanted::Serve(setup, words)) => Ok((setup, words)),
            Ok(_) => Err("nothing is to be served".to_owned()),
            Err(NotRead::Failed(failure)) => Err(sentence(&*failure.error)),
            Err(NotRead::Typed(error)) => Err(error.to_string()),
        };
        // Only now, since a file can hold up the reading, and the end of the server needs the log.
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        let log = log.as_mut();
        let (setup, new) = match read {
            Ok(read) => read,
            Err(reason) => {
                tell(&format!("nothing changes: {reason}"));
                return warn(log.map_or(Ok(()), AccessLog::reopen));
            }
        };
        self.limits.set(setup.limits);
        let log = match (log, setup.log) {
            (Some(log), Some(place)) => match log.go_on(place, setup.log_format) {
                Ok(()) => Fate::Applied,
                Err(error) => {
                    warn(Err(error));
                    Fate::Failed
                }
            },
            // A log begins and ends with the server.
            (log, _) => {
                warn(log.map_or(Ok(()), AccessLog::reopen));
                Fate::NeedsRestart
            }
        };
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, new) in new {
            if words.get(&name) == Some(&new) {
                continue;
            }
            let fate = match name.as_str() {
                limit if LIMIT_OPTIONS.contains(&limit) => Fate::Applied,
                of_log if LOG_OPTIONS.contains(&of_log) => log,
                _ => Fate::NeedsRestart,
            };
            match fate {
                Fate::Applied => {
                    tell(&format!("{name} is {} now", in_a_line(&new)));
                    words.insert(name, new);
                }
                Fate::NeedsRestart => tell(&format!("{name} has changed, which needs a restart")),
                Fate::Failed => {}
            }
        }
    }
}

/// What became of an option that has changed.
#[derive(Clone, Copy)]
enum Fate {
    Applied,
    NeedsRestart,
    /// It was said why.
    Failed,
}

/// Says why a log was not opened anew.
pub(super) fn warn(opened: Result<(), LogError>) {
    if let Err(error) = opened {
        let reason = sentence(&error);
        tell(&format!(
            "ftserve: warning: {reason}; lines go on where they went"
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

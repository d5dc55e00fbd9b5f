//! SIGHUP: reading the options anew, and what of them can change while the server runs.

use std::sync::{Arc, Mutex, PoisonError};

use crate::cli::serve::log::AccessLog;
use crate::cli::serve::reading::{NotRead, Reading, Wanted, Words};
use crate::cli::terminal::tell;
use crate::server::LiveLimits;

/// What it takes to read the options anew.
pub(super) struct Reload {
    reading: Reading,
    words: Mutex<Words>,
    limits: Arc<LiveLimits>,
}

impl Reload {
    pub(super) fn new(reading: Reading, words: Words, limits: Arc<LiveLimits>) -> Reload {
        Reload {
            reading,
            words: Mutex::new(words),
            limits,
        }
    }

    /// Whether there is a file that may have changed.
    pub(super) fn has_file(&self) -> bool {
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        words.get("config").is_some_and(|config| !config.is_empty())
    }

    /// Reads the options, applies those that can change, and says which cannot. What is wrong
    /// changes nothing.
    pub(super) fn apply(&self, log: Option<&AccessLog>) {
        let (setup, new) = match self.reading.read() {
            Ok(Wanted::Serve(setup, words)) => (setup, words),
            Ok(_) => return,
            Err(NotRead::Failed(failure)) => {
                return tell(&format!("nothing changes: {}", failure.error));
            }
            Err(NotRead::Typed(error)) => return tell(&format!("nothing changes: {error}")),
        };
        let mut old = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, words) in &new {
            if old.get(name) == Some(words) {
                continue;
            }
            let shown = words
                .iter()
                .map(|word| word.to_string_lossy())
                .collect::<Vec<_>>();
            let is_log = LOG_OPTIONS.contains(&name.as_str());
            if LIMIT_OPTIONS.contains(&name.as_str()) || is_log && log.is_some() {
                let shown = if shown.is_empty() {
                    "unset".to_owned()
                } else {
                    shown.join(", ")
                };
                tell(&format!("{name} is {shown} now"));
            } else {
                tell(&format!("{name} has changed, which needs a restart"));
            }
        }
        self.limits.set(setup.limits);
        if let (Some(log), Some(place)) = (log, setup.log) {
            log.move_to(place, setup.log_format);
        }
        *old = new;
    }
}

const LIMIT_OPTIONS: [&str; 5] = [
    "header-timeout",
    "idle-timeout",
    "min-rate",
    "limit-rate",
    "limit-rate-per-connection",
];
const LOG_OPTIONS: [&str; 2] = ["access-log", "log-format"];

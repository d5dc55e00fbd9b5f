//! The numbers of a run: for `--json`, for the command of `--on-complete`, and in one line for
//! people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use crate::cli::terminal::{counted, size};
use crate::client::Action;
use crate::store::Unkept;

/// The last line of `--json`.
#[derive(Default, Serialize)]
pub(super) struct Summary {
    pub(super) v: u8,
    pub(super) event: &'static str,
    pub(super) done: u64,
    pub(super) failed: u64,
    pub(super) passed_over: u64,
    pub(super) bytes: u64,
    #[serde(flatten)]
    pub(super) actions: Actions,
    pub(super) hidden: u64,
    #[serde(flatten)]
    pub(super) unkept: UnkeptCounts,
    /// With -n and --preflight: nothing was transferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dry_run: Option<bool>,
    /// With --delete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deleted: Option<u64>,
    /// With -n and --preflight: the bytes that the run needs, and the bytes that are free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) needed_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) free_bytes: Option<u64>,
    /// With -n: the number of directories that cannot be read. A run changes their mode for a
    /// while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) locked: Option<u64>,
    pub(super) secs: f64,
    /// The number of failures by exit code.
    pub(super) causes: BTreeMap<u8, u64>,
    /// The exit code of the command of --on-complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) complete_status: Option<i32>,
    pub(super) code: u8,
}

/// The number of entries by action.
#[derive(Clone, Copy, Default, Serialize)]
pub(super) struct Actions {
    fetched: u64,
    resumed: u64,
    identical: u64,
    linked: u64,
    skipped: u64,
    link: u64,
}

impl Actions {
    /// Counts one.
    pub(super) fn add(&mut self, action: Action) {
        *match action {
            Action::Fetched => &mut self.fetched,
            Action::Resumed { .. } => &mut self.resumed,
            Action::Identical => &mut self.identical,
            Action::Linked => &mut self.linked,
            Action::Skipped => &mut self.skipped,
            Action::Link => &mut self.link,
        } += 1;
    }
}

/// Attributes and syncs that local file systems refused.
#[derive(Clone, Copy, Default, Serialize)]
pub(super) struct UnkeptCounts {
    unkept_permissions: u64,
    unkept_times: u64,
    unkept_links: u64,
    unkept_syncs: u64,
}

impl UnkeptCounts {
    /// Adds the counts of a batch.
    pub(super) fn add(&mut self, unkept: Unkept) {
        self.unkept_permissions += unkept.permissions;
        self.unkept_times += unkept.times;
        self.unkept_links += unkept.links;
        self.unkept_syncs += unkept.syncs;
    }

    /// One line about all of them; `None` if nothing was refused.
    pub(super) fn sentence(&self) -> Option<String> {
        let counts = [
            (self.unkept_permissions, "permissions"),
            (self.unkept_times, "times"),
            (self.unkept_links, "symbolic links"),
            (self.unkept_syncs, "syncs to disk"),
        ];
        let lost = counts.iter().filter(|(count, _)| *count > 0);
        let lost: Vec<_> = lost
            .map(|(count, what)| format!("{what} ({count})"))
            .collect();
        let what = lost.join(", ");
        (!what.is_empty())
            .then(|| format!("the local file system cannot keep {what}; the files are complete"))
    }
}

impl Summary {
    /// One line with the totals of a run, for people.
    pub(super) fn finished(&self) -> String {
        let rate = size((self.bytes as f64 / self.secs.max(0.001)) as u64);
        let came = self.actions.fetched + self.actions.resumed;
        let (files, bytes) = (counted(came, "file"), size(self.bytes));
        let others = self.failed + self.actions.linked + self.actions.link;
        let mut line = match came {
            0 if others == 0 => "nothing to download".to_owned(),
            0 => "0 files downloaded".to_owned(),
            _ => format!("{files}, {bytes} in {:.1} s ({rate}/s)", self.secs),
        };
        add(&mut line, self.actions.linked, "copied here");
        add(&mut line, self.actions.link, links(self.actions.link));
        add(&mut line, self.deleted.unwrap_or_default(), "deleted");
        self.add_others(&mut line);
        line
    }

    /// One line with the plan of a dry run, for people.
    pub(super) fn planned(&self, deletions: u64) -> String {
        let come = self.actions.fetched + self.actions.resumed;
        let (files, bytes) = (counted(come, "file"), size(self.bytes));
        let mut line = format!("would download {files}, {bytes}");
        add(&mut line, self.actions.linked, "to copy here");
        add(&mut line, self.actions.link, links(self.actions.link));
        add(&mut line, deletions, "to delete");
        self.add_others(&mut line);
        line
    }

    fn add_others(&self, line: &mut String) {
        for (count, what) in [
            (self.actions.identical, "already here"),
            (self.actions.skipped, "skipped (--if-exists or --links)"),
            (self.passed_over, "left out (special files or links)"),
            (self.failed, "failed"),
        ] {
            add(line, count, what);
        }
    }

    /// The numbers as environment variables: `FTGET_DONE`, `FTGET_CODE` and so on.
    pub(super) fn variables(&self) -> Vec<(String, String)> {
        let Ok(Value::Object(summary)) = serde_json::to_value(self) else {
            return Vec::new();
        };
        let numbers = summary
            .into_iter()
            .filter(|(key, value)| value.is_number() && key != "v");
        numbers
            .map(|(key, value)| (format!("FTGET_{}", key.to_uppercase()), value.to_string()))
            .collect()
    }
}

fn links(count: u64) -> &'static str {
    match count {
        1 => "symbolic link",
        _ => "symbolic links",
    }
}

fn add(line: &mut String, count: u64, what: &str) {
    if count > 0 {
        // Writing to a String cannot fail.
        let _ = write!(line, ", {count} {what}");
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::get::args::GetArgs;
    use crate::cli::settings::variable;

    #[test]
    fn summary_variables_never_set_an_option() {
        let summary = Summary {
            deleted: Some(1),
            complete_status: Some(1),
            ..Summary::default()
        };
        let variables = summary.variables();
        assert!(variables.contains(&("FTGET_CODE".to_owned(), "0".to_owned())));
        for arg in GetArgs::command().get_arguments() {
            let option = variable("FTGET", arg);
            assert!(
                variables.iter().all(|(name, _)| *name != option),
                "{option}"
            );
        }
    }
}

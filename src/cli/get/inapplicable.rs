//! Variables that do not apply to a command line. A variable is set for many commands, and not
//! every command can use it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::args::GetArgs;
use super::output::stream;
use super::source::{is_command, is_url};
use crate::cli::settings::SettingSources;

impl GetArgs {
    /// Drops options of the environment that do not apply to this command.
    pub(super) fn drop_inapplicable(&mut self, settings: &SettingSources) {
        let fetches = [
            ("output", self.output.is_some()),
            ("dir", self.dir.is_some()),
            ("md5", self.md5.is_some()),
            ("exec", self.exec.is_some()),
            ("spool", self.spool),
        ]
        .iter()
        .any(|(name, given)| *given && !settings.sets(name));
        let is_inapplicable = |name, does_not_apply| does_not_apply && settings.sets(name);
        if is_inapplicable("list", fetches) {
            self.list = None;
        }
        let lists = self.list.is_some();
        let runs = self.sources.iter().any(|source| is_command(source));
        let is_streamed = runs
            || self
                .output
                .as_deref()
                .is_some_and(|output| stream(output).is_some());
        if is_inapplicable("recursive", self.input_file.is_some()) {
            self.recursive = false;
        }
        let names_directory = self.dir.is_some() && !settings.sets("dir");
        if is_inapplicable("output", lists || names_directory) {
            self.output = None;
        }
        // The command line has one of the two places, so the variable of the other does not apply.
        let names_file = self.output.is_some() && !settings.sets("output");
        if is_inapplicable("dir", lists || runs || names_file) {
            self.dir = None;
        }
        if is_inapplicable("md5", lists) {
            self.md5 = None;
        }
        if is_inapplicable("exec", lists || is_streamed) {
            self.exec = None;
        }
        if is_inapplicable("receipts", lists || is_streamed || self.dry_run) {
            self.receipts = None;
        }
        if is_inapplicable(
            "preflight",
            lists || is_streamed || self.dry_run || self.check,
        ) {
            self.preflight = false;
        }
        if is_inapplicable("spool", lists || !is_streamed) {
            self.spool = false;
        }
        if is_inapplicable("input-file", runs) {
            self.input_file = None;
        }
        if is_inapplicable("null", self.input_file.is_none()) {
            self.null = false;
        }
        let has_pattern =
            |source: &OsString| !is_url(source) && source.as_bytes().iter().any(is_wildcard);
        let has_list = self.input_file.is_some();
        let selects = lists || has_list || self.recursive || self.sources.iter().any(has_pattern);
        let is_named = self.output.is_some() && !lists;
        let names_one = has_list || is_named;
        if is_inapplicable("recursive", is_streamed || names_one) {
            self.recursive = false;
        }
        if is_inapplicable(
            "delete",
            is_streamed || names_one || lists || !self.recursive,
        ) {
            self.delete = false;
        }
        if is_inapplicable("max-delete", !self.delete) {
            self.max_delete = None;
        }
        self.rules.drop_inapplicable(|option| {
            is_inapplicable(option, is_streamed || is_named || !selects)
        });
    }
}

/// Whether a byte makes a source a pattern.
fn is_wildcard(byte: &u8) -> bool {
    b"*?[".contains(byte)
}

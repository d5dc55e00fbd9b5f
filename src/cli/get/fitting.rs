//! Which options fit a command line: a variable is set for many, and gives way in some.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::arguments::Typed;
use super::output::stream;
use super::source::{is_command, is_url};
use crate::cli::settings::Places;

impl Typed {
    /// Forgets what was set elsewhere, for many commands, and does not apply to this one.
    pub(super) fn forget_what_does_not_apply(&mut self, elsewhere: &Places) {
        let fetches = [
            ("output", self.output.is_some()),
            ("dir", self.dir.is_some()),
            ("md5", self.md5.is_some()),
            ("exec", self.exec.is_some()),
            ("spool", self.spool),
        ]
        .iter()
        .any(|(name, given)| *given && !elsewhere.has(name));
        let unfit = |name, does_not_apply| does_not_apply && elsewhere.has(name);
        if unfit("list", fetches) {
            self.list = None;
        }
        let lists = self.list.is_some();
        let runs = self.sources.iter().any(|source| is_command(source));
        let is_poured = runs
            || self
                .output
                .as_deref()
                .is_some_and(|output| stream(output).is_some());
        if unfit("recursive", self.input_file.is_some()) {
            self.recursive = false;
        }
        let names_directory = self.dir.is_some() && !elsewhere.has("dir");
        if unfit("output", lists || names_directory) {
            self.output = None;
        }
        // One place is named here, and the other for many commands.
        let names_file = self.output.is_some() && !elsewhere.has("output");
        if unfit("dir", lists || runs || names_file) {
            self.dir = None;
        }
        if unfit("md5", lists) {
            self.md5 = None;
        }
        if unfit("exec", lists || is_poured) {
            self.exec = None;
        }
        if unfit("receipts", lists || is_poured || self.dry_run) {
            self.receipts = None;
        }
        if unfit(
            "preflight",
            lists || is_poured || self.dry_run || self.check,
        ) {
            self.preflight = false;
        }
        if unfit("spool", lists || !is_poured) {
            self.spool = false;
        }
        if unfit("input-file", runs) {
            self.input_file = None;
        }
        if unfit("null", self.input_file.is_none()) {
            self.null = false;
        }
        let has_pattern =
            |source: &OsString| !is_url(source) && source.as_bytes().iter().any(is_wildcard);
        let has_list = self.input_file.is_some();
        let selects = lists || has_list || self.recursive || self.sources.iter().any(has_pattern);
        let is_named = self.output.is_some() && !lists;
        let names_one = has_list || is_named;
        if unfit("recursive", is_poured || names_one) {
            self.recursive = false;
        }
        if unfit("delete", is_poured || names_one || lists || !self.recursive) {
            self.delete = false;
        }
        if unfit("max-delete", !self.delete) {
            self.max_delete = None;
        }
        self.rules
            .forget(|option| unfit(option, is_poured || is_named || !selects));
    }
}

/// Whether a pattern may be made with it.
fn is_wildcard(byte: &u8) -> bool {
    b"*?[".contains(byte)
}

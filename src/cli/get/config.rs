//! The configuration of the client, from the options.

use std::sync::Arc;

use super::args::{GetArgs, IfExistsArg, PreserveArg, SyncArg};
use super::local::open_files_max;
use crate::client::{AddressFamily, ClientConfig, IfExists, RetryPolicy, SyncPolicy};

impl GetArgs {
    pub(super) fn config(&self) -> ClientConfig {
        let defaults = RetryPolicy::default();
        ClientConfig {
            family: match (self.ipv4, self.ipv6) {
                (true, _) => AddressFamily::V4,
                (false, true) => AddressFamily::V6,
                (false, false) => AddressFamily::Any,
            },
            connect_timeout: self.connect_timeout,
            progress_timeout: self.timeout,
            whole_timeout: self.max_time,
            rate: self.limit_rate,
            connections_max: self.jobs,
            split: self.split,
            retry: RetryPolicy {
                retries_max: self.retry.unwrap_or(defaults.retries_max),
                delay: self.retry_delay,
                time_max: self.retry_max_time,
                before_contact: self.retry.is_some(),
            },
            if_exists: match self.if_exists {
                IfExistsArg::Update => IfExists::Update,
                IfExistsArg::Skip => IfExists::Skip,
                IfExistsArg::Overwrite => IfExists::Overwrite,
                IfExistsArg::Rename => IfExists::Rename,
                IfExistsArg::Error => IfExists::Error,
            },
            resume: !self.no_resume,
            sync: match self.sync {
                SyncArg::Auto => SyncPolicy::Auto,
                SyncArg::Always => SyncPolicy::Always,
                SyncArg::Never => SyncPolicy::Never,
            },
            preserve_mode: self.keeps(PreserveArg::Mode),
            preserve_mtime: self.keeps(PreserveArg::Mtime),
            umask: umask(),
            make_folders: self.dir.is_some() || self.input_file.is_some(),
            local_digests: Arc::new(self.local_digests()),
            open_files_max: open_files_max(),
        }
    }

    /// Whether an attribute is kept. With `--check` only the named attributes are compared: a run
    /// does not touch files whose content is right.
    fn keeps(&self, attribute: PreserveArg) -> bool {
        match &self.preserve {
            Some(preserved) => preserved.contains(&attribute),
            None => !self.check,
        }
    }
}

/// The umask. The system can only read it by setting it, so no thread may run yet.
fn umask() -> u32 {
    let umask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    rustix::process::umask(umask);
    umask.as_raw_mode()
}

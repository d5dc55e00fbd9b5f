//! How the client is to behave, as the options say.

use std::sync::Arc;

use super::arguments::{Preserved, Typed, TypedIfExists, TypedSync};
use super::local::open_files_max;
use crate::client::{AddressFamily, ClientConfig, IfExists, RetryPolicy, SyncPolicy};

impl Typed {
    /// What the options say of it.
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
                TypedIfExists::Update => IfExists::Update,
                TypedIfExists::Skip => IfExists::Skip,
                TypedIfExists::Overwrite => IfExists::Overwrite,
                TypedIfExists::Rename => IfExists::Rename,
                TypedIfExists::Error => IfExists::Error,
            },
            resume: !self.no_resume,
            sync: match self.sync {
                TypedSync::Auto => SyncPolicy::Auto,
                TypedSync::Always => SyncPolicy::Always,
                TypedSync::Never => SyncPolicy::Never,
            },
            preserve_mode: self.keeps(Preserved::Mode),
            preserve_mtime: self.keeps(Preserved::Mtime),
            umask: umask(),
            make_folders: self.dir.is_some() || self.input_file.is_some(),
            local_digests: Arc::new(self.local_digests()),
            open_files_max: open_files_max(),
        }
    }

    /// Whether files keep this; compared is only what was asked for, since files whose content
    /// is right are left as they are.
    fn keeps(&self, attribute: Preserved) -> bool {
        match &self.preserve {
            Some(preserved) => preserved.contains(&attribute),
            None => !self.check,
        }
    }
}

/// The umask, which can only be read by setting it; no thread runs yet.
fn umask() -> u32 {
    let umask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    rustix::process::umask(umask);
    umask.as_raw_mode()
}

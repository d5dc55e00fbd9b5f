//! Placing verified files, many at once: sync their bytes, rename each, sync each folder, and
//! only then are they done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::job::Job;
use crate::client::verify::Verified;
use crate::client::{Action, ClientConfig, ClientError, Downloaded, IfExists, SyncPolicy};
use crate::store::{Placement, StageError, StagingFolder};

/// Verified files that wait to be placed together.
#[derive(Default)]
pub(super) struct Batch<'a> {
    files: Vec<Verified<'a>>,
    bytes: u64,
    since: Option<Instant>,
}

impl<'a> Batch<'a> {
    pub(super) fn push(&mut self, file: Verified<'a>, now: Instant) {
        self.bytes += file.content.total_size;
        self.since.get_or_insert(now);
        self.files.push(file);
    }

    pub(super) fn is_full(&self, config: &ClientConfig) -> bool {
        config.sync == SyncPolicy::Never
            || self.files.len() >= BATCH_FILES_MAX
            || self.bytes >= BATCH_BYTES_MAX
    }

    /// How long it may still wait for more; `None` if it is empty.
    pub(super) fn patience(&self, now: Instant) -> Option<Duration> {
        self.since
            .map(|since| BATCH_AGE_MAX.saturating_sub(now.saturating_duration_since(since)))
    }

    /// Places everything and says how each file fared.
    pub(super) fn settle(
        &mut self,
        config: &ClientConfig,
    ) -> Vec<(Job<'a>, Result<Downloaded, ClientError>)> {
        let Batch { files, .. } = std::mem::take(self);
        let mut folders: Vec<Arc<StagingFolder>> = Vec::new();
        for file in &files {
            if !folders
                .iter()
                .any(|folder| Arc::ptr_eq(folder, file.staged.folder()))
            {
                folders.push(file.staged.folder().clone());
            }
        }
        let synced_together = sync_together(&files, &folders, config);
        let mut settled: Vec<_> = files
            .into_iter()
            .map(|file| match &synced_together {
                Ok(together) => place(file, *together, config),
                Err(error) => (file.job, Err(error.clone())),
            })
            .collect();
        if config.sync == SyncPolicy::Never {
            return settled;
        }
        for folder in folders {
            let Err(error) = folder.sync().map_err(ClientError::from) else {
                continue;
            };
            for (job, result) in &mut settled {
                if Arc::ptr_eq(&job.folder, &folder) && result.is_ok() {
                    *result = Err(error.clone());
                }
            }
        }
        settled
    }
}

/// Syncs many files with one call. `Ok(false)`: they are few, or shall be synced one by one.
fn sync_together(
    files: &[Verified<'_>],
    folders: &[Arc<StagingFolder>],
    config: &ClientConfig,
) -> Result<bool, ClientError> {
    let unsynced = files.iter().filter(|file| !file.synced).count();
    if config.sync != SyncPolicy::Auto || unsynced < SYNC_TOGETHER_FILES_MIN {
        return Ok(false);
    }
    for folder in folders {
        folder.sync_file_system()?;
    }
    Ok(true)
}

fn place<'a>(
    file: Verified<'a>,
    synced_together: bool,
    config: &ClientConfig,
) -> (Job<'a>, Result<Downloaded, ClientError>) {
    let Verified {
        job,
        content,
        staged,
        synced,
    } = file;
    // Before the rename: a crash must never show the new name with other bytes.
    if config.sync != SyncPolicy::Never
        && !synced
        && !synced_together
        && let Err(error) = staged.sync()
    {
        return (job, Err(error.into()));
    }
    let placement = match config.if_exists {
        IfExists::Update | IfExists::Overwrite => Placement::Replace,
        IfExists::Skip | IfExists::Error => Placement::CreateOnly,
        IfExists::Rename => Placement::Numbered,
    };
    let result = match staged.place(placement) {
        Ok(name) => {
            let action = match content.offset {
                0 => Action::Fetched,
                from => Action::Resumed { from },
            };
            Ok(Downloaded {
                name: Some(name),
                ..job.downloaded(content.total_size, Some(content.md5), action)
            })
        }
        // It came while we were looking elsewhere.
        Err(StageError::Exists) if config.if_exists == IfExists::Skip => {
            Ok(job.downloaded(0, None, Action::Skipped))
        }
        Err(error) => Err(error.into()),
    };
    (job, result)
}

/// A quarter of the descriptors that a process has by default.
const BATCH_FILES_MAX: usize = 256;
const BATCH_BYTES_MAX: u64 = 64 * 1024 * 1024;
const BATCH_AGE_MAX: Duration = Duration::from_millis(500);
/// From here on one sync of the file system is cheaper than one of each file. Measured with
/// 2,000 files of 8 KiB on ext4: 0.17 s together, 0.66 s one by one, 0.17 s without any.
const SYNC_TOGETHER_FILES_MIN: usize = 8;

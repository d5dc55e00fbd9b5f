//! The verifying threads: they hash what was received, and dress and sync what is right.

use std::fs::File;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use crate::client::follow::{HASH_BUFFER_BYTES, Track};
use crate::client::job::Job;
use crate::client::question::Content;
use crate::client::round::Report;
use crate::client::{ClientConfig, ClientError, SyncPolicy};
use crate::digest::Md5Stream;
use crate::store::{Attributes, StagedFile};

/// A file that is not verified yet.
pub(super) enum Unverified<'a> {
    /// All of it is here, in memory.
    Small {
        job: Job<'a>,
        content: Content,
        body: Vec<u8>,
    },
    /// It is being received.
    Large {
        content: Content,
        file: Arc<File>,
        track: Arc<Track<(Job<'a>, StagedFile)>>,
    },
}

/// A file that has the right bytes, permissions and time, and is to be placed.
pub(super) struct Verified<'a> {
    pub(super) job: Job<'a>,
    pub(super) content: Content,
    pub(super) staged: StagedFile,
    pub(super) synced: bool,
}

/// Verifies until nothing more comes.
pub(super) fn run<'a>(
    unverified: &Receiver<Unverified<'a>>,
    reports: &Sender<Report<'a>>,
    config: &ClientConfig,
) {
    let mut buffer = Vec::new();
    for file in unverified {
        let report = match file {
            Unverified::Small { job, content, body } => verify_small(job, content, &body, config),
            Unverified::Large {
                content,
                file,
                track,
            } => {
                buffer.resize(HASH_BUFFER_BYTES, 0);
                // Abandoned: the receiving thread has reported why.
                let Some(((job, staged), found)) = track.follow(&file, &mut buffer) else {
                    continue;
                };
                let found = found.map_err(|error| ClientError::ReadBack(Arc::new(error)));
                match found.and_then(|found| check(&content, found)) {
                    Ok(()) => finish_large(job, content, staged, config),
                    Err(error) => {
                        staged.discard();
                        Report::Failed(job, error)
                    }
                }
            }
        };
        // The thread that listens ends last.
        let _ = reports.send(report);
    }
}

fn verify_small<'a>(
    job: Job<'a>,
    content: Content,
    body: &[u8],
    config: &ClientConfig,
) -> Report<'a> {
    let staged = check(&content, Md5Stream::digest(body)).and_then(|()| {
        let attributes = attributes(&content, config);
        Ok(job
            .folder
            .stage_whole(&job.download.name, body, &attributes)?)
    });
    match staged {
        Ok(staged) => Report::Verified(Verified {
            job,
            content,
            staged,
            synced: false,
        }),
        Err(error) => Report::Failed(job, error),
    }
}

fn finish_large<'a>(
    job: Job<'a>,
    content: Content,
    staged: StagedFile,
    config: &ClientConfig,
) -> Report<'a> {
    let synced = config.sync != SyncPolicy::Never;
    let finished = staged
        .dress(&attributes(&content, config))
        .and_then(|()| if synced { staged.sync() } else { Ok(()) });
    match finished {
        Ok(()) => Report::Verified(Verified {
            job,
            content,
            staged,
            synced,
        }),
        Err(error) => Report::Failed(job, error.into()),
    }
}

fn check(content: &Content, found: crate::wire::Md5Digest) -> Result<(), ClientError> {
    if found != content.md5 {
        return Err(ClientError::DigestMismatch {
            announced: content.md5,
            found,
        });
    }
    Ok(())
}

fn attributes(content: &Content, config: &ClientConfig) -> Attributes {
    Attributes {
        mode: content
            .mode
            .filter(|_| config.preserve_mode)
            .unwrap_or(0o666)
            & !config.umask,
        mtime: content.mtime.filter(|_| config.preserve_mtime),
    }
}

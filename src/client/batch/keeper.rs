//! Keeps the digests of files that were just placed, so that the next run need not read them:
//! beside everything else, and nobody waits for it.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::client::batch::destinations::Destinations;
use crate::client::{ClientConfig, Download};
use crate::store::{FileName, Object, ObjectMeta, StagedFile, StagingDirectory};
use crate::wire::Md5Digest;

/// Where it is noted that a file was placed; nowhere, if digests are not kept.
#[derive(Clone)]
pub(in crate::client) struct Keeper(Option<Sender<Fresh>>);

/// A file that was just placed, or given its attributes.
pub(in crate::client) struct Fresh {
    download: Arc<Download>,
    name: FileName,
    placed: ObjectMeta,
    md5: Md5Digest,
    /// From then on no write to it can go unseen.
    due: Instant,
}

impl Keeper {
    /// A keeper, and what its thread is to [`run`] on.
    pub(in crate::client) fn new(config: &ClientConfig) -> (Keeper, Receiver<Fresh>) {
        let (notes, noted) = bounded(NOTES_MAX);
        (
            Keeper(config.local_digests.are_kept().then_some(notes)),
            noted,
        )
    }

    /// Places a file by `place`, and notes that it has this digest.
    pub(in crate::client) fn note<E>(
        &self,
        staged: StagedFile,
        download: &Arc<Download>,
        md5: Md5Digest,
        place: impl FnOnce(StagedFile) -> Result<(FileName, Option<Arc<File>>), E>,
    ) -> Result<FileName, E> {
        let (name, file) = place(staged)?;
        if let (Some(notes), Some(file)) = (&self.0, file)
            && let Ok(placed) = file.meta()
        {
            send(notes, download, name.clone(), placed, md5);
        }
        Ok(name)
    }

    /// Notes that a file of this digest has looked like this since nothing but its attributes
    /// were changed.
    pub(in crate::client) fn note_again(
        &self,
        download: &Arc<Download>,
        dressed: ObjectMeta,
        md5: Md5Digest,
    ) {
        if let Some(notes) = &self.0 {
            send(notes, download, download.name.clone(), dressed, md5);
        }
    }
}

fn send(
    notes: &Sender<Fresh>,
    download: &Arc<Download>,
    name: FileName,
    placed: ObjectMeta,
    md5: Md5Digest,
) {
    let fresh = Fresh {
        download: Arc::clone(download),
        name,
        placed,
        md5,
        due: Instant::now() + SETTLING_TIME,
    };
    // If that is too much, it is read once more by the next run.
    let _ = notes.try_send(fresh);
}

/// Keeps what is noted, each when it is time, until nothing more can come. What is not due by
/// then is left out, unless to read it again would take longer than the wait.
pub(in crate::client) fn run(
    noted: &Receiver<Fresh>,
    destinations: &Destinations,
    config: &ClientConfig,
) {
    // Of this thread alone: what it does is of use in a later run only. Refused, it does it as
    // the others do.
    let _ = rustix::process::setpriority_process(None, NICE);
    let mut waiting: VecDeque<Fresh> = VecDeque::new();
    let mut last = None;
    loop {
        let now = Instant::now();
        while waiting.front().is_some_and(|fresh| fresh.due <= now)
            && let Some(fresh) = waiting.pop_front()
        {
            keep(&fresh, &mut last, destinations, config);
        }
        let next = match waiting.front() {
            Some(first) => noted.recv_deadline(first.due),
            None => noted.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next {
            Ok(fresh) if waiting.len() < WAITING_MAX => waiting.push_back(fresh),
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let bytes: u64 = waiting.iter().map(|fresh| fresh.placed.size()).sum();
    if bytes < AWAITED_BYTES_MIN {
        return;
    }
    for fresh in waiting {
        std::thread::sleep(fresh.due.saturating_duration_since(Instant::now()));
        keep(&fresh, &mut last, destinations, config);
    }
}

/// `last`: the folder of the file before, which is likely this one's.
fn keep(
    fresh: &Fresh,
    last: &mut Option<(Arc<Download>, Arc<StagingDirectory>)>,
    destinations: &Destinations,
    config: &ClientConfig,
) {
    let download = &fresh.download;
    if !last
        .as_ref()
        .is_some_and(|(before, _)| before.goes_beside(download))
    {
        let tree = destinations.open(&download.folder, config).ok();
        let folder = tree.and_then(|tree| tree.existing_directory(&download.below).ok()?);
        *last = folder.map(|folder| (Arc::clone(download), folder));
    }
    if let Some((_, folder)) = last
        && let Ok(file) = folder.open_existing(&fresh.name)
    {
        let digests = &config.local_digests;
        digests.keep_verified(&file, &fresh.placed, fresh.md5);
    }
}

/// [`crate::store::LocalDigests::keep_verified`] asks for 100 ms; the clock that it looks at
/// may be a tick late.
const SETTLING_TIME: Duration = Duration::from_millis(120);
const NICE: i32 = 10;
const NOTES_MAX: usize = 1_024;
/// As many as can be placed in that time, about.
const WAITING_MAX: usize = 16_384;
/// To hash as much takes some 0.3 s.
const AWAITED_BYTES_MIN: u64 = 256 * 1024 * 1024;

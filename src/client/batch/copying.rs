//! Files that are not fetched, since another of the batch has the same bytes: copied and verified
//! like what came over a network.

use std::fs::File;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use crate::client::batch::hands::{Hand, attributes, guarded};
use crate::client::batch::jobs::JobId;
use crate::client::batch::placing::{Verified, is_synced_alone};
use crate::client::batch::report::Report;
use crate::client::batch::twins::Twin;
use crate::client::follow::hash_range;
use crate::client::in_time::in_time;
use crate::client::question::Content;
use crate::client::{Action, ClientError, Download};
use crate::digest::Md5Stream;
use crate::store::{Object, StageError, StagedFile, StagingDirectory};

/// A job whose server has said that its file is the same as one that is here.
pub(in crate::client) struct ToCopy {
    pub(in crate::client) id: JobId,
    pub(in crate::client) download: Arc<Download>,
    /// Where it goes, as it was looked at.
    pub(in crate::client) folder: Weak<StagingDirectory>,
    /// What the server has.
    pub(in crate::client) content: Content,
    pub(in crate::client) twin: Arc<Twin>,
}

impl Hand<'_> {
    pub(super) fn copy(&self, wanted: ToCopy) {
        let id = wanted.id;
        match guarded(|| self.stage_copy(wanted)) {
            Ok(verified) => self.hand_over(vec![verified]),
            // It is fetched, and that finds out what is wrong here, if it is more than this.
            Err(_) => self.reports.send(Report::NotCopied(id)),
        }
    }

    fn stage_copy(&self, wanted: ToCopy) -> Result<Verified, ClientError> {
        let ToCopy {
            id,
            download,
            folder,
            content,
            twin,
        } = wanted;
        let original = self.open_twin(&twin)?;
        let share = self.open_files.take(1);
        let goes_on = || !self.is_stopped.load(Ordering::SeqCst);
        let was_known = self.is_known(&original, &content);
        let folder = self.destinations.folder(&download, &folder, self.config)?;
        let staged = folder.stage_copy_of(&download.name, &original, goes_on)?;
        if staged.bytes() != content.total_size {
            return Err(StageError::Vanished.into());
        }
        // If it was the same before and after that, so was what was copied.
        if !(was_known && self.is_known(&original, &content)) {
            self.check(&staged, &content)?;
        }
        staged.set_attributes(&attributes(&content, self.config))?;
        let synced = is_synced_alone(content.total_size, self.config);
        if synced {
            let file = staged.file();
            in_time(self.whole, move || StagedFile::sync_bytes(&file))??;
        }
        Ok(Verified {
            id,
            download,
            content,
            action: Action::Linked,
            staged,
            synced,
            share,
        })
    }

    /// Found again below the root by its name, through no link.
    fn open_twin(&self, twin: &Twin) -> Result<File, ClientError> {
        let download = &twin.download;
        let tree = self.destinations.open(&download.folder, self.config)?;
        let folder = tree.existing_directory(&download.below)?;
        Ok(folder
            .ok_or(StageError::Vanished)?
            .open_existing(&twin.name)?)
    }

    /// Whether an open file has this content by what is known of it, without reading it.
    fn is_known(&self, file: &File, content: &Content) -> bool {
        let digests = &self.config.local_digests;
        file.meta()
            .is_ok_and(|looked| digests.known(&looked) == Some(content.md5))
    }

    fn check(&self, staged: &StagedFile, content: &Content) -> Result<(), ClientError> {
        let (file, mut md5) = (staged.file(), Md5Stream::new());
        let mut at = 0;
        while at < content.total_size {
            if self.is_stopped.load(Ordering::SeqCst) {
                return Err(ClientError::OutOfTime);
            }
            let end = content.total_size.min(at + CHECKED_AT_ONCE_BYTES);
            hash_range(&file, at..end, &mut md5)
                .map_err(|error| ClientError::ReadBack(Arc::new(error)))?;
            at = end;
        }
        content.check(md5.finish())
    }
}

/// Between two looks at whether it is still wanted.
const CHECKED_AT_ONCE_BYTES: u64 = 8 * 1024 * 1024;

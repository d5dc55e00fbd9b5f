//! One download on its way: what it wants, what was tried, and what is to be asked next.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::client::follow::digest_file;
use crate::client::question::Question;
use crate::client::{Action, ClientConfig, ClientError, Downloaded, IfExists};
use crate::net::Address;
use crate::store::{FileName, NOT_REGULAR, Occupant, StageError, StagedFile, StagingFolder};
use crate::wire::{Md5Digest, ResourcePath};

/// One file to download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// The server.
    pub address: Address,
    /// The file's path there.
    pub path: ResourcePath,
    /// The folder it goes into; it must exist.
    pub folder: PathBuf,
    /// Its name in that folder.
    pub name: FileName,
    /// Only this content will do.
    pub want_md5: Option<Md5Digest>,
}

/// A download that is not finished.
pub(super) struct Job<'a> {
    pub(super) index: usize,
    pub(super) download: &'a Download,
    pub(super) folder: Arc<StagingFolder>,
    /// Requests sent so far.
    pub(super) attempts: u32,
    /// Failures that may pass, since the last progress.
    pub(super) failures: u32,
    /// The digest did not fit the bytes: the server is asked to make it anew.
    pub(super) fresh: bool,
    /// What is there of it belongs to a content that the server no longer has.
    pub(super) whole: bool,
    /// The last question was for the rest of a partial file.
    pub(super) continued: bool,
    /// Bytes gained by the last attempt, beyond all attempts before.
    pub(super) gained: u64,
    furthest: u64,
    have: Option<Existing>,
    begun: Option<Instant>,
}

/// The digest of the file that has the final name now.
#[derive(Clone, Copy)]
struct Existing {
    md5: Md5Digest,
    total_size: u64,
}

/// What to do for a job next.
pub(super) enum Step {
    /// It is finished without a question.
    Finished(Downloaded),
    /// Ask. The partial file is the one that the question continues.
    Ask(Question, Option<StagedFile>),
}

impl<'a> Job<'a> {
    pub(super) fn new(index: usize, download: &'a Download, folder: Arc<StagingFolder>) -> Job<'a> {
        Job {
            index,
            download,
            folder,
            attempts: 0,
            failures: 0,
            fresh: false,
            whole: false,
            continued: false,
            gained: 0,
            furthest: 0,
            have: None,
            begun: None,
        }
    }

    /// Looks at the folder and decides what to ask. Reads a file that has the name, so it may
    /// take long.
    pub(super) fn next_step(
        &mut self,
        config: &ClientConfig,
        buffer: &mut [u8],
    ) -> Result<Step, ClientError> {
        self.begun.get_or_insert_with(Instant::now);
        let name = &self.download.name;
        let occupant = self.folder.occupant(name)?;
        match (&occupant, config.if_exists) {
            (Occupant::Nothing, _) | (_, IfExists::Rename) => {}
            (_, IfExists::Error) => return Err(StageError::Exists.into()),
            (Occupant::Directory, _) => {
                return Err(StageError::NotReplaceable("that name is a directory").into());
            }
            (Occupant::Other, _) => {
                return Err(StageError::NotReplaceable(NOT_REGULAR).into());
            }
            (Occupant::File | Occupant::Link, IfExists::Skip) => {
                return Ok(Step::Finished(self.downloaded(0, None, Action::Skipped)));
            }
            (Occupant::File | Occupant::Link, IfExists::Update | IfExists::Overwrite) => {}
        }
        let partial = self.partial(config);
        if partial.is_none()
            && config.if_exists == IfExists::Update
            && matches!(occupant, Occupant::File)
        {
            self.look_at_existing(buffer);
        }
        match (self.have, self.download.want_md5) {
            (Some(have), Some(wanted)) if have.md5 == wanted => {
                return Ok(Step::Finished(self.identical()));
            }
            _ => {}
        }
        self.attempts += 1;
        self.gained = 0;
        self.continued = partial.is_some();
        let question = Question {
            path: self.download.path.clone(),
            is_command: false,
            offset: partial.as_ref().map_or(0, StagedFile::bytes),
            // The two cannot be asked together.
            have_md5: self.have.filter(|_| partial.is_none()).map(|have| have.md5),
            want_md5: partial
                .as_ref()
                .and_then(StagedFile::content)
                .or(self.download.want_md5),
            fresh: self.fresh,
        };
        Ok(Step::Ask(question, partial))
    }

    /// The result for this job, if it is finished like this.
    pub(super) fn downloaded(
        &self,
        total_size: u64,
        md5: Option<Md5Digest>,
        action: Action,
    ) -> Downloaded {
        Downloaded {
            name: Some(self.download.name.clone()),
            total_size,
            md5,
            action,
            elapsed: self.begun.map(|begun| begun.elapsed()).unwrap_or_default(),
            attempts: self.attempts,
            exit_status: None,
        }
    }

    /// The result if the file that is here is the one. The size is its own, whatever a server
    /// says.
    pub(super) fn identical(&self) -> Downloaded {
        let total_size = self.have.map_or(0, |have| have.total_size);
        self.downloaded(
            total_size,
            self.have.map(|have| have.md5),
            Action::Identical,
        )
    }

    /// An attempt ended with so many bytes of the file here.
    pub(super) fn note_bytes(&mut self, bytes: u64) {
        self.gained = bytes.saturating_sub(self.furthest);
        self.furthest = self.furthest.max(bytes);
    }

    fn partial(&self, config: &ClientConfig) -> Option<StagedFile> {
        if !config.resume || self.whole || self.fresh {
            return None;
        }
        self.folder
            .resume(&self.download.name, self.download.want_md5)
    }

    /// A file that cannot be read is as good as one of other content: it is replaced.
    fn look_at_existing(&mut self, buffer: &mut [u8]) {
        if self.have.is_some() {
            return;
        }
        let digest = |file| digest_file(&file, buffer).ok();
        self.have = self
            .folder
            .open_existing(&self.download.name)
            .ok()
            .and_then(digest)
            .map(|(md5, total_size)| Existing { md5, total_size });
    }
}

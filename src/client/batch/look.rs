//! A look at the folder a file goes into: what is to be asked, if anything.

use std::sync::{Arc, Weak};

use crate::client::batch::jobs::{ToAsk, Wish};
use crate::client::batch::placing::Placed;
use crate::client::question::Question;
use crate::client::{Action, ClientConfig, ClientError, Download, IfExists};
use crate::store::{
    Attributes, EntryKind, LocalDigests, NOT_REGULAR, Object, ObjectMeta, StageError,
    StagingDirectory, Stamp, WRITTEN_HERE,
};
use crate::wire::{Md5Digest, ObjectKind, Timestamp};

/// A regular file that has the final name, and its digest.
#[derive(Clone, Copy, Debug)]
pub(in crate::client) struct Existing {
    pub(in crate::client) md5: Md5Digest,
    pub(in crate::client) total_size: u64,
    pub(in crate::client) stamp: Stamp,
    mode: u32,
    /// The server has said that it has the same content, with these attributes.
    pub(in crate::client) lacking: Option<Attributes>,
}

/// What is to be done for a download.
pub(in crate::client) enum Decision {
    /// It is finished without a question.
    Finished(Placed),
    /// What has the name is what is wanted, but for what it is lacking.
    Identical(Existing),
    /// It is not transferred after all: it is a link that would lead outside through another one
    /// that is here.
    PassedOver(ObjectKind),
    /// So large a file would have to be read that this is for another look.
    ReadsMuch,
    /// Ask.
    Ask {
        to_ask: Box<ToAsk>,
        /// What has the name.
        existing: Option<Existing>,
        /// Something has the name, which would be replaced.
        replaces: bool,
    },
}

impl Decision {
    /// Nothing is to be asked, and nothing is known of any bytes.
    pub(in crate::client) fn finished(download: &Download, action: Action) -> Decision {
        Decision::Finished(Placed {
            name: download.name.clone(),
            total_size: 0,
            md5: None,
            action,
        })
    }

    /// Everything is to be asked for: the folder it goes into is missing.
    pub(in crate::client) fn ask_for_all(download: &Download, wish: Wish) -> Decision {
        Decision::Ask {
            to_ask: Box::new(ToAsk {
                question: Question {
                    path: download.path.clone(),
                    is_command: false,
                    offset: 0,
                    length: None,
                    have: None,
                    want_md5: download.want_md5,
                    fresh: wish.fresh,
                },
                folder: Weak::new(),
                twin: None,
            }),
            existing: None,
            replaces: false,
        }
    }
}

impl Existing {
    /// What is known of a file without reading it; `before`: what was known of it earlier.
    fn known(
        looked: &ObjectMeta,
        before: Option<Existing>,
        digests: &LocalDigests,
    ) -> Option<Existing> {
        let known = || Some(Existing::of(looked, digests.known(looked)?, looked.size()));
        before
            .filter(|before| before.stamp == looked.stamp)
            .or_else(known)
    }

    /// One that cannot be read is as good as one of other content: it is replaced.
    fn read(
        folder: &StagingDirectory,
        download: &Download,
        digests: &LocalDigests,
        goes_on: &dyn Fn(u64, u64) -> bool,
    ) -> Option<Existing> {
        let file = Arc::new(folder.open_existing(&download.name).ok()?);
        let looked = file.meta().ok()?;
        let made = digests
            .digest(&file, |done| goes_on(done, looked.size()))
            .ok()?;
        Some(Existing::of(&looked, made.md5, made.total_size))
    }

    fn of(looked: &ObjectMeta, md5: Md5Digest, total_size: u64) -> Existing {
        Existing {
            md5,
            total_size,
            stamp: looked.stamp,
            mode: looked.mode,
            lacking: None,
        }
    }

    /// The server has the same content, with these attributes.
    pub(in crate::client) fn lacks(
        &mut self,
        mode: Option<u32>,
        mtime: Option<Timestamp>,
        config: &ClientConfig,
    ) {
        self.lacking = config.lacking((mode, mtime), (self.mode, &self.stamp));
    }

    /// How a download ends if this is the file. The size is its own, whatever a server says.
    pub(in crate::client) fn identical(&self, download: &Download) -> Placed {
        Placed {
            name: download.name.clone(),
            total_size: self.total_size,
            md5: Some(self.md5),
            action: Action::Identical,
        }
    }
}

/// Looks and decides. `known`: what had the name when it was last looked at. May read a whole
/// file of fewer bytes than `read_below`, unless `goes_on`, which is asked now and then and told
/// how many bytes are read of how many, says no.
pub(in crate::client) fn look(
    download: &Download,
    folder: &Arc<StagingDirectory>,
    wish: Wish,
    known: Option<Existing>,
    read_below: u64,
    goes_on: &dyn Fn(u64, u64) -> bool,
    config: &ClientConfig,
) -> Result<Decision, ClientError> {
    let name = &download.name;
    let looked = folder.look(name)?;
    let occupant = EntryKind::of(looked.as_ref());
    match (&occupant, config.if_exists) {
        (EntryKind::Nothing, _) | (_, IfExists::Rename) => {}
        // As it is to be, unless the server has a file of that name.
        (EntryKind::Directory, _) if download.or_folder => {}
        (_, IfExists::Error) => return Err(StageError::Exists.into()),
        (EntryKind::File | EntryKind::Link | EntryKind::InUse, IfExists::Skip) => {
            return Ok(Decision::finished(download, Action::Skipped));
        }
        (EntryKind::Directory | EntryKind::Other | EntryKind::InUse, _) => replaceable(occupant)?,
        (EntryKind::File | EntryKind::Link, IfExists::Update | IfExists::Overwrite) => {}
    }
    let is_compared = config.if_exists == IfExists::Update && occupant == EntryKind::File;
    let digests = &config.local_digests;
    let mut existing = looked
        .filter(|_| is_compared)
        .and_then(|looked| Existing::known(&looked, known, digests));
    let wanted = download.wanted_md5();
    let leftover = (config.resume && !wish.whole && !wish.fresh)
        .then(|| folder.leftover(name, wanted))
        .flatten();
    if let Some(looked) = looked.filter(|_| is_compared && existing.is_none())
        && leftover.is_none()
        && download.may_be(looked.size())
    {
        if looked.size() >= read_below {
            return Ok(Decision::ReadsMuch);
        }
        existing = Existing::read(folder, download, digests, goes_on);
        if existing.is_none() && !goes_on(0, 0) {
            return Err(ClientError::OutOfTime);
        }
    }
    if let Some(mut existing) = existing {
        let is_wanted = wanted == Some(existing.md5);
        if is_wanted
            && let Some(listed) = download.listed
            // What was listed of another content is nothing of this one.
            && listed.md5 == wanted
        {
            existing.lacks(listed.mode, listed.mtime, config);
        }
        if is_wanted || existing.lacking.is_some() {
            return Ok(Decision::Identical(existing));
        }
    }
    let replaces = !matches!(occupant, EntryKind::Nothing) && config.if_exists != IfExists::Rename;
    if replaces && existing.is_none() && occupant != EntryKind::Directory {
        folder.check_replacing(name)?;
    }
    let (content, offset) = leftover.map_or((None, 0), |(content, bytes)| (Some(content), bytes));
    let question = Question {
        path: download.path.clone(),
        is_command: false,
        offset,
        length: None,
        // The two cannot be asked together.
        have: existing
            .filter(|_| content.is_none())
            .map(|existing| (existing.md5, existing.total_size)),
        want_md5: content.or(download.want_md5),
        fresh: wish.fresh,
    };
    Ok(Decision::Ask {
        to_ask: Box::new(ToAsk {
            question,
            folder: Arc::downgrade(folder),
            twin: None,
        }),
        existing,
        replaces,
    })
}

/// Whether a file or a link may replace what has its name.
pub(in crate::client) fn replaceable(occupant: EntryKind) -> Result<(), StageError> {
    match occupant {
        EntryKind::Directory => Err(StageError::NotReplaceable("that name is a directory")),
        EntryKind::Other => Err(StageError::NotReplaceable(NOT_REGULAR)),
        EntryKind::InUse => Err(StageError::NotReplaceable(WRITTEN_HERE)),
        EntryKind::Nothing | EntryKind::File | EntryKind::Link => Ok(()),
    }
}

/// From here on it takes a while to read a file.
pub(in crate::client) const LONG_LOOK_BYTES_MIN: u64 = 16 * 1024 * 1024;

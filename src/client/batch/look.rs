//! A look at the folder a file goes into: what is to be asked, if anything.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::client::batch::jobs::{ToAsk, Wish};
use crate::client::batch::placing::Placed;
use crate::client::follow::digest_file;
use crate::client::question::Question;
use crate::client::{Action, ClientConfig, ClientError, Download, IfExists};
use crate::store::{
    DestinationTree, NOT_REGULAR, Object, Occupant, StageError, StagedFile, StagingFolder, Stamp,
};
use crate::wire::Md5Digest;

/// A regular file that has the final name, and its digest.
#[derive(Clone, Copy, Debug)]
pub(in crate::client) struct Existing {
    pub(in crate::client) md5: Md5Digest,
    pub(in crate::client) total_size: u64,
    stamp: Stamp,
}

/// What is to be done for a download.
pub(in crate::client) enum Decision {
    /// It is finished without a question.
    Finished(Placed),
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
}

impl Existing {
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
/// file, into `buffer`.
pub(in crate::client) fn look(
    download: &Download,
    folder: &Arc<StagingFolder>,
    wish: Wish,
    known: Option<Existing>,
    config: &ClientConfig,
    buffer: &mut [u8],
) -> Result<Decision, ClientError> {
    let name = &download.name;
    let occupant = folder.occupant(name)?;
    match (&occupant, config.if_exists) {
        (Occupant::Nothing, _) | (_, IfExists::Rename) => {}
        (_, IfExists::Error) => return Err(StageError::Exists.into()),
        (Occupant::Directory, _) => {
            return Err(StageError::NotReplaceable("that name is a directory").into());
        }
        (Occupant::Other, _) => return Err(StageError::NotReplaceable(NOT_REGULAR).into()),
        (Occupant::File | Occupant::Link, IfExists::Skip) => {
            return Ok(Decision::finished(download, Action::Skipped));
        }
        (Occupant::File | Occupant::Link, IfExists::Update | IfExists::Overwrite) => {}
    }
    let partial = partial(download, folder, wish, config);
    let is_compared = config.if_exists == IfExists::Update && matches!(occupant, Occupant::File);
    let existing = if partial.is_none() && is_compared {
        digest_of(folder, download, known, buffer)
    } else {
        None
    };
    let listed = download.listed.and_then(|listed| listed.md5);
    if let (Some(existing), Some(wanted)) = (existing, download.want_md5.or(listed))
        && existing.md5 == wanted
    {
        return Ok(Decision::Finished(existing.identical(download)));
    }
    let (content, offset) = partial.map_or((None, 0), |(content, bytes)| (Some(content), bytes));
    let question = Question {
        path: download.path.clone(),
        is_command: false,
        offset,
        // The two cannot be asked together.
        have_md5: existing.map(|existing| existing.md5),
        want_md5: content.or(download.want_md5),
        fresh: wish.fresh,
    };
    Ok(Decision::Ask {
        to_ask: Box::new(ToAsk {
            question,
            folder: Arc::clone(folder),
        }),
        existing,
        replaces: !matches!(occupant, Occupant::Nothing) && config.if_exists != IfExists::Rename,
    })
}

/// The content that a partial file belongs to, and how many bytes of it are there.
fn partial(
    download: &Download,
    folder: &Arc<StagingFolder>,
    wish: Wish,
    config: &ClientConfig,
) -> Option<(Md5Digest, u64)> {
    if !config.resume || wish.whole || wish.fresh {
        return None;
    }
    // It is taken up again when the answer comes: until then it must not hold a descriptor.
    let staged = folder.resume(&download.name, download.want_md5)?;
    Some((StagedFile::content(&staged)?, staged.bytes()))
}

/// A file that cannot be read is as good as one of other content: it is replaced.
fn digest_of(
    folder: &StagingFolder,
    download: &Download,
    known: Option<Existing>,
    buffer: &mut [u8],
) -> Option<Existing> {
    let file = folder.open_existing(&download.name).ok()?;
    let stamp = file.meta().ok()?.stamp;
    if let Some(known) = known.filter(|known| known.stamp == stamp) {
        return Some(known);
    }
    let (md5, total_size) = digest_file(&file, buffer).ok()?;
    Some(Existing {
        md5,
        total_size,
        stamp,
    })
}

/// The folders that everything goes below, opened when the first of it does.
#[derive(Default)]
pub(in crate::client) struct Destinations {
    open: Mutex<HashMap<PathBuf, Arc<DestinationTree>>>,
}

impl Destinations {
    pub(in crate::client) fn open(
        &self,
        path: &Path,
        config: &ClientConfig,
    ) -> Result<Arc<DestinationTree>, ClientError> {
        if let Some(tree) = self.lock().get(path) {
            return Ok(Arc::clone(tree));
        }
        let tree = DestinationTree::open(path, config.make_folders)?;
        Ok(match self.lock().entry(path.to_owned()) {
            // Another hand was faster: all have the same one.
            Entry::Occupied(first) => Arc::clone(first.get()),
            Entry::Vacant(place) => Arc::clone(place.insert(tree)),
        })
    }

    /// Makes all folders survive a power cut.
    pub(in crate::client) fn sync(&self) -> Result<(), ClientError> {
        let trees: Vec<_> = self.lock().values().cloned().collect();
        Ok(trees.iter().try_for_each(|tree| tree.sync())?)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Arc<DestinationTree>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

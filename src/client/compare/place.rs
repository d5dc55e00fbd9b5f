//! One place, there and here.

use std::io;
use std::sync::Arc;

use super::{Comparison, Difference};
use crate::client::batch::Limits;
use crate::client::beside::{Pair, unreadable};
use crate::client::question::refusal;
use crate::client::{ClientConfig, ClientError, ProtocolError};
use crate::store::{
    DestinationTree, FileName, Listed, LocalDigest, LocalDigestError, LocalDigests, Object,
    ObjectMeta, StageError, StoreError, leads_inside,
};
use crate::wire::{ListEntry, Md5Digest, ObjectKind, ResourcePath, Timestamp};

/// A file here of which everything but the content is known.
pub(super) struct ToRead {
    destination: Arc<DestinationTree>,
    place: ResourcePath,
    total_size: u64,
    md5: Md5Digest,
    /// What it is if the content is the same.
    otherwise: Comparison,
}

/// What is known without reading, or what is to be read.
pub(super) enum Finding {
    Known(Comparison),
    ToRead(ToRead),
}

impl Finding {
    /// It differs in more than attributes, or may.
    pub(super) fn may_be_fetched(&self) -> bool {
        match self {
            Finding::ToRead(_) => true,
            Finding::Known(Comparison::Differs(difference)) => !difference.is_of_attributes(),
            Finding::Known(Comparison::Same | Comparison::PassedOver(_)) => false,
        }
    }
}

/// Compares what a server has at a place with what is here.
pub(super) fn judge(
    there: &ListEntry<'_>,
    here: Option<Listed>,
    place: &ResourcePath,
    destination: Option<&Arc<DestinationTree>>,
    config: &ClientConfig,
) -> Result<Finding, ClientError> {
    if let Some(error) = &there.error {
        return Err(refusal(error).into());
    }
    let known = |comparison| Ok(Finding::Known(comparison));
    let target = there.target.as_deref();
    match there.kind {
        ObjectKind::Other => return known(Comparison::PassedOver(there.kind)),
        ObjectKind::Symlink
            if !target.is_some_and(|target| is_made(place, target, destination)) =>
        {
            return known(Comparison::PassedOver(there.kind));
        }
        ObjectKind::File | ObjectKind::Directory | ObjectKind::Symlink => {}
    }
    let (Some(here), Some(destination)) = (here, destination) else {
        return known(Comparison::Differs(Difference::Missing));
    };
    // What could not be looked at is of no kind that could be compared.
    if here.kind != there.kind && here.meta.is_some() {
        let (here, there) = (here.kind, there.kind);
        return known(Comparison::Differs(Difference::Kind { here, there }));
    }
    let Some(meta) = here.meta.filter(|_| here.error.is_none()) else {
        let source = here.error.map(unreadable);
        return Err(ClientError::from(StageError::Io {
            doing: "inspect the local entry",
            source: source.unwrap_or_else(|| io::ErrorKind::NotFound.into()),
        }));
    };
    match there.kind {
        ObjectKind::Symlink if here.target.as_deref() == target => {
            // Its mode means nothing.
            known(attributes((None, there.mtime), &meta, config))
        }
        ObjectKind::Symlink | ObjectKind::Other => {
            check_replacing(destination, place)?;
            known(Comparison::Differs(Difference::Target))
        }
        ObjectKind::Directory => known(attributes((there.mode, there.mtime), &meta, config)),
        ObjectKind::File if meta.size() != there.total_size => {
            check_replacing(destination, place)?;
            let (here, there) = (meta.size(), there.total_size);
            known(Comparison::Differs(Difference::Size { here, there }))
        }
        ObjectKind::File => {
            let file = ToRead {
                destination: Arc::clone(destination),
                place: place.clone(),
                total_size: there.total_size,
                md5: there.md5.ok_or(ProtocolError::NoDigest)?,
                otherwise: attributes((there.mode, there.mtime), &meta, config),
            };
            Ok(match config.local_digests.known(&meta) {
                Some(md5) => Finding::Known(file.compare(md5, meta.size())?),
                None => Finding::ToRead(file),
            })
        }
    }
}

/// Why nothing is seen of what is in a folder, if this is one on both sides.
pub(super) fn unseen_folder(
    pair: &mut Pair,
    destination: Option<&Arc<DestinationTree>>,
) -> Option<ClientError> {
    let (there, here) = (pair.there.as_ref()?, pair.here.as_mut()?);
    if there.kind != ObjectKind::Directory || here.kind != ObjectKind::Directory {
        return None;
    }
    let is_open = |meta: ObjectMeta| meta.mode & 0o500 == 0o500;
    let source = match &here.error {
        // Of what is in it something may have been seen.
        Some(StoreError::TooDeep) => return None,
        Some(_) => here.error.take().map(unreadable)?,
        // Its names may be there to read, and nothing else.
        None if here.meta.is_none_or(is_open) || destination?.locked(&pair.place).is_none() => {
            return None;
        }
        None => io::ErrorKind::PermissionDenied.into(),
    };
    Some(ClientError::from(StageError::Io {
        doing: "read the local directory, so nothing in it is compared",
        source,
    }))
}

/// Reads a file, as long as there is time, and compares its content. `path`: what it is on the
/// server.
pub(super) fn read(
    path: &ResourcePath,
    file: &ToRead,
    digests: &LocalDigests,
    limits: &Limits,
) -> Result<Comparison, ClientError> {
    let above = file.place.parent().unwrap_or_else(ResourcePath::root);
    let name = FileName::parse(file.place.file_name().unwrap_or_default())
        .map_err(|error| ClientError::LocalName(error.to_string()))?;
    let Some(folder) = file.destination.existing_directory(&above)? else {
        return Ok(Comparison::Differs(Difference::Missing));
    };
    let open = Arc::new(folder.open_existing(&name)?);
    let meta = open.meta().map_err(read_back)?;
    if meta.kind != ObjectKind::File {
        let (here, there) = (meta.kind, ObjectKind::File);
        return Ok(Comparison::Differs(Difference::Kind { here, there }));
    }
    let LocalDigest {
        md5, total_size, ..
    } = digests
        .digest(&open, |done| limits.may_read(path, done, meta.size()))
        .map_err(|error| match error {
            LocalDigestError::Stopped => ClientError::OutOfTime,
            LocalDigestError::Unreadable(errno) => read_back(errno.into()),
            LocalDigestError::Changed => read_back(io::Error::other(error)),
        })?;
    file.compare(md5, total_size)
}

/// Whether a download could replace what is here, as far as can be seen.
fn check_replacing(destination: &DestinationTree, place: &ResourcePath) -> Result<(), ClientError> {
    let above = place.parent().unwrap_or_else(ResourcePath::root);
    let name = FileName::parse(place.file_name().unwrap_or_default());
    match (destination.existing_directory(&above), name) {
        (Ok(Some(folder)), Ok(name)) => Ok(folder.check_replacing(&name)?),
        // That is told as it is looked at.
        _ => Ok(()),
    }
}

impl ToRead {
    /// With what was read.
    fn compare(&self, md5: Md5Digest, total_size: u64) -> Result<Comparison, ClientError> {
        if total_size == self.total_size && md5 == self.md5 {
            return Ok(self.otherwise);
        }
        check_replacing(&self.destination, &self.place)?;
        Ok(Comparison::Differs(if total_size == self.total_size {
            Difference::Content
        } else {
            let (here, there) = (total_size, self.total_size);
            Difference::Size { here, there }
        }))
    }
}

fn read_back(source: io::Error) -> ClientError {
    ClientError::from(StageError::Io {
        doing: "read the file",
        source,
    })
}

/// What it is but for its content.
fn attributes(
    there: (Option<u32>, Option<Timestamp>),
    here: &ObjectMeta,
    config: &ClientConfig,
) -> Comparison {
    let lacking = config.lacking(there, (here.mode, &here.stamp));
    let Some(lacking) = lacking else {
        return Comparison::Same;
    };
    Comparison::Differs(match (lacking.mode.is_some(), lacking.mtime) {
        (true, Some(_)) => Difference::ModeAndMtime,
        (true, None) => Difference::Mode,
        (false, _) => Difference::Mtime,
    })
}

/// Whether a link at this place would be made.
fn is_made(
    place: &ResourcePath,
    target: &[u8],
    destination: Option<&Arc<DestinationTree>>,
) -> bool {
    match destination {
        Some(destination) => destination.leads_inside(place, target),
        None => leads_inside(place.parts().count().saturating_sub(1), target),
    }
}

//! What is wanted.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::client::ClientError;
use crate::net::Address;
use crate::store::FileName;
use crate::wire::{Md5Digest, ObjectKind, ResourcePath, Timestamp};

/// One file to download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// The server.
    pub address: Address,
    /// The file's path there.
    pub path: ResourcePath,
    /// The folder it goes into or below; it must exist, unless
    /// [`crate::client::ClientConfig::make_folders`].
    pub folder: PathBuf,
    /// Where below that folder: what is missing there is made, and no link is followed.
    pub below: ResourcePath,
    /// Its name there.
    pub name: FileName,
    /// Only this content will do.
    pub want_md5: Option<Md5Digest>,
    /// What a listing told of it; it may have changed since.
    pub listed: Option<ListedFile>,
    /// Nobody has said that it is a file: if the server has a folder there, one is made, and
    /// what is in it is not fetched.
    pub or_folder: bool,
    /// What a listing told of it, should it be a folder: it gets that at the end.
    pub listed_folder: Option<ListedFolder>,
}

/// What a listing told of a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListedFolder {
    /// Its permissions, if they were told.
    pub mode: Option<u32>,
    /// When it was last written, if that was told.
    pub mtime: Option<Timestamp>,
}

/// What a listing told of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListedFile {
    /// Bytes.
    pub total_size: u64,
    /// Its digest, if it was known.
    pub md5: Option<Md5Digest>,
    /// Its permissions, if they were told.
    pub mode: Option<u32>,
    /// When it was last written, if that was told.
    pub mtime: Option<Timestamp>,
}

impl Download {
    /// A file that goes right into a folder.
    pub fn new(address: Address, path: ResourcePath, folder: PathBuf, name: FileName) -> Download {
        Download {
            address,
            path,
            folder,
            below: ResourcePath::root(),
            name,
            want_md5: None,
            listed: None,
            or_folder: false,
            listed_folder: None,
        }
    }

    /// The content that it is to have, as far as is known before the server is asked.
    pub(super) fn wanted_md5(&self) -> Option<Md5Digest> {
        self.want_md5.or(self.listed.and_then(|listed| listed.md5))
    }

    /// Whether a file of so many bytes may be it, as far as is known.
    pub(super) fn may_be(&self, total_size: u64) -> bool {
        self.listed
            .is_none_or(|listed| listed.total_size == total_size)
    }

    /// Whether another goes into the same folder.
    pub(super) fn goes_beside(&self, other: &Download) -> bool {
        (&self.folder, &self.below) == (&other.folder, &other.below)
    }

    /// The path below the folder of what is called `name` and goes where this goes.
    pub fn beside(&self, name: &FileName) -> Vec<u8> {
        let mut path = self.below.as_bytes().to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        path
    }

    /// Where it goes.
    pub(super) fn at(&self) -> PathBuf {
        self.folder
            .join(OsStr::from_bytes(&self.beside(&self.name)))
    }

    /// What its failure means: a file that was listed was there.
    pub(super) fn explain(&self, error: ClientError) -> ClientError {
        match error {
            ClientError::Refused(refusal) if self.listed.is_some() && refusal.is_no_file() => {
                ClientError::Gone(refusal)
            }
            other => other,
        }
    }

    /// Its own path below the folder, of a folder.
    pub(super) fn place(&self) -> Result<ResourcePath, ClientError> {
        ResourcePath::parse(&self.beside(&self.name))
            .map_err(|error| ClientError::LocalName(error.to_string()))
    }
}

/// What one entry of a list stands for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Entry {
    /// A file to download.
    File(Download),
    /// What cannot be transferred; it is told by [`crate::client::Event::PassedOver`].
    PassedOver {
        /// The server.
        address: Address,
        /// Its path there.
        path: ResourcePath,
        /// What it is.
        kind: ObjectKind,
    },
    /// What names nothing; it is told by [`crate::client::Event::Failed`] in its place.
    Failed {
        /// The server.
        address: Address,
        /// The path there that is told; the root if there is none.
        path: ResourcePath,
        /// Why.
        error: ClientError,
    },
}

impl From<Download> for Entry {
    fn from(download: Download) -> Entry {
        Entry::File(download)
    }
}

impl From<Entry> for Wanted {
    fn from(entry: Entry) -> Wanted {
        match entry {
            Entry::File(download) => Wanted::File {
                download,
                parent: None,
            },
            Entry::PassedOver {
                address,
                path,
                kind,
            } => Wanted::PassedOver {
                address,
                path,
                kind,
            },
            Entry::Failed {
                address,
                path,
                error,
            } => Wanted::Failed {
                address,
                path,
                error,
            },
        }
    }
}

/// The number of a folder of a batch.
pub(super) type FolderId = u64;

/// One thing that is wanted of a batch.
pub(super) enum Wanted {
    File {
        download: Download,
        /// The folder of the batch it goes into.
        parent: Option<FolderId>,
    },
    /// To be made at once, and to be given its attributes when everything in it has its end.
    Folder {
        id: FolderId,
        download: Download,
        parent: Option<FolderId>,
        mode: Option<u32>,
        mtime: Option<Timestamp>,
    },
    /// Everything in this folder was wanted.
    Complete(FolderId),
    Link {
        download: Download,
        parent: Option<FolderId>,
        target: Vec<u8>,
        mtime: Option<Timestamp>,
    },
    /// So many entries of a tree are not shown by its server.
    Hidden(u64),
    /// What cannot be transferred.
    PassedOver {
        address: Address,
        path: ResourcePath,
        kind: ObjectKind,
    },
    Failed {
        address: Address,
        path: ResourcePath,
        error: ClientError,
    },
}

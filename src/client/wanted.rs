//! What is wanted.

use std::path::PathBuf;

use crate::net::Address;
use crate::store::FileName;
use crate::wire::{Md5Digest, ResourcePath};

/// One file to download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// The server.
    pub address: Address,
    /// The file's path there.
    pub path: ResourcePath,
    /// The folder it goes into; it must exist, unless [`crate::client::ClientConfig::make_folders`].
    pub folder: PathBuf,
    /// Its name in that folder.
    pub name: FileName,
    /// Only this content will do.
    pub want_md5: Option<Md5Digest>,
}

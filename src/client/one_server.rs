//! One server to download from: the few calls that most programs need.

use std::path::Path;

use crate::client::wanted::Download;
use crate::client::{
    Batch, ClientConfig, ClientError, Downloaded, Event, Folder, Listing, Summary, Tree, download,
};
use crate::net::Address;
use crate::store::FileName;
use crate::wire::ResourcePath;

/// One server, and how it is dealt with. It holds no connection: each call opens those it
/// needs. What it makes goes into a [`Batch`], too, beside what is wanted of other servers.
#[derive(Clone, Debug)]
pub struct Client {
    address: Address,
    config: ClientConfig,
}

impl Client {
    /// A server, of which nothing is asked yet.
    pub fn new(address: Address, config: ClientConfig) -> Client {
        Client { address, config }
    }

    /// The server.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// How it is dealt with.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Downloads one file into a folder, under the last part of its path.
    ///
    /// # Errors
    /// Every way in which a download fails; see [`Client::file`].
    pub fn fetch(&self, path: &ResourcePath, folder: &Path) -> Result<Downloaded, ClientError> {
        let file = self.file(path, folder)?;
        // One result for each.
        download(&[file], &self.config, &mut |_| {}).remove(0)
    }

    /// Downloads what is in a folder of the server, and in those below, into one that is here.
    /// `on_event` hears of each file as it comes, in this thread.
    ///
    /// # Errors
    /// As for [`Batch::run`].
    pub fn fetch_tree(
        &self,
        path: &ResourcePath,
        folder: &Path,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Summary, ClientError> {
        let batch = Batch::new().tree(self.tree(path, folder));
        batch.run(&self.config, on_event)
    }

    /// Lists a folder of the server, and with `recursive` those below.
    pub fn list(&self, path: &ResourcePath, recursive: bool) -> Listing<'_> {
        let folder = Folder {
            address: self.address.clone(),
            path: path.clone(),
            recursive,
            digests: false,
        };
        Listing::new(folder, &self.config)
    }

    /// A file that goes right into a folder, under the last part of its path.
    ///
    /// # Errors
    /// [`ClientError::LocalName`]: no file here can have that name; the root has none.
    pub fn file(&self, path: &ResourcePath, folder: &Path) -> Result<Download, ClientError> {
        let name = FileName::parse(path.file_name().unwrap_or_default())
            .map_err(|error| ClientError::LocalName(error.to_string()))?;
        let (address, path) = (self.address.clone(), path.clone());
        Ok(Download::new(address, path, folder.to_owned(), name))
    }

    /// All that is in a folder of the server and in those below, to go right into a folder here.
    pub fn tree(&self, path: &ResourcePath, folder: &Path) -> Tree {
        Tree::all(self.address.clone(), path.clone(), folder.to_owned())
    }
}

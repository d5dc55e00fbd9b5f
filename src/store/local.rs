//! A directory of this machine as a store.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::store::{Object, ObjectMeta, Store, StoreError};
use crate::wire::ResourcePath;

/// What of a directory is shown.
#[derive(Clone, Debug)]
pub struct DirectoryOptions {
    /// Show names that begin with a dot. Names of partial files are never shown.
    pub show_hidden: bool,
    /// Follow symbolic links that stay inside the root; otherwise they are `NotFound`.
    pub follow_links_inside: bool,
}

/// A directory, or one single file, of this machine, served read-only.
pub struct DirectoryStore {}

impl DirectoryStore {
    /// Opens the root. If `root` is a regular file the store knows one name, the file's
    /// last part, and answers `""` with it.
    ///
    /// # Errors
    /// It is missing, not readable, or neither a directory nor a regular file.
    pub fn open_root(root: &Path, options: DirectoryOptions) -> io::Result<DirectoryStore> {
        let _ = (root, options);
        todo!()
    }
}

impl Store for DirectoryStore {
    type Object = File;

    fn open(&self, path: &ResourcePath) -> Result<(File, ObjectMeta), StoreError> {
        let _ = path;
        todo!()
    }

    fn stat(&self, path: &ResourcePath) -> Result<ObjectMeta, StoreError> {
        let _ = path;
        todo!()
    }
}

impl Object for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }

    fn meta(&self) -> io::Result<ObjectMeta> {
        todo!()
    }
}

//! A directory of this machine as a store.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::store::beneath::{Root, meta_of};
use crate::store::{Object, ObjectMeta, Store, StoreError};
use crate::wire::ResourcePath;

/// What of a directory is shown.
#[derive(Clone, Debug)]
pub struct DirectoryOptions {
    /// Show names that begin with a dot. Names of partial files (`.ft-…`) are never shown.
    pub show_hidden: bool,
    /// Follow symbolic links that stay inside the root; otherwise they are `NotFound`.
    pub follow_links_inside: bool,
}

/// A directory, or one single file, of this machine, served read-only.
///
/// - A link is followed if it is relative and every step of it stays inside the root; every
///   other link is `NotFound`, an absolute one even if it points inside. A visible link to a
///   hidden file shows it: that is the owner's word, as mounts and hard links are.
/// - Where the kernel has no `openat2`, or a sandbox forbids it, no link is followed at all.
/// - Only regular files open; FIFOs, sockets and devices are not even touched. A file is the
///   size that `fstat` says, so most files of `/proc`, which say 0, are empty.
pub struct DirectoryStore {
    root: Root,
    names: Names,
}

/// Which names there are.
enum Names {
    Tree {
        show_hidden: bool,
    },
    /// One file: the name it has in the root folder, and the name it is asked for by.
    OneFile {
        inside: ResourcePath,
        asked: Box<[u8]>,
    },
}

impl DirectoryStore {
    /// Opens the root. If `root` is a regular file the store knows one name, the file's
    /// last part, and answers `""` with it.
    ///
    /// # Errors
    /// It is missing, not readable, or neither a directory nor a regular file.
    pub fn open_root(root: &Path, options: DirectoryOptions) -> io::Result<DirectoryStore> {
        let found = std::fs::metadata(root)?;
        if found.is_dir() {
            return Ok(DirectoryStore {
                root: Root::open(root, options.follow_links_inside)?,
                names: Names::Tree {
                    show_hidden: options.show_hidden,
                },
            });
        }
        if !found.is_file() {
            return Err(unservable("it is neither a directory nor a regular file"));
        }
        // `root` may be a link with a name of its own, to a file that has another.
        let target = root.canonicalize()?;
        let (Some(folder), Some(name), Some(asked)) =
            (target.parent(), target.file_name(), root.file_name())
        else {
            return Err(unservable("it has no name to be asked for by"));
        };
        let inside = one_part(name)?;
        let asked = Box::from(one_part(asked)?.as_bytes());
        let root = Root::open(folder, false)?;
        root.open_file(&inside).map_err(into_io)?;
        Ok(DirectoryStore {
            root,
            names: Names::OneFile { inside, asked },
        })
    }

    /// The path below the root that a requested path stands for. Decided before any look at
    /// the tree, so that what is hidden answers like what is missing, and as fast.
    fn locate<'p>(&'p self, path: &'p ResourcePath) -> Result<&'p ResourcePath, StoreError> {
        let is_shown = match &self.names {
            Names::Tree { show_hidden } => path.parts().all(|part| is_shown(part, *show_hidden)),
            Names::OneFile { inside, asked } => {
                let is_it = path.is_root() || path.as_bytes() == &**asked;
                return if is_it {
                    Ok(inside)
                } else {
                    Err(StoreError::NotFound)
                };
            }
        };
        if is_shown {
            Ok(path)
        } else {
            Err(StoreError::NotFound)
        }
    }
}

impl Store for DirectoryStore {
    type Object = File;

    fn open(&self, path: &ResourcePath) -> Result<(File, ObjectMeta), StoreError> {
        self.root.open_file(self.locate(path)?)
    }

    fn stat(&self, path: &ResourcePath) -> Result<ObjectMeta, StoreError> {
        self.root.stat(self.locate(path)?)
    }
}

impl Object for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn meta(&self) -> io::Result<ObjectMeta> {
        Ok(meta_of(self)?)
    }
}

fn is_shown(part: &[u8], show_hidden: bool) -> bool {
    !part.starts_with(b".") || (show_hidden && !part.starts_with(PARTIAL_PREFIX))
}

fn one_part(name: &OsStr) -> io::Result<ResourcePath> {
    if name.as_bytes().starts_with(PARTIAL_PREFIX) {
        return Err(unservable("it is a partial file"));
    }
    ResourcePath::parse(name.as_bytes()).map_err(|error| unservable(&error.to_string()))
}

fn unservable(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason.to_owned())
}

fn into_io(error: StoreError) -> io::Error {
    match error {
        StoreError::NotFound => io::ErrorKind::NotFound.into(),
        StoreError::Forbidden => io::ErrorKind::PermissionDenied.into(),
        StoreError::Busy(source) | StoreError::Io(source) => source,
        StoreError::IsDirectory | StoreError::NotADirectory | StoreError::NotAFile => {
            unservable("it is no regular file any more")
        }
    }
}

/// How the names of partial files begin, whoever made them.
const PARTIAL_PREFIX: &[u8] = b".ft-";

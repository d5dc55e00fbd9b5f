//! An open root: a directory or a single file.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::inotify::WatchFlags;

use super::{DirectoryOptions, is_partial, is_shown};
use crate::store::beneath::{Reach, Root};
use crate::store::calls::{CallThreads, Mount};
use crate::store::index::{LOG_SUFFIX, index_beside, is_index, is_set_aside};
use crate::store::mounts::{Mounts, Route};
use crate::store::walk::Walk;
use crate::store::{Listed, ObjectMeta, StoreError};
use crate::wire::ResourcePath;

/// An open root, which stays the same directory if its path is moved.
pub(super) struct OpenRoot {
    root: Root,
    names: ServedNames,
    mounts: Mounts,
    /// The name of the served file in its directory.
    file: Option<OsString>,
    number: u32,
}

/// A result, and the mount it is on if that may not answer.
type Reached<T> = (T, Option<Arc<Mount>>);

/// Which names are served.
pub(super) enum ServedNames {
    Tree {
        show_hidden: bool,
    },
    /// One file: its name in the root directory, and the name in requests.
    OneFile {
        inside: ResourcePath,
        asked: Box<[u8]>,
    },
}

/// Where the path of a root leads: a directory, and for a single file also its name there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RootTarget {
    device: u64,
    inode: u64,
    file: Option<OsString>,
}

impl RootTarget {
    /// Follows a path.
    ///
    /// # Errors
    /// The error of the file system; `NotFound` for a removed directory, which names such as `.`
    /// still find.
    pub(super) fn of(name: &Path) -> io::Result<RootTarget> {
        let found = fs::metadata(name)?;
        if found.nlink() == 0 {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (directory, file) = if found.is_dir() {
            (found, None)
        } else {
            let target = name.canonicalize()?;
            let (Some(directory), Some(file)) = (target.parent(), target.file_name()) else {
                return Err(unservable("it has no file name"));
            };
            (fs::metadata(directory)?, Some(file.to_owned()))
        };
        Ok(RootTarget {
            device: directory.dev(),
            inode: directory.ino(),
            file,
        })
    }
}

impl OpenRoot {
    /// Opens the object at a path, as the root with this number.
    pub(super) fn open(
        name: &Path,
        options: &DirectoryOptions,
        number: u32,
        threads: &Arc<CallThreads>,
    ) -> io::Result<OpenRoot> {
        let found = fs::metadata(name)?;
        if found.is_dir() {
            let names = ServedNames::Tree {
                show_hidden: options.show_hidden,
            };
            let root = Root::open(name, options.follow_links_inside)?;
            return Ok(OpenRoot::holding(root, names, None, number, threads));
        }
        if !found.is_file() {
            return Err(unservable("it is neither a directory nor a regular file"));
        }
        // `name` may be a link to a file of another name.
        let target = name.canonicalize()?;
        let (Some(directory), Some(file), Some(asked)) =
            (target.parent(), target.file_name(), name.file_name())
        else {
            return Err(unservable("it has no file name"));
        };
        let inside = one_part(file)?;
        let asked = Box::from(one_part(asked)?.as_bytes());
        let root = Root::open(directory, false)?;
        root.open_file(&inside, Reach::All).map_err(into_io)?;
        let names = ServedNames::OneFile { inside, asked };
        let file = Some(file.to_owned());
        Ok(OpenRoot::holding(root, names, file, number, threads))
    }

    pub(super) fn holding(
        root: Root,
        names: ServedNames,
        file: Option<OsString>,
        number: u32,
        threads: &Arc<CallThreads>,
    ) -> OpenRoot {
        OpenRoot {
            mounts: Mounts::of(root.as_fd(), threads),
            root,
            names,
            file,
            number,
        }
    }

    /// Whether this root is what the path leads to. Looks at its own directory again, because one
    /// on a network may be stale.
    pub(super) fn is_at(&self, destination: &RootTarget) -> bool {
        self.root.stamp().is_ok_and(|stamp| {
            (stamp.device, stamp.inode) == (destination.device, destination.inode)
                && self.file == destination.file
        })
    }

    /// The number of this root (see [`crate::store::Store::root_number`]).
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// The mounts at and below this root.
    pub(super) fn mounts(&self) -> &Mounts {
        &self.mounts
    }

    /// Opens a file. Returns also its mount, if that may not answer.
    pub(super) fn open_file(
        self: &Arc<Self>,
        path: &ResourcePath,
    ) -> Result<Reached<(File, ObjectMeta)>, StoreError> {
        self.check_not_beside_index(path)?;
        self.reach(path, None, |root, path, reach| {
            root.root.open_file(root.locate(path)?, reach)
        })
    }

    pub(super) fn stat(self: &Arc<Self>, path: &ResourcePath) -> Result<ObjectMeta, StoreError> {
        self.check_not_beside_index(path)?;
        let look = |root: &OpenRoot, path: &ResourcePath, reach| root.look(path, reach);
        self.reach(path, None, look).map(|(meta, _)| meta)
    }

    pub(super) fn list(
        self: &Arc<Self>,
        path: &ResourcePath,
        recursive: bool,
        after: Option<&ResourcePath>,
    ) -> Result<Walk, StoreError> {
        let behind = after.cloned();
        let list = move |root: &OpenRoot, path: &ResourcePath, reach| {
            root.walk(path, recursive, behind.as_ref(), reach)
        };
        self.reach(path, after, list).map(|(walk, _)| walk)
    }

    /// Treats the log, the journal and the locks beside an index as missing, whichever process uses
    /// that index. Costs nothing for other names.
    pub(super) fn check_not_beside_index(
        self: &Arc<Self>,
        path: &ResourcePath,
    ) -> Result<(), StoreError> {
        let Some(index) = index_beside(path.as_bytes()) else {
            return Ok(());
        };
        // A new index may have content only in its log.
        for name in [index, &[index, LOG_SUFFIX.as_bytes()].concat()] {
            let Ok(name) = ResourcePath::parse(name) else {
                continue;
            };
            let look = |root: &OpenRoot, path: &ResourcePath, reach| {
                let (file, _) = root.root.open_file(root.locate(path)?, reach)?;
                is_index(&file).map_err(StoreError::Io)
            };
            match self.reach(&name, None, look) {
                Ok((true, _)) => return Err(StoreError::NotFound),
                Err(error @ (StoreError::Stalled | StoreError::Busy(_))) => return Err(error),
                // Nothing of that name can be read as an index.
                Ok((false, _)) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Calls `work` for a path: in this thread if the file system there always answers.
    fn reach<T: Send + 'static>(
        self: &Arc<Self>,
        path: &ResourcePath,
        after: Option<&ResourcePath>,
        work: impl Fn(&OpenRoot, &ResourcePath, Reach) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Reached<T>, StoreError> {
        if self.mounts.are_local() {
            return Ok((work(self, path, Reach::All)?, None));
        }
        let mut route = Route::Direct;
        if self.mounts.has_remote() {
            // A listing goes down to where it continues.
            for path in [Some(path), after].into_iter().flatten() {
                if let Route::Direct = route {
                    route = self.mounts.route_to(path.as_bytes());
                }
            }
        }
        if let Route::Direct = route {
            match work(self, path, Reach::OwnMount) {
                Err(StoreError::OffRoot) => route = self.mounts.route_off_root(path.as_bytes()),
                done => return Ok((done?, None)),
            }
        }
        let Route::Through(mount) = route else {
            return Ok((work(self, path, Reach::All)?, None));
        };
        let (root, path) = (Arc::clone(self), path.clone());
        let done = mount.call(move || work(&root, &path, Reach::All));
        Ok((done.map_err(|_| StoreError::Stalled)??, Some(mount)))
    }

    fn look(&self, path: &ResourcePath, reach: Reach) -> Result<ObjectMeta, StoreError> {
        self.root.stat(self.locate(path)?, reach)
    }

    fn walk(
        &self,
        path: &ResourcePath,
        recursive: bool,
        after: Option<&ResourcePath>,
        reach: Reach,
    ) -> Result<Walk, StoreError> {
        let show_hidden = match &self.names {
            ServedNames::Tree { show_hidden } => *show_hidden,
            ServedNames::OneFile { asked, .. } if path.is_root() => {
                let only = ResourcePath::parse(asked).map_err(|_| StoreError::NotFound)?;
                if after.is_some_and(|after| *after >= only) {
                    return Ok(Walk::of_one(None));
                }
                let listed = Listed::of(only, self.look(path, reach)?);
                return Ok(Walk::of_one(Some(listed)));
            }
            ServedNames::OneFile { .. } => {
                self.locate(path)?;
                return Err(StoreError::NotADirectory);
            }
        };
        let (directory, is_real) = self
            .root
            .open_directory_or_link(self.locate(path)?, reach)?;
        let walk = Walk::of_directory(directory, path, recursive, show_hidden, after)?;
        Ok(match is_real {
            true => walk,
            false => walk.reached_by_links(path.parts().count()),
        })
    }

    /// Makes the kernel report changes in a directory, or in the directory of the single file.
    pub(super) fn watch(
        &self,
        path: &ResourcePath,
        inotify: impl AsFd,
        changes: WatchFlags,
    ) -> Result<i32, StoreError> {
        let directory = match &self.names {
            ServedNames::Tree { .. } => self.root.open_directory(self.locate(path)?, Reach::All)?,
            ServedNames::OneFile { .. } => self
                .root
                .open_directory(&ResourcePath::root(), Reach::All)?,
        };
        directory.watch(inotify, changes)
    }

    /// The path below the root for a requested path. Checked before any look at the tree, so that a
    /// hidden name gets the same answer as a missing one, and as fast.
    fn locate<'p>(&'p self, path: &'p ResourcePath) -> Result<&'p ResourcePath, StoreError> {
        let is_shown = match &self.names {
            ServedNames::Tree { show_hidden } => {
                path.parts().all(|part| is_shown(part, *show_hidden))
            }
            ServedNames::OneFile { inside, asked } => {
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

fn one_part(name: &OsStr) -> io::Result<ResourcePath> {
    if is_partial(name.as_bytes()) {
        return Err(unservable("it is a partial file"));
    }
    if is_set_aside(name.as_bytes()) {
        return Err(unservable("it is an index that was set aside"));
    }
    ResourcePath::parse(name.as_bytes()).map_err(|error| unservable(&error.to_string()))
}

fn unservable(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason.to_owned())
}

fn into_io(error: StoreError) -> io::Error {
    match error {
        StoreError::NotFound | StoreError::Away | StoreError::OffRoot => {
            io::ErrorKind::NotFound.into()
        }
        StoreError::Stalled => io::ErrorKind::TimedOut.into(),
        StoreError::Forbidden => io::ErrorKind::PermissionDenied.into(),
        StoreError::Busy(source) | StoreError::Io(source) => source,
        StoreError::IsDirectory
        | StoreError::NotADirectory
        | StoreError::NotAFile
        | StoreError::NotAtRest
        | StoreError::TooDeep => unservable("it is not a regular file any more"),
    }
}

//! Directories that this user cannot enter before they get missing permissions.

use std::mem;

use rustix::fs::{Access, AtFlags};
use rustix::io::Errno;

use super::DestinationTree;
use crate::store::Listing;
use crate::store::beneath::Directory;
use crate::store::staged::StageError;
use crate::store::walk::{OpenBelow, Walk};
use crate::wire::ResourcePath;

impl DestinationTree {
    /// Lists a directory as [`DestinationTree::list`] does. A directory that cannot be entered is
    /// listed as forbidden. A directory on another file system than its parent is listed as such,
    /// and not entered. With `opens_up`, directories of this user, other than the root, get missing
    /// permissions while they are read, those on the way included, and then their old ones back.
    ///
    /// # Errors
    /// As for [`DestinationTree::list`].
    pub fn list_all(
        &self,
        path: &ResourcePath,
        recursive: bool,
        opens_up: bool,
    ) -> Result<Box<dyn Listing>, StageError> {
        let (open, open_inside): (OpenBelow, OpenBelow) = match opens_up {
            true => (
                Directory::open_below_unlocked,
                Directory::open_inside_unlocked,
            ),
            false => (
                Directory::open_below_to_look,
                Directory::open_inside_to_look,
            ),
        };
        let root = self.root.directory_descriptor(&ResourcePath::root());
        let root = root.map_err(|errno| self.path_error(&ResourcePath::root(), errno))?;
        let (mut directory, mut unlocked) = (Directory::from(root), Vec::new());
        for part in path.parts() {
            let inner = open(&directory, part).map_err(|error| self.reading_error(path, error))?;
            unlocked.push(mem::replace(&mut directory, inner));
        }
        unlocked.retain(Directory::is_unlocked);
        let walk = Walk::of_directory(directory, path, recursive, true, None);
        let walk = walk.map_err(|error| self.reading_error(path, error))?;
        Ok(Box::new(walk.opening(open_inside, unlocked)))
    }

    /// The first directory on the way to this path, or at it, that this user owns and cannot enter,
    /// and that [`DestinationTree::directory`] would unlock. Changes nothing.
    pub fn locked(&self, path: &ResourcePath) -> Option<ResourcePath> {
        let mut ancestors: Vec<_> =
            std::iter::successors(Some(path.clone()), ResourcePath::parent).collect();
        // The root is never unlocked.
        let mut above = self.root.directory_descriptor(&ancestors.pop()?).ok()?;
        while let Some(at) = ancestors.pop() {
            let name = at.file_name().unwrap_or_default();
            let opened = self.root.directory_descriptor(&at);
            let looks_into = match &opened {
                Ok(directory) => {
                    let access = Access::READ_OK | Access::EXEC_OK;
                    rustix::fs::accessat(directory, ".", access, AtFlags::EACCESS)
                }
                Err(errno) => Err(*errno),
            };
            match (looks_into, opened) {
                (Ok(()), Ok(directory)) => above = directory,
                (Err(Errno::ACCESS), _) => {
                    let stat = rustix::fs::statat(&above, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
                    let is_ours = stat.st_uid == rustix::process::geteuid().as_raw();
                    return is_ours.then_some(at);
                }
                _ => return None,
            }
        }
        None
    }
}

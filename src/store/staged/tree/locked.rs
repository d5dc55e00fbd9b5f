//! Folders that cannot be looked into as they are, and are opened up before anything is done there.

use std::mem;

use rustix::fs::{Access, AtFlags};
use rustix::io::Errno;

use super::DestinationTree;
use crate::store::Listing;
use crate::store::beneath::Folder;
use crate::store::staged::StageError;
use crate::store::walk::{OpenBelow, Walk};
use crate::wire::ResourcePath;

impl DestinationTree {
    /// Lists a folder as [`DestinationTree::list`] does, and says of each one that cannot be looked
    /// into that it is forbidden, and of each one below it on another file system than the one
    /// around it that it is: nothing in that is looked at. With `opens_up` those of this user, other than the root, let him
    /// for as long as they are looked into, the way there included, and are what they were then.
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
            true => (Folder::open_below_unlocked, Folder::open_inside_unlocked),
            false => (Folder::open_below_to_look, Folder::open_inside_to_look),
        };
        let root = self.root.folder_descriptor(&ResourcePath::root());
        let root = root.map_err(|errno| self.explain(&ResourcePath::root(), errno))?;
        let (mut folder, mut way) = (Folder::from(root), Vec::new());
        for part in path.parts() {
            let inner = open(&folder, part).map_err(|error| self.about_reading(path, error))?;
            way.push(mem::replace(&mut folder, inner));
        }
        way.retain(Folder::is_unlocked);
        let walk = Walk::of_folder(folder, path, recursive, true, None);
        let walk = walk.map_err(|error| self.about_reading(path, error))?;
        Ok(Box::new(walk.opening(open_inside, way)))
    }

    /// The first folder on the way to this one, or it, that this user may not look into as it is,
    /// and that [`DestinationTree::folder`] would let him, since it is his. Nothing is changed.
    pub fn locked(&self, path: &ResourcePath) -> Option<ResourcePath> {
        let mut way: Vec<_> =
            std::iter::successors(Some(path.clone()), ResourcePath::parent).collect();
        // The root is never opened up.
        let mut above = self.root.folder_descriptor(&way.pop()?).ok()?;
        while let Some(at) = way.pop() {
            let name = at.file_name().unwrap_or_default();
            let opened = self.root.folder_descriptor(&at);
            let looks_into = match &opened {
                Ok(folder) => {
                    let wanted = Access::READ_OK | Access::EXEC_OK;
                    rustix::fs::accessat(folder, ".", wanted, AtFlags::EACCESS)
                }
                Err(errno) => Err(*errno),
            };
            match (looks_into, opened) {
                (Ok(()), Ok(folder)) => above = folder,
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

//! Folders that cannot be looked into as they are, and are opened up before anything is done there.

use rustix::fs::{Access, AtFlags};
use rustix::io::Errno;

use super::DestinationTree;
use crate::wire::ResourcePath;

impl DestinationTree {
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

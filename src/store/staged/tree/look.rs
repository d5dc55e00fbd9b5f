//! A look at one entry of a tree.

use rustix::io::Errno;

use super::DestinationTree;
use crate::store::beneath::Directory;
use crate::store::links::leads_through;
use crate::store::local::is_shown;
use crate::store::staged::StageError;
use crate::store::{Listed, StoreError, leads_inside};
use crate::wire::{ObjectKind, ResourcePath};

impl DestinationTree {
    /// The entry at this path, as [`DestinationTree::list`] lists it; `None` if it is missing.
    /// Opens nothing but its directory.
    ///
    /// # Errors
    /// As for [`DestinationTree::directory`].
    pub fn look(&self, path: &ResourcePath) -> Result<Option<Listed>, StageError> {
        let above = path.parent().unwrap_or_else(ResourcePath::root);
        let directory = match self.root.directory_descriptor(&above) {
            Ok(directory) => Directory::from(directory),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.path_error(&above, errno)),
        };
        let name = path.file_name().unwrap_or_default();
        let meta = match directory.look(name) {
            Ok(meta) => meta,
            Err(StoreError::NotFound) => return Ok(None),
            Err(error) => {
                let (path, kind) = (path.clone(), ObjectKind::Other);
                return Ok(Some(Listed::failed(path, kind, error)));
            }
        };
        let mut listed = Listed::of(path.clone(), meta);
        if meta.kind == ObjectKind::Symlink {
            let (here, depth) = (ResourcePath::root(), above.parts().count());
            let is_shown = |name: &[u8]| is_shown(name, true);
            match directory.link_target(name) {
                Ok(target) => {
                    listed.target = target.filter(|target| {
                        leads_through((&directory, depth), &here, target, is_shown)
                    });
                }
                Err(error) => listed.error = Some(error),
            }
        }
        Ok(Some(listed))
    }

    /// Whether a link with this target at this path stays below the root, as far as existing links
    /// show.
    pub fn leads_inside(&self, path: &ResourcePath, target: &[u8]) -> bool {
        let above = path.parent().unwrap_or_else(ResourcePath::root);
        match self.root.directory_descriptor(&ResourcePath::root()) {
            Ok(root) => leads_through((root, 0), &above, target, |name| is_shown(name, true)),
            // Nothing can be placed there either.
            Err(_) => leads_inside(above.parts().count(), target),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn path(name: &str) -> ResourcePath {
        ResourcePath::parse(name.as_bytes()).unwrap()
    }

    #[test]
    fn a_look_shows_the_kind_and_the_target_of_inner_links() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("d")).unwrap();
        fs::write(temp.path().join("d/file"), "1").unwrap();
        symlink("../d/file", temp.path().join("d/in")).unwrap();
        symlink("../../out", temp.path().join("d/out")).unwrap();
        let tree = DestinationTree::open(temp.path(), false).unwrap();
        for (place, kind, target) in [
            ("d", ObjectKind::Directory, None),
            ("d/file", ObjectKind::File, None),
            ("d/in", ObjectKind::Symlink, Some("../d/file")),
            ("d/out", ObjectKind::Symlink, None),
        ] {
            let listed = tree.look(&path(place)).unwrap().unwrap();
            assert_eq!(listed.path, path(place));
            assert_eq!(listed.meta.map(|meta| meta.kind), Some(kind), "{place}");
            let found = listed.target.as_deref();
            assert_eq!(found, target.map(str::as_bytes), "{place}");
            assert!(listed.error.is_none());
        }
        for place in ["missing", "missing/a", "d/missing"] {
            assert!(tree.look(&path(place)).unwrap().is_none(), "{place}");
        }
        assert!(tree.look(&path("d/file/a")).is_err());
        for (place, target, is_inside) in [
            ("l", "d", true),
            ("l", "missing", true),
            ("l", "../d", false),
            ("d/l", "../d", true),
            ("d/l", "../../d", false),
            ("d/l", "out/d", false),
            ("d/l", "/d", false),
        ] {
            let found = tree.leads_inside(&path(place), target.as_bytes());
            assert_eq!(found, is_inside, "{place} to {target}");
        }
    }
}

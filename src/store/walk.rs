//! A tree, file by file.

use crate::store::beneath::{Entry, Folder};
use crate::store::local::is_shown;
use crate::store::{ObjectMeta, StoreError};
use crate::wire::{ObjectKind, PATH_PARTS_MAX, ResourcePath};

/// The regular files of a tree, with what they were when they were found. It holds one open
/// folder for each level it is deep, and nothing else.
pub(super) struct Walk {
    levels: Vec<Level>,
    /// Found already, to be given first.
    found: Option<Found>,
    show_hidden: bool,
}

/// What a walk finds.
pub(super) enum Found {
    /// A file.
    File(ResourcePath, ObjectMeta),
    /// A folder or file that cannot be looked at.
    Failed(ResourcePath, StoreError),
}

struct Level {
    folder: Folder,
    /// From the root, with a slash at the end unless it is the root.
    path: Vec<u8>,
}

impl Walk {
    /// From this root.
    pub(super) fn of_tree(root: Result<Folder, StoreError>, show_hidden: bool) -> Walk {
        let mut walk = Walk {
            levels: Vec::new(),
            found: None,
            show_hidden,
        };
        match root {
            Ok(folder) => walk.levels.push(Level {
                folder,
                path: Vec::new(),
            }),
            Err(error) => walk.found = Some(Found::Failed(ResourcePath::root(), error)),
        }
        walk
    }

    /// Of a single file.
    pub(super) fn of_one(found: Option<(Result<ObjectMeta, StoreError>, ResourcePath)>) -> Walk {
        let found = match found {
            Some((Ok(meta), path)) if meta.kind == ObjectKind::File => {
                Some(Found::File(path, meta))
            }
            Some((Err(error), path)) => Some(Found::Failed(path, error)),
            Some(_) | None => None,
        };
        Walk {
            levels: Vec::new(),
            found,
            show_hidden: true,
        }
    }

    /// Takes one entry of the folder it is in. `None`: nothing that is served.
    fn step(&mut self) -> Option<Found> {
        let level = self.levels.last_mut()?;
        match level.folder.next() {
            None => {
                self.levels.pop();
                None
            }
            Some(Ok(Entry::File(name, meta))) => {
                let path = self.path_of(name.to_bytes())?;
                Some(Found::File(path, meta))
            }
            Some(Ok(Entry::Folder(name))) => {
                let path = self.path_of(name.to_bytes())?;
                let opened = self.levels.last()?.folder.open_below(&name);
                self.enter(path, opened)
            }
            Some(Err((name, error))) => Some(Found::Failed(self.path_of(name.to_bytes())?, error)),
        }
    }

    fn enter(
        &mut self,
        path: ResourcePath,
        opened: Result<Option<Folder>, StoreError>,
    ) -> Option<Found> {
        match opened {
            Ok(Some(folder)) if self.levels.len() < PATH_PARTS_MAX => {
                let mut path = path.as_bytes().to_vec();
                path.push(b'/');
                self.levels.push(Level { folder, path });
                None
            }
            // Gone, or another thing by now.
            Ok(_) | Err(StoreError::NotFound | StoreError::NotADirectory) => None,
            Err(error) => Some(Found::Failed(path, error)),
        }
    }

    /// The path of an entry; `None` if it is hidden, or too long for anybody to ask for.
    fn path_of(&self, name: &[u8]) -> Option<ResourcePath> {
        let level = self.levels.last()?;
        if name.is_empty() {
            // The folder itself could not be read any further.
            let path = level.path.strip_suffix(b"/").unwrap_or(&level.path);
            return ResourcePath::parse(path).ok();
        }
        if !is_shown(name, self.show_hidden) {
            return None;
        }
        ResourcePath::parse(&[&level.path, name].concat()).ok()
    }
}

impl Iterator for Walk {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        if let Some(found) = self.found.take() {
            return Some(found);
        }
        while !self.levels.is_empty() {
            if let Some(found) = self.step() {
                return Some(found);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;
    use crate::store::{DirectoryOptions, DirectoryStore};

    fn files(root: &Path, show_hidden: bool) -> Vec<String> {
        let options = DirectoryOptions {
            show_hidden,
            follow_links_inside: true,
        };
        let walk = DirectoryStore::open_root(root, options).unwrap().walk();
        let mut paths: Vec<String> = walk
            .map(|found| match found {
                Found::File(path, meta) => {
                    assert_eq!(meta.kind, ObjectKind::File);
                    String::from_utf8_lossy(path.as_bytes()).into_owned()
                }
                Found::Failed(path, error) => panic!("{path:?}: {error}"),
            })
            .collect();
        paths.sort();
        paths
    }

    #[test]
    fn finds_what_is_served_once_and_enters_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in ["a", "b/c", "b/d/e", ".git/x", "b/.hidden", ".ft-0-1.part"] {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        fs::create_dir(root.join("empty")).unwrap();
        symlink("b", root.join("link")).unwrap();
        symlink("a", root.join("link to a")).unwrap();
        symlink(".", root.join("b/loop")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert_eq!(files(root, false), ["a", "b/c", "b/d/e"]);
        assert_eq!(
            files(root, true),
            [".git/x", "a", "b/.hidden", "b/c", "b/d/e"]
        );
        assert_eq!(files(&root.join("b/c"), false), ["c"]);
    }

    #[test]
    fn goes_as_deep_as_a_path_may_and_no_deeper() {
        let folder = tempfile::tempdir().unwrap();
        let mut path = folder.path().to_owned();
        for _ in 1..PATH_PARTS_MAX {
            path.push("d");
        }
        fs::create_dir_all(path.join("e")).unwrap();
        fs::write(path.join("last"), "x").unwrap();
        fs::write(path.join("e/too deep"), "x").unwrap();
        let found = files(folder.path(), false);
        assert_eq!(found, ["d/".repeat(PATH_PARTS_MAX - 1) + "last"]);
    }

    #[test]
    fn leaves_out_file_systems_that_hold_no_bytes() {
        let found = Path::new("/proc").canonicalize().unwrap();
        let root = DirectoryStore::open_root(
            found.parent().unwrap(),
            DirectoryOptions {
                show_hidden: false,
                follow_links_inside: false,
            },
        );
        let mut walk = root.unwrap().walk();
        let level = walk.levels.remove(0);
        assert!(matches!(level.folder.open_below(&c"proc".into()), Ok(None)));
    }
}

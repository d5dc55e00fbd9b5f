//! What is known of where something would go, before it is made.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Access, AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::DestinationTree;
use crate::store::beneath::{Fixed, fixed_in};
use crate::store::staged::folder::device_of;
use crate::store::staged::refused_name::{is_refused_by_fat, refused};
use crate::store::staged::{FileName, Space, StageError, StagingFolder};
use crate::wire::ResourcePath;

/// What is known of the place that something would get: of its folder, or of the innermost
/// above it that is there.
#[derive(Clone, Debug)]
pub struct Ground {
    folder: PathBuf,
    missing: usize,
    device: u64,
    space: Option<Space>,
    /// Why nothing can be made there.
    closed: Option<Errno>,
    /// What others have there is theirs to rename and to remove.
    is_shared: bool,
    locked: Option<PathBuf>,
}

impl Ground {
    /// Of a path below a folder that need not be there, nor those above it.
    ///
    /// # Errors
    /// [`StageError::Folder`]: it can never be there, since what is there is no folder.
    pub fn of_missing(folder: &Path, below: &ResourcePath) -> Result<Ground, StageError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let (mut at, mut missing) = (folder, below.parts().count());
        loop {
            let path = if at.as_os_str().is_empty() {
                Path::new(".")
            } else {
                at
            };
            match rustix::fs::open(path, flags, Mode::empty()) {
                Ok(open) => {
                    let ground = Ground::at(open.as_fd(), path, false)?;
                    return Ok(Ground { missing, ..ground });
                }
                Err(Errno::NOENT) => missing += 1,
                Err(errno) => return Err(StageError::of_folder("make the folder", folder, errno)),
            }
            at = match at.parent() {
                Some(above) => above,
                None => {
                    return Err(StageError::of_folder(
                        "make the folder",
                        folder,
                        Errno::NOENT,
                    ));
                }
            };
        }
    }

    /// `unlocks`: a folder of this user is opened for its owner before something is made there.
    fn at(folder: BorrowedFd<'_>, path: &Path, unlocks: bool) -> Result<Ground, StageError> {
        let stat = rustix::fs::fstat(folder)
            .map_err(|errno| StageError::of_folder("look at the folder", path, errno))?;
        let wanted = Access::WRITE_OK | Access::EXEC_OK;
        let is_ours = is_ours(&stat);
        let closed = match rustix::fs::accessat(folder, ".", wanted, AtFlags::EACCESS) {
            Err(Errno::ACCESS) if unlocks && is_ours => None,
            Err(errno @ (Errno::ACCESS | Errno::PERM | Errno::ROFS)) => Some(errno),
            // Names can be made there, and none renamed or removed.
            Ok(()) if fixed_in(folder, b".") == Ok(Some(Fixed::AppendOnly)) => Some(Errno::PERM),
            // Whatever else it says: trying tells.
            Ok(()) | Err(_) => None,
        };
        Ok(Ground {
            folder: path.to_owned(),
            missing: 0,
            device: device_of(&stat),
            space: Space::around(folder),
            closed,
            is_shared: Mode::from_raw_mode(stat.st_mode).contains(Mode::SVTX)
                && !is_ours
                && !rustix::process::geteuid().is_root(),
            locked: None,
        })
    }

    /// The folder that was looked at.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How many folders, the last ones on the way to the place, have to be made for it.
    pub fn missing(&self) -> usize {
        self.missing
    }

    /// The device it is on.
    pub fn device(&self) -> u64 {
        self.device
    }

    /// What its file system has room for, if it says.
    pub fn space(&self) -> Option<&Space> {
        self.space.as_ref()
    }

    /// The folder that it is really about, and that cannot be looked into: it is of this user, and
    /// is opened up before anything is done there ([`DestinationTree::locked`]). All else that is
    /// known is of the one it is in.
    pub fn locked(&self) -> Option<&Path> {
        self.locked.as_deref()
    }

    /// Whether what has this name in the folder can be removed, as far as can be seen.
    ///
    /// # Errors
    /// [`StageError::Io`]: it cannot.
    pub fn check_removing(&self, folder: &StagingFolder, name: &[u8]) -> Result<(), StageError> {
        if let Some(errno) = self.closed {
            return Err(StageError::sort("remove", errno));
        }
        if self.is_shared
            && rustix::fs::statat(folder.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| !is_ours(&stat))
        {
            return Err(StageError::Io {
                doing: "remove what is of another user in a folder with the sticky bit",
                source: Errno::PERM.into(),
            });
        }
        match fixed_in(folder.as_fd(), name) {
            // Whatever else it says: trying tells.
            Ok(None) | Err(_) => Ok(()),
            Ok(Some(fixed)) => Err(StageError::Io {
                doing: "remove",
                source: fixed.error(),
            }),
        }
    }

    /// Whether something of this name can be made there, as far as can be seen.
    ///
    /// # Errors
    /// [`StageError::Folder`]: nothing can. [`StageError::Io`]: not of this name.
    pub fn admit(&self, name: &FileName) -> Result<(), StageError> {
        if let Some(errno) = self.closed {
            return Err(StageError::Folder {
                doing: "create a file in",
                folder: self.folder.clone(),
                source: errno.into(),
            });
        }
        if self.is_shared && self.missing == 0 {
            let place = self.folder.join(OsStr::from_bytes(name.as_bytes()));
            if rustix::fs::lstat(&place).is_ok_and(|stat| !is_ours(&stat)) {
                return Err(StageError::Io {
                    doing: "replace what is of another user in a folder with the sticky bit",
                    source: Errno::PERM.into(),
                });
            }
        }
        if self.space.is_some_and(|space| space.is_fat()) && is_refused_by_fat(name.as_bytes()) {
            return Err(refused(name.as_bytes(), Errno::INVAL));
        }
        let bytes = name.as_bytes().len() as u64;
        match self.space.map(|space| space.name_bytes_max) {
            Some(max) if max > 0 && bytes > max => Err(StageError::Io {
                doing: "give it its name here",
                source: io::Error::other(format!("name is {bytes} bytes, the limit is {max}")),
            }),
            _ => Ok(()),
        }
    }
}

impl DestinationTree {
    /// The folder at this path, if it is there and can be looked into, and what is known of what
    /// would be made in it. Nothing is made or changed.
    ///
    /// # Errors
    /// As for [`DestinationTree::existing_folder`].
    pub fn ground(
        &self,
        path: &ResourcePath,
    ) -> Result<(Option<Arc<StagingFolder>>, Ground), StageError> {
        match self.existing_folder(path) {
            Ok(Some(folder)) => {
                let ground = Ground::at(folder.as_fd(), folder.path(), !path.is_root())?;
                return Ok((Some(folder), ground));
            }
            Ok(None) => {}
            Err(error) => {
                let locked = self.locked(path).ok_or(error)?;
                let above = locked.parent().unwrap_or_else(ResourcePath::root);
                let (_, mut ground) = self.ground(&above)?;
                (ground.locked, ground.closed) = (Some(self.shown(&locked)), None);
                return Ok((None, ground));
            }
        }
        let (mut above, mut missing) = (path.parent(), 1);
        while let Some(at) = above {
            match self.root.folder_descriptor(&at) {
                Ok(folder) => {
                    let ground = Ground::at(folder.as_fd(), &self.shown(&at), !at.is_root())?;
                    return Ok((None, Ground { missing, ..ground }));
                }
                Err(Errno::NOENT) => (above, missing) = (at.parent(), missing + 1),
                Err(errno) => return Err(self.explain(&at, errno)),
            }
        }
        Err(self.explain(path, Errno::NOENT))
    }
}

fn is_ours(stat: &Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::chown;

    use super::*;

    fn path(name: &str) -> ResourcePath {
        ResourcePath::parse(name.as_bytes()).unwrap()
    }

    fn name(text: &str) -> FileName {
        FileName::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_missing_is_counted_down_to_what_is_there() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir_all(temp.path().join("a/b")).unwrap();
        fs::write(temp.path().join("file"), "").unwrap();
        let tree = DestinationTree::open(temp.path(), false).unwrap();
        for (place, there, missing) in [
            ("", "", 0),
            ("a", "a", 0),
            ("a/b", "a/b", 0),
            ("c", "", 1),
            ("a/c", "a", 1),
            ("a/b/c/d/e", "a/b", 3),
        ] {
            let (folder, ground) = tree.ground(&path(place)).unwrap();
            assert_eq!(folder.is_some(), missing == 0, "{place}");
            assert_eq!(ground.missing(), missing, "{place}");
            assert_eq!(ground.folder(), tree.shown(&path(there)), "{place}");
            let facts = rustix::fs::stat(temp.path()).unwrap();
            assert_eq!(ground.device(), device_of(&facts), "{place}");
            assert!(ground.space().is_some() && ground.locked().is_none());
            assert!(!ground.is_shared, "{place}");
            let folds_case = tree.folds_case(&path(place));
            assert_eq!(folds_case.is_some(), missing == 0, "{place}");
            assert_ne!(folds_case.flatten(), Some(true), "{place}");
            let above = temp.path().join("x/y");
            let below = path(place);
            let missing = below.parts().count() + 2;
            let ground = Ground::of_missing(&above, &below).unwrap();
            assert_eq!(ground.folder(), temp.path());
            assert_eq!(ground.missing(), missing, "{place}");
        }
        for place in ["file", "file/a", "file/a/b"] {
            assert!(tree.ground(&path(place)).is_err(), "{place}");
        }
        for place in ["file", "file/a"] {
            assert!(Ground::of_missing(&temp.path().join(place), &path("b")).is_err());
        }
    }

    #[test]
    fn what_the_place_does_not_take_is_known_before_it_comes() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("ours"), "").unwrap();
        let free = Ground::of_missing(temp.path(), &path("")).unwrap();
        let with_names = |name_bytes_max| {
            let mut space = *free.space().unwrap();
            space.name_bytes_max = name_bytes_max;
            let space = Some(space);
            Ground {
                space,
                ..free.clone()
            }
        };
        assert!(free.admit(&name("a:b")).is_ok());
        for (bytes_max, bytes, is_admitted) in [
            (9, 8, true),
            (9, 9, true),
            (9, 10, false),
            (1, 2, false),
            (0, 255, true),
        ] {
            let name = name(&"n".repeat(bytes));
            let admitted = with_names(bytes_max).admit(&name);
            assert_eq!(admitted.is_ok(), is_admitted, "{bytes} of {bytes_max}");
        }
        let closed = Ground {
            closed: Some(Errno::ROFS),
            ..free.clone()
        };
        let refused = closed.admit(&name("a"));
        assert!(
            matches!(refused, Err(StageError::Folder { .. })),
            "{refused:?}"
        );
        let folder = StagingFolder::open(temp.path()).unwrap();
        assert!(closed.check_removing(&folder, b"ours").is_err());
        assert!(free.check_removing(&folder, b"ours").is_ok());
    }

    #[test]
    fn what_is_of_another_user_stays_in_a_shared_folder() {
        let temp = tempfile::tempdir().unwrap();
        for file in ["ours", "theirs"] {
            fs::write(temp.path().join(file), "").unwrap();
        }
        if chown(temp.path().join("theirs"), Some(12_345), None).is_err() {
            // Only root gives files away.
            return;
        }
        let folder = StagingFolder::open(temp.path()).unwrap();
        let own = Ground::of_missing(temp.path(), &path("")).unwrap();
        let shared = Ground {
            is_shared: true,
            ..own.clone()
        };
        let not_there = Ground {
            missing: 1,
            ..shared.clone()
        };
        for (file, ground, is_possible) in [
            ("ours", &shared, true),
            ("new", &shared, true),
            ("theirs", &shared, false),
            ("theirs", &own, true),
            ("theirs", &not_there, true),
        ] {
            assert_eq!(ground.admit(&name(file)).is_ok(), is_possible, "{file}");
            if ground.missing() == 0 {
                let removed = ground.check_removing(&folder, file.as_bytes());
                assert_eq!(removed.is_ok(), is_possible, "{file}");
            }
        }
    }
}

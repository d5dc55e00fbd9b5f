//! Facts about the place where something would be created.

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
use crate::store::staged::refused_name::{is_refused_by_fat, refused};
use crate::store::staged::staging_directory::device_of;
use crate::store::staged::{FileName, Space, StageError, StagingDirectory};
use crate::wire::ResourcePath;

/// Facts about the directory that something would be created in. If that is missing, they are about
/// its innermost parent that exists.
#[derive(Clone, Debug)]
pub struct TargetInfo {
    directory: PathBuf,
    missing: usize,
    device: u64,
    space: Option<Space>,
    /// Why nothing can be created there.
    closed: Option<Errno>,
    /// Entries of other users can only be renamed and removed by them.
    is_shared: bool,
    locked: Option<PathBuf>,
}

impl TargetInfo {
    /// Looks at a path below a directory. That directory and its parents may be missing.
    ///
    /// # Errors
    /// [`StageError::Directory`]: the directory can never exist, because a part of its path is no
    /// directory.
    pub fn of_missing(directory: &Path, below: &ResourcePath) -> Result<TargetInfo, StageError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let (mut at, mut missing) = (directory, below.parts().count());
        loop {
            let path = if at.as_os_str().is_empty() {
                Path::new(".")
            } else {
                at
            };
            match rustix::fs::open(path, flags, Mode::empty()) {
                Ok(open) => {
                    let target_info = TargetInfo::at(open.as_fd(), path, false)?;
                    return Ok(TargetInfo {
                        missing,
                        ..target_info
                    });
                }
                Err(Errno::NOENT) => missing += 1,
                Err(errno) => {
                    return Err(StageError::of_directory(
                        "make the directory",
                        directory,
                        errno,
                    ));
                }
            }
            at = match at.parent() {
                Some(above) => above,
                None => {
                    return Err(StageError::of_directory(
                        "make the directory",
                        directory,
                        Errno::NOENT,
                    ));
                }
            };
        }
    }

    /// `unlocks`: a directory of this user gets missing owner permissions before something is made
    /// in it.
    fn at(directory: BorrowedFd<'_>, path: &Path, unlocks: bool) -> Result<TargetInfo, StageError> {
        let stat = rustix::fs::fstat(directory)
            .map_err(|errno| StageError::of_directory("look at the directory", path, errno))?;
        let access = Access::WRITE_OK | Access::EXEC_OK;
        let is_ours = is_ours(&stat);
        let closed = match rustix::fs::accessat(directory, ".", access, AtFlags::EACCESS) {
            Err(Errno::ACCESS) if unlocks && is_ours => None,
            Err(errno @ (Errno::ACCESS | Errno::PERM | Errno::ROFS)) => Some(errno),
            // New names can be made there, but none can be renamed or removed.
            Ok(()) if fixed_in(directory, b".") == Ok(Some(Fixed::AppendOnly)) => Some(Errno::PERM),
            // Other errors prove nothing: the attempt itself will show.
            Ok(()) | Err(_) => None,
        };
        Ok(TargetInfo {
            directory: path.to_owned(),
            missing: 0,
            device: device_of(&stat),
            space: Space::around(directory),
            closed,
            is_shared: Mode::from_raw_mode(stat.st_mode).contains(Mode::SVTX)
                && !is_ours
                && !rustix::process::geteuid().is_root(),
            locked: None,
        })
    }

    /// The directory that was looked at.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// How many directories at the end of the path have to be made.
    pub fn missing(&self) -> usize {
        self.missing
    }

    /// The device that the directory is on.
    pub fn device(&self) -> u64 {
        self.device
    }

    /// The space of its file system, if it reports any.
    pub fn space(&self) -> Option<&Space> {
        self.space.as_ref()
    }

    /// The directory that the request is about, if it cannot be entered. It belongs to this user
    /// and gets missing permissions before anything is done there ([`DestinationTree::locked`]).
    /// All other facts are about its parent.
    pub fn locked(&self) -> Option<&Path> {
        self.locked.as_deref()
    }

    /// Whether the entry of this name can be removed, as far as a look shows.
    ///
    /// # Errors
    /// [`StageError::Io`]: the entry cannot be removed.
    pub fn check_removing(
        &self,
        directory: &StagingDirectory,
        name: &[u8],
    ) -> Result<(), StageError> {
        if let Some(errno) = self.closed {
            return Err(StageError::sort("remove", errno));
        }
        if self.is_shared
            && rustix::fs::statat(directory.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| !is_ours(&stat))
        {
            return Err(StageError::Io {
                doing: "remove the entry of another user in a directory with the sticky bit",
                source: Errno::PERM.into(),
            });
        }
        match fixed_in(directory.as_fd(), name) {
            // Other errors prove nothing: the attempt itself will show.
            Ok(None) | Err(_) => Ok(()),
            Ok(Some(fixed)) => Err(StageError::Io {
                doing: "remove",
                source: fixed.error(),
            }),
        }
    }

    /// Whether an entry of this name can be made there, as far as a look shows.
    ///
    /// # Errors
    /// [`StageError::Directory`]: nothing can be made. [`StageError::Io`]: not under this name.
    pub fn admit(&self, name: &FileName) -> Result<(), StageError> {
        if let Some(errno) = self.closed {
            return Err(StageError::Directory {
                doing: "create a file in",
                directory: self.directory.clone(),
                source: errno.into(),
            });
        }
        if self.is_shared && self.missing == 0 {
            let place = self.directory.join(OsStr::from_bytes(name.as_bytes()));
            if rustix::fs::lstat(&place).is_ok_and(|stat| !is_ours(&stat)) {
                return Err(StageError::Io {
                    doing: "replace the entry of another user in a directory with the sticky bit",
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
                doing: "use this name here",
                source: io::Error::other(format!("name is {bytes} bytes, the limit is {max}")),
            }),
            _ => Ok(()),
        }
    }
}

impl DestinationTree {
    /// The directory at this path, if it exists and can be entered, and facts about what would be
    /// created in it. Makes and changes nothing.
    ///
    /// # Errors
    /// As for [`DestinationTree::existing_directory`].
    pub fn target_info(
        &self,
        path: &ResourcePath,
    ) -> Result<(Option<Arc<StagingDirectory>>, TargetInfo), StageError> {
        match self.existing_directory(path) {
            Ok(Some(directory)) => {
                let target_info =
                    TargetInfo::at(directory.as_fd(), directory.path(), !path.is_root())?;
                return Ok((Some(directory), target_info));
            }
            Ok(None) => {}
            Err(error) => {
                let locked = self.locked(path).ok_or(error)?;
                let above = locked.parent().unwrap_or_else(ResourcePath::root);
                let (_, mut target_info) = self.target_info(&above)?;
                (target_info.locked, target_info.closed) = (Some(self.shown(&locked)), None);
                return Ok((None, target_info));
            }
        }
        let (mut above, mut missing) = (path.parent(), 1);
        while let Some(at) = above {
            match self.root.directory_descriptor(&at) {
                Ok(directory) => {
                    let target_info =
                        TargetInfo::at(directory.as_fd(), &self.shown(&at), !at.is_root())?;
                    return Ok((
                        None,
                        TargetInfo {
                            missing,
                            ..target_info
                        },
                    ));
                }
                Err(Errno::NOENT) => (above, missing) = (at.parent(), missing + 1),
                Err(errno) => return Err(self.path_error(&at, errno)),
            }
        }
        Err(self.path_error(path, Errno::NOENT))
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
    fn missing_directories_are_counted_to_the_first_existing() {
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
            let (directory, target_info) = tree.target_info(&path(place)).unwrap();
            assert_eq!(directory.is_some(), missing == 0, "{place}");
            assert_eq!(target_info.missing(), missing, "{place}");
            assert_eq!(target_info.directory(), tree.shown(&path(there)), "{place}");
            let facts = rustix::fs::stat(temp.path()).unwrap();
            assert_eq!(target_info.device(), device_of(&facts), "{place}");
            assert!(target_info.space().is_some() && target_info.locked().is_none());
            assert!(!target_info.is_shared, "{place}");
            let folds_case = tree.folds_case(&path(place));
            assert_eq!(folds_case.is_some(), missing == 0, "{place}");
            assert_ne!(folds_case.flatten(), Some(true), "{place}");
            let above = temp.path().join("x/y");
            let below = path(place);
            let missing = below.parts().count() + 2;
            let target_info = TargetInfo::of_missing(&above, &below).unwrap();
            assert_eq!(target_info.directory(), temp.path());
            assert_eq!(target_info.missing(), missing, "{place}");
        }
        for place in ["file", "file/a", "file/a/b"] {
            assert!(tree.target_info(&path(place)).is_err(), "{place}");
        }
        for place in ["file", "file/a"] {
            assert!(TargetInfo::of_missing(&temp.path().join(place), &path("b")).is_err());
        }
    }

    #[test]
    fn impossible_names_are_refused_in_advance() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("ours"), "").unwrap();
        let free = TargetInfo::of_missing(temp.path(), &path("")).unwrap();
        let with_names = |name_bytes_max| {
            let mut space = *free.space().unwrap();
            space.name_bytes_max = name_bytes_max;
            let space = Some(space);
            TargetInfo {
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
        let closed = TargetInfo {
            closed: Some(Errno::ROFS),
            ..free.clone()
        };
        let refused = closed.admit(&name("a"));
        assert!(
            matches!(refused, Err(StageError::Directory { .. })),
            "{refused:?}"
        );
        let directory = StagingDirectory::open(temp.path()).unwrap();
        assert!(closed.check_removing(&directory, b"ours").is_err());
        assert!(free.check_removing(&directory, b"ours").is_ok());
    }

    #[test]
    fn entries_of_other_users_stay_in_a_sticky_directory() {
        let temp = tempfile::tempdir().unwrap();
        for file in ["ours", "theirs"] {
            fs::write(temp.path().join(file), "").unwrap();
        }
        if chown(temp.path().join("theirs"), Some(12_345), None).is_err() {
            // Only root gives files away.
            return;
        }
        let directory = StagingDirectory::open(temp.path()).unwrap();
        let own = TargetInfo::of_missing(temp.path(), &path("")).unwrap();
        let shared = TargetInfo {
            is_shared: true,
            ..own.clone()
        };
        let not_there = TargetInfo {
            missing: 1,
            ..shared.clone()
        };
        for (file, target_info, is_possible) in [
            ("ours", &shared, true),
            ("new", &shared, true),
            ("theirs", &shared, false),
            ("theirs", &own, true),
            ("theirs", &not_there, true),
        ] {
            assert_eq!(
                target_info.admit(&name(file)).is_ok(),
                is_possible,
                "{file}"
            );
            if target_info.missing() == 0 {
                let removed = target_info.check_removing(&directory, file.as_bytes());
                assert_eq!(removed.is_ok(), is_possible, "{file}");
            }
        }
    }
}

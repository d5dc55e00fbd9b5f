//! Whether a directory treats names that differ only in case as one name.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, Mode};
use rustix::io::Errno;

use super::DestinationTree;
use crate::store::beneath::directory_in;
use crate::store::staged::name::PartialName;
use crate::store::staged::partials::CREATE_NEW;
use crate::store::staged::space::Space;
use crate::store::staged::staging_directory::device_of;
use crate::wire::ResourcePath;

impl DestinationTree {
    /// Whether the directory at this path folds case, as its file system reports. `Some(None)` if
    /// only a lookup can show it; `None` if the directory is missing or cannot be opened.
    pub fn folds_case(&self, path: &ResourcePath) -> Option<Option<bool>> {
        let directory = self.root.directory_descriptor(path).ok()?;
        Some(folds_case(directory.as_fd()))
    }

    /// Tests whether the directory at this path, or its innermost parent that exists, folds case.
    /// Looks up a name in it, or in a directory around it, in the other case. If there is no such
    /// name and `may_write`, creates a file for a moment. `None` if nothing shows it.
    pub fn find_case_folding(&self, path: &ResourcePath, may_write: bool) -> Option<bool> {
        let mut around = std::iter::successors(Some(path.clone()), ResourcePath::parent);
        let directory = around.find_map(|at| self.root.directory_descriptor(&at).ok())?;
        let directory = directory.as_fd();
        let try_it = || may_write.then(|| try_case_folding(directory))?;
        folds_case(directory)
            .or_else(|| look_around(directory))
            .or_else(try_it)
    }
}

/// Whether the file system folds case, or the directory is set to do so (chattr(1), `+F`). `None`
/// if unknown: FUSE programs and servers may do either.
pub(in crate::store::staged) fn folds_case(directory: BorrowedFd<'_>) -> Option<bool> {
    let is_set = rustix::fs::ioctl_getflags(directory)
        .is_ok_and(|flags| u64::from(flags.bits()) & FOLDED != 0);
    if is_set {
        return Some(true);
    }
    let space = Space::around(directory)?;
    match (space.is_fat(), space.keeps_case()) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    }
}

/// Tests the names in a directory, and in those around it on its device.
fn look_around(directory: BorrowedFd<'_>) -> Option<bool> {
    let mut at = directory_in(directory, b".").ok()?;
    loop {
        if let Some(folds) = look_in(at.as_fd()) {
            return Some(folds);
        }
        let above = directory_in(&at, b"..").ok()?;
        let [here, there] = [&at, &above].map(|directory| rustix::fs::fstat(directory).ok());
        let (here, there) = (here?, there?);
        if device_of(&here) != device_of(&there) || here.st_ino == there.st_ino {
            return None;
        }
        at = above;
    }
}

/// `None`: no name in it has a letter.
fn look_in(directory: BorrowedFd<'_>) -> Option<bool> {
    for entry in Dir::read_from(directory).ok()? {
        let entry = entry.ok()?;
        let name = entry.file_name().to_bytes();
        let other = in_other_case(name);
        if other == name {
            continue;
        }
        match is_found(directory, &other) {
            // Both names may exist. Inodes prove nothing: some file systems give each name its own.
            Ok(true) => return lists(directory, &other).map(|is_listed| !is_listed),
            // The name itself may be gone.
            Ok(false) if is_found(directory, name) == Ok(true) => return Some(false),
            Ok(false) => {}
            Err(_) => return None,
        }
    }
    None
}

fn is_found(directory: BorrowedFd<'_>, name: &[u8]) -> Result<bool, Errno> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn lists(directory: BorrowedFd<'_>, name: &[u8]) -> Option<bool> {
    for entry in Dir::read_from(directory).ok()? {
        if entry.ok()?.file_name().to_bytes() == name {
            return Some(true);
        }
    }
    Some(false)
}

/// Creates a partial file for a moment and looks up its name in the other case.
fn try_case_folding(directory: BorrowedFd<'_>) -> Option<bool> {
    let name = PartialName::random(*b"0000000000000000").text;
    rustix::fs::openat(directory, &*name, CREATE_NEW, Mode::RUSR | Mode::WUSR).ok()?;
    let found = is_found(directory, &in_other_case(name.as_bytes()));
    // A later run removes it if this fails.
    let _ = rustix::fs::unlinkat(directory, &*name, AtFlags::empty());
    found.ok()
}

fn in_other_case(name: &[u8]) -> Vec<u8> {
    let other = |byte: &u8| match byte.is_ascii_lowercase() {
        true => byte.to_ascii_uppercase(),
        false => byte.to_ascii_lowercase(),
    };
    name.iter().map(other).collect()
}

/// FS_CASEFOLD_FL of ioctl_iflags(2).
const FOLDED: u64 = 0x4000_0000;

#[cfg(test)]
mod tests {
    use rustix::fs::OFlags;

    use super::*;

    #[test]
    fn letters_are_looked_for_in_the_directories_around() {
        let temp = tempfile::tempdir().unwrap();
        let open = |path: &str| {
            let path = temp.path().join(path);
            rustix::fs::open(path, OFlags::RDONLY, Mode::empty()).unwrap()
        };
        std::fs::create_dir_all(temp.path().join("1/2")).unwrap();
        for path in ["1/2", "1", ""] {
            assert_eq!(look_in(open(path).as_fd()), None, "{path}");
        }
        // The name of the directory itself has letters, in the one around it.
        assert_eq!(look_around(open("").as_fd()), Some(false));
        std::fs::create_dir(temp.path().join("a")).unwrap();
        assert_eq!(look_around(open("1/2").as_fd()), Some(false));
    }

    #[test]
    fn a_missing_directory_folds_case_as_the_one_around_it() {
        let temp = tempfile::tempdir().unwrap();
        let tree = DestinationTree::open(temp.path(), false).unwrap();
        let missing = ResourcePath::parse(b"a/b").unwrap();
        for path in [&ResourcePath::root(), &missing] {
            assert_eq!(tree.find_case_folding(path, true), Some(false), "{path:?}");
        }
        assert!(tree.folds_case(&ResourcePath::root()).is_some());
        assert_eq!(tree.folds_case(&missing), None);
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_name_is_found_and_listed_as_it_is_spelt() {
        let temp = tempfile::tempdir().unwrap();
        let folder = rustix::fs::open(temp.path(), OFlags::RDONLY, Mode::empty()).unwrap();
        let folder = folder.as_fd();
        std::fs::write(temp.path().join("aB1"), "").unwrap();
        for (name, is_there) in [(&b"aB1"[..], true), (b"Ab1", false)] {
            assert_eq!(is_found(folder, name), Ok(is_there));
            assert_eq!(lists(folder, name), Some(is_there));
        }
        assert_eq!(is_found(folder, b"aB1/x"), Err(Errno::NOTDIR));
        assert_eq!(in_other_case("aB1-éZz".as_bytes()), "Ab1-ézZ".as_bytes());
    }

    #[test]
    fn names_that_are_listed_apart_are_two() {
        let temp = tempfile::tempdir().unwrap();
        let directory = rustix::fs::open(temp.path(), OFlags::RDONLY, Mode::empty()).unwrap();
        let directory = directory.as_fd();
        assert_eq!(look_in(directory), None);
        assert_eq!(try_case_folding(directory), Some(false));
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
        std::fs::write(temp.path().join("1"), "").unwrap();
        assert_eq!(look_in(directory), None);
        std::fs::write(temp.path().join("a"), "").unwrap();
        assert_eq!(look_in(directory), Some(false));
        std::fs::hard_link(temp.path().join("a"), temp.path().join("A")).unwrap();
        assert_eq!(look_in(directory), Some(false));
    }
}

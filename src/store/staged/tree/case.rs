//! Whether a directory takes names that differ only in upper and lower case for one name.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, Mode};
use rustix::io::Errno;

use super::DestinationTree;
use crate::store::beneath::folder_in;
use crate::store::staged::folder::device_of;
use crate::store::staged::name::PartialName;
use crate::store::staged::partials::CREATE_NEW;
use crate::store::staged::space::Space;
use crate::wire::ResourcePath;

impl DestinationTree {
    /// Whether the directory at this path does, as its file system says; `Some(None)` if that only
    /// a lookup shows, `None` if the directory is missing or cannot be opened.
    pub fn folds_case(&self, path: &ResourcePath) -> Option<Option<bool>> {
        let folder = self.root.folder_descriptor(path).ok()?;
        Some(folds_case(folder.as_fd()))
    }

    /// Looks whether the directory at this path does, or the innermost above it that is there: a
    /// name in it, or in one around it, is looked up in the other case. If there is no such name
    /// and `may_write`, a file is made for a moment. `None` if that shows nothing.
    pub fn find_case_folding(&self, path: &ResourcePath, may_write: bool) -> Option<bool> {
        let mut around = std::iter::successors(Some(path.clone()), ResourcePath::parent);
        let folder = around.find_map(|at| self.root.folder_descriptor(&at).ok())?;
        let folder = folder.as_fd();
        let try_it = || may_write.then(|| try_case_folding(folder))?;
        folds_case(folder)
            .or_else(|| look_around(folder))
            .or_else(try_it)
    }
}

/// What the file system says, or a directory that was set so (chattr(1), `+F`). `None`: programs
/// and servers may do either.
pub(in crate::store::staged) fn folds_case(folder: BorrowedFd<'_>) -> Option<bool> {
    let is_set =
        rustix::fs::ioctl_getflags(folder).is_ok_and(|flags| u64::from(flags.bits()) & FOLDED != 0);
    if is_set {
        return Some(true);
    }
    let space = Space::around(folder)?;
    match (space.is_fat(), space.keeps_case()) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    }
}

/// Looks at the names in a directory, and in those around it on its device.
fn look_around(folder: BorrowedFd<'_>) -> Option<bool> {
    let mut at = folder_in(folder, b".").ok()?;
    loop {
        if let Some(folds) = look_in(at.as_fd()) {
            return Some(folds);
        }
        let above = folder_in(&at, b"..").ok()?;
        let [here, there] = [&at, &above].map(|folder| rustix::fs::fstat(folder).ok());
        let (here, there) = (here?, there?);
        if device_of(&here) != device_of(&there) || here.st_ino == there.st_ino {
            return None;
        }
        at = above;
    }
}

/// `None`: no name in it has a letter.
fn look_in(folder: BorrowedFd<'_>) -> Option<bool> {
    for entry in Dir::read_from(folder).ok()? {
        let entry = entry.ok()?;
        let name = entry.file_name().to_bytes();
        let other = in_other_case(name);
        if other == name {
            continue;
        }
        match is_found(folder, &other) {
            // Both may be there. Inodes show nothing: some file systems give each name its own.
            Ok(true) => return lists(folder, &other).map(|is_listed| !is_listed),
            // It may be gone itself.
            Ok(false) if is_found(folder, name) == Ok(true) => return Some(false),
            Ok(false) => {}
            Err(_) => return None,
        }
    }
    None
}

fn is_found(folder: BorrowedFd<'_>, name: &[u8]) -> Result<bool, Errno> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn lists(folder: BorrowedFd<'_>, name: &[u8]) -> Option<bool> {
    for entry in Dir::read_from(folder).ok()? {
        if entry.ok()?.file_name().to_bytes() == name {
            return Some(true);
        }
    }
    Some(false)
}

/// Makes a file for a moment, by the name of a partial file, and looks it up in the other case.
fn try_case_folding(folder: BorrowedFd<'_>) -> Option<bool> {
    let name = PartialName::random(*b"0000000000000000").text;
    rustix::fs::openat(folder, &*name, CREATE_NEW, Mode::RUSR | Mode::WUSR).ok()?;
    let found = is_found(folder, &in_other_case(name.as_bytes()));
    // If it cannot be removed, a later run does.
    let _ = rustix::fs::unlinkat(folder, &*name, AtFlags::empty());
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
    fn names_that_are_listed_apart_are_two() {
        let temp = tempfile::tempdir().unwrap();
        let folder = rustix::fs::open(temp.path(), OFlags::RDONLY, Mode::empty()).unwrap();
        let folder = folder.as_fd();
        assert_eq!(look_in(folder), None);
        assert_eq!(try_case_folding(folder), Some(false));
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
        std::fs::write(temp.path().join("1"), "").unwrap();
        assert_eq!(look_in(folder), None);
        std::fs::write(temp.path().join("a"), "").unwrap();
        assert_eq!(look_in(folder), Some(false));
        std::fs::hard_link(temp.path().join("a"), temp.path().join("A")).unwrap();
        assert_eq!(look_in(folder), Some(false));
    }
}

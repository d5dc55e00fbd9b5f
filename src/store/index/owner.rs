//! The owner of index files. Users who can write an index can forge its digests.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::IndexError;

/// Checks a file of an index, if there is one; a link is refused.
///
/// # Errors
/// [`IndexError::NotOurs`]: it is no regular file, or other users own or can write it.
pub(super) fn check_file(path: &Path) -> Result<Option<Metadata>, IndexError> {
    let found = match path.symlink_metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(IndexError::Directory(error)),
    };
    check(&found, path)?;
    Ok(Some(found))
}

/// Checks an open file of an index.
///
/// # Errors
/// As for [`check_file`].
pub(super) fn check_open(file: &File, path: &Path) -> Result<(), IndexError> {
    check(&file.metadata().map_err(IndexError::Directory)?, path)
}

fn check(found: &Metadata, path: &Path) -> Result<(), IndexError> {
    let why = if found.is_symlink() {
        "is a link"
    } else if !found.is_file() {
        "is not a regular file"
    } else if !is_own(found) {
        ANOTHER_USERS
    } else if found.mode() & 0o022 != 0 {
        WRITABLE
    } else {
        return Ok(());
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let what = name.escape_debug().to_string();
    Err(IndexError::NotOurs { what, why })
}

/// Checks that only this user and the administrator can add files to a directory.
///
/// # Errors
/// [`IndexError::NotOurs`].
pub(super) fn check_directory(directory: &Path) -> Result<(), IndexError> {
    let found = fs::metadata(directory).map_err(IndexError::Directory)?;
    // In a sticky directory such as /tmp, only the owner can replace a file.
    let is_sticky = found.mode() & 0o1000 != 0;
    // Many systems have a group for each user without other members.
    let is_own_group = found.gid() == rustix::process::getegid().as_raw();
    let others = if is_own_group { 0o002 } else { 0o022 };
    let why = if !is_own(&found) && found.uid() != 0 {
        ANOTHER_USERS
    } else if found.mode() & others != 0 && !is_sticky {
        WRITABLE
    } else {
        return Ok(());
    };
    let what = "its directory".to_owned();
    Err(IndexError::NotOurs { what, why })
}

fn is_own(found: &Metadata) -> bool {
    found.uid() == rustix::process::geteuid().as_raw()
}

const ANOTHER_USERS: &str = "belongs to another user";
const WRITABLE: &str = "can be written by other users";

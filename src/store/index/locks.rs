//! Which inodes SQLite has open in this process, so that nothing else opens them.
//!
//! When a process closes any descriptor of a file, it loses all the locks it holds there
//! (fcntl(2), "Record locks"), those of SQLite too; a write of another process would
//! then be lost or damage the file. That is a matter of the whole process, and so is this
//! table: every store refuses these inodes before it opens them, by whatever name, link or
//! mount they are reached. Looking at them (`O_PATH`, `stat`) does no harm.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::{fs, io};

use crate::store::Stamp;

/// Whether SQLite has this inode open in this process.
pub(in crate::store) fn is_open_here(stamp: &Stamp) -> bool {
    let open = OPEN.read().unwrap_or_else(PoisonError::into_inner);
    open.contains(&(stamp.device, stamp.inode))
}

/// Runs something that opens these files with SQLite, and enters those that are there
/// afterwards. Nothing else is opened meanwhile.
pub(super) fn opening<T, E>(
    files: &[PathBuf],
    open: impl FnOnce() -> Result<T, E>,
) -> Result<(T, OpenFiles), E> {
    let mut table = OPEN.write().unwrap_or_else(PoisonError::into_inner);
    let opened = open()?;
    let found = files.iter().filter_map(|path| identity(path).ok());
    let entered: Vec<Inode> = found.collect();
    table.extend(&entered);
    Ok((opened, OpenFiles(entered)))
}

/// Files in the table, taken out on drop. To be dropped after what has them open.
pub(super) struct OpenFiles(Vec<Inode>);

impl Drop for OpenFiles {
    fn drop(&mut self) {
        let mut table = OPEN.write().unwrap_or_else(PoisonError::into_inner);
        for inode in &self.0 {
            // An inode may be there twice, once for each index that has it open.
            if let Some(at) = table.iter().position(|open| open == inode) {
                table.swap_remove(at);
            }
        }
    }
}

/// Device and inode of a file, which is not opened.
pub(super) fn identity(path: &Path) -> io::Result<Inode> {
    let found = fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Device and inode.
pub(super) type Inode = (u64, u64);

static OPEN: RwLock<Vec<Inode>> = RwLock::new(Vec::new());

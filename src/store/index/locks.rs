//! The inodes that this process writes itself, which nothing else may open or replace. Most are
//! files of SQLite.
//!
//! When a process closes any descriptor of a file, it loses all its locks on that file (fcntl(2),
//! "Record locks"), also those of SQLite. A write of another process would then be lost or damage
//! the file. This concerns the whole process, and so does this table. Every store refuses these
//! inodes before it opens them, under any name, link or mount. Looking at them (`O_PATH`, `stat`)
//! is safe.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::{fs, io};

use crate::store::Stamp;

/// Whether this process writes this inode, or will in a moment. Does not wait for an opening.
pub(in crate::store) fn is_written_here(stamp: &Stamp) -> bool {
    let inode = (stamp.device, stamp.inode);
    let table = OPEN.read().unwrap_or_else(PoisonError::into_inner);
    table.open.contains(&inode)
        || table
            .opening
            .iter()
            .flatten()
            .any(|path| identity(path).is_ok_and(|found| found == inode))
}

/// Opens these files with SQLite, and then registers those that exist. Meanwhile all stores refuse
/// these names, because SQLite may create the files only now.
pub(super) fn opening<T, E>(
    files: &[PathBuf],
    open: impl FnOnce() -> Result<T, E>,
) -> Result<(T, InUse), E> {
    let opening = Opening::begin(files);
    let opened = open()?;
    Ok((opened, opening.enter()))
}

/// Files that are about to be open, by name, until this is dropped.
struct Opening<'a>(&'a [PathBuf]);

impl<'a> Opening<'a> {
    fn begin(files: &'a [PathBuf]) -> Opening<'a> {
        change(|table| table.opening.push(files.to_vec()));
        Opening(files)
    }

    /// Registers the inodes before the names are dropped.
    fn enter(self) -> InUse {
        let found = self.0.iter().filter_map(|path| identity(path).ok());
        let entered: Vec<Inode> = found.collect();
        change(|table| table.open.extend(&entered));
        InUse(entered)
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        change(|table| {
            if let Some(at) = table.opening.iter().position(|files| files == self.0) {
                table.opening.swap_remove(at);
            }
        });
    }
}

/// Files that this process writes itself. Until this is dropped, every store treats them as missing
/// and does not replace them. Drop it after the files are closed.
#[derive(Debug)]
pub struct InUse(Vec<Inode>);

impl InUse {
    /// Registers an open file.
    ///
    /// # Errors
    /// The file cannot be looked at.
    pub fn file(open: &File) -> io::Result<InUse> {
        let found = open.metadata()?;
        let inode = (found.dev(), found.ino());
        change(|table| table.open.push(inode));
        Ok(InUse(vec![inode]))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        change(|table| {
            for inode in &self.0 {
                // An inode is listed once for each index that has it open.
                if let Some(at) = table.open.iter().position(|open| open == inode) {
                    table.open.swap_remove(at);
                }
            }
        });
    }
}

fn change(how: impl FnOnce(&mut OpenInodes)) {
    how(&mut OPEN.write().unwrap_or_else(PoisonError::into_inner));
}

/// Device and inode of a file, without opening it.
pub(super) fn identity(path: &Path) -> io::Result<Inode> {
    let found = fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Device and inode.
pub(super) type Inode = (u64, u64);

/// The open inodes, and the files of each index that is being opened.
struct OpenInodes {
    open: Vec<Inode>,
    opening: Vec<Vec<PathBuf>>,
}

static OPEN: RwLock<OpenInodes> = RwLock::new(OpenInodes {
    open: Vec::new(),
    opening: Vec::new(),
});

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::store::{DirectoryOptions, DirectoryStore, Store, StoreError};
    use crate::wire::ResourcePath;

    #[test]
    fn an_opening_index_blocks_only_its_own_files() {
        let place = tempfile::tempdir().unwrap();
        let files = ["there", "made"].map(|name| place.path().join(name));
        for name in ["there", "other"] {
            fs::write(place.path().join(name), "x").unwrap();
        }
        let options = DirectoryOptions {
            show_hidden: false,
            follow_links_inside: false,
        };
        let store = DirectoryStore::open_root(place.path(), options).unwrap();
        let path = |name: &str| ResourcePath::parse(name.as_bytes()).unwrap();
        let is_refused = |name| matches!(store.stat(&path(name)), Err(StoreError::NotFound));
        let refused = || ["there", "made", "other"].map(is_refused);
        thread::scope(|scope| {
            let (_, opened) = opening(&files, || {
                fs::write(&files[1], "x").unwrap();
                let (send, answer) = mpsc::channel();
                scope.spawn(move || send.send(refused()));
                assert_eq!(
                    answer.recv_timeout(Duration::from_secs(60)),
                    Ok([true, true, false])
                );
                Ok::<(), ()>(())
            })
            .unwrap();
            assert_eq!(refused(), [true, true, false]);
            drop(opened);
            assert_eq!(refused(), [false; 3]);
        });
        assert!(opening(&files, || Err::<(), ()>(())).is_err());
        assert_eq!(refused(), [false; 3], "an index that did not open");
    }
}

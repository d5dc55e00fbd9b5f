//! Staged copies of files on this machine.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::io::Errno;

use super::StageError;
use super::file::{StagedFile, sort_io};
use super::name::FileName;
use super::staging_directory::StagingDirectory;

impl StagingDirectory {
    /// Stages a copy of an open file at its present length. Shares blocks if the file system can;
    /// else the kernel copies. The caller verifies the copy, because the original may change
    /// meanwhile. Stops early once `may_continue` returns `false`; it is called between steps.
    ///
    /// # Errors
    /// [`StageError`]: the copy cannot be created, read or written.
    pub fn stage_copy_of(
        self: &Arc<Self>,
        name: &FileName,
        original: &File,
        may_continue: impl Fn() -> bool,
    ) -> Result<StagedFile, StageError> {
        let mut staged = self.stage_unnamed(name)?;
        staged.copy_all_of(original, &may_continue)?;
        Ok(staged)
    }
}

impl StagedFile {
    /// Copies the bytes of an open file, while `may_continue` returns `true`.
    pub(super) fn copy_all_of(
        &mut self,
        original: &File,
        may_continue: &impl Fn() -> bool,
    ) -> Result<(), StageError> {
        if rustix::fs::ioctl_ficlone(&*self.file(), original).is_ok() {
            self.note_bytes(size_of_file(&self.file())?);
            return Ok(());
        }
        let bytes = size_of_file(original)?;
        self.reserve(bytes)?;
        copy_in_kernel(original, self, bytes, may_continue)?;
        // Where the kernel cannot copy, it may also report that there is nothing to copy.
        copy_by_reading(original, self, bytes, may_continue)
    }
}

/// Copies as much as the kernel can.
fn copy_in_kernel(
    original: &File,
    staged: &mut StagedFile,
    bytes: u64,
    may_continue: &impl Fn() -> bool,
) -> Result<(), StageError> {
    let copy = staged.file();
    while staged.bytes() < bytes && may_continue() {
        let (mut from, mut to) = (staged.bytes(), staged.bytes());
        let step = step(bytes - staged.bytes(), STEP_BYTES_MAX);
        match rustix::fs::copy_file_range(original, Some(&mut from), &*copy, Some(&mut to), step) {
            Ok(0) => break,
            Ok(_) => staged.note_bytes(to),
            Err(Errno::INTR) => {}
            Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::IO)) => {
                return Err(StageError::sort("copy", errno));
            }
            Err(_) => break,
        }
    }
    Ok(())
}

fn copy_by_reading(
    original: &File,
    staged: &mut StagedFile,
    bytes: u64,
    may_continue: &impl Fn() -> bool,
) -> Result<(), StageError> {
    let mut buffer = Vec::new();
    while staged.bytes() < bytes && may_continue() {
        buffer.resize(step(bytes - staged.bytes(), BUFFER_BYTES_MAX), 0);
        match original.read_at(&mut buffer, staged.bytes()) {
            Ok(0) => break,
            Ok(read) => staged.append(&buffer[..read])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(sort_io("read", error)),
        }
    }
    Ok(())
}

fn step(bytes: u64, max: usize) -> usize {
    usize::try_from(bytes).map_or(max, |bytes| bytes.min(max))
}

fn size_of_file(file: &File) -> Result<u64, StageError> {
    let meta = file
        .metadata()
        .map_err(|error| sort_io("look at the file", error))?;
    Ok(meta.len())
}

/// One endless copy call could not be stopped.
const STEP_BYTES_MAX: usize = 64 * 1024 * 1024;
const BUFFER_BYTES_MAX: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    type Copier = fn(&File, &mut StagedFile, u64, &fn() -> bool) -> Result<(), StageError>;

    #[test]
    fn both_copiers_copy_the_missing_bytes_and_can_be_stopped() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("original"), b"0123456789").unwrap();
        let original = File::open(temp.path().join("original")).unwrap();
        let directory = StagingDirectory::open(temp.path()).unwrap();
        let copiers: [Copier; 2] = [copy_in_kernel, copy_by_reading];
        let may_continue: [fn() -> bool; 2] = [|| false, || true];
        for copy in copiers {
            for (begun, bytes, may_continue, expected) in [
                ("", 10, may_continue[1], "0123456789"),
                ("", 0, may_continue[1], ""),
                ("abc", 7, may_continue[1], "abc3456"),
                ("abc", 12, may_continue[1], "abc3456789"),
                ("abc", 7, may_continue[0], "abc"),
                ("abc", 3, may_continue[1], "abc"),
            ] {
                let mut staged = directory
                    .stage_unnamed(&FileName::parse(b"copy").unwrap())
                    .unwrap();
                staged.append(begun.as_bytes()).unwrap();
                copy(&original, &mut staged, bytes, &may_continue).unwrap();
                let mut found = vec![0; 20];
                let count = staged.file().read_at(&mut found, 0).unwrap();
                assert_eq!(found[..count], *expected.as_bytes());
                assert_eq!(staged.bytes(), expected.len() as u64);
            }
        }
    }

    #[test]
    fn a_step_has_a_limit() {
        for (bytes, max, expected) in [(5, 9, 5), (9, 9, 9), (u64::MAX, 9, 9)] {
            assert_eq!(step(bytes, max), expected);
        }
    }
}

//! Reading that leaves the page cache as it was.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use crate::store::hash::STEP_BYTES;
use crate::store::{Object, ObjectMeta};

/// A file that is read only to be hashed. The pages that this reading cached are dropped again, so
/// that such files do not displace cached files that are in use. Pages that were cached before
/// stay, to within 256 KiB. Where the file system cannot report what is cached, all pages stay.
pub(super) struct HashReader<O: DirectFile> {
    object: Arc<O>,
    pages: Mutex<CachedPages>,
}

/// The pages that are cached because of this reading.
#[derive(Default)]
struct CachedPages {
    /// Bytes that were read and are not dropped yet.
    read: Range<u64>,
    /// The end of the bytes that read-ahead may have cached.
    ahead: u64,
    /// Kernel read-ahead is off, because its pages cannot be distinguished from those cached before.
    is_alone: bool,
}

/// A file whose calls may be made in this thread.
pub(super) trait DirectFile: Object {
    fn file(&self) -> &File;
}

impl DirectFile for File {
    fn file(&self) -> &File {
        self
    }
}

impl<O: DirectFile> HashReader<O> {
    pub(super) fn new(object: Arc<O>) -> HashReader<O> {
        HashReader {
            object,
            pages: Mutex::default(),
        }
    }

    /// Reads at this offset only from the cache. Fails where the file system does not support this.
    fn read_cached(&self, buffer: &mut [u8], offset: u64) -> rustix::io::Result<Option<usize>> {
        let mut buffers = [IoSliceMut::new(buffer)];
        match preadv2(
            self.object.file(),
            &mut buffers,
            offset,
            ReadWriteFlags::NOWAIT,
        ) {
            Ok(count) => Ok(Some(count)),
            Err(Errno::AGAIN) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Starts reading the next bytes, unless they are cached, while these are hashed.
    fn read_ahead(&self, pages: &mut CachedPages, bytes: u64) {
        if let Ok(None) = self.read_cached(&mut [0], pages.ahead) {
            let _ = advise(
                self.object.file(),
                pages.ahead..pages.ahead + bytes,
                Advice::WillNeed,
            );
            pages.ahead += bytes;
        }
    }
}

impl CachedPages {
    fn add(&mut self, file: &File, read: Range<u64>) {
        if self.read.end != read.start {
            self.drop_from_cache(file);
            self.read.start = read.start;
        }
        self.read.end = read.end;
        if self.read.end - self.read.start >= DROPPED_TOGETHER_BYTES {
            self.drop_from_cache(file);
            self.read.start = read.end;
        }
    }

    fn drop_from_cache(&self, file: &File) {
        if !self.read.is_empty() {
            // A failure only leaves memory in worse use.
            let _ = advise(file, self.read.clone(), Advice::DontNeed);
        }
    }
}

impl<O: DirectFile> Object for HashReader<O> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let step = buffer.len() as u64;
        // Do this before the first read: even one that does not wait starts the kernel's
        // read-ahead. A file shorter than one step has nothing to read ahead.
        if buffer.len() >= STEP_BYTES && !pages.is_alone {
            pages.is_alone = true;
            let _ = fadvise(self.object.file(), 0, None, Advice::Random);
        }
        if offset >= pages.ahead {
            match self.read_cached(buffer, offset) {
                // Linux 5.9 and 5.10 may return 0 before the end of the file.
                Ok(None | Some(0)) => pages.ahead = offset + step,
                Ok(Some(count)) => return Ok(count),
                Err(_) => return self.object.read_at(buffer, offset),
            }
        }
        let pages_bytes = usize::try_from(pages.ahead - offset).unwrap_or(usize::MAX);
        let step_bytes = pages_bytes.min(buffer.len());
        let count = self.object.read_at(&mut buffer[..step_bytes], offset)?;
        let end = offset + count as u64;
        pages.add(self.object.file(), offset..end);
        if end == pages.ahead {
            self.read_ahead(&mut pages, step);
        }
        Ok(count)
    }

    fn meta(&self) -> io::Result<ObjectMeta> {
        self.object.meta()
    }
}

impl<O: DirectFile> Drop for HashReader<O> {
    fn drop(&mut self) {
        let pages = self.pages.get_mut().unwrap_or_else(PoisonError::into_inner);
        pages.read.end = pages.read.end.max(pages.ahead);
        pages.drop_from_cache(self.object.file());
    }
}

fn advise(file: &File, range: Range<u64>, advice: Advice) -> rustix::io::Result<()> {
    fadvise(
        file,
        range.start,
        std::num::NonZeroU64::new(range.end - range.start),
        advice,
    )
}

/// Bytes that are dropped with one call.
const DROPPED_TOGETHER_BYTES: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt;
    use std::path::Path;
    use std::process::Command;

    use super::*;

    const STEP: u64 = STEP_BYTES as u64;

    fn passing(path: &Path) -> HashReader<File> {
        HashReader::new(Arc::new(File::open(path).unwrap()))
    }

    /// How many bytes of a file are cached; `None` if `fincore` is missing.
    fn cached_bytes(path: &Path) -> Option<u64> {
        let mut fincore = Command::new("fincore");
        let output = fincore.args(["-bn", "-o", "RES"]).arg(path).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    }

    fn read_all(path: &Path) -> Vec<u8> {
        let (file, mut bytes) = (passing(path), vec![]);
        let size = usize::try_from(fs::metadata(path).unwrap().len()).unwrap();
        let mut buffer = vec![0; STEP_BYTES];
        while bytes.len() < size {
            let step = STEP_BYTES.min(size - bytes.len());
            let count = file.read_at(&mut buffer[..step], bytes.len() as u64);
            bytes.extend_from_slice(&buffer[..count.unwrap()]);
        }
        bytes
    }

    /// Writes a file of which only these steps are cached. `None` in memory, where all of it is.
    fn write(path: &Path, content: &[u8], cached: &[u64]) -> Option<u64> {
        fs::write(path, content).unwrap();
        let file = File::open(path).unwrap();
        file.sync_all().unwrap();
        advise(&file, 0..content.len() as u64, Advice::DontNeed).unwrap();
        fadvise(&file, 0, None, Advice::Random).unwrap();
        for step in cached {
            let mut buffer = vec![0; STEP_BYTES];
            file.read_exact_at(&mut buffer, step * STEP).unwrap();
        }
        let is_so = cached_bytes(path)? == cached.len() as u64 * STEP;
        is_so.then_some(cached.len() as u64 * STEP)
    }

    #[test]
    fn only_pages_cached_before_stay() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let content: Vec<u8> = (0..20 * STEP + 5000).map(|at| (at / 999) as u8).collect();
        for (bytes, cached) in [
            (content.len(), &[][..]),
            (content.len(), &[0]),
            (content.len(), &[3, 4, 9, 19]),
            (5000, &[]),
            (4096, &[]),
            (STEP_BYTES + 1, &[]),
            (3 * STEP_BYTES, &[1]),
            (3 * STEP_BYTES, &[0, 1, 2]),
        ] {
            let content = &content[..bytes];
            let Some(before) = write(&path, content, cached) else {
                return;
            };
            assert!(read_all(&path) == content, "{bytes} bytes");
            assert_eq!(cached_bytes(&path), Some(before), "{bytes}: {cached:?}");
        }
    }

    #[test]
    fn an_abandoned_read_leaves_at_most_one_step_cached() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        if write(&path, &vec![7; 20 * STEP_BYTES], &[]).is_none() {
            return;
        }
        let file = passing(&path);
        for step in 0..5 {
            file.read_at(&mut vec![0; STEP_BYTES], step * STEP).unwrap();
        }
        drop(file);
        // Pages that are being read cannot be dropped.
        assert!(cached_bytes(&path).unwrap() <= STEP);
    }
}

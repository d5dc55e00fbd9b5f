//! Digests of local files, for clients that skip a file whose digest is right.
//!
//! A wrong digest would never be noticed there, because no peer checks it. So a digest is used
//! without reading the file only under strict conditions. It was made in this boot. No process
//! could write to the file before its bytes were read and after that. Not even its ctime has
//! changed since. And its file system makes all this reliable ([`crate::store::Identity`]).

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::{Arc, LazyLock};

use rustix::io::Errno;

use crate::store::hash::{HashError, Hashing, STEP_BYTES, Turn};
use crate::store::lease::has_no_writers;
use crate::store::{BootId, DigestIndex, KnownDigest, NoIndex, Object, ObjectMeta, Stamp};
use crate::wire::{Md5Digest, ObjectKind};

/// Digests of local files, in an index that servers may share.
pub struct LocalDigests {
    index: LazyLock<Arc<dyn DigestIndex>, Open>,
    boot: Option<BootId>,
    bytes_min: u64,
}

type Open = Box<dyn FnOnce() -> Arc<dyn DigestIndex> + Send>;

/// The digest of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalDigest {
    /// The md5 of all bytes.
    pub md5: Md5Digest,
    /// The size in bytes.
    pub total_size: u64,
    /// Whether the digest was known, so that no byte was read.
    pub was_known: bool,
}

/// Why there is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocalDigestError {
    /// The file changed each time that it was read.
    #[error("file kept changing while it was hashed")]
    Changed,
    /// The error of the file system.
    #[error("file could not be read: {0}")]
    Unreadable(Errno),
    /// The caller stopped it.
    #[error("hashing was stopped")]
    Stopped,
}

impl LocalDigests {
    /// Uses an index, in this boot ([`BootId::current`]). Without a boot id every digest is made
    /// anew.
    pub fn new(index: Arc<dyn DigestIndex>, boot: Option<BootId>) -> LocalDigests {
        LocalDigests::opened_by(move || index, boot)
    }

    /// As [`LocalDigests::new`], with an index that is opened at its first use.
    pub fn opened_by(
        open: impl FnOnce() -> Arc<dyn DigestIndex> + Send + 'static,
        boot: Option<BootId>,
    ) -> LocalDigests {
        let open: Open = Box::new(open);
        LocalDigests {
            index: LazyLock::new(open),
            boot,
            bytes_min: 0,
        }
    }

    /// Uses the index only for files of at least this size in bytes. Shorter files are always read,
    /// so that a few of them need no index.
    #[must_use]
    pub fn of_files_from(self, bytes_min: u64) -> LocalDigests {
        LocalDigests { bytes_min, ..self }
    }

    /// Keeps nothing; every digest is made anew.
    pub fn unkept() -> LocalDigests {
        LocalDigests::new(Arc::new(NoIndex), None)
    }

    /// Whether anything is ever kept.
    pub fn are_kept(&self) -> bool {
        self.boot.is_some()
    }

    fn is_kept(&self, looked: &ObjectMeta) -> bool {
        looked.kind == ObjectKind::File && self.may_keep(&looked.stamp)
    }

    fn may_keep(&self, stamp: &Stamp) -> bool {
        self.are_kept() && stamp.identity.is_lasting() && stamp.size >= self.bytes_min
    }

    /// The digest of a regular file with this metadata, if it is known without reading the file.
    pub fn known(&self, looked: &ObjectMeta) -> Option<Md5Digest> {
        if !self.is_kept(looked) {
            return None;
        }
        self.kept(&looked.stamp)
    }

    /// Whether the digest of a regular file with this stamp is known and equals `md5`.
    pub fn knows(&self, stamp: &Stamp, md5: Md5Digest) -> bool {
        self.may_keep(stamp) && self.kept(stamp) == Some(md5)
    }

    fn kept(&self, stamp: &Stamp) -> Option<Md5Digest> {
        let known = self.index.look_up(stamp)?;
        (known.quiet_in == self.boot).then_some(known.md5)
    }

    /// Looks up or makes the digest of a file that is open for reading only, in this thread. Calls
    /// `may_continue` with the bytes done so far every 256 KiB; `false` stops it.
    ///
    /// # Errors
    /// [`LocalDigestError`].
    pub fn digest(
        &self,
        file: &Arc<File>,
        may_continue: impl Fn(u64) -> bool,
    ) -> Result<LocalDigest, LocalDigestError> {
        let looked = look(file)?;
        if looked.kind != ObjectKind::File {
            return Err(LocalDigestError::Unreadable(Errno::INVAL));
        }
        if let Some(md5) = self.known(&looked) {
            return Ok(LocalDigest {
                md5,
                total_size: looked.size(),
                was_known: true,
            });
        }
        let is_quiet = || self.is_kept(&looked) && has_no_writers(file);
        let mut was_quiet = is_quiet();
        let mut hashing = Hashing::begin(file.clone().for_hashing(), looked);
        let room = usize::try_from(looked.size()).map_or(STEP_BYTES, |size| size.min(STEP_BYTES));
        let mut buffer = vec![0; room.max(1)];
        loop {
            match hashing.turn(&mut buffer, CHANGED_HASHES_MAX, &may_continue) {
                // A turn may also end because it took long enough.
                Turn::Unfinished if may_continue(hashing.done()) => {}
                Turn::Unfinished => return Err(LocalDigestError::Stopped),
                Turn::Restarted => was_quiet = is_quiet(),
                Turn::Failed(HashError::Changed(_)) => return Err(LocalDigestError::Changed),
                Turn::Failed(HashError::Unreadable(error)) => return Err(unreadable(&error)),
                Turn::Made { md5, is_untouched } => {
                    let looked = *hashing.meta();
                    if !is_untouched && !looked.stamp.same_content(&look(file)?.stamp) {
                        // The file grew, so these were not all its bytes.
                        return Err(LocalDigestError::Changed);
                    }
                    if was_quiet {
                        self.keep(file, &looked, md5);
                    }
                    return Ok(LocalDigest {
                        md5,
                        total_size: looked.size(),
                        was_known: false,
                    });
                }
            }
        }
    }

    /// Keeps the digest of a file whose bytes were verified as they were written, or known before
    /// its attributes were changed. `placed` is its metadata right after it was placed, or got its
    /// attributes ([`crate::store::StagingDirectory::set_existing_attributes`]). `file` is open for
    /// reading only, and the writer has closed it. Reads nothing. Returns whether the digest was
    /// kept: only once the metadata is 100 ms old, or 3 s where times are coarse.
    pub fn keep_verified(&self, file: &File, placed: &ObjectMeta, md5: Md5Digest) -> bool {
        let Ok(looked) = file.meta() else {
            return false;
        };
        let is_it = looked.stamp == placed.stamp;
        is_it && self.keep(file, &looked, md5)
    }

    /// Keeps the digest if no process can write to the file now and the stamp is still the same.
    fn keep(&self, file: &File, looked: &ObjectMeta, md5: Md5Digest) -> bool {
        let stamp = &looked.stamp;
        let is_keepable = self.is_kept(looked)
            && stamp.settled_here(looked.looked_at)
            && has_no_writers(file)
            // A write until just now has changed a time.
            && file.meta().is_ok_and(|now| now.stamp == *stamp);
        if !is_keepable {
            return false;
        }
        match self.index.look_up(stamp) {
            // The file was changed without a change of its stamp, so keep neither digest.
            Some(kept) if kept.md5 != md5 => {
                self.index.forget(stamp);
                return false;
            }
            _ => {}
        }
        let known = KnownDigest {
            md5,
            made: looked.looked_at,
            quiet_in: self.boot,
        };
        self.index.remember(stamp, known);
        true
    }
}

impl fmt::Debug for LocalDigests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalDigests")
            .field("boot", &self.boot)
            .finish_non_exhaustive()
    }
}

fn look(file: &File) -> Result<ObjectMeta, LocalDigestError> {
    file.meta().map_err(|error| unreadable(&error))
}

fn unreadable(error: &io::Error) -> LocalDigestError {
    LocalDigestError::Unreadable(Errno::from_io_error(error).unwrap_or(Errno::IO))
}

/// Attempts before a file that changes all the time is given up.
const CHANGED_HASHES_MAX: u32 = 3;

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs::{self, FileTimes, OpenOptions};
    use std::io::Write;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::digest::Md5Stream;
    use crate::store::MemoryIndex;
    use crate::store::index::keep;

    struct DigestFixture {
        directory: tempfile::TempDir,
        index: Arc<MemoryIndex>,
    }

    impl DigestFixture {
        fn new() -> DigestFixture {
            DigestFixture {
                directory: tempfile::tempdir().unwrap(),
                index: Arc::default(),
            }
        }

        fn path(&self) -> PathBuf {
            self.directory.path().join("file")
        }

        fn in_boot(&self, bits: u64) -> LocalDigests {
            LocalDigests::new(self.index.clone(), BootId::from_bits(bits))
        }

        /// A file so old that a digest of it may be kept.
        fn settled(&self, content: &str) -> Arc<File> {
            fs::write(self.path(), content).unwrap();
            let file = Arc::new(File::open(self.path()).unwrap());
            let deadline = Instant::now() + Duration::from_secs(60);
            loop {
                let looked = file.meta().unwrap();
                if looked.stamp.settled_here(looked.looked_at) {
                    return file;
                }
                assert!(Instant::now() < deadline, "{looked:?}");
                std::thread::yield_now();
            }
        }
    }

    fn md5(content: &str) -> Md5Digest {
        Md5Stream::digest(content.as_bytes())
    }

    fn known(digests: &LocalDigests, file: &File) -> Option<Md5Digest> {
        digests.known(&file.meta().unwrap())
    }

    fn asked(digests: &LocalDigests, file: &Arc<File>) -> (Md5Digest, bool) {
        let made = digests.digest(file, |_| true).unwrap();
        assert_eq!(made.total_size, file.metadata().unwrap().len());
        let known = known(digests, file);
        assert!(!made.was_known || known == Some(made.md5));
        (made.md5, made.was_known)
    }

    #[test]
    fn an_unchanged_file_is_read_once() {
        let place = DigestFixture::new();
        let digests = place.in_boot(1);
        let file = place.settled("content");
        assert_eq!(known(&digests, &file), None);
        assert_eq!(asked(&digests, &file), (md5("content"), false));
        assert_eq!(asked(&digests, &file), (md5("content"), true));
        // Rewritten in place with the same length, and its time set back.
        let before = file.metadata().unwrap().modified().unwrap();
        let file = place.settled("CONTENT");
        let times = FileTimes::new().set_modified(before);
        OpenOptions::new()
            .write(true)
            .open(place.path())
            .and_then(|writer| writer.set_times(times))
            .unwrap();
        assert_eq!(asked(&digests, &file).0, md5("CONTENT"));
        let nowhere = LocalDigests::new(Arc::new(NoIndex), BootId::from_bits(1));
        let file = place.settled("content");
        for _ in 0..2 {
            assert_eq!(asked(&nowhere, &file), (md5("content"), false));
        }
    }

    #[test]
    fn short_files_do_not_open_the_index() {
        let place = DigestFixture::new();
        let index = place.index.clone();
        let opened = Arc::new(AtomicBool::new(false));
        let digests = LocalDigests::opened_by(
            {
                let opened = Arc::clone(&opened);
                move || {
                    opened.store(true, Ordering::SeqCst);
                    index
                }
            },
            BootId::from_bits(1),
        );
        let digests = digests.of_files_from(8);
        for (content, is_long) in [("1234567", false), ("12345678", true)] {
            let file = place.settled(content);
            let placed = file.meta().unwrap();
            assert_eq!(asked(&digests, &file), (md5(content), false));
            assert_eq!(asked(&digests, &file), (md5(content), is_long));
            assert_eq!(digests.keep_verified(&file, &placed, md5(content)), is_long);
            assert_eq!(opened.load(Ordering::SeqCst), is_long);
        }
    }

    #[test]
    fn nothing_is_kept_while_a_process_may_write() {
        let place = DigestFixture::new();
        let digests = place.in_boot(1);
        let file = place.settled("content");
        let writer = OpenOptions::new().write(true).open(place.path()).unwrap();
        for _ in 0..2 {
            assert_eq!(asked(&digests, &file), (md5("content"), false));
        }
        drop(writer);
        assert_eq!(asked(&digests, &file), (md5("content"), false));
        // The descriptor may survive for a moment in a child process that is just being made.
        let deadline = Instant::now() + Duration::from_secs(60);
        while asked(&digests, &file) != (md5("content"), true) {
            assert!(Instant::now() < deadline, "it is never kept");
        }
        // A writer before the first byte was read that is gone after the last.
        let file = place.settled("other");
        let writer = OpenOptions::new().write(true).open(place.path()).unwrap();
        let writer = Cell::new(Some(writer));
        let may_continue = |_| {
            writer.take();
            true
        };
        digests.digest(&file, may_continue).unwrap();
        assert_eq!(known(&digests, &file), None);
    }

    #[test]
    fn a_digest_of_an_earlier_boot_is_made_again() {
        let place = DigestFixture::new();
        let file = place.settled("content");
        asked(&place.in_boot(1), &file);
        let digests = place.in_boot(2);
        assert_eq!(asked(&digests, &file), (md5("content"), false));
        assert_eq!(asked(&digests, &file), (md5("content"), true));
        // Two missing boot ids are not equal.
        let unknown = LocalDigests::new(place.index.clone(), None);
        for _ in 0..2 {
            assert_eq!(asked(&unknown, &file), (md5("content"), false));
        }
    }

    #[test]
    fn ignores_digests_of_servers_and_drops_contradictions() {
        let place = DigestFixture::new();
        let digests = place.in_boot(1);
        let file = place.settled("content");
        let mut looked = file.meta().unwrap();
        // Servers wait longer.
        looked.looked_at.seconds += 10;
        keep(&*place.index, &looked, md5("content"));
        assert!(place.index.look_up(&looked.stamp).is_some());
        assert_eq!(asked(&digests, &file), (md5("content"), false));
        assert_eq!(asked(&digests, &file), (md5("content"), true));
        place.index.forget(&looked.stamp);
        keep(&*place.index, &looked, md5("other"));
        assert_eq!(asked(&digests, &file), (md5("content"), false));
        assert_eq!(place.index.look_up(&looked.stamp), None);
    }

    #[test]
    fn a_placed_file_is_kept_unread_unless_it_was_touched() {
        let place = DigestFixture::new();
        let digests = place.in_boot(1);
        let file = place.settled("content");
        let placed = file.meta().unwrap();
        assert!(digests.keep_verified(&file, &placed, md5("content")));
        assert_eq!(known(&digests, &file), Some(md5("content")));
        let file = place.settled("CONTENT");
        assert!(!digests.keep_verified(&file, &placed, md5("content")));
        assert_eq!(known(&digests, &file), None);
        let unsettled = std::iter::repeat_with(|| {
            fs::write(place.path(), "too young").unwrap();
            file.meta().unwrap()
        });
        // Sooner or later the look is early enough.
        let placed = unsettled
            .take(1_000)
            .find(|placed| !placed.stamp.settled_here(placed.looked_at))
            .unwrap();
        assert!(!digests.keep_verified(&file, &placed, md5("too young")));
    }

    #[test]
    fn a_growing_file_and_a_directory_have_no_digest() {
        let place = DigestFixture::new();
        let digests = place.in_boot(1);
        let file = place.settled("content");
        let grows = |_| {
            let mut writer = OpenOptions::new().append(true).open(place.path()).unwrap();
            writer.write_all(b"more").is_ok()
        };
        assert_eq!(digests.digest(&file, grows), Err(LocalDigestError::Changed));
        let directory = Arc::new(File::open(place.directory.path()).unwrap());
        let refused = digests.digest(&directory, |_| true);
        assert_eq!(refused, Err(LocalDigestError::Unreadable(Errno::INVAL)));
    }

    #[test]
    fn stops_only_on_request() {
        let place = DigestFixture::new();
        let digests = place.in_boot(1);
        let long = "x".repeat(9 * 1024 * 1024);
        let file = place.settled(&long);
        let stopped = digests.digest(&file, |done| done < 1024 * 1024);
        assert_eq!(stopped, Err(LocalDigestError::Stopped));
        assert_eq!(asked(&digests, &file).0, md5(&long));
    }
}

//! A large file whose blocks come over several connections.
//!
//! Bytes are written in their order only: what comes early waits in memory. The partial file
//! never has a hole, so that its length says how far it is, whenever everything may end.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::client::batch::budget::Share;
use crate::client::follow::Writing;
use crate::client::question::Content;
use crate::store::{StageError, StagedFile};

/// A large file whose blocks come over several connections.
pub(super) struct Assembly {
    /// What the first answer said of it.
    pub(super) content: Content,
    state: Mutex<State>,
}

struct State {
    /// All bytes before this are in the file.
    front: u64,
    /// Until it is complete or given up.
    open: Option<Open>,
}

struct Open {
    staged: StagedFile,
    share: Share,
    writing: Writing<(StagedFile, Share)>,
    /// What came before its turn, by its place.
    early: BTreeMap<u64, Vec<u8>>,
}

/// One block on its way into the file.
pub(super) struct Part<'a> {
    assembly: &'a Assembly,
    /// The place of its next byte.
    at: u64,
    /// The last bytes before that, as long as they cannot be written.
    early: Vec<u8>,
}

impl Assembly {
    /// A file that goes on behind what is staged of it.
    pub(super) fn begin(
        content: Content,
        staged: StagedFile,
        share: Share,
        writing: Writing<(StagedFile, Share)>,
    ) -> Assembly {
        let state = State {
            front: staged.bytes(),
            open: Some(Open {
                staged,
                share,
                writing,
                early: BTreeMap::new(),
            }),
        };
        Assembly {
            content,
            state: Mutex::new(state),
        }
    }

    /// All bytes before this are in the file.
    pub(super) fn front(&self) -> u64 {
        self.lock().front
    }

    /// Begins to take a block that begins here. What comes of a file that was given up is
    /// dropped.
    pub(super) fn part(&self, at: u64) -> Part<'_> {
        let early = Vec::new();
        Part {
            assembly: self,
            at,
            early,
        }
    }

    /// Whether nothing more is taken: it is complete, or was given up.
    pub(super) fn is_over(&self) -> bool {
        self.lock().open.is_none()
    }

    /// Gives it up: what is in the file stays for a resume, and nobody holds it any more.
    pub(super) fn give_up(&self) {
        self.lock().open = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part<'_> {
    /// The place of its next byte.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Takes its next bytes, and writes them if it is their turn.
    ///
    /// # Errors
    /// [`StageError`]; the file is given up.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), StageError> {
        let start = self.at - self.early.len() as u64;
        self.at += bytes.len() as u64;
        let mut state = self.assembly.lock();
        if state.open.is_none() {
            return Ok(());
        }
        if state.front != start {
            drop(state);
            self.early.extend_from_slice(bytes);
            return Ok(());
        }
        let early = std::mem::take(&mut self.early);
        state.append(&early)?;
        state.append(bytes)?;
        state.go_on(self.assembly.content.total_size)
    }

    /// No more comes of it; what could not be written waits for its turn.
    ///
    /// # Errors
    /// [`StageError`]; the file is given up.
    pub(super) fn end(self) -> Result<(), StageError> {
        let start = self.at - self.early.len() as u64;
        let mut state = self.assembly.lock();
        let Some(open) = state.open.as_mut().filter(|_| !self.early.is_empty()) else {
            return Ok(());
        };
        open.early.insert(start, self.early);
        state.go_on(self.assembly.content.total_size)
    }
}

impl State {
    /// Writes everything whose turn it is, and hands the file over if that was all.
    fn go_on(&mut self, total_size: u64) -> Result<(), StageError> {
        while let Some(next) = self
            .open
            .as_mut()
            .and_then(|open| open.early.remove(&self.front))
        {
            self.append(&next)?;
        }
        if let Some(open) = &self.open {
            open.writing.advance(self.front);
        }
        if self.front == total_size
            && let Some(open) = self.open.take()
        {
            open.writing.complete((open.staged, open.share));
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StageError> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        if let Err(error) = open.staged.append(bytes) {
            self.open = None;
            return Err(error);
        }
        self.front = open.staged.bytes();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::client::batch::budget::Budget;
    use crate::client::follow::{SharedHasher, Track};
    use crate::digest::Md5Stream;
    use crate::store::{FileName, StagingDirectory};

    const CONTENT: &[u8] = b"0123456789abcdef";

    /// Nothing of it there yet, or a beginning.
    fn assembly(folder: &Path, there: usize) -> (Assembly, Arc<Track<(StagedFile, Share)>>) {
        let md5 = Md5Stream::digest(CONTENT);
        let folder = StagingDirectory::open(folder).unwrap();
        let name = FileName::parse(b"f").unwrap();
        let mut staged = folder.stage(&name, md5).unwrap();
        staged.append(&CONTENT[..there]).unwrap();
        let content = Content {
            offset: there as u64,
            body_bytes: 0,
            total_size: CONTENT.len() as u64,
            md5,
            mtime: None,
            mode: None,
        };
        let writing = Writing::begin(there as u64);
        let track = writing.track();
        let share = Budget::new(1).take(1);
        (Assembly::begin(content, staged, share, writing), track)
    }

    /// What is in the folder's only file.
    fn held(folder: &Path) -> Vec<u8> {
        let files: Vec<_> = fs::read_dir(folder).unwrap().flatten().collect();
        assert_eq!(files.len(), 1, "{files:?}");
        fs::read(files[0].path()).unwrap()
    }

    fn take<'a>(assembly: &'a Assembly, from: usize, to: usize) -> Part<'a> {
        let mut part = assembly.part(from as u64);
        part.take(&CONTENT[from..to]).unwrap();
        part
    }

    #[test]
    fn in_whatever_order_blocks_come_the_file_never_has_a_hole() {
        let orders = [[0, 4, 8, 12], [12, 8, 4, 0], [4, 0, 12, 8], [8, 12, 0, 4]];
        for order in orders {
            let temp = tempfile::tempdir().unwrap();
            let (assembly, track) = assembly(temp.path(), 0);
            let mut there = [false; 16];
            let mut parts: Vec<_> = order.map(|at| assembly.part(at as u64)).into();
            // A byte of each in turn, so that all are under way at once.
            for step in 0..4 {
                for (part, at) in parts.iter_mut().zip(order) {
                    part.take(&CONTENT[at + step..=at + step]).unwrap();
                    there[at + step] = true;
                    let front = assembly.front() as usize;
                    assert_eq!(held(temp.path()), CONTENT[..front]);
                    assert!(there[..front].iter().all(|there| *there));
                }
            }
            for part in parts {
                part.end().unwrap();
            }
            assert_eq!(assembly.front(), CONTENT.len() as u64);
            assert_eq!(held(temp.path()), CONTENT);
            let file = fs::File::open(
                fs::read_dir(temp.path())
                    .unwrap()
                    .next()
                    .unwrap()
                    .unwrap()
                    .path(),
            );
            let followed = track.follow(&file.unwrap(), &SharedHasher::new(), || true);
            let ((staged, _), found) = followed.unwrap();
            assert_eq!(found.unwrap(), assembly.content.md5);
            assert_eq!(staged.bytes(), CONTENT.len() as u64);
        }
    }

    #[test]
    fn a_part_that_breaks_off_is_gone_on_with_by_another() {
        let temp = tempfile::tempdir().unwrap();
        let (assembly, _track) = assembly(temp.path(), 3);
        take(&assembly, 10, 12).end().unwrap();
        take(&assembly, 12, 16).end().unwrap();
        take(&assembly, 3, 5).end().unwrap();
        assert_eq!(held(temp.path()), CONTENT[..5]);
        take(&assembly, 5, 10).end().unwrap();
        assert_eq!(held(temp.path()), CONTENT);
    }

    #[test]
    fn given_up_it_keeps_its_beginning_for_whoever_comes_next_and_takes_no_more() {
        let temp = tempfile::tempdir().unwrap();
        let (assembly, track) = assembly(temp.path(), 0);
        take(&assembly, 8, 16).end().unwrap();
        let mut early = take(&assembly, 5, 6);
        take(&assembly, 0, 3).end().unwrap();
        assembly.give_up();
        let nothing = fs::File::open(temp.path()).unwrap();
        assert!(
            track
                .follow(&nothing, &SharedHasher::new(), || true)
                .is_none()
        );
        early.take(&CONTENT[6..8]).unwrap();
        early.end().unwrap();
        take(&assembly, 3, 5).end().unwrap();
        assert_eq!(held(temp.path()), CONTENT[..3]);
        let folder = StagingDirectory::open(temp.path()).unwrap();
        let next = folder.resume(&FileName::parse(b"f").unwrap(), None);
        assert_eq!(next.unwrap().bytes(), 3);
    }
}

//! Files whose content alternates, and the memory of what was ever published under each name.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::harness::{Scratch, noise};

/// A served folder whose files have two versions each, replaced by rename.
pub(crate) struct Published {
    stage: Scratch,
    root: PathBuf,
    files: Vec<File>,
    seen: Seen,
}

/// One published file.
pub(crate) struct File {
    /// Its path below the served root.
    pub(crate) path: &'static str,
    versions: [Arc<Vec<u8>>; 2],
    current: usize,
}

/// What was once published under each name: the oracle of whoever watches a destination.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<Publication>>>);

/// Something that may appear.
struct Publication {
    name: OsString,
    content: Arc<Vec<u8>>,
    /// It may also go again.
    is_guest: bool,
}

impl Published {
    /// Publishes the first version of each file; the sizes are those of the two versions. Files
    /// whose names begin with `twin` have the same two.
    pub(crate) fn new(seed: u64, files: &[(&'static str, [usize; 2])]) -> Published {
        let stage = Scratch::in_memory();
        let root = stage.make_dir("root");
        let contents = |(index, &(path, sizes)): (usize, &(&'static str, [usize; 2]))| {
            let first_twin = files.iter().position(|(other, _)| is_twin(other));
            let index = first_twin.filter(|_| is_twin(path)).unwrap_or(index);
            let version = |which: usize| {
                let own = seed ^ ((index * 2 + which) as u64) << 40;
                Arc::new(noise(own, sizes[which]))
            };
            File {
                path,
                versions: [version(0), version(1)],
                current: 1,
            }
        };
        let mut published = Published {
            files: files.iter().enumerate().map(contents).collect(),
            seen: Seen::default(),
            stage,
            root,
        };
        (0..published.files.len()).for_each(|index| drop(published.publish(index)));
        published
    }

    /// Puts the other version in the file's place, in one rename, and returns it.
    pub(crate) fn publish(&mut self, index: usize) -> Arc<Vec<u8>> {
        let file = &mut self.files[index];
        file.current = 1 - file.current;
        // Known before it is visible: a client may be quicker than this thread.
        self.seen.add(file.name(), &file.versions[file.current]);
        let staged = self.stage.write("staged", file.content());
        let target = self.root.join(file.path);
        fs::create_dir_all(target.parent().expect("a folder")).expect("the file's folder");
        fs::rename(staged, target).expect("publishing by rename");
        Arc::clone(&file.versions[file.current])
    }

    /// Both versions of a file, if only their content tells them apart; each may be seen from now
    /// on.
    pub(crate) fn twins(&self, index: usize) -> Option<&[Arc<Vec<u8>>; 2]> {
        let file = &self.files[index];
        let versions = &file.versions;
        if versions[0].is_empty() || versions[0].len() != versions[1].len() {
            return None;
        }
        versions
            .iter()
            .for_each(|version| self.seen.add(file.name(), version));
        Some(versions)
    }

    /// The folder to serve.
    pub(crate) fn root(&self) -> &PathBuf {
        &self.root
    }

    /// The files, in the order they were given.
    pub(crate) fn files(&self) -> &[File] {
        &self.files
    }

    /// The oracle.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.clone()
    }
}

impl File {
    /// What is published now.
    pub(crate) fn content(&self) -> &[u8] {
        &self.versions[self.current]
    }

    /// The name a client gives it.
    pub(crate) fn name(&self) -> OsString {
        name_of(self.path).into()
    }
}

fn name_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn is_twin(path: &str) -> bool {
    name_of(path).starts_with("twin")
}

impl Seen {
    fn add(&self, name: OsString, content: &Arc<Vec<u8>>) {
        let mut seen = self.0.lock().expect("the oracle");
        let known = seen
            .iter()
            .any(|known| known.name == name && Arc::ptr_eq(&known.content, content));
        if !known {
            seen.push(Publication {
                name,
                content: Arc::clone(content),
                is_guest: false,
            });
        }
    }

    /// What may appear under this name and go again.
    pub(crate) fn add_guest(&self, name: OsString, content: Vec<u8>) {
        self.0.lock().expect("the oracle").push(Publication {
            name,
            content: Arc::new(content),
            is_guest: true,
        });
    }

    /// Whether what has this name may go.
    pub(crate) fn may_go(&self, name: &OsStr) -> bool {
        let seen = self.0.lock().expect("the oracle");
        seen.iter()
            .any(|known| known.name == name && known.is_guest)
    }

    /// Whether exactly these bytes were once published under this name.
    pub(crate) fn knows(&self, name: &OsString, bytes: &[u8]) -> bool {
        let seen = self.0.lock().expect("the oracle");
        seen.iter()
            .any(|known| known.name == *name && known.content.as_slice() == bytes)
    }
}

//! Files whose content alternates, and the memory of what was ever published under each name.

use std::ffi::OsString;
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

/// A name and what was published under it.
type Publication = (OsString, Arc<Vec<u8>>);

impl Published {
    /// Publishes the first version of each file; the sizes are those of the two versions.
    pub(crate) fn new(seed: u64, files: &[(&'static str, [usize; 2])]) -> Published {
        let stage = Scratch::in_memory();
        let root = stage.make_dir("root");
        let contents = |(index, &(path, sizes)): (usize, &(&'static str, [usize; 2]))| {
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
        let (_, name) = self.path.rsplit_once('/').unwrap_or(("", self.path));
        name.into()
    }
}

impl Seen {
    fn add(&self, name: OsString, content: &Arc<Vec<u8>>) {
        let mut seen = self.0.lock().expect("the oracle");
        let known = seen
            .iter()
            .any(|(n, c)| *n == name && Arc::ptr_eq(c, content));
        if !known {
            seen.push((name, Arc::clone(content)));
        }
    }

    /// Whether exactly these bytes were once published under this name.
    pub(crate) fn knows(&self, name: &OsString, bytes: &[u8]) -> bool {
        let seen = self.0.lock().expect("the oracle");
        seen.iter()
            .any(|(n, content)| n == name && content.as_slice() == bytes)
    }
}

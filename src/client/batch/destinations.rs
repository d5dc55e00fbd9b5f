//! The folders that everything goes into. Descriptors are kept here alone: a job that waits has
//! none, so that however many there are, the folders that are open at once are few.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::client::in_time::in_time;
use crate::client::{ClientConfig, ClientError, Download};
use crate::net::Deadline;
use crate::store::{DestinationTree, StagingDirectory, Unkept};

/// The folders that everything goes below, opened when the first of it does.
#[derive(Default)]
pub(in crate::client) struct Destinations {
    finishes_folders: bool,
    open: Mutex<HashMap<PathBuf, Arc<DestinationTree>>>,
}

impl Destinations {
    /// `finishes_folders`: those that are made get permissions of their own at the end.
    pub(in crate::client) fn new(finishes_folders: bool) -> Destinations {
        Destinations {
            finishes_folders,
            ..Destinations::default()
        }
    }

    pub(in crate::client) fn open(
        &self,
        path: &Path,
        config: &ClientConfig,
    ) -> Result<Arc<DestinationTree>, ClientError> {
        if let Some(tree) = self.lock().get(path) {
            return Ok(Arc::clone(tree));
        }
        let tree = DestinationTree::open(path, config.make_folders)?;
        tree.make_with(config.new_modes(self.finishes_folders));
        tree.keep_directories(config.kept_folders_max());
        Ok(match self.lock().entry(path.to_owned()) {
            // Another hand was faster: all have the same one.
            Entry::Occupied(first) => Arc::clone(first.get()),
            Entry::Vacant(place) => Arc::clone(place.insert(tree)),
        })
    }

    /// The folder a download goes into: the one that was `looked` at, or if nobody has had that
    /// open since then, what has its name by now.
    pub(in crate::client) fn folder(
        &self,
        download: &Download,
        looked: &Weak<StagingDirectory>,
        config: &ClientConfig,
    ) -> Result<Arc<StagingDirectory>, ClientError> {
        match looked.upgrade() {
            Some(folder) => Ok(folder),
            None => Ok(self
                .open(&download.folder, config)?
                .directory(&download.below)?),
        }
    }

    /// Makes all folders survive a power cut, if there is time for it.
    pub(in crate::client) fn sync(&self, until: Option<Deadline>) -> Result<(), ClientError> {
        let trees: Vec<_> = self.lock().values().cloned().collect();
        Ok(in_time(until, move || {
            trees.iter().try_for_each(|tree| tree.sync(until.is_some()))
        })??)
    }

    /// What could not be kept so far, since a file system cannot.
    pub(in crate::client) fn unkept(&self) -> Unkept {
        let mut unkept = Unkept::default();
        self.lock()
            .values()
            .for_each(|tree| unkept += tree.unkept());
        unkept
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Arc<DestinationTree>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Md5Stream;
    use crate::net::Address;
    use crate::store::FileName;
    use crate::wire::ResourcePath;

    #[test]
    fn a_folder_that_nobody_has_open_any_more_is_opened_again_with_what_is_left_in_it() {
        let temp = tempfile::tempdir().unwrap();
        let config = ClientConfig {
            open_files_max: 2,
            ..ClientConfig::default()
        };
        let name = FileName::parse(b"file").unwrap();
        let download = |below: &[u8]| Download {
            below: ResourcePath::parse(below).unwrap(),
            ..Download::new(
                Address::parse_bind("127.0.0.1:1", 1).unwrap(),
                ResourcePath::parse(b"file").unwrap(),
                temp.path().to_owned(),
                name.clone(),
            )
        };
        let destinations = Destinations::default();
        let open = |below: &[u8], looked: &Weak<StagingDirectory>| {
            destinations.folder(&download(below), looked, &config)
        };
        let first = open(b"a", &Weak::new()).unwrap();
        let looked = Arc::downgrade(&first);
        assert!(Arc::ptr_eq(&first, &open(b"a", &looked).unwrap()));
        let content = Md5Stream::digest(b"content");
        first.stage(&name, content).unwrap().append(b"con").unwrap();
        drop(first);
        for others in [b"b", b"c"] {
            open(others, &Weak::new()).unwrap();
        }
        assert!(looked.upgrade().is_none(), "it is kept open");
        let again = open(b"a", &looked).unwrap();
        assert_eq!(again.leftover(&name, None), Some((content, 3)));
        // Who works on it is not disturbed by a folder that was opened later.
        let working = again.stage(&name, content).unwrap();
        drop(again);
        for others in [b"b", b"c"] {
            open(others, &Weak::new()).unwrap();
        }
        let later = open(b"a", &looked).unwrap();
        later.remove_leftovers(&name);
        assert_eq!(later.stage(&name, content).unwrap().bytes(), 0);
        working.place(crate::store::Placement::Replace).unwrap();
        let placed = std::fs::read(temp.path().join("a/file")).unwrap();
        assert_eq!(placed, b"con");
    }
}

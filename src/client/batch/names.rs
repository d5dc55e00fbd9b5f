//! Which places below the folders of a batch are taken, by what, and whether by a folder.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::path::Path;

use crate::client::Download;
use crate::net::Address;
use crate::wire::{Md5Digest, ResourcePath};

/// The places that are taken. A folder may be wanted by many, everything else of one source
/// alone: it is the same thing however often it is wanted. 12 bytes for each place.
#[derive(Default)]
pub(in crate::client) struct Names {
    /// Hashes of places, and of what has them; by their key, nobody can make two the same.
    taken: HashMap<[u32; 2], u32>,
    hasher: RandomState,
}

/// How the taking of a place ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum Taking {
    /// Nobody had it.
    First,
    /// The same thing has it.
    Again,
    /// Something else has it, or what is no folder is on the way there.
    Conflict,
}

/// What is to have a place.
#[derive(Hash)]
struct Source<'a> {
    address: &'a Address,
    path: &'a ResourcePath,
    want_md5: Option<Md5Digest>,
    or_folder: bool,
}

impl Names {
    /// Takes the place of a file or a link.
    #[must_use]
    pub(in crate::client) fn take(&mut self, download: &Download) -> Taking {
        let source = Source {
            address: &download.address,
            path: &download.path,
            want_md5: download.want_md5,
            or_folder: download.or_folder,
        };
        let place = download.beside(&download.name);
        self.take_below(&download.folder, &download.below, &place, &source)
    }

    /// The same of a place below a folder, for what a tree has at a path.
    #[must_use]
    pub(in crate::client) fn take_place(
        &mut self,
        root: &Path,
        place: &ResourcePath,
        address: &Address,
        path: &ResourcePath,
    ) -> Taking {
        let source = Source {
            address,
            path,
            want_md5: None,
            or_folder: false,
        };
        let below = place.parent().unwrap_or_else(ResourcePath::root);
        self.take_below(root, &below, place.as_bytes(), &source)
    }

    /// The same of a folder and those above it. Whoever comes later has it, too.
    #[must_use]
    pub(in crate::client) fn take_folder(&mut self, root: &Path, path: &ResourcePath) -> Taking {
        self.take_way(root, path, None)
    }

    /// The same of the folder that a download is. A name that cannot be is found out where the
    /// folder is made.
    #[must_use]
    pub(in crate::client) fn take_folder_of(&mut self, download: &Download) -> Taking {
        download.place().map_or(Taking::First, |place| {
            self.take_folder(&download.folder, &place)
        })
    }

    fn take_below(
        &mut self,
        root: &Path,
        below: &ResourcePath,
        place: &[u8],
        source: &Source<'_>,
    ) -> Taking {
        let way = self.take_way(root, below, Some(source));
        let is_folder = self.taken.contains_key(&self.folder(root, place));
        // One that may be a folder is asked for, to know it.
        if way == Taking::Conflict || (is_folder && !source.or_folder) {
            return Taking::Conflict;
        }
        let source = self.half(source);
        match self.taken.insert(self.other(root, place), source) {
            None => Taking::First,
            Some(before) if before == source => Taking::Again,
            Some(before) => {
                self.taken.insert(self.other(root, place), before);
                Taking::Conflict
            }
        }
    }

    /// `within`: what is to be in the folder.
    fn take_way(
        &mut self,
        root: &Path,
        path: &ResourcePath,
        within: Option<&Source<'_>>,
    ) -> Taking {
        let mut missing = Vec::new();
        let mut at = Some(path.clone());
        let mut there = within.and_then(|source| source.path.parent());
        while let Some(path) = at.filter(|path| !path.is_root()) {
            if let Some(has) = self.taken.get(&self.other(root, path.as_bytes())) {
                // What may be a folder is one, since the same list names something in it.
                let folder = within.zip(there.as_ref()).map(|(source, path)| Source {
                    address: source.address,
                    path,
                    want_md5: None,
                    or_folder: true,
                });
                if folder.is_none_or(|folder| self.half(&folder) != *has) {
                    return Taking::Conflict;
                }
            }
            let folder = self.folder(root, path.as_bytes());
            if self.taken.contains_key(&folder) {
                // And so are those above it.
                break;
            }
            missing.push((folder, 0));
            at = path.parent();
            there = there.and_then(|there| there.parent());
        }
        self.taken.extend(missing);
        Taking::First
    }

    fn folder(&self, root: &Path, place: &[u8]) -> [u32; 2] {
        halves(self.hasher.hash_one((root, place, "a folder")))
    }

    fn other(&self, root: &Path, place: &[u8]) -> [u32; 2] {
        halves(self.hasher.hash_one((root, place)))
    }

    fn half(&self, source: &impl Hash) -> u32 {
        halves(self.hasher.hash_one(source))[0]
    }
}

/// A map of these has no gaps between its entries.
fn halves(hash: u64) -> [u32; 2] {
    [(hash >> 32) as u32, hash as u32]
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::store::FileName;

    fn download(server: &str, path: &str, or_folder: bool) -> Download {
        let path = ResourcePath::parse(path.as_bytes()).unwrap();
        let name = FileName::parse(path.file_name().unwrap()).unwrap();
        let address = Address::parse_bind(server, 1).unwrap();
        Download {
            below: path.parent().unwrap_or_else(ResourcePath::root),
            or_folder,
            ..Download::new(address, path, PathBuf::from("x"), name)
        }
    }

    #[test]
    fn the_same_thing_has_its_place_however_often_and_nothing_else_does() {
        let mut names = Names::default();
        let mut take = |server, path| names.take(&download(server, path, false));
        assert_eq!(take("h:1", "d/a"), Taking::First);
        assert_eq!(take("h:1", "d/a"), Taking::Again);
        for _ in 0..2 {
            assert_eq!(take("h:2", "d/a"), Taking::Conflict);
        }
        assert_eq!(take("h:1", "d/a"), Taking::Again);
        assert_eq!(take("h:1", "d/a/b"), Taking::Conflict);
        assert_eq!(take("h:1", "d"), Taking::Conflict);
        let summed = Download {
            want_md5: Some(Md5Digest::from_bytes([1; 16])),
            ..download("h:1", "d/a", false)
        };
        assert_eq!(names.take(&summed), Taking::Conflict);
    }

    #[test]
    fn what_may_be_a_folder_is_in_the_way_of_nothing_of_its_own() {
        let mut names = Names::default();
        let mut take = |server, path, or_folder| names.take(&download(server, path, or_folder));
        for path in ["d", "d/a", "e/f/a", "e/f", "e"] {
            assert_eq!(take("h:1", path, true), Taking::First, "{path}");
            assert_eq!(take("h:1", path, true), Taking::Again, "{path}");
        }
        assert_eq!(take("h:2", "d/b", true), Taking::Conflict);
        assert_eq!(take("h:1", "g", false), Taking::First);
        assert_eq!(take("h:1", "g/h", true), Taking::Conflict);
    }
}

//! Names that are one where they go, since upper and lower case are not told apart there.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;

use crate::client::wanted::Wanted;
use crate::client::{ClientError, Download};
use crate::store::{DestinationTree, Ground};
use crate::wire::ResourcePath;

/// What is wanted, in its order, of which a file or a link fails whose place differs from an
/// earlier one only in upper and lower case, if `folds` says that these are one where it goes: it
/// would replace the earlier one, and both would be told as done.
pub(super) fn apart(
    wanted: impl Iterator<Item = Wanted> + Send,
    mut folds: impl FnMut(&Download) -> bool + Send,
) -> impl Iterator<Item = Wanted> + Send {
    let mut folded = Folded::default();
    wanted.map(move |wanted| match &wanted {
        Wanted::File { download, .. } | Wanted::Link { download, .. }
            if folds(download) && !folded.take(download) =>
        {
            Wanted::Failed {
                address: download.address.clone(),
                path: download.path.clone(),
                error: ClientError::SameName(download.beside(&download.name)),
            }
        }
        _ => wanted,
    })
}

/// Folders, each asked once whether it takes upper and lower case for one: what comes one after
/// the other goes into one folder, or those around it.
#[derive(Default)]
pub(super) struct Folds {
    root: PathBuf,
    tree: Option<Arc<DestinationTree>>,
    /// The root, and the way from there to where the last one went.
    way: Vec<Step>,
}

struct Step {
    folder: ResourcePath,
    folds: bool,
    /// What is not will be made, like the one it is in.
    is_there: bool,
}

impl Folds {
    /// Whether the folder that this goes into does.
    pub(super) fn ask(&mut self, download: &Download) -> bool {
        if self.way.is_empty() || self.root != download.folder {
            self.begin(download);
        }
        let below = &download.below;
        while let [_, .., last] = &self.way[..]
            && last.folder != *below
            && !below.is_below(&last.folder)
        {
            self.way.pop();
        }
        let known = self.way.last().map(|step| step.folder.clone());
        let missing = std::iter::successors(Some(below.clone()), ResourcePath::parent);
        let missing = missing.take_while(|folder| Some(folder) != known.as_ref());
        let missing: Vec<_> = missing.collect();
        for folder in missing.into_iter().rev() {
            self.step_into(folder);
        }
        self.way.last().is_some_and(|step| step.folds)
    }

    fn begin(&mut self, download: &Download) {
        self.root.clone_from(&download.folder);
        self.tree = DestinationTree::open(&self.root, false).ok();
        let root = ResourcePath::root();
        let folds = self.tree.as_ref().and_then(|tree| tree.folds_case(&root));
        let of_missing = || {
            Ground::of_missing(&self.root, &ResourcePath::root())
                .is_ok_and(|ground| ground.folds_case())
        };
        self.way.clear();
        self.way.push(Step {
            folder: root,
            is_there: folds.is_some(),
            folds: folds.unwrap_or_else(of_missing),
        });
    }

    fn step_into(&mut self, folder: ResourcePath) {
        let above = self.way.last();
        let is_there = above.is_some_and(|above| above.is_there);
        let tree = self.tree.as_ref().filter(|_| is_there);
        let folds = tree.and_then(|tree| tree.folds_case(&folder));
        let above_folds = above.is_some_and(|above| above.folds);
        self.way.push(Step {
            folder,
            is_there: folds.is_some(),
            folds: folds.unwrap_or(above_folds),
        });
    }
}

/// Places of which upper and lower case are one, and how each is really spelled.
#[derive(Default)]
struct Folded {
    taken: HashMap<u64, u64>,
    hasher: RandomState,
}

impl Folded {
    /// False if a place that is spelled otherwise was taken before.
    #[must_use]
    fn take(&mut self, download: &Download) -> bool {
        let place = download.beside(&download.name);
        let folded = match std::str::from_utf8(&place) {
            Ok(text) => text.to_lowercase().into_bytes(),
            Err(_) => place.to_ascii_lowercase(),
        };
        let spelled = self.hasher.hash_one(&place);
        let folded = self.hasher.hash_one((&download.folder, folded));
        *self.taken.entry(folded).or_insert(spelled) == spelled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Address;
    use crate::store::FileName;

    fn wanted(path: &str) -> Wanted {
        let address = Address::parse_bind("h:1", 1).unwrap();
        let path = ResourcePath::parse(path.as_bytes()).unwrap();
        let name = FileName::parse(path.file_name().unwrap()).unwrap();
        Wanted::File {
            download: Download {
                below: path.parent().unwrap_or_else(ResourcePath::root),
                ..Download::new(address, path, PathBuf::from("d"), name)
            },
            parent: None,
        }
    }

    /// Those that fail, by their paths.
    fn failing(paths: &[&str], folds: impl FnMut(&Download) -> bool + Send) -> Vec<String> {
        let wanted = paths.iter().map(|path| wanted(path));
        let failed = apart(wanted, folds).filter_map(|wanted| match wanted {
            Wanted::Failed { path, error, .. } => {
                assert!(matches!(error, ClientError::SameName(_)), "{error:?}");
                Some(String::from_utf8(path.as_bytes().to_vec()).unwrap())
            }
            _ => None,
        });
        failed.collect()
    }

    #[test]
    fn of_names_that_differ_only_in_case_the_first_has_the_place_where_these_are_one() {
        let paths = [
            "README", "x/readme", "GRÖSSE", "Readme", "X/README", "grösse", "README", "x/readme",
        ];
        let others = ["Readme", "X/README", "grösse"];
        assert_eq!(failing(&paths, |_| true), others);
        assert_eq!(failing(&paths, |_| false), [""; 0]);
        let in_root = |download: &Download| download.below.is_root();
        assert_eq!(failing(&paths, in_root), ["Readme", "grösse"]);
    }

    #[test]
    fn a_folder_is_asked_once_and_what_will_be_made_is_as_the_one_it_is_in() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join("there/deep")).unwrap();
        for root in [temp.path().to_owned(), temp.path().join("not/yet")] {
            let mut folds = Folds::default();
            let mut ask = |path: &str| {
                let Wanted::File { mut download, .. } = wanted(path) else {
                    panic!("it is a file");
                };
                download.folder.clone_from(&root);
                let answer = folds.ask(&download);
                let way = folds.way.iter().map(|step| step.is_there);
                (answer, way.collect::<Vec<_>>())
            };
            let is_there = root == temp.path();
            for (path, way) in [
                ("f", &[true][..]),
                ("there/deep/f", &[true, true, true]),
                ("there/f", &[true, true]),
                ("therefore/f", &[true, false]),
                ("therefore/x/f", &[true, false, false]),
                ("g", &[true]),
            ] {
                let way: Vec<_> = way.iter().map(|&there| there && is_there).collect();
                assert_eq!(ask(path), (false, way), "{path}");
            }
        }
    }
}

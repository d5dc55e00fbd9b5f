//! Names that are one where they go, since upper and lower case are not told apart there.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::client::wanted::Wanted;
use crate::client::{ClientError, Download};
use crate::store::DestinationTree;
use crate::wire::ResourcePath;

/// What is wanted, in its order, of which a file or a link fails whose place differs from an
/// earlier one only in upper and lower case, if `folds` says that these are one where it goes: it
/// would replace the earlier one, and both would be told as done.
pub(super) fn apart(
    wanted: impl Iterator<Item = Wanted> + Send,
    mut folds: impl FnMut(&Download, Asked) -> bool + Send,
) -> impl Iterator<Item = Wanted> + Send {
    let mut folded = Folded::default();
    wanted.map(move |wanted| match &wanted {
        Wanted::File { download, .. } | Wanted::Link { download, .. }
            if folds(download, Asked::WhetherItMay)
                && !folded.take(download)
                && folds(download, Asked::WhetherItDoes) =>
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

/// What is asked of the folder that something goes into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Whether it may take upper and lower case for one, as far as its file system says.
    WhetherItMay,
    /// Whether it does. Two names are there that differ in nothing else: it may cost something.
    WhetherItDoes,
}

/// Folders, each asked once whether it takes upper and lower case for one: what comes one after
/// the other goes into one folder, or those around it.
pub(super) struct Folds {
    /// A file may be made for a moment to find out.
    may_write: bool,
    root: PathBuf,
    tree: Option<Arc<DestinationTree>>,
    /// The root, and the way from there to where the last one went.
    way: Vec<Step>,
}

struct Step {
    folder: ResourcePath,
    /// `None`: its file system does not say.
    folds: Option<bool>,
    /// What is not will be made, like the one it is in.
    is_there: bool,
}

impl Folds {
    pub(super) fn new(may_write: bool) -> Folds {
        Folds {
            may_write,
            root: PathBuf::new(),
            tree: None,
            way: Vec::new(),
        }
    }

    /// Whether the folder that this goes into does, or may.
    pub(super) fn ask(&mut self, download: &Download, asked: Asked) -> bool {
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
        let last = self.way.last().and_then(|step| step.folds);
        match asked {
            Asked::WhetherItMay => last != Some(false),
            Asked::WhetherItDoes => last.unwrap_or_else(|| self.find_out()),
        }
    }

    fn begin(&mut self, download: &Download) {
        self.root.clone_from(&download.folder);
        let root = ResourcePath::root();
        self.tree = DestinationTree::open(&self.root, false).ok();
        let is_there = self.tree.is_some();
        if !is_there {
            // It will be made in the innermost one above it that is there.
            let above = self.root.ancestors().skip(1).map(|above| match above {
                above if above.as_os_str().is_empty() => Path::new("."),
                above => above,
            });
            let mut above = above.filter_map(|above| DestinationTree::open(above, false).ok());
            self.tree = above.next();
        }
        let folds = self.tree.as_ref().and_then(|tree| tree.folds_case(&root));
        self.way.clear();
        self.way.push(Step {
            folder: root,
            is_there,
            folds: folds.unwrap_or(Some(false)),
        });
    }

    fn step_into(&mut self, folder: ResourcePath) {
        let above = self.way.last();
        let is_there = above.is_some_and(|above| above.is_there);
        let tree = self.tree.as_ref().filter(|_| is_there);
        let folds = tree.and_then(|tree| tree.folds_case(&folder));
        let above_folds = above.and_then(|above| above.folds);
        self.way.push(Step {
            folder,
            is_there: folds.is_some(),
            folds: folds.unwrap_or(above_folds),
        });
    }

    /// Finds out about the last folder, and so about those that will be made in it.
    fn find_out(&mut self) -> bool {
        let innermost = self.way.iter().rposition(|step| step.is_there);
        let innermost = innermost.unwrap_or(0);
        let folder = &self.way[innermost].folder;
        let found = self
            .tree
            .as_ref()
            .and_then(|tree| tree.find_case_folding(folder, self.may_write));
        let folds = found.unwrap_or(false);
        for step in &mut self.way[innermost..] {
            step.folds = Some(folds);
        }
        folds
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
        let spelled = self.hasher.hash_one(&place);
        let folded = self.hasher.hash_one((&download.folder, folded(&place)));
        *self.taken.entry(folded).or_insert(spelled) == spelled
    }
}

/// A name or a path in lower case.
pub(in crate::client) fn folded(name: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(name) {
        Ok(text) => text.to_lowercase().into_bytes(),
        Err(_) => name.to_ascii_lowercase(),
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
    fn failing(paths: &[&str], folds: impl FnMut(&Download, Asked) -> bool + Send) -> Vec<String> {
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
        assert_eq!(failing(&paths, |_, _| true), others);
        assert_eq!(failing(&paths, |_, _| false), [""; 0]);
        let in_root = |download: &Download, _| download.below.is_root();
        assert_eq!(failing(&paths, in_root), ["Readme", "grösse"]);
        let only_may = |_: &Download, asked| asked == Asked::WhetherItMay;
        assert_eq!(failing(&paths, only_may), [""; 0]);
    }

    #[test]
    fn a_folder_is_asked_once_and_what_will_be_made_is_as_the_one_it_is_in() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join("there/deep")).unwrap();
        for root in [temp.path().to_owned(), temp.path().join("not/yet")] {
            let mut folds = Folds::new(false);
            let mut ask = |path: &str| {
                let Wanted::File { mut download, .. } = wanted(path) else {
                    panic!("it is a file");
                };
                download.folder.clone_from(&root);
                let answer = folds.ask(&download, Asked::WhetherItDoes);
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

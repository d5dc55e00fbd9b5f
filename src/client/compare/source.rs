//! The thread that puts what servers have beside what is here.

mod asked;

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::asked::Asked;
use super::place::{Finding, judge, unseen_folder};
use super::{Comparison, Difference, Findings, Place};
use crate::client::asking::Asking;
use crate::client::batch::names::{Names, Taking};
use crate::client::batch::{Limits, Source as Wanted};
use crate::client::beside::{Beside, Pair, View};
use crate::client::preview::{Change, not_a_file};
use crate::client::{Action, ClientConfig, ClientError, Download, Entry, Prospect, Tree};
use crate::net::Address;
use crate::store::{DestinationTree, FileName, Listed, StageError, TargetInfo};
use crate::wire::{ErrorCode, ListEntry, ObjectKind, ResourcePath};

/// The thread's belongings.
pub(super) struct Source<'c> {
    config: &'c ClientConfig,
    limits: &'c Limits,
    findings: Findings,
    /// The folders that files go below; none where it is missing.
    trees: HashMap<PathBuf, Option<Arc<DestinationTree>>>,
    /// What is asked of the server that the last file is of.
    asking: Option<Asking<'c>>,
    asked: VecDeque<Asked>,
    /// A server that does not answer, and why.
    lost: Option<(Address, ClientError)>,
    address: Arc<Address>,
    hidden: u64,
    /// None if everything comes out of one listing, in which nothing comes twice.
    names: Option<Names>,
    /// Below which folder what goes into which was looked at last.
    ground: Option<(PathBuf, ResourcePath, Arc<TargetInfo>)>,
}

impl<'c> Source<'c> {
    pub(super) fn new(
        config: &'c ClientConfig,
        limits: &'c Limits,
        names: Option<Names>,
        findings: Findings,
    ) -> Source<'c> {
        Source {
            config,
            limits,
            findings,
            trees: HashMap::new(),
            asking: None,
            asked: VecDeque::new(),
            lost: None,
            address: Arc::new(Address::Unix(PathBuf::new())),
            hidden: 0,
            names,
            ground: None,
        }
    }

    /// Finds everything. Returns how many entries are hidden.
    pub(super) fn run(mut self, sources: Vec<Wanted<'_>>) -> u64 {
        for source in sources {
            match source {
                Wanted::Tree(tree) => self.tree(&tree),
                Wanted::Files(entries) => {
                    for entry in entries {
                        self.entry(entry);
                    }
                    self.answer_all();
                }
            }
        }
        self.hidden
    }

    fn tree(&mut self, tree: &Tree) {
        let address = Arc::new(tree.address.clone());
        let mut beside = Beside::new(tree, View::Compared, self.limits, self.config);
        // The folder around what is at hand, or itself, that cannot be looked into here; and why,
        // until that was told.
        let mut unseen: Option<(ResourcePath, Option<ClientError>)> = None;
        let limits = self.limits;
        while let Some(pair) = beside.next(&mut |event| limits.tell(&event)) {
            let asks = |pair: &Pair| {
                pair.is_selected && lacks_digest(pair.there.as_ref(), pair.here.as_ref())
            };
            if !pair.as_ref().is_ok_and(asks) {
                // Findings wait for those before them, and no longer than there is room.
                self.answer_all();
            }
            let mut pair = match pair {
                Ok(pair) => pair,
                Err((path, error)) => {
                    let place = self.findings.place(&address, path);
                    self.findings.tell(place, Err(error));
                    continue;
                }
            };
            let is_inside = |(folder, _): &(ResourcePath, _)| pair.place.is_below(folder);
            if !unseen.as_ref().is_some_and(is_inside) {
                let error = unseen_folder(&mut pair, beside.destination());
                unseen = error.map(|error| (pair.place.clone(), Some(error)));
            }
            if !pair.is_selected {
                continue;
            }
            if let Some((folder, error)) = &mut unseen {
                if let Some(error) = error.take() {
                    let path = tree.path_of(folder).1.unwrap_or_else(|| folder.clone());
                    let mut place = self.findings.place(&address, path);
                    place.here = Some(at(tree, folder));
                    self.findings.tell(place, Err(error));
                }
                continue;
            }
            let taking = match &pair.there {
                None => Ok(Taking::First),
                Some(there) => self.take_name(tree, &pair.place, there),
            };
            if matches!(taking, Ok(Taking::Again)) {
                // It was told, and whatever has a place is told.
                continue;
            }
            let path = pair.path.unwrap_or_else(|| pair.place.clone());
            if taking.is_ok() && lacks_digest(pair.there.as_ref(), pair.here.as_ref()) {
                match tree.download(&path) {
                    Ok(download) => self.ask(download, pair.here),
                    Err(error) => {
                        let place = self.findings.place(&address, path);
                        self.findings.tell(place, Err(error));
                    }
                }
                continue;
            }
            let mut place = self.findings.place(&address, path);
            place.here = Some(at(tree, &pair.place));
            let found = taking.and_then(|_| {
                let Some(there) = pair.there else {
                    return Ok(Finding::Known(Comparison::Differs(Difference::Extra)));
                };
                if there.kind == ObjectKind::Other && there.path == tree.path {
                    return Err(not_a_file(ErrorCode::NotAFile).into());
                }
                let here = pair.here.as_ref().and_then(size);
                let destination = beside.destination();
                let found = judge(&there, pair.here, &pair.place, destination, self.config)?;
                if found.may_be_fetched() {
                    let ground = self.ground(&tree.folder, &pair.place, destination);
                    let at = || at(tree, &pair.place);
                    place.change = ground.map(|ground| (change(&there, here, ground), at()));
                }
                Ok(found)
            });
            self.found(place, found);
        }
        self.answer_all();
        self.hidden = self.hidden.saturating_add(beside.hidden);
    }

    fn entry(&mut self, entry: Entry) {
        match entry {
            Entry::File(download) => self.file(download),
            Entry::PassedOver {
                address,
                path,
                kind,
            } => {
                let place = self.findings.place(&Arc::new(address), path);
                let passed = Comparison::PassedOver(kind);
                self.findings.tell(place, Ok(passed));
            }
            Entry::Failed {
                address,
                path,
                error,
            } => {
                let place = self.findings.place(&Arc::new(address), path);
                self.findings.tell(place, Err(error));
            }
        }
    }

    /// Whether nobody else wants the place of this.
    fn take_name(
        &mut self,
        tree: &Tree,
        place: &ResourcePath,
        there: &ListEntry<'_>,
    ) -> Result<Taking, ClientError> {
        let taking = match (&mut self.names, there.kind) {
            (None, _) => Taking::First,
            (Some(names), ObjectKind::Directory) => names.take_folder(&tree.folder, place),
            (Some(names), _) => names.take_place(&tree.folder, place, &tree.address, &there.path),
        };
        match taking {
            Taking::Conflict => Err(ClientError::SameName(place.as_bytes().to_vec())),
            Taking::First | Taking::Again => Ok(taking),
        }
    }

    /// What is known of where it would go; `None` where nothing can be placed.
    fn ground(
        &mut self,
        root: &Path,
        place: &ResourcePath,
        destination: Option<&Arc<DestinationTree>>,
    ) -> Option<Arc<TargetInfo>> {
        let above = place.parent().unwrap_or_else(ResourcePath::root);
        let ground = match self.ground.take() {
            Some((known, below, ground)) if known == root && below == above => ground,
            _ => Arc::new(match destination {
                Some(destination) => destination.target_info(&above).ok()?.1,
                None => TargetInfo::of_missing(root, &above).ok()?,
            }),
        };
        self.ground = Some((root.to_owned(), above, Arc::clone(&ground)));
        let name = FileName::parse(place.file_name()?).ok()?;
        ground.admit(&name).is_ok().then_some(ground)
    }

    fn found(&self, place: Place, found: Result<Finding, ClientError>) {
        match found {
            Ok(Finding::Known(comparison)) => self.findings.tell(place, Ok(comparison)),
            Ok(Finding::ToRead(file)) => self.findings.read(place, file),
            Err(error) => self.findings.tell(place, Err(error)),
        }
    }

    fn look(&mut self, download: &Download) -> Result<Option<Listed>, ClientError> {
        match self.destination(&download.folder)? {
            Some(destination) => Ok(destination.look(&download.place()?)?),
            None => Ok(None),
        }
    }

    fn destination(&mut self, folder: &Path) -> Result<Option<&DestinationTree>, ClientError> {
        if !self.trees.contains_key(folder) {
            let tree = match DestinationTree::open(folder, false) {
                Ok(tree) => Some(tree),
                Err(StageError::Directory { source, .. })
                    if source.kind() == ErrorKind::NotFound =>
                {
                    None
                }
                Err(error) => return Err(error.into()),
            };
            self.trees.insert(folder.to_owned(), tree);
        }
        Ok(self.trees.get(folder).and_then(Option::as_deref))
    }
}

/// Whether two files of one size can only be told apart by a digest that the listing has not.
fn lacks_digest(there: Option<&ListEntry<'_>>, here: Option<&Listed>) -> bool {
    let (Some(there), Some(here)) = (there, here) else {
        return false;
    };
    there.kind == ObjectKind::File
        && there.error.is_none()
        && there.md5.is_none()
        && size(here) == Some(there.total_size)
}

/// The path of a place here.
fn at(tree: &Tree, place: &ResourcePath) -> PathBuf {
    tree.folder.join(OsStr::from_bytes(place.as_bytes()))
}

/// Bytes of a file here.
fn size(here: &Listed) -> Option<u64> {
    let meta = here.meta.filter(|_| here.kind == ObjectKind::File)?;
    Some(meta.size())
}

/// What it would take to fetch this over a file of so many bytes.
fn change(there: &ListEntry<'_>, here_bytes: Option<u64>, ground: Arc<TargetInfo>) -> Change {
    let prospect = match there.kind {
        ObjectKind::Directory => Prospect::Folder,
        ObjectKind::File => Prospect::Present {
            action: Action::Fetched,
            replaces: here_bytes.is_some(),
            total_size: there.total_size,
        },
        ObjectKind::Symlink | ObjectKind::Other => Prospect::Present {
            action: Action::Link,
            replaces: here_bytes.is_some(),
            total_size: 0,
        },
    };
    Change {
        prospect,
        ground,
        replaced_bytes: here_bytes,
        md5: there.md5,
    }
}

//! The thread that puts what servers have beside what is here.

use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::place::{Finding, judge};
use super::{Comparison, Difference, Findings, Place};
use crate::client::asking::Asking;
use crate::client::batch::Source as Wanted;
use crate::client::beside::Beside;
use crate::client::preview::not_a_file;
use crate::client::question::refusal;
use crate::client::{ClientConfig, ClientError, Download, Entry, Tree};
use crate::net::Address;
use crate::store::{DestinationTree, Listed, StageError};
use crate::wire::{ErrorCode, ListEntry, ObjectKind, ResponseHeader, StatRequest};

/// The thread's belongings.
pub(super) struct Source<'c> {
    config: &'c ClientConfig,
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
}

/// A file whose server was asked.
struct Asked {
    place: Place,
    download: Download,
    here: Option<Listed>,
}

impl<'c> Source<'c> {
    pub(super) fn new(config: &'c ClientConfig, findings: Findings) -> Source<'c> {
        Source {
            config,
            findings,
            trees: HashMap::new(),
            asking: None,
            asked: VecDeque::new(),
            lost: None,
            address: Arc::new(Address::Unix(PathBuf::new())),
            hidden: 0,
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
        let mut beside = Beside::new(tree, true, self.config);
        while let Some(pair) = beside.next() {
            let pair = match pair {
                Ok(pair) => pair,
                Err((path, error)) => {
                    let place = self.findings.place(&address, path);
                    self.findings.tell(place, Err(error));
                    continue;
                }
            };
            if !pair.is_selected {
                continue;
            }
            let path = pair.path.unwrap_or_else(|| pair.place.clone());
            let place = self.findings.place(&address, path);
            let found = match pair.there {
                None => Ok(Finding::Known(Comparison::Differs(Difference::Extra))),
                Some(there) => {
                    let destination = beside.destination();
                    judge(&there, pair.here, &pair.place, destination, self.config)
                }
            };
            self.found(place, found);
        }
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

    fn file(&mut self, download: Download) {
        if *self.address != download.address {
            self.answer_all();
            self.asking = None;
            self.address = Arc::new(download.address.clone());
        }
        let place = self
            .findings
            .place(&Arc::clone(&self.address), download.path.clone());
        if let Some((_, error)) = self
            .lost
            .as_ref()
            .filter(|(address, _)| *address == download.address)
        {
            return self.findings.tell(place, Err(error.clone()));
        }
        let here = match self.look(&download) {
            Ok(here) => here,
            Err(error) => return self.findings.tell(place, Err(error)),
        };
        let is_file = |here: &Listed| here.kind == ObjectKind::File;
        let stat = StatRequest {
            path: download.path.clone(),
            // Who has nothing to compare it with does not wait for it.
            digest: download.want_md5.is_some() || here.as_ref().is_some_and(is_file),
            fresh: false,
            progress: true,
        };
        let config = self.config;
        let asking = self
            .asking
            .get_or_insert_with(|| Asking::new(download.address.clone(), config));
        asking.ask(stat);
        let has_room = asking.has_room();
        self.asked.push_back(Asked {
            place,
            download,
            here,
        });
        if !has_room {
            self.answer();
        }
    }

    fn answer_all(&mut self) {
        while !self.asked.is_empty() {
            self.answer();
        }
    }

    /// Takes the first answer.
    fn answer(&mut self) {
        let (Some(asking), Some(asked)) = (&mut self.asking, self.asked.pop_front()) else {
            return;
        };
        let Asked {
            place,
            download,
            here,
        } = asked;
        match asking.answer() {
            Ok(header) => {
                let found = self.compare(&download, &header, here);
                self.found(place, found);
            }
            Err(error) => {
                self.findings.tell(place, Err(error.clone()));
                for other in self.asked.drain(..) {
                    self.findings.tell(other.place, Err(error.clone()));
                }
                self.asking = None;
                self.lost = Some((download.address, error));
            }
        }
    }

    fn compare(
        &self,
        download: &Download,
        header: &ResponseHeader<'static>,
        here: Option<Listed>,
    ) -> Result<Finding, ClientError> {
        if let Some(error) = &header.error {
            return Err(refusal(error).into());
        }
        match header.kind {
            Some(ObjectKind::File) => {}
            Some(ObjectKind::Directory) => {
                return Err(not_a_file(ErrorCode::IsDirectory).into());
            }
            _ => return Err(not_a_file(ErrorCode::NotAFile).into()),
        }
        if let (Some(wanted), Some(offered)) = (download.want_md5, header.md5)
            && wanted != offered
        {
            return Err(ClientError::OtherContent { wanted, offered });
        }
        let there = ListEntry {
            path: download.path.clone(),
            kind: ObjectKind::File,
            total_size: header.total_size,
            md5: header.md5,
            mtime: header.mtime,
            mode: header.mode,
            target: None,
            error: None,
        };
        let destination = self.trees.get(&download.folder).and_then(Option::as_ref);
        judge(&there, here, &download.place()?, destination, self.config)
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
                Err(StageError::Folder { source, .. }) if source.kind() == ErrorKind::NotFound => {
                    None
                }
                Err(error) => return Err(error.into()),
            };
            self.trees.insert(folder.to_owned(), tree);
        }
        Ok(self.trees.get(folder).and_then(Option::as_deref))
    }
}

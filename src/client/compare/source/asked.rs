//! Files that a server is asked about one by one, pipelined.

use std::sync::Arc;

use super::{Source, change, size};
use crate::client::asking::Asking;
use crate::client::compare::Place;
use crate::client::compare::place::{Finding, judge};
use crate::client::preview::not_a_file;
use crate::client::question::refusal;
use crate::client::{ClientError, Download};
use crate::store::Listed;
use crate::wire::{ErrorCode, ListEntry, ObjectKind, ResponseHeader, StatRequest};

/// A file whose server was asked.
pub(super) struct Asked {
    place: Place,
    download: Download,
    here: Option<Listed>,
}

impl Source<'_> {
    pub(super) fn file(&mut self, download: Download) {
        if let Some(place) = self.place_of(&download) {
            match self.look(&download) {
                Ok(here) => self.ask_for(place, download, here),
                Err(error) => self.findings.tell(place, Err(error)),
            }
        }
    }

    /// Asks for the digest of a file of a tree, which lies here as well.
    pub(super) fn ask(&mut self, download: Download, here: Option<Listed>) {
        if let Some(place) = self.place_of(&download) {
            match self.destination(&download.folder) {
                Ok(_) => self.ask_for(place, download, here),
                Err(error) => self.findings.tell(place, Err(error)),
            }
        }
    }

    /// The place of a file in the findings. Returns `None` if its server is lost, which is its
    /// finding then.
    pub(super) fn place_of(&mut self, download: &Download) -> Option<Place> {
        if *self.address != download.address {
            self.answer_all();
            self.asking = None;
            self.address = Arc::new(download.address.clone());
        }
        let mut place = self
            .findings
            .place(&Arc::clone(&self.address), download.path.clone());
        place.here = Some(download.at());
        if let Some((_, error)) = self
            .lost
            .as_ref()
            .filter(|(address, _)| *address == download.address)
        {
            self.findings.tell(place, Err(error.clone()));
            return None;
        }
        Some(place)
    }

    /// Asks the server about a file with the place that it has in the findings.
    pub(super) fn ask_for(&mut self, place: Place, download: Download, here: Option<Listed>) {
        let is_file = |here: &Listed| here.kind == ObjectKind::File;
        let stat = StatRequest {
            path: download.path.clone(),
            // Who has nothing to compare it with does not wait for it.
            digest: download.want_md5.is_some() || here.as_ref().is_some_and(is_file),
            fresh: false,
            progress: true,
        };
        let (config, limits) = (self.config, self.limits);
        let asking = self
            .asking
            .get_or_insert_with(|| Asking::new(download.address.clone(), config).within(limits));
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

    pub(super) fn answer_all(&mut self) {
        while !self.asked.is_empty() {
            self.answer();
        }
    }

    /// Takes the first answer.
    pub(super) fn answer(&mut self) {
        let (Some(asking), Some(asked)) = (&mut self.asking, self.asked.pop_front()) else {
            return;
        };
        let Asked {
            mut place,
            download,
            here,
        } = asked;
        let limits = self.limits;
        match asking.answer(&mut |event| limits.tell(&event)) {
            Ok(header) => {
                let found = self.compare(&download, &header, here, &mut place);
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

    pub(super) fn compare(
        &mut self,
        download: &Download,
        header: &ResponseHeader<'static>,
        here: Option<Listed>,
        place: &mut Place,
    ) -> Result<Finding, ClientError> {
        if let Some(error) = &header.error {
            return Err(refusal(error).into());
        }
        match header.kind {
            Some(ObjectKind::File) => {}
            Some(ObjectKind::Directory) if download.or_folder => {}
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
            kind: header.kind.unwrap_or(ObjectKind::File),
            total_size: header.total_size,
            md5: header.md5,
            mtime: header.mtime,
            mode: header.mode,
            target: None,
            error: None,
        };
        let destination = self.trees.get(&download.folder).cloned().flatten();
        let (at, here_bytes) = (download.place()?, here.as_ref().and_then(size));
        let found = judge(&there, here, &at, destination.as_ref(), self.config)?;
        if found.may_be_fetched() {
            let ground = self.ground(&download.folder, &at, destination.as_ref());
            place.change = ground.map(|ground| (change(&there, here_bytes, ground), download.at()));
        }
        Ok(found)
    }
}

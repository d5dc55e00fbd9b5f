//! What is wanted becomes jobs; folders are finished when all jobs in them are over.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;

use crate::client::batch::allowance::Allowance;
use crate::client::batch::desk::{Desk, JOBS_MAX};
use crate::client::batch::jobs::{Job, Task};
use crate::client::batch::names::Taking;
use crate::client::batch::server::Server;
use crate::client::wanted::{FolderId, Wanted};
use crate::client::{ClientConfig, ClientError, Download, Event, ListedFolder};
use crate::client::{Item, SyncPolicy};
use crate::store::Attributes;

/// A folder that is not finished.
pub(super) struct FolderState {
    index: usize,
    download: Download,
    /// The folder it is in.
    parent: Option<FolderId>,
    attributes: Attributes,
    /// Jobs that it is not finished before.
    pending: usize,
    /// Everything in it was wanted.
    is_complete: bool,
}

/// Folders of which their own source wants nothing more, by how deep they are: who finishes one
/// may shut himself out of those below.
#[derive(Default)]
pub(super) struct Unfinished(BTreeMap<(usize, PathBuf, Vec<u8>), FolderState>);

impl Unfinished {
    /// Of two for one place the one that was wanted first counts.
    fn add(&mut self, folder: FolderState) {
        let place = folder.download.beside(&folder.download.name);
        let depth = place.iter().filter(|&&byte| byte == b'/').count();
        match self.0.entry((depth, folder.download.folder.clone(), place)) {
            Entry::Occupied(other) if other.get().index < folder.index => {}
            Entry::Occupied(mut other) => drop(other.insert(folder)),
            Entry::Vacant(free) => drop(free.insert(folder)),
        }
    }

    /// Adds one of a list, which was made, if a listing told of it.
    pub(super) fn add_listed(&mut self, index: usize, download: &Download, config: &ClientConfig) {
        let Some(ListedFolder { mode, mtime }) = download.listed_folder else {
            return;
        };
        // Without a mode it has the usual one, with which it was made.
        let attributes = Attributes {
            mode: config
                .attributes(mode, mtime, 0)
                .mode
                .filter(|_| mode.is_some()),
            ..config.attributes(mode, mtime, 0)
        };
        self.add(FolderState {
            index,
            download: download.clone(),
            parent: None,
            attributes,
            pending: 0,
            is_complete: true,
        });
    }

    /// Some of the deepest, at most as many as there may be jobs.
    fn take(&mut self) -> Vec<FolderState> {
        let mut taken = Vec::new();
        let deepest = self.0.last_key_value().map(|((depth, ..), _)| *depth);
        while taken.len() < JOBS_MAX
            && let Some(last) = self.0.last_entry()
            && Some(last.key().0) == deepest
        {
            taken.push(last.remove());
        }
        taken
    }
}

/// How much is known to be wanted.
#[derive(Default)]
pub(super) struct Found {
    entries: u64,
    bytes: u64,
}

impl Found {
    fn add(&mut self, wanted: &Wanted) {
        let bytes = match wanted {
            Wanted::File { download, .. } => download.listed.map_or(0, |listed| listed.total_size),
            Wanted::Link { .. } | Wanted::PassedOver { .. } | Wanted::Failed { .. } => 0,
            // These have no end that is told.
            Wanted::Folder { .. } | Wanted::Complete(_) | Wanted::Hidden(_) => return,
        };
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// One turned out to have no end that is told.
    pub(super) fn forget_one(&mut self) {
        self.entries -= 1;
    }

    pub(super) fn tell(&self, is_all: bool, on_event: &mut dyn FnMut(Event<'_>)) {
        let Found { entries, bytes } = *self;
        on_event(Event::Found {
            entries,
            bytes,
            is_all,
        });
    }
}

impl Desk<'_, '_, '_, '_> {
    /// A further thing is wanted.
    pub(super) fn take(&mut self, wanted: Wanted) {
        let index = self.count;
        self.count += 1;
        self.found.add(&wanted);
        match wanted {
            Wanted::File { download, parent } => {
                self.admit(index, download, Task::Fetch, [parent, None]);
            }
            Wanted::Link {
                download,
                parent,
                target,
                mtime,
            } => {
                let task = Task::Link(target.into(), mtime);
                self.admit(index, download, task, [parent, None]);
            }
            Wanted::Folder {
                id,
                download,
                parent,
                mode,
                mtime,
            } => {
                let state = FolderState {
                    index,
                    download: download.clone(),
                    parent,
                    attributes: self.config.attributes(mode, mtime, 0o777),
                    pending: 0,
                    is_complete: false,
                };
                self.folders.insert(id, state);
                self.admit(index, download, Task::MakeFolder, [parent, Some(id)]);
            }
            Wanted::Complete(id) => {
                // It is no entry of its own.
                self.count -= 1;
                if let Some(folder) = self.folders.get_mut(&id) {
                    folder.is_complete = true;
                }
                self.finish_folder(id);
            }
            Wanted::Hidden(entries) => {
                // Nor is this.
                self.count -= 1;
                (self.on_event)(Event::Hidden { entries });
            }
            Wanted::PassedOver {
                address,
                path,
                kind,
            } => {
                let item = Item {
                    index,
                    address: &address,
                    path: &path,
                    here: None,
                };
                (self.on_event)(Event::PassedOver { item, kind });
            }
            Wanted::Failed {
                address,
                path,
                error,
            } => {
                let item = Item {
                    index,
                    address: &address,
                    path: &path,
                    here: None,
                };
                (self.on_event)(Event::Failed {
                    item,
                    error: &error,
                });
            }
        }
    }

    fn admit(
        &mut self,
        index: usize,
        download: Download,
        task: Task,
        holds: [Option<FolderId>; 2],
    ) {
        let taking = self.take_name(&download, &task);
        if taking == Taking::Again {
            self.found.forget_one();
            return;
        }
        if taking == Taking::Conflict {
            let item = Item {
                index,
                address: &download.address,
                path: &download.path,
                here: None,
            };
            let error = &ClientError::SameName(download.beside(&download.name));
            (self.on_event)(Event::Failed { item, error });
            return self.forget_unmade(&task, holds);
        }
        let known = self
            .servers
            .iter()
            .position(|server| server.address == download.address);
        let server = known.unwrap_or_else(|| {
            let is_reached = self.config.retry.before_contact;
            let lanes_max = self.config.connections_max;
            let lanes_max = lanes_max.unwrap_or(LANES_MAX.max(self.config.split));
            let allowance = Allowance::new(lanes_max, self.config.retry);
            let server = Server::new(download.address.clone(), is_reached, allowance);
            self.servers.push(server);
            self.servers.len() - 1
        });
        for id in holds.into_iter().flatten() {
            if let Some(folder) = self.folders.get_mut(&id) {
                folder.pending += 1;
            }
        }
        let job = Job::new(index, download, task, holds, server);
        let id = self.jobs.add(job);
        self.look(id);
    }

    /// Whether nobody else wants the place of this.
    fn take_name(&mut self, download: &Download, task: &Task) -> Taking {
        match (&mut self.names, task) {
            (Some(names), Task::Fetch | Task::Link(..)) => names.take(download),
            (Some(names), Task::MakeFolder) => names.take_folder_of(download),
            (None, _) | (_, Task::FinishFolder(_) | Task::Sync) => Taking::First,
        }
    }

    /// What could not be made is not finished either.
    pub(super) fn forget_unmade(&mut self, task: &Task, holds: [Option<FolderId>; 2]) {
        if let (Task::MakeFolder, [_, Some(id)]) = (task, holds) {
            self.folders.remove(&id);
        }
    }

    /// A job that held folders is over.
    pub(super) fn release(&mut self, holds: [Option<FolderId>; 2]) {
        // The inner one first: that it is to be finished keeps the other waiting.
        for id in holds.into_iter().rev().flatten() {
            if let Some(folder) = self.folders.get_mut(&id) {
                folder.pending -= 1;
            }
            self.finish_folder(id);
        }
    }

    /// Gives a folder its attributes, if nothing changes it any more.
    fn finish_folder(&mut self, id: FolderId) {
        let is_ready = |folder: &FolderState| folder.is_complete && folder.pending == 0;
        if self.folders.get(&id).is_some_and(is_ready)
            && let Some(folder) = self.folders.remove(&id)
        {
            // With one source alone no place comes twice.
            match self.names {
                None => self.finish(folder),
                Some(_) => self.to_finish.add(folder),
            }
        }
    }

    fn finish(&mut self, folder: FolderState) {
        self.unsynced = Some(folder.download.clone());
        let task = Task::FinishFolder(folder.attributes);
        self.admit(folder.index, folder.download, task, [folder.parent, None]);
    }

    /// What is to be done when everything else is. True if there is nothing.
    pub(super) fn finish_all(&mut self) -> bool {
        let mut folders = self.to_finish.take();
        if self.is_over {
            // Why is said of one, not of each.
            self.to_finish = Unfinished::default();
            folders.truncate(1);
        }
        if !folders.is_empty() {
            folders.into_iter().for_each(|folder| self.finish(folder));
            return false;
        }
        match self.unsynced.take() {
            Some(download) if self.config.sync != SyncPolicy::Never => {
                self.admit(self.count, download, Task::Sync, [None, None]);
                false
            }
            Some(_) | None => true,
        }
    }
}

/// Connections to one server, unless the caller says how many.
const LANES_MAX: usize = 4;

//! A tree of a server, as it is listed, turned into what is wanted of it.

use std::collections::VecDeque;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use crate::client::batch::Limits;
use crate::client::preview::not_a_file;
use crate::client::question::refusal;
use crate::client::wanted::{FolderId, Wanted};
use crate::client::{ClientConfig, ClientError, Download, Event, Folder, ListedFile, Listing};
use crate::net::Address;
use crate::store::{FileName, leads_inside};
use crate::wire::{ErrorCode, ListEntry, ObjectKind, ResourcePath};

/// A tree to download: all that is listed in a folder of a server, folders and links too.
#[derive(Clone)]
pub struct Tree {
    /// The server.
    pub address: Address,
    /// The folder there. A file is taken as itself.
    pub path: ResourcePath,
    /// What is in the folders below, too.
    pub recursive: bool,
    /// The folder it goes below; it must exist, unless
    /// [`crate::client::ClientConfig::make_folders`].
    pub folder: PathBuf,
    /// The name it gets there; without one its contents go right into the folder.
    pub name: Option<FileName>,
    /// Which entries are wanted. A folder that is not is made nevertheless, when something in
    /// it is.
    pub select: Select,
    /// Symbolic links are passed over, and what has their names here stays.
    pub skips_links: bool,
    /// Some entries may not be selected. Then digests are asked for file by file, so that the server
    /// hashes none of those.
    pub is_filtered: bool,
}

/// Decides about an entry, by its path below the listed folder (empty if that is a file, and
/// is meant itself).
pub type Select = Arc<dyn Fn(&[u8], ObjectKind) -> bool + Send + Sync>;

impl Tree {
    /// A whole tree, to go right into a folder.
    pub fn all(address: Address, path: ResourcePath, folder: PathBuf) -> Tree {
        Tree {
            address,
            path,
            recursive: true,
            folder,
            name: None,
            select: Arc::new(|_path, _kind| true),
            skips_links: false,
            is_filtered: false,
        }
    }

    /// Whether something is compared with what is here, by its path below the listed folder.
    pub(super) fn selects(&self, below: &[u8], kind: ObjectKind) -> bool {
        let is_skipped = self.skips_links && kind == ObjectKind::Symlink;
        !is_skipped && (self.select)(below, kind)
    }

    /// A path of the server below the listed folder.
    pub(super) fn below<'p>(&self, path: &'p ResourcePath) -> &'p [u8] {
        let root = self.path.as_bytes();
        let below = path.as_bytes().strip_prefix(root).unwrap_or_default();
        below.strip_prefix(b"/").unwrap_or(below)
    }

    /// Of what is at a place: its path below the listed folder, and the one that it would have
    /// on the server; `None` if no server can have it, as it would be too long.
    pub(super) fn path_of<'p>(&self, place: &'p ResourcePath) -> (&'p [u8], Option<ResourcePath>) {
        let top = self.name.as_ref().map_or(0, |name| {
            // With the slash behind it.
            name.as_bytes().len() + 1
        });
        let below = place.as_bytes().get(top..).unwrap_or_default();
        let path = match self.path.as_bytes() {
            b"" => ResourcePath::parse(below),
            root => ResourcePath::parse(&[root, b"/", below].concat()),
        };
        (below, path.ok())
    }

    /// Where an entry goes, below the folder that the tree goes below.
    ///
    /// # Errors
    /// [`ClientError::LocalName`]: the path would be too long.
    pub(super) fn place(&self, path: &ResourcePath) -> Result<ResourcePath, ClientError> {
        let below = self.below(path);
        let top = self.name.as_ref().map(FileName::as_bytes);
        // What is listed as itself is a file, and keeps its name.
        let place = match (top, below) {
            (Some(top), b"") => top.to_vec(),
            (Some(top), below) => [top, b"/", below].concat(),
            (None, b"") => path.file_name().unwrap_or_default().to_vec(),
            (None, below) => below.to_vec(),
        };
        ResourcePath::parse(&place).map_err(|error| local_name(&error))
    }

    /// An entry as a download to its place.
    ///
    /// # Errors
    /// [`ClientError::LocalName`]: the path would be too long.
    pub(super) fn download(&self, path: &ResourcePath) -> Result<Download, ClientError> {
        let whole = self.place(path)?;
        let name = whole.file_name().unwrap_or_default();
        let name = FileName::parse(name).map_err(|error| local_name(&error))?;
        let (address, folder) = (self.address.clone(), self.folder.clone());
        Ok(Download {
            below: whole.parent().unwrap_or_else(ResourcePath::root),
            ..Download::new(address, path.clone(), folder, name)
        })
    }
}

/// What is wanted of a tree, in the order of the listing.
pub(super) struct TreeSource<'c> {
    tree: Tree,
    listing: Listing<'c>,
    /// Of the page at hand.
    entries: VecDeque<ListEntry<'static>>,
    /// The folders that the last entry is in.
    above: Vec<Above>,
    out: VecDeque<Wanted>,
    next_id: FolderId,
    /// How many entries the server has come upon and does not show.
    hidden: u64,
    limits: Limits,
    is_begun: bool,
    is_over: bool,
}

/// A folder on the way to an entry.
struct Above {
    entry: ListEntry<'static>,
    /// Its number, once it is wanted.
    id: Option<FolderId>,
    /// Why there is none, and nothing in it, here.
    failed: Option<ClientError>,
}

impl Above {
    fn new(entry: ListEntry<'static>) -> Above {
        Above {
            entry,
            id: None,
            failed: None,
        }
    }
}

impl<'c> TreeSource<'c> {
    /// `first_id`: numbers from here on are free.
    pub(super) fn new(
        tree: Tree,
        first_id: FolderId,
        limits: &Limits,
        config: &'c ClientConfig,
    ) -> Self {
        let folder = Folder {
            address: tree.address.clone(),
            path: tree.path.clone(),
            recursive: tree.recursive,
            digests: false,
        };
        TreeSource {
            tree,
            listing: Listing::new(folder, config).within(limits),
            entries: VecDeque::new(),
            above: Vec::new(),
            out: VecDeque::new(),
            next_id: first_id,
            hidden: 0,
            limits: limits.clone(),
            is_begun: false,
            is_over: false,
        }
    }

    /// Takes the next entry, or what follows from there being no more.
    fn step(&mut self) {
        let limits = &self.limits;
        let on_event = &mut |event: Event<'_>| limits.tell(&event);
        let is_begun = std::mem::replace(&mut self.is_begun, true);
        if !is_begun && self.tree.name.is_some() {
            // It is made with what it has at the server, be it empty.
            match self.listing.itself(on_event) {
                Ok(entry) if entry.kind == ObjectKind::Directory => {
                    self.take_folder(entry, true);
                }
                // Listed as itself.
                Ok(_) => {}
                Err(error) => self.break_off(error),
            }
            return;
        }
        let Some(entry) = self.entries.pop_front() else {
            match self.listing.next_page(on_event) {
                Ok(Some(page)) => {
                    self.hidden = self.hidden.saturating_add(page.hidden);
                    self.entries = page.entries.into();
                }
                Ok(None) => self.end(),
                Err(error) => self.break_off(error),
            }
            return;
        };
        while let Some(above) = self.above.last()
            && !entry.path.is_below(&above.entry.path)
        {
            self.leave();
        }
        let below = self.tree.below(&entry.path).to_vec();
        let is_selected = (self.tree.select)(&below, entry.kind);
        match entry.kind {
            _ if entry.error.is_some() && is_selected => self.take(entry),
            ObjectKind::Directory => self.take_folder(entry, is_selected),
            _ if is_selected => self.take(entry),
            _ => {}
        }
    }

    fn break_off(&mut self, error: ClientError) {
        self.fail(self.tree.path.clone(), error);
        self.end();
    }

    fn end(&mut self) {
        if self.hidden > 0 {
            self.out.push_back(Wanted::Hidden(self.hidden));
        }
        while !self.above.is_empty() {
            self.leave();
        }
        self.is_over = true;
    }

    /// The last folder is complete.
    fn leave(&mut self) {
        if let Some(Above { id: Some(id), .. }) = self.above.pop() {
            self.out.push_back(Wanted::Complete(id));
        }
    }

    /// All folders above are wanted.
    ///
    /// # Errors
    /// One of them cannot be here, nor anything in it.
    fn enter_all(&mut self) -> Result<(), ClientError> {
        let mut parent = None;
        for at in 0..self.above.len() {
            let Above { entry, id, failed } = &self.above[at];
            if let Some(error) = failed {
                return Err(error.clone());
            }
            if id.is_none() {
                let (path, mode, mtime) = (entry.path.clone(), entry.mode, entry.mtime);
                let download = self
                    .tree
                    .download(&path)
                    .inspect_err(|error| self.above[at].failed = Some(error.clone()))?;
                let id = self.next_id;
                self.next_id += 1;
                self.above[at].id = Some(id);
                self.out.push_back(Wanted::Folder {
                    id,
                    download,
                    parent,
                    mode,
                    mtime,
                });
            }
            parent = self.above[at].id;
        }
        Ok(())
    }

    /// A folder whose contents follow.
    fn take_folder(&mut self, entry: ListEntry<'static>, is_selected: bool) {
        let path = entry.path.clone();
        self.above.push(Above::new(entry));
        if is_selected && let Err(error) = self.enter_all() {
            self.fail(path, error);
        }
    }

    /// A file, a link, or what is neither.
    fn take(&mut self, entry: ListEntry<'static>) {
        if let Err(error) = self.enter_all() {
            return self.fail(entry.path, error);
        }
        if let Some(error) = &entry.error {
            return self.fail(entry.path, ClientError::CannotList(refusal(error)));
        }
        let mut download = match self.tree.download(&entry.path) {
            Ok(download) => download,
            Err(error) => return self.fail(entry.path, error),
        };
        let parent = self.above.last().and_then(|above| above.id);
        self.out.push_back(match (entry.kind, entry.target) {
            (ObjectKind::File, _) => {
                download.listed = Some(ListedFile {
                    total_size: entry.total_size,
                    md5: entry.md5,
                    mode: entry.mode,
                    mtime: entry.mtime,
                });
                Wanted::File { download, parent }
            }
            (ObjectKind::Symlink, Some(target))
                if !self.tree.skips_links && stays_inside(&download, &target) =>
            {
                Wanted::Link {
                    download,
                    parent,
                    target: target.into_owned(),
                    mtime: entry.mtime,
                }
            }
            // It was asked for by its name, not found in a folder.
            (ObjectKind::Other, _) if entry.path == self.tree.path => Wanted::Failed {
                address: self.tree.address.clone(),
                path: entry.path,
                error: not_a_file(ErrorCode::NotAFile).into(),
            },
            (kind, _) => Wanted::PassedOver {
                address: self.tree.address.clone(),
                path: entry.path,
                kind,
            },
        });
    }

    fn fail(&mut self, path: ResourcePath, error: ClientError) {
        let address = self.tree.address.clone();
        self.out.push_back(Wanted::Failed {
            address,
            path,
            error,
        });
    }
}

fn local_name(error: &dyn Error) -> ClientError {
    ClientError::LocalName(error.to_string())
}

/// Whatever the server says of it: a link never leads out of the folder that the tree goes
/// below.
fn stays_inside(download: &Download, target: &[u8]) -> bool {
    leads_inside(download.below.parts().count(), target)
}

impl Iterator for TreeSource<'_> {
    type Item = Wanted;

    fn next(&mut self) -> Option<Wanted> {
        loop {
            if let Some(wanted) = self.out.pop_front() {
                return Some(wanted);
            }
            if self.is_over {
                return None;
            }
            self.step();
        }
    }
}

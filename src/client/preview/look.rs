//! A look at the place of one thing that is wanted.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Change, Prospect};
use crate::client::batch::Limits;
use crate::client::batch::jobs::Wish;
use crate::client::batch::look::{Decision, look, replaceable};
use crate::client::wanted::Wanted;
use crate::client::{Action, ClientConfig, ClientError, Download, IfExists};
use crate::store::{DestinationTree, EntryKind, StageError, StagingDirectory, TargetInfo};
use crate::wire::{Md5Digest, ObjectKind, ResourcePath};

/// What was seen.
pub(super) enum Seen {
    /// There is nothing to tell of what is here.
    Nothing,
    /// What would be done.
    Known(Change),
    /// Its server is to be asked.
    Ask(Local),
    /// It would fail.
    Failed(ClientError),
}

/// What is here of a file.
pub(super) struct Local {
    have_md5: Option<Md5Digest>,
    partial: Option<(Md5Digest, u64)>,
    replaces: bool,
    replaced_bytes: Option<u64>,
    /// Why what has the name cannot be replaced.
    fixed: Option<StageError>,
    /// What has the name.
    occupant: EntryKind,
    ground: Arc<TargetInfo>,
}

impl Local {
    /// What would be done where only the server knows that it is a file.
    pub(super) fn decide_file(
        self,
        total_size: u64,
        md5: Option<Md5Digest>,
    ) -> Result<Change, ClientError> {
        if self.occupant == EntryKind::Directory {
            replaceable(self.occupant)?;
        }
        self.decide(total_size, md5)
    }

    /// What would be done where it has a folder; `None` if there is one.
    ///
    /// # Errors
    /// Something else has the name.
    pub(super) fn decide_folder(self, download: &Download) -> Result<Option<Change>, ClientError> {
        match self.occupant {
            EntryKind::Directory => Ok(None),
            EntryKind::Nothing => Ok(Some(Change::alone(Prospect::Folder, self.ground))),
            EntryKind::File | EntryKind::Link | EntryKind::Other | EntryKind::InUse => {
                let below = download.beside(&download.name);
                Err(ClientError::from(StageError::NotADirectory {
                    path: download.folder.join(OsStr::from_bytes(&below)),
                    what: "something else",
                }))
            }
        }
    }

    /// Whether the content that the server has makes a difference.
    pub(super) fn wants_digest(&self) -> bool {
        self.have_md5.is_some() || self.partial.is_some()
    }

    /// What would be done for a file of this size and, where that matters, digest.
    ///
    /// # Errors
    /// What has the name would have to be replaced and cannot be.
    pub(super) fn decide(
        self,
        total_size: u64,
        md5: Option<Md5Digest>,
    ) -> Result<Change, ClientError> {
        let is_same = self.have_md5.is_some() && self.have_md5 == md5;
        if let Some(error) = self.fixed.filter(|_| !is_same) {
            return Err(error.into());
        }
        let action = match self.partial {
            _ if is_same => Action::Identical,
            Some((content, from)) if Some(content) == md5 => Action::Resumed { from },
            _ => Action::Fetched,
        };
        Ok(Change {
            prospect: Prospect::Present {
                action,
                replaces: self.replaces && !is_same,
                total_size,
            },
            ground: self.ground,
            replaced_bytes: self.replaced_bytes.filter(|_| !is_same),
            md5,
        })
    }
}

/// The folders that everything goes below; none where it would be made.
#[derive(Default)]
pub(super) struct Trees {
    open: Mutex<HashMap<PathBuf, Option<Arc<DestinationTree>>>>,
    /// Folders that could not be looked into and will be opened up.
    locked: Mutex<BTreeSet<PathBuf>>,
}

impl Trees {
    fn open(
        &self,
        path: &Path,
        config: &ClientConfig,
    ) -> Result<Option<Arc<DestinationTree>>, ClientError> {
        let mut trees = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tree) = trees.get(path) {
            return Ok(tree.clone());
        }
        let tree = match DestinationTree::open(path, false) {
            Ok(tree) => Some(tree),
            Err(StageError::Directory { source, .. })
                if config.make_folders && source.kind() == ErrorKind::NotFound =>
            {
                None
            }
            Err(error) => return Err(error.into()),
        };
        Ok(trees.entry(path.to_owned()).or_insert(tree).clone())
    }

    fn note_locked(&self, ground: &TargetInfo) {
        if let Some(locked) = ground.locked() {
            let mut all = self.locked.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(locked.to_owned());
        }
    }

    pub(super) fn into_locked(self) -> BTreeSet<PathBuf> {
        self.locked
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that looks.
pub(super) struct Looker<'s> {
    trees: &'s Trees,
    /// What is in the way will be gone.
    has_way: bool,
    limits: &'s Limits,
    config: &'s ClientConfig,
    /// Where it looked last.
    last: Option<(Download, TargetDirectory)>,
}

/// A folder that something goes into, and what is known of it.
#[derive(Clone)]
struct TargetDirectory {
    /// None if it would be made.
    folder: Option<Arc<StagingDirectory>>,
    ground: Arc<TargetInfo>,
}

impl<'s> Looker<'s> {
    pub(super) fn new(
        trees: &'s Trees,
        has_way: bool,
        limits: &'s Limits,
        config: &'s ClientConfig,
    ) -> Looker<'s> {
        Looker {
            trees,
            has_way,
            limits,
            config,
            last: None,
        }
    }

    pub(super) fn look(&mut self, wanted: &Wanted) -> Result<Seen, ClientError> {
        match wanted {
            Wanted::File { download, .. } => self.file(download),
            Wanted::Link {
                download, target, ..
            } => self.link(download, target),
            Wanted::Folder { download, .. } => self.missing_folder(download),
            Wanted::Complete(_)
            | Wanted::Hidden(_)
            | Wanted::PassedOver { .. }
            | Wanted::Failed { .. } => Ok(Seen::Nothing),
        }
    }

    fn file(&mut self, download: &Download) -> Result<Seen, ClientError> {
        let TargetDirectory { folder, ground } = self.footing(download)?;
        let mut local = Local {
            have_md5: None,
            partial: None,
            replaces: false,
            replaced_bytes: None,
            fixed: None,
            occupant: EntryKind::Nothing,
            ground,
        };
        if let Some(folder) = folder {
            if download.or_folder {
                local.occupant = folder.entry_kind(&download.name)?;
            }
            let goes_on = |done, size| self.limits.may_read(&download.path, done, size);
            let looked = look(
                download,
                &folder,
                Wish::default(),
                None,
                u64::MAX,
                &goes_on,
                self.config,
            );
            match looked.map(Some).or_else(|error| self.as_missing(error))? {
                // All may be read here.
                None | Some(Decision::ReadsMuch | Decision::PassedOver(_)) => {}
                Some(Decision::Finished(placed)) if placed.action == Action::Skipped => {
                    return Ok(Seen::Known(Change::done(
                        Action::Skipped,
                        false,
                        local.ground,
                    )));
                }
                Some(Decision::Finished(placed)) => local.have_md5 = placed.md5,
                Some(Decision::Identical(existing)) => local.have_md5 = Some(existing.md5),
                Some(Decision::Ask {
                    to_ask, replaces, ..
                }) => {
                    let question = &to_ask.question;
                    let content = question.want_md5.filter(|_| question.offset > 0);
                    local.have_md5 = question.have.map(|(md5, _)| md5);
                    local.partial = content.map(|content| (content, question.offset));
                    local.replaces = replaces;
                    if replaces {
                        let looked = folder.look(&download.name)?;
                        local.replaced_bytes = looked.map(|looked| looked.size());
                        if EntryKind::of(looked.as_ref()) != EntryKind::Directory {
                            local.fixed = folder.check_replacing(&download.name).err();
                        }
                    }
                }
            }
        }
        // Of a list, the digest is a wish; of a listing it is what the server has.
        Ok(
            match download.listed.filter(|_| download.want_md5.is_none()) {
                Some(listed) if listed.md5.is_some() || !local.wants_digest() => {
                    Seen::Known(local.decide(listed.total_size, listed.md5)?)
                }
                Some(_) | None => Seen::Ask(local),
            },
        )
    }

    fn link(&mut self, download: &Download, target: &[u8]) -> Result<Seen, ClientError> {
        let TargetDirectory { folder, ground } = self.footing(download)?;
        if let Some(tree) = self.trees.open(&download.folder, self.config)?
            && !tree.leads_inside(&download.place()?, target)
        {
            let passed = Prospect::PassedOver(ObjectKind::Symlink);
            return Ok(Seen::Known(Change::alone(passed, ground)));
        }
        let Some(folder) = folder else {
            return Ok(Seen::Known(Change::done(Action::Link, false, ground)));
        };
        let is_same = folder
            .link_target(&download.name)?
            .is_some_and(|old| old == target);
        let occupant = folder.entry_kind(&download.name)?;
        let is_replaced = matches!(
            self.config.if_exists,
            IfExists::Update | IfExists::Overwrite
        );
        let is_taken = match replaceable(occupant) {
            Err(error) if is_replaced => self.as_missing(error.into())?.unwrap_or_default(),
            Ok(()) | Err(_) => occupant != EntryKind::Nothing,
        };
        Ok(Seen::Known(match self.config.if_exists {
            _ if is_same => Change::done(Action::Identical, false, ground),
            IfExists::Error if is_taken => return Err(StageError::Exists.into()),
            IfExists::Skip if is_taken => Change::done(Action::Skipped, false, ground),
            IfExists::Rename => Change::done(Action::Link, false, ground),
            _ => {
                folder.check_replacing(&download.name)?;
                Change::done(Action::Link, is_taken, ground)
            }
        }))
    }

    fn missing_folder(&mut self, download: &Download) -> Result<Seen, ClientError> {
        let place = download.place()?;
        if let Some(tree) = self.trees.open(&download.folder, self.config)? {
            let is_there = match tree.existing_directory(&place) {
                Ok(folder) => folder.is_some(),
                Err(error) => match tree.locked(&place) {
                    Some(locked) => locked == place,
                    None => self.as_missing(error.into())?.unwrap_or_default(),
                },
            };
            if is_there {
                return Ok(Seen::Nothing);
            }
        }
        let ground = self.footing(download)?.ground;
        Ok(Seen::Known(Change::alone(Prospect::Folder, ground)))
    }

    fn footing(&mut self, download: &Download) -> Result<TargetDirectory, ClientError> {
        if let Some((_, footing)) = self
            .last
            .as_ref()
            .filter(|(before, _)| before.goes_beside(download))
        {
            return Ok(footing.clone());
        }
        let (folder, ground) = match self.trees.open(&download.folder, self.config)? {
            Some(tree) => self.ground(&tree, &download.below)?,
            None => {
                let ground = TargetInfo::of_missing(&download.folder, &download.below)?;
                (None, ground)
            }
        };
        self.trees.note_locked(&ground);
        let ground = Arc::new(ground);
        let footing = TargetDirectory { folder, ground };
        self.last = Some((download.clone(), footing.clone()));
        Ok(footing)
    }
}

impl Looker<'_> {
    /// What is in the way of something is taken for nothing, if it will be gone.
    fn as_missing<T>(&self, error: ClientError) -> Result<Option<T>, ClientError> {
        match error.is_in_the_way() && self.has_way {
            true => Ok(None),
            false => Err(error),
        }
    }

    /// A folder and what is known of it, or of the innermost above it that is one.
    fn ground(
        &self,
        tree: &DestinationTree,
        folder: &ResourcePath,
    ) -> Result<(Option<Arc<StagingDirectory>>, TargetInfo), ClientError> {
        let mut found = tree.target_info(folder).map_err(ClientError::from);
        let mut above = folder.parent();
        while let Err(error) = found {
            let Some(at) = above else {
                return Err(error);
            };
            self.as_missing::<()>(error)?;
            found = tree
                .target_info(&at)
                .map(|(_, ground)| (None, ground))
                .map_err(ClientError::from);
            above = at.parent();
        }
        found
    }
}

//! A look at the place of one thing that is wanted.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::Prospect;
use crate::client::batch::Limits;
use crate::client::batch::jobs::Wish;
use crate::client::batch::look::{Decision, look};
use crate::client::wanted::Wanted;
use crate::client::{Action, ClientConfig, ClientError, Download, IfExists};
use crate::store::{DestinationTree, Ground, Occupant, StageError, StagingFolder};
use crate::wire::Md5Digest;

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

/// What would be done at a place.
pub(in crate::client) struct Change {
    pub(in crate::client) prospect: Prospect,
    pub(in crate::client) ground: Arc<Ground>,
    /// Bytes of the file that would be gone when the new one has its name.
    pub(in crate::client) replaced_bytes: Option<u64>,
    /// Of a file, if that is known.
    pub(in crate::client) md5: Option<Md5Digest>,
}

/// What is here of a file.
pub(super) struct Local {
    have_md5: Option<Md5Digest>,
    partial: Option<(Md5Digest, u64)>,
    replaces: bool,
    replaced_bytes: Option<u64>,
    ground: Arc<Ground>,
}

impl Local {
    /// Whether the content that the server has makes a difference.
    pub(super) fn wants_digest(&self) -> bool {
        self.have_md5.is_some() || self.partial.is_some()
    }

    /// What would be done for a file of this size and, where that matters, digest.
    pub(super) fn decide(self, total_size: u64, md5: Option<Md5Digest>) -> Change {
        let is_same = self.have_md5.is_some() && self.have_md5 == md5;
        let action = match self.partial {
            _ if is_same => Action::Identical,
            Some((content, from)) if Some(content) == md5 => Action::Resumed { from },
            _ => Action::Fetched,
        };
        Change {
            prospect: Prospect::Present {
                action,
                replaces: self.replaces && !is_same,
                total_size,
            },
            ground: self.ground,
            replaced_bytes: self.replaced_bytes.filter(|_| !is_same),
            md5,
        }
    }
}

/// The folders that everything goes below; none where it would be made.
#[derive(Default)]
pub(super) struct Trees(Mutex<HashMap<PathBuf, Option<Arc<DestinationTree>>>>);

impl Trees {
    fn open(
        &self,
        path: &Path,
        config: &ClientConfig,
    ) -> Result<Option<Arc<DestinationTree>>, ClientError> {
        let mut trees = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tree) = trees.get(path) {
            return Ok(tree.clone());
        }
        let tree = match DestinationTree::open(path, false) {
            Ok(tree) => Some(tree),
            Err(StageError::Folder { source, .. })
                if config.make_folders && source.kind() == ErrorKind::NotFound =>
            {
                None
            }
            Err(error) => return Err(error.into()),
        };
        Ok(trees.entry(path.to_owned()).or_insert(tree).clone())
    }
}

/// A thread that looks.
pub(super) struct Looker<'s> {
    trees: &'s Trees,
    limits: &'s Limits,
    config: &'s ClientConfig,
    /// Where it looked last.
    last: Option<(Download, Footing)>,
}

/// A folder that something goes into, and what is known of it.
#[derive(Clone)]
struct Footing {
    /// None if it would be made.
    folder: Option<Arc<StagingFolder>>,
    ground: Arc<Ground>,
}

impl<'s> Looker<'s> {
    pub(super) fn new(
        trees: &'s Trees,
        limits: &'s Limits,
        config: &'s ClientConfig,
    ) -> Looker<'s> {
        Looker {
            trees,
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
        let Footing { folder, ground } = self.footing(download)?;
        let mut local = Local {
            have_md5: None,
            partial: None,
            replaces: false,
            replaced_bytes: None,
            ground,
        };
        if let Some(folder) = folder {
            let goes_on = || self.limits.has_time();
            match look(
                download,
                &folder,
                Wish::default(),
                None,
                &goes_on,
                self.config,
            )? {
                Decision::Finished(placed) if placed.action == Action::Skipped => {
                    return Ok(Seen::Known(done(Action::Skipped, false, local.ground)));
                }
                Decision::Finished(placed) => local.have_md5 = placed.md5,
                Decision::Ask {
                    to_ask, replaces, ..
                } => {
                    let question = &to_ask.question;
                    let content = question.want_md5.filter(|_| question.offset > 0);
                    local.have_md5 = question.have_md5;
                    local.partial = content.map(|content| (content, question.offset));
                    local.replaces = replaces;
                    if replaces {
                        let looked = folder.look(&download.name)?;
                        local.replaced_bytes = looked.map(|looked| looked.size());
                    }
                }
            }
        }
        // Of a list, the digest is a wish; of a listing it is what the server has.
        Ok(
            match download.listed.filter(|_| download.want_md5.is_none()) {
                Some(listed) if listed.md5.is_some() || !local.wants_digest() => {
                    Seen::Known(local.decide(listed.total_size, listed.md5))
                }
                Some(_) | None => Seen::Ask(local),
            },
        )
    }

    fn link(&mut self, download: &Download, target: &[u8]) -> Result<Seen, ClientError> {
        let Footing { folder, ground } = self.footing(download)?;
        let Some(folder) = folder else {
            return Ok(Seen::Known(done(Action::Link, false, ground)));
        };
        let is_same = folder
            .link_target(&download.name)?
            .is_some_and(|old| old == target);
        let is_taken = !matches!(folder.occupant(&download.name)?, Occupant::Nothing);
        Ok(Seen::Known(match self.config.if_exists {
            _ if is_same => done(Action::Identical, false, ground),
            IfExists::Error if is_taken => return Err(StageError::Exists.into()),
            IfExists::Skip if is_taken => done(Action::Skipped, false, ground),
            policy => done(Action::Link, is_taken && policy != IfExists::Rename, ground),
        }))
    }

    fn missing_folder(&mut self, download: &Download) -> Result<Seen, ClientError> {
        let place = download.place()?;
        let tree = self.trees.open(&download.folder, self.config)?;
        if let Some(tree) = tree
            && tree.existing_folder(&place)?.is_some()
        {
            return Ok(Seen::Nothing);
        }
        Ok(Seen::Known(Change {
            prospect: Prospect::Folder,
            ground: self.footing(download)?.ground,
            replaced_bytes: None,
            md5: None,
        }))
    }

    fn footing(&mut self, download: &Download) -> Result<Footing, ClientError> {
        if let Some((_, footing)) = self
            .last
            .as_ref()
            .filter(|(before, _)| before.goes_beside(download))
        {
            return Ok(footing.clone());
        }
        let (folder, ground) = match self.trees.open(&download.folder, self.config)? {
            Some(tree) => tree.ground(&download.below)?,
            None => (None, Ground::of_missing(&download.folder)?),
        };
        let ground = Arc::new(ground);
        let footing = Footing { folder, ground };
        self.last = Some((download.clone(), footing.clone()));
        Ok(footing)
    }
}

/// What is done without a byte of a file.
fn done(action: Action, replaces: bool, ground: Arc<Ground>) -> Change {
    Change {
        prospect: Prospect::Present {
            action,
            replaces,
            total_size: 0,
        },
        ground,
        replaced_bytes: None,
        md5: None,
    }
}

//! What a download would do, found out without doing it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::client::batch::Limits;
use crate::client::batch::jobs::Wish;
use crate::client::batch::look::{Decision, look};
use crate::client::batch::twins::{Recent, TWIN_BYTES_MIN};
use crate::client::question::{await_header, refusal};
use crate::client::wanted::Wanted;
use crate::client::{
    Action, Batch, ClientConfig, ClientError, Download, IfExists, Item, ProtocolError,
    ServerRefusal, Session,
};
use crate::net::{Address, Deadline, Wait};
use crate::store::{DestinationTree, Occupant, StageError, StagingFolder};
use crate::wire::{self, Call, ErrorCode, Md5Digest, ObjectKind, ResponseHeader, StatRequest};

/// What a download would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prospect {
    /// What would be done for the file.
    pub action: Action,
    /// Something of its name is there and would be replaced.
    pub replaces: bool,
    /// Bytes of the file; 0 if it would be skipped.
    pub total_size: u64,
}

/// Looks at everything in turn, and tells what would become of it: asks the server about a file,
/// and for its digest where that decides; transfers, makes and changes nothing. Tries nothing
/// twice.
pub fn preview(
    batch: Batch<'_>,
    config: &ClientConfig,
    on_prospect: &mut dyn FnMut(Item<'_>, Result<Prospect, ClientError>),
) {
    let mut preview = Preview {
        config,
        whole: config
            .whole_timeout
            .map(|limit| Deadline::after(Instant::now(), Wait::Whole, limit)),
        trees: HashMap::new(),
        session: None,
        here: Recent::default(),
    };
    let mut index = 0;
    for wanted in batch.wanted(config, &Limits::new(config)) {
        let (address, path, prospect) = match wanted {
            Wanted::Complete(_) | Wanted::Hidden(_) => continue,
            Wanted::Folder { .. } | Wanted::PassedOver { .. } => {
                index += 1;
                continue;
            }
            Wanted::File { download, .. } => {
                let prospect = preview.file(&download);
                let prospect = prospect.map_err(|error| download.explain(error));
                (download.address, download.path, prospect)
            }
            Wanted::Link {
                download, target, ..
            } => {
                let prospect = preview.link(&download, &target);
                (download.address, download.path, prospect)
            }
            Wanted::Failed {
                address,
                path,
                error,
            } => (address, path, Err(error)),
        };
        let item = Item {
            index,
            address: &address,
            path: &path,
        };
        on_prospect(item, prospect);
        index += 1;
    }
}

struct Preview<'c> {
    config: &'c ClientConfig,
    whole: Option<Deadline>,
    /// The folders that everything goes below; none where it would be made.
    trees: HashMap<PathBuf, Option<Arc<DestinationTree>>>,
    /// With the server that was asked last.
    session: Option<(Address, Session)>,
    /// Sizes of contents that would be here.
    here: Recent<u64>,
}

/// What the folder says.
enum Local {
    Finished(Prospect),
    Ask {
        have_md5: Option<Md5Digest>,
        partial_bytes: Option<(Md5Digest, u64)>,
        replaces: bool,
    },
}

impl Preview<'_> {
    fn file(&mut self, download: &Download) -> Result<Prospect, ClientError> {
        let (mut prospect, md5) = self.alone(download)?;
        if prospect.total_size < TWIN_BYTES_MIN {
            return Ok(prospect);
        }
        let is_transferred = matches!(prospect.action, Action::Fetched | Action::Resumed { .. });
        if let Some(wanted) = download.wanted_md5().filter(|_| is_transferred)
            && self.here.get(wanted) == Some(&prospect.total_size)
        {
            prospect.action = Action::Linked;
        }
        if let Some(md5) = md5 {
            self.here.insert(md5, prospect.total_size);
        }
        Ok(prospect)
    }

    /// What would become of a file if there were no other, and its digest, if that is known.
    fn alone(&mut self, download: &Download) -> Result<(Prospect, Option<Md5Digest>), ClientError> {
        let (have_md5, partial_bytes, replaces) = match self.look(download)? {
            Local::Finished(prospect) => return Ok((prospect, None)),
            Local::Ask {
                have_md5,
                partial_bytes,
                replaces,
            } => (have_md5, partial_bytes, replaces),
        };
        let wants_digest = have_md5.is_some() || partial_bytes.is_some();
        let is_any_content = !wants_digest && download.want_md5.is_none();
        if let Some(listed) = download.listed.filter(|_| is_any_content) {
            let prospect = Prospect {
                action: Action::Fetched,
                replaces,
                total_size: listed.total_size,
            };
            return Ok((prospect, listed.md5));
        }
        let header = self.ask(download, wants_digest)?;
        if let (Some(wanted), Some(offered)) = (download.want_md5, header.md5)
            && wanted != offered
        {
            return Err(ClientError::OtherContent { wanted, offered });
        }
        let is_same = have_md5.is_some() && have_md5 == header.md5;
        let action = match partial_bytes {
            _ if is_same => Action::Identical,
            Some((content, from)) if Some(content) == header.md5 => Action::Resumed { from },
            _ => Action::Fetched,
        };
        let prospect = Prospect {
            action,
            replaces: replaces && !is_same,
            total_size: header.total_size,
        };
        Ok((prospect, header.md5))
    }

    fn link(&mut self, download: &Download, target: &[u8]) -> Result<Prospect, ClientError> {
        let Some(folder) = self.folder(download)? else {
            return Ok(done(Action::Link));
        };
        let is_same = folder
            .link_target(&download.name)?
            .is_some_and(|old| old == target);
        let is_taken = !matches!(folder.occupant(&download.name)?, Occupant::Nothing);
        Ok(match self.config.if_exists {
            _ if is_same => done(Action::Identical),
            IfExists::Error if is_taken => return Err(StageError::Exists.into()),
            IfExists::Skip if is_taken => done(Action::Skipped),
            policy => Prospect {
                replaces: is_taken && policy != IfExists::Rename,
                ..done(Action::Link)
            },
        })
    }

    fn look(&mut self, download: &Download) -> Result<Local, ClientError> {
        let Some(folder) = self.folder(download)? else {
            return Ok(Local::Ask {
                have_md5: None,
                partial_bytes: None,
                replaces: false,
            });
        };
        let wish = Wish::default();
        let decision = look(download, &folder, wish, None, self.config)?;
        Ok(match decision {
            Decision::Finished(placed) if placed.action == Action::Skipped => {
                Local::Finished(done(Action::Skipped))
            }
            // It has the digest that is wanted; the server is asked whether it has the file.
            Decision::Finished(placed) => Local::Ask {
                have_md5: placed.md5,
                partial_bytes: None,
                replaces: false,
            },
            Decision::Ask {
                to_ask, replaces, ..
            } => {
                let question = &to_ask.question;
                let content = question.want_md5.filter(|_| question.offset > 0);
                Local::Ask {
                    have_md5: question.have_md5,
                    partial_bytes: content.map(|content| (content, question.offset)),
                    replaces,
                }
            }
        })
    }

    /// The folder a file goes into, if it is there.
    fn folder(&mut self, download: &Download) -> Result<Option<Arc<StagingFolder>>, ClientError> {
        let tree = match self.trees.get(&download.folder) {
            Some(tree) => tree,
            None => {
                let tree = match DestinationTree::open(&download.folder, false) {
                    Ok(tree) => Some(tree),
                    Err(StageError::Folder { source, .. })
                        if self.config.make_folders
                            && source.kind() == std::io::ErrorKind::NotFound =>
                    {
                        None
                    }
                    Err(error) => return Err(error.into()),
                };
                self.trees.entry(download.folder.clone()).or_insert(tree)
            }
        };
        match tree {
            Some(tree) => Ok(tree.existing_folder(&download.below)?),
            None => Ok(None),
        }
    }

    /// What the server says of a file, which is one.
    fn ask(
        &mut self,
        download: &Download,
        wants_digest: bool,
    ) -> Result<ResponseHeader<'static>, ClientError> {
        let open = self.session.take();
        let (address, mut session) = match open.filter(|(address, _)| *address == download.address)
        {
            Some(open) => open,
            None => {
                let session = Session::connect(&download.address, self.config, self.whole)?;
                (download.address.clone(), session)
            }
        };
        let header = ask(download, wants_digest, &mut session)?;
        self.session = Some((address, session));
        if let Some(error) = &header.error {
            return Err(refusal(error).into());
        }
        match header.kind {
            Some(ObjectKind::File) => Ok(header),
            Some(ObjectKind::Directory) => Err(not_a_file(ErrorCode::IsDirectory).into()),
            _ => Err(not_a_file(ErrorCode::NotAFile).into()),
        }
    }
}

fn ask(
    download: &Download,
    digest: bool,
    session: &mut Session,
) -> Result<ResponseHeader<'static>, ClientError> {
    let stat = StatRequest {
        path: download.path.clone(),
        digest: digest || download.want_md5.is_some(),
        fresh: false,
        progress: true,
    };
    let call = Call {
        action: wire::Action::Stat(stat),
        id: None,
    };
    session.sending.send(&call)?;
    session.sending.flush()?;
    let header = await_header(&download.path, &mut session.receiving, |_, _| {})?;
    match header.bytes_that_follow() {
        0 => Ok(header),
        bytes => Err(ProtocolError::UnexpectedBody(bytes).into()),
    }
}

pub(super) fn not_a_file(code: ErrorCode) -> ServerRefusal {
    ServerRefusal {
        code: Some(code),
        spelling: code.as_str().to_owned(),
        message: "name stands for no file".to_owned(),
        retry_after: None,
    }
}

fn done(action: Action) -> Prospect {
    Prospect {
        action,
        replaces: false,
        total_size: 0,
    }
}

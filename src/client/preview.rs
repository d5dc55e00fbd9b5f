//! What a download would do, found out without doing it.

use std::sync::Arc;
use std::time::Instant;

use crate::client::batch::jobs::Wish;
use crate::client::batch::look::{Decision, look as look_at};
use crate::client::follow::HASH_BUFFER_BYTES;
use crate::client::question::{await_header, refusal};
use crate::client::{
    Action, ClientConfig, ClientError, Download, ProtocolError, ServerRefusal, Session,
};
use crate::net::{Deadline, Wait};
use crate::store::{StageError, StagingFolder};
use crate::wire::{self, Call, ErrorCode, Md5Digest, ObjectKind, ResponseHeader, StatRequest};

/// What a download would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prospect {
    /// What would be done for the file.
    pub action: Action,
    /// Something of its name is there and would be replaced.
    pub replaces: bool,
    /// Bytes of the file; 0 if it would be skipped.
    pub total_size: u64,
}

/// Looks at each download in turn: asks the server about the file, and for its digest where that
/// decides; transfers, makes and changes nothing. Tries nothing twice.
pub fn preview(
    downloads: &[Download],
    config: &ClientConfig,
) -> Vec<Result<Prospect, ClientError>> {
    let whole = config
        .whole_timeout
        .map(|limit| Deadline::after(Instant::now(), Wait::Whole, limit));
    let mut session: Option<Session> = None;
    let mut last = None;
    let mut buffer = vec![0; HASH_BUFFER_BYTES];
    let mut prospects = Vec::with_capacity(downloads.len());
    for download in downloads {
        if last.replace(&download.address) != Some(&download.address) {
            session = None;
        }
        let prospect = look(download, config, &mut buffer).and_then(|local| {
            let Local::Ask {
                have_md5,
                partial_bytes,
                replaces,
            } = local
            else {
                return Ok(SKIPPED);
            };
            let mut open = match session.take() {
                Some(open) => open,
                None => Session::connect(&download.address, config, whole)?,
            };
            let wants_digest = have_md5.is_some() || partial_bytes.is_some();
            let header = ask(download, wants_digest, &mut open)?;
            session = Some(open);
            if let Some(error) = &header.error {
                return Err(refusal(error).into());
            }
            if header.kind != Some(ObjectKind::File) {
                let code = match header.kind {
                    Some(ObjectKind::Directory) => ErrorCode::IsDirectory,
                    _ => ErrorCode::NotAFile,
                };
                return Err(not_a_file(code).into());
            }
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
            Ok(Prospect {
                action,
                replaces: replaces && !is_same,
                total_size: header.total_size,
            })
        });
        prospects.push(prospect);
    }
    prospects
}

/// What the folder says.
enum Local {
    Skip,
    Ask {
        have_md5: Option<Md5Digest>,
        partial_bytes: Option<(Md5Digest, u64)>,
        replaces: bool,
    },
}

fn look(
    download: &Download,
    config: &ClientConfig,
    buffer: &mut [u8],
) -> Result<Local, ClientError> {
    let folder: Arc<StagingFolder> = match StagingFolder::open(&download.folder) {
        Ok(folder) => folder,
        Err(StageError::Folder { source, .. })
            if config.make_folders && source.kind() == std::io::ErrorKind::NotFound =>
        {
            return Ok(Local::Ask {
                have_md5: None,
                partial_bytes: None,
                replaces: false,
            });
        }
        Err(error) => return Err(error.into()),
    };
    let wish = Wish::default();
    Ok(
        match look_at(download, &folder, wish, None, config, buffer)? {
            Decision::Finished(placed) if placed.action == Action::Skipped => Local::Skip,
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
        },
    )
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

fn not_a_file(code: ErrorCode) -> ServerRefusal {
    ServerRefusal {
        code: Some(code),
        spelling: code.as_str().to_owned(),
        message: "name stands for no file".to_owned(),
        retry_after: None,
    }
}

const SKIPPED: Prospect = Prospect {
    action: Action::Skipped,
    replaces: false,
    total_size: 0,
};

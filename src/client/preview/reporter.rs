//! The thread that tells what would be done, in order, and asks servers where it has to.

use std::collections::{BTreeMap, VecDeque};

use crossbeam_channel::{Receiver, TryRecvError};

use super::Change;
use super::look::{Local, Seen};
use super::room::Rooms;
use super::{Outlook, Place, Prospect, not_a_file};
use crate::client::asking::Asking;
use crate::client::batch::Limits;
use crate::client::batch::budget::Share;
use crate::client::batch::names::{Names, Taking};
use crate::client::batch::twins::{Recent, TWIN_BYTES_MIN};
use crate::client::question::refusal;
use crate::client::wanted::Wanted;
use crate::client::{Action, ClientConfig, ClientError, Download, Item};
use crate::net::Address;
use crate::wire::{ErrorCode, ObjectKind, ResourcePath, ResponseHeader, StatRequest};

pub(super) struct PreviewReporter<'c, 'e> {
    config: &'c ClientConfig,
    limits: &'c Limits,
    on_prospect: &'e mut dyn FnMut(Item<'_>, Result<Prospect, ClientError>),
    /// None if everything comes out of one listing, in which nothing comes twice.
    names: Option<Names>,
    /// Of the next thing.
    index: usize,
    pending: VecDeque<Pending>,
    /// With the server that was asked last.
    asking: Option<Asking<'c>>,
    /// A server that does not answer, and why.
    lost: Option<(Address, ClientError)>,
    hidden: u64,
    /// Sizes of contents that would be here.
    here: Recent<u64>,
    rooms: Rooms,
}

/// What is not told yet.
struct Pending {
    index: usize,
    wanted: Wanted,
    ending: Ending,
    _share: Share,
}

enum Ending {
    Known(Result<Change, ClientError>),
    PassedOver(ObjectKind),
    /// The server was asked.
    Asked(Local),
}

impl<'c, 'e> PreviewReporter<'c, 'e> {
    pub(super) fn new(
        names: Option<Names>,
        first_index: usize,
        config: &'c ClientConfig,
        limits: &'c Limits,
        on_prospect: &'e mut dyn FnMut(Item<'_>, Result<Prospect, ClientError>),
    ) -> Self {
        PreviewReporter {
            config,
            limits,
            on_prospect,
            names,
            index: first_index,
            pending: VecDeque::new(),
            asking: None,
            lost: None,
            hidden: 0,
            here: Recent::default(),
            rooms: Rooms::default(),
        }
    }

    /// Tells everything.
    pub(super) fn run(mut self, looked: &Receiver<Place<Seen>>) -> Outlook {
        let (mut early, mut next) = (BTreeMap::new(), 0);
        loop {
            let place = if self.pending.is_empty() {
                looked.recv().map_err(|_| TryRecvError::Disconnected)
            } else {
                looked.try_recv()
            };
            match place {
                Ok(place) => {
                    early.insert(place.number, place);
                    while let Some(place) = early.remove(&next) {
                        next += 1;
                        self.take(place);
                    }
                }
                // While an answer comes more is looked at.
                Err(TryRecvError::Empty) => self.tell_first(),
                Err(TryRecvError::Disconnected) => break,
            }
        }
        self.tell_all();
        Outlook {
            hidden: self.hidden,
            rooms: self.rooms.sum_up(),
            ..Outlook::default()
        }
    }

    fn take(&mut self, place: Place<Seen>) {
        let Place {
            wanted,
            seen,
            share,
            ..
        } = place;
        match wanted {
            Wanted::Complete(_) => return,
            Wanted::Hidden(entries) => {
                self.hidden = self.hidden.saturating_add(entries);
                return;
            }
            _ => {}
        }
        let index = self.index;
        self.index += 1;
        let taking = self.take_name(&wanted);
        let ending = match (&wanted, seen) {
            (Wanted::Failed { error, .. }, _) => Ending::Known(Err(error.clone())),
            (Wanted::PassedOver { kind, .. }, _) => Ending::PassedOver(*kind),
            (_, Seen::Nothing) if taking != Taking::Conflict => return,
            _ if taking == Taking::Again => return,
            (wanted, _) if taking == Taking::Conflict => {
                let Some(download) = download(wanted) else {
                    return;
                };
                Ending::Known(Err(ClientError::SameName(download.beside(&download.name))))
            }
            (_, Seen::Nothing) => return,
            (_, Seen::Known(change)) => Ending::Known(Ok(change)),
            (_, Seen::Failed(error)) => Ending::Known(Err(error)),
            (wanted, Seen::Ask(local)) => match download(wanted) {
                Some(download) => self.ask(download, local),
                None => return,
            },
        };
        self.pending.push_back(Pending {
            index,
            wanted,
            ending,
            _share: share,
        });
        let is_asked = |first: &Pending| matches!(first.ending, Ending::Asked(_));
        while self.pending.front().is_some_and(|first| !is_asked(first)) {
            self.tell_first();
        }
        if self
            .asking
            .as_ref()
            .is_some_and(|asking| !asking.has_room())
        {
            self.tell_first();
        }
    }

    /// Whether nobody else wants the place of this.
    fn take_name(&mut self, wanted: &Wanted) -> Taking {
        let (Some(names), Some(download)) = (&mut self.names, download(wanted)) else {
            return Taking::First;
        };
        match wanted {
            Wanted::Folder { .. } => names.take_folder_of(download),
            _ => names.take(download),
        }
    }

    fn ask(&mut self, download: &Download, local: Local) -> Ending {
        let is_lost = |(address, _): &&(Address, _)| *address == download.address;
        if let Some((_, error)) = self.lost.as_ref().filter(is_lost) {
            return Ending::Known(Err(error.clone()));
        }
        let is_other = |asking: &Asking<'_>| asking.address != download.address;
        if self.asking.as_ref().is_some_and(is_other) {
            self.tell_all();
            self.asking = None;
        }
        let (config, limits) = (self.config, self.limits);
        let asking = self
            .asking
            .get_or_insert_with(|| Asking::new(download.address.clone(), config).within(limits));
        asking.ask(StatRequest {
            path: download.path.clone(),
            digest: local.wants_digest() || download.want_md5.is_some(),
            fresh: false,
            progress: true,
        });
        Ending::Asked(local)
    }

    fn tell_all(&mut self) {
        while !self.pending.is_empty() {
            self.tell_first();
        }
    }

    fn tell_first(&mut self) {
        let Some(first) = self.pending.pop_front() else {
            return;
        };
        let Pending {
            index,
            wanted,
            ending,
            ..
        } = first;
        let outcome = match ending {
            Ending::PassedOver(kind) => Ok(Prospect::PassedOver(kind)),
            Ending::Known(outcome) => outcome.and_then(|change| self.admit(&wanted, change)),
            Ending::Asked(local) => match self.answer(&wanted, local) {
                Ok(None) => return,
                Ok(Some(change)) => self.admit(&wanted, change),
                Err(error) => Err(error),
            },
        };
        let outcome = outcome.map_err(|error| match download(&wanted) {
            Some(download) => download.explain(error),
            None => error,
        });
        if let Some((address, path)) = source(&wanted) {
            let here = download(&wanted).map(Download::at);
            let item = Item {
                index,
                address,
                path,
                here: here.as_deref(),
            };
            (self.on_prospect)(item, outcome);
        }
    }

    /// The answer to the first question; `None` if there is nothing to be done.
    fn answer(&mut self, wanted: &Wanted, local: Local) -> Result<Option<Change>, ClientError> {
        let (Some(download), Some(asking)) = (download(wanted), &mut self.asking) else {
            return Err(ClientError::OutOfTime);
        };
        let limits = self.limits;
        match asking.answer(&mut |event| limits.tell(&event)) {
            Ok(header) => judge(download, &header, local),
            Err(error) => {
                for other in &mut self.pending {
                    if let Ending::Asked(_) = other.ending {
                        other.ending = Ending::Known(Err(error.clone()));
                    }
                }
                self.asking = None;
                self.lost = Some((download.address.clone(), error.clone()));
                Err(error)
            }
        }
    }

    /// Whether what would be done can be done, as far as can be seen.
    fn admit(&mut self, wanted: &Wanted, mut change: Change) -> Result<Prospect, ClientError> {
        if let Some(download) = download(wanted) {
            self.find_twin(download, &mut change);
        }
        let is_done = match change.prospect {
            Prospect::Present { action, .. } => {
                matches!(action, Action::Identical | Action::Skipped)
            }
            Prospect::Folder => false,
            Prospect::PassedOver(_) => true,
        };
        if let (Some(download), false) = (download(wanted), is_done) {
            change.ground.admit(&download.name)?;
            self.rooms.take(&change, &download.at())?;
        }
        Ok(change.prospect)
    }

    /// A content that would be here by then is copied.
    fn find_twin(&mut self, download: &Download, change: &mut Change) {
        let Prospect::Present {
            action, total_size, ..
        } = &mut change.prospect
        else {
            return;
        };
        if *total_size < TWIN_BYTES_MIN {
            return;
        }
        let is_transferred = matches!(action, Action::Fetched | Action::Resumed { .. });
        if let Some(wanted) = download.wanted_md5().filter(|_| is_transferred)
            && self.here.get(wanted) == Some(total_size)
        {
            *action = Action::Linked;
        }
        if let Some(md5) = change.md5 {
            self.here.insert(md5, *total_size);
        }
    }
}

/// What a server said of a file, which is one.
fn judge(
    download: &Download,
    header: &ResponseHeader<'_>,
    local: Local,
) -> Result<Option<Change>, ClientError> {
    if let Some(error) = &header.error {
        return Err(refusal(error).into());
    }
    match header.kind {
        Some(ObjectKind::File) => {}
        Some(ObjectKind::Directory) if download.or_folder => return local.decide_folder(download),
        Some(ObjectKind::Directory) => return Err(not_a_file(ErrorCode::IsDirectory).into()),
        _ => return Err(not_a_file(ErrorCode::NotAFile).into()),
    }
    if let (Some(wanted), Some(offered)) = (download.want_md5, header.md5)
        && wanted != offered
    {
        return Err(ClientError::OtherContent { wanted, offered });
    }
    local.decide_file(header.total_size, header.md5).map(Some)
}

fn download(wanted: &Wanted) -> Option<&Download> {
    match wanted {
        Wanted::File { download, .. }
        | Wanted::Link { download, .. }
        | Wanted::Folder { download, .. } => Some(download),
        Wanted::Complete(_)
        | Wanted::Hidden(_)
        | Wanted::PassedOver { .. }
        | Wanted::Failed { .. } => None,
    }
}

/// What of which server it is.
fn source(wanted: &Wanted) -> Option<(&Address, &ResourcePath)> {
    match wanted {
        Wanted::PassedOver { address, path, .. } | Wanted::Failed { address, path, .. } => {
            Some((address, path))
        }
        other => download(other).map(|download| (&download.address, &download.path)),
    }
}

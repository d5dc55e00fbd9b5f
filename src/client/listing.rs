//! Listing a folder: page after page over one connection, the next asked for while the last is
//! read, with everything checked that a server could get wrong.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::agreement::{Request, check_entry};
use crate::client::batch::Limits;
use crate::client::question::{await_digests, await_header, refusal};
use crate::client::receive::read_small;
use crate::client::retry::{Attempts, Verdict, judge};
use crate::client::{
    ClientConfig, ClientError, Event, ProtocolError, ReceivingHalf, ServerRefusal, Session,
    SessionError,
};
use crate::digest::Md5Stream;
use crate::net::{Address, Deadline, Rate, Wait};
use crate::wire::{
    Action, Call, ErrorCode, LIST_ENTRIES_MAX, ListEntry, ListRequest, ObjectKind, ResourcePath,
    ResponseHeader, StatRequest,
};

/// What to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// The server.
    pub address: Address,
    /// The folder; may be the root. A file is listed as itself.
    pub path: ResourcePath,
    /// What is in the folders below, too.
    pub recursive: bool,
    /// Wait for the md5 of every file; otherwise they come where they are known.
    pub digests: bool,
}

/// A listing that is under way: an iterator over its pages, which ends after the first error.
/// Entries ascend over all pages; each lies in the folder, or if that is wanted in one that was
/// listed before it. It holds at most two pages.
pub struct Listing<'c> {
    folder: Folder,
    config: &'c ClientConfig,
    attempts: Attempts<'c>,
    session: Option<Session>,
    /// Where the next page begins.
    after: Option<String>,
    /// A request for it was sent.
    is_asked: bool,
    last: Option<ResourcePath>,
    /// The folder, and those that were listed from there down to the last entry.
    open: Vec<ResourcePath>,
    /// When there must have been an entry.
    until: Deadline,
    is_over: bool,
    rate: Option<Arc<Rate>>,
    /// When the last page was given out.
    left_at: Instant,
}

/// One page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Its entries, in order.
    pub entries: Vec<ListEntry<'static>>,
    /// How many entries the server has come upon here and does not show.
    pub hidden: u64,
    /// The server shows no name that begins with a dot, whether it has any here or not.
    pub hides_names: bool,
}

impl<'c> Listing<'c> {
    /// Begins a listing; nothing is asked before [`Listing::next_page`].
    pub fn new(folder: Folder, config: &'c ClientConfig) -> Listing<'c> {
        let now = Instant::now();
        Listing {
            open: vec![folder.path.clone()],
            folder,
            config,
            attempts: Attempts::begin(config, now),
            session: None,
            after: None,
            is_asked: false,
            last: None,
            until: Deadline::after(now, Wait::ListEntry, config.progress_timeout),
            is_over: false,
            rate: config.rate.map(Rate::new),
            left_at: now,
        }
    }

    /// Keeps to what a whole batch keeps to.
    pub(super) fn within(mut self, limits: &Limits) -> Listing<'c> {
        self.attempts.whole = limits.whole;
        self.rate.clone_from(&limits.rate);
        self
    }

    /// What the folder itself is, which its pages do not tell. To be asked before the first of
    /// them; tried again as they are.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn itself(
        &mut self,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<ListEntry<'static>, ClientError> {
        self.persist(Listing::ask_itself, on_event)
    }

    /// The next page; `None` after the last. Failures that may pass are tried again, each of
    /// which `on_event` hears of.
    ///
    /// # Errors
    /// [`ClientError`]. What comes after it is not known.
    pub fn next_page(
        &mut self,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Option<Page>, ClientError> {
        if self.is_over {
            return Ok(None);
        }
        let away = self.left_at.elapsed();
        // Time in which nobody wanted a page is not the server's.
        self.until.at += away;
        if away > IDLE_TIME_MAX {
            // It may have dropped a reader that did not read.
            (self.session, self.is_asked) = (None, false);
        }
        let page = self.persist(Listing::attempt, on_event);
        self.left_at = Instant::now();
        page.map(Some)
    }

    fn persist<T>(
        &mut self,
        attempt: impl Fn(&mut Self) -> Result<T, ClientError>,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<T, ClientError> {
        let mut progress = true;
        loop {
            let error = match attempt(self) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            (self.session, self.is_asked) = (None, false);
            let retry_after = match judge(&error, false, false) {
                // The page is made anew whenever it is asked for.
                Verdict::AskFresh => None,
                Verdict::MayPass(retry_after) => retry_after,
                Verdict::AskWhole | Verdict::Final => {
                    self.is_over = true;
                    return Err(error);
                }
            };
            self.attempts
                .pause_after(error, retry_after, progress, on_event)
                .inspect_err(|_| self.is_over = true)?;
            progress = false;
        }
    }

    fn session(&mut self) -> Result<Session, ClientError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => {
                let whole = self.attempts.whole;
                let mut session = Session::connect(&self.folder.address, self.config, whole)?;
                session.receiving.keep_to(self.rate.clone());
                session
            }
        };
        self.attempts.reach();
        Ok(session)
    }

    fn ask_itself(&mut self) -> Result<ListEntry<'static>, ClientError> {
        let mut session = self.session()?;
        let header = self.stat(&mut session)?;
        if let Some(error) = &header.error {
            return Err(refusal(error).into());
        }
        self.session = Some(session);
        // Who does not say what it is has answered for a file.
        let kind = header.kind.unwrap_or(ObjectKind::File);
        Ok(self.entry(&header, kind))
    }

    fn attempt(&mut self) -> Result<Page, ClientError> {
        let mut session = self.session()?;
        if !self.is_asked {
            self.ask(&mut session)?;
        }
        let receiving = &mut session.receiving;
        let files_max = LIST_ENTRIES_MAX;
        let request = Request::List {
            path: &self.folder.path,
            recursive: self.folder.recursive,
            after: self.after.as_deref(),
        };
        let header = await_digests(request, files_max, receiving, |_, _| {})?;
        if let Some(error) = &header.error {
            let refusal = refusal(error);
            if refusal.code == Some(ErrorCode::NotADirectory) && self.after.is_none() {
                return self.list_file(&mut session, refusal);
            }
            return Err(refusal.into());
        }
        let next = header.next.as_deref().map(str::to_owned);
        let asked_after = std::mem::replace(&mut self.after, next);
        self.is_asked = self.after.is_some();
        if self.is_asked {
            // While this page is read the server makes the next one.
            self.ask(&mut session)?;
        }
        match self.read_page(&header, &mut session.receiving) {
            Ok(page) => {
                self.is_over = self.after.is_none();
                self.session = Some(session);
                Ok(page)
            }
            Err(error) => {
                self.after = asked_after;
                Err(error)
            }
        }
    }

    fn ask(&mut self, session: &mut Session) -> Result<(), ClientError> {
        let list = ListRequest {
            path: self.folder.path.clone(),
            recursive: self.folder.recursive,
            after: self.after.clone(),
            limit: LIST_ENTRIES_MAX,
            digest: self.folder.digests,
            progress: true,
        };
        send(session, Action::List(list))
    }

    fn read_page(
        &mut self,
        header: &ResponseHeader<'_>,
        receiving: &mut ReceivingHalf,
    ) -> Result<Page, ClientError> {
        let announced = header.md5.ok_or(ProtocolError::NoDigest)?;
        let bytes = header.bytes_that_follow();
        let body = read_small(receiving, bytes)?;
        let found = Md5Stream::digest(&body);
        if found != announced {
            return Err(ClientError::DigestMismatch { announced, found });
        }
        let mut entries: VecDeque<ListEntry<'static>> = VecDeque::new();
        // A page that fails is asked for again.
        let mut open = self.open.clone();
        let last_file = match &self.last {
            Some(last) if self.folder.recursive && open.last() != Some(last) => Some(last),
            Some(_) | None => None,
        };
        for line in body.split_inclusive(|&byte| byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let entry = ListEntry::parse(line).map_err(ProtocolError::from)?;
            check_entry(&entry)?;
            if last_file.is_some_and(|file| entry.path.is_below(file)) {
                // Between two pages it may have become a folder: what is in there came meanwhile.
                continue;
            }
            let last = match entries.back() {
                None => self.last.as_ref(),
                Some(ListEntry { path, .. }) => Some(path),
            };
            while open.len() > 1 && !entry.path.is_below(&open[open.len() - 1]) {
                open.pop();
            }
            let folder = &open[open.len() - 1];
            if !entry.path.is_child_of(folder) || last.is_some_and(|last| *last >= entry.path) {
                return Err(ProtocolError::MisplacedEntry {
                    folder: folder.clone(),
                    last: last.unwrap_or(folder).clone(),
                    found: entry.path,
                }
                .into());
            }
            if self.folder.recursive && entry.kind == ObjectKind::Directory {
                open.push(entry.path.clone());
            }
            entries.push_back(entry);
        }
        self.open = open;
        let now = Instant::now();
        let limit = self.config.progress_timeout;
        if let Some(last) = entries.back() {
            self.last = Some(last.path.clone());
            self.until = Deadline::after(now, Wait::ListEntry, limit);
        } else if self.until.is_over(now) {
            let wait = self.until.wait;
            return Err(SessionError::TimedOut { wait, limit }.into());
        }
        Ok(Page {
            entries: entries.into(),
            hidden: header.hidden.unwrap_or(0),
            hides_names: header.hidden.is_some(),
        })
    }

    /// It is no folder: if it is something else, that is all there is to list.
    fn list_file(
        &mut self,
        session: &mut Session,
        refusal: ServerRefusal,
    ) -> Result<Page, ClientError> {
        let header = self.stat(session)?;
        let kind = match (&header.error, header.kind) {
            (None, Some(kind)) if kind != ObjectKind::Directory => kind,
            _ => return Err(refusal.into()),
        };
        self.is_over = true;
        Ok(Page {
            entries: vec![self.entry(&header, kind)],
            hidden: 0,
            hides_names: false,
        })
    }

    fn stat(&self, session: &mut Session) -> Result<ResponseHeader<'static>, ClientError> {
        let path = &self.folder.path;
        let stat = StatRequest {
            path: path.clone(),
            digest: self.folder.digests,
            fresh: false,
            progress: true,
        };
        send(session, Action::Stat(stat))?;
        await_header(Request::Stat(path), &mut session.receiving, |_, _| {})
    }

    fn entry(&self, header: &ResponseHeader<'_>, kind: ObjectKind) -> ListEntry<'static> {
        ListEntry {
            path: self.folder.path.clone(),
            kind,
            total_size: header.total_size,
            md5: header.md5,
            mtime: header.mtime,
            mode: header.mode,
            target: None,
            error: None,
        }
    }
}

fn send(session: &mut Session, action: Action) -> Result<(), ClientError> {
    session.sending.send(&Call { action, id: None })?;
    session.sending.flush()
}

/// Far below what servers allow a reader that does not read.
const IDLE_TIME_MAX: Duration = Duration::from_secs(10);

//! One turn at one connection: requests are taken up, answered, and their bytes sent, as far as
//! that is possible without waiting.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::net::{Deadline, Peer, Stream, Wait};
use crate::server::handler::{Disposition, Ending, Interest, Rest, Turn};
use crate::server::transfer::body::Body;
use crate::server::transfer::hello::hello;
use crate::server::transfer::inbox::{Arrival, Inbox, Incoming, Input};
use crate::server::transfer::outbox::{Flow, Kept, Output};
use crate::server::transfer::patience::Patience;
use crate::server::transfer::reply::{HTTP_ANSWER, TLS_ANSWER, refuse, shutting_down};
use crate::server::transfer::{Outcome, Report, TransferHandler};
use crate::store::{Asker, DigestState, ObjectMeta, Store, Ticket};
use crate::wire::{
    Action, ErrorCode, GetRequest, Interim, ReceivedRequest, Refusal, RequestId, ResponseHeader,
};

/// What a connection remembers between turns.
pub struct Conversation<O> {
    peer: Peer,
    inbox: Inbox,
    kept: Option<Kept>,
    task: Task<O>,
    patience: Patience,
    /// The last answer was given, or will be when the task is done.
    closing: Option<Ending>,
}

/// What a worker has for the connection it works on.
pub struct Desk<O> {
    pub(super) input: Input,
    pub(super) output: Output<O>,
    pub(super) body: Box<[u8]>,
}

/// One turn.
pub(super) struct Exchange<'a, S: Store> {
    pub(super) handler: &'a TransferHandler<S>,
    pub(super) stream: &'a mut Stream,
    pub(super) state: &'a mut Conversation<S::Object>,
    pub(super) desk: &'a mut Desk<S::Object>,
    pub(super) turn: Turn<'a>,
    /// Bytes sent in this turn.
    pub(super) moved: u64,
    /// The peer has been silent for so long that text counts as ended.
    pub(super) silent: bool,
    /// The socket was empty at the last read.
    pub(super) drained: bool,
}

/// The request that is being answered.
enum Task<O> {
    None,
    /// `asked` is `None` if the answer's end was reported already.
    Send {
        asked: Option<Asked>,
        body: Body<O>,
        body_bytes: u64,
    },
    Await {
        asked: Asked,
        awaited: Box<Awaited<O>>,
    },
}

/// What of a request its answer echoes.
pub(super) struct Asked {
    pub(super) name: Vec<u8>,
    pub(super) id: Option<RequestId>,
    since: Instant,
}

/// How a verb answers.
pub(super) enum Reply<O> {
    /// All of it is in the output.
    Said { body_bytes: u64 },
    /// The header is in the output, the body is to be sent.
    Send(Body<O>),
    /// The digest is being made.
    Await(Box<Awaited<O>>),
}

/// A request that waits for a digest.
pub(super) struct Awaited<O> {
    ticket: Ticket,
    pub(super) object: Arc<O>,
    pub(super) meta: ObjectMeta,
    purpose: Purpose,
    /// When to say how far it is; `None` if nobody asked.
    next_progress: Option<Instant>,
}

/// What the digest is for.
pub(super) enum Purpose {
    Get(GetRequest),
    Stat,
}

impl<S: Store> Exchange<'_, S> {
    pub(super) fn run(mut self) -> Disposition {
        if self.turn.peer_gone {
            return self.lose_peer();
        }
        self.state.inbox.lay_out(&mut self.desk.input);
        self.desk.output.lay_out(self.state.kept.take());
        let disposition = loop {
            if let Some(disposition) = self.go_on() {
                break disposition;
            }
        };
        self.state.inbox.clear_away(&mut self.desk.input);
        self.state.kept = self.desk.output.clear_away(&self.handler.kept_bytes);
        disposition
    }

    /// Does the next thing; `None` if there may be more to do.
    fn go_on(&mut self) -> Option<Disposition> {
        if self.turn.is_over(self.moved) {
            return Some(Disposition::Again);
        }
        match mem::replace(&mut self.state.task, Task::None) {
            Task::None => self.take_up_next(),
            Task::Send {
                asked,
                body,
                body_bytes,
            } => self.send(asked, body, body_bytes),
            Task::Await { asked, awaited } => self.look_at_digest(asked, awaited),
        }
    }

    fn take_up_next(&mut self) -> Option<Disposition> {
        if self.desk.output.len() >= self.gather_bytes_max()
            && let Some(disposition) = self.flush()
        {
            return Some(disposition);
        }
        if self.state.closing.is_none()
            && let Some(incoming) = self.state.inbox.next(&mut self.desk.input, self.silent)
        {
            self.answer(incoming);
            return None;
        }
        // No complete request is left.
        if let Some(disposition) = self.flush() {
            return Some(disposition);
        }
        if let Some(ending) = self.state.closing {
            return Some(Disposition::Close(ending));
        }
        if self.state.inbox.ended {
            return Some(Disposition::Close(Ending::Answered));
        }
        if !self.drained {
            match self.state.inbox.read(self.stream, &mut self.desk.input) {
                Err(_) => return Some(Disposition::Close(Ending::Silent)),
                Ok(Arrival::Something) => {
                    // A short read emptied the socket: the next one would only say so.
                    self.drained = self.desk.input.has_room() && !self.state.inbox.ended;
                    self.silent = false;
                    return None;
                }
                Ok(Arrival::Nothing) => {}
            }
        }
        self.rest_for_input()
    }

    /// There is nothing to do before more input comes, unless that took too long already.
    fn rest_for_input(&mut self) -> Option<Disposition> {
        let now = self.turn.now;
        let (inbox, input) = (&mut self.state.inbox, &self.desk.input);
        if self.turn.draining {
            if input.rest().is_empty() {
                return Some(Disposition::Close(Ending::Silent));
            }
            self.refuse_and_close(&shutting_down());
            return None;
        }
        let mut until = inbox.deadline(input, &self.handler.limits, now);
        if let Some(silence) = inbox.silence(input, self.stream) {
            if silence.is_over(now) && !self.silent {
                self.silent = true;
                return None;
            }
            until = until.or_sooner(silence);
        }
        if until.is_over(now) {
            return match until.wait {
                Wait::RequestHeader => {
                    let message = format!("{} took too long", until.wait);
                    self.refuse_and_close(&Refusal::new(ErrorCode::Timeout, message));
                    None
                }
                _ => Some(Disposition::Close(Ending::Silent)),
            };
        }
        // Whoever has begun a request is given a moment to finish it.
        let grace = if until.wait == Wait::NextRequest {
            Duration::ZERO
        } else {
            EVICTION_GRACE
        };
        let evictable_from = Some(self.state.inbox.waiting_since(now) + grace);
        Some(Disposition::Park(Rest {
            interest: Interest::Readable,
            until,
            evictable_from,
        }))
    }

    fn answer(&mut self, incoming: Incoming) {
        let since = Instant::now();
        let nameless = Asked {
            name: Vec::new(),
            id: None,
            since,
        };
        match incoming {
            Incoming::Request(request) => self.answer_request(request, since),
            Incoming::LongName => {
                self.refuse(
                    nameless,
                    &Refusal::new(ErrorCode::BadName, "name is longer than 4096 bytes"),
                );
            }
            Incoming::BadFrame(reason) => {
                self.refuse(nameless, &Refusal::new(ErrorCode::BadFrame, reason))
            }
            Incoming::Http => self.answer_other_protocol(nameless, HTTP_ANSWER),
            Incoming::Tls => self.answer_other_protocol(nameless, TLS_ANSWER),
        }
    }

    fn answer_request(&mut self, request: ReceivedRequest, since: Instant) {
        let ReceivedRequest {
            name,
            id,
            body_size,
            action,
        } = request;
        let asked = Asked { name, id, since };
        if body_size > DROPPED_BODY_BYTES_MAX {
            self.state.closing = Some(Ending::Answered);
        } else if body_size > 0 {
            let limits = &self.handler.limits;
            let time =
                limits.header_timeout + Duration::from_secs(body_size / limits.min_rate.max(1));
            self.state
                .inbox
                .drop_body_by(Deadline::after(since, Wait::DroppedBody, time));
        }
        let reply = match action {
            // Said for each request that was read already; the connection ends when none is left.
            _ if self.turn.draining => return self.refuse_and_go_on(asked, &shutting_down()),
            Ok(Action::Get(get)) => self.get(&asked, get),
            Ok(Action::Stat(stat)) => self.stat(&asked, stat),
            Ok(Action::Hello) => {
                hello(&asked, self.desk.output.append());
                Ok(Reply::Said { body_bytes: 0 })
            }
            Err(refusal) => Err(refusal),
        };
        self.settle(asked, reply);
    }

    /// Takes note of what a verb did.
    fn settle(&mut self, asked: Asked, reply: Result<Reply<S::Object>, Refusal>) {
        match reply {
            Ok(Reply::Said { body_bytes }) => self.report(&asked, Outcome::Answered { body_bytes }),
            Ok(Reply::Send(body)) => {
                let body_bytes = body.end - body.position;
                self.state.task = Task::Send {
                    asked: Some(asked),
                    body,
                    body_bytes,
                };
            }
            Ok(Reply::Await(awaited)) => {
                // What is gathered is flushed while this task goes on, so no other may grow out of it.
                self.desk.output.append();
                self.state.task = Task::Await { asked, awaited };
            }
            Err(refusal) => self.refuse(asked, &refusal),
        }
    }

    fn refuse(&mut self, asked: Asked, refusal: &Refusal) {
        if refusal.code.closes() {
            self.state.closing = Some(Ending::Answered);
        }
        self.refuse_and_go_on(asked, refusal);
    }

    fn refuse_and_go_on(&mut self, asked: Asked, refusal: &Refusal) {
        refuse(
            &asked.name,
            asked.id.as_ref(),
            refusal,
            self.desk.output.append(),
        );
        self.report(&asked, Outcome::Refused(refusal.code));
    }

    /// Refuses a request that is not there whole.
    fn refuse_and_close(&mut self, refusal: &Refusal) {
        self.desk.input.clear();
        let nameless = Asked {
            name: Vec::new(),
            id: None,
            since: self.turn.now,
        };
        self.refuse(nameless, refusal);
    }

    fn answer_other_protocol(&mut self, asked: Asked, answer: &[u8]) {
        self.desk.output.append().extend_from_slice(answer);
        self.state.closing = Some(Ending::Answered);
        self.report(&asked, Outcome::OtherProtocol);
    }

    /// Sends on a body, its header first.
    fn send(
        &mut self,
        asked: Option<Asked>,
        mut body: Body<S::Object>,
        body_bytes: u64,
    ) -> Option<Disposition> {
        let Ok(Some(bytes)) = body.read(&mut self.desk.body) else {
            self.report_end(asked, Outcome::Abandoned);
            return Some(Disposition::Close(Ending::Abandoned));
        };
        let (gathered, step_bytes) = (self.desk.output.len(), bytes.len());
        let Ok(count) = self.desk.output.flush_with(self.stream, bytes) else {
            self.report_end(asked, Outcome::CutOff);
            return Some(Disposition::Close(Ending::Silent));
        };
        body.position += count.saturating_sub(gathered) as u64;
        self.sent(count);
        if body.is_done() {
            self.report_end(asked, Outcome::Answered { body_bytes });
            return None;
        }
        self.state.task = Task::Send {
            asked,
            body,
            body_bytes,
        };
        // The kernel took less than there was: it has no room left.
        (count < gathered + step_bytes).then(|| self.rest_for_reader())
    }

    /// Writes what is gathered. `Some` if that cannot be done now, or no more.
    fn flush(&mut self) -> Option<Disposition> {
        match self.desk.output.flush(self.stream) {
            Err(_) => Some(Disposition::Close(Ending::Silent)),
            Ok(Flow::Through(count)) => {
                self.sent(count);
                None
            }
            Ok(Flow::Blocked(count)) => {
                self.sent(count);
                if let Some(body) = self.desk.output.cut_tail() {
                    self.state.task = Task::Send {
                        asked: None,
                        body_bytes: body.end - body.position,
                        body,
                    };
                }
                Some(self.rest_for_reader())
            }
        }
    }

    fn sent(&mut self, count: usize) {
        if count > 0 {
            self.moved += count as u64;
            self.state
                .patience
                .moved(count, self.handler.limits.min_rate, Instant::now());
        }
    }

    /// The peer's window is full: it must read before anything else can happen.
    fn rest_for_reader(&mut self) -> Disposition {
        let (now, limits) = (Instant::now(), &self.handler.limits);
        self.state.patience.blocked(now);
        let until = self.state.patience.deadline(limits.idle_timeout, now);
        if until.is_over(now) {
            self.lose_task(Outcome::CutOff);
            return Disposition::Close(Ending::Abandoned);
        }
        let evictable_from = self
            .state
            .patience
            .deadline(limits.short_patience(), now)
            .at;
        Disposition::Park(Rest {
            interest: Interest::Writable,
            until,
            evictable_from: Some(evictable_from),
        })
    }

    fn look_at_digest(
        &mut self,
        asked: Asked,
        mut awaited: Box<Awaited<S::Object>>,
    ) -> Option<Disposition> {
        let now = Instant::now();
        match awaited.ticket.state(now) {
            DigestState::Ready(md5, stamp) => {
                let Awaited {
                    object,
                    meta,
                    purpose,
                    ..
                } = *awaited;
                let meta = ObjectMeta { stamp, ..meta };
                let reply = match purpose {
                    Purpose::Get(get) => self.begin_body(&asked, &get, object, &meta, md5),
                    Purpose::Stat => Ok(self.say_stat(&asked, &meta, Some(md5))),
                };
                self.settle(asked, reply);
                None
            }
            DigestState::Failed(refusal) => {
                self.refuse(asked, &refusal);
                None
            }
            DigestState::Waiting { done } => {
                if awaited.next_progress.is_some_and(|at| at <= now) {
                    awaited.next_progress = Some(now + PROGRESS_INTERVAL);
                    // A peer that does not read the last one needs no other.
                    if self.desk.output.is_empty() {
                        say_progress(&asked, &awaited.meta, done, self.desk.output.append());
                    }
                }
                let until = Deadline::after(now, Wait::Hashing, PROGRESS_INTERVAL);
                let blocked = self.flush();
                self.state.task = Task::Await { asked, awaited };
                let rest = Rest {
                    interest: Interest::Nothing,
                    until,
                    evictable_from: None,
                };
                Some(blocked.unwrap_or(Disposition::Park(rest)))
            }
        }
    }

    /// Asks for a digest, of which this connection is told.
    pub(super) fn await_digest(
        &mut self,
        object: Arc<S::Object>,
        meta: ObjectMeta,
        fresh: bool,
        progress: bool,
        purpose: Purpose,
    ) -> Reply<S::Object> {
        let waker = self.turn.waker();
        let asker = Asker {
            address: self.state.peer.address_key(),
            fresh,
            asked_at: Instant::now(),
            wake: Arc::new(move || waker.wake()),
        };
        let ticket = self
            .handler
            .catalog
            .digest(Arc::clone(&object), &meta, asker);
        let next_progress = progress.then(|| Instant::now() + PROGRESS_INTERVAL);
        Reply::Await(Box::new(Awaited {
            ticket,
            object,
            meta,
            purpose,
            next_progress,
        }))
    }

    /// Answers gathered before they are written.
    fn gather_bytes_max(&self) -> usize {
        let kept = self.handler.kept_bytes.load(Ordering::Relaxed);
        if kept < self.handler.limits.kept_bytes_max {
            GATHER_BYTES_MAX
        } else {
            1
        }
    }

    fn lose_peer(&mut self) -> Disposition {
        self.lose_task(Outcome::CutOff);
        Disposition::Close(Ending::Silent)
    }

    fn lose_task(&mut self, outcome: Outcome) {
        match mem::replace(&mut self.state.task, Task::None) {
            Task::None => {}
            Task::Send { asked, .. } => self.report_end(asked, outcome),
            Task::Await { asked, .. } => self.report(&asked, outcome),
        }
    }

    fn report_end(&mut self, asked: Option<Asked>, outcome: Outcome) {
        if let Some(asked) = asked {
            self.report(&asked, outcome);
        }
    }

    fn report(&mut self, asked: &Asked, outcome: Outcome) {
        let now = Instant::now();
        self.state.inbox.answered(now);
        if let Some(observer) = &self.handler.observer {
            let took = now.saturating_duration_since(asked.since);
            observer(&Report {
                peer: self.state.peer,
                name: &asked.name,
                outcome,
                took,
            });
        }
    }
}

impl<O> Conversation<O> {
    pub(super) fn new(peer: Peer, now: Instant) -> Conversation<O> {
        Conversation {
            peer,
            inbox: Inbox::new(now),
            kept: None,
            task: Task::None,
            patience: Patience::default(),
            closing: None,
        }
    }
}

impl<O> Desk<O> {
    pub(super) fn new() -> Desk<O> {
        Desk {
            input: Input::new(),
            output: Output::new(),
            body: vec![0; BODY_STEP_BYTES].into(),
        }
    }
}

/// Appends an interim header: how far the digest is.
fn say_progress(asked: &Asked, meta: &ObjectMeta, done: u64, output: &mut Vec<u8>) {
    let header = ResponseHeader {
        name: (&asked.name).into(),
        total_size: meta.size(),
        body_size: Some(0),
        id: asked.id.clone(),
        interim: Some(Interim {
            status: "hashing".into(),
            done,
        }),
        ..ResponseHeader::default()
    };
    header.encode(output);
}

/// A file up to this size is read whole; a longer one in steps of it.
pub(super) const BODY_STEP_BYTES: usize = 256 << 10;
/// Answers to pipelined requests share writes up to about this size.
const GATHER_BYTES_MAX: usize = 64 << 10;
const DROPPED_BODY_BYTES_MAX: u64 = 1 << 20;
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);
const EVICTION_GRACE: Duration = Duration::from_secs(1);

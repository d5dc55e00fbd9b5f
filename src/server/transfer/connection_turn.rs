//! One turn of one connection: reads requests, answers them and sends, as far as nothing blocks.

use std::mem;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::net::{Deadline, Stream, Wait, time_of};
use crate::server::handler::{Disposition, Ending, Interest, Parking, Turn};
use crate::server::transfer::connection_state::{
    ConnectionState, Reply, RequestInfo, Task, WorkerBuffers,
};
use crate::server::transfer::hello::hello;
use crate::server::transfer::inbox::{Incoming, ReadOutcome};
use crate::server::transfer::reply::{
    HTTP_ANSWER, TLS_ANSWER, busy, refuse, shutting_down, too_many_wait,
};
use crate::server::transfer::{Outcome, TransferHandler, TransferLimits};
use crate::store::Store;
use crate::wire::{Action, ErrorCode, ReceivedRequest, Refusal};

/// One turn of one connection.
pub(super) struct ConnectionTurn<'a, S: Store> {
    pub(super) handler: &'a TransferHandler<S>,
    /// The limits at the start of this turn.
    pub(super) limits: TransferLimits,
    pub(super) stream: &'a mut Stream,
    pub(super) state: &'a mut ConnectionState<S::Object>,
    pub(super) buffers: &'a mut WorkerBuffers<S::Object>,
    pub(super) turn: Turn<'a>,
    /// Bytes sent in this turn.
    pub(super) moved: u64,
    /// The peer has sent nothing for so long that the pending text counts as a complete line.
    pub(super) silent: bool,
    /// The last read emptied the socket.
    pub(super) socket_empty: bool,
}

impl<S: Store> ConnectionTurn<'_, S> {
    pub(super) fn run(mut self) -> Disposition {
        if self.turn.peer_gone {
            return self.close_for_lost_peer();
        }
        self.state.inbox.load(&mut self.buffers.input);
        self.buffers.output.load(self.state.kept.take());
        let disposition = loop {
            if let Some(disposition) = self.step() {
                break disposition;
            }
        };
        self.state
            .inbox
            .save(&mut self.buffers.input, &self.handler.read_ahead);
        self.state.kept = self.buffers.output.save(&self.handler.kept_bytes);
        disposition
    }

    /// Does one step. `None` means that there may be more to do.
    fn step(&mut self) -> Option<Disposition> {
        if self.turn.is_over(self.moved) {
            return Some(Disposition::Again);
        }
        match mem::replace(&mut self.state.task, Task::None) {
            Task::None => self.next_request(),
            Task::Send {
                info,
                body,
                body_bytes,
            } => self.send(info, body, body_bytes),
            Task::Await { info, pending } => self.poll_digest(info, pending),
            Task::Make { info, pending } => self.poll_body(info, pending),
        }
    }

    fn next_request(&mut self) -> Option<Disposition> {
        if self.buffers.output.len() >= self.gather_bytes_max()
            && let Some(disposition) = self.flush()
        {
            return Some(disposition);
        }
        if self.state.closing.is_none()
            && let Some(incoming) = self.state.inbox.next(&mut self.buffers.input, self.silent)
        {
            self.answer(incoming);
            return None;
        }
        // The input holds no further complete request.
        if let Some(disposition) = self.flush() {
            return Some(disposition);
        }
        if let Some(ending) = self.state.closing {
            return Some(Disposition::Close(ending));
        }
        if self.state.inbox.ended {
            return Some(Disposition::Close(Ending::Answered));
        }
        if !self.socket_empty {
            let Some(room) = self.read_ahead_room() else {
                self.refuse_and_close(&busy("too many requests are read ahead"));
                // The unread part of the request must not be parsed as a new request.
                self.state.closing = Some(Ending::Answered);
                return None;
            };
            match self
                .state
                .inbox
                .read(self.stream, &mut self.buffers.input, room)
            {
                Err(_) => return Some(Disposition::Close(Ending::Silent)),
                Ok(ReadOutcome::Received) => {
                    // A short read emptied the socket, so a further read would only return
                    // EAGAIN.
                    self.socket_empty = self.buffers.input.was_short && !self.state.inbox.ended;
                    self.silent = false;
                    return None;
                }
                Ok(ReadOutcome::WouldBlock) => {}
            }
        }
        self.park_for_input()
    }

    /// How many bytes may be read at once. Few if all connections together keep too much input;
    /// `None` if this connection already has that many and they are no complete request.
    fn read_ahead_room(&self) -> Option<usize> {
        let kept = self.handler.read_ahead.load(Ordering::Relaxed);
        if kept < self.limits.kept_bytes_max {
            return Some(usize::MAX);
        }
        (self.buffers.input.rest().len() < READ_AHEAD_BYTES_MIN).then_some(READ_AHEAD_BYTES_MIN)
    }

    /// Parks until more input comes, or gives up on a peer that took too long.
    fn park_for_input(&mut self) -> Option<Disposition> {
        let now = self.turn.now;
        let (inbox, input) = (&mut self.state.inbox, &self.buffers.input);
        if self.turn.draining {
            if input.rest().is_empty() {
                // An answer of this turn may still be in flight; an idle peer gets none.
                let ending = if self.moved > 0 {
                    Ending::Answered
                } else {
                    Ending::Silent
                };
                return Some(Disposition::Close(ending));
            }
            self.refuse_and_close(&shutting_down());
            return None;
        }
        let mut until = inbox.deadline(input, &self.limits, now);
        if !self.silent
            && let Some(silence) = inbox.silence(input, self.stream)
        {
            if silence.is_over(now) {
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
        // A request that has begun is given a moment to complete before its connection may be
        // evicted.
        let grace = if until.wait == Wait::NextRequest {
            Duration::ZERO
        } else {
            EVICTION_GRACE
        };
        let evictable_from = Some(self.state.inbox.waiting_since() + grace);
        Some(Disposition::Park(Parking {
            interest: Interest::Readable,
            until,
            evictable_from,
        }))
    }

    fn answer(&mut self, incoming: Incoming) {
        let since = Instant::now();
        let nameless = RequestInfo::nothing(since);
        match incoming {
            Incoming::Request(request) => self.answer_request(request, since),
            Incoming::Line(name) => self.answer_request(self.request_of_line(&name), since),
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
            op,
            action,
        } = request;
        let mut info = RequestInfo {
            op,
            name,
            id,
            ..RequestInfo::nothing(since)
        };
        if body_size > DROPPED_BODY_BYTES_MAX {
            self.state.closing = Some(Ending::Answered);
        } else if body_size > 0 {
            let limits = &self.limits;
            let time = time_of(body_size, limits.min_rate).saturating_add(limits.header_timeout);
            self.state
                .inbox
                .drop_body_by(Deadline::after(since, Wait::DroppedBody, time));
        }
        let reply = match action {
            // Every request that was read already gets this answer; then the connection closes.
            _ if self.turn.draining => return self.refuse_and_go_on(info, &shutting_down()),
            Ok(Action::Get(get)) => self.get(&info, get),
            Ok(Action::Stat(stat)) => self.stat(&info, stat),
            Ok(Action::List(list)) => self.list(list),
            Ok(Action::Run(run)) => self.run_command(&mut info, run),
            Ok(Action::Hello) => {
                let publishes = !self.handler.published.is_empty();
                hello(&info, publishes, self.buffers.output.append());
                Ok(Reply::Done {
                    body_bytes: 0,
                    md5: None,
                })
            }
            Err(refusal) => Err(refusal),
        };
        self.apply_reply(info, reply);
    }

    /// Parses a line of text. `@NAME` runs a command if one of that name is published; `@` lists
    /// their names.
    fn request_of_line(&self, line: &[u8]) -> ReceivedRequest {
        match line.strip_prefix(b"@") {
            Some(name) if self.handler.published.has(name) => ReceivedRequest::to_run(name),
            _ => ReceivedRequest::from_text(line),
        }
    }

    /// Continues with the result of an operation.
    pub(super) fn apply_reply(
        &mut self,
        mut info: RequestInfo,
        reply: Result<Reply<S::Object>, Refusal>,
    ) {
        match reply {
            Ok(Reply::Done { body_bytes, md5 }) => {
                info.md5 = md5;
                self.report(&info, Outcome::Answered { body_bytes });
            }
            Ok(Reply::Send { body, md5 }) => {
                self.state.waiting = None;
                info.md5 = Some(md5);
                let body_bytes = body.end - body.position;
                self.state.task = Task::Send {
                    info: Some(info),
                    body,
                    body_bytes,
                };
            }
            Ok(Reply::Await(_) | Reply::Make(_)) if !self.may_wait() => {
                self.refuse(info, &too_many_wait());
            }
            Ok(Reply::Await(pending)) => {
                // `append` drops the tail. Otherwise the flush of a waiting task could replace
                // the task by that tail.
                self.buffers.output.append();
                self.state.task = Task::Await { info, pending };
            }
            Ok(Reply::Make(pending)) => {
                self.buffers.output.append();
                self.state.task = Task::Make { info, pending };
            }
            Err(refusal) => self.refuse(info, &refusal),
        }
    }

    /// Counts this connection as waiting. Returns `false` if too many wait already.
    pub(super) fn may_wait(&mut self) -> bool {
        if self.state.waiting.is_none() {
            let address = self.state.peer.address_key();
            self.state.waiting = self
                .handler
                .waiters
                .join(address, self.turn.connections_max);
        }
        if !self.state.is_kept_alive {
            // A waiting connection sends nothing, so only probes reveal that the peer is gone.
            self.stream.keep_alive();
            self.state.is_kept_alive = true;
        }
        self.state.waiting.is_some()
    }

    /// Whether the peer has shut down its sending side, as far as known. It may still read.
    pub(super) fn peer_has_ended(&self) -> bool {
        self.turn.peer_ended || self.state.inbox.ended
    }

    /// How to park until the work for a request is done. Under pressure the connection may be
    /// evicted: soon if its peer has shut down its sending side, and may be gone; otherwise after
    /// a while, and after all others.
    pub(super) fn parking_for_work(&self, asked_at: Instant, until: Deadline) -> Parking {
        let (interest, evictable_from) = match self.peer_has_ended() {
            true => (Interest::Nothing, asked_at + EVICTION_GRACE),
            false => (Interest::End, self.turn.now.max(asked_at + WAITER_GRACE)),
        };
        Parking {
            interest,
            until,
            evictable_from: Some(evictable_from),
        }
    }

    pub(super) fn refuse(&mut self, info: RequestInfo, refusal: &Refusal) {
        if refusal.code.closes() {
            self.state.closing = Some(Ending::Answered);
        }
        self.refuse_and_go_on(info, refusal);
    }

    fn refuse_and_go_on(&mut self, info: RequestInfo, refusal: &Refusal) {
        refuse(&info, refusal, self.buffers.output.append());
        self.report(&info, Outcome::Refused(refusal.code));
    }

    /// Refuses a request that is incomplete.
    fn refuse_and_close(&mut self, refusal: &Refusal) {
        self.buffers.input.clear();
        self.refuse(RequestInfo::nothing(self.turn.now), refusal);
    }

    fn answer_other_protocol(&mut self, info: RequestInfo, answer: &[u8]) {
        self.buffers.output.append().extend_from_slice(answer);
        self.state.closing = Some(Ending::Answered);
        self.report(&info, Outcome::OtherProtocol);
    }

    fn close_for_lost_peer(&mut self) -> Disposition {
        self.abort_task(Outcome::CutOff);
        Disposition::Close(Ending::Silent)
    }

    pub(super) fn abort_task(&mut self, outcome: Outcome) {
        let info = self.state.task.take_info();
        self.report_end(info, outcome);
    }

    pub(super) fn report_end(&mut self, info: Option<RequestInfo>, outcome: Outcome) {
        if let Some(info) = info {
            self.report(&info, outcome);
        }
    }

    pub(super) fn report(&mut self, info: &RequestInfo, outcome: Outcome) {
        self.state.waiting = None;
        self.state.inbox.answered(Instant::now());
        self.handler.report(self.state.peer, info, outcome);
    }
}

const DROPPED_BODY_BYTES_MAX: u64 = 1 << 20;
/// What a connection may read when all together keep too much; an ordinary request is shorter.
const READ_AHEAD_BYTES_MIN: usize = 4 << 10;
const EVICTION_GRACE: Duration = Duration::from_secs(1);
const WAITER_GRACE: Duration = Duration::from_secs(30);

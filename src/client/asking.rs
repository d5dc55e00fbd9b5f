//! Many looks at one server: questions go ahead of their answers, over one connection after
//! the other if need be.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::client::agreement::Request;
use crate::client::batch::Limits;
use crate::client::question::{await_header, refusal};
use crate::client::retry::{Attempts, Verdict, judge};
use crate::client::{ClientConfig, ClientError, Event, Session};
use crate::net::Address;
use crate::wire::{Action, Call, ResponseHeader, StatRequest};

/// Looks at one server that are under way. Answers come in the order of the questions.
pub(super) struct Asking<'c> {
    pub(super) address: Address,
    config: &'c ClientConfig,
    attempts: Attempts<'c>,
    session: Option<Session>,
    unanswered: VecDeque<StatRequest>,
    /// Of those, so many were sent over the connection that is open.
    sent: usize,
    /// An answer has come since the last failure.
    progress: bool,
}

impl<'c> Asking<'c> {
    pub(super) fn new(address: Address, config: &'c ClientConfig) -> Asking<'c> {
        Asking {
            address,
            config,
            attempts: Attempts::begin(config, Instant::now()),
            session: None,
            unanswered: VecDeque::new(),
            sent: 0,
            progress: true,
        }
    }

    /// Keeps to the time there is for a whole batch.
    pub(super) fn within(mut self, limits: &Limits) -> Asking<'c> {
        self.attempts.whole = limits.whole;
        self
    }

    /// Whether a question more may be asked before the next answer (`PROTOCOL.md`, "Requests").
    pub(super) fn has_room(&self) -> bool {
        let bytes: usize = self.unanswered.iter().map(bytes_of).sum();
        self.unanswered.len() < UNANSWERED_MAX && bytes < UNANSWERED_BYTES_MAX
    }

    /// Asks, with the next answer that is waited for.
    pub(super) fn ask(&mut self, stat: StatRequest) {
        self.unanswered.push_back(stat);
    }

    /// The answer to the first question that has none, be it a refusal; failures that may pass
    /// are tried again, each of which `on_event` hears of.
    ///
    /// # Errors
    /// [`ClientError`]: neither this question nor any other will have an answer.
    pub(super) fn answer(
        &mut self,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<ResponseHeader<'static>, ClientError> {
        loop {
            let error = match self.attempt() {
                Ok(header) => {
                    self.unanswered.pop_front();
                    (self.sent, self.progress) = (self.sent - 1, true);
                    return Ok(header);
                }
                Err(error) => error,
            };
            (self.session, self.sent) = (None, 0);
            let Verdict::MayPass(retry_after) = judge(&error, false, false) else {
                return Err(error);
            };
            self.attempts
                .pause_after(error, retry_after, self.progress, on_event)?;
            self.progress = false;
        }
    }

    fn attempt(&mut self) -> Result<ResponseHeader<'static>, ClientError> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => Session::connect(&self.address, self.config, self.attempts.whole)?,
        };
        self.attempts.reach();
        for stat in self.unanswered.iter().skip(self.sent) {
            session.sending.send(&Call {
                action: Action::Stat(stat.clone()),
                id: None,
            })?;
        }
        session.sending.flush()?;
        self.sent = self.unanswered.len();
        let Some(asked) = self.unanswered.front() else {
            return Err(ClientError::Internal(Arc::new(io::Error::other(
                "nothing was asked",
            ))));
        };
        let request = Request::Stat(&asked.path);
        let header = await_header(request, &mut session.receiving, |_, _| {})?;
        if let Some(refused) = &header.error {
            let error = ClientError::from(refusal(refused));
            if let Verdict::MayPass(_) = judge(&error, false, false) {
                return Err(error);
            }
        }
        self.session = Some(session);
        Ok(header)
    }
}

/// About as many as it has on the wire.
fn bytes_of(stat: &StatRequest) -> usize {
    2 * stat.path.as_bytes().len() + REQUEST_BYTES
}

/// What a client may have unanswered without reading meanwhile.
const UNANSWERED_MAX: usize = 64;
const UNANSWERED_BYTES_MAX: usize = 48 * 1024;
/// A request without its name.
const REQUEST_BYTES: usize = 128;

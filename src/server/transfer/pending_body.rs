//! Requests that wait for a body which another thread produces.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use crate::net::{Deadline, Wait};
use crate::server::handler::{Disposition, Waker};
use crate::server::published::{CommandOutput, RunSignals};
use crate::server::transfer::connection_state::{RequestInfo, Task};
use crate::server::transfer::connection_turn::ConnectionTurn;
use crate::server::transfer::fair_queue::QueueTicket;
use crate::server::transfer::page::{Page, PageState};
use crate::server::transfer::pending_digest::{
    HASHING, PROGRESS_INTERVAL, RUNNING, append_progress,
};
use crate::server::transfer::reply::{busy, shutting_down};
use crate::store::Store;
use crate::wire::{ErrorCode, Refusal};

/// The waiting connection's end. Dropping it cancels the work.
pub(super) struct PendingBody<O> {
    work: Work,
    product: Receiver<Product<O>>,
    is_cancelled: Arc<AtomicBool>,
    /// When to send the next progress header; `None` if the client did not request them.
    next_progress: Option<Instant>,
    /// Signals for the command that runs.
    run: Option<Arc<RunSignals>>,
    /// The work may still be queued, since this time.
    ticket: Option<(QueueTicket, Instant)>,
}

/// The kind of work.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// A page of a listing.
    Page,
    /// The output of a command. It completes even while the server drains, as transfers do: the
    /// client could not know how far a killed command had come.
    Output,
}

/// The result of the work.
pub(super) enum Product<O> {
    /// A page of a listing, complete or not.
    Page(Box<Page>, PageState<O>),
    /// The output of a command.
    Output(Result<CommandOutput, Refusal>),
}

/// The working thread's end.
pub(super) struct BodyProducer<O> {
    product: Sender<Product<O>>,
    is_cancelled: Arc<AtomicBool>,
    waker: Waker,
}

impl<O> PendingBody<O> {
    /// Creates both ends. `waker` wakes the connection that waits.
    pub(super) fn begin(
        work: Work,
        progress: bool,
        waker: Waker,
    ) -> (PendingBody<O>, BodyProducer<O>) {
        let (product_in, product) = bounded(1);
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let pending = PendingBody {
            work,
            product,
            is_cancelled: Arc::clone(&is_cancelled),
            next_progress: progress.then(|| Instant::now() + PROGRESS_INTERVAL),
            run: None,
            ticket: None,
        };
        let producer = BodyProducer {
            product: product_in,
            is_cancelled,
            waker,
        };
        (pending, producer)
    }
}

impl<O> PendingBody<O> {
    /// Attaches the run of a command.
    pub(super) fn follow_run(&mut self, run: Arc<RunSignals>) {
        self.run = Some(run);
    }

    /// Notes that the work is queued from now on.
    pub(super) fn set_ticket(&mut self, ticket: QueueTicket) {
        self.ticket = Some((ticket, Instant::now()));
    }

    /// How long the work has been queued; `None` if it has begun.
    fn queued_for(&self, now: Instant) -> Option<Duration> {
        let (ticket, since) = self.ticket.as_ref()?;
        let queued_for = now.saturating_duration_since(*since);
        ticket.is_waiting().then_some(queued_for)
    }
}

impl<O> Drop for PendingBody<O> {
    fn drop(&mut self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
    }
}

impl<O> BodyProducer<O> {
    /// Whether the connection no longer waits.
    pub(super) fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }

    /// Delivers the result.
    pub(super) fn deliver(self, product: Product<O>) {
        // The connection may have given up meanwhile.
        let _ = self.product.try_send(product);
    }
}

impl<O> Drop for BodyProducer<O> {
    fn drop(&mut self) {
        // This also runs after a panic: the connection then finds the channel disconnected.
        self.product = bounded(1).0;
        self.waker.wake();
    }
}

impl<S: Store> ConnectionTurn<'_, S> {
    /// Answers if the body is complete. Otherwise sends progress, if requested, and parks.
    pub(super) fn poll_body(
        &mut self,
        mut info: RequestInfo,
        mut pending: Box<PendingBody<S::Object>>,
    ) -> Option<Disposition> {
        match pending.product.try_recv() {
            Ok(Product::Page(page, state)) => {
                let reply = self.answer_page(&info, page, state);
                self.apply_reply(info, reply);
                return None;
            }
            Ok(Product::Output(output)) => {
                let reply = output.and_then(|output| self.answer_output(&mut info, output));
                self.apply_reply(info, reply);
                return None;
            }
            Err(TryRecvError::Disconnected) => {
                let refusal = Refusal::new(ErrorCode::Internal, "answer could not be made");
                self.refuse(info, &refusal);
                return None;
            }
            Err(TryRecvError::Empty) => {}
        }
        if self.turn.draining && pending.work == Work::Page {
            self.refuse(info, &shutting_down());
            return None;
        }
        let now = Instant::now();
        if let Some(queued_for) = pending
            .queued_for(now)
            .filter(|queued_for| *queued_for >= QUEUE_TIMEOUT)
        {
            let message = format!("page has been queued for {} s", queued_for.as_secs());
            self.refuse(info, &busy(&message));
            return None;
        }
        if pending.next_progress.is_some_and(|at| at <= now) {
            pending.next_progress = Some(now + PROGRESS_INTERVAL);
            // A peer that has not read the previous one needs no further one.
            if self.buffers.output.is_empty() {
                let status = match pending.work {
                    Work::Page => HASHING,
                    Work::Output => RUNNING,
                };
                append_progress(&info, status, 0, 0, self.buffers.output.append());
            }
        }
        let wait = match pending.work {
            Work::Page => Wait::Page,
            Work::Output => Wait::Command,
        };
        let until = Deadline::after(now, wait, PROGRESS_INTERVAL);
        let rest = self.parking_for_work(info.since, until);
        if let Some(run) = pending.run.as_ref().filter(|_| self.peer_has_ended()) {
            run.note_peer_ended(now);
        }
        self.state.task = Task::Make { info, pending };
        let blocked = self.flush();
        Some(blocked.unwrap_or(Disposition::Park(rest)))
    }
}

/// The longest time in the queue. Work that has begun is not interrupted.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;

//! Requests that wait for a body that is made elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use crate::net::{Deadline, Wait};
use crate::server::handler::{Disposition, Waker};
use crate::server::published::{CommandOutput, RunSignals};
use crate::server::transfer::conversation::{Asked, Task};
use crate::server::transfer::digesting::{HASHING, PROGRESS_INTERVAL, RUNNING, say_progress};
use crate::server::transfer::exchange::Exchange;
use crate::server::transfer::line::InLine;
use crate::server::transfer::page::{Page, PageState};
use crate::server::transfer::reply::{busy, shutting_down};
use crate::store::Store;
use crate::wire::{ErrorCode, Refusal};

/// A body in the making, seen from the connection that waits for it. Dropping it ends the work.
pub(super) struct Making<O> {
    work: Work,
    product: Receiver<Product<O>>,
    is_unwanted: Arc<AtomicBool>,
    /// When to say that the work goes on; `None` if nobody asked.
    next_progress: Option<Instant>,
    /// What may be said to a command that runs.
    run: Option<Arc<RunSignals>>,
    /// The work may still be in line, since then.
    in_line: Option<(InLine, Instant)>,
}

/// What is being made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// A page of a listing.
    Page,
    /// The output of a command. It is finished when the server drains, as a transfer is: nobody
    /// could tell how far a command came that was killed.
    Output,
}

/// What was made.
pub(super) enum Product<O> {
    /// A page of a listing, as far as it is.
    Page(Box<Page>, PageState<O>),
    /// What a command wrote.
    Output(Result<CommandOutput, Refusal>),
}

/// A body in the making, seen from where the work is done.
pub(super) struct Maker<O> {
    product: Sender<Product<O>>,
    is_unwanted: Arc<AtomicBool>,
    waker: Waker,
}

impl<O> Making<O> {
    /// Both ends. The waker is that of the connection which waits.
    pub(super) fn begin(work: Work, progress: bool, waker: Waker) -> (Making<O>, Maker<O>) {
        let (product_in, product) = bounded(1);
        let is_unwanted = Arc::new(AtomicBool::new(false));
        let making = Making {
            work,
            product,
            is_unwanted: Arc::clone(&is_unwanted),
            next_progress: progress.then(|| Instant::now() + PROGRESS_INTERVAL),
            run: None,
            in_line: None,
        };
        let maker = Maker {
            product: product_in,
            is_unwanted,
            waker,
        };
        (making, maker)
    }
}

impl<O> Making<O> {
    /// Its work is this run of a command.
    pub(super) fn follow_run(&mut self, run: Arc<RunSignals>) {
        self.run = Some(run);
    }

    /// Its work stands in line.
    pub(super) fn stand(&mut self, in_line: InLine) {
        self.in_line = Some((in_line, Instant::now()));
    }

    /// For how long it has been in line, if it is there.
    fn waited(&self, now: Instant) -> Option<Duration> {
        let (in_line, since) = self.in_line.as_ref()?;
        let waited = now.saturating_duration_since(*since);
        in_line.is_waiting().then_some(waited)
    }
}

impl<O> Drop for Making<O> {
    fn drop(&mut self) {
        self.is_unwanted.store(true, Ordering::Relaxed);
    }
}

impl<O> Maker<O> {
    /// Whether nobody waits any more.
    pub(super) fn is_unwanted(&self) -> bool {
        self.is_unwanted.load(Ordering::Relaxed)
    }

    /// Hands over what was made.
    pub(super) fn deliver(self, product: Product<O>) {
        // Nobody may wait any more.
        let _ = self.product.try_send(product);
    }
}

impl<O> Drop for Maker<O> {
    fn drop(&mut self) {
        // After a panic, too: the connection finds that nothing comes.
        self.product = bounded(1).0;
        self.waker.wake();
    }
}

impl<S: Store> Exchange<'_, S> {
    /// Answers if the body is made; otherwise says that it is being made, if that was asked for,
    /// and rests.
    pub(super) fn look_at_making(
        &mut self,
        mut asked: Asked,
        mut making: Box<Making<S::Object>>,
    ) -> Option<Disposition> {
        match making.product.try_recv() {
            Ok(Product::Page(page, state)) => {
                let reply = self.take_page(&asked, page, state);
                self.settle(asked, reply);
                return None;
            }
            Ok(Product::Output(output)) => {
                let reply = output.and_then(|output| self.take_output(&mut asked, output));
                self.settle(asked, reply);
                return None;
            }
            Err(TryRecvError::Disconnected) => {
                let refusal = Refusal::new(ErrorCode::Internal, "answer could not be made");
                self.refuse(asked, &refusal);
                return None;
            }
            Err(TryRecvError::Empty) => {}
        }
        if self.turn.draining && making.work == Work::Page {
            self.refuse(asked, &shutting_down());
            return None;
        }
        let now = Instant::now();
        if let Some(waited) = making.waited(now).filter(|waited| *waited >= LINE_TIMEOUT) {
            let message = format!("page has been in line for {} s", waited.as_secs());
            self.refuse(asked, &busy(&message));
            return None;
        }
        if making.next_progress.is_some_and(|at| at <= now) {
            making.next_progress = Some(now + PROGRESS_INTERVAL);
            // A peer that does not read the last one needs no other.
            if self.desk.output.is_empty() {
                let status = match making.work {
                    Work::Page => HASHING,
                    Work::Output => RUNNING,
                };
                say_progress(&asked, status, 0, 0, self.desk.output.append());
            }
        }
        let wait = match making.work {
            Work::Page => Wait::Page,
            Work::Output => Wait::Command,
        };
        let until = Deadline::after(now, wait, PROGRESS_INTERVAL);
        let rest = self.rest_for_work(asked.since, until);
        if let Some(run) = making.run.as_ref().filter(|_| self.peer_has_ended()) {
            run.note_peer_ended(now);
        }
        self.state.task = Task::Make { asked, making };
        let blocked = self.flush();
        Some(blocked.unwrap_or(Disposition::Park(rest)))
    }
}

/// The longest stay in line; what has begun is not cut short.
const LINE_TIMEOUT: Duration = Duration::from_secs(60);

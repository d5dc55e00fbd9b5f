//! Sends gathered answers and long bodies.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::server::handler::{Disposition, Ending, Interest, Parking};
use crate::server::transfer::Outcome;
use crate::server::transfer::body::Body;
use crate::server::transfer::connection_state::{BODY_STEP_BYTES, RequestInfo, Task};
use crate::server::transfer::connection_turn::ConnectionTurn;
use crate::server::transfer::outbox::FlushResult;
use crate::store::Store;

impl<S: Store> ConnectionTurn<'_, S> {
    /// Continues a body, after its header.
    pub(super) fn send(
        &mut self,
        info: Option<RequestInfo>,
        mut body: Body<S::Object>,
        body_bytes: u64,
    ) -> Option<Disposition> {
        let left = usize::try_from(body.end - body.position).unwrap_or(usize::MAX);
        let wanted = self.buffers.output.len() + left.min(BODY_STEP_BYTES);
        let allowed = match self.allowed(wanted) {
            Ok(allowed) if allowed > self.buffers.output.len() || allowed == wanted => allowed,
            // Gathered answers go out first.
            Ok(_) => {
                self.state.task = Task::Send {
                    info,
                    body,
                    body_bytes,
                };
                return self.flush();
            }
            Err(rest) => {
                self.state.task = Task::Send {
                    info,
                    body,
                    body_bytes,
                };
                return Some(rest);
            }
        };
        let room = (allowed - self.buffers.output.len()).max(1);
        let Ok(Some(bytes)) = body.read(&mut self.buffers.body[..room]) else {
            self.report_end(info, Outcome::Abandoned);
            return Some(Disposition::Close(Ending::Abandoned));
        };
        let (gathered, step_bytes) = (self.buffers.output.len(), bytes.len());
        let Ok(count) = self.buffers.output.flush_with(self.stream, bytes) else {
            self.report_end(info, Outcome::CutOff);
            return Some(Disposition::Close(Ending::Silent));
        };
        body.position += count.saturating_sub(gathered) as u64;
        self.sent(count);
        if body.is_done() {
            self.report_end(info, Outcome::Answered { body_bytes });
            return None;
        }
        self.state.task = Task::Send {
            info,
            body,
            body_bytes,
        };
        // The kernel took less than offered, so the socket buffer is full.
        (count < gathered + step_bytes).then(|| self.park_for_reader())
    }

    /// Writes gathered answers. `Some` if the socket is full, the rate is used up, or the peer is
    /// gone.
    pub(super) fn flush(&mut self) -> Option<Disposition> {
        if self.buffers.output.is_empty() {
            return None;
        }
        let allowed = match self.allowed(self.buffers.output.len()) {
            Ok(allowed) => allowed,
            Err(rest) => return Some(rest),
        };
        match self.buffers.output.flush(self.stream, allowed) {
            Err(_) => {
                self.abort_task(Outcome::CutOff);
                Some(Disposition::Close(Ending::Silent))
            }
            Ok(FlushResult::Complete(count)) => {
                self.sent(count);
                None
            }
            // The rate is used up for now; the next call returns until when.
            Ok(FlushResult::Allowed(count)) => {
                self.sent(count);
                self.flush()
            }
            Ok(FlushResult::Blocked(count)) => {
                self.sent(count);
                if let Some(body) = self.buffers.output.cut_tail() {
                    self.state.task = Task::Send {
                        info: None,
                        body_bytes: body.end - body.position,
                        body,
                    };
                }
                Some(self.park_for_reader())
            }
        }
    }

    fn sent(&mut self, count: usize) {
        if count > 0 {
            self.spend(count);
            self.moved += count as u64;
            self.state
                .slow_reader
                .moved(count, self.limits.min_rate, Instant::now());
        }
    }

    /// Parks until the peer reads, or gives up on a peer that reads too slowly.
    fn park_for_reader(&mut self) -> Disposition {
        let (now, limits) = (Instant::now(), self.limits);
        self.state.slow_reader.blocked(now);
        let until = self.state.slow_reader.deadline(limits.idle_timeout, now);
        if until.is_over(now) {
            self.abort_task(Outcome::TooSlow);
            return Disposition::Close(Ending::Abandoned);
        }
        let evictable_from = self
            .state
            .slow_reader
            .deadline(limits.short_idle_timeout(), now)
            .at;
        Disposition::Park(Parking {
            interest: Interest::Writable,
            until,
            evictable_from: Some(evictable_from),
        })
    }

    /// How many bytes of answers to gather before a write.
    pub(super) fn gather_bytes_max(&self) -> usize {
        let kept = self.handler.kept_bytes.load(Ordering::Relaxed);
        if kept < self.limits.kept_bytes_max {
            GATHER_BYTES_MAX
        } else {
            1
        }
    }
}

/// Answers to pipelined requests share writes up to about this size.
const GATHER_BYTES_MAX: usize = 64 << 10;

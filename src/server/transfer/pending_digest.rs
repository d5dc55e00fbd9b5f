//! Requests that wait for a digest.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::net::{Deadline, Wait};
use crate::server::handler::Disposition;
use crate::server::transfer::connection_state::{PendingDigest, Purpose, Reply, RequestInfo, Task};
use crate::server::transfer::connection_turn::ConnectionTurn;
use crate::server::transfer::reply::shutting_down;
use crate::store::{DigestRequest, DigestState, ObjectMeta, Store};
use crate::wire::{Interim, ResponseHeader};

impl<S: Store> ConnectionTurn<'_, S> {
    /// Answers if the digest is known. Otherwise sends progress, if requested, and parks.
    pub(super) fn poll_digest(
        &mut self,
        info: RequestInfo,
        mut pending: Box<PendingDigest<S::Object>>,
    ) -> Option<Disposition> {
        let now = Instant::now();
        match pending.ticket.state(now) {
            DigestState::Ready(md5, stamp) => {
                let PendingDigest {
                    object,
                    meta,
                    purpose,
                    ..
                } = *pending;
                let meta = ObjectMeta { stamp, ..meta };
                let reply = match purpose {
                    Purpose::Get(get) => self.begin_body(&info, &get, object, &meta, md5),
                    Purpose::Stat => Ok(self.append_stat(&info, &meta, Some(md5))),
                    Purpose::Page(mut page) => {
                        page.set_digest(md5, &meta);
                        Ok(self.make_page(page))
                    }
                };
                self.apply_reply(info, reply);
                None
            }
            DigestState::Failed(refusal) => {
                let reply = match pending.purpose {
                    Purpose::Get(_) | Purpose::Stat => Err(refusal),
                    Purpose::Page(page) => {
                        page.set_failure(refusal).map(|page| self.make_page(page))
                    }
                };
                self.apply_reply(info, reply);
                None
            }
            // A drain does not wait for hashes: a slow disk could delay them for an unlimited
            // time.
            DigestState::Waiting { .. } if self.turn.draining => {
                self.refuse(info, &shutting_down());
                None
            }
            DigestState::Waiting { done } => {
                if pending.next_progress.is_some_and(|at| at <= now) {
                    pending.next_progress = Some(now + PROGRESS_INTERVAL);
                    // A peer that has not read the previous one needs no further one.
                    if self.buffers.output.is_empty() {
                        let total_size = pending.meta.size();
                        let output = self.buffers.output.append();
                        append_progress(&info, HASHING, total_size, done, output);
                    }
                }
                let until = Deadline::after(now, Wait::Hashing, PROGRESS_INTERVAL);
                let rest = self.parking_for_work(info.since, until);
                self.state.task = Task::Await { info, pending };
                let blocked = self.flush();
                Some(blocked.unwrap_or(Disposition::Park(rest)))
            }
        }
    }

    /// Requests a digest. Its completion wakes this connection.
    pub(super) fn await_digest(
        &mut self,
        object: Arc<S::Object>,
        meta: ObjectMeta,
        fresh: bool,
        progress: bool,
        purpose: Purpose,
    ) -> Reply<S::Object> {
        let waker = self.turn.waker();
        let request = DigestRequest {
            address: self.state.peer.address_key(),
            fresh,
            is_for_sending: matches!(purpose, Purpose::Get(_)),
            asked_at: Instant::now(),
            wake: Arc::new(move || waker.wake()),
        };
        let ticket = self
            .handler
            .catalog
            .digest(Arc::clone(&object), &meta, request);
        // A client may fetch a file part by part, and each part then costs a hash. So the first
        // progress header, which shows the cost, is sent at once.
        let is_part = matches!(&purpose, Purpose::Get(get) if get.range.is_some_and(|range| range.offset > 0));
        let first = if is_part {
            Duration::ZERO
        } else {
            PROGRESS_INTERVAL
        };
        let next_progress = progress.then(|| Instant::now() + first);
        Reply::Await(Box::new(PendingDigest {
            ticket,
            object,
            meta,
            purpose,
            next_progress,
        }))
    }
}

/// Appends an interim header: the kind of work, and how much of it is done.
pub(super) fn append_progress(
    info: &RequestInfo,
    status: &'static str,
    total_size: u64,
    done: u64,
    output: &mut Vec<u8>,
) {
    let header = ResponseHeader {
        name: (&info.name).into(),
        total_size,
        body_size: Some(0),
        id: info.id.clone(),
        interim: Some(Interim {
            status: status.into(),
            // The file may have grown since it was opened, and its hash restarted.
            done: done.min(total_size),
        }),
        ..ResponseHeader::default()
    };
    header.encode(output);
}

/// `status` of a request that waits for a digest or a page.
pub(super) const HASHING: &str = "hashing";
/// `status` of a request that waits for a command.
pub(super) const RUNNING: &str = "running";
pub(super) const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

//! One connection of a batch, for its whole life: questions go out in one thread, answers come
//! in in another, and a third hashes large files while they are being received.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, Scope};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, select, unbounded};

use crate::client::assembly::Assembly;
use crate::client::batch::budget::Budget;
use crate::client::batch::copying::ToCopy;
#[cfg(test)]
use crate::client::batch::hands::trip;
use crate::client::batch::hands::{Body, attributes, guarded};
use crate::client::batch::jobs::{JobId, ToAsk};
use crate::client::batch::keeper::Keeper;
use crate::client::batch::placing::{Verified, is_synced_alone, place, transferred};
use crate::client::batch::report::{LaneEnd, Report, Reports};
use crate::client::follow::HASH_BUFFER_BYTES;
use crate::client::receive::{Following, Receive};
use crate::client::{ClientConfig, ClientError, Download, SendingHalf, Session, SyncPolicy};
use crate::net::{Address, Deadline, Rate};

/// The number of a connection, never given again.
pub(in crate::client) type LaneId = u64;

/// A question for a connection.
pub(in crate::client) struct Ask {
    pub(in crate::client) id: JobId,
    pub(in crate::client) download: Arc<Download>,
    pub(in crate::client) to_ask: Box<ToAsk>,
    /// It is for a block of this file.
    pub(in crate::client) block: Option<Arc<Assembly>>,
}

/// A question without a whole answer.
pub(super) struct Asked {
    pub(super) id: JobId,
    /// Bytes that are expected.
    pub(super) expected: u64,
    /// It is for this block of that file.
    pub(super) block: Option<(Arc<Assembly>, Range<u64>)>,
}

/// What the threads of all connections share.
#[derive(Clone)]
pub(in crate::client) struct LaneWork<'s> {
    pub(in crate::client) config: &'s ClientConfig,
    pub(in crate::client) whole: Option<Deadline>,
    /// Nothing is wanted any more.
    pub(in crate::client) is_stopped: Arc<AtomicBool>,
    /// What all receive together.
    pub(in crate::client) rate: Option<Arc<Rate>>,
    pub(in crate::client) bodies: Sender<Body>,
    pub(in crate::client) copies: Sender<ToCopy>,
    pub(in crate::client) verified: Sender<Verified>,
    pub(in crate::client) reports: Reports,
    /// Bytes that small bodies may take in memory.
    pub(in crate::client) memory: Arc<Budget>,
    /// Files that may be open at once.
    pub(in crate::client) open_files: Arc<Budget>,
    pub(in crate::client) keeper: Keeper,
}

/// A connection, as the thread that has the jobs sees it. Dropped, it ends once every
/// question has its answer.
pub(super) struct Lane {
    pub(super) id: LaneId,
    pub(super) server: usize,
    pub(super) is_connected: bool,
    /// Questions without a whole answer, in their order.
    pub(super) asked: VecDeque<Asked>,
    /// The sum of what is expected.
    pub(super) expected: u64,
    /// So many questions may be without an answer.
    pub(super) window: usize,
    /// It was asked for a large file whose digest the server has to make first.
    pub(super) hashing: Option<JobId>,
    /// It is not asked any more.
    pub(super) is_dismissed: bool,
    /// It had an answer, or some of a large one.
    pub(super) has_answered: bool,
    /// The last time that it had nothing to do.
    idle_since: Instant,
    asks: Sender<Vec<Ask>>,
    /// Given since the last [`Lane::send`].
    unsent: Vec<Ask>,
}

impl Lane {
    /// Begins to connect.
    pub(super) fn open<'scope, 'env: 'scope>(
        id: LaneId,
        server: usize,
        address: Address,
        work: LaneWork<'env>,
        scope: &'scope Scope<'scope, 'env>,
    ) -> Result<Lane, ClientError> {
        let (asks, to_send) = unbounded();
        Builder::new()
            .name("ft-lane".to_owned())
            .spawn_scoped(scope, move || {
                let end = guarded(|| Ok(run(id, &address, &work, to_send, scope)));
                let end = end.unwrap_or_else(LaneEnd::Unconnected);
                work.reports.send(Report::Ended { lane: id, end });
            })
            .map_err(thread_missing)?;
        Ok(Lane {
            id,
            server,
            is_connected: false,
            asked: VecDeque::new(),
            expected: 0,
            window: WINDOW_AT_FIRST,
            hashing: None,
            has_answered: false,
            is_dismissed: false,
            idle_since: Instant::now(),
            asks,
            unsent: Vec::new(),
        })
    }

    /// Whether it may be asked more.
    pub(super) fn has_room(&self) -> bool {
        self.is_connected
            && !self.is_dismissed
            && self.asked.len() < self.window
            && self.expected < EXPECTED_BYTES_MAX
    }

    /// Whether it may be asked for a block more.
    pub(super) fn has_room_for_block(&self) -> bool {
        self.has_room() && self.expected < BLOCKS_BYTES_MAX
    }

    /// Whether a block of this is on its way.
    pub(super) fn has_block_of(&self, id: JobId) -> bool {
        let is_block = |asked: &Asked| asked.id == id && asked.block.is_some();
        self.asked.iter().any(is_block)
    }

    /// Whether it has nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.is_connected && self.asked.is_empty()
    }

    /// Whether it is of no more use, or the server may have closed it for having nothing to do.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        let idle = now.saturating_duration_since(self.idle_since);
        self.is_idle() && (self.is_dismissed || idle > IDLE_TIME_MAX)
    }

    /// Takes a question; it goes out with [`Lane::send`].
    pub(super) fn give(&mut self, ask: Ask, expected: u64) {
        let question = &ask.to_ask.question;
        let block = ask.block.clone().map(|file| (file, question.block()));
        self.asked.push_back(Asked {
            id: ask.id,
            expected,
            block,
        });
        self.expected += expected;
        self.unsent.push(ask);
    }

    /// Sends what was given.
    pub(super) fn send(&mut self) {
        if !self.unsent.is_empty() {
            // If the connection is over, that is reported, and these are still in `asked`.
            let _ = self.asks.send(std::mem::take(&mut self.unsent));
        }
    }

    /// The oldest question has its whole answer.
    pub(super) fn answered(&mut self) -> Option<JobId> {
        let Asked { id, expected, .. } = self.asked.pop_front()?;
        self.has_answered = true;
        self.expected -= expected;
        self.hashing = self.hashing.filter(|hashing| *hashing != id);
        self.window = (self.window + 1).min(WINDOW_MAX);
        if self.asked.is_empty() {
            self.idle_since = Instant::now();
        }
        Some(id)
    }

    /// So much is still expected of a question.
    pub(super) fn expect(&mut self, id: JobId, bytes: u64) {
        // It is the oldest, or nearly.
        let is_it = |asked: &&mut Asked| asked.id == id && asked.block.is_none();
        if let Some(asked) = self.asked.iter_mut().find(is_it) {
            self.expected = self.expected - asked.expected + bytes;
            asked.expected = bytes;
            // Its bytes come.
            self.has_answered = true;
            self.hashing = self.hashing.filter(|hashing| *hashing != id);
        }
    }

    /// What was asked for as a file comes in blocks, of which this is the first.
    pub(super) fn split(&mut self, id: JobId, assembly: &Arc<Assembly>, first: Range<u64>) {
        self.expect(id, first.end - first.start);
        let is_it = |asked: &&mut Asked| asked.id == id && asked.block.is_none();
        if let Some(asked) = self.asked.iter_mut().find(is_it) {
            asked.block = Some((Arc::clone(assembly), first));
        }
    }
}

fn run<'scope, 'env: 'scope>(
    id: LaneId,
    address: &Address,
    work: &LaneWork<'env>,
    to_send: Receiver<Vec<Ask>>,
    scope: &'scope Scope<'scope, 'env>,
) -> LaneEnd {
    let session = match connect(address, work, &to_send) {
        Some(Ok(session)) => session,
        Some(Err(error)) => return LaneEnd::Unconnected(error),
        None => return LaneEnd::Left,
    };
    let Session {
        mut sending,
        mut receiving,
    } = session;
    receiving.keep_to(work.rate.clone());
    sending.wait_for_receiver();
    let (asked_in, asked) = unbounded();
    let (following_in, following) = crossbeam_channel::bounded(0);
    let followed = work.clone();
    let threads = Builder::new()
        .name("ft-send".to_owned())
        .spawn_scoped(scope, move || {
            let sent = guarded(|| {
                send(&to_send, &asked_in, &mut sending);
                Ok(())
            });
            if let Err(error) = sent {
                // It is told when everything before it has its answer.
                let _ = sending.flush();
                let _ = asked_in.send(Err(error));
            }
        })
        .and_then(|_| {
            Builder::new()
                .name("ft-follow".to_owned())
                .spawn_scoped(scope, move || follow(&following, &followed))
        });
    if let Err(error) = threads {
        return LaneEnd::Unconnected(thread_missing(error));
    }
    work.reports.send(Report::Connected(id));
    let receive = Receive {
        lane: id,
        receiving,
        asked,
        following: following_in,
        work,
        answered: 0,
    };
    receive.run()
}

/// Connects, in a thread that is left to itself when nobody wants the connection any more.
fn connect(
    address: &Address,
    work: &LaneWork<'_>,
    to_send: &Receiver<Vec<Ask>>,
) -> Option<Result<Session, ClientError>> {
    let (connected_in, connected) = crossbeam_channel::bounded(1);
    let connecting = Session::connecting(address, work.config, work.whole);
    let started = Builder::new()
        .name("ft-connect".to_owned())
        .spawn(move || drop(connected_in.send(connecting())));
    if let Err(error) = started {
        return Some(Err(thread_missing(error)));
    }
    select! {
        recv(connected) -> stream => {
            let stream = stream.unwrap_or_else(|_| Err(thread_missing(io::ErrorKind::Other.into())));
            Some(stream.and_then(|stream| Session::over(stream, work.config, work.whole)))
        }
        // Nothing is given before it is connected: the other end is gone.
        recv(to_send) -> _ => None,
    }
}

/// The sending thread: one question after the other, together what comes together.
fn send(
    to_send: &Receiver<Vec<Ask>>,
    asked: &Sender<Result<Ask, ClientError>>,
    sending: &mut SendingHalf,
) {
    loop {
        let asks = match to_send.try_recv() {
            Ok(asks) => asks,
            Err(TryRecvError::Empty) => {
                // Why it cannot be sent, the receiving thread finds out and says.
                if sending.flush().is_err() {
                    return;
                }
                match to_send.recv() {
                    Ok(asks) => asks,
                    Err(_) => return,
                }
            }
            Err(TryRecvError::Disconnected) => {
                let _ = sending.flush();
                return;
            }
        };
        for ask in asks {
            #[cfg(test)]
            trip(&ask.download, "trips sending");
            let call = ask.to_ask.question.call();
            // The receiving thread has to wait for the answer before it can come.
            if asked.send(Ok(ask)).is_err() || sending.send(&call).is_err() {
                return;
            }
        }
    }
}

/// The thread that verifies large files, each while it is being received.
fn follow(following: &Receiver<Following>, work: &LaneWork<'_>) {
    let mut buffer = Vec::new();
    for file in following {
        buffer.resize(HASH_BUFFER_BYTES, 0);
        verify(file, &mut buffer, work);
    }
}

/// Verifies one large file while it is being received.
pub(super) fn verify(file: Following, buffer: &mut [u8], work: &LaneWork<'_>) {
    let Following {
        id,
        download,
        content,
        file,
        track,
    } = file;
    let outcome = guarded(|| {
        let goes_on = || !work.is_stopped.load(Ordering::SeqCst);
        // Abandoned, or nobody waits for it: who ended it has told why.
        let Some(((staged, share), found)) = track.follow(&file, buffer, goes_on) else {
            return Ok(None);
        };
        let found = found.map_err(|error| ClientError::ReadBack(Arc::new(error)))?;
        if let Err(error) = content.check(found) {
            staged.discard();
            return Err(error);
        }
        staged.dress(&attributes(&content, work.config))?;
        // Here, where nothing else waits for it.
        let synced = is_synced_alone(content.total_size, work.config);
        if synced {
            staged.sync()?;
        }
        let verified = Verified {
            id,
            download,
            content,
            action: transferred(&content),
            staged,
            synced,
            share,
        };
        if work.config.sync == SyncPolicy::Never {
            return place(verified, work.config, &work.keeper).map(Some);
        }
        // Whoever places ends last.
        let _ = work.verified.send(verified);
        Ok(None)
    });
    if let Some(outcome) = outcome.transpose() {
        work.reports.send(Report::Finished { id, outcome });
    }
}

/// A thread is needed that cannot be had.
pub(super) fn thread_missing(source: io::Error) -> ClientError {
    ClientError::Internal(Arc::new(source))
}

/// Questions without an answer, at first, and after many answers.
const WINDOW_AT_FIRST: usize = 512;
const WINDOW_MAX: usize = 4_096;
/// Far below what servers allow a connection that asks nothing.
const IDLE_TIME_MAX: Duration = Duration::from_secs(10);
/// From here on no block more is asked for: what a long round trip at 40 MiB/s takes.
const BLOCKS_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// From here on nothing more is asked.
const EXPECTED_BYTES_MAX: u64 = 16 * 1024 * 1024;

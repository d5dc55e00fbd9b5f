//! The threads that have a connection: questions go out in one, answers come in in another, and
//! a third hashes large files while they are being received.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{Builder, Scope};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, select, unbounded};

use crate::client::batch::group::Group;
#[cfg(test)]
use crate::client::batch::hands::trip;
use crate::client::batch::hands::{attributes, guarded};
use crate::client::batch::lane::{Ask, LaneId, LaneWork};
use crate::client::batch::placing::{ToPlace, Verified, is_synced_alone, place, transferred};
use crate::client::batch::report::{LaneEnd, Report};
use crate::client::in_time::in_time;
use crate::client::receive::{Following, Receive};
use crate::client::threads::start;
use crate::client::{ClientError, SendingHalf, Session, SyncPolicy};
use crate::net::Address;
use crate::store::StagedFile;

/// Three threads that have one connection after the other. Dropped, they end behind it.
pub(super) struct Crew(Sender<Opening>);

/// A connection to be opened.
pub(super) struct Opening {
    pub(super) id: LaneId,
    pub(super) address: Address,
    /// Questions; when no more can come the connection ends.
    pub(super) to_send: Receiver<Vec<Ask>>,
}

/// The half of a connection where questions go out.
struct Outgoing {
    to_send: Receiver<Vec<Ask>>,
    asked: Sender<Result<Ask, ClientError>>,
    sending: SendingHalf,
}

impl Crew {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`ClientError::NoThread`].
    pub(super) fn start<'scope, 'env: 'scope>(
        work: &LaneWork<'env>,
        scope: &'scope Scope<'scope, 'env>,
    ) -> Result<Crew, ClientError> {
        let (openings_in, openings) = unbounded();
        let (outgoing_in, outgoing) = unbounded::<Outgoing>();
        let (following_in, following) = bounded(0);
        let (work, followed) = (work.clone(), work.clone());
        start(scope, "ft-send", move || {
            outgoing.into_iter().for_each(Outgoing::run);
        })?;
        start(scope, "ft-follow", move || follow(&following, &followed))?;
        start(scope, "ft-lane", move || {
            for opening in openings {
                let Opening { id, .. } = opening;
                let end = guarded(|| Ok(run(opening, &outgoing_in, &following_in, &work)));
                let end = end.unwrap_or_else(LaneEnd::Unconnected);
                work.reports.send(Report::Ended { lane: id, end });
            }
        })?;
        Ok(Crew(openings_in))
    }

    /// Has it open a connection, when the one that it has is over.
    pub(super) fn open(&self, opening: Opening) {
        // They are there as long as this is.
        let _ = self.0.send(opening);
    }
}

fn run(
    opening: Opening,
    outgoing: &Sender<Outgoing>,
    following: &Sender<Following>,
    work: &LaneWork<'_>,
) -> LaneEnd {
    let Opening {
        id,
        address,
        to_send,
    } = opening;
    let session = match connect(&address, work, &to_send) {
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
    work.reports.send(Report::Connected {
        lane: id,
        connection: receiving.held(),
    });
    let (asked_in, asked) = unbounded();
    // The sending thread is there as long as this is.
    let _ = outgoing.send(Outgoing {
        to_send,
        asked: asked_in,
        sending,
    });
    let receive = Receive {
        lane: id,
        receiving,
        asked,
        following,
        work,
        answered: 0,
        group: Group::default(),
    };
    receive.run()
}

/// Connects, in a thread that is left to itself when nobody wants the connection any more. Where
/// there is none to be had, that is waited for.
fn connect(
    address: &Address,
    work: &LaneWork<'_>,
    to_send: &Receiver<Vec<Ask>>,
) -> Option<Result<Session, ClientError>> {
    let over = |stream| Session::over(stream, work.config, work.whole);
    let connecting = || Session::connecting(address, work.config, work.whole);
    let (connected_in, connected) = bounded(1);
    let elsewhere = connecting();
    let started = Builder::new()
        .name("ft-connect".to_owned())
        .spawn(move || drop(connected_in.send(elsewhere())));
    if started.is_err() {
        return Some(connecting()().map(over));
    }
    select! {
        recv(connected) -> stream => {
            let panicked = |_| Err(ClientError::panicked());
            Some(stream.unwrap_or_else(panicked).map(over))
        }
        // Nothing is given before it is connected: the other end is gone.
        recv(to_send) -> _ => None,
    }
}

impl Outgoing {
    fn run(mut self) {
        let sent = guarded(|| {
            send(&self.to_send, &self.asked, &mut self.sending);
            Ok(())
        });
        if let Err(error) = sent {
            // It is told when everything before it has its answer.
            let _ = self.sending.flush();
            let _ = self.asked.send(Err(error));
        }
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
    for file in following {
        verify(file, work);
    }
}

/// Verifies one large file while it is being received.
pub(super) fn verify(file: Following, work: &LaneWork<'_>) {
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
        let Some(((staged, share), found)) = track.follow(&file, &work.shared_hasher, goes_on)
        else {
            return Ok(None);
        };
        // Some file systems rename no file that is open.
        drop(file);
        let found = found.map_err(|error| ClientError::ReadBack(Arc::new(error)))?;
        if let Err(error) = content.check(found) {
            staged.discard();
            return Err(error);
        }
        staged.set_attributes(&attributes(&content, work.config))?;
        // Here, where nothing else waits for it.
        let synced = is_synced_alone(content.total_size, work.config);
        if synced {
            let file = staged.file();
            in_time(work.whole, move || StagedFile::sync_bytes(&file))??;
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
        let _ = work.to_place.send(ToPlace::Files(vec![verified]));
        Ok(None)
    });
    if let Some(outcome) = outcome.transpose() {
        work.reports.finished(id, outcome);
    }
}

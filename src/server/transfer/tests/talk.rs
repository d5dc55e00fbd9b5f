//! A connection of the handler without an engine around it, and its peer.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crossbeam_channel::{Receiver, unbounded};
use serde_json::Value;

use super::super::*;
use crate::digest::Pools;
use crate::net::Wait;
use crate::server::config::ServerConfig;
use crate::server::control::{Control, Mode};
use crate::server::handler::{Parking, WakeByKey, Waker};
use crate::server::queue::WorkQueue;
use crate::server::slots::Key;
use crate::store::{CatalogLimits, MemoryIndex, MemoryStore};

/// What was reported of a request: the operation, and how it ended.
pub(in crate::server::transfer) type Reported = (&'static str, Outcome);

/// A handler, and the reports of its requests.
pub(in crate::server::transfer) struct Served<S: Store> {
    pub(in crate::server::transfer) handler: Arc<TransferHandler<S>>,
    pub(in crate::server::transfer) reports: Receiver<Reported>,
}

/// One connection.
pub(in crate::server::transfer) struct Talk<S: Store> {
    pub(in crate::server::transfer) handler: Arc<TransferHandler<S>>,
    pub(in crate::server::transfer) state: ConnectionState<S::Object>,
    pub(in crate::server::transfer) buffers: WorkerBuffers<S::Object>,
    pub(in crate::server::transfer) stream: Stream,
    pub(in crate::server::transfer) peer: Stream,
    pub(in crate::server::transfer) around: Around,
    pub(in crate::server::transfer) woken: Receiver<()>,
}

/// What the engine would say at each turn.
pub(in crate::server::transfer) struct Around {
    pub(in crate::server::transfer) control: Control,
    target: Arc<dyn WakeByKey>,
    pub(in crate::server::transfer) draining: bool,
    pub(in crate::server::transfer) peer_ended: bool,
    pub(in crate::server::transfer) connections_max: usize,
}

impl Around {
    fn turn(&self) -> Turn<'_> {
        Turn {
            now: Instant::now(),
            draining: self.draining,
            peer_gone: false,
            peer_ended: self.peer_ended,
            connections_max: self.connections_max,
            key: Key::from_bits(0),
            control: &self.control,
            target: &self.target,
        }
    }
}

struct Wakes(crossbeam_channel::Sender<()>);

impl WakeByKey for Wakes {
    fn wake(&self, _: Key) {
        self.0.send(()).unwrap_or(());
    }
}

pub(in crate::server::transfer) fn serve<S: Store>(store: S, limits: TransferLimits) -> Served<S> {
    serve_publishing(store, limits, Published::nothing())
}

pub(in crate::server::transfer) fn serve_publishing<S: Store>(
    store: S,
    limits: TransferLimits,
    published: Published,
) -> Served<S> {
    let pools = Arc::new(Pools::start(2).unwrap());
    let index = Arc::new(MemoryIndex::new());
    let catalog = Catalog::new(store, index, pools, CatalogLimits::for_cores(2));
    let (sender, reports) = unbounded();
    let observer = move |report: &Report<'_>| {
        sender.send((report.op, report.outcome)).unwrap_or(());
    };
    let handler = TransferHandler::new(catalog, limits)
        .publishing(Arc::new(published))
        .observed_by(Box::new(observer));
    let handler = Arc::new(handler);
    Served { handler, reports }
}

impl<S: Store> Served<S> {
    pub(in crate::server::transfer) fn talk(&self) -> Talk<S> {
        let (here, peer) = UnixStream::pair().unwrap();
        self.talk_over(Stream::Unix(here), Stream::Unix(peer))
    }

    pub(in crate::server::transfer) fn talk_over(&self, stream: Stream, peer: Stream) -> Talk<S> {
        stream.set_nonblocking(true).unwrap();
        peer.set_nonblocking(true).unwrap();
        let queue = WorkQueue::new(1, 1);
        let quantum = ServerConfig::default().quantum;
        let (wakes, woken) = unbounded();
        Talk {
            handler: Arc::clone(&self.handler),
            state: ConnectionState::new(Peer::Unix { uid: 0 }, Instant::now()),
            buffers: WorkerBuffers::new(),
            stream,
            peer,
            around: Around {
                control: Control::new(queue, quantum).unwrap().0,
                target: Arc::new(Wakes(wakes)),
                draining: false,
                peer_ended: false,
                connections_max: 64,
            },
            woken,
        }
    }

    /// The reports so far.
    pub(in crate::server::transfer) fn reported(&self) -> Vec<Reported> {
        self.reports.try_iter().collect()
    }
}

impl<S: Store> Talk<S> {
    pub(in crate::server::transfer) fn waker(&self) -> Waker {
        self.around.turn().waker()
    }

    pub(in crate::server::transfer) fn turn(&mut self) -> Disposition {
        let turn = self.around.turn();
        let (stream, state, buffers) = (&mut self.stream, &mut self.state, &mut self.buffers);
        self.handler.advance(stream, state, buffers, turn)
    }

    /// A turn after which the connection rests.
    pub(in crate::server::transfer) fn rest(&mut self) -> Parking {
        match self.turn() {
            Disposition::Park(rest) => rest,
            other => panic!("{other:?}"),
        }
    }

    /// Turns until the connection rests for something else than work elsewhere.
    pub(in crate::server::transfer) fn rest_after_work(&mut self) -> Parking {
        loop {
            let rest = self.rest();
            if !matches!(rest.until.wait, Wait::Hashing | Wait::Page | Wait::Command) {
                return rest;
            }
            self.woken.recv_timeout(Duration::from_secs(60)).unwrap();
        }
    }

    pub(in crate::server::transfer) fn drain(&mut self) {
        self.around.draining = true;
        self.around.control.enter(Mode::Draining);
    }

    pub(in crate::server::transfer) fn send(&mut self, bytes: &[u8]) {
        self.peer.write_all(bytes).unwrap();
    }

    pub(in crate::server::transfer) fn ask(&mut self, json: &str) {
        self.send(&frame(json));
    }

    /// What the peer can read now.
    pub(in crate::server::transfer) fn received(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // It ends with there being nothing more.
        let _ = self.peer.read_to_end(&mut bytes);
        bytes
    }

    /// The headers that the peer can read now, each with the bytes that follow it.
    pub(in crate::server::transfer) fn answers(&mut self) -> Vec<(Value, Vec<u8>)> {
        let received = self.received();
        let (mut rest, mut answers) = (&received[..], Vec::new());
        while let Some((length, behind)) = rest.split_first_chunk() {
            let (text, behind) = behind.split_at(u32::from_le_bytes(*length) as usize);
            let header: Value = serde_json::from_slice(text).unwrap();
            let size = header.get("body_size").unwrap_or(&header["total_size"]);
            let (body, behind) = behind.split_at(size.as_u64().unwrap() as usize);
            answers.push((header, body.to_vec()));
            rest = behind;
        }
        answers
    }

    /// The only answer that the peer can read now.
    pub(in crate::server::transfer) fn answer(&mut self) -> (Value, Vec<u8>) {
        let mut answers = self.answers();
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.remove(0)
    }
}

pub(in crate::server::transfer) fn frame(json: &str) -> Vec<u8> {
    [&(json.len() as u32).to_le_bytes(), json.as_bytes()].concat()
}

pub(in crate::server::transfer) fn noise(count: usize) -> Vec<u8> {
    (0..count as u32).map(|at| (at % 251) as u8).collect()
}

pub(in crate::server::transfer) fn answered(body_bytes: u64) -> Outcome {
    Outcome::Answered { body_bytes }
}

/// A store with one short file, `f`.
pub(in crate::server::transfer) fn one_file() -> MemoryStore {
    let store = MemoryStore::new();
    store.insert("f", "content").unwrap();
    store
}

pub(in crate::server::transfer) const LONG: usize = 3 << 20;

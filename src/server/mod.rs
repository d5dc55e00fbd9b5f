//! The engine (listeners, a bounded queue, workers and one parker) drives a
//! [`ConnectionHandler`]. `transfer` holds the handler that speaks the transfer protocol.

mod acceptor;
mod config;
mod connection;
mod control;
mod descriptors;
mod engine;
mod handler;
mod listening;
mod parker;
mod permits;
mod published;
mod queue;
mod slots;
mod stats;
#[cfg(test)]
mod tests;
mod ticks;
mod transfer;
mod worker;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, after, bounded, never, select};

pub use config::{Closing, Listen, Quantum, ServerConfig};
pub use handler::{ConnectionHandler, Disposition, Ending, Interest, Parking, Turn, Waker};
pub use listening::check_listening;
pub use published::{ErrorOutputTarget, PublishError, Published, RunLimits};
pub use stats::ServerStats;
pub use transfer::{
    ConnectionState, LiveLimits, Observer, Outcome, Report, TransferCounters, TransferHandler,
    TransferLimits, TransferStats, WorkerBuffers,
};

use crate::net::{Address, Listener};
use crate::process::raise_descriptor_limit;
use crate::server::connection::Connection;
use crate::server::control::{Control, Mode};
use crate::server::engine::Engine;
use crate::server::listening::Bound;
use crate::server::parker::Parker;
use crate::server::queue::WorkQueue;
use crate::server::slots::Slots;

/// A bound server. Its listeners queue connections in their backlogs; [`Server::start`] serves
/// them.
pub struct Server<H: ConnectionHandler> {
    engine: Arc<Engine<H>>,
    listeners: Vec<Listener>,
    workers: usize,
    handle: ServerHandle,
    commands: Receiver<Command>,
    emptied: Receiver<()>,
}

/// Drains, stops and observes a server, from any thread.
#[derive(Clone)]
pub struct ServerHandle {
    commands: Sender<Command>,
    addresses: Arc<[Address]>,
    absent: Arc<[SocketAddr]>,
    connections_max: usize,
    stats: Arc<dyn Fn() -> ServerStats + Send + Sync>,
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: String,
        /// The error of the kernel or of name resolution.
        source: io::Error,
    },
    /// The configuration lists no address.
    #[error("there is no address to listen on")]
    NowhereToListen,
    /// The kernel refuses descriptors that the engine needs.
    #[error("cannot start")]
    Start(#[source] io::Error),
    /// The kernel refuses a thread.
    #[error("cannot start a thread")]
    NoThread(#[source] io::Error),
}

enum Command {
    Drain(Duration),
    Stop,
}

impl<H: ConnectionHandler> Server<H> {
    /// Binds all listeners. Raises this process's soft limit of descriptors to its hard limit.
    ///
    /// # Errors
    /// [`ServerError`]: an address is in use or not local, or descriptors ran out.
    pub fn bind(config: ServerConfig, handler: H) -> Result<Server<H>, ServerError> {
        let connections_max = config
            .connections_max
            .clamp(1, descriptors::connections_for(raise_descriptor_limit()));
        let per_address_max = config
            .connections_per_address_max
            .unwrap_or(connections_max.div_ceil(4))
            .max(1);
        let Bound { listeners, absent } = listening::bind_all(&config.listen, config.backlog)?;

        let workers = config.workers.max(1);
        let queue = WorkQueue::new(connections_max, workers);
        let (control, emptied) = Control::new(queue, config.quantum).map_err(ServerError::Start)?;
        let control = Arc::new(control);
        let parker = Parker::new(&control).map_err(ServerError::Start)?;
        let slots = Slots::new(
            connections_max,
            per_address_max,
            Arc::clone(&control),
            Instant::now(),
        );
        let engine = Arc::new(Engine {
            handler,
            slots,
            parker,
            control,
            closing: config.closing,
        });

        let (commands, command_receiver) = bounded(COMMANDS_MAX);
        let addresses = listeners
            .iter()
            .map(|listener| listener.address().clone())
            .collect();
        let stats = {
            let engine = Arc::clone(&engine);
            Arc::new(move || stats_of(&engine))
        };
        let handle = ServerHandle {
            commands,
            addresses,
            absent: absent.into(),
            connections_max,
            stats,
        };
        Ok(Server {
            engine,
            listeners,
            workers,
            handle,
            commands: command_receiver,
            emptied,
        })
    }

    /// A handle that drains, stops and observes this server.
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Serves until [`ServerHandle::drain`] has ended or [`ServerHandle::stop`] is called.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn run(self) -> Result<(), ServerError> {
        self.start().map(Serving::wait)
    }

    /// Starts the threads, which serve from now on.
    ///
    /// # Errors
    /// [`ServerError::NoThread`]: fewer than three threads could be started.
    pub fn start(self) -> Result<Serving<H>, ServerError> {
        let Server {
            engine,
            listeners,
            workers,
            handle,
            commands,
            emptied,
        } = self;
        // Nothing is ever sent: the channel disconnects when the last thread has ended.
        let (alive, all_ended) = bounded::<Infallible>(0);
        let spawn = |name: String, body: Box<dyn FnOnce() + Send>| {
            let alive = alive.clone();
            let run = move || {
                body();
                drop(alive);
            };
            thread::Builder::new()
                .name(name)
                .spawn(run)
                .map_err(ServerError::NoThread)
        };
        let started = (|| {
            let start_worker = |number| {
                let engine = Arc::clone(&engine);
                spawn(
                    format!("ft-worker-{number}"),
                    Box::new(move || worker::work(&engine)),
                )
            };
            start_worker(0)?;
            let parker = Arc::clone(&engine);
            spawn(
                "ft-parker".into(),
                Box::new(move || parker.parker.run(&parker.slots, &parker.control)),
            )?;
            let accepting = Arc::clone(&engine);
            let acceptor = spawn(
                "ft-acceptor".into(),
                Box::new(move || acceptor::accept_all(&accepting, listeners)),
            )?;
            // Further workers are optional: one worker is enough.
            let _ = (1..workers).try_for_each(|number| start_worker(number).map(drop));
            Ok(acceptor)
        })();
        drop(alive);
        match started {
            Ok(acceptor) => Ok(Serving {
                engine,
                acceptor,
                workers,
                _handle: handle,
                commands,
                emptied,
                all_ended,
            }),
            Err(error) => {
                stop(&engine, workers, &all_ended);
                Err(error)
            }
        }
    }
}

/// A server whose threads run.
pub struct Serving<H: ConnectionHandler> {
    engine: Arc<Engine<H>>,
    acceptor: thread::JoinHandle<()>,
    workers: usize,
    /// Keeps the command channel open. A disconnected channel would stop the server.
    _handle: ServerHandle,
    commands: Receiver<Command>,
    emptied: Receiver<()>,
    all_ended: Receiver<Infallible>,
}

impl<H: ConnectionHandler> Serving<H> {
    /// Waits until [`ServerHandle::drain`] has ended or [`ServerHandle::stop`] is called.
    pub fn wait(self) {
        if let Command::Drain(timeout) = self.commands.recv().unwrap_or(Command::Stop) {
            drain(
                &self.engine,
                self.acceptor,
                timeout,
                &self.commands,
                &self.emptied,
            );
        }
        stop(&self.engine, self.workers, &self.all_ended);
    }
}

impl ServerHandle {
    /// Starts a drain: accepts no new connections, finishes running answers, refuses requests
    /// that were already read, and closes idle connections. Cuts off what is left after
    /// `timeout`.
    pub fn drain(&self, timeout: Duration) {
        let _ = self.commands.try_send(Command::Drain(timeout));
    }

    /// Closes all connections at once.
    pub fn stop(&self) {
        let _ = self.commands.try_send(Command::Stop);
    }

    /// The addresses of all listeners, in the order of the configuration. Port 0 is replaced by
    /// the real port.
    pub fn local_addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Addresses of configured host names that this machine does not have.
    pub fn absent_addresses(&self) -> &[SocketAddr] {
        &self.absent
    }

    /// How many connections may be open at once; fewer than configured if descriptors are few.
    pub fn connections_max(&self) -> usize {
        self.connections_max
    }

    /// The current counts.
    pub fn stats(&self) -> ServerStats {
        (self.stats)()
    }
}

fn drain<H: ConnectionHandler>(
    engine: &Engine<H>,
    acceptor: thread::JoinHandle<()>,
    timeout: Duration,
    commands: &Receiver<Command>,
    emptied: &Receiver<()>,
) {
    engine.control.enter(Mode::Draining);
    engine.control.acceptor_wakeup.notify();
    // After this no connection is accepted any more, even if the acceptor panicked.
    let _ = acceptor.join();
    engine.handler.draining();
    engine.slots.wake_all();
    let timed_out = Instant::now()
        .checked_add(timeout)
        .map_or_else(never, |_| after(timeout));
    while engine.slots.open() > 0 {
        select! {
            recv(emptied) -> _ => {}
            recv(timed_out) -> _ => return,
            recv(commands) -> command => {
                if matches!(command, Ok(Command::Stop) | Err(_)) {
                    return;
                }
            }
        }
    }
}

fn stop<H: ConnectionHandler>(
    engine: &Engine<H>,
    workers: usize,
    all_ended: &Receiver<Infallible>,
) {
    engine.control.enter(Mode::Stopping);
    engine.control.acceptor_wakeup.notify();
    engine.control.parker_wakeup.notify();
    let close = |connection: Box<Connection<_>>| connection.close(&engine.handler);
    engine.slots.close_all(close);
    engine.control.queue.stop(workers);
    // Turns are short; only a file system that hangs can delay a thread.
    let _ = all_ended.recv_timeout(THREADS_END_TIMEOUT);
}

fn stats_of<H: ConnectionHandler>(engine: &Engine<H>) -> ServerStats {
    let counters = &engine.control.counters;
    ServerStats {
        accepted: counters.accepted.load(Ordering::Relaxed),
        open: engine.slots.open() as u64,
        evicted: counters.evicted.load(Ordering::Relaxed),
        refused: counters.refused.load(Ordering::Relaxed),
        panicked: counters.panicked.load(Ordering::Relaxed),
    }
}

const COMMANDS_MAX: usize = 8;
const THREADS_END_TIMEOUT: Duration = Duration::from_secs(1);

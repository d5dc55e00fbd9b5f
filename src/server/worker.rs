//! A worker: advances the next connection, then queues, parks or closes it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use crate::server::connection::{Connection, Step};
use crate::server::control::{Mode, count};
use crate::server::engine::Engine;
use crate::server::handler::{ConnectionHandler, Turn, WakeByKey};
use crate::server::slots::Key;

/// Advances connections until the engine stops.
pub(super) fn work<H: ConnectionHandler>(engine: &Arc<Engine<H>>) {
    let target: Arc<dyn WakeByKey> = Arc::clone(engine) as _;
    let mut scratch = engine.handler.scratch();
    while let Some(key) = engine.control.queue.next() {
        let Some(mut connection) = engine.slots.take(key) else {
            continue;
        };
        let mode = engine.control.mode();
        if mode == Mode::Stopping {
            close(engine, key, *connection);
            continue;
        }
        let turn = Turn {
            now: Instant::now(),
            draining: mode == Mode::Draining,
            peer_gone: connection.peer_gone,
            peer_ended: connection.peer_ended,
            connections_max: engine.slots.count(),
            key,
            control: &engine.control,
            target: &target,
        };
        // A panic costs the connection of its request, not the server.
        let step = catch_unwind(AssertUnwindSafe(|| {
            connection.advance(&engine.handler, &mut scratch, &engine.closing, turn)
        }));
        match step {
            Ok(Step::Again) => {
                if let Err(connection) = engine.slots.queue(key, connection) {
                    close(engine, key, *connection);
                }
            }
            Ok(Step::Park(rest)) => {
                let arm = |connection: &mut Connection<H::State>| {
                    engine.parker.arm(connection, key, rest.interest)
                };
                let parked = engine.slots.park(
                    key,
                    connection,
                    rest.until.at,
                    rest.evictable_from,
                    mode,
                    arm,
                );
                if let Err(connection) = parked {
                    close(engine, key, *connection);
                }
            }
            Ok(Step::Close) => close(engine, key, *connection),
            Ok(Step::Reset) => {
                connection.stream.reset_on_close();
                close(engine, key, *connection);
            }
            Err(_) => {
                count(&engine.control.counters.panicked);
                scratch = engine.handler.scratch();
                connection.stream.reset_on_close();
                // The handler's state may be half changed.
                drop(connection);
                engine.slots.release(key);
            }
        }
    }
}

fn close<H: ConnectionHandler>(engine: &Engine<H>, key: Key, connection: Connection<H::State>) {
    // Close before the permit is released: connections never outnumber permits.
    connection.close(&engine.handler);
    engine.slots.release(key);
}

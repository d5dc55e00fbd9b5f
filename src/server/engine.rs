//! What acceptor, workers and parker of one server have in common.

use std::sync::Arc;

use crate::server::config::Closing;
use crate::server::connection::Connection;
use crate::server::control::Control;
use crate::server::handler::{ConnectionHandler, WakeByKey};
use crate::server::parker::Parker;
use crate::server::slots::{Key, Slots};

pub(super) struct Engine<H: ConnectionHandler> {
    pub(super) handler: H,
    pub(super) slots: Slots<Connection<H::State>>,
    pub(super) parker: Parker,
    pub(super) control: Arc<Control>,
    pub(super) closing: Closing,
}

impl<H: ConnectionHandler> WakeByKey for Engine<H> {
    fn wake(&self, key: Key) {
        self.slots.wake(key, |_| {});
    }
}

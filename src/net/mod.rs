//! What client and server share about connections.

mod address;
mod deadline;
mod stream;
mod tcp_facts;

pub use address::{Address, AddressError, DEFAULT_PORT, Location};
pub use deadline::{Deadline, Wait};
pub use stream::{Listener, Peer, Stream};

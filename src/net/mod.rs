//! What client and server share about connections.

mod address;
mod deadline;
mod listener;
mod rate;
mod socket_info;
mod stream;

pub use address::{Address, AddressError, DEFAULT_PORT, Location};
pub use deadline::{Deadline, Wait};
pub use listener::{Listener, not_a_socket};
pub use rate::{BURST_TIME, Pace, Rate, portion, time_of};
pub use stream::{Peer, Stream};

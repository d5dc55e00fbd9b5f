//! Downloading: sessions with a server, single files, and many at once.
//!
//! Nothing here prints, ends the process or reads the environment: calls return values, and
//! report events on the way.

mod batch;
mod config;
mod connect;
mod error;
mod event;
mod follow;
mod job;
mod pour;
mod question;
mod receive;
mod retry;
mod round;
mod session;
mod settle;
mod verify;

pub use batch::{DownloadResult, download};
pub use config::{
    AddressFamily, ClientConfig, IfExists, RETRY_AFTER_MAX, RETRY_DELAY_MAX,
    RETRY_PROGRESS_BYTES_MIN, RetryPolicy, SyncPolicy,
};
pub use error::{ClientError, ConnectError, ProtocolError, ServerRefusal, SessionError};
pub use event::{Action, Downloaded, Event, PROGRESS_INTERVAL};
pub use job::Download;
pub use pour::{Pour, pour};
pub use session::{ReceivingHalf, SendingHalf, Session};

#[cfg(test)]
mod tests;

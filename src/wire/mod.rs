//! Values and bytes of the protocol. This floor uses no socket, no file and no clock.
//!
//! The rest of this page is the contract itself, `PROTOCOL.md`.
//!
#![doc = include_str!("PROTOCOL.md")]

mod attributes;
mod error;
mod frame;
mod fuzz;
mod header;
mod json_reader;
mod json_writer;
mod limits;
mod listing;
mod md5_digest;
mod name;
mod path;
mod range;
mod received_request;
mod request;
mod spelling;
mod text;
mod timestamp;

#[cfg(test)]
mod tests;

pub use error::{ErrorCode, Refusal, WireError};
pub use frame::{Frame, frame_length, split_frame};
pub use fuzz::fuzz;
pub use header::{ErrorReply, Hello, Interim, ObjectKind, ResponseHeader};
pub use limits::*;
pub use listing::ListEntry;
pub use md5_digest::Md5Digest;
pub use path::{PathError, ResourcePath};
pub use range::ByteRange;
pub use received_request::ReceivedRequest;
pub use request::{Action, Call, GetRequest, ListRequest, RequestId, RunRequest, StatRequest};
pub use spelling::{Spelling, classify};
pub use text::{TEXT_LINE_BYTES_MAX, TextEvent, TextReader};
pub use timestamp::Timestamp;

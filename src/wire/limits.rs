//! Every limit of the protocol that is a number of bytes or items
//! (`PROTOCOL.md`, "Limits"). Durations are the server's and the client's own.

/// The longest JSON text of one frame, in bytes. For ever: 66,326 is how TLS begins.
pub const FRAME_BYTES_MAX: usize = 65_536;
/// The shortest JSON text of one frame, `{}`.
pub const FRAME_BYTES_MIN: usize = 2;
/// Bytes of the little-endian length before the JSON text.
pub const LENGTH_BYTES: usize = 4;
/// How deep objects and arrays may nest in a frame.
pub const JSON_DEPTH_MAX: usize = 16;
/// The longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 4_096;
/// The longest part of a path, in bytes.
pub const PATH_PART_BYTES_MAX: usize = 255;
/// The most parts a path may have.
pub const PATH_PARTS_MAX: usize = 256;
/// The longest `id` string a request may carry, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 64;
/// The longest `error.message`, in bytes.
pub const ERROR_MESSAGE_BYTES_MAX: usize = 200;
/// Entries of one page of a listing, by default and at most.
pub const LIST_ENTRIES_MAX: usize = 10_000;
/// Bytes of one page of a listing.
pub const LIST_PAGE_BYTES_MAX: usize = 1024 * 1024;
/// The longest `next`, in bytes.
pub const LIST_CURSOR_BYTES_MAX: usize = 8 * 1024;
/// The largest size or offset that means anything: 2^63 - 1.
pub const SIZE_MAX: u64 = i64::MAX as u64;

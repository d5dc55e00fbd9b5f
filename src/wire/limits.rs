//! The limits of the protocol in bytes or items (`PROTOCOL.md`, "Limits"). Server and client
//! configure time limits themselves.

/// The longest JSON text of one frame, in bytes. It can never grow: 66,326 is how TLS begins.
pub const FRAME_BYTES_MAX: usize = 65_536;
/// The shortest JSON text of one frame, `{}`.
pub const FRAME_BYTES_MIN: usize = 2;
/// Length of the length field before the JSON text, in bytes.
pub const LENGTH_BYTES: usize = 4;
/// How deep objects and arrays may nest in a frame.
pub const JSON_DEPTH_MAX: usize = 16;
/// The longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 4_096;
/// The longest part of a path, in bytes.
pub const PATH_PART_BYTES_MAX: usize = 255;
/// The most parts a path may have.
pub const PATH_PARTS_MAX: usize = 256;
/// The longest `id` string of a request, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 64;
/// The longest `error.message`, in bytes.
pub const ERROR_MESSAGE_BYTES_MAX: usize = 200;
/// Entries of one page of a listing: the default and the maximum.
pub const LIST_ENTRIES_MAX: usize = 10_000;
/// Length of one page of a listing, in bytes.
pub const LIST_PAGE_BYTES_MAX: usize = 1024 * 1024;
/// The longest `next`, in bytes.
pub const LIST_CURSOR_BYTES_MAX: usize = 8 * 1024;
/// The largest valid size or offset: 2^63 - 1.
pub const SIZE_MAX: u64 = i64::MAX as u64;

//! The frame: a 32-bit little-endian length, then one strict JSON object.

use crate::wire::WireError;

/// One complete frame at the start of a buffer.
#[derive(Debug, PartialEq)]
pub struct Frame<'a> {
    /// The JSON text, not yet parsed.
    pub json: &'a [u8],
    /// Bytes of the buffer that the frame takes: the length and the text.
    pub bytes: usize,
}

/// Finds the first frame of `buffer`. `Ok(None)` means: a legal start, more bytes are
/// needed. Nothing is reserved from the length.
///
/// # Errors
/// [`WireError::FrameLength`], as soon as the four bytes are there;
/// [`WireError::Json`] as soon as the fifth byte is not `{`.
pub fn split_frame(buffer: &[u8]) -> Result<Option<Frame<'_>>, WireError> {
    let _ = buffer;
    todo!()
}

/// The four bytes before a JSON text of `json_bytes` bytes.
pub fn frame_length(json_bytes: usize) -> [u8; 4] {
    u32::try_from(json_bytes).unwrap_or(u32::MAX).to_le_bytes()
}

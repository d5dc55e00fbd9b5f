//! The frame: a 32-bit little-endian length, then one strict JSON object.

use crate::wire::{FRAME_BYTES_MAX, FRAME_BYTES_MIN, LENGTH_BYTES, WireError};

/// A complete frame at the start of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The JSON text, not yet parsed.
    pub json: &'a [u8],
    /// Length of the frame in the buffer: four bytes and the text.
    pub bytes: usize,
}

/// Finds the first frame of `buffer`. `Ok(None)` means that the start is valid and more bytes are
/// needed. No memory is reserved from the length.
///
/// # Errors
/// [`WireError::FrameLength`], once the four bytes are there; [`WireError::Json`], once the fifth
/// byte is not `{`.
pub fn split_frame(buffer: &[u8]) -> Result<Option<Frame<'_>>, WireError> {
    let Some((length, rest)) = buffer.split_first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*length);
    let json_bytes = length as usize;
    if !(FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&json_bytes) {
        return Err(WireError::FrameLength(length));
    }
    if rest.first().is_some_and(|&byte| byte != b'{') {
        return Err(WireError::Json("text must begin with {".to_owned()));
    }
    Ok(rest.get(..json_bytes).map(|json| Frame {
        json,
        bytes: LENGTH_BYTES + json_bytes,
    }))
}

/// The four bytes before a JSON text of `json_bytes` bytes.
pub fn frame_length(json_bytes: usize) -> [u8; LENGTH_BYTES] {
    u32::try_from(json_bytes).unwrap_or(u32::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(json: &str) -> Vec<u8> {
        let mut frame = (json.len() as u32).to_le_bytes().to_vec();
        frame.extend_from_slice(json.as_bytes());
        frame
    }

    #[test]
    fn needs_more_bytes_at_every_strict_prefix() {
        let frame = framed(r#"{"filename":"a/b.txt"}"#);
        for cut in 0..frame.len() {
            assert_eq!(
                split_frame(&frame[..cut]),
                Ok(None),
                "cut after {cut} bytes"
            );
        }
    }

    #[test]
    fn leaves_what_follows_the_frame() {
        let mut bytes = framed("{}");
        bytes.extend_from_slice(&framed(r#"{"op":"hello"}"#));
        assert_eq!(
            split_frame(&bytes),
            Ok(Some(Frame {
                json: b"{}",
                bytes: 6
            }))
        );
        assert_eq!(
            split_frame(&bytes[6..]).unwrap().unwrap().json,
            br#"{"op":"hello"}"#
        );
    }

    #[test]
    fn checks_the_length_as_soon_as_it_is_there() {
        for length in [
            0,
            1,
            65_537,
            0x0100_0000,
            0x7fff_ffff,
            0x8000_0000,
            u32::MAX,
        ] {
            let bytes = length.to_le_bytes();
            assert_eq!(split_frame(&bytes[..3]), Ok(None), "{length}");
            assert_eq!(split_frame(&bytes), Err(WireError::FrameLength(length)));
        }
        for length in [2_u32, 3, 65_535, 65_536] {
            assert_eq!(split_frame(&length.to_le_bytes()), Ok(None), "{length}");
        }
    }

    #[test]
    fn accepts_the_longest_frame() {
        let json = format!("{{{:65534}}}", "");
        let frame = framed(&json);
        assert_eq!(split_frame(&frame[..frame.len() - 1]), Ok(None));
        assert_eq!(split_frame(&frame).unwrap().unwrap().json, json.as_bytes());
    }

    #[test]
    fn detects_by_the_fifth_byte_that_no_object_follows() {
        for fifth in (0..=u8::MAX).filter(|&byte| byte != b'{') {
            let bytes = [9, 0, 0, 0, fifth];
            assert!(
                matches!(split_frame(&bytes), Err(WireError::Json(_))),
                "{fifth:#04x}"
            );
        }
        assert_eq!(split_frame(&[9, 0, 0, 0, b'{']), Ok(None));
    }

    #[test]
    fn writes_the_length_as_little_endian() {
        assert_eq!(frame_length(2), [2, 0, 0, 0]);
        assert_eq!(frame_length(65_536), [0, 0, 1, 0]);
    }
}

//! The attributes of an object, in headers and in entries of listings.

use serde::ser::SerializeMap;

use crate::wire::json_reader::Value;
use crate::wire::{Md5Digest, ObjectKind, Timestamp};

/// The keys that a header and an entry of a listing have in common.
pub(super) fn write_attributes<M: SerializeMap>(
    map: &mut M,
    mtime: Option<Timestamp>,
    mode: Option<u32>,
) -> Result<(), M::Error> {
    if let Some(mtime) = mtime.and_then(Timestamp::to_text) {
        map.serialize_entry("mtime", ascii(&mtime))?;
    }
    if let Some(mode) = mode {
        let [user, group, other] = [6, 3, 0].map(|shift| b'0' + (mode >> shift & 7) as u8);
        map.serialize_entry("mode", ascii(&[b'0', user, group, other]))?;
    }
    Ok(())
}

// Outer `None`: not a digest field. Inner `None`: the digest is not known.
pub(super) fn read_md5(value: Value<'_>) -> Option<Option<Md5Digest>> {
    match &*value.into_text()? {
        "" => Some(None),
        digits => Md5Digest::parse(digits).map(Some),
    }
}

pub(super) fn read_mode(value: Value<'_>) -> Option<u32> {
    match value.into_text()?.as_bytes() {
        [b'0', digits @ ..] if digits.len() == 3 => digits.iter().try_fold(0, |mode, digit| {
            matches!(digit, b'0'..=b'7').then(|| mode << 3 | u32::from(digit - b'0'))
        }),
        _ => None,
    }
}

pub(super) fn read_kind(value: Value<'_>) -> Option<ObjectKind> {
    ObjectKind::parse(&value.into_text()?)
}

pub(super) fn read_mtime(value: Value<'_>) -> Option<Timestamp> {
    Timestamp::parse(&value.into_text()?)
}

pub(super) fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("hex and decimal digits are ASCII")
}

pub(super) const EXPECTED_MD5: &str = "32 lowercase hex digits or empty";
pub(super) const EXPECTED_KIND: &str = "file, dir, symlink or other";
pub(super) const EXPECTED_MTIME: &str = "a UTC time with nanoseconds";
pub(super) const EXPECTED_MODE: &str = "0 and three octal digits";

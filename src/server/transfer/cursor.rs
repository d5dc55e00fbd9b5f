//! The `next` key of a page: an opaque position at which the listing continues.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::digest::Md5Stream;
use crate::wire::ResourcePath;

/// The cursor after this entry, in a listing of the root with number `root`.
pub(super) fn cursor_behind(path: &ResourcePath, recursive: bool, root: u32) -> String {
    let permit = [&root.to_le_bytes(), path.as_bytes()].concat();
    BASE64_URL_SAFE_NO_PAD.encode([&check(&permit, recursive)[..], &permit].concat())
}

/// The entry after which the listing continues, and the number of its root. `None` if
/// [`cursor_behind`] did not create this cursor for an equally `recursive` listing.
pub(super) fn read_cursor(cursor: &str, recursive: bool) -> Option<(ResourcePath, u32)> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (found, permit) = bytes.split_first_chunk()?;
    // No digest protects a cursor in transit, and a damaged one would skip entries.
    if *found != check(permit, recursive) {
        return None;
    }
    let (root, path) = permit.split_first_chunk()?;
    Some((ResourcePath::parse(path).ok()?, u32::from_le_bytes(*root)))
}

fn check(permit: &[u8], recursive: bool) -> [u8; CHECK_BYTES] {
    let digest = Md5Stream::digest(&[permit, &[recursive.into()]].concat());
    let [first, second, third, fourth, ..] = *digest.as_bytes();
    [first, second, third, fourth]
}

const CHECK_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{LIST_CURSOR_BYTES_MAX, PATH_BYTES_MAX};

    fn path(bytes: &[u8]) -> ResourcePath {
        ResourcePath::parse(bytes).unwrap()
    }

    #[test]
    fn a_cursor_restores_its_position_for_an_equal_listing_only() {
        let longest = [[b'x'; 255].as_slice(); 16].join(&b'/');
        assert_eq!(longest.len() + 1, PATH_BYTES_MAX);
        for name in [&b"a"[..], b"a/b.c", b"caf\xe9/\n", &longest] {
            for (recursive, root) in [(false, 0), (true, 1), (true, u32::MAX)] {
                let cursor = cursor_behind(&path(name), recursive, root);
                assert!(cursor.len() <= LIST_CURSOR_BYTES_MAX);
                assert_eq!(read_cursor(&cursor, recursive), Some((path(name), root)));
                assert_eq!(read_cursor(&cursor, !recursive), None);
            }
        }
    }

    #[test]
    fn rejects_a_cursor_with_a_damaged_missing_or_doubled_byte() {
        let cursor = cursor_behind(&path(b"folder/hello.txt"), true, 7).into_bytes();
        let mut damaged = Vec::new();
        for at in 0..cursor.len() {
            for bit in 0..8 {
                let mut other = cursor.clone();
                other[at] ^= 1 << bit;
                damaged.push(other);
            }
            damaged.push([&cursor[..at], &cursor[at + 1..]].concat());
            damaged.push([&cursor[..=at], &cursor[at..]].concat());
            damaged.push(cursor[..at].to_vec());
        }
        for other in damaged.iter().filter(|other| **other != cursor) {
            let other = String::from_utf8_lossy(other);
            assert_eq!(read_cursor(&other, true), None, "{other}");
        }
    }
}

//! One line of a list of checksums, in any of the forms that programs write.
//!
//! - md5sum(1): `DIGITS  NAME`, `DIGITS *NAME`; a backslash before the line says that the name is
//!   escaped; `md5 -r` has one space.
//! - md5(1) of BSD and `--tag`: `MD5 (NAME) = DIGITS`; OpenSSL: `MD5(NAME)= DIGITS`.
//! - cksum(1) with `--base64`: the same, with base64 for the digits.
//! - Tools of other systems: `NAME DIGITS`.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::wire::Md5Digest;

/// The checksum in a line of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Checksum<'a> {
    /// The md5 of a file.
    Md5 {
        md5: Md5Digest,
        name: &'a [u8],
        is_escaped: bool,
    },
    /// A digest of this algorithm.
    Other(String),
    /// The line has a digest, in none of the forms above.
    Unclear,
    /// The line has nothing that looks like a digest.
    None,
}

impl<'a> Checksum<'a> {
    pub(super) fn of(line: &'a [u8]) -> Checksum<'a> {
        Checksum::strict(line)
            .or_else(|| behind_name(line))
            .unwrap_or_else(|| {
                if has_digest(line) {
                    Checksum::Unclear
                } else {
                    Checksum::None
                }
            })
    }

    /// Reads a line that may be any name. Only the forms of md5sum(1) and cksum(1) count as
    /// checksums.
    pub(super) fn strict(line: &'a [u8]) -> Option<Checksum<'a>> {
        let (line, is_escaped) = match line.strip_prefix(b"\\") {
            Some(rest) => (rest, true),
            None => (line, false),
        };
        tagged(line, is_escaped).or_else(|| before_name(line, is_escaped))
    }
}

/// `MD5 (NAME) = DIGITS` and `MD5(NAME)= DIGITS`.
fn tagged(line: &[u8], is_escaped: bool) -> Option<Checksum<'_>> {
    // The name may contain any byte, the rest contains neither of these.
    let open = line.iter().position(|&byte| byte == b'(')?;
    let space = line.iter().rposition(|&byte| byte == b' ')?;
    let value = &line[space + 1..];
    let name = line.get(open + 1..space)?;
    let name = name
        .strip_suffix(b") =")
        .or_else(|| name.strip_suffix(b")="))
        .filter(|name| !name.is_empty())?;
    let tag = line[..open].strip_suffix(b" ").unwrap_or(&line[..open]);
    let is_tag_byte = |byte: &u8| byte.is_ascii_alphanumeric() || b"-/_".contains(byte);
    if tag.is_empty() || !tag.iter().all(is_tag_byte) {
        return None;
    }
    if tag.eq_ignore_ascii_case(b"md5") {
        let md5 = read_md5(value).or_else(|| read_base64(value))?;
        return Some(Checksum::Md5 {
            md5,
            name,
            is_escaped,
        });
    }
    let is_digest = (value.len() >= CRC32_DIGITS && is_hex(value))
        || (value.len() >= BASE64_OF_MD5 && BASE64_STANDARD.decode(value).is_ok());
    is_digest.then(|| Checksum::Other(String::from_utf8_lossy(tag).into_owned()))
}

/// `DIGITS  NAME` and `DIGITS *NAME`, and the default form of cksum(1).
fn before_name(line: &[u8], is_escaped: bool) -> Option<Checksum<'_>> {
    // md5sum(1) skips leading space too.
    let line = line.trim_ascii_start();
    let end = line.iter().position(|byte| b" \t".contains(byte))?;
    let (digits, rest) = line.split_at(end);
    let rest = &rest[1..];
    if let Some(algorithm) = algorithm_of(digits).filter(|_| !rest.is_empty()) {
        return Some(Checksum::Other(algorithm.to_owned()));
    }
    let is_number = |bytes: &[u8]| !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
    if (CKSUM_DIGITS_MIN..=CKSUM_DIGITS_MAX).contains(&digits.len()) && is_number(digits) {
        let size = rest.split(|&byte| byte == b' ').next()?;
        let has_name = rest.len() > size.len() + 1;
        return (is_number(size) && has_name).then(|| Checksum::Other("CRC of cksum".to_owned()));
    }
    let mark = [&b" "[..], b"*", b"?MD5*"];
    let marked = mark.iter().find_map(|mark| rest.strip_prefix(*mark));
    let md5 = match read_md5(digits) {
        Some(md5) => md5,
        // Without a mark this may be the beginning of a name.
        None => read_base64(digits).filter(|_| marked.is_some())?,
    };
    let name = marked.unwrap_or(rest);
    (!name.is_empty()).then_some(Checksum::Md5 {
        md5,
        name,
        is_escaped,
    })
}

/// `NAME DIGITS`.
fn behind_name(line: &[u8]) -> Option<Checksum<'_>> {
    let line = line.trim_ascii_end();
    let space = line.iter().rposition(|byte| b" \t".contains(byte))?;
    let digits = line[space + 1..].trim_ascii();
    let digits = digits.strip_prefix(b"*").unwrap_or(digits);
    if let Some(algorithm) = algorithm_of(digits) {
        return Some(Checksum::Other(algorithm.to_owned()));
    }
    let md5 = read_md5(digits)?;
    let name = line[..space].trim_ascii_end();
    // A separator at the end shows that the name was cut in the wrong place.
    let is_clear = !name.is_empty() && !name.ends_with(b":") && !name.ends_with(b"=");
    is_clear.then_some(Checksum::Md5 {
        md5,
        name,
        is_escaped: false,
    })
}

/// The digits of a line that may be an SFV line, `NAME CRC32`. A plain name may end like that too.
pub(super) fn crc32_of(line: &[u8]) -> Option<&[u8]> {
    let line = line.trim_ascii_end();
    let (name, digits) = line.split_at_checked(line.len().checked_sub(CRC32_DIGITS)?)?;
    let is_name = name.ends_with(b" ") && !name.trim_ascii().is_empty() && !name.starts_with(b"./");
    (is_name && is_hex(digits)).then_some(digits)
}

/// Whether a line has a digest as one of several words.
fn has_digest(line: &[u8]) -> bool {
    let is_edge = |byte: &u8| b" \t,;:=|\"'".contains(byte);
    let mut words = line.split(is_edge).filter(|word| !word.is_empty());
    let is_digest = |word: &[u8]| {
        let word = word.strip_prefix(b"*").unwrap_or(word);
        read_md5(word).is_some() || algorithm_of(word).is_some()
    };
    // A digest alone is a name.
    line.iter().any(is_edge) && words.any(is_digest)
}

/// The algorithm that has digests of this length; `None` for MD5.
fn algorithm_of(digits: &[u8]) -> Option<&'static str> {
    let algorithm = match digits.len() {
        40 => "SHA-1",
        56 => "SHA-224",
        64 => "SHA-256",
        96 => "SHA-384",
        128 => "SHA-512 or BLAKE2b",
        _ => return None,
    };
    is_hex(digits).then_some(algorithm)
}

pub(super) fn read_md5(digits: &[u8]) -> Option<Md5Digest> {
    let digits = std::str::from_utf8(digits).ok()?;
    Md5Digest::parse(&digits.to_ascii_lowercase())
}

fn read_base64(text: &[u8]) -> Option<Md5Digest> {
    if text.len() != BASE64_OF_MD5 {
        return None;
    }
    let bytes = BASE64_STANDARD.decode(text).ok()?;
    Some(Md5Digest::from_bytes(bytes.try_into().ok()?))
}

fn is_hex(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_hexdigit)
}

/// The shortest digest in hexadecimal.
const CRC32_DIGITS: usize = 8;
/// The length with padding.
const BASE64_OF_MD5: usize = 24;
/// The decimal digits of a 32-bit CRC. One CRC of 43 has fewer digits; such a line counts as a
/// name, as in `20261128 1 report`.
const CKSUM_DIGITS_MIN: usize = 9;
const CKSUM_DIGITS_MAX: usize = 10;

//! Names in a directory: of finished files, and of partial files.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use crate::digest::Md5Stream;
use crate::wire::{Md5Digest, PATH_PART_BYTES_MAX};

/// The name of a file in a directory: 1 to 255 bytes without `/` and NUL, not `.` or `..`, and not
/// reserved for partial files.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName(Box<[u8]>);

/// Why bytes are not a [`FileName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileNameError {
    /// The name has no bytes.
    #[error("file name is empty")]
    Empty,
    /// The name is longer than [`PATH_PART_BYTES_MAX`].
    #[error("file name is {0} bytes, the limit is {PATH_PART_BYTES_MAX}")]
    TooLong(usize),
    /// The name is `.` or `..`, or contains a slash or a NUL.
    #[error("file name is . or .. or contains a slash or a NUL")]
    NotAName,
    /// The name begins with the prefix of partial files.
    #[error("file names that begin with .ft- are reserved for partial files")]
    Reserved,
}

impl FileName {
    /// Checks the bytes of a name.
    ///
    /// # Errors
    /// The first rule that the name breaks.
    pub fn parse(bytes: &[u8]) -> Result<FileName, FileNameError> {
        match bytes {
            b"" => Err(FileNameError::Empty),
            b"." | b".." => Err(FileNameError::NotAName),
            long if long.len() > PATH_PART_BYTES_MAX => Err(FileNameError::TooLong(long.len())),
            bad if bad.contains(&b'/') || bad.contains(&0) => Err(FileNameError::NotAName),
            reserved if reserved.starts_with(PREFIX) => Err(FileNameError::Reserved),
            good => Ok(FileName(good.into())),
        }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// `name.1`, `name.2`, ... The name is cut between characters so that the result has at most
    /// `bytes_max` bytes. A `bytes_max` of 0, or over [`PATH_PART_BYTES_MAX`], means that limit.
    pub(super) fn numbered(&self, number: u32, bytes_max: u64) -> FileName {
        let ending = format!(".{number}");
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let bytes_max = match bytes_max > ending.len() {
            true => bytes_max.min(PATH_PART_BYTES_MAX),
            false => PATH_PART_BYTES_MAX,
        };
        let kept = cut(&self.0, bytes_max - ending.len());
        FileName([kept, ending.as_bytes()].concat().into())
    }

    pub(super) fn tag(&self) -> NameTag {
        let hex = Md5Stream::digest(&self.0).to_hex();
        *hex.first_chunk().expect("an md5 has 32 digits")
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileName({:?})", self.0.escape_ascii().to_string())
    }
}

/// The first `bytes_max` bytes, or a few less so as not to split a character. In bytes that are not
/// UTF-8, every byte is a character.
pub(super) fn cut(bytes: &[u8], bytes_max: usize) -> &[u8] {
    if bytes.len() <= bytes_max {
        return bytes;
    }
    let first = bytes_max.saturating_sub(CHARACTER_BYTES_MAX - 1);
    let character = (first..=bytes_max)
        .rev()
        .find(|&at| bytes[at] & 0xc0 != 0x80);
    let Some(begin) = character.filter(|&begin| begin > 0 && begin < bytes_max) else {
        return &bytes[..bytes_max];
    };
    let is_cut = |end: &usize| *end > bytes_max && std::str::from_utf8(&bytes[begin..*end]).is_ok();
    let ends = begin + 2..=bytes.len().min(begin + CHARACTER_BYTES_MAX);
    match ends.into_iter().any(|end| is_cut(&end)) {
        true => &bytes[..begin],
        false => &bytes[..bytes_max],
    }
}

/// The part of a partial file's name that stands for the final name: 16 hex digits of its md5.
pub(super) type NameTag = [u8; 16];

/// The name of a partial file: `.ft-<tag>-<32 hex of the content>.part` if it can be resumed, with
/// 16 more random hex digits where files cannot be locked; else `.ft-<tag>-<16 random hex>.part`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartialName {
    pub(super) text: String,
    pub(super) tag: NameTag,
    /// The md5 of the whole content; the file is a prefix of it.
    pub(super) content: Option<Md5Digest>,
}

impl PartialName {
    pub(super) fn of_content(tag: NameTag, content: Md5Digest) -> PartialName {
        PartialName {
            text: partial_text(tag, &content),
            tag,
            content: Some(content),
        }
    }

    pub(super) fn random(tag: NameTag) -> PartialName {
        PartialName {
            text: partial_text(tag, &format_args!("{:016x}", random_bits())),
            tag,
            content: None,
        }
    }

    /// A name that no other process writes to.
    pub(super) fn unshared(tag: NameTag, content: Md5Digest) -> PartialName {
        PartialName {
            text: partial_text(tag, &format_args!("{content}{:016x}", random_bits())),
            tag,
            content: Some(content),
        }
    }

    /// Parses the name of a directory entry; `None` if it is not that of a partial file.
    pub(super) fn parse(name: &[u8]) -> Option<PartialName> {
        let text = std::str::from_utf8(name).ok()?;
        let (tag, rest) = text
            .strip_prefix(".ft-")?
            .strip_suffix(".part")?
            .split_once('-')?;
        let is_hex = |text: &str| {
            text.bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        if !is_hex(tag) || !is_hex(rest) || !matches!(rest.len(), 16 | 32 | 48) {
            return None;
        }
        let tag = tag.as_bytes().try_into().ok()?;
        Some(PartialName {
            text: text.to_owned(),
            tag,
            content: rest.get(..32).and_then(Md5Digest::parse),
        })
    }
}

fn partial_text(tag: NameTag, rest: &dyn fmt::Display) -> String {
    format!(".ft-{}-{rest}.part", tag.escape_ascii())
}

/// Bits that differ between calls and between processes: every new `RandomState` has new keys.
fn random_bits() -> u64 {
    RandomState::new().hash_one(())
}

const PREFIX: &[u8] = b".ft-";
/// The longest character in UTF-8.
const CHARACTER_BYTES_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_names_that_leave_the_directory_or_pretend_to_be_partial() {
        for (name, error) in [
            (&b""[..], FileNameError::Empty),
            (b".", FileNameError::NotAName),
            (b"..", FileNameError::NotAName),
            (b"a/b", FileNameError::NotAName),
            (b"/", FileNameError::NotAName),
            (b"a\0", FileNameError::NotAName),
            (&[b'a'; 256], FileNameError::TooLong(256)),
            (b".ft-x", FileNameError::Reserved),
        ] {
            assert_eq!(FileName::parse(name), Err(error), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn accepts_odd_names_that_stay_in_the_directory() {
        for name in [
            &b"a"[..],
            b"...",
            b"..x",
            b" ",
            b"-rf",
            b"\n",
            b"\xff\xfe",
            b".ftp",
            b"C:\\x",
            &[b'a'; 255],
        ] {
            assert!(FileName::parse(name).is_ok(), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn numbers_stay_within_the_limit() {
        let name = FileName::parse(&[b'a'; 255]).unwrap();
        for (bytes_max, length) in [(0, 255), (2, 255), (255, 255), (1_000, 255), (143, 143)] {
            let numbered = name.numbered(12, bytes_max);
            assert_eq!(numbered.as_bytes().len(), length, "{bytes_max}");
            assert!(numbered.as_bytes().ends_with(b"a.12"));
        }
        // A limit that holds only the number is ignored.
        let name = FileName::parse(b"name").unwrap();
        for (bytes_max, expected) in [(2, "name.1"), (3, "n.1"), (5, "nam.1"), (6, "name.1")] {
            let numbered = name.numbered(1, bytes_max);
            assert_eq!(numbered.as_bytes(), expected.as_bytes(), "{bytes_max}");
        }
    }

    #[test]
    fn a_name_is_cut_between_characters() {
        for (name, bytes_max, kept) in [
            ("éé", 4, "éé"),
            ("éé", 3, "é"),
            ("éé", 2, "é"),
            ("a€€", 6, "a€"),
            ("a€€", 5, "a€"),
            ("a€€", 4, "a€"),
            ("a€€", 3, "a"),
            ("a𝄞b", 5, "a𝄞"),
            ("a𝄞b", 4, "a"),
            ("a𝄞b", 2, "a"),
            ("abc", 2, "ab"),
            ("aébc", 3, "aé"),
            ("abéc", 2, "ab"),
        ] {
            assert_eq!(cut(name.as_bytes(), bytes_max), kept.as_bytes(), "{name}");
        }
    }

    #[test]
    fn a_name_that_is_not_utf8_is_cut_at_any_byte() {
        for (name, bytes_max) in [
            (&b"\xe9\xe9\xe9"[..], 2),
            (b"\x80\x80\x80\x80\x80\x80", 5),
            (b"a\xc3(", 2),
            (b"a\xe2\x82(", 3),
            (b"\xff\xff", 1),
            (b"\xc3\xa9", 1),
            (b"ab\xff\x80\x80\x80", 4),
        ] {
            assert_eq!(cut(name, bytes_max), &name[..bytes_max]);
        }
    }

    #[test]
    fn reads_back_the_names_it_makes_and_no_others() {
        let tag = FileName::parse(b"hello.txt").unwrap().tag();
        let content = Md5Stream::digest(b"content");
        for made in [
            PartialName::of_content(tag, content),
            PartialName::random(tag),
        ] {
            assert_eq!(PartialName::parse(made.text.as_bytes()), Some(made));
        }
        for other in [
            "",
            ".ft-",
            "hello.txt",
            ".ft-0123456789abcdef-x.part",
            ".ft-0123456789abcdef-0123.part",
            ".ft-1-0123456789abcdef.part",
            ".ft-0123456789abcdeX-0123456789abcdef.part",
            ".ft-0123456789abcdef-0123456789abcdeX.part",
        ] {
            assert_eq!(PartialName::parse(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn random_names_differ() {
        let tag = [b'0'; 16];
        assert_ne!(PartialName::random(tag), PartialName::random(tag));
    }
}

//! The md5 of a file, as 16 bytes and as the 32 digits of the wire.

use std::fmt;

/// An md5 digest. Its only text form is 32 lowercase hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Md5Digest([u8; 16]);

impl Md5Digest {
    /// Creates a digest from its bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Md5Digest {
        Md5Digest(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Parses exactly 32 lowercase hex digits; `None` for anything else.
    pub fn parse(text: &str) -> Option<Md5Digest> {
        let text: &[u8; 32] = text.as_bytes().try_into().ok()?;
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(Md5Digest(bytes))
    }

    /// The 32 lowercase hex digits, without an allocation.
    pub fn to_hex(self) -> [u8; 32] {
        let mut text = [0; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = HEX_DIGITS[usize::from(byte >> 4)];
            pair[1] = HEX_DIGITS[usize::from(byte & 15)];
        }
        text
    }
}

impl fmt::Display for Md5Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for digit in self.to_hex() {
            fmt::Write::write_char(f, char::from(digit))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Md5Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Md5Digest({self})")
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_writes() {
        let digest = Md5Digest::from_bytes([
            0, 1, 2, 0x7f, 0x80, 0xff, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
        ]);
        assert_eq!(Md5Digest::parse(&digest.to_string()), Some(digest));
    }

    #[test]
    fn refuses_every_other_form() {
        let good = "d41d8cd98f00b204e9800998ecf8427e";
        assert!(Md5Digest::parse(good).is_some());
        assert_eq!(Md5Digest::parse(""), None);
        assert_eq!(Md5Digest::parse(&good[1..]), None);
        assert_eq!(Md5Digest::parse(&format!("{good}0")), None);
        assert_eq!(Md5Digest::parse(&good.to_uppercase()), None);
        assert_eq!(Md5Digest::parse(&good.replace('d', "g")), None);
    }
}

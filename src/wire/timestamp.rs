//! `mtime` on the wire: `2026-11-20T10:11:12.123456789Z`, UTC, always so long.

/// A moment in UTC with nanoseconds, as a file's mtime has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970, may be negative.
    pub seconds: i64,
    /// Nanoseconds of the second, below 1,000,000,000.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// The text of the wire; `None` outside the years 0001 to 9999.
    pub fn to_text(self) -> Option<String> {
        todo!()
    }

    /// Reads exactly the text of the wire.
    pub fn parse(text: &str) -> Option<Timestamp> {
        let _ = text;
        todo!()
    }
}

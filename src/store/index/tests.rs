//! Rows for the tests of this directory.

use crate::store::{BootId, Identity, KnownDigest, Stamp};
use crate::wire::{Md5Digest, Timestamp};

/// The stamp of a file, with times before and long after 1970.
pub(super) fn stamp(inode: u64) -> Stamp {
    Stamp {
        device: u64::MAX,
        inode,
        identity: Identity::Lasting,
        size: 5_000_000_000,
        mtime: time(-1, 999_999_999),
        ctime: time(1_800_000_000, 123_456_789),
    }
}

pub(super) fn known(byte: u8) -> KnownDigest {
    KnownDigest {
        md5: Md5Digest::from_bytes([byte; 16]),
        made: time(1_800_000_005, 1),
        quiet_in: BootId::from_bits(u64::MAX),
    }
}

pub(super) fn time(seconds: i64, nanoseconds: u32) -> Timestamp {
    Timestamp {
        seconds,
        nanoseconds,
    }
}

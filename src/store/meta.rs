//! The metadata of an object, without its bytes.

use std::time::Duration;

use crate::store::Identity;
use crate::wire::{ObjectKind, Timestamp};

/// The metadata of an object, and when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// The kind of the object.
    pub kind: ObjectKind,
    /// Permission bits, at most `0o777`.
    pub mode: u32,
    /// Identity, size and times, to compare with later metadata.
    pub stamp: Stamp,
    /// When the look was made. It may be up to one clock tick (10 ms) too early, never too late.
    pub looked_at: Timestamp,
}

impl ObjectMeta {
    /// Size in bytes; 0 for everything but files.
    pub fn size(&self) -> u64 {
        match self.kind {
            ObjectKind::File => self.stamp.size,
            ObjectKind::Directory | ObjectKind::Symlink | ObjectKind::Other => 0,
        }
    }
}

/// Which content an open file had at a look, as far as the file system shows it.
///
/// A program that writes through a shared mapping can change bytes and leave the stamp. Only the
/// receiver's check of the md5, and digests made with `fresh`, detect that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The device number.
    pub device: u64,
    /// The inode number.
    pub inode: u64,
    /// How long device and inode name one file, and whether `ctime` shows each change of it.
    pub identity: Identity,
    /// Size in bytes.
    pub size: u64,
    /// When the content was last written.
    pub mtime: Timestamp,
    /// When anything last changed, names and permissions included.
    pub ctime: Timestamp,
}

impl Stamp {
    /// Whether a digest made under `self` is valid for a file with the stamp `now`. Ignores ctime,
    /// because a new name, link or mode changes no byte.
    pub fn same_content(&self, now: &Stamp) -> bool {
        self.same_file(now) && self.size == now.size && self.mtime == now.mtime
    }

    /// Whether the first `self.size` bytes may still be the same: the content is the same, or the
    /// file grew. A file that is appended to is served at its size when opened (`PROTOCOL.md`,
    /// "Promises of the server"). A file that was rewritten and is longer now looks the same. Only
    /// the receiver's check detects that.
    pub fn still_begins(&self, now: &Stamp) -> bool {
        self.same_content(now) || (self.same_file(now) && self.size < now.size)
    }

    /// Whether a digest of bytes read after `looked_at` may be kept under this stamp: both times
    /// are at least 3 s older, so any write after the look must have moved them. Times in the
    /// future are not settled.
    pub fn settled(&self, looked_at: Timestamp) -> bool {
        is_older_by(SETTLING_TIME, self.mtime, looked_at)
            && is_older_by(SETTLING_TIME, self.ctime, looked_at)
    }

    /// As [`Stamp::settled`], for a file system of this machine. If its times have a fine
    /// resolution and are not just copied from elsewhere, 100 ms are enough: ctime cannot be set,
    /// and every write after the look moves it by at least a kernel tick.
    pub(super) fn settled_here(&self, looked_at: Timestamp) -> bool {
        let is_fine = !self.ctime.nanoseconds.is_multiple_of(1_000_000);
        is_fine && is_older_by(FINE_SETTLING_TIME, self.ctime, looked_at) || self.settled(looked_at)
    }

    fn same_file(&self, now: &Stamp) -> bool {
        self.device == now.device && self.inode == now.inode
    }
}

/// Whether `earlier` is at least `age` before `later`.
pub(super) fn is_older_by(age: Duration, earlier: Timestamp, later: Timestamp) -> bool {
    nanoseconds(later) - nanoseconds(earlier) >= age.as_nanos().cast_signed()
}

/// Whether `earlier` is at most `age` before `later`, and not after it.
pub(super) fn is_within(age: Duration, earlier: Timestamp, later: Timestamp) -> bool {
    (0..=age.as_nanos().cast_signed()).contains(&(nanoseconds(later) - nanoseconds(earlier)))
}

/// Nanoseconds since 1970.
pub(super) fn nanoseconds(time: Timestamp) -> i128 {
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds)
}

/// How long a file must not have changed. File systems round times down: FAT to 2 s, old ext inodes
/// to 1 s, and most others to a kernel tick, which is at most 10 ms. The rest of the 3 s allows for
/// a file server whose clock differs a little.
pub(super) const SETTLING_TIME: Duration = Duration::from_secs(3);

/// Ten ticks of the slowest kernel clock.
const FINE_SETTLING_TIME: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64, nanoseconds: u32) -> Timestamp {
        Timestamp {
            seconds,
            nanoseconds,
        }
    }

    fn stamp() -> Stamp {
        Stamp {
            device: 1,
            inode: 2,
            identity: Identity::Lasting,
            size: 3,
            mtime: at(4, 5),
            ctime: at(6, 7),
        }
    }

    #[test]
    fn content_is_everything_but_ctime() {
        let before = stamp();
        assert!(before.same_content(&before));
        assert!(before.same_content(&Stamp {
            ctime: at(9, 9),
            ..before
        }));
        assert!(!before.same_content(&Stamp {
            device: 9,
            ..before
        }));
        assert!(!before.same_content(&Stamp { inode: 9, ..before }));
        assert!(!before.same_content(&Stamp { size: 9, ..before }));
        assert!(!before.same_content(&Stamp {
            mtime: at(4, 6),
            ..before
        }));
    }

    #[test]
    fn growth_alone_keeps_the_beginning() {
        let before = stamp();
        let later = Stamp {
            mtime: at(8, 0),
            ctime: at(8, 0),
            ..before
        };
        assert!(before.still_begins(&before));
        assert!(before.still_begins(&Stamp { size: 4, ..later }));
        assert!(
            !before.still_begins(&Stamp { size: 3, ..later }),
            "rewritten"
        );
        assert!(!before.still_begins(&Stamp { size: 2, ..later }), "cut off");
        assert!(
            !before.still_begins(&Stamp {
                size: 4,
                inode: 9,
                ..later
            }),
            "another file"
        );
    }

    #[test]
    fn settles_after_three_seconds_to_the_nanosecond() {
        let settled = |mtime, ctime, looked_at| {
            Stamp {
                mtime,
                ctime,
                ..stamp()
            }
            .settled(looked_at)
        };
        assert!(settled(at(10, 500), at(10, 500), at(13, 500)));
        assert!(settled(at(10, 500), at(10, 500), at(13, 501)));
        assert!(!settled(at(10, 500), at(10, 500), at(13, 499)));
        assert!(
            !settled(at(10, 501), at(10, 500), at(13, 500)),
            "mtime alone is too young"
        );
        assert!(
            !settled(at(10, 500), at(10, 501), at(13, 500)),
            "ctime alone is too young"
        );
    }

    #[test]
    fn settles_sooner_where_times_are_fine() {
        let settled = |ctime, looked_at| {
            Stamp {
                mtime: at(0, 0),
                ctime,
                ..stamp()
            }
            .settled_here(looked_at)
        };
        assert!(settled(at(10, 1_000_001), at(10, 101_000_001)));
        assert!(!settled(at(10, 1_000_001), at(10, 101_000_000)));
        assert!(!settled(at(10, 1_000_000), at(12, 999_999_999)));
        assert!(settled(at(10, 1_000_000), at(13, 1_000_000)));
        assert!(
            !settled(at(10, 1_000_001), at(9, 0)),
            "the clock was put back"
        );
    }

    #[test]
    fn future_and_extreme_times_do_not_settle_or_overflow() {
        let settled = |mtime, ctime, looked_at| {
            Stamp {
                mtime,
                ctime,
                ..stamp()
            }
            .settled(looked_at)
        };
        assert!(!settled(at(100, 0), at(0, 0), at(50, 0)));
        assert!(!settled(at(0, 0), at(100, 0), at(50, 0)));
        assert!(!settled(at(i64::MAX, 0), at(0, 0), at(i64::MIN, 0)));
        assert!(settled(at(i64::MIN, 0), at(-5, 0), at(i64::MAX, 0)));
    }

    #[test]
    fn within_includes_both_ends_and_excludes_the_future() {
        let ten = Duration::from_secs(10);
        assert!(is_within(ten, at(5, 0), at(5, 0)));
        assert!(is_within(ten, at(5, 0), at(15, 0)));
        assert!(!is_within(ten, at(5, 0), at(15, 1)));
        assert!(!is_within(ten, at(5, 1), at(5, 0)));
    }
}

//! Times that a file system cannot store exactly, because it rounds fractions or limits the range.
//!
//! A rounded time is no difference: otherwise each run would set it again, and a comparison would
//! always report it. But a file system with fine times must not pass as one that rounds. So a
//! fraction counts as cut off only if ctime, which cannot be set, has no finer fraction either.

use crate::store::Stamp;
use crate::store::meta::nanoseconds;
use crate::wire::Timestamp;

impl Stamp {
    /// Whether the mtime of this stamp is what its file system stores for the time `mtime`.
    pub fn keeps(&self, mtime: Timestamp) -> bool {
        self.mtime == mtime || self.cuts_fraction(mtime) || self.cuts_range(mtime)
    }

    /// The two times differ only below the resolution of the file system.
    fn cuts_fraction(&self, mtime: Timestamp) -> bool {
        let difference = (nanoseconds(self.mtime) - nanoseconds(mtime)).abs();
        let has_steps = |step: &i128| {
            let is_whole = |time: Timestamp| nanoseconds(time) % step == 0;
            is_whole(self.mtime) && is_whole(self.ctime)
        };
        difference < STEP_MAX
            && STEPS
                .iter()
                .any(|step| difference < *step && has_steps(step))
    }

    /// The time is out of the range of the file system, and the stamp has the limit of that range.
    fn cuts_range(&self, mtime: Timestamp) -> bool {
        let is_at = |limit: &Limit| {
            let difference = i128::from(self.mtime.seconds) - i128::from(limit.seconds);
            difference.abs() <= i128::from(limit.leeway)
        };
        let is_beyond = |limit: &Limit| match limit.is_last {
            true => mtime.seconds >= limit.seconds - limit.leeway && self.mtime < mtime,
            false => mtime.seconds <= limit.seconds + limit.leeway && self.mtime > mtime,
        };
        // For example the root of FAT, which has no time.
        let has_none = self.mtime == EPOCH && self.ctime == EPOCH;
        has_none || LIMITS.iter().any(|limit| is_at(limit) && is_beyond(limit))
    }
}

struct Limit {
    seconds: i64,
    /// Tolerance in seconds, to either side.
    leeway: i64,
    is_last: bool,
}

const fn first(seconds: i64, leeway: i64) -> Limit {
    let is_last = false;
    Limit {
        seconds,
        leeway,
        is_last,
    }
}

const fn last(seconds: i64, leeway: i64) -> Limit {
    let is_last = true;
    Limit {
        seconds,
        leeway,
        is_last,
    }
}

const EPOCH: Timestamp = Timestamp {
    seconds: 0,
    nanoseconds: 0,
};

/// Resolutions in nanoseconds: NTFS and SMB; file systems with microseconds or milliseconds; exFAT;
/// those with seconds; FAT.
const STEPS: [i128; 6] = [100, 1_000, 1_000_000, 10_000_000, 1_000_000_000, STEP_MAX];
const STEP_MAX: i128 = 2_000_000_000;

/// FAT and exFAT store local time, in the time zone of the mount.
const ZONES: i64 = 26 * 3600;

/// The first and the last second: of NTFS, of HFS, of signed and unsigned 32 bits (small inodes of
/// ext4, XFS, NFS), of FAT and exFAT, of ext4, and of XFS with large times.
const LIMITS: [Limit; 11] = [
    first(-11_644_473_600, 0),
    first(i32::MIN as i64, 0),
    first(-2_082_844_800, 0),
    first(0, 0),
    first(315_532_800, ZONES),
    last(i32::MAX as i64, 0),
    last(2_212_122_495, 0),
    last(u32::MAX as i64, 0),
    last(4_354_819_199, ZONES),
    last(15_032_385_535, 0),
    last(16_299_260_424, 0),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Identity;

    const fn at(seconds: i64, nanoseconds: u32) -> Timestamp {
        Timestamp {
            seconds,
            nanoseconds,
        }
    }

    const CHANGED: Timestamp = at(1_700_000_001, 0);
    const CHANGED_FINELY: Timestamp = at(1_700_000_001, 123_456_789);

    fn keeps(here: Timestamp, ctime: Timestamp, mtime: Timestamp) -> bool {
        let stamp = Stamp {
            device: 1,
            inode: 2,
            identity: Identity::Lasting,
            size: 3,
            mtime: here,
            ctime,
        };
        stamp.keeps(mtime)
    }

    #[test]
    fn a_rounded_fraction_is_no_difference() {
        let mtime = at(1_600_000_001, 123_456_789);
        for (here, ctime) in [
            (mtime, CHANGED_FINELY),
            (at(1_600_000_001, 123_456_700), at(9, 123_456_700)),
            (at(1_600_000_001, 123_456_000), at(9, 123_456_000)),
            (at(1_600_000_001, 123_457_000), at(9, 123_456_000)),
            (at(1_600_000_001, 123_000_000), at(9, 1_000_000)),
            (at(1_600_000_001, 120_000_000), at(9, 10_000_000)),
            (at(1_600_000_001, 0), CHANGED),
            (at(1_600_000_002, 0), CHANGED),
            (at(1_600_000_000, 0), at(8, 0)),
        ] {
            assert!(keeps(here, ctime, mtime), "{here:?} {ctime:?}");
        }
        assert!(keeps(at(-1, 0), CHANGED, at(-2, 999_999_999)));
    }

    #[test]
    fn every_fraction_counts_where_times_are_fine() {
        let mtime = at(1_600_000_001, 123_456_789);
        for here in [
            at(1_600_000_001, 0),
            at(1_600_000_000, 0),
            at(1_600_000_001, 120_000_000),
            at(1_600_000_001, 123_456_788),
            at(1_600_000_001, 123_456_700),
        ] {
            assert!(!keeps(here, CHANGED_FINELY, mtime), "{here:?}");
        }
    }

    #[test]
    fn more_than_a_step_is_a_difference() {
        let mtime = at(1_600_000_001, 123_456_789);
        for (here, ctime) in [
            (at(1_600_000_003, 0), CHANGED),
            (at(1_600_000_000, 0), CHANGED),
            (at(1_600_000_004, 0), at(8, 0)),
            (at(1_600_000_001, 130_000_000), at(9, 10_000_001)),
            (at(1_600_000_001, 140_000_000), at(9, 10_000_000)),
        ] {
            assert!(!keeps(here, ctime, mtime), "{here:?} {ctime:?}");
        }
        assert!(!keeps(at(i64::MAX, 0), CHANGED, at(i64::MIN, 0)));
    }

    #[test]
    fn a_time_out_of_range_equals_the_limit() {
        let last = at(i32::MAX.into(), 0);
        assert!(keeps(last, CHANGED, at(4_000_000_000, 5)));
        assert!(keeps(last, CHANGED_FINELY, at(4_000_000_000, 5)));
        assert!(!keeps(last, CHANGED_FINELY, at(1_000_000_000, 5)));
        let before_last = at(i64::from(i32::MAX) - 1, 0);
        assert!(!keeps(before_last, CHANGED_FINELY, at(4_000_000_000, 5)));
        // The last moment of FAT, and the first, in a time zone west of Greenwich.
        assert!(keeps(
            at(4_354_819_198 + 8 * 3600, 0),
            CHANGED,
            at(5_000_000_000, 0)
        ));
        assert!(keeps(at(315_532_800 + 8 * 3600, 0), CHANGED, at(5, 0)));
        assert!(keeps(at(0, 0), CHANGED_FINELY, at(-5, 0)));
        assert!(!keeps(at(0, 0), CHANGED_FINELY, at(5, 0)));
        assert!(keeps(at(0, 0), at(0, 0), at(5, 0)), "it has no times");
    }
}

//! An index that lives as long as the process.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::table::{InodeTable, TABLE_ROWS_MAX};
use crate::store::meta::nanoseconds;
use crate::store::{DigestIndex, Identity, KnownDigest, Stamp};

/// An index that lives as long as the process, with at most [`MEMORY_INDEX_ROWS_MAX`] rows. A
/// look-up allocates nothing.
///
/// If a stamp may stand for other content ([`Identity::Mounted`]), a digest is valid for ten times
/// as long as its hash took, and at least a minute. So a client that fetches a file in pieces waits
/// for one hash, hashing again takes a tenth of the time, and a wrong digest expires by itself.
pub struct MemoryIndex(InodeTable<MemoryRow>);

#[derive(Clone, Copy)]
struct MemoryRow {
    known: KnownDigest,
    /// `None`: valid for as long as there is space.
    until: Option<Instant>,
}

impl MemoryIndex {
    /// An empty index.
    pub fn new() -> MemoryIndex {
        MemoryIndex(InodeTable::new())
    }
}

impl Default for MemoryIndex {
    fn default() -> MemoryIndex {
        MemoryIndex::new()
    }
}

impl DigestIndex for MemoryIndex {
    fn look_up(&self, stamp: &Stamp) -> Option<KnownDigest> {
        let MemoryRow { known, until } = self.0.get(stamp)?;
        until
            .is_none_or(|until| Instant::now() < until)
            .then_some(known)
    }

    fn remember(&self, stamp: &Stamp, known: KnownDigest) {
        let until = match stamp.identity {
            Identity::Lasting => None,
            Identity::Mounted(_) => Some(Instant::now() + valid_for(&known)),
        };
        self.0.put(stamp, MemoryRow { known, until });
    }

    fn forget(&self, stamp: &Stamp) {
        self.0.remove(stamp);
    }
}

/// How long a new digest is valid if its stamp is no proof.
fn valid_for(known: &KnownDigest) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_nanos().cast_signed());
    // The time since the look before the first byte was read; the clock may have been set
    // meanwhile.
    let took = u64::try_from(now - nanoseconds(known.made)).unwrap_or(0);
    let counts = Duration::from_nanos(took).saturating_mul(10);
    counts.clamp(VALID_MIN, VALID_MAX)
}

const VALID_MIN: Duration = Duration::from_secs(60);
const VALID_MAX: Duration = Duration::from_secs(24 * 3600);

/// The most rows that a [`MemoryIndex`] keeps.
pub const MEMORY_INDEX_ROWS_MAX: usize = TABLE_ROWS_MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::index::tests::{known, stamp, time};

    #[test]
    fn finds_a_digest_only_under_its_exact_stamp() {
        let index = MemoryIndex::new();
        let kept = stamp(7);
        let later = time(5, 7);
        index.remember(&kept, known(1));
        assert_eq!(index.look_up(&kept), Some(known(1)));
        for other in [
            Stamp { device: 2, ..kept },
            Stamp { inode: 8, ..kept },
            Stamp { size: 4, ..kept },
            Stamp {
                mtime: later,
                ..kept
            },
            Stamp {
                ctime: later,
                ..kept
            },
        ] {
            assert_eq!(index.look_up(&other), None, "{other:?}");
        }
    }

    #[test]
    fn an_uncertain_digest_is_valid_for_ten_times_its_hash() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let made_before = |seconds: i64| KnownDigest {
            made: time(now.as_secs().cast_signed() - seconds, now.subsec_nanos()),
            ..known(1)
        };
        let hour = Duration::from_secs(3600);
        assert!(valid_for(&made_before(360)) >= hour);
        assert!(valid_for(&made_before(360)) < hour * 2);
        assert_eq!(valid_for(&made_before(0)).as_secs() / 60, 1);
        assert_eq!(valid_for(&made_before(-500)), VALID_MIN);
        assert_eq!(valid_for(&made_before(1 << 32)), VALID_MAX);
    }

    #[test]
    fn a_digest_expires_and_ends_with_a_change_of_mounts() {
        let index = MemoryIndex::new();
        let mounted = |changes| Stamp {
            identity: Identity::Mounted(changes),
            ..stamp(7)
        };
        index.remember(&mounted(1), known(1));
        assert_eq!(index.look_up(&mounted(1)), Some(known(1)));
        assert_eq!(index.look_up(&mounted(2)), None);
        let until = |stamp| index.0.get(&stamp).unwrap().until;
        assert!(until(mounted(1)).is_some());
        index.remember(&stamp(7), known(1));
        assert!(until(stamp(7)).is_none());
        let over = MemoryRow {
            known: known(1),
            until: Some(Instant::now()),
        };
        index.0.put(&mounted(1), over);
        assert_eq!(index.look_up(&mounted(1)), None);
    }

    #[test]
    fn keeps_one_row_per_inode() {
        let index = MemoryIndex::new();
        let before = stamp(7);
        let after = Stamp { size: 4, ..before };
        index.remember(&before, known(1));
        index.remember(&after, known(2));
        assert_eq!(index.look_up(&before), None);
        assert_eq!(index.look_up(&after), Some(known(2)));
        index.forget(&before);
        assert_eq!(index.look_up(&after), None);
    }
}

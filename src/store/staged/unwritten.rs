//! The bytes that the system has not written to its disks yet.

/// Whether a sync of a whole file system may have to wait for the writes of other programs. That
/// can take seconds, or minutes on a slow disk. `own_bytes` are those that this program wrote and
/// has not synced.
///
/// It counts the bytes of all file systems, so it may return `true` needlessly, which costs little.
pub fn others_delay_sync(own_bytes: u64) -> bool {
    if cfg!(test) {
        // Other tests write, too.
        return false;
    }
    let facts = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    is_more_than_own(unwritten_bytes(&facts), own_bytes)
}

fn is_more_than_own(unwritten_bytes: Option<u64>, own_bytes: u64) -> bool {
    unwritten_bytes.is_none_or(|bytes| bytes > own_bytes.saturating_add(UNWRITTEN_BYTES_MAX))
}

/// Parses the text of `/proc/meminfo`, proc(5). Returns bytes.
fn unwritten_bytes(facts: &str) -> Option<u64> {
    let kibibytes = |name: &str| {
        let line = facts.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    let sum = kibibytes("Dirty:")?.checked_add(kibibytes("Writeback:")?)?;
    sum.checked_mul(1024)
}

/// A disk writes them in less than a second.
const UNWRITTEN_BYTES_MAX: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_dirty_pages_and_pages_under_writeback() {
        let facts = "MemTotal:  9 kB\nDirty:       12 kB\nWriteback:    3 kB\nWritebackTmp: 7 kB\n";
        assert_eq!(unwritten_bytes(facts), Some(15 * 1024));
        assert_eq!(unwritten_bytes("Dirty: 1 kB\n"), None);
        assert_eq!(unwritten_bytes("Dirty: x kB\nWriteback: 1 kB\n"), None);
        assert_eq!(unwritten_bytes(""), None);
    }

    #[test]
    fn others_delay_a_sync_from_64_mib_beyond_its_own() {
        for (unwritten, own, is_held_up) in [
            (None, u64::MAX, true),
            (Some(0), 0, false),
            (Some(64 << 20), 0, false),
            (Some((64 << 20) + 1), 0, true),
            (Some((64 << 20) + 1), 1, false),
            (Some(u64::MAX), u64::MAX, false),
        ] {
            assert_eq!(is_more_than_own(unwritten, own), is_held_up);
        }
    }
}

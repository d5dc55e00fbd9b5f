//! The file systems on which a stamp identifies one content for certain.
//!
//! A digest is found again by device, inode, size and times. FAT, exFAT and most FUSE file systems
//! renumber their inodes with each mount and have no ctime. There, another file or other content
//! may have the same stamp.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::fs::{FsWord, StatFs};
use rustix::io::Errno;

use crate::store::staged::{BTRFS, EXT, TMPFS, XFS};

/// How long a stamp identifies one content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// As long as the file system exists: inode numbers stay, and every write moves ctime, which
    /// cannot be set.
    Lasting,
    /// At most as long as the file system stays mounted. The number changes with every change of
    /// the mounts of a served directory.
    Mounted(u32),
}

impl Identity {
    /// The identity for files of a device. Queries the file system only for an unknown device.
    pub(super) fn of(device: u64, file_system: impl FnOnce() -> Result<StatFs, Errno>) -> Identity {
        let changes = CHANGES.load(Ordering::Acquire);
        let slot = &DEVICES[(device.wrapping_mul(SPREAD) >> (u64::BITS - SLOTS_LOG2)) as usize];
        let found = slot.load(Ordering::Relaxed);
        let is_lasting = if found >> 1 == known(device, changes) {
            found & 1 == 1
        } else {
            let is_lasting = file_system().is_ok_and(|facts| LASTING.contains(&facts.f_type));
            let row = known(device, changes) << 1 | u64::from(is_lasting);
            slot.store(row, Ordering::Relaxed);
            is_lasting
        };
        match is_lasting {
            true => Identity::Lasting,
            false => Identity::Mounted(changes),
        }
    }

    /// Whether digests of such files may outlive this process and this mount.
    pub(super) fn is_lasting(self) -> bool {
        self == Identity::Lasting
    }
}

/// Notes a change of the mounts: a device number may belong to another file system now.
pub(super) fn mounts_changed() {
    CHANGES.fetch_add(1, Ordering::AcqRel);
}

/// What a slot holds for a device after this many changes. Never 0.
fn known(device: u64, changes: u32) -> u64 {
    // Linux numbers devices with 32 bits.
    (device & 0xffff_ffff | u64::from(changes) << 32 | FILLED) & (u64::MAX >> 1)
}

/// All other file systems are uncertain. FUSE, SMB and 9P return what a program or server reports,
/// and some invent inode numbers. FAT and exFAT have neither inode numbers nor ctime. Images such
/// as SquashFS and ISO 9660 have no ctime, and a new image replaces the old one. Other systems set
/// the ctime of NTFS.
const LASTING: [FsWord; 14] = [
    // These have inodes on disk, and only the kernel sets ctime.
    EXT,
    XFS,
    BTRFS,
    0xf2f5_2010, // F2FS
    0x2fc1_2fc1, // ZFS
    0xca45_1a4e, // bcachefs
    0x3153_464a, // JFS
    0x5265_4973, // ReiserFS
    0x3434,      // NILFS
    0x2405_1905, // UBIFS
    // In memory. Each mount may reuse inode numbers of the last one, but not its ctimes.
    TMPFS,
    0x8584_58f6, // ramfs
    // Inodes and times are those of the layers; the upper layer must support xattrs.
    0x794c_7630, // overlayfs
    // The protocol has ctime, and file ids that are never reused.
    0x6969, // NFS
];

const FILLED: u64 = 1 << 62;
/// 2^64 / golden ratio: spreads adjacent numbers over the high bits.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// Two devices that share a slot only cost an extra call to the file system.
const SLOTS_LOG2: u32 = 8;

static DEVICES: [AtomicU64; 1 << SLOTS_LOG2] = [const { AtomicU64::new(0) }; 1 << SLOTS_LOG2];
static CHANGES: AtomicU32 = AtomicU32::new(0);

#[cfg(test)]
mod tests {
    use super::*;

    fn of(device: u64, kind: FsWord) -> (Identity, bool) {
        let mut was_asked = false;
        let identity = Identity::of(device, || {
            was_asked = true;
            let mut facts = rustix::fs::statfs("/proc")?;
            facts.f_type = kind;
            Ok(facts)
        });
        (identity, was_asked)
    }

    // Only one test, because other tests change mounts and so the number of changes.
    #[test]
    fn a_device_is_queried_once_until_the_mounts_change() {
        const FUSE: FsWord = 0x6573_5546;
        // Repeat until no other test changed them meanwhile.
        let tried = (0..100).any(|device| {
            let before = CHANGES.load(Ordering::SeqCst);
            let found = [of(device, EXT), of(device, FUSE)];
            if CHANGES.load(Ordering::SeqCst) != before {
                return false;
            }
            assert_eq!(
                found,
                [(Identity::Lasting, true), (Identity::Lasting, false)]
            );
            mounts_changed();
            let (first, was_asked) = of(device, FUSE);
            assert!(was_asked && !first.is_lasting());
            mounts_changed();
            assert_ne!(of(device, FUSE).0, first);
            true
        });
        assert!(tried);
    }

    #[test]
    fn an_unknown_file_system_is_not_lasting() {
        let identity = Identity::of(0xfff0_0001, || Err(Errno::NOSYS));
        assert!(!identity.is_lasting());
    }
}

//! How much space a file system has.
//!
//! On most file systems these figures are only advice. They may compress, share blocks or be thinly
//! provisioned, and FUSE and network file systems may return anything. There, only a failed write
//! is final.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{FsWord, StatFs};

use super::StageError;

/// How much space a file system has, as it reports itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this user may still write; `None` if unknown.
    pub free_bytes: Option<u64>,
    /// No more bytes than these can be written, whatever their content; `None` if unknown.
    pub fitting_bytes_max: Option<u64>,
    /// Files, directories and links that can still be made; `None` if there is no limit.
    pub free_files: Option<u64>,
    /// The figures are exact, because every file takes whole blocks of its own.
    pub is_exact: bool,
    /// The longest name, in bytes; 0 if unknown.
    pub name_bytes_max: u64,
    /// Every file takes whole blocks of this size, in bytes; 1 if that is not certain.
    block_bytes: u64,
    magic: FsWord,
}

impl Space {
    /// The space of the file system of an open file or directory; `None` if it reports nothing.
    pub(super) fn around(of: impl AsFd) -> Option<Space> {
        rustix::fs::fstatfs(of).ok().map(|facts| Space::of(&facts))
    }

    /// The space of the file system of a directory.
    ///
    /// # Errors
    /// [`StageError::Directory`]: the directory cannot be looked at.
    pub fn below(directory: &Path) -> Result<Space, StageError> {
        let facts = rustix::fs::statfs(directory);
        let facts = facts
            .map_err(|errno| StageError::of_directory("look at the directory", directory, errno))?;
        Ok(Space::of(&facts))
    }

    fn of(facts: &StatFs) -> Space {
        let magic = facts.f_type;
        let is_exact = [TMPFS, EXT, XFS].contains(&magic);
        let all_bytes = facts.f_blocks.saturating_mul(number(facts.f_frsize));
        let free_bytes = free_bytes(facts).filter(|&free| all_bytes > 0 && free <= all_bytes);
        // A file system that small does not report its true size.
        let is_sound = all_bytes >= SOUND_BYTES_MIN;
        Space {
            free_bytes,
            fitting_bytes_max: match is_exact {
                true => free_bytes,
                false => is_sound.then(|| all_bytes.saturating_mul(COMPRESSION_MAX)),
            },
            is_exact,
            free_files: (facts.f_files > 0).then_some(facts.f_ffree),
            name_bytes_max: number(facts.f_namelen),
            block_bytes: number(facts.f_frsize).max(1).min(if is_exact {
                BLOCK_BYTES_MAX
            } else {
                1
            }),
            magic,
        }
    }

    /// Whether this many bytes more may fit, as far as is certain.
    pub fn may_take(&self, bytes: u64) -> bool {
        self.fitting_bytes_max.is_none_or(|max| bytes <= max)
    }

    /// Whether reserving blocks ahead is useful. On tmpfs it touches every page, which takes a
    /// second for 2 GiB. Btrfs does not compress into reserved blocks.
    pub(super) fn is_worth_reserving(&self, bytes: u64) -> bool {
        ![TMPFS, BTRFS].contains(&self.magic) && self.free_bytes.is_none_or(|free| bytes <= free)
    }

    /// Nothing on this file system is written to a disk.
    pub(super) fn is_in_memory(&self) -> bool {
        self.magic == TMPFS
    }

    /// A sync of a directory also covers new symbolic links in it, because one journal holds both
    /// in order. ext2 has no journal; fsck decides there.
    pub(super) fn syncs_links_with_directory(&self) -> bool {
        [TMPFS, EXT, XFS].contains(&self.magic)
    }

    /// Every name without a slash or a NUL is possible.
    pub(super) fn takes_all_names(&self) -> bool {
        [TMPFS, EXT, XFS, BTRFS].contains(&self.magic)
    }

    /// Closing a file writes nothing here, and so returns no error.
    pub(super) fn has_no_errors_at_close(&self) -> bool {
        [TMPFS, EXT, XFS, BTRFS].contains(&self.magic)
    }

    /// `syncfs` works here. The kernel does not pass it on to FUSE programs.
    pub(super) fn takes_syncfs(&self) -> bool {
        self.magic != FUSE
    }

    /// Names that differ only in case are two names, unless a directory is set otherwise.
    pub(super) fn keeps_case(&self) -> bool {
        self.takes_all_names() || [F2FS, OVERLAY].contains(&self.magic)
    }

    /// FAT or exFAT of the kernel.
    pub(super) fn is_fat(&self) -> bool {
        [FAT, EXFAT].contains(&self.magic)
    }

    /// The least space, in bytes, that a file of this size takes.
    pub fn taken_by(&self, bytes: u64) -> u64 {
        bytes
            .checked_next_multiple_of(self.block_bytes)
            .unwrap_or(u64::MAX)
    }

    /// The least space, in bytes, that a copy of such a file takes: it may share blocks.
    pub fn taken_by_copy(&self, bytes: u64) -> u64 {
        match [TMPFS, EXT].contains(&self.magic) {
            true => self.taken_by(bytes),
            false => 0,
        }
    }
}

fn free_bytes(facts: &StatFs) -> Option<u64> {
    let blocks = if rustix::process::geteuid().is_root() {
        facts.f_bfree
    } else {
        facts.f_bavail
    };
    blocks.checked_mul(number(facts.f_frsize))
}

/// The types of these fields differ between architectures; none is ever negative.
#[allow(clippy::unnecessary_cast)]
fn number(field: FsWord) -> u64 {
    field as u64
}

/// File system types of statfs(2). The first three give every file whole blocks of its own.
pub(in crate::store) const TMPFS: FsWord = 0x0102_1994;
pub(in crate::store) const EXT: FsWord = 0xef53;
pub(in crate::store) const XFS: FsWord = 0x5846_5342;
pub(in crate::store) const BTRFS: FsWord = 0x9123_683e;
const FUSE: FsWord = 0x6573_5546;
const F2FS: FsWord = 0xf2f5_2010;
const OVERLAY: FsWord = 0x794c_7630;
const FAT: FsWord = 0x4d44;
const EXFAT: FsWord = 0x2011_bab0;
const BLOCK_BYTES_MAX: u64 = 64 * 1024;
/// Btrfs compresses zeros to a 32nd. A file that is over 64 times as large as the whole file system
/// is refused before its first byte.
const COMPRESSION_MAX: u64 = 64;
const SOUND_BYTES_MIN: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// The space of a file system of this type, in blocks of 4 KiB.
    fn space(magic: FsWord, blocks: u64, free: u64) -> Space {
        let mut facts = rustix::fs::statfs(".").unwrap();
        (facts.f_type, facts.f_frsize) = (magic, 4096);
        (facts.f_blocks, facts.f_bfree, facts.f_bavail) = (blocks, free, free);
        Space::of(&facts)
    }

    #[test]
    fn only_exact_figures_refuse_what_is_more_than_is_free() {
        for magic in [TMPFS, EXT, XFS] {
            let space = space(magic, 1_000, 10);
            assert!(space.may_take(40_960) && !space.may_take(40_961));
        }
        let advice = space(BTRFS, 1_000, 10);
        assert!(advice.may_take(64 * 4_096_000) && !advice.may_take(64 * 4_096_000 + 1));
        assert!(advice.may_take(40_961) && advice.free_bytes == Some(40_960));
    }

    #[test]
    fn impossible_figures_refuse_nothing() {
        for (magic, blocks, free) in [
            (BTRFS, 0, 0),
            (BTRFS, 1, 0),
            (BTRFS, 255, 0),
            (EXT, 0, 0),
            (EXT, 0, 10),
            (EXT, 1_000, 1_001),
            (EXT, 1_000, u64::MAX),
        ] {
            let space = space(magic, blocks, free);
            assert!(space.may_take(u64::MAX), "{magic:x} {blocks} {free}");
        }
        assert!(!space(BTRFS, 256, 0).may_take(u64::MAX));
        assert!(!space(EXT, 256, 0).may_take(1));
    }

    #[test]
    fn a_file_takes_whole_blocks_where_that_is_certain() {
        for (magic, bytes, taken, taken_by_copy) in [
            (EXT, 0, 0, 0),
            (EXT, 1, 4_096, 4_096),
            (EXT, 4_096, 4_096, 4_096),
            (TMPFS, 4_097, 8_192, 8_192),
            (XFS, 4_097, 8_192, 0),
            (XFS, u64::MAX, u64::MAX, 0),
            (BTRFS, 4_097, 4_097, 0),
            (FAT, 1, 1, 0),
        ] {
            let space = space(magic, 1_000, 10);
            assert_eq!(space.taken_by(bytes), taken, "{bytes} on {magic:x}");
            assert_eq!(
                space.taken_by_copy(bytes),
                taken_by_copy,
                "{bytes} on {magic:x}"
            );
        }
    }

    #[test]
    fn knows_the_abilities_of_common_file_systems() {
        for (magic, takes_all_names, is_fat, reserves) in [
            (TMPFS, true, false, false),
            (BTRFS, true, false, false),
            (EXT, true, false, true),
            (XFS, true, false, true),
            (FAT, false, true, true),
            (EXFAT, false, true, true),
            (1, false, false, true),
        ] {
            let space = space(magic, 1_000, 10);
            let found = (
                space.takes_all_names(),
                space.is_fat(),
                space.is_worth_reserving(40_960),
            );
            assert_eq!(found, (takes_all_names, is_fat, reserves), "{magic:x}");
            assert!(!space.is_worth_reserving(40_961), "{magic:x}");
        }
        assert!(space(EXT, 0, 0).is_worth_reserving(u64::MAX));
    }

    #[test]
    fn knows_the_behaviour_of_each_kind_of_file_system() {
        // In memory, links with directories, no errors at close, syncfs, and keeps case.
        for (magic, expected) in [
            (TMPFS, [true, true, true, true, true]),
            (EXT, [false, true, true, true, true]),
            (XFS, [false, true, true, true, true]),
            (BTRFS, [false, false, true, true, true]),
            (F2FS, [false, false, false, true, true]),
            (OVERLAY, [false, false, false, true, true]),
            (FAT, [false, false, false, true, false]),
            (EXFAT, [false, false, false, true, false]),
            (FUSE, [false, false, false, false, false]),
            (1, [false, false, false, true, false]),
        ] {
            let space = space(magic, 1_000, 10);
            let found = [
                space.is_in_memory(),
                space.syncs_links_with_directory(),
                space.has_no_errors_at_close(),
                space.takes_syncfs(),
                space.keeps_case(),
            ];
            assert_eq!(found, expected, "{magic:x}");
        }
    }

    #[test]
    fn blocks_of_one_byte_and_of_none_count_as_bytes() {
        let mut facts = rustix::fs::statfs(".").unwrap();
        (facts.f_type, facts.f_frsize) = (EXT, 1);
        (facts.f_blocks, facts.f_bfree, facts.f_bavail) = (1, 1, 1);
        let space = Space::of(&facts);
        assert!(space.may_take(1) && !space.may_take(2));
        facts.f_frsize = 0;
        assert_eq!(Space::of(&facts).taken_by(1), 1);
    }

    #[test]
    fn files_have_a_limit_only_where_the_file_system_has_one() {
        let mut facts = rustix::fs::statfs(".").unwrap();
        for (files, free, expected) in
            [(0, 0, None), (0, 7, None), (1, 0, Some(0)), (9, 7, Some(7))]
        {
            (facts.f_files, facts.f_ffree) = (files, free);
            assert_eq!(Space::of(&facts).free_files, expected);
        }
    }
}

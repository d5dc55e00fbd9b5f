//! What a file system has room for.

use std::os::fd::AsFd;

use rustix::fs::{FsWord, StatFs};

/// What a file system has room for, as it says itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this user may still write; `None` where it does not know.
    pub free_bytes: Option<u64>,
    /// Files, folders and links that may still be made; `None` where there is no such limit.
    pub free_files: Option<u64>,
    /// The longest name, in bytes.
    pub name_bytes_max: u64,
    /// Every file takes whole blocks of so many bytes; 1 if that is not certain.
    block_bytes: u64,
    may_share_blocks: bool,
    is_in_memory: bool,
}

impl Space {
    /// Of the file system that an open file or folder is on; `None` if it says nothing.
    pub(super) fn around(of: impl AsFd) -> Option<Space> {
        let facts = rustix::fs::fstatfs(of).ok()?;
        let magic = facts.f_type;
        let is_exact = [TMPFS, EXT, XFS].contains(&magic);
        Some(Space {
            free_bytes: (facts.f_blocks > 0).then(|| free_bytes(&facts)),
            free_files: (facts.f_files > 0).then_some(facts.f_ffree),
            name_bytes_max: number(facts.f_namelen),
            block_bytes: number(facts.f_frsize).max(1).min(if is_exact {
                BLOCK_BYTES_MAX
            } else {
                1
            }),
            may_share_blocks: ![TMPFS, EXT].contains(&magic),
            is_in_memory: magic == TMPFS,
        })
    }

    /// What a file of so many bytes takes at least.
    pub fn taken_by(&self, bytes: u64) -> u64 {
        bytes
            .checked_next_multiple_of(self.block_bytes)
            .unwrap_or(u64::MAX)
    }

    /// What a copy of such a file takes at least: it may share blocks with the other.
    pub fn taken_by_copy(&self, bytes: u64) -> u64 {
        match self.may_share_blocks {
            true => 0,
            false => self.taken_by(bytes),
        }
    }

    /// Blocks are pages.
    pub(super) fn is_in_memory(&self) -> bool {
        self.is_in_memory
    }
}

fn free_bytes(facts: &StatFs) -> u64 {
    let blocks = if rustix::process::geteuid().is_root() {
        facts.f_bfree
    } else {
        facts.f_bavail
    };
    blocks.saturating_mul(number(facts.f_frsize))
}

/// The types of these fields differ between architectures; none is ever negative.
#[allow(clippy::unnecessary_cast)]
fn number(field: FsWord) -> u64 {
    field as u64
}

/// statfs(2): those that are known to give every file whole blocks of its own.
const TMPFS: FsWord = 0x0102_1994;
const EXT: FsWord = 0xef53;
const XFS: FsWord = 0x5846_5342;
const BLOCK_BYTES_MAX: u64 = 64 * 1024;

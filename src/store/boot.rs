//! The identity of the running kernel.

use std::num::NonZeroU64;

use crate::digest::Md5Stream;

/// One run of the kernel, from boot to boot. After a power cut a file may have other bytes than
/// before, because unsynced writes are lost while times are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BootId(NonZeroU64);

impl BootId {
    /// The present boot; `None` if the kernel does not report it.
    pub fn current() -> Option<BootId> {
        let id = std::fs::read("/proc/sys/kernel/random/boot_id").ok()?;
        let digest = u128::from_le_bytes(*Md5Stream::digest(id.trim_ascii()).as_bytes());
        BootId::from_bits(digest as u64)
    }

    pub(super) fn from_bits(bits: u64) -> Option<BootId> {
        NonZeroU64::new(bits).map(BootId)
    }

    pub(super) fn bits(self) -> u64 {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_the_same_until_the_next_boot() {
        assert!(BootId::current().is_some());
        assert_eq!(BootId::current(), BootId::current());
    }
}

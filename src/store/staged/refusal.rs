//! What an error of a system call means for a file whose bytes are verified: the one table.

use std::thread::sleep;
use std::time::Duration;

use rustix::io::Errno;

/// A system call that comes after the bytes of a file are verified, or prepares for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// `fchmod` and `utimensat`.
    SetAttributes,
    /// `fdatasync`, `fsync` and `syncfs`.
    Sync,
    /// `renameat`, `renameat2` and `linkat`, within one directory.
    Rename,
    /// `symlinkat`.
    MakeLink,
    /// `ftruncate`.
    Truncate,
    /// `openat` and `getdents64` of a directory, to look for partial files.
    ListPartials,
    /// `close`, which some file systems have write first.
    Close,
}

/// What an error means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The file system, or this user on it, can never do this. It is done another way, or the
    /// result is not kept; the file is not at fault.
    CannotHere,
    /// It may work in a moment, or once the file is closed.
    NotNow,
    /// Data may be lost, or nothing can be placed at all. The file fails.
    Broken,
}

impl Refusal {
    /// Sorts the error of a call. What is in no list is [`Refusal::Broken`].
    pub(super) fn of(call: Call, errno: Errno) -> Refusal {
        match (call, errno) {
            (_, Errno::INTR | Errno::AGAIN) => Refusal::NotNow,
            // What was written may be lost.
            (Call::Close, Errno::INVAL | Errno::PERM | Errno::ACCESS) => Refusal::Broken,
            // POSIX names none of these two for files, and file systems use both.
            (_, Errno::NOSYS | Errno::OPNOTSUPP | NOTSUPP | Errno::INVAL | Errno::NOTTY) => {
                Refusal::CannotHere
            }
            // A directory that may not be written cannot get a link, nor anything else.
            (Call::MakeLink, Errno::ACCESS) => Refusal::Broken,
            (_, Errno::PERM | Errno::ACCESS) => Refusal::CannotHere,
            // The descriptor is one that this call does not take, such as that of a directory
            // that cannot be read.
            (Call::SetAttributes | Call::Sync, Errno::BADF) => Refusal::CannotHere,
            // fsync(2) has this for what cannot be synced. Whoever syncs makes sure that the file
            // system has not become read-only, since that comes of errors.
            (Call::SetAttributes | Call::Sync, Errno::ROFS) => Refusal::CannotHere,
            // A time or a mode that it cannot express.
            (Call::SetAttributes, Errno::OVERFLOW | Errno::RANGE | Errno::DOM | Errno::NXIO) => {
                Refusal::CannotHere
            }
            (Call::SetAttributes, Errno::BUSY | Errno::TXTBSY | Errno::NOLCK | Errno::NOMEM) => {
                Refusal::NotNow
            }
            (Call::Rename, Errno::XDEV | Errno::MLINK) => Refusal::CannotHere,
            (Call::Rename | Call::Truncate, Errno::BUSY | Errno::TXTBSY) => Refusal::NotNow,
            (Call::MakeLink, Errno::BUSY | Errno::NOLCK) => Refusal::NotNow,
            _ => Refusal::Broken,
        }
    }
}

/// Makes a call, and again after a pause while it says [`Refusal::NotNow`], a bounded number of
/// times. A call that was only interrupted is made again at once.
pub(super) fn patiently<T>(
    call: Call,
    mut make: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    for pause_ms in PAUSES_MS {
        match make() {
            Err(Errno::INTR) => {}
            Err(errno) if Refusal::of(call, errno) == Refusal::NotNow => {
                sleep(Duration::from_millis(pause_ms));
            }
            result => return result,
        }
    }
    make()
}

/// ENOTSUPP of the kernel, which some file systems let through.
const NOTSUPP: Errno = Errno::from_raw_os_error(524);
/// 85 ms together: another program that has a file open for a moment is gone by then.
const PAUSES_MS: [u64; 4] = [1, 4, 16, 64];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_every_call_is_sorted() {
        const ALL: [Call; 6] = [
            Call::SetAttributes,
            Call::Sync,
            Call::Rename,
            Call::MakeLink,
            Call::Truncate,
            Call::ListPartials,
        ];
        for call in ALL {
            for (errno, expected) in [
                (Errno::NOSYS, Refusal::CannotHere),
                (Errno::OPNOTSUPP, Refusal::CannotHere),
                (NOTSUPP, Refusal::CannotHere),
                (Errno::INVAL, Refusal::CannotHere),
                (Errno::NOTTY, Refusal::CannotHere),
                (Errno::PERM, Refusal::CannotHere),
                (Errno::INTR, Refusal::NotNow),
                (Errno::AGAIN, Refusal::NotNow),
                (Errno::IO, Refusal::Broken),
                (Errno::NOSPC, Refusal::Broken),
                (Errno::DQUOT, Refusal::Broken),
                (Errno::STALE, Refusal::Broken),
                (Errno::NOTCONN, Refusal::Broken),
                (Errno::FBIG, Refusal::Broken),
            ] {
                assert_eq!(Refusal::of(call, errno), expected, "{call:?} {errno:?}");
            }
            let may_write = !matches!(call, Call::MakeLink);
            assert_eq!(
                Refusal::of(call, Errno::ACCESS) == Refusal::CannotHere,
                may_write,
                "{call:?}"
            );
            let needs_no_write = matches!(call, Call::SetAttributes | Call::Sync);
            for errno in [Errno::ROFS, Errno::BADF] {
                assert_eq!(
                    Refusal::of(call, errno) == Refusal::CannotHere,
                    needs_no_write,
                    "{call:?} {errno:?}"
                );
            }
        }
        for (call, errno, expected) in [
            (Call::Rename, Errno::XDEV, Refusal::CannotHere),
            (Call::Rename, Errno::MLINK, Refusal::CannotHere),
            (Call::Rename, Errno::BUSY, Refusal::NotNow),
            (Call::Rename, Errno::TXTBSY, Refusal::NotNow),
            (Call::Rename, Errno::EXIST, Refusal::Broken),
            (Call::SetAttributes, Errno::OVERFLOW, Refusal::CannotHere),
            (Call::SetAttributes, Errno::NOLCK, Refusal::NotNow),
            (Call::Sync, Errno::BUSY, Refusal::Broken),
            (Call::MakeLink, Errno::NAMETOOLONG, Refusal::Broken),
            (Call::MakeLink, Errno::BUSY, Refusal::NotNow),
            (Call::MakeLink, Errno::NOLCK, Refusal::NotNow),
            (Call::Truncate, Errno::TXTBSY, Refusal::NotNow),
            (Call::Close, Errno::INTR, Refusal::NotNow),
            (Call::Close, Errno::OPNOTSUPP, Refusal::CannotHere),
            (Call::Close, Errno::INVAL, Refusal::Broken),
            (Call::Close, Errno::PERM, Refusal::Broken),
            (Call::Close, Errno::IO, Refusal::Broken),
        ] {
            assert_eq!(Refusal::of(call, errno), expected, "{call:?} {errno:?}");
        }
    }

    #[test]
    fn a_call_is_made_five_times_at_most() {
        let count = |until: u32, errno| {
            let mut calls = 0;
            let result = patiently(Call::Rename, || {
                calls += 1;
                if calls < until { Err(errno) } else { Ok(()) }
            });
            (result, calls)
        };
        assert_eq!(count(1, Errno::BUSY), (Ok(()), 1));
        assert_eq!(count(5, Errno::BUSY), (Ok(()), 5));
        assert_eq!(count(6, Errno::BUSY), (Err(Errno::BUSY), 5));
        assert_eq!(count(6, Errno::INTR), (Err(Errno::INTR), 5));
        assert_eq!(count(6, Errno::IO), (Err(Errno::IO), 1));
        assert_eq!(count(6, Errno::NOSYS), (Err(Errno::NOSYS), 1));
    }
}

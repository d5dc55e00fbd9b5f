//! The table that classifies errors of system calls on files whose bytes are verified.

use std::thread::sleep;
use std::time::Duration;

use rustix::io::Errno;

/// A system call after the bytes of a file are verified, or one that prepares for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SystemCall {
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
    /// `close`, which makes some file systems write.
    Close,
}

/// The meaning of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorClass {
    /// The file system never supports this call for this user. The caller tries another call, or
    /// counts the loss. The file does not fail.
    Unsupported,
    /// The call may succeed in a moment, or once the file is closed.
    Transient,
    /// Data may be lost, or nothing can be placed at all. The file fails.
    Fatal,
}

impl ErrorClass {
    /// Classifies the error of a call. An error that is not listed is [`ErrorClass::Fatal`].
    pub(super) fn of(call: SystemCall, errno: Errno) -> ErrorClass {
        match (call, errno) {
            (_, Errno::INTR | Errno::AGAIN) => ErrorClass::Transient,
            // Earlier writes may be lost.
            (SystemCall::Close, Errno::INVAL | Errno::PERM | Errno::ACCESS) => ErrorClass::Fatal,
            // POSIX names neither ENOSYS nor EOPNOTSUPP for files, but file systems use both.
            (_, Errno::NOSYS | Errno::OPNOTSUPP | NOTSUPP | Errno::INVAL | Errno::NOTTY) => {
                ErrorClass::Unsupported
            }
            // In a directory without write permission nothing else can be placed either.
            (SystemCall::MakeLink, Errno::ACCESS) => ErrorClass::Fatal,
            (_, Errno::PERM | Errno::ACCESS) => ErrorClass::Unsupported,
            // This call does not take this descriptor, such as that of an unreadable directory.
            (SystemCall::SetAttributes | SystemCall::Sync, Errno::BADF) => ErrorClass::Unsupported,
            // fsync(2) returns EROFS for files that cannot be synced. The caller checks that the
            // file system has not become read-only, which would be an effect of errors.
            (SystemCall::SetAttributes | SystemCall::Sync, Errno::ROFS) => ErrorClass::Unsupported,
            // The file system cannot express this time or mode.
            (
                SystemCall::SetAttributes,
                Errno::OVERFLOW | Errno::RANGE | Errno::DOM | Errno::NXIO,
            ) => ErrorClass::Unsupported,
            (
                SystemCall::SetAttributes,
                Errno::BUSY | Errno::TXTBSY | Errno::NOLCK | Errno::NOMEM,
            ) => ErrorClass::Transient,
            (SystemCall::Rename, Errno::XDEV | Errno::MLINK) => ErrorClass::Unsupported,
            (SystemCall::Rename | SystemCall::Truncate, Errno::BUSY | Errno::TXTBSY) => {
                ErrorClass::Transient
            }
            (SystemCall::MakeLink, Errno::BUSY | Errno::NOLCK) => ErrorClass::Transient,
            _ => ErrorClass::Fatal,
        }
    }
}

/// Repeats a call while its error is [`ErrorClass::Transient`], up to 4 times with growing pauses.
/// Repeats an interrupted call at once.
pub(super) fn retry_transient<T>(
    call: SystemCall,
    mut make: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    for pause_ms in PAUSES_MS {
        match make() {
            Err(Errno::INTR) => {}
            Err(errno) if ErrorClass::of(call, errno) == ErrorClass::Transient => {
                sleep(Duration::from_millis(pause_ms));
            }
            result => return result,
        }
    }
    make()
}

/// ENOTSUPP of the kernel, which some file systems return.
const NOTSUPP: Errno = Errno::from_raw_os_error(524);
/// 85 ms together: long enough for another program that has the file open for a moment.
const PAUSES_MS: [u64; 4] = [1, 4, 16, 64];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classifies_every_error_of_every_call() {
        const ALL: [SystemCall; 6] = [
            SystemCall::SetAttributes,
            SystemCall::Sync,
            SystemCall::Rename,
            SystemCall::MakeLink,
            SystemCall::Truncate,
            SystemCall::ListPartials,
        ];
        for call in ALL {
            for (errno, expected) in [
                (Errno::NOSYS, ErrorClass::Unsupported),
                (Errno::OPNOTSUPP, ErrorClass::Unsupported),
                (NOTSUPP, ErrorClass::Unsupported),
                (Errno::INVAL, ErrorClass::Unsupported),
                (Errno::NOTTY, ErrorClass::Unsupported),
                (Errno::PERM, ErrorClass::Unsupported),
                (Errno::INTR, ErrorClass::Transient),
                (Errno::AGAIN, ErrorClass::Transient),
                (Errno::IO, ErrorClass::Fatal),
                (Errno::NOSPC, ErrorClass::Fatal),
                (Errno::DQUOT, ErrorClass::Fatal),
                (Errno::STALE, ErrorClass::Fatal),
                (Errno::NOTCONN, ErrorClass::Fatal),
                (Errno::FBIG, ErrorClass::Fatal),
            ] {
                assert_eq!(ErrorClass::of(call, errno), expected, "{call:?} {errno:?}");
            }
            let may_write = !matches!(call, SystemCall::MakeLink);
            assert_eq!(
                ErrorClass::of(call, Errno::ACCESS) == ErrorClass::Unsupported,
                may_write,
                "{call:?}"
            );
            let needs_no_write = matches!(call, SystemCall::SetAttributes | SystemCall::Sync);
            for errno in [Errno::ROFS, Errno::BADF] {
                assert_eq!(
                    ErrorClass::of(call, errno) == ErrorClass::Unsupported,
                    needs_no_write,
                    "{call:?} {errno:?}"
                );
            }
        }
        for (call, errno, expected) in [
            (SystemCall::Rename, Errno::XDEV, ErrorClass::Unsupported),
            (SystemCall::Rename, Errno::MLINK, ErrorClass::Unsupported),
            (SystemCall::Rename, Errno::BUSY, ErrorClass::Transient),
            (SystemCall::Rename, Errno::TXTBSY, ErrorClass::Transient),
            (SystemCall::Rename, Errno::EXIST, ErrorClass::Fatal),
            (
                SystemCall::SetAttributes,
                Errno::OVERFLOW,
                ErrorClass::Unsupported,
            ),
            (
                SystemCall::SetAttributes,
                Errno::NOLCK,
                ErrorClass::Transient,
            ),
            (SystemCall::Sync, Errno::BUSY, ErrorClass::Fatal),
            (SystemCall::MakeLink, Errno::NAMETOOLONG, ErrorClass::Fatal),
            (SystemCall::MakeLink, Errno::BUSY, ErrorClass::Transient),
            (SystemCall::MakeLink, Errno::NOLCK, ErrorClass::Transient),
            (SystemCall::Truncate, Errno::TXTBSY, ErrorClass::Transient),
            (SystemCall::Close, Errno::INTR, ErrorClass::Transient),
            (SystemCall::Close, Errno::OPNOTSUPP, ErrorClass::Unsupported),
            (SystemCall::Close, Errno::INVAL, ErrorClass::Fatal),
            (SystemCall::Close, Errno::PERM, ErrorClass::Fatal),
            (SystemCall::Close, Errno::IO, ErrorClass::Fatal),
        ] {
            assert_eq!(ErrorClass::of(call, errno), expected, "{call:?} {errno:?}");
        }
    }

    #[test]
    fn a_call_is_made_five_times_at_most() {
        let count = |until: u32, errno| {
            let mut calls = 0;
            let result = retry_transient(SystemCall::Rename, || {
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

//! Reads and sets socket properties that neither the standard library nor `rustix` supports.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// The smoothed round trip time of a TCP connection, from `TCP_INFO` (tcp(7)).
pub(super) fn round_trip(socket: BorrowedFd<'_>) -> io::Result<Duration> {
    // SAFETY: tcp_info is plain integers, for which all zeros is a value.
    let mut facts: libc::tcp_info = unsafe { mem::zeroed() };
    let mut bytes = mem::size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe `facts`, which outlives the call; the
    // kernel writes at most that many bytes and any bytes are valid integers.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut facts).cast(),
            &raw mut bytes,
        )
    };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::from_micros(u64::from(facts.tcpi_rtt)))
}

/// Bytes in the socket's send queue, from `SIOCOUTQ` (tcp(7), unix(7)).
pub(super) fn unsent_bytes(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ, which has the number of TIOCOUTQ, writes one int where the pointer
    // points, and `bytes` outlives the call.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// Limits the bytes in the send queue that were never sent: `TCP_NOTSENT_LOWAT` (tcp(7)).
/// Connections accepted from a listener inherit the limit.
pub(super) fn limit_unsent(socket: BorrowedFd<'_>, bytes_max: u32) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `bytes_max`, which outlives the call; the
    // kernel only reads it.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const bytes_max).cast(),
            mem::size_of::<u32>() as libc::socklen_t,
        )
    };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

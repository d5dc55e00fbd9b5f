//! Computes the md5 of many messages at once, each in one lane of SIMD registers.
//!
//! Each of the 64 steps of a block needs the result of the previous step, so one message leaves
//! most of a processor idle. Messages do not depend on each other: with AVX-512, 32 of them take
//! little more than twice the time of one.
//!
//! `steps` is the function (RFC 1321), written once. `portable`, `avx2`, `avx512` and `avx512_one`
//! compile it for registers of different widths, and [`Kernel`] selects one of them at run time.
//! `feed` keeps the lanes busy. `message` is one message that arrives in pieces.

mod feed;
mod kernel;
mod message;
mod portable;
mod steps;
#[cfg(test)]
mod tests;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_one;

pub use feed::{hash_all, update_all};
pub use kernel::Kernel;
pub(super) use message::Message;

//! What every test of the real programs needs: a server on a free port, a peer whose bytes
//! are written by hand, the client as a process, and a folder that vanishes.
//!
//! Nothing here uses the crate's own wire code: an encoder's mistake and its mirror image in
//! the decoder would cancel out. Every wait has a deadline and panics with its name.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each test program uses a part of it"
)]

mod answer;
mod machine;
mod pace;
mod process;
mod proxy;
mod random;
mod raw_peer;
mod same_tree;
mod scratch;
mod server;

pub use answer::Answer;
pub use machine::{faulty, in_own_mounts, in_own_processes, refusing, skipped};
pub use pace::at_some_pace;
pub use process::{Captured, Output, Program, Running, ftget};
pub use proxy::{Damage, Fault, Proxy};
pub use random::Random;
pub use raw_peer::{Ending, RawPeer, frame, length_prefix};
pub use same_tree::assert_same_tree;
pub use scratch::{Scratch, md5_hex, noise};
pub use server::{ProcessFacts, TestServer, TestServerBuilder};

use std::time::Duration;

/// How long anything may take that should take no time at all; only a failing test gets here.
/// Less than the client's own limit of 120 s, so that what ends only by that fails.
pub const DEADLINE: Duration = Duration::from_secs(60);

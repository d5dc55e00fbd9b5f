//! A thread-pool file transfer server and its client: every transfer is a JSON
//! header (`filename`, `total_size`, `md5`) and then the bytes, and a file appears
//! under its name only after its md5 was checked.
//!
//! The modules are floors: each may name only the ones above it in this list.
#![doc = ""]
#![doc = include_str!("ARCHITECTURE.md")]

// The blank lines keep the order of the floors from being sorted.
pub mod wire;

pub mod digest;

pub mod store;

pub mod process;

pub mod net;

pub mod server;

pub mod client;

pub mod cli;

/// The guide for users.
pub mod guide {
    #[doc = include_str!("guide/ftget.md")]
    pub mod ftget {}

    #[doc = include_str!("guide/ftserve.md")]
    pub mod ftserve {}

    #[doc = include_str!("guide/clients.md")]
    pub mod clients {}
}

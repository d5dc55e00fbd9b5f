//! The suite: the real programs, seen from outside. One module per noun; the peers' bytes
//! are written by hand (`harness`).

#[path = "../harness/mod.rs"]
mod harness;

mod addresses;
mod cases;
mod closing;
mod crates;
mod drain;
mod fetching;
mod files;
mod frames;
mod json;
mod layering;
mod limits;
mod names;
mod peers;
mod pipelining;
mod ranges;
mod sample_files;
mod spellings;
mod texts;
mod transcripts;
mod unix_sockets;

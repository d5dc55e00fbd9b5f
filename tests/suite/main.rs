//! The suite: the real programs, seen from outside.

#[path = "../harness/mod.rs"]
mod harness;

mod crates;
mod layering;
mod sample_files;

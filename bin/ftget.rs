//! The download program.

fn main() {}

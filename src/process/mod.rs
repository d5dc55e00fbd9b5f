//! The state that this process was started with, what it changes of it, and the programs that it
//! starts, which get the state from the start.

mod at_start;
mod child;
mod descriptors;
mod family;

pub use at_start::{input_was_closed, output_was_closed, was_ignored};
pub use child::{Child, adopt_orphans, end_children, reap_orphans, signal_child};
pub use descriptors::raise_descriptor_limit;

//! Process-wide state that this process inherited or changed, and the programs it starts, which
//! get the inherited state.

mod at_start;
mod child;
mod descriptors;
mod family;

pub use at_start::{input_was_closed, output_was_closed, was_ignored};
pub use child::{Child, adopt_orphans, end_children, reap_orphans, signal_child};
pub use descriptors::raise_descriptor_limit;

//! Servers that lie, stall and vanish, and folders prepared by an enemy, against the real
//! client: the documented exit code in time, one clear line, and nothing under a name that
//! was not verified (I1, I3, I5, I6, I8).

mod agreement;
pub(crate) mod answers;
mod blocks;
mod bodies;
mod destinations;
mod errors;
mod frames;
mod full_disk;
mod headers;
mod json;
mod listings;
mod names;
mod no_room;
mod resume;
pub(crate) mod server;
mod several;
mod tree_places;
mod tree_sources;
mod trees;
mod visit;

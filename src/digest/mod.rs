//! Bytes to digests, and the two pools of threads that make them.

mod md5;
mod pools;
mod stream;

pub use pools::Pools;
pub use stream::Md5Stream;
